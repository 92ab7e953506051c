"""A run from beginning to end, in this process: what it leaves, and that no interruption changes it."""

import dataclasses
import gzip
import json
import os
from pathlib import Path
import re
import shutil
import signal

from etils import epath
import jax
import numpy as np
from orbax.checkpoint import CheckpointManager
import pytest
from safetensors.numpy import load_file

from mtc import data, progress
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import start
from mtc.evaluators import KNN, Retrieval
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.multitask.balancing import Uncertainty
from mtc.optim import OptimSpec
from mtc.training import compile_ahead, contrastive
from mtc.workdir import bucket

STEPS = 6


@pytest.fixture
def experiment(data_dir, tmp_path_factory):
  """Two tasks, a model of a few thousand parameters, dropout on: resuming must find its keys again."""
  return Experiment(
    tasks={
      "interest": Task(data.Folder("interest"), data.SameLabel(), InfoNCE(), batch_size=12, max_length=64),
      "search_tweets": Task(
        data.Folder("search_tweets"), data.Pairs(), InfoNCE(learn_temperature=True), batch_size=10, max_length=64
      ),
    },
    evaluations={
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(), reference="train"),
      "search_tweets": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval()),
      "elsewhere": Evaluation(data.Folder("elsewhere"), data.Pairs(), Retrieval()),
    },
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=64, dim=8, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir=str(data_dir),
    cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    steps=STEPS,
    input="threads",
    log_every=1,
    checkpoint_every=2,
  )


def run(experiment: Experiment, workdir: Path) -> int:
  return contrastive.prepare(experiment, workdir)()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The workdir of a run that nobody interrupted; the first test that asks for it makes it."""
  return tmp_path_factory.mktemp("runs") / "whole"


@pytest.fixture
def whole(experiment, finished):
  if not finished.exists():
    assert run(experiment, finished) == 0
  return finished


def tensors(workdir: Path) -> dict[str, np.ndarray]:
  files = sorted((workdir / "export").rglob("*.safetensors"))
  return {f"{f.parent.name}/{name}": value for f in files for name, value in load_file(f).items()}


def assert_equal_bits(a: Path, b: Path):
  left, right = tensors(a), tensors(b)
  assert left.keys() == right.keys() and len(left) > 10
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)
  assert (a / "evaluation.json").read_text() == (b / "evaluation.json").read_text()


def lines(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_it_promises(whole, capsys):
  for name in (
    "config.json",
    "data.json",
    "environment.json",
    "before.json",
    "leakage.json",
    "evaluation.json",
    "tensorboard",
    "checkpoints",
  ):
    assert (whole / name).exists(), name
  rows = [row for row in lines(whole) if "loss" in row]
  assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
  expected = {
    "interest/loss",
    "search_tweets/loss",
    "tokens_per_second",
    "padding",
    "input_wait",
    "grad_norm",
    "learning_rate",
  }
  assert expected <= rows[-1].keys()
  assert 0 <= rows[-1]["padding"] < 1 and 0 <= rows[-1]["input_wait"] <= 1
  assert rows[-1]["loss"] == pytest.approx(rows[-1]["interest/loss"] + rows[-1]["search_tweets/loss"], rel=1e-6)
  scores = json.loads((whole / "evaluation.json").read_text())["scores"]
  assert {"interest/accuracy", "search_tweets/mrr@10"} <= scores.keys()
  assert not any("elsewhere" in name for name in scores)
  before = json.loads((whole / "before.json").read_text())
  assert before["untrained"].keys() == before["tfidf"].keys() == scores.keys()


def test_training_learns(whole):
  rows = [row for row in lines(whole) if "loss" in row]
  assert rows[-1]["loss"] < rows[0]["loss"] - 0.2


def test_the_same_seed_gives_the_same_bits_with_either_input(experiment, whole, tmp_path):
  experiment.input = "tf"
  assert run(experiment, tmp_path / "again") == 0
  assert_equal_bits(whole, tmp_path / "again")


def test_a_stopped_run_goes_on_to_the_same_bits(experiment, whole, tmp_path, capsys):
  experiment.stop_after = 3  # not a multiple of checkpoint_every: it is saved all the same
  experiment.evaluate_every = 3
  assert run(experiment, tmp_path / "run") == 0
  assert not (tmp_path / "run" / "export").exists()
  assert "stopped at step 3" in capsys.readouterr().out
  experiment.stop_after = 0
  assert run(experiment, tmp_path / "run") == 0
  assert "resuming from step 3" in capsys.readouterr().out
  assert_equal_bits(whole, tmp_path / "run")
  assert [row["step"] for row in lines(tmp_path / "run") if "loss" in row] == list(range(1, STEPS + 1))
  validated = [row["step"] for row in lines(tmp_path / "run") if "validation/interest/accuracy" in row]
  assert validated == [4, 6], "as a run that nobody stopped"


@pytest.mark.parametrize("name", ["[v1]*?/a", "a**b\n: {x} #%20 $HOME 'é' \"b\"\\/~"])
def test_a_run_in_directories_of_any_name_goes_on_to_the_same_bits(experiment, data_dir, whole, tmp_path, name, capsys):
  workdir = tmp_path / name / "run"
  experiment.data_dir = str(shutil.copytree(data_dir, tmp_path / name / "data"))
  experiment.cache_dir, experiment.stop_after = str(tmp_path / name / "cache"), 3
  assert run(experiment, workdir) == 0
  experiment.stop_after = 0
  assert run(experiment, workdir) == 0
  assert "resuming from step 3" in capsys.readouterr().out
  assert_equal_bits(whole, workdir)


@pytest.mark.parametrize("how", ["stop_after", "signal"])
def test_a_checkpoint_that_cannot_be_read_back_is_not_reported_as_saved(experiment, tmp_path, monkeypatch, capsys, how):
  finished = CheckpointManager.wait_until_finished

  def finish_and_lose(self):
    finished(self)
    shutil.rmtree(tmp_path / "run/checkpoints/step_3/state", ignore_errors=True)

  monkeypatch.setattr(CheckpointManager, "wait_until_finished", finish_and_lose)
  if how == "stop_after":
    experiment.stop_after = 3
  else:
    send_at(monkeypatch, 3, signal.SIGTERM)
  with pytest.raises(OSError, match="checkpoint of step 3 .* cannot be read back, so it is not saved"):
    run(experiment, tmp_path / "run")
  printed = capsys.readouterr().out
  assert "stopped at" not in printed and "saved" not in printed
  monkeypatch.undo()
  assert run(experiment, tmp_path / "run") == 0
  assert "resuming from step 2" in capsys.readouterr().out


def test_what_was_trained_before_a_validation_that_fails_is_saved(experiment, whole, tmp_path, monkeypatch, capsys):
  def fail(*_):
    raise ValueError("evaluation 'interest' cannot be scored")

  with monkeypatch.context() as patch:
    patch.setattr(contrastive.Contrastive, "validate", fail)
    with pytest.raises(ValueError, match="'interest' cannot be scored"):
      run(experiment, tmp_path / "run")
  assert run(experiment, tmp_path / "run") == 0
  assert "resuming from step 2" in capsys.readouterr().out
  assert_equal_bits(whole, tmp_path / "run")


def test_a_validation_that_cannot_be_scored_is_refused_before_the_first_step(experiment, tmp_path):
  experiment.best_metric = "interest/acuracy"
  with pytest.raises(ValueError, match="best_metric='interest/acuracy' is not measured.*use one of interest/accuracy,"):
    contrastive.prepare(experiment, tmp_path / "run")
  few = data.InMemory({"validation": [{"text": "soup", "labels": "x"}, {"text": "goal", "labels": "y"}]})
  experiment.evaluations["few"] = Evaluation(few, data.SameLabel(), KNN(), test="")
  with pytest.raises(ValueError, match="evaluation 'few': k=10 of KNN"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_diagnoses_change_nothing_and_are_there_once(experiment, whole, tmp_path):
  experiment.diagnose_every, experiment.stop_after = 2, 3
  assert run(experiment, tmp_path / "run") == 0
  experiment.stop_after, experiment.log_every = 0, 3  # after a diagnosis, and in the same step as one
  assert run(experiment, tmp_path / "run") == 0
  assert_equal_bits(whole, tmp_path / "run")
  rows = [row for row in lines(tmp_path / "run") if "gradient/cosine/interest/search_tweets" in row]
  assert [row["step"] for row in rows] == [2, 4, 6]
  assert all(-1 <= row["gradient/cosine/interest/search_tweets"] <= 1 for row in rows)
  shares = [row["gradient/share/interest"] + row["gradient/share/search_tweets"] for row in rows]
  assert shares == pytest.approx([1, 1, 1], rel=1e-5)
  assert {"gradient/norm/interest", "geometry/alignment/interest", "geometry/effective_rank"} < rows[0].keys()
  assert not any("gradient" in name for row in lines(whole) for name in row)


def test_a_diagnosis_without_memory_is_left_out(experiment, whole, tmp_path, monkeypatch, capsys):
  def diagnosis(state, batch):
    asked.append(state)
    raise jax.errors.JaxRuntimeError(said)

  asked, said = [], "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."
  monkeypatch.setattr(contrastive.diagnose, "make_diagnosis", lambda *_: diagnosis)
  experiment.diagnose_every = 2
  assert run(experiment, tmp_path / "a") == 0 and len(asked) == 1
  assert "step 2: no memory to compare the tasks' gradients" in capsys.readouterr().out
  assert_equal_bits(tmp_path / "a", whole)
  said = "INTERNAL: something else"
  with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
    run(experiment, tmp_path / "b")


def test_a_run_can_be_balanced(experiment, tmp_path):
  experiment.balancing, experiment.stop_after = Uncertainty(learning_rate=0.1), 2
  assert run(experiment, tmp_path / "run") == 0
  first, second = [row for row in lines(tmp_path / "run") if "loss" in row]
  assert first["balance/interest"] == 1 and second["balance/interest"] == pytest.approx(
    np.exp(-0.1 * (first["interest/loss"] - 1)), rel=1e-5
  )


def test_lines_after_the_last_checkpoint_of_a_killed_run_are_cut(experiment, whole, tmp_path):
  experiment.stop_after = 4
  assert run(experiment, tmp_path / "run") == 0
  with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
    file.write('{"step": 5, "loss": 99.0}\n{"step": 6, "lo')
  experiment.stop_after = 0
  assert run(experiment, tmp_path / "run") == 0
  assert [row["step"] for row in lines(tmp_path / "run") if "loss" in row] == list(range(1, STEPS + 1))
  assert_equal_bits(whole, tmp_path / "run")


def send_at(monkeypatch, step: int, number: int) -> None:
  """Sends this process a signal after a number of steps."""
  sent = []
  update = progress.Bar.update

  def update_and_signal(self, *args):
    if self.n == step - 1 and not sent and self.unit == "step":
      sent.append(number)
      os.kill(os.getpid(), number)
    return update(self, *args)

  monkeypatch.setattr(progress.Bar, "update", update_and_signal)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_with_its_code(experiment, whole, tmp_path, monkeypatch, number, code):
  send_at(monkeypatch, 3, number)
  handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
  assert run(experiment, tmp_path / "run") == code
  assert handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)], "the handlers were not put back"
  assert run(experiment, tmp_path / "run") == 0
  assert_equal_bits(whole, tmp_path / "run")


def test_a_finished_run_again_changes_nothing(experiment, whole, capsys):
  files = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}
  experiment.log_every = 3  # only steers
  assert run(experiment, whole) == 0
  assert "finished" in capsys.readouterr().out
  assert files == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}


def test_another_config_is_refused_with_the_fields_that_differ(experiment, whole):
  experiment.optim.learning_rate = 0.5
  experiment.tasks["interest"].batch_size = 8
  with pytest.raises(ValueError, match=r"optim\.learning_rate: 0\.01 -> 0\.5") as error:
    contrastive.prepare(experiment, whole)
  assert "tasks.interest.batch_size: 12 -> 8" in str(error.value) and "model" not in str(error.value)


def test_changed_data_are_refused(experiment, data_dir, tmp_path):
  changed = shutil.copytree(data_dir, tmp_path / "data")
  experiment.data_dir, experiment.stop_after = str(changed), 2
  assert run(experiment, tmp_path / "run") == 0
  path = changed / "interest" / "train.jsonl"
  path.write_text(path.read_text().replace("we saw", "we heard", 1))
  with pytest.raises(ValueError, match="training data of interest changed"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_one_task_a_step(experiment, tmp_path):
  experiment.mixing = data.Mixing(kind="uniform")
  assert run(experiment, tmp_path / "run") == 0
  rows = [row for row in lines(tmp_path / "run") if "loss" in row]
  tasks = [[name for name in row if name.endswith("/loss")] for row in rows]
  assert all(len(names) == 1 for names in tasks) and len({names[0] for names in tasks}) == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_task(experiment, tmp_path):
  experiment.optim = OptimSpec(learning_rate=1e30, warmup=0.0, clip_norm=0.0)
  with pytest.raises(
    FloatingPointError, match=r"not finite at step [2-6]; its update was not applied.*on_nonfinite=skip"
  ):
    run(experiment, tmp_path / "run")


def test_steps_that_are_not_finite_are_skipped_up_to_a_limit(experiment, tmp_path, capsys):
  experiment.optim = OptimSpec(learning_rate=1e30, warmup=0.0, clip_norm=0.0)
  experiment.on_nonfinite, experiment.nonfinite_limit = "skip", 1
  with pytest.raises(FloatingPointError, match="nonfinite_limit=1"):
    run(experiment, tmp_path / "run")
  assert "1 of at most 1" in capsys.readouterr().err


def test_a_missing_folder_of_a_task_is_an_error(experiment, tmp_path):
  experiment.tasks["elsewhere"] = dataclasses.replace(experiment.tasks["interest"], source=data.Folder("elsewhere"))
  with pytest.raises(FileNotFoundError, match="elsewhere"):
    contrastive.prepare(experiment, tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()


def test_max_length_over_the_positions_is_an_error(experiment, tmp_path):
  experiment.tasks["interest"].max_length = 65
  with pytest.raises(
    ValueError, match="max_length=65 of task 'interest' is over the 64 positions of this model; use 64"
  ):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_workdir_that_is_a_file_is_an_error(experiment, tmp_path):
  (tmp_path / "run").write_text("")
  with pytest.raises(ValueError, match="is a file"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_workdir_that_is_not_utf_8_is_refused_before_any_work(experiment, tmp_path):
  with pytest.raises(
    ValueError, match=r"/caf\\udce9/run' holds bytes that are not UTF-8; rename the file or directory"
  ):
    contrastive.prepare(experiment, tmp_path / "caf\udce9" / "run")
  assert not (tmp_path / "caf\udce9").exists()


def test_a_run_in_a_bucket_goes_on_on_another_machine_in_the_same_bits(experiment, whole, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket, "bucket_folder", lambda name: epath.Path(tmp_path / name.removeprefix("gs://")))
  for stop_after in (3, 0):
    with bucket.workdir("gs://bucket/a") as workdir:
      assert run(dataclasses.replace(experiment, stop_after=stop_after), workdir) == 0
      assert not (workdir / "checkpoints").exists()
    assert not workdir.exists()
  assert_equal_bits(tmp_path / "bucket/a", whole)
  assert [row["step"] for row in lines(tmp_path / "bucket/a") if "loss" in row] == list(range(1, STEPS + 1))


def test_a_profile_changes_nothing_and_can_be_opened(experiment, whole, tmp_path, capsys):
  experiment.profile_at = 3
  assert run(experiment, tmp_path / "run") == 0
  assert_equal_bits(whole, tmp_path / "run")
  names = {path.name.split(".", 1)[1] for path in (tmp_path / "run/profile").rglob("*") if path.is_file()}
  assert {"xplane.pb", "trace.json.gz"} <= names
  (path,) = (tmp_path / "run/profile").rglob("*.trace.json.gz")
  assert json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
  assert f"the trace: {tmp_path / 'run/profile'}" in capsys.readouterr().out


def test_the_speed_is_in_the_metrics_and_the_step_in_the_introduction(whole, experiment, tmp_path, capsys):
  rows = [row for row in lines(whole) if "loss" in row]
  assert all(row["mfu"] > 0 for row in rows)
  experiment.stop_after = 1
  assert run(experiment, tmp_path / "run") == 0
  printed = capsys.readouterr().out
  assert re.search(r"interest +200 .* 12 +9.1 ", printed) and re.search(r"search_tweets +200 .* 10 +9.0 ", printed)
  assert re.search(r"one step: \d+ tokens, .* TFLOP; float32 matrices are multiplied at .* TFLOP/s here", printed)
  assert re.search(r"memory per device: \d+ MiB for \d+ rows, .* MiB are free", printed)


def test_a_static_embedding_has_no_speed_in_products(experiment, tmp_path, capsys):
  experiment.model = ModelSpec(architecture="static", width=16, vocab_size=400, dim=0)
  experiment.stop_after = 1
  assert run(experiment, tmp_path / "run") == 0
  assert re.search(r"one step: \d+ tokens; a static embedding has no matrix products", capsys.readouterr().out)
  (row,) = [row for row in lines(tmp_path / "run") if "loss" in row]
  assert "mfu" not in row and row["tokens_per_second"] > 0


def test_a_run_that_does_not_fit_is_refused_before_the_first_step(experiment, tmp_path, monkeypatch):
  monkeypatch.setattr(compile_ahead, "free_memory", lambda: 100_000)
  with pytest.raises(ValueError, match=r"a step of \d+ rows of \d+ tokens needs .* MiB are free; what would help: "):
    contrastive.prepare(experiment, tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()
  experiment.model = ModelSpec(architecture="static", width=16, vocab_size=400, dim=0)
  with pytest.raises(ValueError, match=r"that are trained \(optim.freeze\)"):  # LoRA would have nothing to adapt
    contrastive.prepare(experiment, tmp_path / "run")


def test_the_chunks_that_are_named_do_help(experiment, tmp_path, monkeypatch):
  experiment.tasks = {"interest": dataclasses.replace(experiment.tasks["interest"], batch_size=64)}
  experiment.evaluations = {}
  most = max(need.total for need in needs(experiment, tmp_path / "a"))
  monkeypatch.setattr(compile_ahead, "free_memory", lambda: int(0.7 * most))
  with pytest.raises(ValueError, match="chunks=") as error:
    contrastive.prepare(experiment, tmp_path / "b")
  experiment.chunks = int(re.search(r"chunks=(\d+)", str(error.value))[1])
  contrastive.prepare(experiment, tmp_path / "b")


def needs(experiment: Experiment, workdir: Path) -> list[compile_ahead.Need]:
  return contrastive.prepare(experiment, workdir).train_step.needs


@pytest.mark.parametrize(
  "mixing", [data.Mixing(), data.Mixing("weights", weights={"interest": 12, "search_tweets": 10})]
)
def test_words_by_rarity_are_counted_by_the_anchors_of_the_tasks(experiment, tmp_path, mixing):
  """A task of many texts says no more of what a run sees than one of few with as many anchors."""
  experiment.model.rarity, experiment.mixing = 0.01, mixing
  experiment.steps = 1000  # a whole period of the mixing: as many steps of either task
  model, prepared = start.model_and_data(experiment, tmp_path, {})
  frequency = {
    name: np.bincount(task.tokens, minlength=model.tokenizer.get_vocab_size()) / len(task.tokens)
    for name, task in prepared.items()
  }
  share = (12 * frequency["interest"] + 10 * frequency["search_tweets"]) / 22
  table = np.asarray(model.params["backbone"]["embeddings"]["word"]["embedding"])
  common = (table[:, -2] - table[:, -1]) / np.sqrt(2) / np.linalg.norm(table, axis=1)
  np.testing.assert_allclose(common, np.sqrt(1 - (0.01 / (0.01 + share)) ** 2), atol=2e-4)
