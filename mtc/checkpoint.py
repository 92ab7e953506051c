"""Checkpoints: what is saved, what is kept, and how it is known to be whole when it is restored."""

import hashlib
import math
from pathlib import Path

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from mtc.types import PyTree

_NOT_MEASURED = -math.inf  # a metric that is missing would be a warning at each save


class Checkpoints:
  """The checkpoints of one workdir: asynchronous, verified, the latest two and the best kept.

  The state is saved as host arrays, so that a run resumes on any number of devices, under the flat names of its leaves,
  with a SHA-256 of each: a flipped byte would otherwise be restored without a word.
  """

  def __init__(self, directory: Path | epath.Path):
    """Opens a folder, here (an absolute path) or in a bucket."""
    keep = policies.AnyPreservationPolicy(
      [
        policies.LatestN(2),  # two, so that a damaged newest one has a predecessor
        policies.BestN(get_metric_fn=_best, n=1),
      ]
    )
    self._manager = ocp.CheckpointManager(
      directory,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keep, best_fn=_best, step_prefix="step", cleanup_tmp_directories=True
      ),
    )

  def save(self, state: PyTree, step: int, best: float | None = None) -> None:
    """Starts to save the state; a save that is still under way is waited for first.

    Args:
      state: host arrays.
      step: the number of steps taken.
      best: what the best checkpoint is chosen by, higher is better; None = not measured here.
    """
    leaves = _leaves(state)
    digests = {name: _digest(leaf) for name, leaf in leaves.items()}
    metrics = {"best": best if best is not None and math.isfinite(best) else _NOT_MEASURED}
    saved = self._manager.save(
      step,
      args=ocp.args.Composite(state=ocp.args.StandardSave(leaves), sha256=ocp.args.JsonSave(digests)),
      metrics=metrics,
      force=True,
    )
    if not saved:
      raise RuntimeError(f"checkpoint of step {step} was not saved: one exists already in {self._manager.directory}")

  def restore(self, template: PyTree) -> tuple[PyTree, int] | None:
    """The newest whole checkpoint as (state, step), or None where there is none.

    A damaged one is named in a warning and removed once an older one has proved whole.

    Args:
      template: a state of the same structure, whose leaves' shapes and dtypes are expected.

    Raises:
      ValueError: every checkpoint is damaged, or they belong to another model.
    """
    damaged = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        restored = self._read(step, template)
      except _Damaged as error:
        logging.warning(
          "checkpoint of step %d in %s is damaged, the one before it is used: %s", step, self._manager.directory, error
        )
        damaged.append(step)
        continue
      for bad in damaged:
        self._manager.delete(bad)
      return restored
    if damaged:
      raise ValueError(
        f"every checkpoint in {self._manager.directory} is damaged (steps {damaged}); start again in another workdir"
      )
    return None

  def best_step(self) -> int | None:
    """The step whose validation was best, of those that were measured."""
    step = self._manager.best_step()
    measured = self._manager.metrics(step) if step is not None else None
    return step if measured and _best(measured) > _NOT_MEASURED else None

  def wait(self) -> None:
    """Returns when everything that was saved is on disk; raises what went wrong meanwhile."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, and lets go of the directory."""
    self._manager.close()

  def _read(self, step: int, template: PyTree) -> tuple[PyTree, int]:
    expected = _leaves(template)
    targets = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in expected.items()}
    try:
      # First: their names say whether this is the same model, before the arrays are read.
      digests = dict(self._manager.restore(step, args=ocp.args.Composite(sha256=ocp.args.JsonRestore()))["sha256"])
    except Exception as error:  # whatever a broken file makes a library raise
      raise _Damaged(f"{type(error).__name__}: {error}") from error
    if digests.keys() != expected.keys():
      missing, extra = sorted(expected.keys() - digests.keys()), sorted(digests.keys() - expected.keys())
      raise ValueError(
        f"the checkpoint of step {step} is of another model: it lacks {missing[:3]} and has {extra[:3]}; "
        "use another workdir"
      )
    try:
      leaves = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(targets)))["state"]
    except Exception as error:
      raise _Damaged(f"{type(error).__name__}: {error}") from error
    wrong = [name for name, leaf in leaves.items() if _digest(leaf) != digests[name]]
    if wrong:
      raise _Damaged(f"the bytes of {len(wrong)} arrays are not those that were saved, {wrong[0]} first")
    names = list(expected)
    return jax.tree.unflatten(jax.tree.structure(template), [leaves[name] for name in names]), step


def _best(metrics: PyTree) -> float:
  return metrics["best"]


class _Damaged(Exception):
  pass


def _leaves(tree: PyTree) -> dict[str, np.ndarray]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _digest(leaf: np.ndarray) -> str:
  array = np.ascontiguousarray(leaf)
  return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()
