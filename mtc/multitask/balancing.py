"""How the tasks of a step share its update: factors of their gradients, from what they did so far."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from mtc.types import Array

# GradNorm's weights stay above this share of their sum: at 0 a task would have no gradient to come back by.
_LEAST_SHARE = 1e-3


class Gradients(Protocol):
  """What is known of the tasks of one step, in the order of `names`. What nobody asks for is not computed."""

  @property
  def names(self) -> list[str]: ...

  @property
  def weights(self) -> Array:
    """f32[tasks], `Task.weight`."""
    ...

  @property
  def losses(self) -> Array:
    """f32[tasks], the mean losses."""
    ...

  def norms(self) -> Array:
    """f32[tasks], of each loss's gradient with respect to the pooled embeddings, times the root of its examples."""
    ...

  def gram(self) -> Array:
    """f32[tasks, tasks], inner products of the losses' gradients with respect to the encoder; costs a pass for each."""
    ...


@runtime_checkable
class Balancing(Protocol):
  """A plain dataclass: which factor the gradient of each task's loss has in the step's gradient, their sum.

  Its state belongs to the train state, apart from the parameters: neither clipping nor the optimizer sees it.
  """

  @property
  def every_task(self) -> bool:
    """Whether every step must hold every task."""
    ...

  def validate(self) -> None:
    """Raises ValueError for a field that cannot be right."""
    ...

  def init(self, weights: dict[str, float]) -> dict[str, Any]:
    """The state before the first step, from the weight of each task; {} by default."""
    ...

  def factors(self, state: dict[str, Any], tasks: Gradients, key: jax.Array) -> Array:
    """f32[tasks]; the key is the step's, equal on all devices."""
    ...

  def update(self, state: dict[str, Any], tasks: Gradients) -> dict[str, Any]:
    """The state of the next step."""
    ...


@dataclass
class Fixed:
  """The factor of each task is its weight."""

  every_task = False

  def validate(self) -> None:
    """Nothing can be wrong."""

  def init(self, weights: dict[str, float]) -> dict[str, Any]:
    """None is needed."""
    return {}

  def factors(self, state: dict[str, Any], tasks: Gradients, key: jax.Array) -> Array:
    """The weights."""
    return tasks.weights

  def update(self, state: dict[str, Any], tasks: Gradients) -> dict[str, Any]:
    """As it was."""
    return state


@dataclass
class Uncertainty:
  """A task whose loss stays large counts less: it descends `weight (exp(-s) loss + s)`, also in each task's own `s`.

  `s` is the log of the variance of the task's noise; at its optimum `exp(s)` is the loss, so that what every task
  descends is the logarithm of its loss. It begins at 0, as `Fixed`. `s` has its own rate: at that of a pretrained
  encoder it would not move. Its derivative `1 - exp(-s) loss` has no unit, so the default suits every loss.

  At s = 0 and a loss of 3, a rate of 0.1 gives the factor 1, s = 0.2, and then the factor exp(-0.2) = 0.82.

  Reference: arXiv 1705.07115 eq. 10 with s = log sigma^2, in the form exp(-s) L + s that is usual for losses that are
  no likelihoods; the paper's own, exp(-s) L + s / 2, has every factor twice as small for the same loss.
  """

  learning_rate: float = 0.01  # of s, by gradient descent

  every_task = False

  def validate(self) -> None:
    """Raises ValueError for a rate that cannot be right."""
    _require_rate("Uncertainty", self.learning_rate)

  def init(self, weights: dict[str, float]) -> dict[str, Any]:
    """`log_variance` is s, f32[] for each task."""
    return {"log_variance": {name: jnp.zeros((), jnp.float32) for name in weights}}

  def factors(self, state: dict[str, Any], tasks: Gradients, key: jax.Array) -> Array:
    """`weight exp(-s)`."""
    return tasks.weights * jnp.exp(-_stack(state["log_variance"], tasks))

  def update(self, state: dict[str, Any], tasks: Gradients) -> dict[str, Any]:
    """One step down of s for the tasks of this step."""
    s = _stack(state["log_variance"], tasks)
    s -= self.learning_rate * tasks.weights * (1 - jnp.exp(-s) * tasks.losses)
    return {"log_variance": state["log_variance"] | _unstack(s, tasks)}


@dataclass
class GradNorm:
  """A task that learns slower than the others gets a larger gradient.

  The weights `w` of the losses begin as `Task.weight` and keep their sum. Each step moves them down the gradient of
  `sum_i |G_i - mean(G) r_i ** alpha|`, the target held constant, where `G_i = w_i norm_i` is the norm of the weighted
  loss's gradient and `r_i` is its loss over its first loss, over the mean of this over the tasks.

  The norms are those at the pooled embeddings, which is where the shared encoder ends and which costs no further pass:
  the paper takes the last shared weights, and not every encoder here has a projection. They are multiplied by the root
  of the number of examples, for the mean of a larger batch has a smaller gradient at each text. The rate is one of
  norms in units of `mean(G)`: how large embeddings are does not matter to it.

  Reference: arXiv 1711.02257, eq. 2 and algorithm 1.
  """

  alpha: float = 1.5  # how much slower tasks are favoured; 0 = all norms alike
  learning_rate: float = 0.025  # of the weights, by gradient descent

  every_task = True

  def validate(self) -> None:
    """Raises ValueError for a field that cannot be right."""
    _require_rate("GradNorm", self.learning_rate)
    if not 0 <= self.alpha < float("inf"):
      raise ValueError(f"alpha={self.alpha} of GradNorm is negative; 0 gives all tasks equal norms, 1.5 is usual")

  def init(self, weights: dict[str, float]) -> dict[str, Any]:
    """`weight` and `first_loss`, f32[] for each task; the latter is 0 until it is known."""
    return {
      "weight": {name: jnp.asarray(weight, jnp.float32) for name, weight in weights.items()},
      "first_loss": {name: jnp.zeros((), jnp.float32) for name in weights},
    }

  def factors(self, state: dict[str, Any], tasks: Gradients, key: jax.Array) -> Array:
    """The weights as learned so far."""
    return _stack(state["weight"], tasks)

  def update(self, state: dict[str, Any], tasks: Gradients) -> dict[str, Any]:
    """One step down of the weights, which then get their sum back."""
    weights, first = _stack(state["weight"], tasks), _stack(state["first_loss"], tasks)
    first = jnp.where(first > 0, first, tasks.losses)
    ratio = tasks.losses / jnp.maximum(first, 1e-12)
    slower = ratio / jnp.maximum(jnp.mean(ratio), 1e-12)
    norms = tasks.norms()
    mean = jnp.maximum(jnp.mean(weights * norms), 1e-12)
    moved = weights - self.learning_rate * jnp.sign(weights * norms - mean * slower**self.alpha) * norms / mean
    moved = jnp.maximum(moved, _LEAST_SHARE * jnp.sum(tasks.weights))
    moved *= jnp.sum(tasks.weights) / jnp.sum(moved)
    return {"weight": _unstack(moved, tasks), "first_loss": _unstack(first, tasks)}


@dataclass
class PCGrad:
  """A task's gradient loses what goes against another's: its component along each one that it conflicts with.

  Of weighted gradients (1, 0) and (-1, 1) the first becomes (0.5, 0.5) and the second (0, 1): the step's gradient is
  (0.5, 1.5) and not (0, 1). That is 2 times the first and 1.5 times the second: whatever is projected, the result is a
  sum of the gradients themselves, and their factors need no more than their inner products.

  The gradients are those of the encoder; each step takes a backward pass for every task, and holds a gradient of each.
  A learnable scalar of a loss takes the factor of its task.

  Reference: arXiv 2001.06782, algorithm 1.
  """

  every_task = True

  def validate(self) -> None:
    """Nothing can be wrong."""

  def init(self, weights: dict[str, float]) -> dict[str, Any]:
    """None is needed."""
    return {}

  def factors(self, state: dict[str, Any], tasks: Gradients, key: jax.Array) -> Array:
    """Projects every gradient on the others' normal planes, in a random order."""
    weights = tasks.weights
    gram = weights[:, None] * weights[None, :] * tasks.gram()
    order = self.order(key, len(tasks.names))
    each = jnp.arange(len(tasks.names))
    parts = jnp.eye(len(tasks.names), dtype=gram.dtype)  # [i, j]: how much of gradient j is in the projected gradient i
    for other in order.T:
      along = jnp.sum(parts * gram[other], axis=1)
      conflict = (along < 0) & (other != each)
      length = jnp.where(conflict, gram[other, other], 1)  # a gradient of 0 conflicts with none
      parts = parts.at[each, other].add(-jnp.where(conflict, along / length, 0))
    return weights * jnp.sum(parts, axis=0)

  def update(self, state: dict[str, Any], tasks: Gradients) -> dict[str, Any]:
    """As it was."""
    return state

  @staticmethod
  def order(key: jax.Array, tasks: int) -> Array:
    """i32[tasks, tasks]: row i is the random order in which gradient i meets all, itself included, for nothing."""
    return jnp.argsort(jax.random.uniform(key, (tasks, tasks)), axis=1)


def _require_rate(name: str, rate: float) -> None:
  if not 0 < rate < 1:
    raise ValueError(f"learning_rate={rate} of {name} is not in (0, 1); 0.01 moves its weights within a hundred steps")


def _stack(values: dict[str, Array], tasks: Gradients) -> Array:
  return jnp.stack([values[name] for name in tasks.names])


def _unstack(values: Array, tasks: Gradients) -> dict[str, Array]:
  return {name: values[i] for i, name in enumerate(tasks.names)}
