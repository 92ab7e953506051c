"""What training needs of each device's memory, said before a run: every device holds all parameters."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtc.models.architecture import sizes
from mtc.models.encoder import build
from mtc.models.spec import ModelSpec


class Memory(NamedTuple):
  """Bytes on each device, but for the first two.

  Attributes:
    parameters: how many there are.
    trained: how many of them are trained.
    state: parameters, and the gradients and Adam's two moments of those that are trained.
    activations: what the forward pass leaves for the backward pass; an estimate.
  """

  parameters: int
  trained: int
  state: int
  activations: int

  @property
  def total(self) -> int:
    """Of state and activations."""
    return self.state + self.activations


def training_bytes(
  config: dict[str, Any], spec: ModelSpec, tokens: int, length: int, frozen_dtype: str = "float32"
) -> Memory:
  """Counts the parameters and estimates the rest, without making any array.

  Left out: what XLA needs for a moment (a copy of the largest kernels), the loss's comparison of all embeddings, and
  what the driver takes: keep a tenth of the device free for these.

  Example: a model of 1000 parameters, all trained, has a state of 16,000 bytes; with LoRA of 10 beside them, 4,160.

  Args:
    config: the content of a Hugging Face `config.json`.
    spec: with LoRA, only its adapters and the projection are trained; else everything is.
    tokens: of the rows that a device encodes at once: those of a chunk, where a step is encoded in chunks.
    length: of a row.
    frozen_dtype: of the parameters that are not trained.
  """
  params = jax.eval_shape(build(config, spec).init, jax.random.key(0))
  counts = {part: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for part, tree in params.items()}
  frozen = counts["backbone"] if spec.lora.rank else 0
  trained = sum(counts.values()) - frozen
  return Memory(
    parameters=frozen + trained,
    trained=trained,
    state=16 * trained + jnp.dtype(frozen_dtype).itemsize * frozen,
    activations=_activations(sizes(config), tokens, length, jnp.dtype(spec.dtype).itemsize),
  )


def _activations(architecture: Any, tokens: int, length: int, itemsize: int) -> int:
  """Of each token and layer about 18 states and 5 inner states of the MLP; of one layer its attention going backward.

  Without layers, 3 states of each token.

  The numbers are those of XLA's buffers for a gradient in float32 on CPU, where this is 0.9 to 1.5 times what they are.
  Attention is its probabilities 3 times, in bfloat16 two of them in float32; other layers compute theirs again.
  """
  width = max(architecture.width, architecture.heads * getattr(architecture, "depth", 0))
  if not architecture.layers:
    return tokens * 3 * itemsize * width
  states = itemsize * (18 * width + 5 * architecture.mlp_width)
  probabilities = (8 + itemsize) * architecture.heads * length
  return tokens * (architecture.layers * states + probabilities)
