"""The masked-LM head: its arithmetic, and its way to a checkpoint and back. Beside PyTorch: test_torch.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models import ModelSpec, build, build_head, load_backbone, load_masked_lm, save_backbone, scratch_config


@pytest.fixture(params=["bert", "modernbert"])
def model(request):
  spec = ModelSpec(
    architecture=request.param, layers=2, width=16, heads=4, mlp_width=32, vocab_size=50, positions=20, dim=0
  )
  config = scratch_config(spec, pad_id=0)
  params = {"masked_lm": build_head(config).init(jax.random.key(1)), **build(config, spec).init(jax.random.key(0))}
  rng = np.random.default_rng(0)
  return config, jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), params)


def test_by_hand(model):
  config, params = model
  hidden = np.random.default_rng(2).normal(size=(3, 16)).astype(np.float32)
  head, words = jax.tree.map(np.asarray, (params["masked_lm"], params["backbone"]["embeddings"]["word"]["embedding"]))
  inner = hidden @ head["dense"]["kernel"] + head["dense"].get("bias", 0)
  inner = np.asarray(jax.nn.gelu(inner, approximate=False))
  inner = (inner - inner.mean(1, keepdims=True)) / inner.std(1, keepdims=True) * head["norm"]["scale"]
  expected = (inner + head["norm"].get("bias", 0)) @ words.T + head["bias"]
  found = build_head(config).apply(params, jnp.asarray(hidden))
  assert (found.shape, found.dtype) == ((3, 50), jnp.float32)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
  assert build_head(config).apply(params, jnp.asarray(hidden, jnp.bfloat16)).dtype == jnp.float32


def test_a_checkpoint_with_its_head(model, tmp_path):
  config, params = model
  save_backbone(tmp_path, params["backbone"], config, params["masked_lm"])
  jax.tree.map(np.testing.assert_array_equal, load_masked_lm(tmp_path, config), params["masked_lm"])
  jax.tree.map(np.testing.assert_array_equal, load_backbone(tmp_path, config), params["backbone"])


def test_a_checkpoint_without_a_head(model, tmp_path):
  config, params = model
  save_backbone(tmp_path, params["backbone"], config)
  assert load_masked_lm(tmp_path, config) == {}


def test_half_a_head(model, tmp_path):
  config, params = model
  other = config | {"vocab_size": 51}
  save_backbone(tmp_path, params["backbone"], config, params["masked_lm"])
  with pytest.raises(ValueError, match=r"bias has shape \[50\], expected \[51\]"):
    load_masked_lm(tmp_path, other)


@pytest.mark.parametrize("change", [{"tie_word_embeddings": False}, {"decoder_bias": False}])
def test_a_head_that_it_cannot_be(change):
  spec = ModelSpec(architecture="modernbert", layers=1, width=16, heads=4, mlp_width=32, vocab_size=50, positions=20)
  with pytest.raises(ValueError, match=next(iter(change))):
    build_head(scratch_config(spec, pad_id=0) | change)
