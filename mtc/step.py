"""What one training step does. Pure functions of one device's part; `parallel` makes them work together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import optax

from mtc import optim, parallel
from mtc.config import Task
from mtc.models import Encoder
from mtc.types import Array, Batch, Embeddings, PyTree, Step, Tokens, TrainState


def embed(encoder: Encoder, params: PyTree, tokens: Tokens, key: jax.Array | None, rows_per_chunk: int = 0) -> Array:
  """Encodes a grid of tokens to one unit vector per slot.

  Args:
    encoder: the encoder.
    params: its parameters.
    tokens: `[rows, length]`.
    key: for dropout; None = none.
    rows_per_chunk: rows that are encoded at a time; the gradient then encodes each chunk once more instead of keeping
      the activations of all. 0 = all at once. It must divide the rows.

  Returns:
    f32[rows * slots, dim]; the vector of an empty slot is finite and means nothing.

  Reference: GradCache, arXiv 2101.06983.
  """
  rows = tokens.ids.shape[0]
  chunks = rows // rows_per_chunk if rows_per_chunk else 1

  def encode(chunk: Tokens, chunk_key: jax.Array | None) -> Array:
    return _unit(encoder.pool(params, encoder.apply(params, chunk, chunk_key), chunk))

  if chunks <= 1:
    return encode(tokens, key)
  if rows % rows_per_chunk:
    raise ValueError(f"{rows} rows do not divide into chunks of {rows_per_chunk}; packing makes rows a multiple of it")
  parts = jax.tree.map(lambda x: x.reshape(chunks, rows_per_chunk, *x.shape[1:]), tokens)
  keys = None if key is None else jax.random.split(key, chunks)
  vectors = lax.map(jax.checkpoint(lambda part: encode(*part)), (parts, keys))
  return vectors.reshape(-1, vectors.shape[-1])


def take(slots: Array, examples: Batch) -> Embeddings:
  """The embeddings of one task's examples, from the vectors f32[slots, dim] of all tasks' texts."""
  negatives = examples.negatives
  return Embeddings(
    anchor=slots[examples.anchor],
    positive=slots[examples.positive],
    negatives=None if negatives is None else slots[jnp.maximum(negatives, 0)],
    negative_mask=None if negatives is None else negatives >= 0,
    keys=examples.keys,
    negative_keys=examples.negative_keys,
    score=examples.score,
    weight=examples.weight,
    teacher=examples.teacher,
  )


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
    local = take(slots, examples)
    everyone = parallel.gather(local)
    offset = parallel.row_offset(examples.anchor.shape[0])
    losses = tasks[name].loss(params["tasks"][name], local, everyone, offset)
    metrics[f"{name}/loss"] = mean = parallel.weighted_mean(losses, examples.weight)
    total += tasks[name].weight * mean
  return total, metrics | {"loss": total}


def make_train_step(
  encoder: Encoder,
  tasks: Mapping[str, Task],
  optimizer: optax.GradientTransformation,
  seed: int,
  rows_per_chunk: Callable[[int, int], int] = lambda rows, length: 0,
  freeze: Sequence[str] = (),
) -> Callable[[TrainState, Step], tuple[TrainState, dict[str, Array]]]:
  """The contrastive step on all devices, see `make_step`.

  Args:
    encoder: the encoder, in the dtype of training.
    tasks: their losses and weights.
    optimizer: the optax chain.
    seed: of dropout.
    rows_per_chunk: (rows, length) -> how many rows of such a grid are encoded at a time; see `embed`.
    freeze: what is not trained; see `optim.split`.
  """

  def loss(params: PyTree, batch: Step, key: jax.Array) -> tuple[Array, dict[str, Array]]:
    chunk = rows_per_chunk(*batch.tokens.ids.shape)
    return loss_fn(params, batch, key, encoder=encoder, tasks=tasks, rows_per_chunk=chunk)

  return make_step(loss, optimizer, seed, freeze)


def make_step(
  loss: Callable[[PyTree, Any, jax.Array], tuple[Array, dict[str, Array]]],
  optimizer: optax.GradientTransformation,
  seed: int,
  freeze: Sequence[str] = (),
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
  """The step on all devices: `(state, batch) -> (state, metrics)`; the state that goes in is donated.

  Args:
    loss: (params, batch, dropout key) -> (a scalar that is equal on all devices, metrics with it as "loss").
    optimizer: the optax chain.
    seed: of dropout.
    freeze: what is not trained; see `optim.split`. It has no gradient, and nothing of it is reduced over devices.

  An update whose loss or gradient is not finite is not applied: the state keeps its parameters, `skipped` counts it,
  and the metric `finite` is 0. Nothing non-finite can reach a checkpoint.
  """

  def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
    # The default generator would take longer than the rest of a small step: dropout needs many bits, not good ones.
    key = parallel.fold_in_device(jax.random.fold_in(jax.random.key(seed, impl="rbg"), state.step))
    trained, frozen = optim.split(state.params, freeze)
    grads, metrics = jax.grad(lambda part: loss(optim.merge(part, frozen), batch, key), has_aux=True)(trained)
    grads = parallel.mean_over_devices(grads)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    updated = optax.apply_updates(trained, updates)

    def keep(new: PyTree, old: PyTree) -> PyTree:
      return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    new_state = TrainState(
      step=state.step + 1,
      skipped=state.skipped + (~finite).astype(state.skipped.dtype),
      params=optim.merge(keep(updated, trained), frozen),
      opt_state=keep(opt_state, state.opt_state),
    )
    return new_state, metrics | {"grad_norm": norm, "finite": finite.astype(jnp.float32)}

  return parallel.across_devices(step)


def init_params(encoder_params: PyTree, tasks: Mapping[str, Task]) -> PyTree:
  """The parameters before the first step: the encoder's, and the scalars of the losses."""
  return {"encoder": encoder_params, "tasks": {name: task.loss.init() for name, task in tasks.items()}}


def init_state(
  encoder_params: PyTree,
  tasks: Mapping[str, Task],
  optimizer: optax.GradientTransformation,
  freeze: Sequence[str] = (),
) -> TrainState:
  """The state before the first step; the optimizer's part is of what is trained only, see `optim.split`."""
  params = init_params(encoder_params, tasks)
  opt_state = optimizer.init(optim.split(params, freeze)[0])
  state = TrainState(step=jnp.int32(0), skipped=jnp.int32(0), params=params, opt_state=opt_state)
  return parallel.to_host(state)  # copies: the first step donates its state, and the parameters are somebody else's


def _unit(vectors: Array) -> Array:
  # rsqrt of at least eps, not a division by the norm: an empty slot would give a NaN gradient even with weight 0.
  vectors = vectors.astype(jnp.float32) if vectors.dtype != jnp.float64 else vectors
  return vectors * lax.rsqrt(jnp.maximum(jnp.sum(vectors * vectors, axis=-1, keepdims=True), 1e-12))
