"""A run that is killed at random moments, as often as one likes, ends with the bits of a run that nobody touched."""

import os
from pathlib import Path
import random
import signal

from killable import Runs, assert_equal_bits, assert_nothing_is_half_written
import pytest


@pytest.fixture(scope="module")
def whole(runs) -> tuple[Path, dict]:
  """A run that nobody touched, and what it took."""
  runs(runs.root / "first")  # compiles
  (runs.root / "cache").rename(runs.root / "cache.first")
  took = runs(runs.root / "whole")
  assert took["code"] == 0, runs.said()[-3000:]
  return runs.root / "whole", took


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
