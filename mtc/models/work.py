"""How many operations the matrix products of a training step need: counted from the weights, for real tokens only."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from mtc.models.architecture import sizes
from mtc.types import PyTree, Tokens


class Work(NamedTuple):
  """Operations of an encoder, forward and backward; a multiplication and an addition are two.

  Attributes:
    token: of the dense layers, for each token.
    text: of the projection, for each text.
    attention: (window, causal) -> for each pair of tokens of which one attends to the other; all such layers together.
  """

  token: int
  text: int
  attention: dict[tuple[int, bool], int]

  def of(self, tokens: Tokens) -> int:
    """The operations for the texts of a grid of host arrays: padding, and pairs of different texts, are no work."""
    segment, position = np.asarray(tokens.segment), np.asarray(tokens.position)
    real = segment > 0
    position = position[real].astype(np.int64)
    texts = int(np.count_nonzero(position == 0))
    pairs = sum(each * attended(position, *kind) for kind, each in self.attention.items())
    return self.token * len(position) + self.text * texts + pairs


def attended(position: np.ndarray, window: int, causal: bool) -> int:
  """How many pairs of tokens attend to each other, from the positions of whole texts.

  A text of three tokens, positions [0, 1, 2], has 9 pairs; causal 6; with a window of 1 it has 7, causal 5.

  Args:
    position: i64[tokens], counts from 0 within each text.
    window: the greatest distance; 0 = no limit.
    causal: whether a token attends to itself and those before it only.
  """
  before = np.minimum(position, window) if window else position
  # Where both sides are seen, each pair of different tokens is seen from either end.
  return int(np.sum(before) * (1 if causal else 2)) + len(position)


def training_work(config: dict[str, Any], params: PyTree, trained: PyTree) -> Work:
  """Counts the operations of an encoder that is trained, wholly or in part.

  A weight of a dense layer takes 2 operations going forward, 2 more where the gradient passes through to what lies
  below, and 2 more where it is trained itself: 6 for each weight of a model that is all trained, 2 where only a head
  is. Attention takes 4 operations for each pair of tokens and dimension, and 8 more going backward. Not counted are
  norms, activations, softmax, the tables of embeddings and the optimizer, nor what GradCache computes twice: these are
  no matrix products, or no useful ones.

  Args:
    config: the content of a Hugging Face `config.json`.
    params: of the encoder, or their shapes.
    trained: the same, with None for what is frozen; see `optim.split`.

  Reference: 6 operations for each weight and token as in arXiv 2001.08361, section 2.1.
  """
  architecture = sizes(config)
  depth = getattr(architecture, "depth", 0) or architecture.width // architecture.heads
  place = {path: _layer(path, architecture.layers) for path, _ in _leaves(params)}
  lowest = min((place[path] for path, leaf in _leaves(trained) if leaf is not None), default=architecture.layers)

  def passes(layer: int) -> bool:
    """Whether something below this layer, or in it, waits for its gradient."""
    return layer > lowest or layer == lowest < architecture.layers

  learns = {path for path, leaf in _leaves(trained) if leaf is not None}
  token = text = 0
  for path, leaf in _leaves(params):
    if path[-1] not in ("kernel", "a", "b") or path[0] == "masked_lm":
      continue
    work = int(np.prod(leaf.shape)) * (2 + 2 * passes(place[path]) + 2 * (path in learns))
    token, text = (token, text + work) if path[0] == "projection" else (token + work, text)
  attention: dict[tuple[int, bool], int] = {}
  causal = bool(getattr(architecture, "causal", False))
  for layer in range(architecture.layers):
    kind = (getattr(architecture, "windows", (0,) * architecture.layers)[layer], causal)
    work = (12 if passes(layer) else 4) * architecture.heads * depth
    attention[kind] = attention.get(kind, 0) + work
  return Work(token, text, attention)


def _leaves(tree: PyTree) -> Iterator[tuple[tuple[str, ...], Any]]:
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: leaf is None):
    yield tuple(str(getattr(entry, "key", entry)) for entry in path), leaf


def _layer(path: tuple[str, ...], layers: int) -> int:
  """-1 for the embeddings, then the layers from 0 on, then all that stands on them."""
  for name in path:
    if name == "embeddings":
      return -1
    if name.startswith("layer_") and name.removeprefix("layer_").isdecimal():
      return int(name.removeprefix("layer_"))
  return layers
