"""ModernBERT in Linen: rotary positions, gated MLPs, norms before each part, and local attention in most layers."""

import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from mtc.models import family, rope
from mtc.models.attention import attention
from mtc.models.dense import Dense
from mtc.models.dropout import Dropout
from mtc.models.family import NORMAL, Config, Family, MaskedLM, Table, activate, layer_norm
from mtc.types import Tokens


@dataclasses.dataclass(frozen=True)
class Sizes(family.Sizes):
  """What a ModernBERT is made of.

  Attributes:
    windows: for each layer, the greatest distance of two tokens that attend to each other; 0 = no limit.
    thetas: for each layer, the base of its rotary frequencies.
    attention_bias, mlp_bias, norm_bias: whether the dense layers and norms have biases.
  """

  windows: tuple[int, ...]
  thetas: tuple[float, ...]
  attention_bias: bool
  mlp_bias: bool
  norm_bias: bool


class ModernBert(nn.Module):
  """The encoder without a head: tokens -> hidden states [rows * length, width] in `dtype`.

  Reference: arXiv 2412.13663; rotary positions: 2104.09864; gated MLPs: 2002.05202.
  """

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    sizes = self.sizes
    hidden = _Embeddings(sizes, self.dtype, name="embeddings")(tokens)
    hidden = Dropout(self.dropout, deterministic)(hidden)
    for index in range(sizes.layers):
      hidden = _Layer(sizes, index, self.dropout, self.dtype, name=f"layer_{index}")(hidden, tokens, deterministic)
    return layer_norm(sizes.epsilon, self.dtype, "final_norm", sizes.norm_bias)(hidden)


class _Embeddings(nn.Module):
  sizes: Sizes
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens) -> jax.Array:
    sizes = self.sizes
    words = nn.Embed(sizes.vocab_size, sizes.width, embedding_init=NORMAL, name="word")
    return layer_norm(sizes.epsilon, self.dtype, "norm", sizes.norm_bias)(words(jnp.reshape(tokens.ids, -1)))


class _Layer(nn.Module):
  sizes: Sizes
  index: int
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, hidden: jax.Array, tokens: Tokens, deterministic: bool) -> jax.Array:
    sizes = self.sizes
    rows, length = tokens.segment.shape
    drop = Dropout(self.dropout, deterministic)
    norm = functools.partial(layer_norm, sizes.epsilon, self.dtype, use_bias=sizes.norm_bias)
    out = 0.02 / (2 * sizes.layers) ** 0.5  # so that the sum of all layers starts with the variance of one

    # The embeddings come normalised.
    inner = norm(name="attention_norm")(hidden) if self.index else hidden
    fused = Dense(3 * sizes.width, sizes.attention_bias, name="qkv")(inner)
    query, key, value = fused.reshape(rows, length, 3, sizes.heads, -1).transpose(2, 0, 3, 1, 4)
    turns = rope.frequencies(query.shape[-1], sizes.thetas[self.index])
    position, segment = jnp.asarray(tokens.position), jnp.asarray(tokens.segment)
    query, key = rope.rotate(query, position, turns), rope.rotate(key, position, turns)
    mixed = attention(query, key, value, segment, drop.drawn, halved=tokens.halved, window=sizes.windows[self.index])
    mixed = mixed.transpose(0, 2, 1, 3).reshape(rows * length, -1)
    hidden += drop(Dense(sizes.width, sizes.attention_bias, out, name="attention_output")(mixed))

    inner = Dense(2 * sizes.mlp_width, sizes.mlp_bias, name="mlp_input")(norm(name="mlp_norm")(hidden))
    inner, gate = jnp.split(inner, 2, axis=-1)
    inner = drop(activate(sizes.activation, inner) * gate)
    return hidden + Dense(sizes.width, sizes.mlp_bias, out, name="mlp_output")(inner)


def read(config: Config) -> Sizes:
  """Reads the sizes from the config, by its older or newer names; raises ValueError on what this encoder cannot be."""
  get = functools.partial(family.positive, config)
  layers = get("num_hidden_layers")
  every = get("global_attn_every_n_layers", 3)
  default = ["sliding_attention" if index % every else "full_attention" for index in range(layers)]
  kinds = config.get("layer_types") or default
  if len(kinds) != layers or not set(kinds) <= _THETAS.keys():
    raise ValueError(f"layer_types={kinds} of config.json are not {layers} of {', '.join(_THETAS)}")
  thetas = {kind: _theta(config, kind) for kind in set(kinds)}
  # Half of the tokens that a token sees stand on either side of it.
  window = get("local_attention", 128) // 2
  sizes = Sizes(
    vocab_size=get("vocab_size"),
    width=get("hidden_size"),
    layers=layers,
    heads=get("num_attention_heads"),
    mlp_width=get("intermediate_size"),
    positions=get("max_position_embeddings"),
    activation=family.known_activation(config, "hidden_activation"),
    epsilon=family.positive_real(config, "norm_eps", 1e-5),
    windows=tuple(0 if kind == "full_attention" else window for kind in kinds),
    thetas=tuple(thetas[kind] for kind in kinds),
    attention_bias=bool(config.get("attention_bias", False)),
    mlp_bias=bool(config.get("mlp_bias", False)),
    norm_bias=bool(config.get("norm_bias", False)),
  )
  family.check_heads(sizes.width, sizes.heads)
  if sizes.width // sizes.heads % 2:
    raise ValueError(f"{sizes.width // sizes.heads} dimensions of a head are odd; rotary positions turn pairs of them")
  return sizes


_THETAS = {"full_attention": ("global_rope_theta", 160_000.0), "sliding_attention": ("local_rope_theta", 10_000.0)}


def _theta(config: Config, kind: str) -> float:
  rope_parameters = (config.get("rope_parameters") or {}).get(kind) or {}
  scaling = config.get("rope_scaling") or rope_parameters
  if scaling.get("rope_type", "default") != "default":
    raise ValueError(f"the rope_type {scaling['rope_type']!r} of config.json is not supported for modernbert")
  older, default = _THETAS[kind]
  named = {"rope_theta": rope_parameters.get("rope_theta", config.get(older, default))}
  return family.positive_real(config | named, "rope_theta", default)


_MODULES = {
  "embeddings/word": "embeddings.tok_embeddings",
  "embeddings/norm": "embeddings.norm",
  "layer_{}/attention_norm": "layers.{}.attn_norm",
  "layer_{}/qkv": "layers.{}.attn.Wqkv",
  "layer_{}/attention_output": "layers.{}.attn.Wo",
  "layer_{}/mlp_norm": "layers.{}.mlp_norm",
  "layer_{}/mlp_input": "layers.{}.mlp.Wi",
  "layer_{}/mlp_output": "layers.{}.mlp.Wo",
  "final_norm": "final_norm",
}


def table(config: Config) -> Table:
  """The names of a checkpoint."""
  sizes = read(config)

  def biased(name: str) -> bool:
    if name.endswith("norm"):
      return sizes.norm_bias
    return sizes.mlp_bias if name.startswith("mlp") else sizes.attention_bias

  names = family.key_table(_MODULES, sizes.layers, biased)
  return {name: entry for name, entry in names.items() if entry[0][:2] != ("layer_0", "attention_norm")}


def masked_lm(config: Config) -> MaskedLM:
  """The masked-LM head of a checkpoint."""
  if not config.get("decoder_bias", True):
    raise ValueError("decoder_bias=false of config.json is not supported for masked language modelling")
  return MaskedLM(
    model="ModernBertForMaskedLM",
    backbone="model.",
    dense="head.dense",
    norm="head.norm",
    bias="decoder.bias",
    activation=family.known_activation(config, "classifier_activation"),
    dense_biased=bool(config.get("classifier_bias", False)),
    norm_biased=bool(config.get("norm_bias", False)),
  )


FAMILY = Family(
  models={"modernbert": "ModernBertModel"},
  read=read,
  module=ModernBert,
  table=table,
  prefixes=("model.",),
  ignored=("head.", "decoder.", "classifier."),
  masked_lm=masked_lm,
  ids={
    "pad_token_id": 50_283,
    "bos_token_id": 50_281,
    "eos_token_id": 50_282,
    "cls_token_id": 50_281,
    "sep_token_id": 50_282,
  },
)
