"""Checkpoints: what is saved, what is kept, and how it is known to be whole when it is restored."""

from collections.abc import Iterator, Mapping
import contextlib
import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

from absl import logging
from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from mtc import parallel
from mtc.files import paths
from mtc.types import PyTree

_STEP = "step"  # what the folders of checkpoints are called: step_200
_LONGEST = 300  # letters of what a library says; the whole is in the traceback
_NOT_MEASURED = -math.inf  # a metric that is missing would be a warning at each save


def check_finite(state: PyTree, step: int) -> None:
  """Raises FloatingPointError where host arrays hold NaN or infinity, from which no run could go on."""
  if bad := [name for name, leaf in _leaves(state).items() if not np.isfinite(leaf).all()]:
    raise FloatingPointError(
      f"{len(bad)} arrays of the state, {bad[0]} first, are not finite after step {step}, and are not saved. Lower "
      "optim.learning_rate; if that is not it, a device may be broken. The same command goes on from the last "
      "checkpoint"
    )


def mend_scores(directory: Path | epath.Path) -> None:
  """Replaces the scores of checkpoints that are damaged by "not measured", with a warning: Orbax would stop at them.

  Call it before the folder is opened, on one process.
  """
  for step in sorted(directory.iterdir()) if directory.is_dir() else ():  # no glob: the name may hold brackets
    path = step / "metrics" / "metrics"
    if not step.name.startswith(f"{_STEP}_") or not path.exists():
      continue
    try:
      found = json.loads(path.read_text())
      if found["sha256"] == _digest_of_score(found["best"]):
        continue
    except (OSError, ValueError, KeyError, TypeError):
      pass
    logging.warning("the validation score in %s is damaged; this checkpoint counts as not measured", paths.shown(path))
    path.write_text(json.dumps(_score(_NOT_MEASURED)))


class Checkpoints:
  """The checkpoints of one workdir: asynchronous, verified, the latest two and the best kept.

  The state is saved as host arrays, so that a run resumes on any number of devices, under the flat names of its leaves,
  with a SHA-256 of each: a flipped byte would otherwise be restored without a word. A checkpoint counts as saved when
  it was read back: `wait` and the next `save` do so, and raise where it cannot be.
  """

  def __init__(self, directory: Path | epath.Path):
    """Opens a folder, here or in a bucket; a local one may have any name that the file system allows."""
    keep = policies.AnyPreservationPolicy(
      [
        policies.LatestN(2),  # two, so that a damaged newest one has a predecessor
        policies.BestN(get_metric_fn=_best, n=1),
      ]
    )
    self._directory, self._names = directory, contextlib.ExitStack()
    self._unchecked: _Saved | None = None
    if isinstance(directory, Path):
      directory.mkdir(parents=True, exist_ok=True)
      directory = self._names.enter_context(paths.plain(directory))
    self._manager = ocp.CheckpointManager(
      directory,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keep, best_fn=_best, step_prefix=_STEP, cleanup_tmp_directories=True
      ),
    )

  def save(self, state: PyTree, step: int, best: float | None = None) -> None:
    """Starts to save the state; a save that is still under way is waited for and read back first.

    Args:
      state: host arrays.
      step: the number of steps taken.
      best: what the best checkpoint is chosen by, higher is better; None = not measured here.

    Raises:
      OSError: this checkpoint cannot be written, or the one before it cannot be read back.
    """
    self.wait()
    leaves = _leaves(state)
    digests = {name: _digest(leaf) for name, leaf in leaves.items()}
    written = {"leaves": digests, "of_leaves": _digest_of_names(digests)}
    with self._writing():
      saved = self._manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(leaves), sha256=ocp.args.JsonSave(written)),
        metrics=_score(best if best is not None and math.isfinite(best) else _NOT_MEASURED),
        force=True,
      )
    if not saved:
      raise RuntimeError(f"checkpoint of step {step} was not saved: one exists already in {self._directory}")
    self._unchecked = _Saved(step, {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}, digests)

  def restore(self, template: PyTree) -> tuple[PyTree, int] | None:
    """The newest whole checkpoint as (state, step), or None if nothing was saved.

    A damaged one is named in a warning and removed once an older one has proved whole.

    Args:
      template: a state of the same structure, whose leaves' shapes and dtypes are expected.

    Raises:
      ValueError: every checkpoint is damaged, or they belong to another model.
    """
    damaged = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        restored = self._restore(step, template)
      except _Damaged as error:
        logging.warning(
          "checkpoint of step %d in %s is damaged, the one before it is used: %s",
          step,
          paths.shown(self._directory),
          error,
        )
        damaged.append(step)
        continue
      for bad in damaged:
        self._manager.delete(bad)
      return restored, step
    if damaged:
      raise ValueError(
        f"every checkpoint in {self._directory} is damaged (steps {damaged}); start again in another workdir"
      )
    return None

  def best_step(self) -> int | None:
    """The step whose validation was best, of those that were measured."""
    step = self._manager.best_step()
    measured = self._manager.metrics(step) if step is not None else None
    return step if measured and _best(measured) > _NOT_MEASURED else None

  def wait(self) -> None:
    """Returns when everything that was saved is on disk and was read back; raises OSError where that fails."""
    with self._writing():
      self._manager.wait_until_finished()
    saved, self._unchecked = self._unchecked, None
    if saved is None:
      return
    if parallel.is_main_process():  # the others wait, and end where this one does
      try:
        if self._digests(saved.step) != saved.digests:
          raise _Damaged("the hashes of its arrays are not those that were saved")
        self._arrays(saved.step, saved.shapes, saved.digests)
      except _Damaged as error:
        raise OSError(
          f"the checkpoint of step {saved.step} was written to {self._directory} and cannot be read back, so it is not "
          f"saved ({error}). Check the disk; the same command goes on from the newest checkpoint that can be read"
        ) from error
    parallel.barrier(f"the checkpoint of step {saved.step}")

  def close(self) -> None:
    """Waits for what is being written, and releases the directory; `wait` before it reads it back."""
    with self._names, self._writing():
      self._manager.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """What Orbax and its libraries raise where they cannot write, as one kind of error, and in few words."""
    try:
      yield
    except Exception as error:
      raise OSError(
        f"a checkpoint cannot be written to {self._directory} ({self._words(error)}). Fix the cause, or "
        "free space there; those before it are whole, and the same command goes on from the last one"
      ) from error

  def _words(self, error: Exception) -> str:
    """What a library says, short, and with the name of the directory that the user knows."""
    message = " ".join(f"{error}".split()).replace(str(self._manager.directory), str(self._directory))
    return f"{type(error).__name__}: {message if len(message) <= _LONGEST else f'{message[:_LONGEST]} ...'}"

  def _restore(self, step: int, template: PyTree) -> PyTree:
    expected, digests = _leaves(template), self._digests(step)
    # First: their names say whether this is the same model, before the arrays are read.
    if digests.keys() != expected.keys():
      missing, extra = sorted(expected.keys() - digests.keys()), sorted(digests.keys() - expected.keys())
      raise ValueError(
        f"the checkpoint of step {step} is of another model: it lacks {missing[:3]} and has {extra[:3]}; "
        "use another workdir"
      )
    leaves = self._arrays(step, {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()}, digests)
    return jax.tree.unflatten(jax.tree.structure(template), [leaves[name] for name in expected])

  # Read by the handlers, not by the manager, for which all processes would have to read.

  def _digests(self, step: int) -> dict[str, str]:
    """The hashes that were saved with a checkpoint, by the names of its arrays."""
    try:
      written = ocp.JsonCheckpointHandler().restore(self._item(step, "sha256"))
      digests = dict(written["leaves"])
      whole = written["of_leaves"] == _digest_of_names(digests)
    except Exception as error:  # whatever a broken file makes a library raise
      raise _Damaged(self._words(error)) from error
    if not whole:
      raise _Damaged("the names and hashes of its arrays are not those that were saved")
    return digests

  def _arrays(self, step: int, shapes: "_Shapes", digests: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, whose bytes are those that the hashes are of."""
    targets = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    try:
      leaves = ocp.StandardCheckpointHandler().restore(
        self._item(step, "state"), args=ocp.args.StandardRestore(targets)
      )
    except Exception as error:
      raise _Damaged(self._words(error)) from error
    wrong = [name for name, leaf in leaves.items() if _digest(leaf) != digests[name]]
    if wrong:
      raise _Damaged(f"the bytes of {len(wrong)} arrays are not those that were saved, {wrong[0]} first")
    return leaves

  def _item(self, step: int, name: str) -> epath.Path:
    return self._manager.directory / f"{_STEP}_{step}" / name


_Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]


class _Saved(NamedTuple):
  """A checkpoint that was handed to Orbax and not yet read back."""

  step: int
  shapes: _Shapes
  digests: dict[str, str]


def _best(metrics: PyTree) -> float:
  return metrics["best"]


def _score(best: float) -> dict[str, float | str]:
  return {"best": best, "sha256": _digest_of_score(best)}


def _digest_of_score(best: float) -> str:
  return hashlib.sha256(float(best).hex().encode()).hexdigest()


def _digest_of_names(digests: Mapping[str, str]) -> str:
  return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


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
