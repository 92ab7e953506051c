"""What one training step does. Pure functions of one device's part; `parallel` makes them work together."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import optax

from mtc import losses, optim, parallel
from mtc.balancing import Balancing, Fixed
from mtc.config import Task
from mtc.models import Encoder
from mtc.types import Array, Batch, Embeddings, PyTree, Step, Tokens, TrainState


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


def take(slots: Array, examples: Batch) -> Embeddings:
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
  local = take(slots, examples)
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


class TaskGradients:
  """The gradient of each task of a step by itself, all from one forward pass of the encoder.

  Each is a pull-back of what the task's loss asks of the pooled embeddings; what is asked for is computed, once. All
  that is returned is equal on all devices, but for `pooled`.

  Attributes:
    names: the tasks, in the order of all that follows.
    weights: f32[tasks], `Task.weight`.
    losses: f32[tasks], the mean losses, without weights.
    pooled: f32[slots, dim], the embeddings of this device before they get unit length.
  """

  def __init__(
    self,
    trained: PyTree,
    frozen: PyTree,
    batch: Step,
    key: jax.Array | None,
    *,
    encoder: Encoder,
    tasks: Mapping[str, Task],
    rows_per_chunk: int = 0,
  ):
    def pooled(part: PyTree) -> Array:
      params = optim.merge(part, frozen["encoder"])
      return embed(encoder, params, batch.tokens, key, rows_per_chunk, finish=lambda vectors: vectors)

    def of_task(name: str, pooled: Array, scalars: PyTree) -> Array:
      scalars = optim.merge(scalars, frozen["tasks"][name])
      return task_loss(tasks[name].loss, scalars, losses.unit(pooled), batch.tasks[name])

    self.names = sorted(batch.tasks)
    self.weights = jnp.asarray([tasks[name].weight for name in self.names], jnp.float32)
    self.pooled, self._pull = jax.vjp(pooled, trained["encoder"])
    self._examples = [parallel.gather(batch.tasks[name].weight).sum() for name in self.names]
    values, asked = [], []
    self._scalars = jax.tree.map(jnp.zeros_like, trained["tasks"])  # of tasks that this step does not hold
    for name in self.names:
      loss = functools.partial(of_task, name)
      value, (of_pooled, of_scalars) = jax.value_and_grad(loss, (0, 1))(self.pooled, trained["tasks"][name])
      values.append(value)
      asked.append(of_pooled)
      self._scalars[name] = of_scalars
    self.losses, self._asked, self._each = jnp.stack(values), jnp.stack(asked), None

  def norms(self) -> Array:
    """f32[tasks], of the losses' gradients with respect to `pooled`, times the root of the task's examples."""
    norms = [parallel.norm_over_devices(asked) for asked in self._asked]
    return jnp.stack(norms) * jnp.sqrt(jnp.stack(self._examples))

  def each(self) -> PyTree:
    """The losses' gradients with respect to what is trained of the encoder, leaves [tasks, ...]: so much memory."""
    if self._each is None:
      # Averaged before anything else is done with them: a device's own gradient is not a part of the whole one.
      self._each = lax.map(lambda asked: parallel.mean_over_devices(self._pull(asked)[0]), self._asked)
    return self._each

  def gram(self) -> Array:
    """f32[tasks, tasks], the inner products of `each`."""
    flat = [leaf.reshape(len(self.names), -1) for leaf in jax.tree.leaves(self.each())]
    products = [jnp.matmul(leaf, leaf.T, precision=lax.Precision.HIGHEST) for leaf in flat]
    return sum(products, jnp.zeros((len(self.names),) * 2, self.losses.dtype))

  def total(self, factors: Array) -> PyTree:
    """The gradient of `sum(factors * losses)` with respect to all that is trained."""
    scalars = self._scalars | {name: _times(f, self._scalars[name]) for name, f in zip(self.names, factors)}
    if self._each is not None:  # no further pass is needed
      encoder = jax.tree.map(lambda leaf: _weighted_sum(factors, leaf), self._each)
      return {"encoder": encoder, "tasks": parallel.mean_over_devices(scalars)}
    encoder = self._pull(_weighted_sum(factors, self._asked))[0]
    return parallel.mean_over_devices({"encoder": encoder, "tasks": scalars})


def make_train_step(
  encoder: Encoder,
  tasks: Mapping[str, Task],
  optimizer: optax.GradientTransformation,
  seed: int,
  rows_per_chunk: Callable[[int, int], int] = lambda rows, length: 0,
  freeze: Sequence[str] = (),
  balancing: Balancing | None = None,
  norm_limit: float = 0.0,
) -> Callable[[TrainState, Step], tuple[TrainState, dict[str, Array]]]:
  """The contrastive step on all devices, see `make_step`.

  Args:
    encoder: the encoder, in the dtype of training.
    tasks: their losses and weights.
    optimizer: the optax chain.
    seed: of dropout.
    rows_per_chunk: (rows, length) -> how many rows of such a grid are encoded at a time; see `embed`.
    freeze: what is not trained; see `optim.split`.
    balancing: how the tasks share the step; None = Fixed. With any other, the metrics have each task's factor as
      "balance/TASK"; "loss" is that of the fixed weights, so that runs can be compared.
    norm_limit: see `make_step`.
  """

  def loss(params: PyTree, batch: Step, key: jax.Array) -> tuple[Array, dict[str, Array]]:
    chunk = rows_per_chunk(*batch.tokens.ids.shape)
    return loss_fn(params, batch, key, encoder=encoder, tasks=tasks, rows_per_chunk=chunk)

  if balancing is None or isinstance(balancing, Fixed):
    return make_step(loss, optimizer, seed, freeze, norm_limit)

  def gradient(
    state: TrainState, trained: PyTree, frozen: PyTree, batch: Step
  ) -> tuple[PyTree, dict[str, Array], PyTree]:
    chunk, key = rows_per_chunk(*batch.tokens.ids.shape), dropout_key(seed, state.step)
    parts = TaskGradients(trained, frozen, batch, key, encoder=encoder, tasks=tasks, rows_per_chunk=chunk)
    factors = balancing.factors(state.balancing, parts, balancing_key(seed, state.step))
    metrics: dict[str, Array] = {f"{name}/loss": parts.losses[i] for i, name in enumerate(parts.names)}
    metrics |= {f"balance/{name}": factors[i] for i, name in enumerate(parts.names)}
    metrics["loss"] = jnp.sum(parts.weights * parts.losses)
    return parts.total(factors), metrics, balancing.update(state.balancing, parts)

  return _make_step(gradient, optimizer, freeze, norm_limit)


def dropout_key(seed: int, step: Array) -> jax.Array:
  """The key of a step's dropout, another one on each device."""
  return parallel.fold_in_device(jax.random.fold_in(jax.random.key(seed), step))


def balancing_key(seed: int, step: Array) -> jax.Array:
  """The key of what a step's balancing draws, equal on all devices."""
  return jax.random.fold_in(jax.random.key(seed), step)


def make_step(
  loss: Callable[[PyTree, Any, jax.Array], tuple[Array, dict[str, Array]]],
  optimizer: optax.GradientTransformation,
  seed: int,
  freeze: Sequence[str] = (),
  norm_limit: float = 0.0,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
  """The step on all devices: `(state, batch) -> (state, metrics)`; the state that goes in is donated.

  Args:
    loss: (params, batch, dropout key) -> (a scalar that is equal on all devices, metrics with it as "loss").
    optimizer: the optax chain.
    seed: of dropout.
    freeze: what is not trained; see `optim.split`. It has no gradient, and nothing of it is reduced over devices.
    norm_limit: a gradient of a greater norm is taken as not finite; 0 = none is.

  An update whose loss or gradient is not finite is not applied: the state keeps its parameters, `skipped` counts it,
  and the metric `finite` is 0. Nothing non-finite can reach a checkpoint.
  """

  def gradient(
    state: TrainState, trained: PyTree, frozen: PyTree, batch: Any
  ) -> tuple[PyTree, dict[str, Array], PyTree]:
    key = dropout_key(seed, state.step)
    grads, metrics = jax.grad(lambda part: loss(optim.merge(part, frozen), batch, key), has_aux=True)(trained)
    return parallel.mean_over_devices(grads), metrics, state.balancing

  return _make_step(gradient, optimizer, freeze, norm_limit)


def _make_step(
  gradient: Callable[[TrainState, PyTree, PyTree, Any], tuple[PyTree, dict[str, Array], PyTree]],
  optimizer: optax.GradientTransformation,
  freeze: Sequence[str],
  norm_limit: float,
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
  """`gradient`: (state, trained, frozen, batch) -> (gradient of the trained, metrics, the balancing's next state)."""

  def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
    trained, frozen = optim.split(state.params, freeze)
    grads, metrics, balancing = gradient(state, trained, frozen, batch)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
    if norm_limit:
      finite &= norm <= norm_limit
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    updated = optax.apply_updates(trained, updates)

    def keep(new: PyTree, old: PyTree) -> PyTree:
      return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    new_state = TrainState(
      step=state.step + 1,
      skipped=state.skipped + (~finite).astype(state.skipped.dtype),
      params=optim.merge(keep(updated, trained), frozen),
      opt_state=keep(opt_state, state.opt_state),
      balancing=keep(balancing, state.balancing),
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
  balancing: Balancing | None = None,
  shapes: bool = False,
) -> TrainState:
  """The state before the first step; the optimizer's part is of what is trained only, see `optim.split`.

  With `shapes` every leaf is a `jax.ShapeDtypeStruct`, and nothing is made.
  """

  def new() -> TrainState:
    params = init_params(encoder_params, tasks)
    opt_state = optimizer.init(optim.split(params, freeze)[0])
    learnt = balancing.init({name: task.weight for name, task in tasks.items()}) if balancing is not None else {}
    return TrainState(step=jnp.int32(0), skipped=jnp.int32(0), params=params, opt_state=opt_state, balancing=learnt)

  if shapes:
    return jax.eval_shape(new)
  return parallel.to_host(new())  # copies: the first step donates its state, and the parameters are somebody else's


def _weighted_sum(factors: Array, values: Array) -> Array:
  return jnp.tensordot(factors.astype(values.dtype), values, axes=1, precision=lax.Precision.HIGHEST)


def _times(factor: Array, tree: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, tree)
