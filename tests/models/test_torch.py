"""Beside PyTorch: directories that transformers and sentence-transformers write and read (the extra mtc[torch])."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mtc.models import (
  ModelSpec,
  build,
  load_backbone,
  load_sentence_transformer,
  read_config,
  save_backbone,
  save_sentence_transformer,
)

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).parent / "references"
CONFIGS = {
  "bert": {"hidden_act": "gelu", "type_vocab_size": 2},
  "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
  "xlm-roberta": {"type_vocab_size": 1, "hidden_act": "gelu_new"},
  "distilbert": {},
}
SIZES = {
  "vocab_size": 300,
  "hidden_size": 48,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "intermediate_size": 96,
  "max_position_embeddings": 70,
}
DISTIL_SIZES = {
  "vocab_size": 300,
  "dim": 48,
  "n_layers": 3,
  "n_heads": 4,
  "hidden_dim": 96,
  "max_position_embeddings": 70,
}


@pytest.fixture(params=CONFIGS)
def masked_lm(request):
  """A model with its language-modelling head, far enough from its start that every parameter counts."""
  sizes = DISTIL_SIZES if request.param == "distilbert" else SIZES
  config = transformers.AutoConfig.for_model(request.param, **sizes, **CONFIGS[request.param])
  torch.manual_seed(0)
  model = transformers.AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  return model


def _texts(vocab_size: int) -> list[list[int]]:
  rng = np.random.default_rng(0)
  return [rng.integers(5, vocab_size, length).tolist() for length in (9, 33, 1, 20, 64)]


def _assert_same_hidden_states(directory, model, grid):
  config = read_config(directory)
  encoder = build(config, ModelSpec(dtype="float32", dim=0))
  params = {"backbone": load_backbone(directory, config)}
  texts = _texts(config["vocab_size"])
  tokens = grid([texts[:4], texts[4:]], length=64, slots=4)
  hidden = np.asarray(encoder.apply(params, tokens, None)).reshape(2, 64, -1)
  for number, text in enumerate(texts):
    row, slot = divmod(number, 4)
    with torch.no_grad():
      expected = model.base_model(torch.tensor([text])).last_hidden_state[0].numpy()
    np.testing.assert_allclose(hidden[row][tokens.segment[row] == slot + 1], expected, rtol=0, atol=1e-5)


def test_a_model_with_its_head(masked_lm, tmp_path, grid):
  masked_lm.save_pretrained(tmp_path)
  assert any(name.startswith(("cls.", "lm_head.", "vocab_")) for name in load_file(tmp_path / "model.safetensors"))
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


def test_a_model_without_its_head(masked_lm, tmp_path, grid):
  masked_lm.base_model.save_pretrained(tmp_path)
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


def test_a_model_in_shards(masked_lm, tmp_path, grid):
  masked_lm.save_pretrained(tmp_path, max_shard_size="100KB")
  assert len(list(tmp_path.glob("*.safetensors"))) > 2
  _assert_same_hidden_states(tmp_path, masked_lm, grid)


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
  assert (found.pooling, found.normalize, found.prompts) == (pooling, True, {"query": "a b "})
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
