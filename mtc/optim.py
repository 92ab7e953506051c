"""From a spec to an optax chain: AdamW with warm-up, decay, clipping, layer-wise rates, and what stays frozen."""

from collections.abc import Sequence
from dataclasses import dataclass
import difflib
import fnmatch
import re
from typing import NamedTuple

import jax
import optax

from mtc.types import PyTree

_DECAYS = ("cosine", "linear", "constant")


@dataclass
class OptimSpec:
  """AdamW and its schedule. Biases, LayerNorm and the scalars of losses are never decayed.

  `freeze` names what keeps its values, as globs of paths: `("backbone",)` trains the head of `model.dim` only,
  `("backbone/embeddings", "backbone/layer_[0-3]")` the upper layers; a loss's scalars are `tasks/NAME/...`.
  """

  learning_rate: float = 5e-5  # the peak, reached after the warm-up
  warmup: float = 0.1  # fraction of the steps
  decay: str = "cosine"  # cosine | linear | constant, to 0 at the last step
  weight_decay: float = 0.01  # of weights; biases, LayerNorm and scalars are not decayed
  clip_norm: float = 1.0  # of the whole gradient; 0 = no clipping
  b1: float = 0.9  # decay of the first moment
  b2: float = 0.999  # decay of the second moment
  eps: float = 1e-8  # added to the root of the second moment
  layer_decay: float = 1.0  # each layer learns at this fraction of the rate of the one above it
  freeze: tuple[str, ...] = ()  # () = nothing, or the backbone where there is LoRA

  def validate(self) -> None:
    if not self.learning_rate > 0:
      raise ValueError(f"optim.learning_rate={self.learning_rate} is not positive; 5e-5 suits pretrained models")
    if not 0 <= self.warmup <= 1:
      raise ValueError(f"optim.warmup={self.warmup} is not a fraction of the steps; use 0 to 1, for example 0.1")
    if self.decay not in _DECAYS:
      raise ValueError(f"optim.decay={self.decay!r} is unknown; use one of {', '.join(_DECAYS)}")
    if self.clip_norm < 0 or self.weight_decay < 0:
      raise ValueError(
        f"optim.clip_norm={self.clip_norm} and optim.weight_decay={self.weight_decay} cannot be negative; 0 = off"
      )
    if not 0 < self.layer_decay <= 1:
      raise ValueError(f"optim.layer_decay={self.layer_decay} is not in (0, 1]; 1 gives every layer the same rate")
    if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1 and self.eps > 0):
      raise ValueError(f"optim.b1={self.b1}, b2={self.b2}, eps={self.eps}: b1 and b2 lie in [0, 1), eps is positive")
    if isinstance(self.freeze, str) or not all(isinstance(pattern, str) for pattern in self.freeze):
      raise ValueError(f"optim.freeze={self.freeze!r} is not a tuple of paths; use for example ('backbone',)")


def make_schedule(spec: OptimSpec, steps: int) -> optax.Schedule:
  """The learning rate of each step: linear from 0 to the peak, then as `spec.decay` says, to 0 at `steps`."""
  warmup = round(spec.warmup * steps)
  rest = max(steps - warmup, 1)
  after = {
    "cosine": lambda: optax.cosine_decay_schedule(spec.learning_rate, rest),
    "linear": lambda: optax.linear_schedule(spec.learning_rate, 0.0, rest),
    "constant": lambda: optax.constant_schedule(spec.learning_rate),
  }[spec.decay]()
  if not warmup:
    return after
  # The first update of the warm-up is not 0: step 0 already counts as one of its steps.
  rise = optax.linear_schedule(spec.learning_rate / warmup, spec.learning_rate, max(warmup - 1, 1))
  return optax.join_schedules([rise, after], [warmup])


def make_optimizer(spec: OptimSpec, steps: int) -> optax.GradientTransformation:
  """The optax chain of `spec` for a run of `steps` steps; give it the trained part of the parameters only."""
  return optax.chain(
    optax.clip_by_global_norm(spec.clip_norm) if spec.clip_norm else optax.identity(),
    optax.scale_by_adam(spec.b1, spec.b2, spec.eps),
    optax.add_decayed_weights(spec.weight_decay, mask=decay_mask),
    _scale_by_layer(spec.layer_decay) if spec.layer_decay < 1 else optax.identity(),
    optax.scale_by_learning_rate(make_schedule(spec, steps)),
  )


def split(params: PyTree, freeze: Sequence[str]) -> tuple[PyTree, PyTree]:
  """The parameters as (trained, frozen): two trees of the same shape, each with None where the other has the leaf.

  What is given the first tree (a gradient, an optimizer's state, a collective) sees no frozen leaf. `merge` undoes it.

  Args:
    params: {"encoder": ..., "tasks": ...}.
    freeze: globs of paths like `backbone/layer_0/query/kernel` (below "encoder") or `tasks/search/log_scale`. One that
      names a folder means all that is in it, and `*` also stands for a `/`. () freezes nothing, or the backbone where
      there is LoRA: who lists anything lists all of it.

  Raises:
    ValueError: a pattern matches nothing, or nothing is left to train.
  """
  paths = ["/".join(_names(path)).removeprefix("encoder/") for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  if not freeze and "lora" in params.get("encoder", {}):
    freeze = ("backbone",)
  frozen = [False] * len(paths)
  for pattern in freeze:
    matched = [fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*") for path in paths]
    if not any(matched):
      raise ValueError(f"optim.freeze names {pattern!r}, which no parameter has; near it are {_near(pattern, paths)}")
    frozen = [a or b for a, b in zip(frozen, matched)]
  if all(frozen):
    raise ValueError(
      f"optim.freeze={tuple(freeze)!r} leaves nothing to train; leave out what shall learn, or add a head by model.dim"
    )
  leaves, structure = jax.tree.flatten(params)
  return (
    jax.tree.unflatten(structure, [None if f else leaf for leaf, f in zip(leaves, frozen)]),
    jax.tree.unflatten(structure, [leaf if f else None for leaf, f in zip(leaves, frozen)]),
  )


def merge(trained: PyTree, frozen: PyTree) -> PyTree:
  """The whole parameters again, from what `split` returned."""
  return jax.tree.map(lambda t, f: f if t is None else t, trained, frozen, is_leaf=_is_none)


class Counts(NamedTuple):
  """How much is trained.

  Attributes:
    trained: parameters that are trained.
    total: all parameters.
    state_bytes: of parameters, gradients and Adam's two moments on each device; activations come on top.
  """

  trained: int
  total: int
  state_bytes: int


def count(params: PyTree, freeze: Sequence[str]) -> Counts:
  """Counts what `split` finds; raises as it does."""
  trained, frozen = (jax.tree.leaves(part) for part in split(params, freeze))
  learning = sum(leaf.nbytes for leaf in trained)
  return Counts(
    trained=sum(leaf.size for leaf in trained),
    total=sum(leaf.size for leaf in trained + frozen),
    state_bytes=4 * learning + sum(leaf.nbytes for leaf in frozen),
  )


def decay_mask(params: PyTree) -> PyTree:
  """True where weight decay applies: matrices of the encoder, not its biases and LayerNorms, no scalar of a loss."""
  return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf.ndim > 1 and "tasks" not in _names(path), params)


def layer_rates(params: PyTree, layer_decay: float) -> PyTree:
  """The factor of each leaf's learning rate: 1 above the last layer, `layer_decay` less for each layer below it.

  Layer i of n has `layer_decay ** (n - 1 - i)`, the embeddings below them `layer_decay ** n`.
  Reference: layer-wise learning-rate decay as in ELECTRA, arXiv 2003.10555, appendix B.
  """
  # Frozen layers are counted too: they are None here.
  layers = [_layer(path) for path, _ in jax.tree_util.tree_leaves_with_path(params, is_leaf=_is_none)]
  count = 1 + max((layer for layer in layers if layer is not None), default=-1)

  def rate(path, _):
    layer = _layer(path)
    if layer is not None:
      return layer_decay ** (count - 1 - layer)
    return layer_decay**count if "embeddings" in _names(path) else 1.0

  return jax.tree_util.tree_map_with_path(rate, params)


def _scale_by_layer(layer_decay: float) -> optax.GradientTransformation:
  return optax.stateless(
    lambda updates, _: jax.tree.map(lambda u, rate: u * rate, updates, layer_rates(updates, layer_decay))
  )


def _near(pattern: str, paths: Sequence[str]) -> str:
  """The folders and leaves whose names are most like the pattern."""
  split_paths = [path.split("/") for path in paths]
  known = dict.fromkeys("/".join(parts[:end]) for parts in split_paths for end in range(1, len(parts) + 1))
  near = difflib.get_close_matches(pattern, known, n=5, cutoff=0.4)
  return ", ".join(near or dict.fromkeys(parts[0] for parts in split_paths))


def _is_none(leaf: object) -> bool:
  return leaf is None


def _names(path) -> list[str]:
  return [str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path]


def _layer(path) -> int | None:
  found = [re.fullmatch(r"layers?_(\d+)", name) for name in _names(path)]
  return next((int(m[1]) for m in found if m), None)
