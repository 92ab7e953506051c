"""The layout of sentence-transformers, as version 6.2 and the older ones write it."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mtc.models import is_sentence_transformer, load_sentence_transformer, save_sentence_transformer

PROJECTION = {
  "kernel": np.arange(12, dtype=np.float32).reshape(4, 3),
  "bias": np.array([1, 2, 3], np.float32),
}
PREFIX = "sentence_transformers"
NEW_TYPES = (
  f"{PREFIX}.base.modules.transformer.Transformer",
  f"{PREFIX}.sentence_transformer.modules.pooling.Pooling",
  f"{PREFIX}.base.modules.dense.Dense",
  f"{PREFIX}.base.modules.normalize.Normalize",
)
DENSE = {"in_features": 4, "out_features": 3, "bias": True, "activation_function": "torch.nn.modules.linear.Identity"}


@pytest.fixture
def written(tmp_path):
  """What sentence-transformers 6.2 writes, Transformer in the directory itself."""
  paths = ("", "1_Pooling", "2_Dense", "3_Normalize")
  modules = [{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(zip(paths, NEW_TYPES))]
  for path in paths[1:]:
    (tmp_path / path).mkdir()
  _json(tmp_path / "modules.json", modules)
  pooling = {"embedding_dimension": 4, "pooling_mode": "lasttoken", "include_prompt": True}
  _json(tmp_path / "1_Pooling" / "config.json", pooling)
  _json(tmp_path / "2_Dense" / "config.json", DENSE)
  tensors = {"linear.weight": PROJECTION["kernel"].T.copy(), "linear.bias": PROJECTION["bias"]}
  save_file(tensors, tmp_path / "2_Dense" / "model.safetensors")
  _json(tmp_path / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
  _json(tmp_path / "config_sentence_transformers.json", {"prompts": {"query": "q: ", "document": ""}})
  return tmp_path


def _json(path, content):
  path.write_text(json.dumps(content))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
@pytest.mark.parametrize(
  ("projection", "activation"), [(PROJECTION, "identity"), (PROJECTION, "tanh"), ({}, "identity")]
)
def test_round_trip(tmp_path, pooling, projection, activation):
  assert not is_sentence_transformer(tmp_path)
  save_sentence_transformer(tmp_path, pooling, 4, projection, {"query": "q: "}, 128, activation)
  assert is_sentence_transformer(tmp_path)
  found = load_sentence_transformer(tmp_path)
  assert (found.backbone, found.pooling, found.max_length) == (tmp_path, pooling, 128)
  assert (found.prompts, found.activation) == ({"query": "q: "}, activation)
  assert set(found.projection) == set(projection)
  for name, value in projection.items():
    np.testing.assert_array_equal(found.projection[name], value)


def test_what_version_6_writes(written):
  found = load_sentence_transformer(written)
  assert (found.backbone, found.pooling, found.max_length) == (written, "last", 0)
  assert found.prompts == {"query": "q: "}
  np.testing.assert_array_equal(found.projection["kernel"], PROJECTION["kernel"])
  np.testing.assert_array_equal(found.projection["bias"], PROJECTION["bias"])


def test_a_backbone_in_a_folder_and_no_more_than_pooling(written):
  old = f"{PREFIX}.models"
  modules = [{"type": f"{old}.Transformer", "path": "0_Transformer"}, {"type": f"{old}.Pooling", "path": "1_Pooling"}]
  _json(written / "modules.json", modules)
  (written / "0_Transformer").mkdir()
  _json(written / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 77})
  _json(written / "1_Pooling" / "config.json", {"word_embedding_dimension": 4, "pooling_mode_cls_token": True})
  found = load_sentence_transformer(written)
  assert (found.backbone, found.pooling, found.max_length) == (written / "0_Transformer", "cls", 77)
  assert found.projection == {}


def test_where_the_greatest_length_stands(written):
  _json(written / "tokenizer_config.json", {"model_max_length": 10**30})
  assert load_sentence_transformer(written).max_length == 0
  _json(written / "tokenizer_config.json", {"model_max_length": 40})
  assert load_sentence_transformer(written).max_length == 40
  _json(written / "sentence_bert_config.json", {"max_seq_length": 30})
  assert load_sentence_transformer(written).max_length == 30


def test_a_projection_without_bias(written):
  _json(written / "2_Dense" / "config.json", DENSE | {"bias": False})
  save_file({"linear.weight": PROJECTION["kernel"].T.copy()}, written / "2_Dense" / "model.safetensors")
  np.testing.assert_array_equal(load_sentence_transformer(written).projection["bias"], np.zeros(3))


@pytest.mark.parametrize(
  ("path", "change", "message"),
  [
    ("2_Dense", {"activation_function": "torch.nn.modules.activation.ReLU"}, "activation.ReLU; .*Identity, .*Tanh"),
    ("2_Dense", {"activation_function": None}, "Identity"),
    ("2_Dense", {"use_residual": True}, "use_residual"),
    ("2_Dense", {"module_input_name": "token_embeddings"}, "token_embeddings"),
    ("2_Dense", {"out_features": 5}, r"expected linear.weight \[5, 4\]"),
    ("1_Pooling", {"pooling_mode": 3}, "an entry of its JSON files is missing or of another type"),
    ("1_Pooling", {"pooling_mode": "weightedmean"}, "weightedmean; known is one of mean, cls, max, lasttoken"),
    ("1_Pooling", {"pooling_mode": ["mean", "max"]}, r"mean \+ max"),
    ("1_Pooling", {"include_prompt": False}, "include_prompt"),
  ],
)
def test_what_this_encoder_does_not_have(written, path, change, message):
  file = written / path / "config.json"
  _json(file, json.loads(file.read_text()) | change)
  with pytest.raises(ValueError, match=message):
    load_sentence_transformer(written)


@pytest.mark.parametrize(
  ("prompts", "message"),
  [({"query": 3}, r"has the prompts \{'query': 3\}; expected texts"), (["q: "], "of another type")],
)
def test_prompts_that_are_no_texts(written, prompts, message):
  _json(written / "config_sentence_transformers.json", {"prompts": prompts})
  with pytest.raises(ValueError, match=message):
    load_sentence_transformer(written)


def test_a_dense_layer_without_an_activation_entry_is_a_tanh(written):
  assert load_sentence_transformer(written).activation == "identity"
  _json(written / "2_Dense" / "config.json", {"in_features": 4, "out_features": 3, "bias": True})
  assert load_sentence_transformer(written).activation == "tanh"


def test_two_dense_layers_are_one(written):
  _second_dense(written)
  found = load_sentence_transformer(written)
  assert found.activation == "tanh"
  x = np.arange(4.0)
  expected = (x @ PROJECTION["kernel"] + PROJECTION["bias"]) @ SECOND.T + 0.5
  np.testing.assert_allclose(x @ found.projection["kernel"] + found.projection["bias"], expected, rtol=1e-6)


def test_an_activation_between_two_dense_layers(written):
  _second_dense(written)
  _json(written / "2_Dense" / "config.json", DENSE | {"activation_function": "torch.nn.modules.activation.Tanh"})
  with pytest.raises(ValueError, match="before another Dense"):
    load_sentence_transformer(written)


SECOND = np.array([[1, -2, 3], [0.5, 0, 1]], np.float32)


def _second_dense(directory):
  modules = json.loads((directory / "modules.json").read_text())
  modules.insert(3, {"idx": 3, "name": "3", "path": "4_Dense", "type": NEW_TYPES[2]})
  _json(directory / "modules.json", modules)
  (directory / "4_Dense").mkdir()
  _json(directory / "4_Dense" / "config.json", {"in_features": 3, "out_features": 2})
  tensors = {"linear.weight": SECOND, "linear.bias": np.full(2, 0.5, np.float32)}
  save_file(tensors, directory / "4_Dense" / "model.safetensors")


@pytest.mark.parametrize(
  ("prompts", "default", "query", "document"),
  [
    ({"query": "q: ", "document": None}, None, "q: ", ""),
    ({"query": "q: ", "passage": "p: "}, None, "q: ", "p: "),
    ({"all": "a: "}, "all", "a: ", "a: "),
    ({"query": "", "corpus": "c: ", "all": "a: "}, "all", "", "c: "),
  ],
)
def test_whose_prompt_is_whose(written, prompts, default, query, document):
  _json(written / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": default})
  found = load_sentence_transformer(written).prompts
  assert (found.get("query", ""), found.get("document", "")) == (query, document)


DEFAULTS = {"default_prompt_name": "topic", "similarity_fn_name": "dot", "truncate_dim": 2}


def test_what_a_call_without_a_name_takes_comes_back(tmp_path):
  prompts = {"query": "q: ", "topic": "t: ", "plain": ""}
  save_sentence_transformer(tmp_path, "mean", 4, {}, prompts, 128, defaults=DEFAULTS)
  found = load_sentence_transformer(tmp_path)
  assert found.defaults == DEFAULTS
  assert found.prompts == {"query": "q: ", "topic": "t: ", "plain": ""}
  saved = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
  assert saved["prompts"] == prompts | {"document": ""} and saved.items() >= DEFAULTS.items()


@pytest.mark.parametrize(
  ("settings", "defaults"),
  [
    ({}, {}),
    ({"default_prompt_name": None, "similarity_fn_name": None, "truncate_dim": None}, {}),
    ({"default_prompt_name": "document"}, {"default_prompt_name": "document"}),  # every model has this one
    ({"similarity_fn_name": "maxsim"}, {}),  # which sentence-transformers takes for its default too
  ],
)
def test_what_a_directory_does_not_say_is_not_written(written, settings, defaults):
  _json(written / "config_sentence_transformers.json", {"prompts": {"query": "q: "}} | settings)
  assert load_sentence_transformer(written).defaults == defaults


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"default_prompt_name": "topic"}, "default_prompt_name='topic', .*; name one of query, document, all, or null"),
    ({"default_prompt_name": ["topic"]}, "of another type"),
    ({"truncate_dim": 0}, "truncate_dim=0; expected a positive number of dimensions, or null"),
    ({"truncate_dim": "8"}, "truncate_dim='8'; expected a positive number"),
    ({"truncate_dim": True}, "truncate_dim=True; expected a positive number"),
  ],
)
def test_what_no_call_can_take(written, settings, message):
  _json(written / "config_sentence_transformers.json", {"prompts": {"all": "a: "}} | settings)
  with pytest.raises(ValueError, match=message):
    load_sentence_transformer(written)


@pytest.mark.parametrize(
  ("modules", "message"),
  [
    ([("x.Transformer", ""), ("x.Dense", "2_Dense"), ("x.Pooling", "1_Pooling")], "Transformer, Dense, Pooling; known"),
    ([("x.WordEmbeddings", ""), ("x.Pooling", "1_Pooling")], "WordEmbeddings"),
    ([("x.Transformer", ".."), ("x.Pooling", "1_Pooling")], "outside its directory"),
    ([("x.Transformer", "/tmp"), ("x.Pooling", "1_Pooling")], "outside its directory"),
  ],
)
def test_other_modules(written, modules, message):
  _json(written / "modules.json", [{"type": kind, "path": path} for kind, path in modules])
  with pytest.raises(ValueError, match=message):
    load_sentence_transformer(written)


@pytest.mark.parametrize("content", ["{", "{}", '["a"]', '[{"type": "x"}]'])
def test_a_broken_list_of_modules(written, content):
  (written / "modules.json").write_text(content)
  with pytest.raises(ValueError, match=r"modules.json"):
    load_sentence_transformer(written)
