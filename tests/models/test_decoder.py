"""Decoders: hidden states as PyTorch computes them (see make_decoder_references.py), and the attention one chooses."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models as tokenizer_models, pre_tokenizers, processors

import mtc
from mtc import data
from mtc.config import Experiment, Task
from mtc.embedder import save
from mtc.embedder.start import start_model
from mtc.models import (
  ModelSpec,
  build,
  decoder,
  load_backbone,
  positions,
  read_config,
  save_backbone,
  with_attention,
)

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


def _copy(name, tmp_path, **changes):
  directory = shutil.copytree(ROOT / name, tmp_path / name)
  config = json.loads((directory / "config.json").read_text())
  (directory / "config.json").write_text(json.dumps(config | changes))
  return directory


@pytest.mark.parametrize("name", ["llama_old", "qwen2_yarn", "qwen3_both_ways", "gemma_linear"])
def test_what_is_saved_is_what_was_read(name, tmp_path):
  config, params = _load(name)
  save_backbone(tmp_path, params["backbone"], config)
  saved, tensors = (load_file(directory / "model.safetensors") for directory in (tmp_path, ROOT / name))
  assert saved.keys() == tensors.keys()
  for key, value in tensors.items():
    np.testing.assert_array_equal(saved[key], value)
  assert decoder.read(read_config(tmp_path)) == decoder.read(config)
  assert read_config(tmp_path)["architectures"] == [decoder.FAMILY.models[config["model_type"]]]


def test_a_model_with_its_head_and_buffers(tmp_path):
  directory = _copy("llama_old", tmp_path)
  tensors = {f"model.{name}": value for name, value in load_file(directory / "model.safetensors").items()}
  tensors |= {"lm_head.weight": np.zeros((40, 16), np.float32)}
  tensors |= {f"model.layers.{index}.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32) for index in range(2)}
  save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
  config, params = _load("llama_old")
  jax.tree.map(np.testing.assert_array_equal, load_backbone(directory, config), params["backbone"])


def test_scaling_by_older_names(tmp_path):
  new, old = {"rope_type": "linear", "factor": 2.5, "rope_theta": 1e4}, {"type": "linear", "factor": 2.5}
  config = read_config(_copy("llama_both_ways", tmp_path, rope_parameters=None, rope_scaling=old, rope_theta=1e4))
  assert read_config(ROOT / "llama_both_ways")["rope_parameters"] == new
  assert decoder.read(config) == decoder.read(read_config(ROOT / "llama_both_ways"))
  gemma = read_config(ROOT / "gemma_linear")
  older = {"rope_parameters": None, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 300.0}
  assert decoder.read(gemma | older | {"rope_local_base_freq": 20.0}) == decoder.read(gemma)


@pytest.mark.parametrize(
  ("name", "change", "message"),
  [
    ("llama_old", {"num_key_value_heads": 3}, "num_attention_heads=4 .* do not divide among 3 num_key_value_heads"),
    ("llama_old", {"head_dim": 5}, "5 dimensions of a head are odd"),
    ("llama_old", {"hidden_act": "swish"}, "activation 'swish' .* known are .*silu"),
    ("llama_old", {"hidden_size": 0}, "hidden_size=0"),
    ("llama_old", {"rope_scaling": {"type": "longrope"}}, "rope_type='longrope' .* known are default, linear, dynamic"),
    ("llama_old", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("llama_old", {"rope_scaling": {"type": "linear"}}, "factor=None among the rope parameters"),
    ("llama_llama3", {"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor=None"),
    ("mistral_window_old", {"sliding_window": 1}, "sliding_window=1 .* leaves every token alone"),
    ("qwen3_both_ways", {"layer_types": ["full_attention"]}, "are not 2 of full_attention, sliding_attention"),
    ("qwen3_both_ways", {"layer_types": ["chunked_attention"] * 2}, "are not 2 of full_attention, sliding_attention"),
    ("qwen3_both_ways", {"model_type": "gemma3"}, "'gemma3' .* known are .*llama, mistral, qwen2, qwen3, gemma3_text"),
  ],
)
def test_a_config_that_no_decoder_can_be(name, change, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    read_config(_copy(name, tmp_path, **change))


def test_dynamic_scaling_leaves_the_texts_that_fit_as_they_are():
  # It differs for texts beyond max_position_embeddings only.
  config = read_config(ROOT / "llama_old")
  assert decoder.read(config | {"rope_scaling": {"type": "dynamic", "factor": 4.0}}) == decoder.read(config)
  assert positions(config) == 32


@pytest.mark.parametrize("name", ["qwen3_old", "gemma_linear"])
def test_bfloat16(name, grid):
  config, params = _load(name)
  tokens = grid([[[7, 8, 9, 10], [11, 12]]], length=8, slots=2)
  exact = _hidden(config, params, tokens)[:6]
  half = _hidden(config, params, tokens, dtype="bfloat16")
  assert half.dtype == jnp.bfloat16
  assert 0 < np.abs(half[:6].astype(np.float32) - exact).max() / np.abs(exact).max() < 0.05


def test_dropout_is_on_the_attention_alone(grid):
  config, params = _load("qwen3_old")
  tokens = grid([[[7, 8, 9, 10]]], length=4, slots=1)
  encoder, without = (build(config, ModelSpec(dtype="float32", dim=0, dropout=rate)) for rate in (0.5, 0.0))
  np.testing.assert_array_equal(encoder.apply(params, tokens, None), without.apply(params, tokens, None))
  traced = jax.make_jaxpr(lambda key: encoder.apply(params, tokens, key))(jax.random.key(0))
  attentions = [equation.params["jaxpr"] for equation in traced.eqns if "remat" in equation.primitive.name]
  places = [e.outvars[0].aval for part in (traced, *attentions) for e in part.eqns if e.primitive.name == "iota"]
  draws = [place.size for place in places if place.dtype == jnp.uint32]
  assert draws == 2 * [1 * 4 * 4 * 4]  # one in each layer: [rows, heads, length, length]


@pytest.mark.parametrize("name", ["llama_old", "gemma_linear"])
def test_fresh_parameters_have_finite_gradients(name, grid):
  config = read_config(ROOT / name)
  encoder = build(config, ModelSpec(dtype="float32", dim=0, dropout=0.0, pooling="last"))
  params = encoder.init(jax.random.key(0))
  assert jax.tree.map(jnp.shape, params["backbone"]) == jax.tree.map(np.shape, load_backbone(ROOT / name, config))
  norm = params["backbone"]["norm"]["scale"]
  np.testing.assert_array_equal(norm, 0 if name == "gemma_linear" else 1)
  tokens = grid([[[7, 8, 9], [10]], []], length=6, slots=3)
  loss = lambda params: jnp.sum(encoder.pool(params, encoder.apply(params, tokens, None), tokens) ** 2)
  gradient = jax.jit(jax.grad(loss))(params)
  assert all(np.isfinite(leaf).all() and leaf.any() for leaf in jax.tree.leaves(gradient))


def test_a_decoder_made_bidirectional_is_exported_as_such(tmp_path, caplog):
  directory = _copy("llama_old", tmp_path)
  words = Tokenizer(tokenizer_models.WordLevel({f"w{index}": index for index in range(38)}, unk_token="w0"))
  words.pre_tokenizer = pre_tokenizers.Whitespace()
  words.add_special_tokens(["<|end|>"])
  words.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 38)])
  words.save(str(directory / "tokenizer.json"))
  model = ModelSpec(pretrained=str(directory), attention="bidirectional", pooling="last", dim=0)
  task = Task(data.Folder(str(tmp_path)), max_length=16)
  started = start_model(Experiment(tasks={"task": task}, model=model), tmp_path)
  save.write(started, tmp_path / "export")
  assert "transformers before 5.2" in caplog.text
  assert json.loads((tmp_path / "export" / "config.json").read_text())["is_causal"] is False
  causal, exported = mtc.load(directory), mtc.load(tmp_path / "export")
  causal.spec.pooling = "last"
  texts = ["w5 w6 w7", "w9"]
  np.testing.assert_allclose(exported.encode(texts), started.inference(started.params).encode(texts), rtol=0, atol=1e-6)
  causal.encoder = build(causal.config, causal.spec)
  assert np.abs(exported.encode(texts) - causal.encode(texts)).max() > 1e-3
