"""Fewer rows of the token table, and fewer layers: a smaller encoder with the weights of a larger one."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from mtc.models.architecture import family, sizes
from mtc.models.family import Config, Sizes
from mtc.types import PyTree

_COUNTS = ("num_hidden_layers", "n_layers")  # how config.json calls the number of layers; DistilBERT has the second
_ID = "_token_id"  # the end of the name of a special token's id in config.json


def fixed_tokens(config: Config) -> set[int]:
  """The rows of the token table that config.json names, and those that must stay where they are.

  RoBERTa and MPNet count positions from the row after that of the padding token, so they keep all rows up to it.
  """
  read = sizes(config)
  named = {i for name, value in _with_ids(config).items() if name.endswith(_ID) for i in _ids(value)}
  return {i for i in named if i < read.vocab_size} | set(range(_offset(read)))


def keep_tokens(backbone: PyTree, config: Config, kept: Sequence[int]) -> tuple[PyTree, Config]:
  """The encoder with these rows of its token table, in this order, and the special ids of its config as they are now.

  Example: of a table of 5 rows, kept=[0, 1, 4] makes row 4 row 2, and `"sep_token_id": 4` becomes 2.

  Args:
    backbone: the tree of `params["backbone"]`, host arrays.
    config: of the encoder; a static embedding has one too.
    kept: old rows; `fixed_tokens` among them.

  Raises:
    ValueError: the positions of the encoder depend on a row that has moved.
  """
  old, place = sizes(config), {row: index for index, row in enumerate(kept)}
  offset = _offset(old)
  if list(kept[:offset]) != list(range(offset)):
    raise ValueError(
      f"model_type={config['model_type']!r} counts positions from its padding token, so the first {offset} tokens "
      f"must stay the first; kept are {list(kept[:offset])}"
    )
  changed = _with_ids(config) | {"vocab_size": len(kept)}
  for name, value in changed.items():
    if name.endswith(_ID) and value is not None:
      moved = [place[i] for i in _ids(value) if i in place]
      changed[name] = moved if isinstance(value, list) else (moved[0] if moved else None)
  _check(old, sizes(changed), range(old.layers), config)
  words = np.asarray(backbone["embeddings"]["word"]["embedding"])[np.asarray(kept, np.int64)]
  embeddings = {**backbone["embeddings"], "word": {"embedding": words}}
  return {**backbone, "embeddings": embeddings}, changed


def keep_layers(backbone: PyTree, config: Config, layers: Sequence[int]) -> tuple[PyTree, Config]:
  """The encoder with these of its layers, and what its config says of each of them.

  Example: layers=[0, 3] of a ModernBERT, whose every third layer is global, gives two global layers, and
  `"layer_types": ["full_attention", "full_attention"]`.

  Args:
    backbone: the tree of `params["backbone"]`.
    config: of the encoder.
    layers: from 0, increasing.

  Raises:
    ValueError: there is no such layer, they are not increasing, or an encoder of this kind cannot have these layers.
  """
  old = sizes(config)
  if not old.layers:
    raise ValueError("a static embedding has no layers to keep; leave layers empty")
  shown = ",".join(map(str, layers))
  for layer in layers:
    if not 0 <= layer < old.layers:
      raise ValueError(f"layers={shown}: {layer} is not a layer of this model; it has 0 to {old.layers - 1}")
  if not layers or any(a >= b for a, b in zip(layers, layers[1:])):
    raise ValueError(f"layers={shown} must name each layer once, in increasing order, from 0 to {old.layers - 1}")
  changed = {name: len(layers) if name in _COUNTS else value for name, value in config.items()}
  kinds = ["sliding_attention" if window else "full_attention" for window in getattr(old, "windows", ())]
  if kinds and (config.get("layer_types") is not None or not _follows(old, changed, layers)):
    changed["layer_types"] = [kinds[layer] for layer in layers]
  _check(old, sizes(changed), layers, config)
  rest = {name: part for name, part in backbone.items() if not name.startswith("layer_")}
  kept = rest | {f"layer_{index}": backbone[f"layer_{layer}"] for index, layer in enumerate(layers)}
  _check_first(kept, changed, layers[0])
  return kept, changed


def _with_ids(config: Config) -> Config:
  """The config with the ids that its class of transformers assumes where it names none."""
  return {**family(config).ids, **config}


def _ids(value: Any) -> list[int]:
  values = value if isinstance(value, list) else [value]
  return [i for i in values if isinstance(i, int) and not isinstance(i, bool) and i >= 0]


def _offset(read: Sizes) -> int:
  return getattr(read, "offset", 0)


def _follows(old: Sizes, config: Config, layers: Sequence[int]) -> bool:
  try:
    return not _difference(old, sizes(config), layers)
  except ValueError:
    return False


def _check(old: Sizes, new: Sizes, layers: Sequence[int], config: Config) -> None:
  """Raises ValueError where the new config describes other layers than those that are kept."""
  if name := _difference(old, new, layers):
    raise ValueError(
      f"config.json of model_type={config['model_type']!r} cannot describe the layers {','.join(map(str, layers))}: "
      f"their {name} would change; keep others"
    )


def _difference(old: Sizes, new: Sizes, layers: Sequence[int]) -> str:
  """The first size that is not as it was, or ""; where a size has a value for each layer, those of the kept layers."""
  for field in dataclasses.fields(old):
    was, now = getattr(old, field.name), getattr(new, field.name)
    if isinstance(was, tuple):
      was = tuple(was[layer] for layer in layers)
    if field.name not in ("layers", "vocab_size") and was != now:
      return field.name
  return ""


def _check_first(backbone: PyTree, config: Config, layer: int) -> None:
  """Raises ValueError where the first layer has parts that the first layer of this architecture does not have."""
  expected = {path[1] for path, _ in family(config).table(config).values() if path[0] == "layer_0"}
  if extra := set(backbone["layer_0"]) - expected:
    raise ValueError(
      f"layer {layer} of this model cannot be its first: it has {', '.join(sorted(extra))}, which the first layer of "
      f"model_type={config['model_type']!r} does not have; begin with layer 0"
    )
