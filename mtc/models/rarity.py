"""A better start from a seed: rare words weigh more than frequent ones, before any training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtc.types import PyTree


def weigh_words(params: PyTree, counts: np.ndarray, constant: float, key: jax.Array) -> dict[str, Any]:
  """The parameters of an encoder, with a table of words in which only rare words point away from one direction.

  An encoder ends in a norm, so that every token weighs alike in the mean of a text, and "the" as much as a name. Here
  word w with the share p(w) of all tokens starts as `sqrt(1 - a^2) u + a r(w)` with `a = constant / (constant + p(w))`,
  where u is one direction for all and r(w) a random one at right angles to it. The projection starts as a part of a
  rotation that removes u. The layers start by adding nothing, for at random they would add one vector to all texts that
  no projection removes. What is left of a text is the sum of its words by their rarity: random indexing with the
  weights of SIF.

  Args:
    params: of `Encoder.init` of an architecture that starts from a seed, with the projection if there is one; without,
      u remains.
    counts: i64[vocabulary], how often each token is in the texts.
    constant: a share of all tokens, 1e-3 for example: words of this share get half the weight.
    key: of the random directions.

  Reference: smooth inverse frequency, with removal of the common direction: Arora et al., "A Simple but Tough-to-Beat
    Baseline for Sentence Embeddings", ICLR 2017, algorithm 1.
  """
  words = params["backbone"]["embeddings"]["word"]["embedding"]
  word_key, common_key, turn_key = jax.random.split(key, 3)
  # The norm takes the mean of each vector away: no direction may be lost to it.
  common = _unit(_centred(jax.random.normal(common_key, (1, words.shape[1]))))
  own = _centred(jax.random.normal(word_key, words.shape))
  own = _unit(own - (own @ common.T) * common)
  weight = jnp.asarray(constant / (constant + counts / max(counts.sum(), 1)), jnp.float32)[:, None]
  scale = 0.02 * np.sqrt(words.shape[1])  # the usual length of an embedding at the start
  table = scale * (jnp.sqrt(1 - weight**2) * common + weight * own)
  backbone = params["backbone"]
  embeddings = backbone["embeddings"] | {"word": {"embedding": table}}
  silent = jax.tree_util.tree_map_with_path(_silenced, dict(backbone) | {"embeddings": embeddings})
  new = dict(params) | {"backbone": silent}
  if "projection" in params:
    kernel = params["projection"]["kernel"]
    size = max(kernel.shape)
    turn = jnp.linalg.qr(jax.random.normal(turn_key, (size, size)))[0][: kernel.shape[0], : kernel.shape[1]]
    new["projection"] = dict(params["projection"]) | {"kernel": turn - common.T @ (common @ turn)}
  return new


def _silenced(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
  """Zeros where a layer writes to what it passes on; what it reads keeps its random values, so that it can learn."""
  writes = any(getattr(key, "key", None) in ("attention_output", "mlp_output") for key in path)
  return jnp.zeros_like(leaf) if writes else leaf


def _centred(vectors: jax.Array) -> jax.Array:
  return vectors - vectors.mean(1, keepdims=True)


def _unit(vectors: jax.Array) -> jax.Array:
  return vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
