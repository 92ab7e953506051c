"""A static embedding: what StaticEmbedding of sentence-transformers and model2vec save."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtc import models
from mtc.embedder import save
from mtc.embedder.embedder import load
from mtc.types import Tokens

WIDTH = 6
TEXTS = ["a note about the moon", "goal", "soup bread oven recipe salt butter dinner spoon", ""]


@pytest.fixture
def table(tokenizer):
  return np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), WIDTH)).astype(np.float32)


@pytest.fixture
def directory(table, tokenizer_dir, tmp_path):
  """As version 6.2 writes it: tokenizer and weights, and no config.json."""
  folder = tmp_path / "static"
  folder.mkdir()
  modules = [("StaticEmbedding", ""), ("Normalize", "1_Normalize")]
  listed = [
    {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{t}"}
    for i, (t, p) in enumerate(modules)
  ]
  (folder / "modules.json").write_text(json.dumps(listed))
  shutil.copy(tokenizer_dir / "tokenizer.json", folder)
  save_file({"embedding.weight": table}, folder / "model.safetensors")
  return folder


def mean_of_rows(table, tokenizer, text, most=None):
  rows = table[tokenizer.encode(text, add_special_tokens=False).ids[:most]]
  mean = rows.mean(0) if len(rows) else np.zeros(WIDTH)
  return mean / max(np.linalg.norm(mean), 1e-6)


def test_a_text_is_the_mean_of_its_words_without_special_tokens(directory, table, tokenizer):
  vectors = load(directory).encode(TEXTS)
  np.testing.assert_allclose(vectors, [mean_of_rows(table, tokenizer, text) for text in TEXTS], atol=1e-6)
  assert not vectors[-1].any()


def test_only_its_tokenizer_cuts_a_text(directory, table, tokenizer, tmp_path):
  long = " ".join(TEXTS[2:3] * 100)
  np.testing.assert_allclose(load(directory).encode([long])[0], mean_of_rows(table, tokenizer, long), atol=1e-6)
  path = directory / "tokenizer.json"
  settings = json.loads(path.read_text())
  settings["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
  path.write_text(json.dumps(settings))
  np.testing.assert_allclose(load(directory).encode([long])[0], mean_of_rows(table, tokenizer, long, 3), atol=1e-6)
  settings["truncation"]["direction"] = "Left"
  path.write_text(json.dumps(settings))
  last = long + " moon soup goal"
  rows = table[tokenizer.encode(last, add_special_tokens=False).ids[-3:]].mean(0)
  left = load(directory)
  np.testing.assert_allclose(left.encode([last])[0], rows / np.linalg.norm(rows), atol=1e-6)
  save.write(left, tmp_path / "out")
  np.testing.assert_array_equal(load(tmp_path / "out").encode([last]), left.encode([last]))


def test_the_table_of_model2vec_has_another_name(directory, table):
  before = load(directory).encode(TEXTS)
  save_file({"embeddings": table}, directory / "model.safetensors")
  (directory / "config.json").write_text('{"model_type": "model2vec"}')
  np.testing.assert_array_equal(load(directory).encode(TEXTS), before)


@pytest.mark.parametrize(
  "tensors",
  [
    {"embeddings": np.ones((9, 2), np.float32), "mapping": np.arange(9)},
    {"embedding.weight": np.ones(9, np.float32)},
    {"words": np.ones((9, 2), np.float32)},
    {},
  ],
)
def test_what_is_no_table_is_refused(directory, tensors):
  save_file(tensors, directory / "model.safetensors")
  with pytest.raises(ValueError, match=r"expected embedding.weight \[vocabulary, width\]"):
    load(directory)


@pytest.mark.parametrize(
  ("tensor", "message"),
  [
    (np.ones((4, 0), np.float32), r"has a table \[4, 0\], a size that no model has"),
    (np.ones((0, 4), np.float32), r"has a table \[0, 4\], a size that no model has"),
    (np.ones((1, 2**18 + 1), np.float16), r"has a table \[1, 262145\], a size that no model has"),
    (np.ones((500, 4), np.int8), "are not a static embedding: embedding.weight has dtype I8, expected a floating one"),
  ],
)
def test_a_table_that_cannot_be_is_refused_and_no_config_json_is_named(directory, tensor, message):
  save_file({"embedding.weight": tensor}, directory / "model.safetensors")
  with pytest.raises(ValueError, match=message) as error:
    load(directory)
  assert "config.json" not in str(error.value)


def test_a_tokenizer_of_another_model_is_refused(directory, table):
  save_file({"embedding.weight": table[:20]}, directory / "model.safetensors")
  with pytest.raises(ValueError, match="past the 20 rows of the embedding table") as error:
    load(directory)
  assert "config.json" not in str(error.value)
  (directory / "tokenizer.json").unlink()
  with pytest.raises(FileNotFoundError, match="has no tokenizer"):
    load(directory)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"max_length": "9"}, "tokenizer.json has truncation=.*'9'.*; expected a positive integer max_length, or null"),
    ({"max_length": 0}, "expected a positive integer max_length"),
    ({"max_length": 1.5}, "expected a positive integer max_length"),
    ({"max_length": True}, "expected a positive integer max_length"),
    ({"max_length": None}, "expected a positive integer max_length"),
    ({"direction": 5}, "tokenizer.json has truncation.direction=5; expected 'Right' or 'Left'"),
    ({"direction": None}, "tokenizer.json has truncation.direction=None; expected 'Right' or 'Left'"),
  ],
)
def test_a_truncation_that_is_none_is_refused(directory, change, message):
  path = directory / "tokenizer.json"
  truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0} | change
  path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": truncation}))
  with pytest.raises(ValueError, match=message):
    load(directory)
  path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": [3]}))
  with pytest.raises(ValueError, match=r"has truncation=\[3\]; expected"):
    load(directory)


def test_an_export_is_such_a_directory_again_and_says_where_it_cuts(directory, tokenizer, tmp_path):
  embedder = load(directory)
  embedder.max_length = 4
  save.write(embedder, tmp_path / "out")
  written = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
  assert written == {
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "tokenizer_config.json",
  }
  assert load_file(tmp_path / "out" / "model.safetensors").keys() == {"embedding.weight"}
  again = load(tmp_path / "out")
  assert again.max_length == 4
  np.testing.assert_array_equal(again.encode(TEXTS), embedder.encode(TEXTS))
  assert tokenizer.truncation is None


def test_there_is_no_other_pooling_and_nothing_to_adapt(directory):
  config = models.static_config(directory)
  with pytest.raises(ValueError, match="pooling='cls' does not fit a static embedding"):
    models.build(config, models.ModelSpec(pooling="cls"))
  encoder = models.build(config, models.ModelSpec(pretrained="here", lora=models.LoraSpec(rank=2)))
  with pytest.raises(ValueError, match="rank=2 has nothing to adapt: this model is a static embedding"):
    encoder.init(jax.random.key(0))


def test_only_the_words_of_a_text_get_a_gradient(directory):
  embedder = load(directory)
  ids = np.array([[7, 9, 7, 0]], np.int32)
  tokens = Tokens(ids=ids, segment=np.array([[1, 1, 2, 0]], np.int32), position=np.zeros_like(ids), slots=2)

  def of_the_first_text(params):
    return embedder.encoder.pool(params, embedder.encoder.apply(params, tokens, None), tokens)[0].sum()

  gradient = jax.grad(of_the_first_text)(embedder.params)["backbone"]["embeddings"]["word"]["embedding"]
  assert np.flatnonzero(np.asarray(gradient).any(1)).tolist() == [7, 9]
  np.testing.assert_allclose(gradient[7], 0.5)


def test_work_and_memory_are_those_of_a_table(directory):
  config = models.static_config(directory)
  params = models.build(config, models.ModelSpec(dim=0)).init(jax.random.key(0))
  assert models.training_work(config, params, params) == models.Work(0, 0, {})
  memory = models.training_bytes(config, models.ModelSpec(dim=0, dtype="float32"), tokens=100, length=50)
  assert memory.state == 16 * memory.parameters == 16 * config["vocab_size"] * WIDTH
  assert memory.activations < 100 * WIDTH * 16
