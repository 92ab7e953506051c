"""The gradient of each task of a step by itself, from one forward pass."""

from collections.abc import Mapping
import functools

import jax
from jax import lax
import jax.numpy as jnp

from mtc import losses, optim, parallel
from mtc.models import Encoder
from mtc.multitask.forward import Task, embed, task_loss
from mtc.types import Array, PyTree, Step


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


def dropout_key(seed: int, step: Array) -> jax.Array:
  """The key of a step's dropout, another one on each device."""
  return parallel.fold_in_device(jax.random.fold_in(jax.random.key(seed), step))


def balancing_key(seed: int, step: Array) -> jax.Array:
  """The key of what a step's balancing draws, equal on all devices."""
  return jax.random.fold_in(jax.random.key(seed), step)


def _weighted_sum(factors: Array, values: Array) -> Array:
  return jnp.tensordot(factors.astype(values.dtype), values, axes=1, precision=lax.Precision.HIGHEST)


def _times(factor: Array, tree: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, tree)
