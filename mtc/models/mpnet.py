"""MPNet in Linen: a BERT whose attention also knows how far apart two tokens stand."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mtc.models import bert, family
from mtc.models.dropout import Dropout
from mtc.models.family import NORMAL, Config, Family, MaskedLM, Table
from mtc.types import Tokens

_BUCKETS = 32  # of distances, a constant of the model
_FARTHEST = 128  # distances from here on share a bucket


@dataclasses.dataclass(frozen=True)
class Sizes(bert.Sizes):
  """What an MPNet is made of; `distances` are the rows of its table of relative positions."""

  distances: int


class MPNet(nn.Module):
  """The encoder without a head: tokens -> hidden states [rows * length, width] in `dtype`.

  Reference: arXiv 2004.09297; the relative positions: 1910.10683, section 2.1.
  """

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    sizes = self.sizes
    hidden, bias = _Embeddings(sizes, self.dtype, name="embeddings")(tokens)
    hidden = Dropout(self.dropout, deterministic)(hidden)
    for index in range(sizes.layers):
      hidden = bert.Layer(sizes, self.dropout, self.dtype, name=f"layer_{index}")(hidden, tokens, deterministic, bias)
    return hidden


class _Embeddings(bert.Embeddings):
  """BERT's, and what all layers add to their attention: f32[heads, length, length]."""

  sizes: Sizes

  @nn.compact
  def __call__(self, tokens: Tokens) -> tuple[jax.Array, jax.Array]:
    hidden = super().__call__(tokens)
    column = np.arange(tokens.ids.shape[1])
    # The texts of a row are contiguous: the distance of two columns is that of two positions.
    bucket = distance_bucket(column[None, :] - column[:, None])
    table = nn.Embed(self.sizes.distances, self.sizes.heads, embedding_init=NORMAL, name="distance")
    return hidden, table(jnp.asarray(bucket)).transpose(2, 0, 1)


def distance_bucket(distance: np.ndarray) -> np.ndarray:
  """The row of the table for a key so far to the right of its query: small distances have rows of their own.

  Example: [-1, 0, 1, 2, 7, 8, 20, 500] -> [1, 0, 17, 18, 23, 24, 26, 31]
  """
  side = _BUCKETS // 2
  exact = side // 2
  far = np.abs(distance)
  ratio = np.log(np.maximum(far, 1).astype(np.float32) / exact) / np.float32(np.log(_FARTHEST / exact))
  coarse = np.minimum(exact + (ratio * (side - exact)).astype(np.int32), side - 1)
  return np.where(distance > 0, side, 0) + np.where(far < exact, far, coarse)


def read(config: Config) -> Sizes:
  """Reads the sizes from the config; raises ValueError on a model that this encoder cannot be."""
  # Positions are counted from the row after that of the padding token, which is 1 whatever the config says.
  common = bert.read(config | {"pad_token_id": 1, "type_vocab_size": 1})
  distances = family.positive(config, "relative_attention_num_buckets", _BUCKETS)
  if distances < _BUCKETS:
    raise ValueError(f"relative_attention_num_buckets={distances} of config.json is below {_BUCKETS}, which MPNet uses")
  return Sizes(**dataclasses.asdict(dataclasses.replace(common, types=0)), distances=distances)


_MODULES = {
  "embeddings/word": "embeddings.word_embeddings",
  "embeddings/position": "embeddings.position_embeddings",
  "embeddings/norm": "embeddings.LayerNorm",
  "embeddings/distance": "encoder.relative_attention_bias",
  "layer_{}/query": "encoder.layer.{}.attention.attn.q",
  "layer_{}/key": "encoder.layer.{}.attention.attn.k",
  "layer_{}/value": "encoder.layer.{}.attention.attn.v",
  "layer_{}/attention_output": "encoder.layer.{}.attention.attn.o",
  "layer_{}/attention_norm": "encoder.layer.{}.attention.LayerNorm",
  "layer_{}/mlp_input": "encoder.layer.{}.intermediate.dense",
  "layer_{}/mlp_output": "encoder.layer.{}.output.dense",
  "layer_{}/mlp_norm": "encoder.layer.{}.output.LayerNorm",
}


def table(config: Config) -> Table:
  """The names of a checkpoint."""
  return family.key_table(_MODULES, read(config).layers)


def masked_lm(config: Config) -> MaskedLM:
  """The masked-LM head of a checkpoint."""
  return MaskedLM("MPNetForMaskedLM", "mpnet.", "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "gelu")


FAMILY = Family(
  models={"mpnet": "MPNetModel"},
  read=read,
  module=MPNet,
  table=table,
  prefixes=("mpnet.",),
  ignored=("pooler.", "lm_head.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
  masked_lm=masked_lm,
)
