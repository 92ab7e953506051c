"""The forward pass: one encoder call for the texts of all tasks, then the loss of each task."""

from collections.abc import Callable, Mapping
from typing import Protocol

import jax
from jax import lax
import jax.numpy as jnp

from mtc import losses, parallel
from mtc.models import Encoder
from mtc.types import Array, Batch, Embeddings, PyTree, Step, Tokens


class Task(Protocol):
  """What a step needs to know of a task; `mtc.config.Task` has it."""

  loss: losses.Loss
  weight: float


def embed(
  encoder: Encoder,
  params: PyTree,
  tokens: Tokens,
  key: jax.Array | None,
  rows_per_chunk: int = 0,
  finish: Callable[[Array], Array] = losses.unit,
) -> Array:
  """Encodes a grid of tokens to one unit vector per slot.

  Args:
    encoder: the encoder.
    params: its parameters.
    tokens: `[rows, length]`.
    key: for dropout; None = none.
    rows_per_chunk: rows that are encoded at a time; the gradient then encodes each chunk once more instead of keeping
      the activations of all. 0 = all at once. It must divide the rows.
    finish: what becomes of the pooled vectors.

  Returns:
    f32[rows * slots, dim]; the vector of an empty slot is finite and means nothing.

  Reference: GradCache, arXiv 2101.06983.
  """
  rows = tokens.ids.shape[0]
  chunks = rows // rows_per_chunk if rows_per_chunk else 1

  def encode(chunk: Tokens, chunk_key: jax.Array | None) -> Array:
    return finish(encoder.pool(params, encoder.apply(params, chunk, chunk_key), chunk))

  if chunks <= 1:
    return encode(tokens, key)
  if rows % rows_per_chunk:
    raise ValueError(f"{rows} rows do not divide into chunks of {rows_per_chunk}; packing makes rows a multiple of it")
  parts = jax.tree.map(lambda x: x.reshape(chunks, rows_per_chunk, *x.shape[1:]), tokens.replace(halved=0))
  keys = None if key is None else jax.random.split(key, chunks)
  vectors = lax.map(jax.checkpoint(lambda part: encode(*part)), (parts, keys))
  return vectors.reshape(-1, vectors.shape[-1])


def select(slots: Array, examples: Batch) -> Embeddings:
  """The embeddings of one task's examples, from the vectors f32[slots, dim] of all tasks' texts."""
  negatives = examples.negatives
  return Embeddings(
    anchor=slots[examples.anchor],
    positive=None if examples.positive is None else slots[examples.positive],
    negatives=None if negatives is None else slots[jnp.maximum(negatives, 0)],
    negative_mask=None if negatives is None else negatives >= 0,
    keys=examples.keys,
    negative_keys=examples.negative_keys,
    score=examples.score,
    weight=examples.weight,
    teacher=examples.teacher,
  )


def task_loss(loss: losses.Loss, scalars: PyTree, slots: Array, examples: Batch) -> Array:
  """The mean loss of one task's examples, equal on all devices; compared with those of all devices."""
  local = select(slots, examples)
  everyone = parallel.gather(local)
  offset = parallel.row_offset(examples.anchor.shape[0])
  return parallel.weighted_mean(loss(scalars, local, everyone, offset), examples.weight)


def loss_fn(
  params: PyTree,
  batch: Step,
  key: jax.Array | None,
  *,
  encoder: Encoder,
  tasks: Mapping[str, Task],
  rows_per_chunk: int = 0,
) -> tuple[Array, dict[str, Array]]:
  """The weighted sum of the tasks' mean losses, equal on all devices, and what each task contributed."""
  slots = embed(encoder, params["encoder"], batch.tokens, key, rows_per_chunk)  # all tasks in one call
  total, metrics = jnp.zeros((), slots.dtype), {}
  for name, examples in batch.tasks.items():
    metrics[f"{name}/loss"] = mean = task_loss(tasks[name].loss, params["tasks"][name], slots, examples)
    total += tasks[name].weight * mean
  return total, metrics | {"loss": total}
