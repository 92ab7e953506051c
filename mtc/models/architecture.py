"""A Hugging Face `config.json`, read into the few numbers that the encoder is made of."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax

Config = dict[str, Any]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
  "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "relu": jax.nn.relu,
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The numbers that a bert, roberta, xlm-roberta or distilbert encoder is made of.

  Attributes:
    types: rows of the table of token types; 0 = no such table. Every token has type 0.
    position_offset: the row of the position table that the first token of a text uses.
  """

  vocab_size: int
  width: int
  layers: int
  heads: int
  mlp_width: int
  position_table: int
  position_offset: int
  types: int
  activation: str
  epsilon: float


def architecture(config: Config) -> Architecture:
  """Reads the sizes from the config; raises ValueError on a model that this encoder cannot be."""
  model_type = check_model_type(config)
  if config.get("position_embedding_type", "absolute") != "absolute":
    raise ValueError(
      f"position_embedding_type={config['position_embedding_type']!r} of config.json is not supported; "
      "use a model with 'absolute'"
    )
  if config.get("is_decoder", False):
    raise ValueError("is_decoder=true of config.json is not supported; use an encoder")
  get = functools.partial(_positive, config)
  if model_type == "distilbert":
    built = Architecture(
      vocab_size=get("vocab_size"),
      width=get("dim"),
      layers=get("n_layers"),
      heads=get("n_heads"),
      mlp_width=get("hidden_dim"),
      position_table=get("max_position_embeddings"),
      position_offset=0,
      types=0,
      activation=config.get("activation", "gelu"),
      epsilon=1e-12,  # not in its config: a constant of the model
    )
  else:
    # RoBERTa counts positions from the row after that of the padding token.
    offset = 0 if model_type == "bert" else config.get("pad_token_id", 1) + 1
    built = Architecture(
      vocab_size=get("vocab_size"),
      width=get("hidden_size"),
      layers=get("num_hidden_layers"),
      heads=get("num_attention_heads"),
      mlp_width=get("intermediate_size"),
      position_table=get("max_position_embeddings"),
      position_offset=offset,
      types=get("type_vocab_size", 2),
      activation=config.get("hidden_act", "gelu"),
      epsilon=config.get("layer_norm_eps", 1e-12),
    )
  if built.activation not in ACTIVATIONS:
    raise ValueError(f"activation {built.activation!r} of config.json is unknown; known are {', '.join(ACTIVATIONS)}")
  if built.width % built.heads:
    raise ValueError(f"the width {built.width} of config.json does not divide into {built.heads} heads")
  return built


def check_model_type(config: Config) -> str:
  """Returns the `model_type` of the config; raises ValueError, with the known ones, on any other."""
  known = ("bert", "roberta", "xlm-roberta", "distilbert")
  model_type = config.get("model_type", "")
  if model_type not in known:
    raise ValueError(f"model_type={model_type!r} of config.json is unknown; known are {', '.join(known)}")
  return model_type


def positions(config: Config) -> int:
  """The greatest number of tokens that a text can have."""
  built = architecture(config)
  return built.position_table - built.position_offset


def width(config: Config) -> int:
  """The size of a hidden state."""
  return architecture(config).width


def _positive(config: Config, name: str, default: int = 0) -> int:
  value = config.get(name, default)
  if not isinstance(value, int) or value < 1:
    raise ValueError(
      f"{name}={value!r} of config.json for model_type={config['model_type']!r} is not a positive integer"
    )
  return value
