"""Steps compiled before the first of them: what they need is known then, and whether the devices have it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mtc import parallel
from mtc.types import Array, Masked, Step, TrainState

_MIB = 2**20
_UNLIMITED = 2**60  # so much and more is how Linux says that a group has no limit


class Need(NamedTuple):
  """What a compiled step needs, in bytes on each device.

  Attributes:
    rows, length: of its grid.
    state: parameters, optimizer and batch, which are there before and after.
    work: what it needs for a time.
  """

  rows: int
  length: int
  state: int
  work: int

  @property
  def total(self) -> int:
    """Of state and work."""
    return self.state + self.work

  def __str__(self) -> str:
    return f"{self.total / _MIB:,.0f} MiB for {self.rows} rows"


class Ahead:
  """A step compiled for some shapes before any batch is there; another shape is compiled when it comes.

  Attributes:
    needs: what each shape needs.
  """

  def __init__(
    self,
    step: Any,
    state: TrainState,
    batches: Sequence[Step | Masked],
  ):
    """Compiles for these shapes of state and batches: whatever has `shape` and `dtype` will do for a leaf.

    The compiled programs are those that the steps run: nothing is compiled twice.

    Args:
      step: of `step.make_step`, `(state, batch) -> (state, metrics)`.
      state: the leaves have no device axis.
      batches: the leaves are `[local_devices, ...]`. With several processes nothing is compiled ahead of time: what
        jax's `pmap` lowers cannot be called there.
    """
    self._step = step
    grids = [batch for batch in batches if parallel.is_alone()]
    lowered = [step.lower(*jax.tree.map(_shape, (state, batch))) for batch in grids]
    with ThreadPoolExecutor(max(1, len(lowered))) as pool:
      programs = list(pool.map(parallel.compiled, lowered))
    self._programs = {_key(batch): program for batch, program in zip(grids, programs, strict=True)}
    self.needs = [_need(batch, program) for batch, program in zip(grids, programs, strict=True)]

  def __call__(self, state: TrainState, batch: Step | Masked) -> tuple[TrainState, dict[str, Array]]:
    return self._programs.get(_key(batch), self._step)(state, batch)


def check(needs: Sequence[Need], free: int | None, dtype: str, remedies: Sequence[str], chunks: int = 0) -> None:
  """Raises ValueError, with the settings that would help, where a shape needs more than there is.

  Args:
    needs: of `Ahead`.
    free: bytes of each device that nothing uses yet; None = nobody knows.
    dtype: of the model.
    remedies: what would help with this kind of run, the first one best.
    chunks: of the experiment; 0 = this kind of run has none.
  """
  most = max(needs, key=lambda need: need.total, default=None)
  if most is None or free is None or most.total <= free:
    return
  room, helpful = free - most.state, list(remedies)
  if chunks and room > 0:
    # What is held for the gradient shrinks with the chunks, until the loss and the largest layer are what is left.
    helpful.insert(0, f"chunks={chunks * math.ceil(1.25 * most.work / room)} or more")
  helpful += ["model.dtype=bfloat16"] if dtype == "float32" else []
  if jax.default_backend() == "gpu":
    helpful.append("more of the device for jax: XLA_PYTHON_CLIENT_MEM_FRACTION=0.95")
  raise ValueError(
    f"a step of {most.rows} rows of {most.length} tokens needs {most.total / _MIB:,.0f} MiB on each device "
    f"({most.state / _MIB:,.0f} of parameters, optimizer and batch, {most.work / _MIB:,.0f} for a time), and "
    f"{free / _MIB:,.0f} MiB are free; what would help: {'; '.join(helpful)}"
  )


def free_memory() -> int | None:
  """Bytes on each device that nothing uses; None where nobody says. Devices made of one CPU share its memory."""
  free = parallel.free_device_memory()
  if free is None and jax.default_backend() == "cpu":
    free = _free_host_memory()
    return None if free is None else free // len(parallel.local_devices())
  return free


def _free_host_memory() -> int | None:
  """Of the machine, or of the container that this process is in if that is less."""
  meminfo = _numbers(Path("/proc/meminfo"))
  free = [1024 * meminfo["MemAvailable:"]] if "MemAvailable:" in meminfo else []
  if not free and "SC_AVPHYS_PAGES" in os.sysconf_names:
    free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
  for folder, limit, used, cache in (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
  ):
    most, now = _number(folder / limit), _number(folder / used)
    if most is not None and now is not None and most < _UNLIMITED:
      free.append(most - now + _numbers(folder / "memory.stat").get(cache, 0))
  return max(0, min(free)) if free else None


def _number(path: Path) -> int | None:
  try:
    return int(path.read_text())
  except (OSError, ValueError):  # not there, or "max"
    return None


def _numbers(path: Path) -> dict[str, int]:
  """The lines `name number ...` of a file that may not be there."""
  try:
    lines = [line.split() for line in path.read_text().splitlines()]
  except OSError:
    return {}
  return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


def _need(batch: Step | Masked, program: Any) -> Need:
  found = program.memory_analysis()
  there = found.argument_size_in_bytes
  work = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
  return Need(*batch.tokens.ids.shape[1:], state=there, work=work)


def _key(batch: Any) -> tuple:
  leaves, structure = jax.tree.flatten(batch)
  return structure, *(leaf.shape for leaf in leaves)


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
