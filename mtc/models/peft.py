"""LoRA in and out as the directory that the library PEFT reads and writes."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from typing import Any

from flax import traverse_util
import numpy as np
import safetensors.numpy

from mtc.models.architecture import family, sizes
from mtc.models.family import Config, Path, Sizes, is_number
from mtc.models.lora import LoraSpec, merge
from mtc.models.pretrained import directory_of, has_weights, read_config
from mtc.models.sentence_transformers import is_sentence_transformer, load_sentence_transformer
from mtc.models.spec import ModelSpec
from mtc.models.tensors import stored
from mtc.models.untrusted import check_links, read_json
from mtc.types import PyTree

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_DIGEST = "base_sha256"  # among the metadata of our tensors: names of models change, their weights do not
# What we would have to compute otherwise -> the values that say that we need not.
_PLAIN: dict[str, tuple[Any, ...]] = {
  "peft_type": ("LORA",),
  "bias": ("none", None),
  "use_dora": (False, None),
  "use_rslora": (False, None),
  "fan_in_fan_out": (False, None),
  "lora_bias": (False, None),
  "rank_pattern": ({}, None),
  "alpha_pattern": ({}, None),
  "modules_to_save": ([], None),
  # Other beginnings (PiSSA, OLoRA, LoftQ, CorDA, LoRA-GA) change the weights of the base as well.
  "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal", None),
  "layer_replication": (None,),
  "alora_invocation_tokens": (None,),
  "use_qalora": (False, None),
  "use_bdlora": (False, None),
  "kasa_config": (None,),
  "monteclora_config": (None,),
}


def save_adapter(directory: str | pathlib.Path, params: PyTree, spec: LoraSpec, config: Config, base: str) -> None:
  """Writes `params["lora"]` as an adapter; `PeftModel.from_pretrained(AutoModel, directory)` loads it.

  Args:
    params: host arrays: {"backbone": what is adapted, "lora": the adapters}.
    base: where the adapted model is: a directory, or a name on the hub.
  """
  directory, flat = pathlib.Path(directory), _flat(params["lora"])
  tensors, modules = {}, []
  for module, path in _modules(config).items():
    if (*path, "a") in flat:
      modules.append(module)
      for theirs, ours in ("lora_A", "a"), ("lora_B", "b"):
        value = np.asarray(flat[*path, ours], np.float32).T
        tensors[f"base_model.model.{module}.{theirs}.weight"] = np.ascontiguousarray(value)
  settings = {
    "peft_type": "LORA",
    "task_type": "FEATURE_EXTRACTION",
    "base_model_name_or_path": base,
    "r": spec.rank,
    "lora_alpha": spec.alpha,
    "lora_dropout": spec.dropout,
    "target_modules": modules,  # by their whole names: parts of them, such as "dense", would match others too
    "bias": "none",
    "inference_mode": True,
  }
  directory.mkdir(parents=True, exist_ok=True)
  metadata = {"format": "pt", _DIGEST: _digest(params["backbone"], config)}
  (directory / _TENSORS).write_bytes(safetensors.numpy.save(tensors, metadata))
  (directory / _CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load_adapter(
  directory: str | pathlib.Path, config: Config, backbone: PyTree, base: str
) -> tuple[LoraSpec, dict[str, Any]]:
  """Reads an adapter, ours or one that PEFT wrote, as its spec and the tree of `params["lora"]`.

  Args:
    backbone: `params["backbone"]` of the model that it shall adapt.
    base: that model's directory or name, which an adapter without our digest is compared by.

  Raises:
    ValueError: it is no plain LoRA, or was made for another model.
  """
  directory = pathlib.Path(directory)
  check_links(directory)
  settings = read_json(directory / _CONFIG)
  for name, plain in _PLAIN.items():
    if settings.get(name) not in plain:
      raise ValueError(f"{directory / _CONFIG} has {name}={settings.get(name)!r}; only plain LoRA is supported")
  rank, alpha = settings.get("r"), settings.get("lora_alpha")
  if not is_number(rank) or not isinstance(rank, int) or not is_number(alpha) or min(rank, alpha) <= 0:
    raise ValueError(f"{directory / _CONFIG} has r={rank!r} and lora_alpha={alpha!r}; both must be positive")
  dropout, theirs = settings.get("lora_dropout", 0.0), settings.get("base_model_name_or_path") or ""
  if not is_number(dropout) or not 0 <= dropout < 1 or not isinstance(theirs, str):
    raise ValueError(
      f"{directory / _CONFIG} has lora_dropout={dropout!r} and base_model_name_or_path={theirs!r}; "
      "expected a number in [0, 1) and a name"
    )
  flat = _read_tensors(directory / _TENSORS, config, backbone, rank)
  _check_base(directory, theirs, config, backbone, base)
  targets = tuple(dict.fromkeys(path[-2] for path in flat))
  spec = LoraSpec(rank=rank, alpha=alpha, dropout=dropout, targets=targets)
  return spec, traverse_util.unflatten_dict(flat)


def start_from_adapter(params: PyTree, spec: ModelSpec, config: Config) -> dict[str, Any]:
  """The encoder's parameters with the adapter of the spec: as `params["lora"]`, or merged where there is no LoRA.

  Raises:
    ValueError: the adapter is for another model, or of another size than `spec.lora`.
  """
  found, adapter = load_adapter(spec.adapter, config, params["backbone"], spec.pretrained)
  if not spec.lora.rank:
    return merge({**params, "lora": adapter}, found)
  same = _flat(adapter).keys() == _flat(params["lora"]).keys()
  if (found.rank, found.alpha, same) != (spec.lora.rank, spec.lora.alpha, True):
    raise ValueError(
      f"model.adapter={spec.adapter!r} has rank {found.rank}, alpha {found.alpha:g} and targets {found.targets}, "
      "unlike model.lora; set it to the same, or set model.lora.rank=0 to start from the merged weights"
    )
  return {**params, "lora": adapter}


def _modules(config: Config) -> dict[str, Path]:
  """Hugging Face's name of each dense layer -> our path to it."""
  table = family(config).table(config)
  return {name.removesuffix(".weight"): path[:-1] for name, (path, _) in table.items() if path[-1] == "kernel"}


def _read_tensors(path: pathlib.Path, config: Config, backbone: PyTree, rank: int) -> dict[Path, np.ndarray]:
  architecture, modules = family(config), _modules(config)
  kernels = {p[:-1]: leaf.shape for p, leaf in _flat(backbone).items() if p[-1] == "kernel"}
  flat: dict[Path, np.ndarray] = {}
  problems = []
  for tensor in stored(path):
    name = tensor.name.removeprefix("base_model.model.")
    for prefix in architecture.prefixes:
      name = name.removeprefix(prefix)
    if name.startswith(architecture.ignored):
      continue  # it adapts a head, which an embedder has no use for
    parts = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name)
    if not parts or parts[1] not in modules:
      problems.append(f"it has {tensor.name}, which the model has not")
      continue
    ours = modules[parts[1]]
    width, features = kernels[ours]
    expected = (rank, width) if parts[2] == "A" else (features, rank)
    if tensor.shape != expected or not tensor.floating:
      problems.append(f"{tensor.name} is {tensor.dtype} {list(tensor.shape)}, expected floats {list(expected)}")
      continue
    flat[*ours, parts[2].lower()] = tensor.read(transposed=True)
  problems += [f"{'/'.join(p[:-1])} has one matrix of two" for p in flat if (*p[:-1], "ab"[p[-1] == "a"]) not in flat]
  if problems or not flat:
    shown = "; ".join(problems[:3]) or "it has no tensor for it"
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    raise ValueError(f"{path} does not fit this model: {shown}{more}; use it with the model that it was made for")
  return flat


def _check_base(directory: pathlib.Path, theirs: str, config: Config, backbone: PyTree, base: str) -> None:
  with safetensors.safe_open(directory / _TENSORS, framework="numpy") as file:
    digest = (file.metadata() or {}).get(_DIGEST)
  if digest:
    if digest != _digest(backbone, config):
      raise ValueError(
        f"the adapter {directory} was made for other weights ({theirs}) than those of {base}; start there"
      )
  elif theirs and (why := _differs(directory, theirs, config, backbone, base)):
    raise ValueError(
      f"the adapter {directory} was made for {theirs!r}, not for {base!r}; set model.pretrained to it, or, if both are "
      f"the same model, base_model_name_or_path in {directory / _CONFIG} to {base!r} ({why})"
    )


def _differs(directory: pathlib.Path, theirs: str, config: Config, backbone: PyTree, base: str) -> str:
  """Why the base that an adapter names is another model; "" where it is this one.

  Where the named base is on this machine, its weights decide. Else its name does.
  """
  found, places = _find(theirs, directory), _places(base)
  if found and os.path.realpath(found) in map(os.path.realpath, places):
    return ""
  unknown = "the first is not on this machine, and their names differ"
  try:
    if found:
      inner = load_sentence_transformer(found).backbone if is_sentence_transformer(found) else found
      ours, other = sizes(config), sizes(read_config(inner))
      if any(getattr(ours, field.name) != getattr(other, field.name) for field in dataclasses.fields(Sizes)):
        return "their sizes differ"
      return "" if has_weights(inner, config, backbone) else "their weights differ"
  except (OSError, ValueError) as error:
    unknown = f"the first cannot be compared: {error}"
  # The hub keeps a model in a folder of its name, below which the links have others.
  parts = {part.rpartition("--")[2] for place in places for part in place.parts if part.startswith("models--")}
  names = parts | {place.name for place in (pathlib.Path(base), *places)}
  return "" if pathlib.Path(theirs).name in names else unknown


def _find(name: str, beside: pathlib.Path) -> pathlib.Path | None:
  """The directory of a model: as it is named, relative to the adapter, or downloaded from the hub before."""
  for place in (directory_of(name), beside / name, *_downloaded(name)):
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
      if place.is_dir():
        return place
  return None


def _places(base: str) -> list[pathlib.Path]:
  """Where the model itself may be, and what its links lead to."""
  places = [directory_of(base), *_downloaded(base)]
  return [*places, *(pathlib.Path(os.path.realpath(place)) for place in places)]


def _downloaded(name: str) -> list[pathlib.Path]:
  """The snapshot of a name of the hub, if it is on this machine."""
  import huggingface_hub
  from huggingface_hub.errors import HFValidationError

  try:
    return [pathlib.Path(huggingface_hub.snapshot_download(name, local_files_only=True))]
  except (OSError, HFValidationError):
    return []


def _digest(backbone: PyTree, config: Config) -> str:
  """SHA-256 of the weights, in the order of Hugging Face's names."""
  flat, digest = _flat(backbone), hashlib.sha256()
  for name, (path, _) in sorted(family(config).table(config).items()):
    digest.update(name.encode())
    digest.update(np.ascontiguousarray(flat[path], np.float32).data)
  return digest.hexdigest()


def _flat(tree: PyTree) -> dict[Path, Any]:
  flat: Any = traverse_util.flatten_dict(tree)
  return flat
