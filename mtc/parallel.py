"""Devices and processes: the only file that knows that there is more than one.

The convention, which the tests guard under `pmap` itself: a loss is reduced over devices *inside* the differentiated
function (`weighted_mean`), and the gradients are then averaged (`mean_over_devices`). Every other convention gives a
right loss and wrong gradients.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import os
import sys
import threading
import traceback
from typing import Any

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np

from mtc.types import Array, PyTree

_AXIS = "devices"
# Seconds. A process that is silent for so long is taken for dead, and the others end; they wait for those that start
# later, and at the end for the one that scores and exports, however long that takes: it is alive.
_HEARTBEAT, _START, _PATIENCE = 30, 300, 24 * 3600
_FAREWELL = 10  # seconds that a process which fails waits for the others
# Else XLA copies what a step on CPU updates in place, such as Adam's moments, before each step (openxla/xla#20440).
_ON_CPU = {"xla_cpu_copy_insertion_use_region_analysis": True}


def initialize(coordinator: str = "", process_id: int = 0, process_count: int = 1, detect: bool = False) -> None:
  """Joins the processes of one run; does nothing for a single process.

  Args:
    coordinator: `host:port` of process 0, the same on all processes.
    process_id: this process, 0 to process_count - 1.
    process_count: how many processes there are.
    detect: let jax find the three others (TPU pods, Slurm, Open MPI).
  """
  join = functools.partial(
    jax.distributed.initialize,
    heartbeat_timeout_seconds=_HEARTBEAT,
    initialization_timeout=_START,
    shutdown_timeout_seconds=_PATIENCE,
  )
  if detect:
    join()
  elif process_count > 1:
    if not coordinator:
      raise ValueError(f"process_count={process_count} needs coordinator=HOST:PORT; give the address of process 0")
    if not 0 <= process_id < process_count:
      raise ValueError(
        f"process_id={process_id} is not one of the {process_count} processes; use 0 to {process_count - 1}"
      )
    join(coordinator, process_count, process_id)


@contextlib.contextmanager
def leaving_others() -> Iterator[None]:
  """Ends this process soon where the block fails, though others of its run may wait for it.

  Without this it would wait for them at its exit, and they for it in the next step. Does nothing for a single process.
  """
  try:
    yield
  except BaseException as error:
    code = error.code if isinstance(error, SystemExit) else 1
    # After a signal all processes stop at the same step, and leave together.
    if code in (None, 0, 130, 143) or not jax.distributed.is_initialized():
      raise
    if not isinstance(error, SystemExit):
      traceback.print_exc()
    print(
      f"error: process {jax.process_index()} of {jax.process_count()} ends, and with it the run. If the error above is "
      "of a connection, another process ended first, and its output says why. The same command goes on from the last "
      "checkpoint",
      file=sys.stderr,
    )
    # Where all fail alike, they take leave of each other and each says why.
    leaving = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    leaving.start()
    leaving.join(_FAREWELL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def is_alone() -> bool:
  """Whether this process is the only one of its run."""
  return not jax.distributed.is_initialized()


def barrier(what: str) -> None:
  """Waits for all processes at a place of this name, which a run passes once, however long the slowest takes.

  In a collective they wait shorter: on CPU for 30 seconds, if it is the first one.
  """
  if jax.process_count() > 1:
    from orbax.checkpoint import multihost

    everyone = set(range(jax.process_count()))  # said, so that no collective is used
    multihost.sync_global_processes(what, timeout=_PATIENCE, processes=everyone)


class Agreement:
  """What one process knows, such as a signal, made known to all of them before the same step."""

  def __init__(self):
    self._sent: jax.Array | None = None

  def __call__(self, number: int) -> int:
    """The greatest number that any process gave the last time; all must call it equally often."""
    if jax.process_count() == 1:
      return number
    # Read one call later, so that nobody waits: the devices have long been there.
    before, self._sent = self._sent, _greatest()(np.full(len(local_devices()), number, np.int32))
    return 0 if before is None else int(to_host(before))


@functools.cache
def _greatest() -> Callable:
  return jax.pmap(lambda x: jax.lax.pmax(x, _AXIS), axis_name=_AXIS, out_axes=None)


def device_count() -> int:
  """All devices of all processes."""
  return jax.device_count()


def describe() -> str:
  """The devices, for people: "8 TPU v4", "1 cpu"."""
  kinds = sorted({d.device_kind for d in jax.devices()})
  processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
  return f"{device_count()} {' and '.join(kinds)} device{'s' if device_count() > 1 else ''}{processes}"


def local_devices() -> range:
  """The positions of this process's devices among all devices, in the order in which `across_devices` deals to them."""
  mine = [i for i, d in enumerate(jax.devices()) if d.process_index == jax.process_index()]
  return range(mine[0], mine[-1] + 1)


def free_device_memory() -> int | None:
  """Bytes on the fullest device of this process that nothing uses; None where the devices do not say, as on CPU."""
  found = [device.memory_stats() or {} for device in jax.local_devices()]
  if not all({"bytes_limit", "bytes_in_use"} <= stats.keys() for stats in found):
    return None
  return min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in found)


def release_programs() -> None:
  """Lets go of all that was compiled, for processes that train again and again; what is needed is compiled again.

  A step holds hundreds of memory mappings for each device of a CPU. Linux allows a process 65,530; then it crashes.
  """
  jax.clear_caches()


def is_main_process() -> bool:
  """True on the one process that writes metrics, scores and exports."""
  return jax.process_index() == 0


def across_devices(step: Callable, devices: Sequence[Any] | None = None) -> Callable:
  """Runs `step(state, batch) -> (state, metrics)` on every device: one state, each device its own part of the batch.

  Args:
    step: a function of one device's part. What it returns must be equal on all devices.
    devices: None = all.

  Returns:
    The same function of the whole: leaves of `batch` have a leading axis `[local_devices, ...]`, the state has none.
    The state that is passed in is donated: it cannot be used afterwards.
  """
  return jax.pmap(step, axis_name=_AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0, devices=devices)


def measure_across_devices(function: Callable, devices: Sequence[Any] | None = None) -> Callable:
  """Runs `function(state, batch) -> metrics` as `across_devices` does, and donates nothing."""
  return jax.pmap(function, axis_name=_AXIS, in_axes=(None, 0), out_axes=None, devices=devices)


def compiled(lowered: Any) -> Any:
  """Compiles what `lower` of a function of `across_devices` or `measure_across_devices` made, before it is called.

  On CPU the program is faster and needs less memory than the one that a call compiles; it computes the same bits.
  """
  return lowered.compile(_ON_CPU if jax.default_backend() == "cpu" else None)


def map_over_devices(function: Callable) -> Callable:
  """Runs `function(params, batch) -> result` on every local device; leaves of both are `[local_devices, ...]`."""
  return jax.pmap(function, in_axes=(None, 0), devices=jax.local_devices())


def gather(tree: PyTree) -> PyTree:
  """Concatenates every leaf `[n, ...]` of all devices, in their order, to `[devices * n, ...]`. Gradients flow back."""
  return jax.tree.map(lambda x: jax.lax.all_gather(x, _AXIS, tiled=True), tree)


def row_offset(examples: int) -> Array:
  """Where this device's rows begin among the gathered ones, when each device has `examples` of them."""
  return jax.lax.axis_index(_AXIS) * examples


def weighted_mean(values: Array, weight: Array) -> Array:
  """`sum(values * weight) / max(sum(weight), 1)` over the rows of all devices; equal on all devices."""
  total, count = jax.lax.psum((jnp.sum(values * weight), jnp.sum(weight)), _AXIS)
  return total / jnp.maximum(count, 1)


def mean_over_devices(tree: PyTree) -> PyTree:
  """Averages every leaf over the devices, in one flat collective: a collective for each leaf is three times slower."""
  if jax.lax.psum(1, _AXIS) == 1:
    return tree
  flat, restore = flatten_util.ravel_pytree(tree)
  return restore(jax.lax.pmean(flat, _AXIS))


def norm_over_devices(gradient: Array) -> Array:
  """The norm of a gradient with respect to something of which each device has its own part, such as embeddings.

  Nobody has averaged it: by the convention above, each part is too large by the number of devices.
  """
  return jnp.sqrt(jax.lax.psum(jnp.sum(gradient * gradient), _AXIS)) / jax.lax.psum(1, _AXIS)


def fold_in_device(key: Array) -> jax.Array:
  """A key of this device's own, from a key that all devices share."""
  return jax.random.fold_in(key, jax.lax.axis_index(_AXIS))


def to_host(tree: PyTree) -> PyTree:
  """Copies replicated leaves to NumPy (0-d arrays for scalars)."""
  # A copy: on CPU np.asarray is a view of a buffer that the next step donates.
  return jax.tree.map(lambda x: np.array(x.addressable_data(0) if isinstance(x, jax.Array) else x), tree)


def replicate(tree: PyTree, everywhere: bool = True) -> PyTree:
  """Puts a copy of host arrays on every device, or on those of this process: `map_over_devices` takes the latter.

  Placed as `across_devices` returns it: a first state that lay elsewhere would compile the step twice.
  """
  mesh = jax.sharding.Mesh(np.array(jax.devices() if everywhere else jax.local_devices()), (_AXIS,))
  return jax.device_put(to_host(tree), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
