"""The transfer report: which runs it makes, what it says of them, and that an interruption changes nothing."""

import json
import os
from pathlib import Path
import shutil
import signal

import numpy as np
import pytest

from mtc import data, progress
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import start
from mtc.embedder.embedder import load
from mtc.evaluation import scoring
from mtc.evaluation.tables import read_tables
from mtc.evaluators import KNN, Retrieval, SameLabelRetrieval
from mtc.losses import InfoNCE, Matryoshka
from mtc.models import ModelSpec
from mtc.optim import OptimSpec
from mtc.training import contrastive
from mtc.transfer import experiment as experiment_lib, tables as transfer_tables
from mtc.transfer.experiment import Way

STEPS = 4


@pytest.fixture
def experiment(data_dir, tmp_path_factory):
  """Two tasks and a zero-shot evaluation, a model of a few thousand parameters with words by rarity."""
  return Experiment(
    tasks={
      "interest": Task(
        data.Folder("interest"), data.SameLabel(), Matryoshka(InfoNCE(), dims=(3, 8)), batch_size=16, max_length=32
      ),
      "search_tweets": Task(data.Folder("search_tweets"), data.Pairs(), InfoNCE(), batch_size=8, max_length=64),
    },
    evaluations={
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(k=3), reference="train"),
      "search_tweets": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval()),
      "storyline": Evaluation(data.Folder("storyline"), data.SameLabel(), SameLabelRetrieval()),
    },
    model=ModelSpec(
      layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=64, dim=8, dtype="float32", rarity=1e-3
    ),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir=str(data_dir),
    cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    steps=STEPS,
    input="threads",
    log_every=1,
  )


@pytest.fixture(autouse=True)
def one_diagnosis_and_few_draws(monkeypatch):
  redraw = experiment_lib.transfer_tables.evaluators.redraw
  monkeypatch.setattr(experiment_lib.transfer_tables.evaluators, "redraw", lambda *args: redraw(*args, resamples=50))


OPTIONS = experiment_lib.Options(seeds=2, budget="examples")


def run(experiment: Experiment, workdir: Path, options: experiment_lib.Options = OPTIONS) -> int:
  return experiment_lib.prepare(experiment, workdir, options, "configs/tiny.py", ["transfer.py", "--workdir", "w"])()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  return tmp_path_factory.mktemp("transfer") / "whole"


@pytest.fixture
def whole(experiment, finished, monkeypatch):
  if not finished.exists():
    prepare = contrastive.prepare_unscored

    def counting(*args):
      assert args[-1] == finished / "start" / f"seed{args[0].seed}"
      with finished.with_name("mappings").open("a") as file:
        print(len(Path("/proc/self/maps").read_bytes().splitlines()), file=file)
      return prepare(*args)

    monkeypatch.setattr(contrastive, "prepare_unscored", counting)
    assert run(experiment, finished) == 0
    monkeypatch.setattr(contrastive, "prepare_unscored", prepare)
  return finished


def found(workdir: Path) -> dict:
  return json.loads((workdir / "transfer.json").read_text())


def untimed(workdir: Path) -> dict:
  """transfer.json without what a clock says, and without the revision, which another helper's commit changes."""
  report = found(workdir)
  del report["cost"]["seconds"], report["versions"]
  for one in report["runs"]:
    del one["seconds"], one["tokens"]  # tokens come of tokens per second
  return report


def test_it_says_what_it_trained_and_measured(whole):
  report = found(whole)
  assert [(r["kind"], r["task"], r["budget"], r["seed"]) for r in report["runs"]] == [
    (kind, task, budget, seed)
    for kind, task, budget in (
      ("start", "", ""),
      ("together", "", ""),
      ("alone", "interest", "examples"),
      ("alone", "search_tweets", "examples"),
    )
    for seed in (0, 1)
  ]
  assert report["evaluations"] == {
    "interest": {"metric": "accuracy", "task": True, "rows": 40},
    "search_tweets": {"metric": "mrr@10", "task": True, "rows": 40},
    "storyline": {"metric": "map", "task": False, "rows": 40},
  }
  assert {(row["evaluation"], row["zero_shot"]) for row in report["gains"]} == {
    ("interest", False),
    ("search_tweets", False),
    ("storyline", True),
  }
  assert {row["dim"] for row in report["dimensions"]} == {2, 3, 4, 8}
  assert {(row["language"], row["seen"]) for row in report["languages"]} == {("de", True), ("en", True)}
  assert "| search_tweets | mrr@10 | 40 |" in (whole / "transfer.md").read_text()
  assert report["skipped"] == {} and "could not be read" not in (whole / "transfer.md").read_text()
  skipped = {"interest": {"test": {"field 'text' is empty": 2}}}
  shown = transfer_tables.markdown(report | {"skipped": skipped})
  assert "| interest | test | 2 rows left out (field 'text' is empty) |" in shown
  assert "cosine" in report["gradients"] and "effective_rank" in report["geometry"]
  assert "Why: the tasks&#x27; gradients" in (whole / "transfer.html").read_text()


def test_runs_let_their_programs_go(whole):
  first, *others = [int(line) for line in whole.with_name("mappings").read_text().split()]
  assert len(others) > 3 and max(others) < first + 2_000, (first, others)


def test_what_was_logged_at_some_steps_only(tmp_path):
  """With one task a step, each step knows the norm of its task only."""
  lines = [{"step": 1, "gradient/norm/a": 2.0}, {"step": 2, "loss": 1.0}, {"step": 3, "gradient/norm/b": 3.0}]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  gradients = {"steps": [1, 3], "norm": {"a": [2.0, None], "b": [None, 3.0]}}
  assert experiment_lib._diagnoses(tmp_path) == {"gradients": gradients, "geometry": {}}


def test_its_scores_are_those_of_the_exports(experiment, whole):
  tables = read_tables(experiment, "test")
  report = found(whole)
  together = next(r for r in report["runs"] if r["kind"] == "together" and r["seed"] == 1)
  folder = whole / "runs" / "together-lr0.01-seed1"
  scores = scoring.score(load(folder / "export").encode, tables, experiment.evaluations)
  assert together["scores"] == pytest.approx(scores, abs=1e-6)
  assert json.loads((folder / "evaluation.json").read_text()) == {"scores": together["scores"], "skipped": {}}
  both = [r["scores"]["storyline/map"] for r in report["runs"] if r["kind"] == "together"]
  row = next(row for row in report["gains"] if row["evaluation"] == "storyline")
  assert row["together"] == pytest.approx(np.mean(both)) and both[0] != both[1]
  alone = {r["name"]: [] for r in report["runs"] if r["kind"] == "alone"}
  for r in report["runs"]:
    if r["kind"] == "alone":
      alone[r["name"]].append(r["scores"]["storyline/map"])
  assert row["alone"] == pytest.approx(max(np.mean(scores) for scores in alone.values()))
  assert row["gain"] == pytest.approx(row["together"] - row["alone"])
  full = next(d for d in report["dimensions"] if d["evaluation"] == "storyline" and d["dim"] == 8)
  assert full["score"] == pytest.approx(row["together"]) and full["share"] == 1
  models = [load(whole / "runs" / f"together-lr0.01-seed{seed}" / "export") for seed in (0, 1)]
  cut = [
    scoring.score(
      lambda texts, role="document", model=model: model.encode(texts, role, dim=3), tables, experiment.evaluations
    )
    for model in models
  ]
  three = next(d for d in report["dimensions"] if d["evaluation"] == "storyline" and d["dim"] == 3)
  assert three["score"] == pytest.approx(np.mean([scores["storyline/map"] for scores in cut]), abs=1e-6)
  assert three["share"] == pytest.approx(three["score"] / full["score"])


def test_all_runs_of_a_seed_begin_alike(experiment, whole, tmp_path):
  """The start is that of the run together of mtc.main: one tokenizer, words weighed by the tokens of all tasks."""
  model, _ = start.model_and_data(experiment, tmp_path, {})
  seed0 = load(whole / "start" / "seed0")
  texts = ["a note about guitar song", "who wrote about court?"]
  np.testing.assert_allclose(seed0.encode(texts), model.inference(model.params).encode(texts), atol=1e-6)
  for folder in (whole / "runs").iterdir():
    tokenizer = (folder / "export" / "tokenizer.json").read_text()
    assert json.loads(tokenizer)["model"] == json.loads((whole / "start/seed0/tokenizer.json").read_text())["model"]


def test_budgets_are_equal(experiment, tmp_path):
  report = experiment_lib.prepare(experiment, tmp_path / "run", experiment_lib.Options(budget="both"))
  budgets, together = report.budgets, report.budgets.tokens(Way("together"))
  assert budgets.examples(Way("together")) == {"interest": 16 * STEPS, "search_tweets": 8 * STEPS}
  for task in experiment.tasks:
    alone, compute = Way("alone", task, "examples"), Way("alone", task, "steps")
    assert budgets.examples(alone) == {task: budgets.examples(Way("together"))[task]}
    assert budgets.steps(compute) > STEPS
    assert abs(budgets.tokens(compute) - together) <= budgets.tokens(compute) / budgets.steps(compute) / 2
    without = budgets.examples(Way("without", task))
    assert without == {name: n for name, n in budgets.examples(Way("together")).items() if name != task}


def test_budgets_with_one_task_a_step(experiment, tmp_path):
  experiment.steps, experiment.mixing = 100, data.Mixing("weights", weights={"interest": 3.0, "search_tweets": 1.0})
  budgets = experiment_lib.prepare(experiment, tmp_path / "run", experiment_lib.Options()).budgets
  # Shares are of anchors: with twice the batch, 3 to 1 is 60 steps to 40.
  assert budgets.steps(Way("alone", "interest", "examples")) == pytest.approx(60, abs=6)
  held = [budgets.steps(Way("alone", task, "examples")) for task in experiment.tasks]
  assert sum(held) == 100
  assert budgets.steps(Way("without", "interest")) == held[1]


def test_expected_tokens_are_those_that_runs_encode(experiment, whole):
  budgets = experiment_lib.prepare(experiment, whole.parent / "expected", OPTIONS).budgets
  for run in found(whole)["runs"]:
    if run["kind"] != "start":
      assert run["tokens"] == pytest.approx(budgets.tokens(Way(run["kind"], run["task"], run["budget"])), rel=0.05)


def test_a_finished_report_again_changes_nothing(experiment, whole, capsys):
  files = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}
  assert run(experiment, whole) == 0
  assert "nothing to do" in capsys.readouterr().out
  assert files == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}


def test_a_stopped_report_goes_on_to_the_same(experiment, whole, monkeypatch, capsys):
  """Stopped within a run, then between runs, then killed before the last file was written."""
  before, name = untimed(whole), "alone-search_tweets-examples-lr0.01-seed0"
  shutil.rmtree(whole / "runs" / name)
  (whole / "transfer.json").unlink()
  update = progress.Bar.update

  def update_and_signal(self, *args):
    if getattr(self, "unit", "") == "step" and self.n == 1:
      os.kill(os.getpid(), signal.SIGTERM)
    return update(self, *args)

  handler = signal.getsignal(signal.SIGTERM)
  with monkeypatch.context() as patch:
    patch.setattr(progress.Bar, "update", update_and_signal)
    assert run(experiment, whole) == 143
  assert signal.getsignal(signal.SIGTERM) is handler
  assert "saved at step 2 of 4" in capsys.readouterr().out

  with monkeypatch.context() as patch:
    patch.setattr(experiment_lib.transfer_tables, "tables", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stopped:
      run(experiment, whole)
  assert stopped.value.code == 143
  said = capsys.readouterr().out
  assert "=== run 3 of 6: alone search_tweets (equal examples), seed 0" in said and said.count("=== run") == 1
  assert "resuming from step 2 of 4" in said
  assert not (whole / "transfer.json").exists()
  assert run(experiment, whole) == 0
  assert "=== run" not in capsys.readouterr().out
  assert untimed(whole) == before


def test_vectors_go_with_their_run(whole):
  """Else a run that is removed and trained anew would be scored by those of the old one."""
  assert all(list(run.glob("vectors/*.npy")) for run in (whole / "runs").iterdir())
  assert {path.name for path in (whole / "vectors").iterdir()} == {"seed0", "seed1"}


def test_a_report_goes_on_where_its_folder_moved(experiment, whole, tmp_path):
  moved = shutil.copytree(whole, tmp_path / "moved")
  unfinished = moved / "runs" / "alone-search_tweets-examples-lr0.01-seed0"
  (unfinished / "evaluation.json").unlink()
  shutil.rmtree(unfinished / "vectors")
  (moved / "transfer.json").unlink()
  assert run(experiment, moved) == 0
  assert untimed(moved) == untimed(whole)


def test_another_config_is_refused(experiment, whole):
  experiment.tasks["interest"].batch_size = 12
  with pytest.raises(ValueError, match=r"tasks\.interest\.batch_size: 16 -> 12"):
    run(experiment, whole)


def test_bad_options_are_refused_before_anything_is_made(experiment, tmp_path):
  for options, message in (
    (experiment_lib.Options(seeds=0), "seeds=0 is not positive"),
    (experiment_lib.Options(budget="equal"), "budget='equal' is unknown; use examples, steps, both"),
    (experiment_lib.Options(learning_rates=(0.1, 0.0)), "not all positive"),
    (experiment_lib.Options(learning_rates=(0.1, 0.1)), "has one twice"),
  ):
    with pytest.raises(ValueError, match=message):
      run(experiment, tmp_path / "run", options)
  assert not (tmp_path / "run").exists()


def test_one_task_is_refused(experiment, tmp_path):
  del experiment.tasks["interest"]
  with pytest.raises(ValueError, match="one task, 'search_tweets'; transfer takes two or more"):
    run(experiment, tmp_path / "run")


def test_learning_rates_need_validation(experiment, tmp_path):
  experiment.evaluations["interest"].validation = ""
  with pytest.raises(ValueError, match="there is none for interest"):
    run(experiment, tmp_path / "run", experiment_lib.Options(learning_rates=(0.1, 0.01)))


@pytest.mark.slow
def test_learning_rates_are_chosen_on_validation_and_tasks_left_out(experiment, tmp_path):
  experiment.tasks["hashtag"] = Task(data.Folder("hashtag"), data.SameLabel(), InfoNCE(), batch_size=8, max_length=32)
  experiment.evaluations["hashtag"] = Evaluation(data.Folder("hashtag"), data.SameLabel(), SameLabelRetrieval())
  options = experiment_lib.Options(seeds=1, budget="both", leave_one_out=True, learning_rates=(1e-2, 1e-7))
  assert run(experiment, tmp_path / "run", options) == 0
  report = found(tmp_path / "run")
  assert {row["way"] for row in report["tuning"]} == {
    "together",
    *(f"alone {task} (equal {what})" for task in experiment.tasks for what in ("examples", "compute")),
  }
  for row in report["tuning"]:
    tried = {r["learning_rate"]: r["validation"] for r in report["tuning"] if r["way"] == row["way"]}
    assert row["chosen"] == (row["learning_rate"] == max(tried, key=lambda rate: tried[rate]))  # the first of equals
  validation = read_tables(experiment, "validation")
  folder = tmp_path / "run" / "runs" / "together-lr1e-07-seed0" / "export"
  scores = scoring.primary_metrics(scoring.score(load(folder).encode, validation, experiment.evaluations))
  expected = np.mean([scores[name] for name in scores if name.split("/")[0] in experiment.tasks])
  row = next(r for r in report["tuning"] if r["way"] == "together" and r["learning_rate"] == 1e-7)
  assert row["validation"] == pytest.approx(expected, abs=1e-6)
  assert {(row["evaluation"], row["task"]) for row in report["leave_one_out"]} == {
    (e, t) for e in experiment.evaluations for t in experiment.tasks
  }
  without = next(r for r in report["runs"] if r["name"] == "without hashtag")
  assert without["examples"] == {"interest": 16 * STEPS, "search_tweets": 8 * STEPS}
