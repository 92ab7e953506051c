"""The mean of the weights of several models of one kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
import math
from typing import Any

from absl import logging
import jax
import numpy as np

from mtc import models
from mtc.embedder.embedder import Embedder
from mtc.types import PyTree


def average(embedders: Iterable[Embedder], shares: Sequence[float]) -> Embedder:
  """The embedder whose weights are `sum(share * weights)`, float32; prompts and max_length are those of the first.

  Args:
    embedders: two or more, of the same architecture, sizes, pooling, projection and tokenizer. They are taken one by
      one: a generator that loads them has one in memory beside the sum.
    shares: of each, in [0, 1], together 1.

  Raises:
    ValueError: the shares are no average, or a model is not like the first; says in what.
  """
  if len(shares) < 2:
    raise ValueError(f"{len(shares)} share of a model is no average; name two models or more, and a share for each")
  if not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
    told = ", ".join(f"{share:g}" for share in shares)
    raise ValueError(f"the shares {told} are not in [0, 1] or do not add up to 1 but to {sum(shares):g}; use others")
  remaining, first, nature, total = iter(embedders), None, {}, {}
  for place, share in enumerate(shares, start=1):
    embedder = next(remaining, None)
    if embedder is None:
      raise ValueError(f"{place - 1} models have {len(shares)} shares; give each model one")
    if first is None:
      first, nature = replace(embedder, params={}), _nature(embedder)
      total = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), np.float32), embedder.params)
    else:
      _check_alike(nature, _nature(embedder), place)
      _warn_of_others(first, embedder, place)
    _add(total, embedder.params, share)
    del embedder  # before the next is loaded
  assert first is not None
  return replace(first, params=total)


def _warn_of_others(first: Embedder, other: Embedder, place: int) -> None:
  """Says what the average has of the first model only."""
  if (other.prompts, other.defaults) != (first.prompts, first.defaults):
    logging.warning("model %d has other prompts or defaults than the first, whose are kept", place)
  if other.max_length != first.max_length:
    logging.warning(
      "model %d cuts texts at %d tokens and the first at %d; the average cuts them at %d",
      place,
      other.max_length,
      first.max_length,
      first.max_length,
    )


def _add(total: PyTree, params: PyTree, share: float) -> None:
  """Adds the weighed parameters in place, leaf by leaf."""
  for so_far, leaf in zip(jax.tree.leaves(total), jax.tree.leaves(params), strict=True):
    so_far += np.float32(share) * np.asarray(leaf, np.float32)


def _check_alike(first: Mapping[str, Any], other: Mapping[str, Any], place: int) -> None:
  """Raises ValueError unless each weight of one has its counterpart in the other."""
  for name, expected in first.items():
    if other[name] != expected:
      shown = f" ({other[name]}, not {expected})" if isinstance(expected, str | int) and name != "tokenizer" else ""
      raise ValueError(
        f"model {place} has another {name} than the first{shown}; average runs of one start, or with that start a run "
        "that added no projection"
      )


def _nature(embedder: Embedder) -> dict[str, Any]:
  if embedder.spec.lora.rank:
    raise ValueError("a model has LoRA adapters beside its weights; average the exports, in which they are merged")
  return {
    "architecture": models.sizes(embedder.config),
    "pooling": embedder.spec.pooling or "mean",
    "number of dimensions": embedder.width,
    "projection": (embedder.spec.projection or "identity") if embedder.spec.dim else "none",
    "set of weights": jax.tree.map(np.shape, embedder.params),
    "tokenizer": embedder.tokenizer.to_str(),
  }
