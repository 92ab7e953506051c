"""Weights in and out: names, shapes, shards, and what a user is told when they do not fit."""

import json
import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtc.models import ModelSpec, build, load_backbone, read_config, resolve, save_backbone, scratch_config

ROOT = pathlib.Path(__file__).parent / "references"
NAMES = ["bert_gelu", "roberta_relu", "xlm_roberta_gelu", "distilbert_relu", "mpnet_relu", "modernbert_silu"]


@pytest.fixture(params=NAMES)
def checkpoint(request, tmp_path):
  """A copy of a checkpoint: (its directory, its config, its weights)."""
  return _copy(request.param, tmp_path)


@pytest.fixture
def bert(tmp_path):
  return _copy("bert_gelu", tmp_path)


def _copy(name, tmp_path):
  directory = shutil.copytree(ROOT / name, tmp_path / name)
  return directory, read_config(directory), load_file(directory / "model.safetensors")


def _store(directory, tensors):
  tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
  save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _shard(directory, tensors):
  (directory / "model.safetensors").unlink()
  shards = {"model-00001-of-00002.safetensors": {}, "model-00002-of-00002.safetensors": {}}
  weight_map = {}
  for index, name in enumerate(sorted(tensors)):
    shard = list(shards)[index % 2]
    shards[shard][name] = tensors[name]
    weight_map[name] = shard
  for shard, part in shards.items():
    save_file(part, directory / shard)
  return _index(directory, weight_map)


def _index(directory, weight_map):
  (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
  return weight_map


def _assert_equal(found, expected):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_tree_is_that_of_init(checkpoint):
  directory, config, _ = checkpoint
  loaded = load_backbone(directory, config)
  params = jax.eval_shape(build(config, ModelSpec(dim=0)).init, jax.random.key(0))["backbone"]
  assert jax.tree.map(np.shape, loaded) == jax.tree.map(np.shape, params)
  assert all(type(leaf) is np.ndarray and leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))


def test_kernels_alone_are_rounded_where_that_is_asked(checkpoint):
  directory, config, _ = checkpoint
  rounded, whole = load_backbone(directory, config, kernels="bfloat16"), load_backbone(directory, config)

  def check(path, found, expected):
    kind = ml_dtypes.bfloat16 if path[-1].key == "kernel" else np.float32
    assert found.dtype == kind
    np.testing.assert_array_equal(found, expected.astype(kind))

  jax.tree.map_with_path(check, rounded, whole)


def test_what_is_saved_is_what_was_read(checkpoint, tmp_path):
  directory, config, tensors = checkpoint
  loaded = load_backbone(directory, config)
  save_backbone(tmp_path / "saved", loaded, config)
  stored = load_file(tmp_path / "saved" / "model.safetensors")
  assert set(stored) == {name for name in tensors if not name.startswith("pooler.")}
  for name, value in stored.items():
    np.testing.assert_array_equal(value, tensors[name])
  _assert_equal(load_backbone(tmp_path / "saved", read_config(tmp_path / "saved")), loaded)
  assert read_config(tmp_path / "saved")["architectures"] == config["architectures"]
  assert (tmp_path / "saved" / "model.safetensors").stat().st_mode & 0o077  # not for its owner alone


@pytest.mark.parametrize(("dtype", "kind"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_saved_in_half_precision(bert, tmp_path, dtype, kind):
  directory, config, tensors = bert
  save_backbone(tmp_path / "saved", load_backbone(directory, config), config, dtype=dtype)
  assert read_config(tmp_path / "saved")["dtype"] == "float32"  # what transformers computes in
  for name, value in load_file(tmp_path / "saved" / "model.safetensors").items():
    assert value.dtype == kind
    np.testing.assert_array_equal(value, tensors[name].astype(kind))


def test_a_seeded_encoder_survives_saving(tmp_path):
  spec = ModelSpec(layers=1, width=16, heads=4, mlp_width=32, vocab_size=50, positions=20, dim=0)
  config = scratch_config(spec, pad_id=0)
  params = build(config, spec).init(jax.random.key(0))["backbone"]
  save_backbone(tmp_path, params, config)
  _assert_equal(load_backbone(tmp_path, read_config(tmp_path)), params)


HEADS = {
  "bert": ["cls.predictions.bias", "cls.predictions.transform.dense.weight", "bert.embeddings.position_ids"],
  "roberta": ["lm_head.dense.weight", "lm_head.bias", "roberta.embeddings.position_ids"],
  "mpnet": ["lm_head.dense.weight", "pooler.dense.bias", "mpnet.embeddings.position_ids"],
  "model": ["head.dense.weight", "head.norm.weight", "decoder.bias"],
  "distilbert": ["vocab_transform.weight", "vocab_layer_norm.bias", "vocab_projector.bias"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_with_a_head(name, tmp_path, caplog):
  directory, config, tensors = _copy(name, tmp_path)
  expected = load_backbone(directory, config)
  prefix = {"modernbert": "model", "xlm-roberta": "roberta"}.get(config["model_type"], config["model_type"])
  tensors = {f"{prefix}.{key}": value for key, value in tensors.items()}
  _store(directory, tensors | {head: np.zeros(3, np.int64) for head in HEADS[prefix]})
  with caplog.at_level("INFO", logger="absl"):
    _assert_equal(load_backbone(directory, config), expected)
  ignored, renamed = (next(m for m in caplog.messages if f": {verb} " in m) for verb in ("ignored", "renamed"))
  assert all(head in ignored for head in HEADS[prefix])
  name = next(key.removeprefix(f"{prefix}.") for key in tensors if "_embeddings" in key)
  assert f"{prefix}.{name} -> {name}" in renamed
  assert name not in ignored


def test_gamma_and_beta(bert, caplog):
  directory, config, tensors = bert
  expected = load_backbone(directory, config)
  old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
  for new, former in old.items():
    tensors = {key.replace(new, former): value for key, value in tensors.items()}
  _store(directory, tensors)
  with caplog.at_level("INFO", logger="absl"):
    _assert_equal(load_backbone(directory, config), expected)
  assert "embeddings.LayerNorm.gamma -> embeddings.LayerNorm.weight" in caplog.text


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_becomes_float32(bert, dtype):
  directory, config, tensors = bert
  tensors = {name: value.astype(dtype) for name, value in tensors.items()}
  _store(directory, tensors)
  word = load_backbone(directory, config)["embeddings"]["word"]["embedding"]
  assert word.dtype == np.float32
  np.testing.assert_array_equal(word, tensors["embeddings.word_embeddings.weight"].astype(np.float32))


def test_missing_extra_and_misshaped_names_are_all_named(bert):
  directory, config, tensors = bert
  del tensors["encoder.layer.1.attention.self.key.bias"]
  tensors["encoder.layer.2.output.dense.bias"] = np.zeros(16, np.float32)
  tensors["encoder.layer.0.intermediate.dense.weight"] = np.zeros((33, 16), np.float32)
  tensors["embeddings.LayerNorm.bias"] = np.zeros(16, np.int8)
  _store(directory, tensors)
  with pytest.raises(ValueError) as caught:
    load_backbone(directory, config)
  message = str(caught.value)
  assert "missing encoder.layer.1.attention.self.key.bias" in message
  assert "extra encoder.layer.2.output.dense.bias" in message
  assert "encoder.layer.0.intermediate.dense.weight has shape [33, 16], expected [32, 16]" in message
  assert "embeddings.LayerNorm.bias has dtype I8" in message


def test_one_parameter_under_two_names(bert):
  directory, config, tensors = bert
  _store(directory, tensors | {"bert.embeddings.LayerNorm.gamma": tensors["embeddings.LayerNorm.weight"]})
  with pytest.raises(ValueError, match="twice"):
    load_backbone(directory, config)


def test_shards(checkpoint):
  directory, config, tensors = checkpoint
  expected = load_backbone(directory, config)
  _shard(directory, tensors)
  _assert_equal(load_backbone(directory, config), expected)


def test_a_shard_that_disagrees_with_the_index(bert):
  directory, config, tensors = bert
  weight_map = _shard(directory, tensors)
  weight_map["embeddings.LayerNorm.bias"] = weight_map["embeddings.LayerNorm.weight"]
  _index(directory, weight_map)
  with pytest.raises(ValueError, match=r"disagree on embeddings.LayerNorm.bias"):
    load_backbone(directory, config)


def test_a_missing_shard(bert):
  directory, config, tensors = bert
  _shard(directory, tensors)
  (directory / "model-00002-of-00002.safetensors").unlink()
  with pytest.raises(ValueError, match=r"model-00002-of-00002.safetensors is missing"):
    load_backbone(directory, config)


@pytest.mark.parametrize("shard", ["../stolen.safetensors", "/stolen.safetensors", "a/../../stolen.safetensors", 3])
def test_an_index_that_leads_out_of_its_directory(bert, shard):
  directory, config, tensors = bert
  shutil.move(directory / "model.safetensors", directory.parent / "stolen.safetensors")
  _index(directory, dict.fromkeys(tensors, shard))
  with pytest.raises(ValueError, match="outside its directory"):
    load_backbone(directory, config)


def test_a_pickle_is_refused_with_a_way_out(bert):
  directory, config, _ = bert
  (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
  with pytest.raises(ValueError, match=r"pytorch_model.bin is a pickle.*convert it once.*save_pretrained"):
    load_backbone(directory, config)


def test_a_truncated_file(bert):
  directory, config, _ = bert
  path = directory / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ValueError, match="not a whole safetensors file"):
    load_backbone(directory, config)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model_type": "t5"}, "model_type='t5'.*known are bert, roberta, xlm-roberta, distilbert"),
    ({"model_type": None}, "model_type=None"),
    ({"hidden_act": "mish"}, "'mish'.*known are gelu, gelu_new, gelu_pytorch_tanh, relu, silu"),
    ({"hidden_size": None}, "hidden_size=None"),
    ({"num_attention_heads": 3}, "16 of config.json does not divide into 3 heads"),
    ({"position_embedding_type": "relative_key"}, "relative_key"),
    ({"is_decoder": True}, "is_decoder"),
    ({"model_type": []}, "an entry is of another type or size than transformers writes"),
    ({"model_type": "qwen3", "rope_scaling": "yarn"}, "an entry is of another type"),
  ],
)
def test_a_config_that_this_encoder_cannot_be(bert, change, message):
  directory, config, _ = bert
  (directory / "config.json").write_text(json.dumps(config | change))
  with pytest.raises(ValueError, match=message) as caught:
    read_config(directory)
  assert str(directory) in str(caught.value)


def test_a_missing_or_broken_config(tmp_path):
  with pytest.raises(ValueError, match=r"config.json is missing"):
    read_config(tmp_path)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config.json is not JSON"):
    read_config(tmp_path)
  (tmp_path / "config.json").write_text("[]")
  with pytest.raises(ValueError, match="holds a list, expected an object"):
    read_config(tmp_path)


def test_resolve_takes_a_directory_first(tmp_path):
  assert resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./absent", "/absent", "a/b/absent"])
def test_resolve_asks_no_hub_for_a_path(name):
  with pytest.raises(ValueError, match="not a directory; use a model directory or a hub name"):
    resolve(name)


def test_resolve_without_network(tmp_path, monkeypatch):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
  with pytest.raises(ValueError, match=r"'someone/something'.*could not be had.*LocalEntryNotFoundError"):
    resolve("someone/something")
