"""Beside PyTorch: directories that transformers and sentence-transformers write and read (the extra mtc[torch])."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mtc.models import (
  ModelSpec,
  architecture,
  build,
  build_head,
  load_backbone,
  load_masked_lm,
  load_sentence_transformer,
  read_config,
  save_backbone,
  save_sentence_transformer,
  scratch_config,
)
from mtc.models.mpnet import distance_bucket

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).parent / "references"
SIZES = {
  "vocab_size": 300,
  "hidden_size": 48,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "intermediate_size": 96,
  "max_position_embeddings": 70,
}
SMALL = {"dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 96}
ROPE = {
  "full_attention": {"rope_type": "default", "rope_theta": 5e3},
  "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}
# Two of each architecture that share as little as they can.
CONFIGS = {
  "bert": {},
  "bert_other": {"hidden_act": "gelu_new", "type_vocab_size": 3, "layer_norm_eps": 1e-3, "num_attention_heads": 6},
  "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
  "roberta_other": {"hidden_act": "relu", "pad_token_id": 3},
  "xlm-roberta": {"type_vocab_size": 1, "hidden_act": "gelu_new"},
  "xlm-roberta_other": {"num_hidden_layers": 1, "layer_norm_eps": 1e-4},
  "distilbert": {**SMALL},
  "distilbert_other": {**SMALL, "n_layers": 1, "activation": "relu"},
  "mpnet": {"layer_norm_eps": 1e-5, "max_position_embeddings": 260},
  "mpnet_other": {"hidden_act": "relu", "relative_attention_num_buckets": 40, "num_attention_heads": 2},
  "modernbert": {"local_attention": 9, "pad_token_id": 0, "num_hidden_layers": 4},
  "modernbert_other": {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": ROPE,
    "local_attention": 16,
    "pad_token_id": 0,
    "attention_bias": True,
    "mlp_bias": True,
    "norm_bias": True,
    "classifier_bias": True,
    "hidden_activation": "silu",
    "norm_eps": 1e-3,
  },
}


@pytest.fixture(params=CONFIGS)
def masked_lm(request):
  """A model with its language-modelling head, far enough from its start that every parameter counts."""
  model_type, sizes = request.param.partition("_")[0], SIZES | CONFIGS[request.param]
  if model_type == "distilbert":
    sizes = {name: value for name, value in sizes.items() if name not in SIZES or name.startswith(("vocab", "max"))}
  config = transformers.AutoConfig.for_model(model_type, **sizes)
  torch.manual_seed(0)
  model = transformers.AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  return model


def _texts(vocab_size: int) -> list[list[int]]:
  rng = np.random.default_rng(0)
  return [rng.integers(5, vocab_size, length).tolist() for length in (9, 33, 1, 20, 64)]


def _assert_same_hidden_states(directory, model, grid, tolerance=1e-5):
  """Of every layer, packed and padded."""
  config = read_config(directory)
  family = architecture.family(config)
  module = family.module(family.read(config), 0.0, np.dtype("float32"))
  params = {"params": load_backbone(directory, config)}
  texts = _texts(config["vocab_size"])
  with torch.no_grad():
    expected = [model.base_model(torch.tensor([text]), output_hidden_states=True) for text in texts]
  for tokens in (
    grid([texts[:4], texts[4:]], length=64, slots=4),
    grid([[text] for text in texts], length=66, slots=1),
  ):
    last, found = module.apply(
      params, tokens, deterministic=True, capture_intermediates=True, mutable=["intermediates"]
    )
    layers = found["intermediates"]
    layers = [layers["embeddings"], *(layers[f"layer_{index}"] for index in range(len(expected[0].hidden_states) - 1))]
    states = [np.asarray(layer["__call__"][0]) for layer in layers]
    # The last of PyTorch's is what the encoder gives, with its final norm where it has one.
    states = np.stack([*states[:-1], np.asarray(last)]).reshape(len(states), *tokens.ids.shape, -1)
    number = 0
    for row, slot in np.ndindex(tokens.ids.shape[0], tokens.slots):
      real = tokens.segment[row] == slot + 1
      if real.any():
        for layer, theirs in enumerate(expected[number].hidden_states):
          np.testing.assert_allclose(states[layer, row][real], theirs[0].numpy(), rtol=0, atol=tolerance)
        number += 1
    assert number == len(texts)


def test_a_model_with_its_head(masked_lm, tmp_path, grid):
  masked_lm.save_pretrained(tmp_path)
  assert any(
    name.startswith(("cls.", "lm_head.", "vocab_", "head.")) for name in load_file(tmp_path / "model.safetensors")
  )
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


def test_a_model_without_its_head(masked_lm, tmp_path, grid):
  masked_lm.base_model.save_pretrained(tmp_path)
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


def test_a_model_in_shards(masked_lm, tmp_path, grid):
  masked_lm.save_pretrained(tmp_path, max_shard_size="70KB")
  assert len(list(tmp_path.glob("*.safetensors"))) > 2
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


def test_mpnet_counts_distances_alike():
  theirs = transformers.models.mpnet.modeling_mpnet.MPNetEncoder.relative_position_bucket
  distance = np.arange(-700, 700)
  np.testing.assert_array_equal(distance_bucket(distance), theirs(torch.tensor(distance)).numpy())


def test_a_masked_lm_head(masked_lm, tmp_path, grid):
  masked_lm.save_pretrained(tmp_path / "theirs")
  config = read_config(tmp_path / "theirs")
  params = {
    "backbone": load_backbone(tmp_path / "theirs", config),
    "masked_lm": load_masked_lm(tmp_path / "theirs", config),
  }
  text = _texts(config["vocab_size"])[1]
  hidden = build(config, ModelSpec(dtype="float32", dim=0)).apply(params, grid([[text]], len(text), 1), None)
  logits = build_head(config).apply(params, hidden)
  with torch.no_grad():
    expected = masked_lm(torch.tensor([text])).logits[0].numpy()
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)

  save_backbone(tmp_path / "ours", params["backbone"], config, params["masked_lm"])
  again, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
  assert not any(report.values()), report
  with torch.no_grad():
    np.testing.assert_allclose(again.eval()(torch.tensor([text])).logits[0].numpy(), expected, rtol=0, atol=1e-5)
  assert "dense" in load_masked_lm(tmp_path / "ours", config)
  masked_lm.base_model.save_pretrained(tmp_path / "headless")
  assert load_masked_lm(tmp_path / "headless", config) == {}


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_transformers_loads_a_seeded_encoder(kind, tmp_path, grid):
  spec = ModelSpec(architecture=kind, layers=4, width=32, heads=4, mlp_width=48, vocab_size=300, positions=200, dim=0)
  config = scratch_config(spec, pad_id=0)
  params = build(config, spec).init(jax.random.key(0))
  save_backbone(tmp_path, params["backbone"], config, build_head(config).init(jax.random.key(1)))
  model, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
  assert not any(report.values()), report
  text = np.random.default_rng(0).integers(5, 300, 190).tolist()
  hidden = build(config, ModelSpec(dtype="float32", dim=0)).apply(params, grid([[text]], 190, 1), None)
  with torch.no_grad():
    expected = model.eval().base_model(torch.tensor([text])).last_hidden_state[0].numpy()
  np.testing.assert_allclose(hidden, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["bert_gelu", "roberta_relu", "xlm_roberta_gelu", "distilbert_relu"])
def test_transformers_loads_what_was_saved(name, tmp_path):
  config = read_config(ROOT / name)
  save_backbone(tmp_path, load_backbone(ROOT / name, config), config)
  model, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
  assert not report["unexpected_keys"] and not report["mismatched_keys"]
  assert all(key.startswith("pooler.") for key in report["missing_keys"])
  expected = load_file(ROOT / name / "expected.safetensors")
  with torch.no_grad():
    ids, mask = (torch.tensor(expected[key].astype(np.int64)) for key in ("ids", "mask"))
    hidden = model.eval()(ids, attention_mask=mask).last_hidden_state.numpy()
  real = expected["mask"].astype(bool)
  np.testing.assert_allclose(hidden[real], expected["hidden"][real], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  ("pooling", "dim", "name"),
  [
    ("mean", 7, "bert_gelu"),
    ("cls", 0, "distilbert_gelu"),
    ("max", 7, "roberta_gelu"),
    ("last", 7, "xlm_roberta_gelu"),
  ],
)
def test_sentence_transformers_gives_the_same_vectors(pooling, dim, name, tmp_path, grid):
  sentence_transformers = pytest.importorskip("sentence_transformers")
  config = read_config(ROOT / name)
  encoder = build(config, ModelSpec(dtype="float32", dim=dim, pooling=pooling))
  rng = np.random.default_rng(0)
  params: dict = {"backbone": load_backbone(ROOT / name, config)}
  if dim:
    params["projection"] = {"kernel": rng.normal(size=(16, dim)), "bias": rng.normal(size=dim)}
    params["projection"] = jax.tree.map(np.float32, params["projection"])
  save_backbone(tmp_path, params["backbone"], config)
  save_sentence_transformer(tmp_path, pooling, 16, params.get("projection", {}), {"query": "a b "}, max_length=9)
  _save_tokenizer(tmp_path, config["pad_token_id"])
  model = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
  assert model.prompts == {"query": "a b ", "document": ""}
  assert model.max_seq_length == 9

  texts = ["a b c", "d", "z y x w v u t s r q", "c c c c"]
  for role, prompt in (("document", ""), ("query", "a b ")):
    ids = [model.tokenizer(prompt + text)["input_ids"][:9] for text in texts]
    tokens = grid([ids[:1], ids[1:2] + ids[3:], ids[2:3]], length=12, slots=2)
    pooled = encoder.pool(params, encoder.apply(params, tokens, None), tokens)
    pooled = np.asarray(pooled)[[0, 2, 4, 3]]
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(texts, prompt_name=role), expected, rtol=0, atol=1e-5)

  # What it writes itself, in its own newer layout, reads back the same.
  model.save(str(tmp_path / "again"))
  found = load_sentence_transformer(tmp_path / "again")
  assert (found.pooling, found.prompts) == (pooling, {"query": "a b "})
  assert found.projection.keys() == params.get("projection", {}).keys()
  for key, value in found.projection.items():
    np.testing.assert_array_equal(value, params["projection"][key])


def _save_tokenizer(directory: pathlib.Path, pad_id: int) -> None:
  from tokenizers import Tokenizer, models, pre_tokenizers

  words = [f"[{index}]" for index in range(20)] + list("abcdefghijklmnopqrstuvwxyz")
  words[pad_id] = "[PAD]"
  tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[9]"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  tokenizer.save(str(directory / "tokenizer.json"))
  names = {"pad_token": "[PAD]", "unk_token": "[9]", "tokenizer_class": "PreTrainedTokenizerFast"}
  (directory / "tokenizer_config.json").write_text(json.dumps(names))
