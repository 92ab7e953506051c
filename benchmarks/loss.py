"""The contrastive loss alone, forward and backward: time and memory, beside the four matrix products that it must do.

python benchmarks/loss.py --rows 1024,8192 --dim 50,768 --version whole,blocked

An option with a comma is swept: each combination prints one JSON line. The four products are the logits, the logits
once more (in blocks they are not kept), and the gradients of both sides; `floor_seconds` is the time of them alone, a
block of columns at a time, on the same devices, and `ratio` is the loss's time over it. `temp_mib` is what the compiled
loss and its gradient hold on one device besides the embeddings, by XLA's own analysis. Data and TensorFlow are not
needed. With `--devices` each device has its part of the rows, and the columns are those of all devices.
"""

import argparse
from collections.abc import Callable
import itertools
import json
import statistics
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import step as step_benchmark

from mtc import parallel
from mtc.multitask import forward
from mtc.types import Array, Batch

VERSIONS = ("whole", "blocked")
SWEPT = ("rows", "dim", "loss", "version")


def main() -> None:
  options = _options()
  if options.devices:
    jax.config.update("jax_num_cpu_devices", options.devices)
  device = {"device": parallel.describe(), "jax": jax.__version__}
  for chosen in itertools.product(*(getattr(options, name) for name in SWEPT)):
    setting = dict(zip(SWEPT, chosen))
    try:
      result = measure(options, **setting)
    except jax.errors.JaxRuntimeError as error:
      result = {"failed": str(error).splitlines()[0]}
    print(json.dumps(device | setting | {"block": options.block} | result), flush=True)


def measure(options: argparse.Namespace, rows: int, dim: int, loss: str, version: str) -> dict[str, Any]:
  """Times one setting."""
  slots, examples = make(rows, dim, options.keys, parallel.device_count())
  spec = step_benchmark.LOSSES[loss](0 if version == "whole" else options.block)

  def of(slots: Array, examples: Batch) -> Array:
    return forward.task_loss(spec, spec.init(), slots, examples)

  def gradient(_: Any, given: tuple[Array, Batch]) -> Array:
    # A number that all of the gradient goes into, so that nothing of it is left out.
    return jnp.sum(jnp.square(jax.grad(of)(*given)))

  found, memory = _measured(options, gradient, (slots, examples))
  if not options.repeats:
    return {"temp_mib": memory}
  floor, _ = _measured(options, lambda _, given: four_products(given[0], options.block), (slots, examples))
  return {
    "seconds": round(found, 4),
    "floor_seconds": round(floor, 4),
    "ratio": round(found / floor, 3),
    "gflops": round(8 * rows * rows * dim / found / 1e9, 1),
    "temp_mib": memory,
  }


def make(rows: int, dim: int, keys: int, devices: int) -> tuple[np.ndarray, Batch]:
  """Unit vectors f32[devices, 2 * rows / devices, dim] of anchors and positives, and the examples that they are of."""
  rng, local = np.random.default_rng(0), rows // devices
  slots = rng.standard_normal((devices, 2 * local, dim), np.float32)
  slots /= np.linalg.norm(slots, axis=-1, keepdims=True)
  place = np.broadcast_to(np.arange(local, dtype=np.int32), (devices, local))
  return slots, Batch(
    anchor=place,
    positive=place + local,
    negatives=None,
    keys=np.arange(rows * keys, dtype=np.int32).reshape(devices, local, keys),
    negative_keys=None,
    score=None,
    weight=np.ones((devices, local), np.float32),
  )


def four_products(slots: Array, block: int) -> Array:
  """What any blocked contrastive loss multiplies, and nothing else: f32[], of all four products."""
  anchor, positive = jnp.split(slots, 2)
  columns = parallel.gather(positive)
  blocks = -(-len(columns) // block) if 0 < block < len(columns) else 1
  if len(columns) % blocks:
    raise ValueError(f"{len(columns)} columns do not divide into blocks of {block}; use powers of two")

  def of(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

  def products(so_far: Array, part: Array) -> tuple[Array, Array]:
    logits = of(anchor, part.T)
    again = of(lax.optimization_barrier((anchor, logits))[0], part.T)  # or it would be taken for the first
    return so_far + of(logits, part), of(again.T, anchor)

  rows, by_column = lax.scan(products, jnp.zeros_like(anchor), columns.reshape(blocks, -1, columns.shape[-1]))
  return jnp.sum(rows) + jnp.sum(by_column)


def _measured(options: argparse.Namespace, function: Callable, given: Any) -> tuple[float, float]:
  """Seconds and mebibytes of the function of each device's part; 0 seconds where nothing is to be timed."""
  compiled = parallel.compiled(parallel.measure_across_devices(function).lower({}, given))
  memory = step_benchmark.mebibytes(compiled)["temp"]
  if not options.repeats:
    return 0.0, memory
  step_benchmark.timed(lambda: compiled({}, given))
  times = [step_benchmark.timed(lambda: compiled({}, given)) for _ in range(options.repeats)]
  return statistics.median(times), memory


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  numbers, names = step_benchmark.numbers, step_benchmark.names
  parser.add_argument("--rows", type=numbers, default=[1024, 4096], help="examples, of all devices; swept")
  parser.add_argument("--dim", type=numbers, default=[50, 768], help="of the embeddings; swept")
  parser.add_argument("--loss", type=names(step_benchmark.LOSSES), default=["infonce"], help="swept")
  parser.add_argument("--version", type=names(VERSIONS), default=list(VERSIONS), help=f"{', '.join(VERSIONS)}; swept")
  parser.add_argument("--block", type=int, default=512, help="columns at a time, but for the whole version")
  parser.add_argument("--keys", type=int, default=2, help="of each example: hashes that are compared with each other")
  parser.add_argument("--devices", type=int, default=0, help="that jax makes of a CPU; 0 = all there are, as they are")
  parser.add_argument("--repeats", type=int, default=3, help="whose median is the result; 0 = only the memory")
  options = parser.parse_args()
  for name in ("rows", "dim", "block", "keys"):
    value = getattr(options, name)
    if (min(value) if isinstance(value, list) else value) < 1:
      parser.error(f"--{name}={value} is not positive; use 1 or more")
  if any(rows % max(options.devices, 1) for rows in options.rows):
    parser.error(f"--rows={options.rows} does not divide among --devices={options.devices}")
  return options


if __name__ == "__main__":
  main()
