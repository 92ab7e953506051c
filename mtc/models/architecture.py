"""Which architectures there are: a new one is its own file and a line in FAMILIES."""

from mtc.models import bert, decoder, modernbert, mpnet, static
from mtc.models.family import Config, Family, Sizes

FAMILIES = (bert.FAMILY, mpnet.FAMILY, modernbert.FAMILY, decoder.FAMILY, static.FAMILY)


def family(config: Config) -> Family:
  """The architecture of a config; raises ValueError, with the known ones, on an unknown `model_type`."""
  model_type = config.get("model_type", "")
  for candidate in FAMILIES:
    if model_type in candidate.models:
      return candidate
  known = ", ".join(name for candidate in FAMILIES for name in candidate.models)
  raise ValueError(f"model_type={model_type!r} of config.json is unknown; known are {known}")


def sizes(config: Config) -> Sizes:
  """The numbers that the encoder is made of; raises ValueError on a config that no encoder can have."""
  return family(config).read(config)


def is_static(config: Config) -> bool:
  """Whether a config is that of a static embedding; what follows from it stands at `Family.static`."""
  return family(config).static


def with_attention(config: Config, attention: str) -> Config:
  """The config of the same weights with `ModelSpec.attention`; raises ValueError where an encoder would be causal."""
  change = family(config).attention
  if attention and change:
    return change(config, attention)
  if attention == "causal":
    raise ValueError(
      f"model.attention='causal' is for decoders, and model_type={config['model_type']!r} is an encoder; leave it empty"
    )
  return config


def positions(config: Config) -> int:
  """The greatest number of tokens that a text can have."""
  return sizes(config).positions


def width(config: Config) -> int:
  """The size of a hidden state."""
  return sizes(config).width
