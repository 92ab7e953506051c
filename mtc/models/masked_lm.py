"""The head of masked language modelling: a hidden state to the word that stood there."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mtc.models.architecture import family
from mtc.models.dense import Dense, precision
from mtc.models.family import Config, MaskedLM, Sizes, Table, activate, layer_norm
from mtc.types import PyTree


class Head(NamedTuple):
  """The head as two pure functions.

  Attributes:
    init: key -> params["masked_lm"]: {"dense": ..., "norm": ..., "bias": f32[vocab]}.
    apply: (params, hidden [n, width]) -> logits f32[n, vocab]; params has "masked_lm" and "backbone", whose token
      table is the last matrix.
  """

  init: Callable[[jax.Array], dict[str, Any]]
  apply: Callable[[PyTree, jax.Array], jax.Array]


def build_head(config: Config) -> Head:
  """Builds the masked-LM head that belongs to a Hugging Face config; raises ValueError where it has none.

  Reference: arXiv 1810.04805, section 3.1; the tied table: arXiv 1608.05859.
  """
  sizes = family(config).read(config)
  module = _Head(head_names(config), sizes)

  def init(key: jax.Array) -> dict[str, Any]:
    words = jnp.zeros((sizes.vocab_size, sizes.width))
    return dict(module.init(key, jnp.zeros((1, sizes.width)), words)["params"])

  def apply(params: PyTree, hidden: jax.Array) -> jax.Array:
    words = params["backbone"]["embeddings"]["word"]["embedding"]
    return jnp.asarray(module.apply({"params": params["masked_lm"]}, hidden, words))

  return Head(init, apply)


def head_names(config: Config) -> MaskedLM:
  """The head's description; raises ValueError where the architecture has none."""
  describe = family(config).masked_lm
  if describe is None:
    raise ValueError(f"a model of model_type={config['model_type']!r} has no masked-LM head; use an encoder")
  if not config.get("tie_word_embeddings", True):
    raise ValueError("tie_word_embeddings=false of config.json is not supported for masked language modelling")
  return describe(config)


def head_table(config: Config) -> Table:
  """The names of the head in a checkpoint."""
  names = head_names(config)
  table: Table = {
    f"{names.dense}.weight": (("dense", "kernel"), True),
    f"{names.norm}.weight": (("norm", "scale"), False),
    names.bias: (("bias",), False),
  }
  if names.dense_biased:
    table[f"{names.dense}.bias"] = (("dense", "bias"), False)
  if names.norm_biased:
    table[f"{names.norm}.bias"] = (("norm", "bias"), False)
  return table


class _Head(nn.Module):
  names: MaskedLM
  sizes: Sizes

  @nn.compact
  def __call__(self, hidden: jax.Array, words: jax.Array) -> jax.Array:
    names, sizes = self.names, self.sizes
    hidden = activate(names.activation, Dense(sizes.width, names.dense_biased, name="dense")(hidden))
    hidden = layer_norm(sizes.epsilon, hidden.dtype, "norm", names.norm_biased)(hidden)
    words = words.astype(hidden.dtype)
    # Logits in float32, for the softmax over many words.
    logits = jnp.matmul(hidden, words.T, precision=precision(hidden), preferred_element_type=jnp.float32)
    return logits + self.param("bias", nn.initializers.zeros, (sizes.vocab_size,))[None, :]
