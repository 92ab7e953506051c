"""What a step's matrix products need, and what the devices can do: together, how well they are used (MFU)."""

from collections.abc import Callable, Mapping
import time

import jax
import jax.numpy as jnp
import numpy as np

from mtc import losses, parallel
from mtc.config import Task
from mtc.models import Work
from mtc.types import Step


def loss_flops(loss: losses.Loss, rows: int, examples: int, hard: int, dim: int) -> int:
  """The operations of a loss's matrix products, forward and backward, for `rows` of the `examples` of all devices."""
  return 6 * rows * loss.products(examples, hard, dim)


def step_flops(work: Work, tasks: Mapping[str, Task], dim: int) -> Callable[[Step], float]:
  """A function from a batch of this process to the operations that it takes, on real tokens and examples.

  Args:
    work: of the encoder.
    tasks: for their losses.
    dim: of the embedding.
  """
  whole = parallel.device_count() / len(parallel.local_devices())

  def count(batch: Step) -> float:
    total = float(work.of(batch.tokens))
    for name, examples in batch.tasks.items():
      rows = int(np.sum(examples.weight))
      hard = 0 if examples.negatives is None else examples.negatives.shape[-1]
      total += loss_flops(tasks[name].loss, rows, round(rows * whole), hard, dim)
    return total

  return count


def matrix_peak(dtype: str) -> float:
  """Operations a second of a large product of square matrices on all devices, the best of several: under a second.

  It is what XLA reaches on this machine now, in this dtype; the data sheet promises more. The numbers are random, as a
  model's are: GPUs multiply constant ones faster.
  """
  cpu = jax.default_backend() == "cpu"
  size, repeats, tries = (1024, 2, 24) if cpu else (8192, 5, 6)
  precision = jax.lax.Precision.HIGHEST if dtype == "float32" else jax.lax.Precision.DEFAULT
  product = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
  a = jax.random.normal(jax.random.key(0), (size, size), dtype)
  product(a).block_until_ready()
  best = np.inf
  for _ in range(tries):
    began = time.perf_counter()
    jax.block_until_ready([product(a) for _ in range(repeats)])
    best = min(best, (time.perf_counter() - began) / repeats)
  # Devices that jax makes of one CPU share its cores.
  devices = parallel.device_count()
  return 2 * size**3 / best * (devices / len(parallel.local_devices()) if cpu else devices)
