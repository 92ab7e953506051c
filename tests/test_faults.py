"""What a run does when its numbers break or its data change under it: it stops, says why, and loses nothing."""

import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
from killable import experiment as tiny
import numpy as np
import pytest

from mtc import data, progress
from mtc.optim import OptimSpec
from mtc.training import contrastive


@pytest.fixture
def experiment(data_dir, tmp_path_factory):
  made = tiny(str(data_dir), str(tmp_path_factory.getbasetemp() / "cache"))
  made.evaluations, made.diagnose_every = {}, 0  # they take most of the time
  return made


def run(experiment, workdir: Path) -> int:
  return contrastive.prepare(experiment, workdir)()


def lines(workdir: Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def rows_of(data_dir: Path, task: str) -> dict[str, str]:
  """id -> text"""
  files = ["train.jsonl"] if task == "interest" else ["corpus.jsonl", "queries.jsonl"]
  rows = [json.loads(line) for file in files for line in (data_dir / task / file).read_text("utf-8").splitlines()]
  return {row.get("id", row.get("_id")): row["text"] for row in rows}


def test_the_texts_of_a_step_that_is_not_finite_are_kept(experiment, data_dir, tmp_path):
  experiment.optim = OptimSpec(learning_rate=1e30, warmup=0.0, clip_norm=0.0)
  with pytest.raises(FloatingPointError, match="not finite at step") as error:
    run(experiment, tmp_path / "run")
  (path,) = (tmp_path / "run" / "nonfinite").iterdir()
  assert path.name in str(error.value) and "the texts of its batch are in" in str(error.value)
  told = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
  assert path.name == f"step_{told['step']}.json" and told["measured"]["loss"] in ("nan", "inf")
  for task, count in (("interest", 12), ("search_tweets", 10)):
    rows, examples = rows_of(data_dir, task), told["examples"][task]
    assert len(examples) == count
    for text in [example[role] for example in examples for role in ("anchor", "positive")]:
      assert rows[text["id"]] == text["text"]


def test_steps_that_are_skipped_are_kept_each(experiment, tmp_path, capsys):
  experiment.on_nonfinite, experiment.grad_norm_limit = "skip", 1e-9
  assert run(experiment, tmp_path / "run") == 0
  said = capsys.readouterr().err
  assert said.count("its update was not applied; the texts of its batch are in") == 6 and "6 of at most 10" in said
  assert len(list((tmp_path / "run" / "nonfinite").iterdir())) == 6


def test_an_exploding_gradient_is_stopped_by_its_norm(experiment, tmp_path):
  experiment.grad_norm_limit = 1e-9
  with pytest.raises(FloatingPointError, match=r"norm .* is over grad_norm_limit=1e-09 at step 1; its update was not"):
    run(experiment, tmp_path / "run")
  assert (tmp_path / "run" / "nonfinite" / "step_1.json").exists()


@pytest.mark.parametrize("metric", ["interest/loss", "grad_norm"])
def test_a_device_that_returns_what_is_not_finite_is_not_believed(experiment, tmp_path, monkeypatch, metric):
  """The device's flag says that all is well; the host reads the numbers."""
  step = contrastive.compile_ahead.Ahead.__call__

  def third(self, state, batch):
    state, metrics = step(self, state, batch)
    return state, metrics | ({metric: jnp.float32(np.inf)} if int(state.step) == 3 else {})

  monkeypatch.setattr(contrastive.compile_ahead.Ahead, "__call__", third)
  name = {"interest/loss": "the loss of interest", "grad_norm": "the gradient"}[metric]
  with pytest.raises(FloatingPointError, match=f"{name} is not finite at step 3, and its update was applied;"):
    run(experiment, tmp_path / "run")
  assert (tmp_path / "run" / "checkpoints" / "step_2").exists()
  assert not (tmp_path / "run" / "checkpoints" / "step_4").exists()


def test_weights_that_are_not_finite_are_not_saved(experiment, tmp_path, monkeypatch):
  step = contrastive.compile_ahead.Ahead.__call__

  def fourth(self, state, batch):
    state, metrics = step(self, state, batch)
    if int(state.step) == 4:
      params = state.params["encoder"]
      kernel = params["projection"]["kernel"]
      projection = params["projection"] | {"kernel": kernel.at[0, 0].set(jnp.nan)}
      state = state.replace(params=state.params | {"encoder": params | {"projection": projection}})
    return state, metrics

  monkeypatch.setattr(contrastive.compile_ahead.Ahead, "__call__", fourth)
  with pytest.raises(FloatingPointError, match=r"encoder\.projection\.kernel first, are not finite after step 4"):
    run(experiment, tmp_path / "run")
  assert not (tmp_path / "run" / "checkpoints" / "step_4").exists()
  monkeypatch.setattr(contrastive.compile_ahead.Ahead, "__call__", step)
  assert run(experiment, tmp_path / "run") == 0


def change_at(monkeypatch, step: int, change) -> None:
  """Calls `change` once so many steps are taken."""
  update = progress.Bar.update

  def update_and_change(self, *args):
    if not self.disable and self.unit == "step" and self.n == step - 1:
      change()
    return update(self, *args)

  monkeypatch.setattr(progress.Bar, "update", update_and_change)


def test_data_that_change_during_a_run_are_refused_and_the_run_goes_on_with_the_old_ones(
  experiment, data_dir, tmp_path, monkeypatch
):
  changed = shutil.copytree(data_dir, tmp_path / "data")
  path, experiment.data_dir = changed / "interest" / "train.jsonl", str(changed)
  old = path.read_text()
  with monkeypatch.context() as patch:
    change_at(patch, 3, lambda: path.write_text(old.replace("we saw", "we heard", 1)))
    with pytest.raises(data.Changed, match="data of interest changed while the run was under way; .* at step 4"):
      run(experiment, tmp_path / "run")
  with pytest.raises(ValueError, match="training data of interest changed since the run"):
    contrastive.prepare(experiment, tmp_path / "run")
  path.write_text(old)
  assert run(experiment, tmp_path / "run") == 0
  assert [row["step"] for row in lines(tmp_path / "run") if "loss" in row] == list(range(1, 7))


def test_files_that_are_only_touched_or_copied_anew_change_nothing(experiment, data_dir, tmp_path, monkeypatch):
  copied = shutil.copytree(data_dir, tmp_path / "data")
  path, experiment.data_dir = copied / "interest" / "train.jsonl", str(copied)

  def again():
    content = path.read_text()
    path.unlink()
    path.write_text(content)

  experiment.grad_norm_limit = 1e6  # no gradient comes near it
  change_at(monkeypatch, 3, again)
  assert run(experiment, tmp_path / "run") == 0


def test_tokens_that_are_overwritten_during_a_run_reach_no_checkpoint(experiment, tmp_path, monkeypatch):
  experiment.cache_dir = str(tmp_path / "cache")

  def overwrite():
    for path in (tmp_path / "cache" / "tokens").glob("*/tokens.npy"):
      with open(path, "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")

  with monkeypatch.context() as patch:
    change_at(patch, 3, overwrite)
    with pytest.raises(data.Changed, match=r"tokens\.npy was changed while the run read it; run the same command"):
      run(experiment, tmp_path / "run")
  assert not (tmp_path / "run" / "checkpoints" / "step_4").exists()
  assert run(experiment, tmp_path / "run") == 0  # they are damaged, so they are made anew


def test_a_cache_that_is_removed_during_a_run_changes_nothing(experiment, tmp_path, monkeypatch):
  experiment.cache_dir = str(tmp_path / "cache")
  change_at(monkeypatch, 3, lambda: shutil.rmtree(tmp_path / "cache"))
  assert run(experiment, tmp_path / "run") == 0


WAIT = """
import signal, sys, time
from mtc import cli
from mtc.training import loop
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
cli.set_up()
with cli.mistakes():
  try:
    if sys.argv[1] == "steps":
      with loop._signals() as seen:
        print("ready", flush=True)
        while not seen:
          time.sleep(0.01)
        print("saving", flush=True)
        time.sleep(60)
    print("ready", flush=True)
    time.sleep(60)
  finally:
    print("tidied", flush=True)
"""


def wait(where: str) -> subprocess.Popen:
  process = subprocess.Popen(
    [sys.executable, "-c", WAIT, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  assert process.stdout is not None and process.stdout.readline() == "ready\n"
  return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_steps_at_once(number):
  with wait("steps") as process:
    process.send_signal(number)
    assert process.stdout is not None and process.stdout.readline() == "saving\n"
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(30) == -number and time.monotonic() - began < 10


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_step_tidies_up_and_ends(number, code):
  with wait("preparation") as process:
    process.send_signal(number)
    said, errors = process.communicate(timeout=30)
  assert process.returncode == code and said == "tidied\n" and "Traceback" not in errors, errors
