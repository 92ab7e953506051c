"""LoRA by hand, and as an adapter directory that PEFT reads and writes."""

from dataclasses import replace
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtc.models import (
  LoraSpec,
  ModelSpec,
  build,
  load_adapter,
  load_backbone,
  merge_lora,
  read_config,
  save_adapter,
  save_backbone,
  save_sentence_transformer,
  scratch_config,
  start_from_adapter,
)

SPEC = ModelSpec(
  pretrained="somewhere/base", layers=2, width=16, heads=2, mlp_width=32, vocab_size=40, positions=32, dim=0,
  dropout=0.0, dtype="float32", lora=LoraSpec(rank=3, alpha=6.0, targets=("query", "mlp_output")),
)  # fmt: skip
CONFIG = scratch_config(SPEC, pad_id=0)


@pytest.fixture(scope="module")
def tokens(grid):
  return grid([[[2, 5, 6, 7, 3], [2, 8, 3]], [[2, 9, 10, 11, 12, 13, 3]]], length=8, slots=2)


def _params(spec: ModelSpec, seed: int = 0) -> dict:
  """Parameters in which every adapter counts: a fresh one adds nothing."""
  params = build(CONFIG, spec).init(jax.random.key(seed))
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: np.asarray(x + 0.3 * rng.normal(size=x.shape), np.float32), params)


@pytest.fixture(scope="module")
def params():
  return _params(SPEC)


def test_only_the_targets_have_adapters():
  lora = build(CONFIG, SPEC).init(jax.random.key(0))["lora"]
  shapes = {"query": {"a": (16, 3), "b": (3, 16)}, "mlp_output": {"a": (32, 3), "b": (3, 16)}}
  assert jax.tree.map(jnp.shape, lora) == {"layer_0": shapes, "layer_1": shapes}
  assert not np.array_equal(lora["layer_0"]["query"]["a"], lora["layer_1"]["query"]["a"])
  every = build(CONFIG, replace(SPEC, lora=LoraSpec(rank=1))).init(jax.random.key(0))["lora"]
  assert set(every["layer_0"]) == {"query", "key", "value", "attention_output", "mlp_input", "mlp_output"}


def test_at_the_start_the_model_is_the_one_it_adapts(tokens):
  encoder, plain = build(CONFIG, SPEC), build(CONFIG, replace(SPEC, lora=LoraSpec()))
  params, expected = encoder.init(jax.random.key(0)), plain.init(jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, params["backbone"], expected["backbone"])
  np.testing.assert_array_equal(encoder.apply(params, tokens, None), plain.apply(expected, tokens, None))


def test_an_adapter_adds_alpha_over_rank_times_a_b_by_hand(params, tokens):
  adapted = jax.tree.map(np.copy, params["backbone"])
  for layer in ("layer_0", "layer_1"):
    for name in ("query", "mlp_output"):
      pair, kernel = params["lora"][layer][name], adapted[layer][name]["kernel"]
      for i in range(kernel.shape[0]):
        for o in range(kernel.shape[1]):
          kernel[i, o] += 2.0 * sum(pair["a"][i, r] * pair["b"][r, o] for r in range(3))
  encoder = build(CONFIG, SPEC)
  expected = np.asarray(encoder.apply({"backbone": adapted}, tokens, None))
  np.testing.assert_allclose(encoder.apply(params, tokens, None), expected, rtol=0, atol=1e-5)
  without = np.asarray(encoder.apply({"backbone": params["backbone"]}, tokens, None))
  assert np.abs(without - expected).max() > 0.1

  merged = merge_lora(params, SPEC.lora)
  assert merged.keys() == {"backbone"}
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), merged["backbone"], adapted)


def test_dropout_is_before_the_adapter_only_and_only_with_a_key(params, tokens):
  encoder, dropping = build(CONFIG, SPEC), build(CONFIG, replace(SPEC, lora=replace(SPEC.lora, dropout=0.5)))
  whole = np.asarray(encoder.apply(params, tokens, None))
  np.testing.assert_array_equal(dropping.apply(params, tokens, None), whole)
  np.testing.assert_array_equal(encoder.apply(params, tokens, jax.random.key(1)), whole)
  first, again, other = (np.asarray(dropping.apply(params, tokens, jax.random.key(k))) for k in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.01 and np.abs(first - whole).max() > 0.01
  silent = {**params, "lora": jax.tree.map(np.zeros_like, params["lora"])}
  np.testing.assert_array_equal(
    dropping.apply(silent, tokens, jax.random.key(1)), encoder.apply({"backbone": params["backbone"]}, tokens, None)
  )


def test_in_bfloat16_the_adapter_computes_in_bfloat16(params, tokens):
  hidden = build(CONFIG, replace(SPEC, dtype="bfloat16")).apply(params, tokens, None)
  assert hidden.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    hidden.astype(jnp.float32), build(CONFIG, SPEC).apply(params, tokens, None), rtol=0, atol=0.2
  )


@pytest.mark.parametrize(
  "change, message",
  [
    ({"rank": -1}, r"model\.lora\.rank=-1 is negative"),
    ({"alpha": 0.0}, r"model\.lora\.alpha=0\.0 is not positive"),
    ({"dropout": 1.0}, r"model\.lora\.dropout=1\.0 is outside"),
    ({"targets": "query"}, r"model\.lora\.targets='query' is not a tuple"),
    ({"targets": ()}, r"model\.lora\.targets=\(\) is not a tuple"),
  ],
)
def test_a_field_out_of_range(change, message):
  with pytest.raises(ValueError, match=message):
    replace(SPEC, lora=replace(SPEC.lora, **change)).validate()


def test_an_unknown_target_lists_the_known_ones():
  spec = replace(SPEC, lora=LoraSpec(rank=2, targets=("query", "q_proj")))
  with pytest.raises(ValueError, match=r"'q_proj', which this model has not; use 'all' or .*attention_output.*query"):
    build(CONFIG, spec).init(jax.random.key(0))


@pytest.mark.parametrize("change", [{"lora": LoraSpec(rank=2)}, {"lora": LoraSpec(), "adapter": "x"}])
def test_without_a_pretrained_model_there_is_nothing_to_adapt(change):
  with pytest.raises(ValueError, match=r"nothing to adapt: name a model with model\.pretrained"):
    replace(SPEC, pretrained="", **change).validate()


@pytest.fixture
def saved(params, tmp_path):
  save_adapter(tmp_path / "adapter", params, SPEC.lora, CONFIG, SPEC.pretrained)
  return tmp_path / "adapter"


def test_an_adapter_has_the_names_and_shapes_of_peft(saved, params):
  tensors = load_file(saved / "adapter_model.safetensors")
  prefix = "base_model.model.encoder.layer.1."
  assert len(tensors) == 8
  query = params["lora"]["layer_1"]["query"]
  np.testing.assert_array_equal(tensors[f"{prefix}attention.self.query.lora_A.weight"], query["a"].T)
  np.testing.assert_array_equal(tensors[f"{prefix}attention.self.query.lora_B.weight"], query["b"].T)
  assert tensors[f"{prefix}output.dense.lora_A.weight"].shape == (3, 32)
  settings = json.loads((saved / "adapter_config.json").read_text())
  assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (3, 6.0, "somewhere/base")
  assert "encoder.layer.0.output.dense" in settings["target_modules"] and len(settings["target_modules"]) == 4


def test_an_adapter_comes_back(saved, params):
  spec, lora = load_adapter(saved, CONFIG, params["backbone"], "renamed/model")  # the weights count, not the name
  assert (spec.rank, spec.alpha, set(spec.targets)) == (3, 6.0, {"query", "mlp_output"})
  jax.tree.map(np.testing.assert_array_equal, lora, params["lora"])


def test_a_run_starts_from_an_adapter(saved, params):
  fresh = {"backbone": params["backbone"], "lora": jax.tree.map(np.zeros_like, params["lora"])}
  further = start_from_adapter(fresh, replace(SPEC, adapter=str(saved)), CONFIG)
  jax.tree.map(np.testing.assert_array_equal, further, params)
  merged = start_from_adapter(
    {"backbone": params["backbone"]}, replace(SPEC, adapter=str(saved), lora=LoraSpec()), CONFIG
  )
  jax.tree.map(np.testing.assert_array_equal, merged, merge_lora(params, SPEC.lora))
  for other in ({"rank": 2}, {"alpha": 3.0}, {"targets": ("query",)}):
    spec = replace(SPEC, adapter=str(saved), lora=replace(SPEC.lora, **other))
    fresh = {"backbone": params["backbone"], "lora": build(CONFIG, spec).init(jax.random.key(0))["lora"]}
    with pytest.raises(ValueError, match=r"has rank 3, alpha 6 and targets .*, unlike model\.lora"):
      start_from_adapter(fresh, spec, CONFIG)


def test_an_adapter_for_other_weights_is_refused(saved):
  with pytest.raises(ValueError, match="was made for other weights .*somewhere/base"):
    load_adapter(saved, CONFIG, _params(SPEC, seed=1)["backbone"], "other/base")


def test_an_adapter_for_another_size_is_refused(saved):
  spec = replace(SPEC, width=8, layers=1)
  config = scratch_config(spec, pad_id=0)
  backbone = build(config, spec).init(jax.random.key(0))["backbone"]
  with pytest.raises(
    ValueError, match=r"does not fit this model: .*query\.lora_A.*\[3, 16\], expected floats \[3, 8\]"
  ):
    load_adapter(saved, config, backbone, SPEC.pretrained)


def test_an_adapter_without_our_digest_is_known_by_the_name_of_its_base(saved, params):
  save_file(load_file(saved / "adapter_model.safetensors"), saved / "adapter_model.safetensors", {"format": "pt"})
  load_adapter(saved, CONFIG, params["backbone"], "elsewhere/base")
  with pytest.raises(ValueError, match=r"made for 'somewhere/base', not for 'somewhere/other'; set model\.pretrained"):
    load_adapter(saved, CONFIG, params["backbone"], "somewhere/other")


@pytest.fixture
def named(saved, params, tmp_path, monkeypatch):
  """A function from the name of its base to an adapter without our digest; the base is in `models/base`."""
  save_file(load_file(saved / "adapter_model.safetensors"), saved / "adapter_model.safetensors", {"format": "pt"})
  save_backbone(tmp_path / "models" / "base", params["backbone"], CONFIG)
  monkeypatch.chdir(tmp_path)
  path = saved / "adapter_config.json"

  def make(name):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(name)}))
    return saved

  return make


def _link(folder):
  (folder / "link").symlink_to(folder / "models" / "base")
  return folder / "link"


def _hub(folder, repository="org/net"):
  """The base as huggingface_hub keeps it: a snapshot of links to blobs."""
  home = folder / "hub" / f"models--{repository.replace('/', '--')}"
  snapshot, blobs = home / "snapshots" / ("0" * 40), home / "blobs"
  for made in (snapshot, blobs, home / "refs"):
    made.mkdir(parents=True)
  (home / "refs" / "main").write_text("0" * 40)
  for file in (folder / "models" / "base").iterdir():
    shutil.copy(file, blobs)
    (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
  return snapshot


def _sharded(folder):
  shutil.copytree(folder / "models" / "base", folder / "parts")
  tensors = load_file(folder / "parts" / "model.safetensors")
  (folder / "parts" / "model.safetensors").unlink()
  names = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(tensors)}
  for file in set(names.values()):
    part = {f"bert.{name}": tensors[name] for name in tensors if names[name] == file}
    save_file(part, folder / "parts" / file, {"format": "pt"})
  index = {"weight_map": {f"bert.{name}": file for name, file in names.items()}}
  (folder / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
  return folder / "parts"


def _half(dtype):
  def make(folder):
    backbone = load_backbone(folder / "models" / "base", CONFIG)
    save_backbone(folder / dtype, backbone, CONFIG, dtype=dtype)
    return folder / dtype

  return make


def _in_a_folder(folder):
  save_sentence_transformer(folder / "whole", "mean", 16, {}, {}, 32)
  modules = json.loads((folder / "whole" / "modules.json").read_text())
  modules[0]["path"] = "0_Transformer"
  (folder / "whole" / "modules.json").write_text(json.dumps(modules))
  shutil.copytree(folder / "models" / "base", folder / "whole" / "0_Transformer")
  return folder / "whole"


def _same(folder):
  return folder / "models" / "base"


ALIKE = {  # what the adapter names, and what the model is loaded from
  "a link to the base": (_link, _same),
  "the base of a link": (_same, _link),
  "a relative path": (lambda folder: "models/base", _same),
  "relative to the adapter": (lambda folder: "../models/base", _same),
  "a slash": (lambda folder: f"{_same(folder)}/", _same),
  "a way around": (lambda folder: f"{folder}/models/../models/base", _link),
  "a copy": (lambda folder: shutil.copytree(_same(folder), folder / "copy"), _same),
  "a copy of a link": (lambda folder: shutil.copytree(_same(folder), folder / "copy"), _link),
  "parts under other names": (_sharded, _same),
  "float16": (_half("float16"), _same),
  "bfloat16": (_half("bfloat16"), _link),
  "a folder of sentence-transformers": (_in_a_folder, _same),
  "a name of the hub": (lambda folder: _hub(folder) and "org/net", _same),
  "the snapshot of a name": (lambda folder: "org/net", _hub),
  "two names": (lambda folder: _hub(folder) and "org/net", lambda folder: _hub(folder, "me/copy") and "me/copy"),
  "a snapshot, copied from elsewhere": (lambda folder: "other/net", _hub),
}


@pytest.mark.parametrize("case", ALIKE)
def test_the_base_of_an_adapter_is_known_by_its_place_or_its_weights(named, params, tmp_path, monkeypatch, case):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
  theirs, ours = (make(tmp_path) for make in ALIKE[case])
  load_adapter(named(theirs), CONFIG, params["backbone"], str(ours))


def _other(folder):
  save_backbone(folder / "other" / "base", _params(SPEC, seed=1)["backbone"], CONFIG)
  return folder / "other" / "base"


def _heads(folder):
  shutil.copytree(_same(folder), folder / "heads" / "base")
  (folder / "heads" / "base" / "config.json").write_text(json.dumps(CONFIG | {"num_attention_heads": 4}))
  return folder / "heads" / "base"


def _fewer(folder):
  tensors = load_file(_same(folder) / "model.safetensors")
  tensors.pop("encoder.layer.1.output.dense.bias")
  shutil.copytree(_same(folder), folder / "fewer" / "base")
  save_file(tensors, folder / "fewer" / "base" / "model.safetensors", {"format": "pt"})
  return folder / "fewer" / "base"


def _pickle(folder):
  shutil.copytree(_same(folder), folder / "pickle" / "net")
  (folder / "pickle" / "net" / "model.safetensors").rename(folder / "pickle" / "net" / "pytorch_model.bin")
  return folder / "pickle" / "net"


UNLIKE = {
  "other weights of the same name": (_other, "their weights differ"),
  "other sizes": (_heads, "their sizes differ"),
  "a weight less": (_fewer, "their weights differ"),
  "a pickle of another name": (_pickle, "the first cannot be compared: no model.safetensors"),
  "another name": (lambda folder: "someone/net", "the first is not on this machine, and their names differ"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_another_base_is_refused_in_words(named, params, tmp_path, case):
  make, why = UNLIKE[case]
  with pytest.raises(ValueError, match=rf"was made for '.*', not for '.*link'; set model\.pretrained to it.* \({why}"):
    load_adapter(named(make(tmp_path)), CONFIG, params["backbone"], str(_link(tmp_path)))


@pytest.mark.parametrize(
  "change, message",
  [
    ({"peft_type": "IA3"}, "peft_type='IA3'; only plain LoRA"),
    ({"use_dora": True}, "use_dora=True; only plain LoRA"),
    ({"modules_to_save": ["pooler"]}, "modules_to_save"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'; only plain LoRA"),
    ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
    ({"r": "three"}, "r='three'"),
    ({"r": 4}, r"expected floats \[4, 16\]"),
  ],
)
def test_an_adapter_that_we_cannot_be_is_refused(saved, params, change, message):
  path = saved / "adapter_config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ValueError, match=message):
    load_adapter(saved, CONFIG, params["backbone"], SPEC.pretrained)


def test_half_an_adapter_is_refused(saved, params):
  tensors = load_file(saved / "adapter_model.safetensors")
  tensors.pop("base_model.model.encoder.layer.0.attention.self.query.lora_B.weight")
  save_file(tensors, saved / "adapter_model.safetensors")
  with pytest.raises(ValueError, match="layer_0/query has one matrix of two"):
    load_adapter(saved, CONFIG, params["backbone"], SPEC.pretrained)


def test_a_directory_without_an_adapter(tmp_path, params):
  with pytest.raises(ValueError, match=r"adapter_config\.json is missing"):
    load_adapter(tmp_path, CONFIG, params["backbone"], SPEC.pretrained)


@pytest.fixture
def peft():
  pytest.importorskip("torch")
  return pytest.importorskip("peft")


def _hidden(model) -> np.ndarray:
  import torch

  with torch.no_grad():
    return model.eval()(torch.tensor([[2, 5, 6, 7, 3]])).last_hidden_state[0].numpy()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_loads_our_adapter(peft, params, tmp_path, grid):
  import transformers

  save_backbone(tmp_path / "base", params["backbone"], CONFIG)
  save_adapter(tmp_path / "adapter", params, SPEC.lora, CONFIG, str(tmp_path / "base"))
  model = peft.PeftModel.from_pretrained(
    transformers.AutoModel.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
  )
  ours = build(CONFIG, SPEC).apply(params, grid([[[2, 5, 6, 7, 3]]], length=5, slots=1), None)
  np.testing.assert_allclose(_hidden(model), ours, rtol=0, atol=1e-5)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_we_load_an_adapter_of_peft(peft, model_type, tmp_path, grid):
  import transformers

  spec = replace(SPEC, architecture=model_type, lora=LoraSpec())
  config = scratch_config(spec, pad_id=0)
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(
    lambda x: np.asarray(x + 0.3 * rng.normal(size=x.shape), np.float32), build(config, spec).init(jax.random.key(0))
  )
  save_backbone(tmp_path / "base", drawn["backbone"], config)
  settings = peft.LoraConfig(r=2, lora_alpha=5, target_modules="all-linear", init_lora_weights=False)
  model = peft.get_peft_model(transformers.AutoModel.from_pretrained(tmp_path / "base"), settings)
  model.save_pretrained(tmp_path / "adapter")
  config = read_config(tmp_path / "base")
  params = {"backbone": load_backbone(tmp_path / "base", config)}
  found, lora = load_adapter(tmp_path / "adapter", config, params["backbone"], str(tmp_path / "base"))
  encoder = build(config, replace(spec, lora=found))
  ours = encoder.apply({**params, "lora": lora}, grid([[[2, 5, 6, 7, 3]]], length=5, slots=1), None)
  np.testing.assert_allclose(_hidden(model), ours, rtol=0, atol=1e-5)
