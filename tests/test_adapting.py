"""Runs that train a part of a pretrained model: frozen paths, LoRA, and adapters out and in."""

from dataclasses import replace
from pathlib import Path

from absl import flags
import jax
from ml_collections import config_flags
import numpy as np
import pytest
from safetensors.numpy import load_file

from mtc import data, load, models
from mtc.config import Experiment, Task
from mtc.embedder.start import start_model
from mtc.losses import InfoNCE
from mtc.models import LoraSpec, ModelSpec
from mtc.optim import OptimSpec
from mtc.training import contrastive

LORA = LoraSpec(rank=2, alpha=8.0, dropout=0.1, targets=("query", "mlp_output"))


@pytest.fixture(scope="module")
def base(tokenizer, tmp_path_factory):
  """A Hugging Face directory with a model of a few thousand parameters."""
  return _write_base(tmp_path_factory.mktemp("models") / "base", tokenizer, seed=0)


def _write_base(directory: Path, tokenizer, seed: int) -> Path:
  spec = ModelSpec(layers=2, width=16, heads=2, mlp_width=32, vocab_size=tokenizer.get_vocab_size(), positions=64)
  config = models.scratch_config(spec, pad_id=0)
  backbone = models.build(config, spec).init(jax.random.key(seed))["backbone"]
  models.save_backbone(directory, jax.tree.map(lambda x: x * 5 if x.ndim > 1 else x, backbone), config)
  data.tokenizer.save(tokenizer, directory, max_length=64)
  return directory


@pytest.fixture
def experiment(base, data_dir, tmp_path_factory):
  return Experiment(
    tasks={
      "search_tweets": Task(
        data.Folder("search_tweets"), data.Pairs(), InfoNCE(learn_temperature=True), batch_size=10, max_length=64
      )
    },
    model=ModelSpec(pretrained=str(base), dim=8, dtype="float32", lora=replace(LORA)),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir=str(data_dir),
    cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    steps=4,
    input="threads",
    log_every=1,
    checkpoint_every=2,
  )


def run(experiment: Experiment, workdir: Path) -> Path:
  assert contrastive.prepare(experiment, workdir)() == 0
  return workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture
def whole(experiment, finished):
  """The workdir of a run with LoRA that nobody interrupted."""
  return finished if finished.exists() else run(experiment, finished)


def test_lora_leaves_an_export_that_is_base_and_adapter(base, whole):
  before, after = load_file(base / "model.safetensors"), load_file(whole / "export" / "model.safetensors")
  adapter = load_file(whole / "adapter" / "adapter_model.safetensors")
  for name, weight in before.items():
    module = name.removesuffix(".weight")
    a = adapter.get(f"base_model.model.{module}.lora_A.weight")
    if a is None:
      np.testing.assert_array_equal(after[name], weight, err_msg=name)
      continue
    b = adapter[f"base_model.model.{module}.lora_B.weight"]
    assert np.abs(b).max() > 1e-3  # it has learned
    np.testing.assert_allclose(after[name], weight + 4.0 * b @ a, rtol=0, atol=1e-5, err_msg=name)
  assert len(adapter) == 8


def test_a_stopped_run_with_lora_goes_on_to_the_same_bits(experiment, whole, tmp_path):
  experiment.stop_after = 1
  run(experiment, tmp_path / "run")
  experiment.stop_after = 0
  run(experiment, tmp_path / "run")
  for name in ("export/model.safetensors", "export/2_Dense/model.safetensors", "adapter/adapter_model.safetensors"):
    resumed, expected = load_file(tmp_path / "run" / name), load_file(whole / name)
    assert resumed.keys() == expected.keys()
    for key in expected:
      np.testing.assert_array_equal(resumed[key], expected[key], err_msg=f"{name}: {key}")


def test_no_adapter_is_left_where_the_backbone_has_learned_too(experiment, tmp_path):
  experiment.steps, experiment.optim.freeze = 1, ("backbone/embeddings",)
  workdir = run(experiment, tmp_path / "run")
  assert (workdir / "export").exists() and not (workdir / "adapter").exists()


def test_an_adapter_is_a_start(experiment, whole, tmp_path):
  experiment.model.adapter = str(whole / "adapter")
  further = start_model(experiment, tmp_path).params
  assert np.abs(further["lora"]["layer_0"]["query"]["b"]).max() > 1e-3
  experiment.model.lora = LoraSpec()
  merged = start_model(experiment, tmp_path).params["backbone"]
  expected = load(whole / "export").params["backbone"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), merged, expected)


def test_an_adapter_for_another_base_is_refused(experiment, whole, tokenizer, tmp_path):
  experiment.model.adapter = str(whole / "adapter")
  experiment.model.pretrained = str(_write_base(tmp_path / "other", tokenizer, seed=1))
  with pytest.raises(ValueError, match="was made for other weights"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_path_that_no_parameter_has_is_refused_before_the_run(experiment, tmp_path):
  experiment.optim.freeze = ("backbone/layr_0",)
  with pytest.raises(ValueError, match=r"'backbone/layr_0', which no parameter has; near it are .*backbone/layer_0"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_frozen_backbone_without_a_head_is_refused(experiment, tmp_path):
  experiment.tasks["search_tweets"].loss = InfoNCE()
  experiment.model = replace(experiment.model, dim=0, lora=LoraSpec())
  experiment.optim = OptimSpec(freeze=("backbone",))
  with pytest.raises(
    ValueError, match="leaves nothing to train; leave out what shall learn, or add a head by model.dim"
  ):
    contrastive.prepare(experiment, tmp_path / "run")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # by ml_collections
def test_the_command_line_sets_freeze_and_lora(monkeypatch):
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values)
  overrides = ["--config.model.lora.rank=8", "--config.model.lora.targets=('query','value')"]
  argv = ["", "--config=configs/multitask.py", "--config.optim.freeze=('backbone/*',)", *overrides]
  monkeypatch.setattr("sys.argv", argv)  # where ml_collections looks for the overrides
  values(argv)
  assert values.config.optim.freeze == ("backbone/*",)
  assert (values.config.model.lora.rank, values.config.model.lora.targets) == (8, ("query", "value"))
