"""Why tasks help or hinder each other, measured during training: their gradients, and the embeddings' geometry."""

from collections.abc import Callable, Mapping, Sequence
import sys

import jax.numpy as jnp

from mtc import optim, parallel
from mtc.config import Task
from mtc.losses import unit
from mtc.models import Encoder
from mtc.multitask.balancing import Balancing
from mtc.multitask.forward import select
from mtc.multitask.gradients import TaskGradients, balancing_key, dropout_key
from mtc.training import geometry
from mtc.types import Array, Step, TrainState

_MOST_SIMILAR = 0.9
_LEAST_RANK = 0.1  # of the dimensions


def make_diagnosis(
  encoder: Encoder,
  tasks: Mapping[str, Task],
  balancing: Balancing,
  seed: int,
  rows_per_chunk: Callable[[int, int], int] = lambda rows, length: 0,
  freeze: Sequence[str] = (),
) -> Callable[[TrainState, Step], dict[str, Array]]:
  """A function of the state before a step and its batch, beside the step: it changes neither.

  Its metrics, of the very gradients (and dropout) of that step:

  - gradient/cosine/A/B: the cosine of the gradients of two tasks' losses with respect to what is trained of the
    encoder; below 0 they are in conflict. A comes before B in the alphabet.
  - gradient/norm/A: the norm of that gradient, without the task's weight.
  - gradient/share/A: how much of the step's gradient, before clipping and Adam, is the task's: the projection on it of
    what the task adds. The shares sum to 1; below 0 the others overrule the task.
  - geometry/alignment/A: the mean squared distance of the pairs of a task; not of pairs with scores, which may be
    unlike.
  - geometry/uniformity, effective_rank, mean_similarity, mean_norm: of the anchors and positives of all tasks;
    mean_norm before they get unit length.

  A step of one task has the norm of this task, the share 1 and no cosine.

  It holds a gradient of the encoder for each task at a time, and takes a forward pass and a backward pass for each.

  Args:
    encoder, tasks, balancing, seed, rows_per_chunk, freeze: as of `step.make_train_step`.

  Reference: cosines of task gradients as in arXiv 2001.06782, definition 1.
  """

  def diagnose(state: TrainState, batch: Step) -> dict[str, Array]:
    trained, frozen = optim.split(state.params, freeze)
    chunk, key = rows_per_chunk(*batch.tokens.ids.shape), dropout_key(seed, state.step)
    parts = TaskGradients(trained, frozen, batch, key, encoder=encoder, tasks=tasks, rows_per_chunk=chunk)
    factors = balancing.factors(state.balancing, parts, balancing_key(seed, state.step))
    return _of_gradients(parts.names, parts.gram(), factors) | _of_embeddings(parts.pooled, batch)

  return parallel.measure_across_devices(diagnose)


class Collapse:
  """Warns, once, when two measurements in a row say that all texts are becoming one."""

  def __init__(self, dim: int, texts: int):
    """For embeddings of `dim` dimensions, of which `texts` are measured at a time."""
    self._most, self._before, self._said = min(dim, texts), 0, False

  def see(self, step: int, metrics: Mapping[str, float]) -> None:
    """Looks at the metrics of a step, later than those seen before."""
    similarity, rank = metrics["geometry/mean_similarity"], metrics["geometry/effective_rank"]
    signs = [f"two texts are {similarity:.2f} similar on average (over {_MOST_SIMILAR})"] * (similarity > _MOST_SIMILAR)
    few = rank < _LEAST_RANK * self._most
    signs += [f"their effective rank is {rank:.1f} of {self._most} (under {_LEAST_RANK:.0%})"] * few
    if signs and self._before and not self._said:
      print(
        f"warning: the embeddings are collapsing: {' and '.join(signs)} at step {step}, and it was so at step "
        f"{self._before}. Lower optim.learning_rate, or give the losses more negatives or a lower temperature",
        file=sys.stderr,
      )
      self._said = True
    self._before = step if signs else 0


def _of_gradients(names: Sequence[str], gram: Array, factors: Array) -> dict[str, Array]:
  norms = jnp.sqrt(jnp.diagonal(gram))
  cosines = gram / jnp.maximum(norms[:, None] * norms[None, :], 1e-30)
  along = factors * jnp.sum(gram * factors[None, :], axis=1)  # of what each task adds, on their sum
  shares = along / jnp.maximum(jnp.sum(along), 1e-30)
  metrics = {}
  for i, name in enumerate(names):
    metrics |= {f"gradient/norm/{name}": norms[i], f"gradient/share/{name}": shares[i]}
    metrics |= {f"gradient/cosine/{name}/{other}": cosines[i, j] for j, other in enumerate(names) if i < j}
  return metrics


def _of_embeddings(pooled: Array, batch: Step) -> dict[str, Array]:
  metrics, vectors, weights = {}, [], []
  for name, examples in batch.tasks.items():
    pairs = select(pooled, examples)
    if pairs.positive is not None and examples.score is None:
      distances = geometry.squared_distances(unit(pairs.anchor), unit(pairs.positive))
      metrics[f"geometry/alignment/{name}"] = parallel.weighted_mean(distances, examples.weight)
    texts = [pairs.anchor] if pairs.positive is None else [pairs.anchor, pairs.positive]
    vectors += texts
    weights += [examples.weight] * len(texts)
  everyone, weight = parallel.gather((jnp.concatenate(vectors), jnp.concatenate(weights)))
  directions = unit(everyone)
  return metrics | {
    "geometry/uniformity": geometry.uniformity(directions, weight),
    "geometry/effective_rank": geometry.effective_rank(directions * weight[:, None]),
    "geometry/mean_similarity": geometry.mean_similarity(directions, weight),
    "geometry/mean_norm": jnp.sum(jnp.linalg.norm(everyone, axis=-1) * weight) / jnp.maximum(jnp.sum(weight), 1),
  }
