"""From a spec to an optax chain: AdamW with warm-up, decay, clipping and layer-wise rates."""

from dataclasses import dataclass
import re

import jax
import optax

from mtc.types import PyTree

_DECAYS = ("cosine", "linear", "constant")


@dataclass
class OptimSpec:
  """AdamW and its schedule. Biases, LayerNorm and the scalars of losses are never decayed."""

  learning_rate: float = 5e-5  # the peak, reached after the warm-up
  warmup: float = 0.1  # fraction of the steps
  decay: str = "cosine"  # cosine | linear | constant, to 0 at the last step
  weight_decay: float = 0.01
  clip_norm: float = 1.0  # of the whole gradient; 0 = no clipping
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  layer_decay: float = 1.0  # each layer learns at this fraction of the rate of the one above it

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
  """The optax chain of `spec` for a run of `steps` steps."""
  return optax.chain(
    optax.clip_by_global_norm(spec.clip_norm) if spec.clip_norm else optax.identity(),
    optax.scale_by_adam(spec.b1, spec.b2, spec.eps),
    optax.add_decayed_weights(spec.weight_decay, mask=decay_mask),
    _scale_by_layer(spec.layer_decay) if spec.layer_decay < 1 else optax.identity(),
    optax.scale_by_learning_rate(make_schedule(spec, steps)),
  )


def decay_mask(params: PyTree) -> PyTree:
  """True where weight decay applies: matrices of the encoder, not its biases and LayerNorms, no scalar of a loss."""
  return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf.ndim > 1 and "tasks" not in _names(path), params)


def layer_rates(params: PyTree, layer_decay: float) -> PyTree:
  """The factor of each leaf's learning rate: 1 above the last layer, `layer_decay` less for each layer below it.

  Layer i of n has `layer_decay ** (n - 1 - i)`, the embeddings below them `layer_decay ** n`.
  Reference: layer-wise learning-rate decay as in ELECTRA, arXiv 2003.10555, appendix B.
  """
  layers = [_layer(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
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


def _names(path) -> list[str]:
  return [str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path]


def _layer(path) -> int | None:
  found = [re.fullmatch(r"layers?_(\d+)", name) for name in _names(path)]
  return next((int(m[1]) for m in found if m), None)
