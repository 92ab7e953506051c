"""A better start from a seed: rare words weigh more than frequent ones, before any training."""

from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtc.types import PyTree

_ADDS = {"position", "type", "attention_output", "mlp_output"}  # modules whose output is added to words


def weigh_words(params: PyTree, counts: np.ndarray, constant: float, key: jax.Array) -> dict[str, Any]:
  """The parameters of an encoder, with a token table in which only rare words point away from one direction.

  An encoder ends in a norm, so that every token weighs alike in the mean of a text, and "the" as much as a name. Here
  word w with the share p(w) of all tokens starts as `sqrt(1 - a^2) u + a r(w)` with `a = constant / (constant + p(w))`,
  where u is one direction for all, in the last two dimensions, and r(w) a random one in the others. The scale of the
  last norm starts at 0 in these two, so that u leaves no trace. The layers start by adding nothing, for at random they
  would add one vector to all texts, and so do the tables of positions and types, for a row of theirs would be as long
  as a word. What is left of a text is the sum of its words by their rarity: random indexing with the weights of SIF. A
  static embedding (`architecture="static"`) has no norm: there word w starts as a r(w), in all dimensions.

  Args:
    params: of `Encoder.init` of an architecture that starts from a seed; a projection stays as it is.
    counts: f64[vocabulary], how often each token is in the texts, in any unit.
    constant: a share of all tokens, 1e-3 for example: words of this share get half the weight.
    key: of the random directions.

  Reference: smooth inverse frequency, with removal of the common direction: Arora et al., "A Simple but Tough-to-Beat
    Baseline for Sentence Embeddings", ICLR 2017, algorithm 1.
  """
  backbone = params["backbone"]
  words = backbone["embeddings"]["word"]["embedding"]
  rows, width = words.shape
  scale = 0.02 * np.sqrt(width)  # the usual length of an embedding at the start
  weight = jnp.asarray(constant / (constant + counts / (counts.sum() or 1)), jnp.float32)[:, None]
  if backbone.keys() == {"embeddings"}:
    own = jax.random.normal(key, (rows, width))
    table = scale * weight * own / jnp.linalg.norm(own, axis=1, keepdims=True)
    return dict(params) | {"backbone": {"embeddings": {"word": {"embedding": table}}}}
  # The norms take the mean of each vector away: no direction may be lost to it.
  common = jnp.zeros((1, width)).at[0, -2:].set(jnp.array([1, -1]) / np.sqrt(2))
  own = jax.random.normal(key, (rows, width - 2))
  own = own - own.mean(1, keepdims=True)
  own = jnp.pad(own / jnp.linalg.norm(own, axis=1, keepdims=True), ((0, 0), (0, 2)))
  table = scale * (jnp.sqrt(1 - weight**2) * common + weight * own)
  flat: dict[Any, Any] = traverse_util.flatten_dict(dict(backbone))
  flat["embeddings", "word", "embedding"] = table
  last = (*_last_norm(backbone), "scale")
  flat[last] = jnp.asarray(flat[last]).at[-2:].set(0)
  for path, leaf in flat.items():
    # Zeros where anything is added to the words; what a layer reads keeps its random values, so that it can learn.
    if _ADDS.intersection(path):
      flat[path] = jnp.zeros_like(leaf)
  return dict(params) | {"backbone": traverse_util.unflatten_dict(flat)}


def _last_norm(backbone: PyTree) -> tuple[str, ...]:
  """The path of the norm whose output the encoder gives."""
  if "final_norm" in backbone:
    return ("final_norm",)
  layers = sum(name.startswith("layer_") for name in backbone)
  return (f"layer_{layers - 1}", "mlp_norm")
