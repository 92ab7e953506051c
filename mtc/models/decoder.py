"""Decoders as embedders (Llama, Mistral, Qwen2, Qwen3, Gemma 3) in Linen, on packed rows of flat tokens."""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mtc.models import family, rope
from mtc.models.attention import attention
from mtc.models.dense import Dense
from mtc.models.dropout import Dropout
from mtc.models.family import NORMAL, Config, Family, Table, activate, positive, positive_real
from mtc.models.rope_scaling import stretched
from mtc.types import Tokens


@dataclasses.dataclass(frozen=True)
class Rope:
  """How the positions of a layer turn its queries and keys: see `rope.rotate`."""

  turns: tuple[float, ...]
  scale: float


@dataclasses.dataclass(frozen=True)
class Sizes(family.Sizes):
  """What a decoder is made of, and in what the decoders differ from each other.

  Attributes:
    key_heads: heads of keys and values; each serves heads / key_heads heads of queries.
    depth: dimensions of a head.
    input_bias: whether query, key and value have a bias.
    output_bias: whether the output of attention has one.
    mlp_bias: whether the three dense layers of the MLP have one.
    head_norm: whether each head of query and key is normalised.
    branch_norm: whether what attention and MLP give is normalised before it is added.
    unit_norm: whether a norm multiplies by 1 + its parameter.
    embedding_scale: of the embeddings of tokens.
    attention_scale: of the logits of attention.
    causal: whether a token attends to itself and those before it only.
    windows: of each layer: the greatest distance of two tokens that attend to each other; 0 = no limit.
    ropes: of each layer.
  """

  key_heads: int
  depth: int
  input_bias: bool
  output_bias: bool
  mlp_bias: bool
  head_norm: bool
  branch_norm: bool
  unit_norm: bool
  embedding_scale: float
  attention_scale: float
  causal: bool
  windows: tuple[int, ...]
  ropes: tuple[Rope, ...]


class Decoder(nn.Module):
  """The decoder without a head: tokens -> hidden states [rows * length, width] in `dtype`.

  Dropout is where transformers has it: on the attention probabilities.

  Reference: arXiv 2302.13971 (Llama); 2310.06825 (Mistral); 2407.10671 (Qwen2); 2505.09388 (Qwen3); 2503.19786 (Gemma
  3); gated MLPs: 2002.05202.
  """

  sizes: Sizes
  dropout: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens, deterministic: bool) -> jax.Array:
    hidden = _Embeddings(self.sizes, self.dtype, name="embeddings")(tokens)
    for index in range(self.sizes.layers):
      hidden = _Layer(self.sizes, index, self.dropout, name=f"layer_{index}")(hidden, tokens, deterministic)
    return _norm(self.sizes, "norm")(hidden)


class _Embeddings(nn.Module):
  sizes: Sizes
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, tokens: Tokens) -> jax.Array:
    words = nn.Embed(self.sizes.vocab_size, self.sizes.width, embedding_init=NORMAL, name="word")
    return (words(jnp.reshape(tokens.ids, -1)) * self.sizes.embedding_scale).astype(self.dtype)


class _Layer(nn.Module):
  sizes: Sizes
  index: int
  dropout: float

  @nn.compact
  def __call__(self, hidden: jax.Array, tokens: Tokens, deterministic: bool) -> jax.Array:
    sizes, layer_rope = self.sizes, self.sizes.ropes[self.index]
    rows, length = tokens.segment.shape
    segment, position = jnp.asarray(tokens.segment), jnp.asarray(tokens.position)

    inner = _norm(sizes, "attention_norm")(hidden)

    def heads(name: str, count: int) -> jax.Array:
      return Dense(count * sizes.depth, sizes.input_bias, name=name)(inner).reshape(rows, length, count, sizes.depth)

    def turned(name: str, count: int) -> jax.Array:
      states = heads(name, count)
      states = _norm(sizes, f"{name}_norm")(states) if sizes.head_norm else states
      return rope.rotate(
        states.transpose(0, 2, 1, 3), position, np.array(layer_rope.turns, np.float32), layer_rope.scale
      )

    def branch(name: str, outputs: jax.Array) -> jax.Array:
      return _norm(sizes, f"{name}_norm")(outputs) if sizes.branch_norm else outputs

    mixed = attention(
      turned("query", sizes.heads),
      turned("key", sizes.key_heads),
      heads("value", sizes.key_heads).transpose(0, 2, 1, 3),
      segment,
      Dropout(self.dropout, deterministic).drawn,
      halved=tokens.halved,
      causal=sizes.causal,
      window=sizes.windows[self.index],
      scale=sizes.attention_scale,
    )
    mixed = mixed.transpose(0, 2, 1, 3).reshape(rows * length, -1)
    mixed = Dense(sizes.width, sizes.output_bias, name="attention_output")(mixed)
    hidden += branch("attention_output", mixed)

    inner = _norm(sizes, "mlp_norm")(hidden)
    gate = activate(sizes.activation, Dense(sizes.mlp_width, sizes.mlp_bias, name="mlp_gate")(inner))
    inner = gate * Dense(sizes.mlp_width, sizes.mlp_bias, name="mlp_input")(inner)
    return hidden + branch("mlp_output", Dense(sizes.width, sizes.mlp_bias, name="mlp_output")(inner))


class _RMSNorm(nn.Module):
  """Reference: arXiv 1910.07467, eq. 4."""

  epsilon: float
  unit: bool

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    initial = nn.initializers.zeros if self.unit else nn.initializers.ones
    scale = self.param("scale", initial, (inputs.shape[-1],))
    scale = jnp.expand_dims(scale + 1 if self.unit else scale, range(inputs.ndim - 1))
    # In float32: in bfloat16 the mean of a wide state's squares would lose its digits.
    states = inputs.astype(jnp.float32)
    states *= jax.lax.rsqrt(jnp.mean(jnp.square(states), axis=-1, keepdims=True) + self.epsilon)
    return (states * scale).astype(inputs.dtype)


def _norm(sizes: Sizes, name: str) -> _RMSNorm:
  return _RMSNorm(sizes.epsilon, sizes.unit_norm, name=name)


def read(config: Config) -> Sizes:
  """Reads the sizes from the config, by its older or newer names; raises ValueError on what this decoder cannot be."""
  kind = config["model_type"]
  gemma = kind == "gemma3_text"
  width, layers, heads = (positive(config, n) for n in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
  # The first Llama models did not name the heads of keys, and most configs do not name the dimensions of a head.
  key_heads = heads if config.get("num_key_value_heads") is None else positive(config, "num_key_value_heads")
  implied = {"qwen3": 128, "gemma3_text": 256}.get(kind, width // heads)
  depth = implied if config.get("head_dim") is None else positive(config, "head_dim")
  if heads % key_heads:
    raise ValueError(f"num_attention_heads={heads} of config.json do not divide among {key_heads} num_key_value_heads")
  if depth % 2:
    raise ValueError(f"{depth} dimensions of a head are odd; rotary positions turn pairs of them")
  activation = ("hidden_activation", "gelu_pytorch_tanh") if gemma else ("hidden_act", "silu")
  biased = bool(config.get("attention_bias", False))
  local = _local(config, layers)
  everywhere, nearby = _ropes(config, depth)
  return Sizes(
    vocab_size=positive(config, "vocab_size"),
    width=width,
    layers=layers,
    heads=heads,
    mlp_width=positive(config, "intermediate_size"),
    positions=positive(config, "max_position_embeddings"),
    activation=family.known_activation(config, *activation),
    epsilon=positive_real(config, "rms_norm_eps", 1e-6),
    key_heads=key_heads,
    depth=depth,
    input_bias={"qwen2": True, "mistral": False}.get(kind, biased),
    output_bias={"qwen2": False, "mistral": False}.get(kind, biased),
    mlp_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
    head_norm=kind in ("qwen3", "gemma3_text"),
    branch_norm=gemma,
    unit_norm=gemma,
    embedding_scale=width**0.5 if gemma else 1.0,
    attention_scale=(positive_real(config, "query_pre_attn_scalar", 256) if gemma else depth) ** -0.5,
    causal=_is_causal(config),
    windows=tuple(_window(config) if is_local else 0 for is_local in local),
    ropes=tuple(nearby if is_local else everywhere for is_local in local),
  )


def attend(config: Config, attention: str) -> Config:
  """The config of the same weights with causal or bidirectional attention, in the words of transformers.

  For Llama, Mistral and Qwen this is `is_causal`, which transformers honours since version 5.2, of February 2026, and
  which older ones pass over. For Gemma 3 it is `use_bidirectional_attention`, which halves the windows: its
  `sliding_window` then counts the tokens on both sides.
  """
  kept = {name: value for name, value in config.items() if name != "is_causal"}
  if config["model_type"] == "gemma3_text":
    return kept | {"use_bidirectional_attention": attention == "bidirectional"}
  return kept | ({"is_causal": False} if attention == "bidirectional" else {})


def _is_causal(config: Config) -> bool:
  return config.get("is_causal") is not False and not _spans_both_sides(config)


def _spans_both_sides(config: Config) -> bool:
  return config["model_type"] == "gemma3_text" and bool(config.get("use_bidirectional_attention", False))


def _window(config: Config) -> int:
  """The greatest distance within a window, which transformers counts in three ways."""
  size = positive(config, "sliding_window", 4096)
  distance = size // 2 if _spans_both_sides(config) else size - _is_causal(config)
  if not distance:
    raise ValueError(f"sliding_window={size} of config.json leaves every token alone; use 2 or more")
  return distance


def _local(config: Config, layers: int) -> list[bool]:
  """Which layers see a window only."""
  kind = config["model_type"]
  if kind == "llama":
    return [False] * layers
  if kind == "mistral":
    return [config.get("sliding_window", 4096) is not None] * layers
  kinds = config.get("layer_types")
  if kinds is not None:
    if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
      raise ValueError(f"layer_types={kinds} of config.json are not {layers} of full_attention, sliding_attention")
    return [name == "sliding_attention" for name in kinds]
  if kind == "gemma3_text":
    every = positive(config, "sliding_window_pattern", 6)
    return [(index + 1) % every > 0 for index in range(layers)]
  used = config.get("use_sliding_window", False) and config.get("sliding_window", 4096) is not None
  return [used and index >= config.get("max_window_layers", 28) for index in range(layers)]


def _ropes(config: Config, depth: int) -> tuple[Rope, Rope]:
  """Of the layers that see everything, and of those that see a window."""
  # Up to version 4 of transformers it was rope_theta and, where positions are stretched, rope_scaling.
  scaling, parameters = config.get("rope_scaling") or {}, config.get("rope_parameters") or {}
  if config["model_type"] != "gemma3_text":
    same = _rope(config, depth, "rope_theta", 1e4, scaling or parameters)
    return same, same
  both, nearby = parameters.get("full_attention") or {}, parameters.get("sliding_attention") or {}
  return (
    _rope(config, depth, "rope_theta", 1e6, both | scaling),
    _rope(config, depth, "rope_local_base_freq", 1e4, nearby),
  )


def _rope(config: Config, depth: int, theta_name: str, theta: float, parameters: dict[str, Any]) -> Rope:
  named = {"rope_theta": config.get(theta_name, theta)} | parameters
  # Where a config has them at its top, they count.
  for name in ("original_max_position_embeddings", "partial_rotary_factor"):
    named |= {name: config[name]} if config.get(name) else {}
  base = positive_real(config | named, "rope_theta", theta)
  turns, scale = stretched(depth, base, named, positive(config, "max_position_embeddings"))
  return Rope(tuple(turns.tolist()), scale)


_MODULES = {
  "embeddings/word": "embed_tokens",
  "layer_{}/attention_norm": "layers.{}.input_layernorm",
  "layer_{}/query": "layers.{}.self_attn.q_proj",
  "layer_{}/key": "layers.{}.self_attn.k_proj",
  "layer_{}/value": "layers.{}.self_attn.v_proj",
  "layer_{}/attention_output": "layers.{}.self_attn.o_proj",
  "layer_{}/mlp_norm": "layers.{}.post_attention_layernorm",
  "layer_{}/mlp_gate": "layers.{}.mlp.gate_proj",
  "layer_{}/mlp_input": "layers.{}.mlp.up_proj",
  "layer_{}/mlp_output": "layers.{}.mlp.down_proj",
  "norm": "norm",
}
_HEAD_NORMS = {
  "layer_{}/query_norm": "layers.{}.self_attn.q_norm",
  "layer_{}/key_norm": "layers.{}.self_attn.k_norm",
}
_BRANCH_NORMS = {
  "layer_{}/attention_output_norm": "layers.{}.post_attention_layernorm",
  "layer_{}/mlp_norm": "layers.{}.pre_feedforward_layernorm",
  "layer_{}/mlp_output_norm": "layers.{}.post_feedforward_layernorm",
}


def table(config: Config) -> Table:
  """The names of a checkpoint."""
  sizes = read(config)
  modules = _MODULES | (_HEAD_NORMS if sizes.head_norm else {}) | (_BRANCH_NORMS if sizes.branch_norm else {})
  biased = {"attention_output": sizes.output_bias, **dict.fromkeys(("query", "key", "value"), sizes.input_bias)}
  biased |= dict.fromkeys(("mlp_gate", "mlp_input", "mlp_output"), sizes.mlp_bias)
  return family.key_table(modules, sizes.layers, lambda name: biased.get(name, False))


FAMILY = Family(
  models={
    "llama": "LlamaModel",
    "mistral": "MistralModel",
    "qwen2": "Qwen2Model",
    "qwen3": "Qwen3Model",
    "gemma3_text": "Gemma3TextModel",
  },
  read=read,
  module=Decoder,
  table=table,
  prefixes=("model.",),
  ignored=("lm_head.", "score.", "classifier.", "qa_outputs.", "rotary_emb."),
  attention=attend,
)
