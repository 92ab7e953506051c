"""A run that is killed at random moments, as often as one likes, ends with the bits of a run that nobody touched."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

KILLABLE = Path(__file__).with_name("killable.py")


class Runs:
  """Starts runs in forks of one process, see killable.py."""

  def __init__(self, data_dir: Path, root: Path):
    self.root = root
    command = [sys.executable, str(KILLABLE), str(data_dir), str(root)]
    self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert self._answer() == "ready\n"

  def __call__(self, workdir: Path, **order: object) -> dict:
    """One try; returns its exit code (-9 = killed), and its operations on files and seconds."""
    assert self._process.stdin is not None
    print(json.dumps({"workdir": str(workdir), "log": str(self.root / "log")} | order), file=self._process.stdin)
    self._process.stdin.flush()
    return json.loads(self._answer())

  def said(self) -> str:
    return (self.root / "log").read_text()

  def close(self) -> None:
    assert self._process.stdin is not None and self._process.stdout is not None
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()

  def _answer(self) -> str:
    assert self._process.stdout is not None
    return self._process.stdout.readline()


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory) -> Iterator[Runs]:
  made = Runs(data_dir, tmp_path_factory.mktemp("runs"))
  yield made
  made.close()


@pytest.fixture(scope="module")
def whole(runs) -> tuple[Path, dict]:
  """A run that nobody touched, and what it took."""
  runs(runs.root / "first")  # compiles
  (runs.root / "cache").rename(runs.root / "cache.first")
  took = runs(runs.root / "whole")
  assert took["code"] == 0, runs.said()[-3000:]
  return runs.root / "whole", took


def tensors(workdir: Path) -> dict[str, np.ndarray]:
  files = sorted((workdir / "export").rglob("*.safetensors"))
  return {f"{f.parent.name}/{name}": value for f in files for name, value in load_file(f).items()}


def assert_equal_bits(a: Path, b: Path) -> None:
  left, right = tensors(a), tensors(b)
  assert left.keys() == right.keys() and len(left) > 10
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)
  for name in ("evaluation.json", "leakage.json", "data.json"):
    assert (a / name).read_text() == (b / name).read_text(), name


def assert_nothing_is_half_written(workdir: Path) -> None:
  """What has its final name is whole."""
  for path in workdir.glob("*.json"):
    json.loads(path.read_text())
  if (workdir / "export").exists():
    assert len(tensors(workdir)) > 10 and (workdir / "export" / "README.md").exists()
  if (workdir / "evaluation.json").exists():
    assert (workdir / "export").exists()


def kill_and_go_on(runs: Runs, whole: tuple[Path, dict], kills: int, seed: int) -> None:
  """Kills runs, each with a cache of its own, until it has been done so often; each is then left to end."""
  rng, done, number = random.Random(seed), 0, 0
  expected, took = whole
  while done < kills:
    workdir, number = runs.root / f"run{seed}.{number}", number + 1
    left = rng.randint(3, 12)  # kills of this run
    while True:
      if not left or done == kills:
        moment = {}
      elif rng.random() < 0.5:
        moment = {"operation": rng.randint(1, took["operations"])}
      else:
        moment = {"seconds": rng.uniform(0.05, took["seconds"])}
      ended = runs(workdir, **moment)
      assert ended["code"] in (0, -signal.SIGKILL), (moment, runs.said()[-3000:])
      assert_nothing_is_half_written(workdir)
      if not ended["code"]:
        break
      done, left = done + 1, left - 1
    assert_equal_bits(expected, workdir)
    left_over = [path.name for path in (*workdir.iterdir(), *(runs.root / "cache").rglob(".*"))]
    assert not [name for name in left_over if ".partial" in name or name == ".lock" or os.uname().nodename in name]
    (runs.root / "cache").rename(runs.root / f"cache{seed}.{number}")
  print(f"{done} kills in {number} runs")


def test_a_run_survives_kills(runs, whole):
  kill_and_go_on(runs, whole, kills=3, seed=1)


@pytest.mark.slow
def test_a_run_survives_fifty_kills(runs, whole):
  kill_and_go_on(runs, whole, kills=50, seed=int(os.environ.get("MTC_KILL_SEED", "0")))
