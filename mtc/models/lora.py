"""LoRA: a frozen kernel learns a product of two thin matrices, in a collection beside it."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import linen as nn, traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtc.models.dense import Dense, dense
from mtc.models.dropout import dropout
from mtc.types import PyTree


@dataclasses.dataclass
class LoraSpec:
  """Which dense layers of the backbone get an adapter, and of what size. The backbone is then frozen.

  With `optim.freeze` that leaves some of it to learn there is an export, and no adapter: it would need another base.

  Attributes:
    rank: of the adapters; 0 = no LoRA.
    alpha: an adapter counts alpha / rank times.
    dropout: the rate for what goes into an adapter, in training.
    targets: names of dense layers, such as ("query", "value"), in every layer that has them; ("all",) = all of them.
      That all learn matters more than a high rank (arXiv 2305.14314, section 4).

  Reference: arXiv 2106.09685, eq. 3 and section 4.1.
  """

  rank: int = 0
  alpha: float = 16.0
  dropout: float = 0.0
  targets: tuple[str, ...] = ("all",)

  def validate(self) -> None:
    """Raises ValueError where a field is out of its range."""
    if self.rank < 0:
      raise ValueError(f"model.lora.rank={self.rank} is negative; use 8 for example, or 0 for no LoRA")
    if not self.alpha > 0:
      raise ValueError(f"model.lora.alpha={self.alpha} is not positive; once or twice the rank is usual")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"model.lora.dropout={self.dropout} is outside [0, 1); use 0 for no dropout")
    if isinstance(self.targets, str) or not self.targets or not all(isinstance(name, str) for name in self.targets):
      raise ValueError(
        f"model.lora.targets={self.targets!r} is not a tuple of names; use ('query', 'value') or ('all',)"
      )

  @property
  def scale(self) -> float:
    """What the product of the two matrices is multiplied by."""
    return self.alpha / self.rank


def init(key: jax.Array, spec: LoraSpec, backbone: PyTree) -> dict[str, Any]:
  """Fresh adapters: a f32[in, rank] random, b f32[rank, out] zero, so that the model is still the one it adapts.

  Args:
    backbone: `params["backbone"]`, or its shapes.

  Returns:
    The tree of `params["lora"]`: as the backbone, with {"a", "b"} in place of the {"kernel", "bias"} of each target.

  Raises:
    ValueError: the backbone has no dense layer of that name.
  """
  kernels = {path[:-1]: leaf.shape for path, leaf in sorted(_flat(backbone).items()) if path[-1] == "kernel"}
  known = dict.fromkeys(path[-1] for path in kernels)
  if not known:
    raise ValueError(f"model.lora.rank={spec.rank} has nothing to adapt: this model is a static embedding; use rank=0")
  targets = known if tuple(spec.targets) == ("all",) else spec.targets
  for name in targets:
    if name not in known:
      raise ValueError(f"model.lora.targets names {name!r}, which this model has not; use 'all' or {', '.join(known)}")
  # Of the variance that the authors' own code has: rates that are usual elsewhere fit here.
  draw = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "normal")
  flat = {}
  for number, (path, (width, features)) in enumerate(kernels.items()):
    if path[-1] in targets:
      flat[*path, "a"] = draw(jax.random.fold_in(key, number), (width, spec.rank))
      flat[*path, "b"] = jnp.zeros((spec.rank, features))
  return traverse_util.unflatten_dict(flat)


def adapted(spec: LoraSpec, deterministic: bool) -> Any:
  """A context in which every Dense that has variables in the collection "lora" adds its adapter's output."""

  def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    outputs, module = call(*args, **kwargs), context.module
    if not isinstance(module, Dense) or not module.has_variable("lora", "a"):
      return outputs
    inputs = args[0]
    if spec.dropout and not deterministic:
      inputs = dropout(inputs, spec.dropout, module.make_rng("dropout"))
    a, b = module.get_variable("lora", "a"), module.get_variable("lora", "b")
    return outputs + spec.scale * dense(dense(inputs, a, None), b, None)

  return nn.intercept_methods(intercept)


def merge(params: PyTree, spec: LoraSpec) -> dict[str, Any]:
  """The encoder's parameters with every adapter added to its kernel, `W + alpha / rank * a @ b`, and none left."""
  rest = {name: tree for name, tree in params.items() if name != "lora"}
  if "lora" not in params:
    return rest
  backbone, adapters = _flat(params["backbone"]), _flat(params["lora"])
  for path, a in adapters.items():
    if path[-1] == "a":
      kernel = (*path[:-1], "kernel")
      product = np.matmul(np.asarray(a), np.asarray(adapters[*path[:-1], "b"]))
      backbone[kernel] = np.asarray(backbone[kernel]) + np.float32(spec.scale) * product
  return rest | {"backbone": traverse_util.unflatten_dict(backbone)}


def _flat(tree: PyTree) -> dict[tuple[str, ...], Any]:
  flat: Any = traverse_util.flatten_dict(tree)
  return flat
