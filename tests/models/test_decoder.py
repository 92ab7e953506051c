"""Decoders: hidden states as PyTorch computed them for make_decoder_references.py, and the attention that one chooses."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mtc.models import ModelSpec, build, decoder, load_backbone, read_config, with_attention

ROOT = pathlib.Path(__file__).parent / "decoder_references"
NAMES = sorted(path.name for path in ROOT.iterdir())
BOTH_WAYS = [name for name in NAMES if "both_ways" in name]


def _load(name):
  config = read_config(ROOT / name)
  return config, {"backbone": load_backbone(ROOT / name, config)}


@pytest.fixture(scope="module", params=NAMES)
def reference(request):
  config, params = _load(request.param)
  expected = load_file(ROOT / request.param / "expected.safetensors")
  mask = expected["mask"].astype(bool)
  texts = [ids[real].tolist() for ids, real in zip(expected["ids"], mask)]
  return config, params, texts, expected, mask


def _hidden(config, params, tokens, **spec):
  encoder = build(config, ModelSpec(**{"dtype": "float32", "dim": 0, "dropout": 0.0, **spec}))
  return jax.jit(lambda params: encoder.apply(params, tokens, None))(params)


def test_two_references_for_each_architecture():
  types = [read_config(ROOT / name)["model_type"] for name in NAMES]
  assert {kind: types.count(kind) for kind in types}.keys() == decoder.FAMILY.models.keys()
  assert min(types.count(kind) for kind in types) >= 2


def test_every_layer_padded(reference, grid):
  config, params, texts, expected, mask = reference
  tokens = grid([[text] for text in texts], length=9, slots=1)
  module = decoder.Decoder(decoder.read(config), 0.0, jnp.dtype("float32"))
  run = jax.jit(lambda params: module.apply(params, tokens, True, capture_intermediates=True))
  hidden, state = run({"params": params["backbone"]})
  np.testing.assert_allclose(hidden.reshape(mask.shape + (-1,))[mask], expected["hidden"][mask], rtol=0, atol=1e-5)
  assert len(expected["layers"]) == config["num_hidden_layers"]
  for index, states in enumerate(expected["layers"]):
    found = state["intermediates"][f"layer_{index}"]["__call__"][0].reshape(states.shape)
    np.testing.assert_allclose(found[mask], states[mask], rtol=0, atol=2e-5)


def test_packed_and_pooled(reference, grid):
  config, params, texts, expected, mask = reference
  rows = [[0, 1], [2, 3, 4], [5]]
  tokens = grid([[texts[index] for index in row] for row in rows], length=16, slots=4)
  hidden = _hidden(config, params, tokens)
  order, slots = [0, 1, 2, 3, 4, 5], [0, 1, 4, 5, 6, 8]
  own = [expected["hidden"][index][mask[index]] for index in order]
  for row, indices in enumerate(rows):
    for slot, index in enumerate(indices):
      found = hidden.reshape(3, 16, -1)[row][tokens.segment[row] == slot + 1]
      np.testing.assert_allclose(found, own[index], rtol=0, atol=1e-5)
  for pooling, by_hand in {"mean": lambda states: states.mean(0), "last": lambda states: states[-1]}.items():
    encoder = build(config, ModelSpec(dtype="float32", dim=0, pooling=pooling))
    found = np.asarray(encoder.pool(params, hidden, tokens))[slots]
    np.testing.assert_allclose(found, np.stack([by_hand(states) for states in own]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["llama_old", "mistral_both_ways", "gemma_linear"])
def test_attention_by_choice(name, grid):
  config, params = _load(name)
  tokens = grid([[[7, 8, 9, 10, 11, 12]], [[7, 8, 9, 10, 11, 20]]], length=6, slots=1)
  for attention in ("causal", "bidirectional"):
    hidden = _hidden(config, params, tokens, attention=attention).reshape(2, 6, -1)
    assert (np.abs(hidden[0, 4] - hidden[1, 4]).max() > 1e-3) == (attention == "bidirectional")


@pytest.mark.parametrize("name", NAMES)
def test_a_config_says_its_attention(name):
  config = read_config(ROOT / name)
  there, back = (with_attention(config, attention) for attention in ("bidirectional", "causal"))
  assert [decoder.read(said).causal for said in (there, back)] == [False, True]
  assert with_attention(config, "") == config == (there if name in BOTH_WAYS else config)
  assert decoder.read(with_attention(there, "causal")) == decoder.read(back)


@pytest.mark.parametrize(
  ("name", "causal", "bidirectional"),
  # A window of 3 is the token itself and 2 before it; both ways it is 3 on either side, but for Gemma half of them.
  [("mistral_window_old", 2, 3), ("qwen2_old", 2, 3), ("gemma_linear", 2, 1)],
)
def test_the_width_of_windows(name, causal, bidirectional):
  config = read_config(ROOT / name)
  assert set(decoder.read(config).windows) - {0} == {causal}
  assert set(decoder.read(with_attention(config, "bidirectional")).windows) - {0} == {bidirectional}


def test_attention_of_encoders():
  config = {"model_type": "bert"}
  assert with_attention(config, "") == with_attention(config, "bidirectional") == config
  with pytest.raises(ValueError, match="'causal' is for decoders, and model_type='bert' is an encoder"):
    with_attention(config, "causal")
  with pytest.raises(ValueError, match="model.attention='both' is unknown; use one of causal, bidirectional"):
    ModelSpec(attention="both").validate()
