"""BERT and its kin (RoBERTa, XLM-RoBERTa, DistilBERT) in Linen, on packed rows of flat tokens."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mtc.models.architecture import ACTIVATIONS, Architecture
from mtc.models.attention import attention
from mtc.models.dense import dense
from mtc.types import Tokens

_NORMAL = nn.initializers.normal(0.02)


class Bert(nn.Module):
  """The encoder without a head: tokens -> hidden states [rows * length, width] in `dtype`.

  Position-wise work is on flat tokens, which XLA turns into plain matrix products; only attention sees rows.

  Reference: arXiv 1810.04805; 1907.11692 (RoBERTa); 1911.02116 (XLM-RoBERTa); 1910.01108 (DistilBERT).
  """

  architecture: Architecture
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    hidden = _Embeddings(self.architecture, self.dtype, name="embeddings")(tokens)
    hidden = nn.Dropout(self.dropout)(hidden, deterministic=deterministic)
    for index in range(self.architecture.layers):
      layer = _Layer(self.architecture, self.dropout, self.dtype, name=f"layer_{index}")
      hidden = layer(hidden, jnp.asarray(tokens.segment), deterministic)
    return hidden


class _Embeddings(nn.Module):
  architecture: Architecture
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens) -> jax.Array:
    sizes = self.architecture
    ids, position = jnp.reshape(tokens.ids, -1), jnp.reshape(tokens.position, -1) + sizes.position_offset
    hidden = nn.Embed(sizes.vocab_size, sizes.width, embedding_init=_NORMAL, name="word")(ids)
    hidden += nn.Embed(sizes.position_table, sizes.width, embedding_init=_NORMAL, name="position")(position)
    if sizes.types:
      hidden += nn.Embed(sizes.types, sizes.width, embedding_init=_NORMAL, name="type")(jnp.zeros_like(ids))
    return _norm(sizes, self.dtype, "norm")(hidden)


class _Layer(nn.Module):
  architecture: Architecture
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, hidden: jax.Array, segment: jax.Array, deterministic: bool) -> jax.Array:
    sizes = self.architecture
    rows, length = segment.shape
    drop = nn.Dropout(self.dropout, deterministic=deterministic)

    def heads(name: str) -> jax.Array:
      flat = _Dense(sizes.width, name=name)(hidden)
      return flat.reshape(rows, length, sizes.heads, -1).transpose(0, 2, 1, 3)

    mixed = attention(heads("query"), heads("key"), heads("value"), segment, drop)
    mixed = _Dense(sizes.width, name="attention_output")(mixed.transpose(0, 2, 1, 3).reshape(rows * length, -1))
    hidden = _norm(sizes, self.dtype, "attention_norm")(hidden + drop(mixed))

    inner = _Dense(sizes.mlp_width, name="mlp_input")(hidden)
    # In float32: XLA on CPU computes a bfloat16 tanh or erf several times slower, and elsewhere it is fused anyway.
    inner = ACTIVATIONS[sizes.activation](inner.astype(jnp.float32)).astype(self.dtype)
    outer = _Dense(sizes.width, name="mlp_output")(inner)
    return _norm(sizes, self.dtype, "mlp_norm")(hidden + drop(outer))


class _Dense(nn.Module):
  features: int

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    kernel = self.param("kernel", _NORMAL, (inputs.shape[-1], self.features))
    return dense(inputs, kernel, self.param("bias", nn.initializers.zeros, (self.features,)))


def _norm(sizes: Architecture, dtype: jnp.dtype, name: str) -> nn.LayerNorm:
  # Linen keeps the statistics in float32; its fast variance, E[x^2] - E[x]^2, would cancel digits.
  return nn.LayerNorm(epsilon=sizes.epsilon, dtype=dtype, use_fast_variance=False, name=name)
