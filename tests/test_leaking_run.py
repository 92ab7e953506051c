"""What a run does with training rows that hold test texts."""

import json
import shutil

import numpy as np
import pytest

from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import start
from mtc.evaluators import KNN, Retrieval
from mtc.models import ModelSpec
from mtc.training import contrastive


@pytest.fixture
def leaking(data_dir, tmp_path):
  """An experiment whose interest rows 200 to 202 are a test text, one in capitals, and a query of the search."""
  folder = tmp_path / "data"
  shutil.copytree(data_dir, folder)
  test = [json.loads(line)["text"] for line in (folder / "interest" / "test.jsonl").read_text().splitlines()]
  queries = [json.loads(line)["text"] for line in (folder / "search_tweets" / "queries.jsonl").read_text().splitlines()]
  train_file = folder / "interest" / "train.jsonl"
  # The tiny data repeat themselves: what leaks is to be these rows alone.
  own = [row for row in map(json.loads, train_file.read_text().splitlines()) if len(row["text"]) % 2]
  texts = ["first: " + test[0] * 3, "SECOND: " + test[1] * 3, queries[-1]]
  held_out = [{"text": text, "labels": ["law"]} for text in ("first: " + test[0] * 3, "second: " + test[1] * 3)]
  with open(train_file, "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in [*own, *({"text": t, "labels": ["law"]} for t in texts)])
  with open(folder / "interest" / "test.jsonl", "w") as file:
    file.writelines(json.dumps(row | {"labels": [label]}) + "\n" for row, label in zip(held_out, ("law", "x")))
  (folder / "interest" / "validation.jsonl").unlink()
  return Experiment(
    tasks={
      "interest": Task(data.Folder("interest"), data.SameLabel(), batch_size=8),
      "search_tweets": Task(data.Folder("search_tweets"), data.Pairs(), batch_size=8),
    },
    evaluations={
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(k=1), validation="", reference="train"),
      "search": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval(), validation=""),
    },
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=128, dim=8, dtype="float32"),
    data_dir=str(folder),
    cache_dir=str(tmp_path / "cache"),
    steps=2,
    input="threads",
  ), len(own)


def test_a_warning_a_stop_and_rows_left_out(leaking, tmp_path):
  experiment, count = leaking
  run = contrastive.prepare(experiment, tmp_path / "warn")
  written = json.loads((tmp_path / "warn" / "leakage.json").read_text())
  found = written["tasks"]["interest"]
  assert (written["on_leak"], found["rows"], found["leaking"]) == ("warn", count + 3, 3)
  assert found["tests"] == {
    "interest/test": {"texts": 2, "equal": 2, "near": 0},
    "search/test": {"texts": 40, "equal": 1, "near": 0},
  }
  assert written["tasks"]["search_tweets"]["leaking"] == 0, "its documents are no test texts"
  shown = run._introduction(1e12, 0)
  assert "interest           interest/test" in shown and f"3 of {count + 3} of interest" in shown

  experiment.on_leak = "stop"
  with pytest.raises(ValueError, match=r"on_leak='stop':(.|\n)*interest/test(.|\n)*use on_leak='drop'"):
    contrastive.prepare(experiment, tmp_path / "stop")

  experiment.on_leak = "drop"
  run = contrastive.prepare(experiment, tmp_path / "drop")
  assert "they are left out" in run._introduction(1e12, 0)
  report = json.loads((tmp_path / "drop" / "data.json").read_text())["interest"]
  assert (report["examples"], report["skipped"]) == (count, {"a test has its text": 3})
  _, prepared = start.model_and_data(experiment, tmp_path / "drop", run.leaks)
  assert len(prepared["interest"].anchor) == count, "whoever prepares several runs leaves them out too"
  with pytest.raises(ValueError, match="training data of interest changed"):
    contrastive.prepare(experiment, tmp_path / "warn")  # rows that its beginning had are gone


def test_without_leaks_all_three_are_the_same_run(leaking, tmp_path):
  experiment, _ = leaking
  del experiment.evaluations["interest"], experiment.tasks["interest"]
  tokens = []
  for experiment.on_leak in ("warn", "drop", "stop"):
    run = contrastive.prepare(experiment, tmp_path / "one")  # goes on in the same workdir
    tokens.append(np.array(run.packer.step(0).tokens.ids))
    assert "no training row contains a test text" in run._introduction(1e12, 0)
  np.testing.assert_array_equal(tokens[0], tokens[1])
  np.testing.assert_array_equal(tokens[0], tokens[2])


def test_an_unknown_choice(leaking):
  experiment, _ = leaking
  experiment.on_leak = "ignore"
  with pytest.raises(ValueError, match="on_leak='ignore' is unknown; use warn, drop or stop"):
    experiment.validate()
