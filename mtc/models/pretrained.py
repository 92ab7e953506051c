"""Hugging Face directories in and out, through one explicit table of names for each architecture."""

from collections.abc import Iterator
import contextlib
import json
import pathlib
from typing import Any

from absl import logging
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtc.models.architecture import family, sizes
from mtc.models.encoder import build
from mtc.models.family import Family, Path
from mtc.models.spec import ModelSpec
from mtc.types import PyTree

_CONVERT = (
  'convert it once, where torch is installed: python -c "from transformers import AutoModel; '
  "AutoModel.from_pretrained('IN').save_pretrained('OUT')\""
)


def resolve(pretrained: str) -> pathlib.Path:
  """The directory of a model: `pretrained` itself if it is one, else the snapshot of that name on the Hugging Face hub.

  Raises:
    ValueError: it is neither, or the hub cannot be reached and there is no earlier download.
  """
  directory = pathlib.Path(pretrained).expanduser()
  if directory.is_dir():
    return directory
  if pretrained.startswith((".", "/", "~")) or pretrained.count("/") > 1 or directory.exists():
    raise ValueError(f"model.pretrained={pretrained!r} is not a directory; use a model directory or a hub name")
  import huggingface_hub
  from huggingface_hub.errors import HFValidationError

  patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
  try:
    return pathlib.Path(huggingface_hub.snapshot_download(pretrained, allow_patterns=patterns, etag_timeout=5))
  except (OSError, HFValidationError) as error:
    raise ValueError(
      f"model.pretrained={pretrained!r} is not a directory here and could not be had from the Hugging Face hub "
      f"({type(error).__name__}); use a directory, check the name, or download it where there is network"
    ) from error


def read_config(directory: str | pathlib.Path) -> dict[str, Any]:
  """The `config.json` of a model directory; raises ValueError where it is missing, broken or of an unknown model."""
  path = pathlib.Path(directory) / "config.json"
  config = read_json(path)
  try:
    sizes(config)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  return config


def load_backbone(directory: str | pathlib.Path, config: dict[str, Any]) -> PyTree:
  """Reads the encoder's weights, tensor by tensor, into the tree of `params["backbone"]` with float32 NumPy leaves.

  Heads and buffers are ignored, prefixes and old names renamed; both are logged.

  Raises:
    ValueError: there is no safetensors file, or it lacks a name, has one too many or one of another shape.
  """
  directory = pathlib.Path(directory)
  architecture = family(config)
  table = architecture.table(config)
  shapes = _shapes(config)
  problems: list[str] = []
  flat: dict[Path, np.ndarray] = {}
  ignored: list[str] = []
  renamed: list[str] = []
  for name, read in _tensors(directory):
    known = _rename(name, architecture)
    if known.startswith(architecture.ignored):
      ignored.append(name)
      continue
    if known not in table:
      problems.append(f"extra {name}")
      continue
    path, transposed = table[known]
    if path in flat:
      problems.append(f"twice {name}, as {known}")
      continue
    if known != name:
      renamed.append(f"{name} -> {known}")
    value = read()
    value = value.T if transposed else value
    if value.shape != shapes[path]:
      expected = shapes[path][::-1] if transposed else shapes[path]
      problems.append(f"{name} has shape {list(value.shape[:: -1 if transposed else 1])}, expected {list(expected)}")
    if not jnp.issubdtype(value.dtype, jnp.floating):
      problems.append(f"{name} has dtype {value.dtype}, expected a floating one (quantised weights are not supported)")
    flat[path] = np.ascontiguousarray(value, np.float32)
  problems += [f"missing {name}" for name, (path, _) in table.items() if path not in flat]
  if problems:
    raise ValueError(f"the weights in {directory} do not fit its config.json: {'; '.join(problems)}")
  if ignored:
    logging.info("%s: ignored %s", directory, ", ".join(ignored))
  if renamed:
    logging.info("%s: renamed %s", directory, ", ".join(renamed))
  return traverse_util.unflatten_dict(flat)


def save_backbone(directory: str | pathlib.Path, backbone: PyTree, config: dict[str, Any]) -> None:
  """Writes `config.json` and `model.safetensors` with Hugging Face's names, in float32; AutoModel loads them."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  flat = traverse_util.flatten_dict(backbone)
  tensors = {}
  for name, (path, transposed) in family(config).table(config).items():
    value = np.asarray(flat[path], np.float32)
    tensors[name] = np.ascontiguousarray(value.T if transposed else value)
  saved = {**config, "architectures": [family(config).models[config["model_type"]]], "dtype": "float32"}
  saved.pop("torch_dtype", None)  # the older name of dtype
  write_safetensors(directory / "model.safetensors", tensors)
  (directory / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _shapes(config: dict[str, Any]) -> dict[Path, tuple[int, ...]]:
  # From the modules themselves, so that table and modules cannot drift apart unseen.
  params = jax.eval_shape(build(config, ModelSpec(dim=0)).init, jax.random.key(0))
  shapes: Any = traverse_util.flatten_dict(jax.tree.map(lambda leaf: leaf.shape, params["backbone"]))
  return shapes


def _rename(name: str, architecture: Family) -> str:
  for prefix in architecture.prefixes:
    name = name.removeprefix(prefix)
  for old, new in architecture.renamed.items():
    if name.endswith(old):
      return name.removesuffix(old) + new
  return name


def _tensors(directory: pathlib.Path) -> Iterator[tuple[str, Any]]:
  """Yields (name, a function that reads the tensor) for all tensors of a directory, one file after the other."""
  index = directory / "model.safetensors.index.json"
  if (directory / "model.safetensors").is_file():
    expected: dict[str, set[str]] = {"model.safetensors": set()}
  elif index.is_file():
    expected = _shards(index)
  else:
    pickles = sorted(path.name for path in directory.glob("*.bin"))
    found = f" ({', '.join(pickles)} is a pickle, which can run code when it is read)" if pickles else ""
    raise ValueError(f"no model.safetensors in {directory}{found}; {_CONVERT}")
  for shard, names in expected.items():
    with open_safetensors(directory / shard) as file:
      stored = set(file.keys())
      if names and names != stored:
        differing = ", ".join(sorted(names ^ stored))
        raise ValueError(f"{index} and {shard} disagree on {differing}; download the model again")
      for name in sorted(stored):
        yield name, lambda name=name: file.get_tensor(name)


def _shards(index: pathlib.Path) -> dict[str, set[str]]:
  shards: dict[str, set[str]] = {}
  for name, shard in read_json(index).get("weight_map", {}).items():
    # By its name alone: in the hub's cache the files are links that lead out of the directory.
    if not isinstance(shard, str) or pathlib.Path(shard).is_absolute() or ".." in pathlib.Path(shard).parts:
      raise ValueError(f"{index} names {shard!r}, a file outside its directory; download the model again")
    shards.setdefault(shard, set()).add(name)
  if not shards:
    raise ValueError(f"{index} has no weight_map; download the model again")
  return shards


def write_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
  """Writes the tensors, contiguous, in the form that transformers reads."""
  # Not by save_file, which makes a file that only its owner can read.
  path.write_bytes(safetensors.numpy.save(tensors, metadata={"format": "pt"}))


@contextlib.contextmanager
def open_safetensors(path: pathlib.Path) -> Iterator[Any]:
  """The open file; raises ValueError where it is missing or broken."""
  if not path.is_file():
    raise ValueError(f"{path} is missing; download the model again")
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      yield file
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is not a whole safetensors file ({error}); download the model again") from error


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """The JSON object in the file; raises ValueError where there is none."""
  if not path.is_file():
    raise ValueError(f"{path} is missing; use a directory in the Hugging Face layout")
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not JSON ({error})") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
  return content
