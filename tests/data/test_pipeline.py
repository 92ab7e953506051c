"""The pipeline: in order, in parallel, the same with and without TensorFlow."""

import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from mtc.data.packing import Packer
from mtc.data.pipeline import make_input
from mtc.data.prepared import Prepared
from mtc.data.sampling import Mixing, Sampler

KINDS = ["tf", "threads"]


def pairs(seed: int, negatives: int) -> Prepared:
  rng = np.random.default_rng(seed)
  offsets = np.concatenate([[0], np.cumsum(rng.integers(2, 20, 80))])
  anchor = np.arange(0, 80, 2, dtype=np.int32)
  return Prepared(
    tokens=rng.integers(1, 99, offsets[-1]).astype(np.int32),
    offsets=offsets,
    anchor=anchor,
    positive=anchor + 1,
    negatives=rng.integers(-1, 80, (40, negatives)).astype(np.int32),
    score=None,
    labels=np.zeros(0, np.int32),
    label_offsets=np.zeros(41, np.int64),
    keys=anchor[:, None],
    text_keys=np.arange(80, dtype=np.int32),
    report={},
  )


def uneven(number: int) -> np.ndarray:
  time.sleep(0.002 * (number % 3))  # so that later steps are done before earlier ones
  return np.full(3, number)


@pytest.mark.parametrize("mixing", [Mixing("all"), Mixing("uniform")])
def test_both_kinds_yield_the_same_steps(mixing):
  """In one-task mode the structure of a step changes with its task."""
  tasks = {"a": pairs(0, 0), "b": pairs(1, 2)}
  packer = Packer(tasks, Sampler(tasks, {"a": 5, "b": 4}, 0, mixing), devices=2)
  found = {kind: list(make_input(packer.step, 3, 23, kind, workers=3)) for kind in KINDS}
  for (n, ours), (m, theirs), expected in zip(found["tf"], found["threads"], range(3, 23), strict=True):
    assert n == m == expected
    for step in (ours, theirs):
      jax.tree.map(np.testing.assert_array_equal, step, packer.step(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (4, 2), (0, 5)])
def test_steps_come_in_order(kind, workers, prefetch):
  steps = list(make_input(uneven, 5, 35, kind, workers, prefetch))
  assert [n for n, _ in steps] == list(range(5, 35))
  assert all((step == n).all() for n, step in steps)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_made_in_parallel(kind):
  together = threading.Barrier(3)

  def make_step(number: int) -> int:
    together.wait(timeout=10)  # breaks unless three steps are being made at once
    return number

  assert [step for _, step in make_input(make_step, 0, 6, kind, workers=3)] == list(range(6))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_in_its_turn_as_it_was_raised(kind):
  def make_step(number: int) -> int:
    if number == 7:
      raise ValueError("step 7 is broken; mend it")
    return int(uneven(number)[0])

  got = []
  with pytest.raises(ValueError, match=r"^step 7 is broken; mend it$"):
    for number, _ in make_input(make_step, 0, 20, kind, workers=4):
      got.append(number)
  assert got == list(range(7))


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_that_leaves_early_ends_the_work(kind):
  made = []

  def make_step(number: int) -> int:
    made.append(number)
    return number

  steps = make_input(make_step, 0, 10**9, kind, workers=2, prefetch=2)
  assert next(steps) == (0, 0)
  steps.close()
  time.sleep(0.1)
  after = len(made)
  time.sleep(0.2)
  assert len(made) == after < 1000
  assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("input")]


@pytest.mark.parametrize("kind", KINDS)
def test_no_steps_are_no_work(kind):
  assert list(make_input(uneven, 4, 4, kind)) == []


def test_threads_do_not_import_tensorflow():
  code = (
    "import sys; from mtc.data.pipeline import make_input\n"
    "assert list(make_input(str, 0, 2, 'threads')) == [(0, '0'), (1, '1')]\n"
    "assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_kind_is_an_error_before_any_step():
  with pytest.raises(ValueError, match="input='torch' is unknown; use tf or threads"):
    make_input(uneven, 0, 1, "torch")
  with pytest.raises(ValueError, match="prefetch=-1 is negative; use 0 or more"):
    make_input(uneven, 0, 1, prefetch=-1)
