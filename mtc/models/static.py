"""A static embedding: StaticEmbedding of sentence-transformers, of which model2vec makes models too."""

import functools
from pathlib import Path

from flax import linen as nn
import jax
import jax.numpy as jnp

from mtc.models import family
from mtc.models.dropout import Dropout
from mtc.models.family import NORMAL, Config, Family, Sizes, Table
from mtc.models.tensors import stored
from mtc.types import Tokens

_POSITIONS = 8192  # nothing limits a text but the rows into which it must be packed
_WORDS = "embedding.weight"


class Static(nn.Module):
  """Tokens -> their rows of the table [rows * length, width] in `dtype`; a text is the mean of them.

  Reference: EmbeddingBag, as a sentence encoder: arXiv 1511.08198.
  """

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    hidden = _Embeddings(self.sizes, self.dtype, name="embeddings")(tokens)
    return Dropout(self.dropout, deterministic)(hidden)


class _Embeddings(nn.Module):
  sizes: Sizes
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens) -> jax.Array:
    words = nn.Embed(self.sizes.vocab_size, self.sizes.width, embedding_init=NORMAL, name="word")
    return words(jnp.reshape(tokens.ids, -1)).astype(self.dtype)


def config_of(directory: Path) -> Config:
  """The config of a directory of StaticEmbedding, which has none: the shape of its table says all.

  Raises:
    ValueError: the directory has no table, more than a table, or one of a size that no model has.
  """
  path = directory / "model.safetensors"
  found = {tensor.name: tensor.shape for tensor in stored(path)}
  shape = next(iter(found.values())) if len(found) == 1 and set(found) <= {_WORDS, "embeddings"} else ()
  if len(shape) != 2:
    raise ValueError(
      f"{path} has {', '.join(f'{name} {list(size)}' for name, size in found.items())}, expected {_WORDS} "
      "[vocabulary, width]; a model2vec table with a mapping or weights is supported once sentence-transformers has "
      "saved it, which folds them in"
    )
  config = {"model_type": "static", "vocab_size": shape[0], "hidden_size": shape[1]}
  try:
    read(config)
  except ValueError as error:  # which speaks of a config.json
    raise ValueError(f"{path} has a table {list(shape)}, a size that no model has; download the model again") from error
  return config


def read(config: Config) -> Sizes:
  """Reads the sizes; raises ValueError where they are none."""
  get = functools.partial(family.positive, config)
  return Sizes(
    vocab_size=get("vocab_size"),
    width=get("hidden_size"),
    layers=0,
    heads=1,
    mlp_width=0,
    positions=_POSITIONS,
    activation="",
    epsilon=0.0,
  )


def table(config: Config) -> Table:
  """The names of a checkpoint."""
  return family.key_table({"embeddings/word": _WORDS.removesuffix(".weight")}, 0)


FAMILY = Family(
  models={"static": ""},
  read=read,
  module=Static,
  table=table,
  renamed={"embeddings": _WORDS},
  static=True,
)
