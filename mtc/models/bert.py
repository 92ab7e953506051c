"""BERT and its kin (RoBERTa, XLM-RoBERTa, DistilBERT) in Linen, on packed rows of flat tokens."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from mtc.models import family
from mtc.models.attention import attention
from mtc.models.dense import Dense
from mtc.models.dropout import Dropout
from mtc.models.family import NORMAL, Config, Family, MaskedLM, Table, activate, layer_norm
from mtc.types import Tokens


@dataclasses.dataclass(frozen=True)
class Sizes(family.Sizes):
  """What a BERT is made of.

  Attributes:
    offset: the row of the position table that the first token of a text uses.
    types: rows of the table of token types; 0 = no such table. Every token has type 0.
  """

  offset: int
  types: int


class Bert(nn.Module):
  """The encoder without a head: tokens -> hidden states [rows * length, width] in `dtype`.

  Position-wise work is on flat tokens, which XLA turns into plain matrix products; only attention sees rows.

  Reference: arXiv 1810.04805; 1907.11692 (RoBERTa); 1911.02116 (XLM-RoBERTa); 1910.01108 (DistilBERT).
  """

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    hidden = Embeddings(self.sizes, self.dtype, name="embeddings")(tokens)
    hidden = Dropout(self.dropout, deterministic)(hidden)
    for index in range(self.sizes.layers):
      layer = Layer(self.sizes, self.dropout, self.dtype, name=f"layer_{index}")
      hidden = layer(hidden, tokens, deterministic)
    return hidden


class Embeddings(nn.Module):
  """Words, positions and types, added and normalised."""

  sizes: Sizes
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens) -> jax.Array:
    sizes = self.sizes
    ids, position = jnp.reshape(tokens.ids, -1), jnp.reshape(tokens.position, -1) + sizes.offset
    hidden = nn.Embed(sizes.vocab_size, sizes.width, embedding_init=NORMAL, name="word")(ids)
    rows = sizes.positions + sizes.offset
    hidden += nn.Embed(rows, sizes.width, embedding_init=NORMAL, name="position")(position)
    if sizes.types:
      # Looked up once for all tokens: the gradient is then a sum, not a scatter of every token into one row.
      hidden += nn.Embed(sizes.types, sizes.width, embedding_init=NORMAL, name="type")(jnp.zeros(1, jnp.int32))
    return layer_norm(sizes.epsilon, self.dtype, "norm")(hidden)


class Layer(nn.Module):
  """Attention and MLP, each followed by a norm."""

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, hidden: jax.Array, tokens: Tokens, deterministic: bool, bias: jax.Array | None = None
  ) -> jax.Array:
    sizes = self.sizes
    segment = jnp.asarray(tokens.segment)
    rows, length = segment.shape
    drop = Dropout(self.dropout, deterministic)

    def heads(name: str) -> jax.Array:
      flat = Dense(sizes.width, name=name)(hidden)
      return flat.reshape(rows, length, sizes.heads, -1).transpose(0, 2, 1, 3)

    query, key, value = heads("query"), heads("key"), heads("value")
    mixed = attention(query, key, value, segment, drop.drawn, halved=tokens.halved, bias=bias)
    mixed = Dense(sizes.width, name="attention_output")(mixed.transpose(0, 2, 1, 3).reshape(rows * length, -1))
    hidden = layer_norm(sizes.epsilon, self.dtype, "attention_norm")(hidden + drop(mixed))

    inner = activate(sizes.activation, Dense(sizes.mlp_width, name="mlp_input")(hidden))
    outer = Dense(sizes.width, name="mlp_output")(inner)
    return layer_norm(sizes.epsilon, self.dtype, "mlp_norm")(hidden + drop(outer))


def read(config: Config) -> Sizes:
  """Reads the sizes from the config; raises ValueError on a model that this encoder cannot be."""
  if config.get("position_embedding_type", "absolute") != "absolute":
    raise ValueError(
      f"position_embedding_type={config['position_embedding_type']!r} of config.json is not supported; "
      "use a model with 'absolute'"
    )
  if config.get("is_decoder", False):
    raise ValueError("is_decoder=true of config.json is not supported; use an encoder")
  get = functools.partial(family.positive, config)
  if config["model_type"] == "distilbert":
    sizes = Sizes(
      vocab_size=get("vocab_size"),
      width=get("dim"),
      layers=get("n_layers"),
      heads=get("n_heads"),
      mlp_width=get("hidden_dim"),
      positions=get("max_position_embeddings"),
      offset=0,
      types=0,
      activation=family.known_activation(config, "activation"),
      epsilon=1e-12,  # not in its config: a constant of the model
    )
  else:
    # RoBERTa counts positions from the row after that of the padding token.
    pad = 1 if config.get("pad_token_id") is None else config["pad_token_id"]
    offset = 0 if config["model_type"] == "bert" else pad + 1
    if not isinstance(offset, int) or not 0 <= offset < get("max_position_embeddings"):
      raise ValueError(f"pad_token_id={pad!r} of config.json leaves a text none of the max_position_embeddings")
    sizes = Sizes(
      vocab_size=get("vocab_size"),
      width=get("hidden_size"),
      layers=get("num_hidden_layers"),
      heads=get("num_attention_heads"),
      mlp_width=get("intermediate_size"),
      positions=get("max_position_embeddings") - offset,
      offset=offset,
      types=get("type_vocab_size", 2),
      activation=family.known_activation(config, "hidden_act"),
      epsilon=family.positive_real(config, "layer_norm_eps", 1e-12),
    )
  family.check_heads(sizes.width, sizes.heads)
  return sizes


# Ours on the left, Hugging Face's on the right.
_BERT = {
  "embeddings/word": "embeddings.word_embeddings",
  "embeddings/position": "embeddings.position_embeddings",
  "embeddings/type": "embeddings.token_type_embeddings",
  "embeddings/norm": "embeddings.LayerNorm",
  "layer_{}/query": "encoder.layer.{}.attention.self.query",
  "layer_{}/key": "encoder.layer.{}.attention.self.key",
  "layer_{}/value": "encoder.layer.{}.attention.self.value",
  "layer_{}/attention_output": "encoder.layer.{}.attention.output.dense",
  "layer_{}/attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
  "layer_{}/mlp_input": "encoder.layer.{}.intermediate.dense",
  "layer_{}/mlp_output": "encoder.layer.{}.output.dense",
  "layer_{}/mlp_norm": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT = {
  "embeddings/word": "embeddings.word_embeddings",
  "embeddings/position": "embeddings.position_embeddings",
  "embeddings/norm": "embeddings.LayerNorm",
  "layer_{}/query": "transformer.layer.{}.attention.q_lin",
  "layer_{}/key": "transformer.layer.{}.attention.k_lin",
  "layer_{}/value": "transformer.layer.{}.attention.v_lin",
  "layer_{}/attention_output": "transformer.layer.{}.attention.out_lin",
  "layer_{}/attention_norm": "transformer.layer.{}.sa_layer_norm",
  "layer_{}/mlp_input": "transformer.layer.{}.ffn.lin1",
  "layer_{}/mlp_output": "transformer.layer.{}.ffn.lin2",
  "layer_{}/mlp_norm": "transformer.layer.{}.output_layer_norm",
}


def table(config: Config) -> Table:
  """The names of a checkpoint."""
  modules = _DISTILBERT if config["model_type"] == "distilbert" else _BERT
  return family.key_table(modules, read(config).layers)


def masked_lm(config: Config) -> MaskedLM:
  """The masked-LM head of a checkpoint."""
  model_type, activation = config["model_type"], read(config).activation
  if model_type == "bert":
    names = ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias")
    return MaskedLM("BertForMaskedLM", "bert.", *names, activation)
  if model_type == "distilbert":
    names = ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias")
    return MaskedLM("DistilBertForMaskedLM", "distilbert.", *names, activation)
  model = FAMILY.models[model_type].replace("Model", "ForMaskedLM")
  return MaskedLM(model, "roberta.", "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "gelu")


FAMILY = Family(
  models={
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "distilbert": "DistilBertModel",
  },
  read=read,
  module=Bert,
  table=table,
  prefixes=("bert.", "roberta.", "distilbert."),
  ignored=(
    *("pooler.", "cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "pre_classifier."),
    *("classifier.", "qa_outputs.", "embeddings.position_ids", "embeddings.token_type_ids"),
  ),
  renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
  masked_lm=masked_lm,
)
