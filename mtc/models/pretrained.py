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

from mtc.models import gguf_file, masked_lm
from mtc.models.architecture import family, is_static, sizes
from mtc.models.encoder import build
from mtc.models.family import Config, Path, Table
from mtc.models.spec import ModelSpec
from mtc.models.tensors import Stored, common_dtype, stored, write
from mtc.models.untrusted import check_links, read_json
from mtc.types import PyTree

_BUFFER = ".rotary_emb.inv_freq"  # of every layer, in checkpoints of the first Llama models
_CONVERT = (
  'convert it once, where torch is installed: python -c "from transformers import AutoModel; '
  "AutoModel.from_pretrained('IN').save_pretrained('OUT')\""
)

_KINDS = (np.float32, jnp.bfloat16, np.float16)  # that weights are kept in
_BROUGHT = {"mtc-mini": pathlib.Path(__file__).parent.parent / "mini"}


def directory_of(name: str | pathlib.Path) -> pathlib.Path:
  """The directory `name`; where there is none and it is "mtc-mini", that of the encoder which this package brings."""
  directory = pathlib.Path(name)
  with contextlib.suppress(RuntimeError):  # a user that is not there: so is the directory
    directory = directory if directory.exists() else directory.expanduser()
  return directory if directory.exists() else _BROUGHT.get(str(name), directory)


def resolve(pretrained: str, named: str = "") -> pathlib.Path:
  """The directory of a model: that of `directory_of`, else the snapshot of this name on the Hugging Face hub.

  Args:
    pretrained: a directory, "mtc-mini" or a name on the hub.
    named: what the user typed, for errors; "" = model.pretrained.

  Raises:
    ValueError: it is neither, or the hub cannot be reached and there is no earlier download.
  """
  named = named or f"model.pretrained={pretrained!r}"
  directory = directory_of(pretrained)
  if directory.is_dir():
    return directory
  if pretrained.startswith((".", "/", "~")) or pretrained.count("/") > 1 or directory.exists():
    raise ValueError(f"{named} is not a directory; use a model directory or a hub name")
  import huggingface_hub
  from huggingface_hub.errors import HFValidationError

  patterns = ["*.json", "*.safetensors", "model.gguf", "*.txt", "*.model", "README.md", "LICENSE*", "NOTICE*"]
  try:
    return pathlib.Path(huggingface_hub.snapshot_download(pretrained, allow_patterns=patterns, etag_timeout=5))
  except (OSError, HFValidationError) as error:
    raise ValueError(
      f"{named} is not a directory here and could not be had from the Hugging Face hub "
      f"({type(error).__name__}); use a directory, check the name, or download it where there is network"
    ) from error


def read_config(directory: str | pathlib.Path) -> Config:
  """The `config.json` of a model directory; raises ValueError where it is missing, broken or of an unknown model."""
  check_links(directory)
  path = pathlib.Path(directory) / "config.json"
  config = read_json(path)
  try:
    sizes(config)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
    raise ValueError(f"{path}: an entry is of another type or size than transformers writes ({error!r})") from error
  return config


def load_backbone(directory: str | pathlib.Path, config: Config, kernels: str = "float32") -> PyTree:
  """Reads the encoder's weights, tensor by tensor, into the tree of `params["backbone"]` with float32 NumPy leaves.

  Heads and buffers are ignored, prefixes and old names renamed; both are logged.

  Args:
    directory: of the checkpoint.
    config: of the encoder.
    kernels: the dtype of the kernels of dense layers instead: float32 or bfloat16. Each is rounded as it is read.

  Raises:
    ValueError: there is no safetensors file, or it lacks a name, has one too many or one of another shape.
  """
  architecture = family(config)
  # The shapes come from the modules themselves, so that table and modules cannot drift apart unseen.
  params = jax.eval_shape(build(config, ModelSpec(dim=0)).init, jax.random.key(0))["backbone"]
  return _load(pathlib.Path(directory), config, architecture.table(config), params, architecture.ignored, kernels)


def has_weights(directory: str | pathlib.Path, config: Config, backbone: PyTree) -> bool:
  """Whether the checkpoint in a directory holds this backbone, whole or rounded to 16 bits; reads it tensor by tensor.

  Raises:
    ValueError: the directory has no safetensors file that can be read.
  """
  table, flat, seen = family(config).table(config), traverse_util.flatten_dict(backbone), set()
  for tensor in _tensors(pathlib.Path(directory)):
    path, transposed = table.get(_rename(tensor.name, config), ((), False))
    if not path:
      continue
    ours = np.asarray(flat[path], np.float32)
    if not tensor.floating or tensor.shape != (ours.shape[::-1] if transposed else ours.shape):
      return False
    theirs = tensor.read(transposed)
    with np.errstate(over="ignore"):  # float16 has no room for the largest numbers
      if not any(np.array_equal(theirs.astype(kind), ours.astype(kind)) for kind in _KINDS):
        return False
    seen.add(path)
  return seen == {path for path, _ in table.values()}


def load_masked_lm(directory: str | pathlib.Path, config: Config) -> PyTree:
  """Reads the masked-LM head into the tree of `params["masked_lm"]`; {} where the checkpoint has none.

  Raises:
    ValueError: as load_backbone, or the architecture has no such head.
  """
  directory, table = pathlib.Path(directory), masked_lm.head_table(config)
  if not any(_rename(tensor.name, config) in table for tensor in _tensors(directory)):
    return {}
  params = jax.eval_shape(masked_lm.build_head(config).init, jax.random.key(0))
  return _load(directory, config, table, params, None)


def stored_dtype(directory: str | pathlib.Path) -> str:
  """What the weights of a model directory are stored in: q4_0, float16 or bfloat16 where all are, else float32."""
  tensors = list(_tensors(pathlib.Path(directory)))
  return "q4_0" if any(tensor.file.suffix == ".gguf" for tensor in tensors) else common_dtype(tensors)


def stored_bytes(directory: str | pathlib.Path) -> int:
  """The size of the files of a model directory that hold weights and tokenizer."""
  directory = pathlib.Path(directory)
  files = {tensor.file for tensor in _tensors(directory)} | set(directory.glob("tokenizer.json"))
  return sum(file.stat().st_size for file in files)


def save_backbone(
  directory: str | pathlib.Path,
  backbone: PyTree,
  config: Config,
  head: PyTree | None = None,
  dtype: str = "float32",
) -> None:
  """Writes `config.json` and `model.safetensors` with Hugging Face's names, which AutoModel loads.

  Of a static embedding it writes `model.safetensors` alone, which sentence-transformers loads.

  Args:
    head: the tree of `params["masked_lm"]`: AutoModelForMaskedLM then loads both.
    dtype: of the file: float32, float16, bfloat16, or q4_0 for `model.gguf`, which only `mtc` reads (see
      `gguf_file`). Other tools compute in float32, as `mtc` does, because `config.json` says so; with a static
      embedding, sentence-transformers computes in the dtype of the file.
  """
  directory, architecture = pathlib.Path(directory), family(config)
  directory.mkdir(parents=True, exist_ok=True)
  table, model, prefix = architecture.table(config), architecture.models[config["model_type"]], ""
  tensors = {}
  if head:
    names = masked_lm.head_names(config)
    model, prefix = names.model, names.backbone
    tensors = _named(masked_lm.head_table(config), head)
  tensors |= {prefix + name: value for name, value in _named(table, backbone).items()}
  if dtype == "q4_0":
    if is_static(config):
      raise ValueError("a static embedding cannot be stored as q4_0; use float16")
    gguf_file.write(directory / "model.gguf", tensors)
  else:
    write(directory / "model.safetensors", tensors, dtype)
  if is_static(config):
    return  # sentence-transformers, which alone reads it, wants no config.json
  saved = {**config, "architectures": [model], "dtype": "float32"}
  saved.pop("torch_dtype", None)  # the older name of dtype
  (directory / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _named(table: Table, params: PyTree) -> dict[str, np.ndarray]:
  flat = traverse_util.flatten_dict(params)
  return {
    name: np.asarray(flat[path]).T if turned else np.asarray(flat[path]) for name, (path, turned) in table.items()
  }


def _load(
  directory: pathlib.Path,
  config: Config,
  table: Table,
  params: PyTree,
  ignore: tuple[str, ...] | None,
  kernels: str = "float32",
) -> PyTree:
  """Reads what the table names into a tree like `params`.

  Args:
    ignore: beginnings of other names that may be there; None = whatever the table does not name.
    kernels: the dtype of what is called so.
  """
  shapes: Any = traverse_util.flatten_dict(jax.tree.map(lambda leaf: leaf.shape, params))
  problems: list[str] = []
  flat: dict[Path, np.ndarray] = {}
  ignored: list[str] = []
  renamed: list[str] = []
  for tensor in _tensors(directory):
    name, known = tensor.name, _rename(tensor.name, config)
    if known not in table:
      if ignore is None or known.startswith(ignore) or known.endswith(_BUFFER):
        ignored.append(name)
      else:
        problems.append(f"extra {name}")
      continue
    path, transposed = table[known]
    if path in flat:
      problems.append(f"twice {name}, as {known}")
      continue
    if known != name:
      renamed.append(f"{name} -> {known}")
    expected = shapes[path][::-1] if transposed else shapes[path]
    flat[path] = np.empty(0)
    if tensor.shape != expected:
      problems.append(f"{name} has shape {list(tensor.shape)}, expected {list(expected)}")
    elif not tensor.floating:
      problems.append(f"{name} has dtype {tensor.dtype}, expected a floating one (quantised weights are not supported)")
    elif not problems:
      value = tensor.read(transposed)
      flat[path] = value.astype(jnp.dtype(kernels), copy=False) if path[-1] == "kernel" else value
  problems += [f"missing {name}" for name, (path, _) in table.items() if path not in flat]
  if problems:
    wrong = "are not a static embedding" if is_static(config) else "do not fit its config.json"
    raise ValueError(f"the weights in {directory} {wrong}: {'; '.join(problems)}")
  if ignored:
    logging.info("%s: ignored %s", directory, ", ".join(ignored))
  if renamed:
    logging.info("%s: renamed %s", directory, ", ".join(renamed))
  return traverse_util.unflatten_dict(flat)


def _rename(name: str, config: Config) -> str:
  architecture = family(config)
  for prefix in architecture.prefixes:
    name = name.removeprefix(prefix)
  for old, new in architecture.renamed.items():
    if name.endswith(old):
      return name.removesuffix(old) + new
  return name


def _tensors(directory: pathlib.Path) -> Iterator[Stored]:
  """The tensors of a directory, one file after the other."""
  index = directory / "model.safetensors.index.json"
  if (directory / "model.safetensors").is_file():
    yield from stored(directory / "model.safetensors")
    return
  if (directory / "model.gguf").is_file():
    yield from gguf_file.stored(directory / "model.gguf")
    return
  if not index.is_file():
    pickles = sorted(path.name for path in directory.glob("*.bin"))
    found = f" ({', '.join(pickles)} is a pickle, which can run code when it is read)" if pickles else ""
    raise ValueError(f"no model.safetensors in {directory}{found}; {_CONVERT}")
  for shard, names in _shards(index).items():
    tensors = list(stored(directory / shard))
    if names != {tensor.name for tensor in tensors}:
      differing = ", ".join(sorted(names ^ {tensor.name for tensor in tensors}))
      raise ValueError(f"{index} and {shard} disagree on {differing}; download the model again")
    yield from tensors


def _shards(index: pathlib.Path) -> dict[str, set[str]]:
  shards: dict[str, set[str]] = {}
  weight_map = read_json(index).get("weight_map", {})
  if not isinstance(weight_map, dict):
    raise ValueError(f"the weight_map of {index} is a {type(weight_map).__name__}; download the model again")
  for name, shard in weight_map.items():
    if not isinstance(shard, str) or pathlib.Path(shard).is_absolute() or ".." in pathlib.Path(shard).parts:
      raise ValueError(f"{index} names {shard!r}, a file outside its directory; download the model again")
    shards.setdefault(shard, set()).add(name)
  if not shards:
    raise ValueError(f"{index} has no weight_map; download the model again")
  return shards
