"""What one training step does. Pure functions of one device's part; `parallel` makes them work together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtc import optim, parallel
from mtc.config import Task
from mtc.models import Encoder
from mtc.multitask.balancing import Balancing, Fixed
from mtc.multitask.forward import loss_fn
from mtc.multitask.gradients import TaskGradients, balancing_key, dropout_key
from mtc.types import Array, PyTree, Step, TrainState


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
    learned = balancing.init({name: task.weight for name, task in tasks.items()}) if balancing is not None else {}
    return TrainState(step=jnp.int32(0), skipped=jnp.int32(0), params=params, opt_state=opt_state, balancing=learned)

  if shapes:
    return jax.eval_shape(new)
  return parallel.to_host(new())  # copies: the first step donates its state, and the caller still uses the parameters

