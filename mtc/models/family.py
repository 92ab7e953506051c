"""What an architecture defines, and what architectures share."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import math
from typing import Any, NamedTuple, TypeGuard

from flax import linen as nn
import jax
import jax.numpy as jnp

Config = dict[str, Any]
Path = tuple[str, ...]
Table = dict[str, tuple[Path, bool]]  # Hugging Face's name -> our path, and whether the matrix is transposed

# What is taken for a mistake, before layers or arrays are made of it; elsewhere 2 ** 24.
_MOST = {"num_hidden_layers": 2**10, "n_layers": 2**10, "hidden_size": 2**18, "dim": 2**18, "head_dim": 2**14}
_TINY, _HUGE = 1e-30, 1e30
NORMAL = nn.initializers.normal(0.02)


def _gelu(x: jax.Array) -> jax.Array:
  """GELU by erf, as PyTorch's; jax's is by erfc, which with its gradient takes XLA on CPU nearly twice as long."""
  return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": _gelu,
  "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
  "gelu_pytorch_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
}


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The numbers that every encoder is made of; an architecture adds its own.

  Attributes:
    width: of a hidden state.
    positions: the greatest number of tokens that a text can have.
    activation: one of ACTIVATIONS, inside the MLP.
    epsilon: of the norms.
  """

  vocab_size: int
  width: int
  layers: int
  heads: int
  mlp_width: int
  positions: int
  activation: str
  epsilon: float


class MaskedLM(NamedTuple):
  """The masked-LM head of an architecture: dense, activation, norm, and the words' table with its own bias.

  Attributes:
    model: the class of transformers that loads backbone and head together.
    backbone: what that class puts before the names of the backbone.
    dense, norm, bias: the head's own names in a checkpoint; of modules but for the bias.
    activation: one of ACTIVATIONS.
    dense_biased, norm_biased: whether these have biases too.
  """

  model: str
  backbone: str
  dense: str
  norm: str
  bias: str
  activation: str
  dense_biased: bool = True
  norm_biased: bool = True


class Family(NamedTuple):
  """An architecture: all that other packages ask about it.

  Attributes:
    models: `model_type` of a config.json -> the class of transformers that loads what we save; "" = no such class.
    read: config -> its Sizes; raises ValueError on a config that the module cannot be.
    module: (sizes, dropout, dtype) -> a Linen module `(tokens, deterministic) -> [rows * length, width]`. Its layers
      are named `layer_0`, `layer_1`, ...; its tables stand in `embeddings`, that of words is `embeddings/word`.
    table: config -> the name of each parameter in a checkpoint, and its place here.
    prefixes: what a model with a head puts before these names.
    ignored: beginnings of the names of heads and buffers, which an embedder has no use for.
    renamed: endings of older names -> the present ones.
    masked_lm: config -> its masked-LM head; None = it has none.
    attention: (config, causal or bidirectional) -> the config of the same weights with that attention; None = every
      model of the family is bidirectional.
    ids: of special tokens, which its class of transformers assumes where a config.json does not name them and which
      are past a small vocabulary.
    static: it is a static embedding: texts have no special tokens and no pooling but the mean, and there
      is no head, nothing for LoRA, no config.json and no class of transformers.
  """

  models: Mapping[str, str]
  read: Callable[[Config], Any]
  module: Callable[[Any, float, jnp.dtype], nn.Module]
  table: Callable[[Config], Table]
  prefixes: tuple[str, ...] = ()
  ignored: tuple[str, ...] = ()
  renamed: Mapping[str, str] = {}
  masked_lm: Callable[[Config], MaskedLM] | None = None
  attention: Callable[[Config, str], Config] | None = None
  ids: Mapping[str, int] = {}
  static: bool = False


def key_table(modules: Mapping[str, str], layers: int, biased: Callable[[str], bool] = lambda name: True) -> Table:
  """The table of an architecture from names of modules: ours -> Hugging Face's, where `{}` stands for each layer.

  What each module holds follows from the last part of our name: an embedding directly in `embeddings`, `scale` (and
  `bias`) where it ends in "norm", else `kernel` (and `bias`).

  Example: {"layer_{}/query": "h.{}.q"} of one layer gives {"h.0.q.weight": (("layer_0", "query", "kernel"), True),
  "h.0.q.bias": (("layer_0", "query", "bias"), False)}.

  Args:
    biased: the last part of our name -> whether that dense layer or norm has a bias.
  """
  table: Table = {}
  for template, theirs in modules.items():
    for index in range(layers if "{}" in template else 1):
      path, name = tuple(template.format(index).split("/")), theirs.format(index)
      if path[0] == "embeddings" and not path[-1].endswith("norm"):
        table[f"{name}.weight"] = ((*path, "embedding"), False)
        continue
      norm = path[-1].endswith("norm")
      table[f"{name}.weight"] = ((*path, "scale" if norm else "kernel"), not norm)
      if biased(path[-1]):
        table[f"{name}.bias"] = ((*path, "bias"), False)
  return table


def is_number(value: Any) -> TypeGuard[int | float]:
  """Whether a value of a JSON file is a number that float32 can hold; there, true and NaN are none."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return value == 0 or _TINY <= abs(value) <= _HUGE


def positive(config: Config, name: str, default: int = 0) -> int:
  """The positive integer `name` of the config; raises ValueError on anything else, and on what no model has."""
  value = config.get(name, default)
  if isinstance(value, bool) or not isinstance(value, int) or value < 1:
    raise ValueError(
      f"{name}={value!r} of config.json for model_type={config['model_type']!r} is not a positive integer"
    )
  if value > _MOST.get(name, 2**24):
    raise ValueError(f"{name}={value} of config.json is over {_MOST.get(name, 2**24):,}, more than any model has")
  return value


def positive_real(config: Config, name: str, default: float) -> float:
  """The positive number `name` of the config; raises ValueError on anything else."""
  value = config.get(name, default)
  if not is_number(value) or value <= 0:
    raise ValueError(
      f"{name}={value!r} of config.json for model_type={config['model_type']!r} is not a positive number of float32"
    )
  return float(value)


def known_activation(config: Config, name: str, default: str = "gelu") -> str:
  """The activation that the config names; raises ValueError, with the known ones, on any other."""
  activation = config.get(name, default)
  if activation not in ACTIVATIONS:
    raise ValueError(f"activation {activation!r} of config.json is unknown; known are {', '.join(ACTIVATIONS)}")
  return activation


def check_heads(width: int, heads: int) -> None:
  """Raises ValueError where a hidden state does not divide into the heads."""
  if width % heads:
    raise ValueError(f"the width {width} of config.json does not divide into {heads} heads")


def activate(name: str, inputs: jax.Array) -> jax.Array:
  """The activation `name`, in the dtype of the inputs."""
  # In float32: XLA on CPU computes a bfloat16 tanh or erf several times slower, and elsewhere it is fused anyway.
  return ACTIVATIONS[name](inputs.astype(jnp.float32)).astype(inputs.dtype)


def layer_norm(epsilon: float, dtype: jnp.dtype, name: str | None = None, use_bias: bool = True) -> nn.LayerNorm:
  """A LayerNorm in `dtype`, with statistics in float32."""
  # Its fast variance, E[x^2] - E[x]^2, would cancel digits.
  return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_bias=use_bias, use_fast_variance=False, name=name)
