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

from mtc.models.architecture import architecture, check_model_type
from mtc.models.encoder import build
from mtc.models.spec import ModelSpec
from mtc.types import PyTree

Path = tuple[str, ...]

_CONVERT = (
  'convert it once, where torch is installed: python -c "from transformers import AutoModel; '
  "AutoModel.from_pretrained('IN').save_pretrained('OUT')\""
)

# Ours on the left, Hugging Face's on the right. A name without a leaf is a dense layer or a LayerNorm.
_BERT_EMBEDDINGS = {
  "embeddings/word": "embeddings.word_embeddings",
  "embeddings/position": "embeddings.position_embeddings",
  "embeddings/type": "embeddings.token_type_embeddings",
  "embeddings/norm": "embeddings.LayerNorm",
}
_BERT_LAYER = {
  "layer_{}/query": "encoder.layer.{}.attention.self.query",
  "layer_{}/key": "encoder.layer.{}.attention.self.key",
  "layer_{}/value": "encoder.layer.{}.attention.self.value",
  "layer_{}/attention_output": "encoder.layer.{}.attention.output.dense",
  "layer_{}/attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
  "layer_{}/mlp_input": "encoder.layer.{}.intermediate.dense",
  "layer_{}/mlp_output": "encoder.layer.{}.output.dense",
  "layer_{}/mlp_norm": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT_EMBEDDINGS = {name: value for name, value in _BERT_EMBEDDINGS.items() if name != "embeddings/type"}
_DISTILBERT_LAYER = {
  "layer_{}/query": "transformer.layer.{}.attention.q_lin",
  "layer_{}/key": "transformer.layer.{}.attention.k_lin",
  "layer_{}/value": "transformer.layer.{}.attention.v_lin",
  "layer_{}/attention_output": "transformer.layer.{}.attention.out_lin",
  "layer_{}/attention_norm": "transformer.layer.{}.sa_layer_norm",
  "layer_{}/mlp_input": "transformer.layer.{}.ffn.lin1",
  "layer_{}/mlp_output": "transformer.layer.{}.ffn.lin2",
  "layer_{}/mlp_norm": "transformer.layer.{}.output_layer_norm",
}
# What a model with a head puts before the encoder's names, and the class that loads what we save.
_PREFIX = {"bert": "bert.", "roberta": "roberta.", "xlm-roberta": "roberta.", "distilbert": "distilbert."}
_CLASS = {
  "bert": "BertModel",
  "roberta": "RobertaModel",
  "xlm-roberta": "XLMRobertaModel",
  "distilbert": "DistilBertModel",
}
# Heads and buffers of the known architectures, which an embedder has no use for.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_ROBERTA_IGNORED = ("pooler.", "lm_head.", "classifier.", "qa_outputs.", *_BUFFERS)
_DISTILBERT_HEADS = ("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "pre_classifier.")
_IGNORED = {
  "bert": ("pooler.", "cls.", "classifier.", "qa_outputs.", *_BUFFERS),
  "roberta": _ROBERTA_IGNORED,
  "xlm-roberta": _ROBERTA_IGNORED,
  "distilbert": (*_DISTILBERT_HEADS, "classifier.", "qa_outputs.", *_BUFFERS),
}
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


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
    architecture(config)
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
  table = _key_table(config)
  shapes = _shapes(config)
  problems: list[str] = []
  flat: dict[Path, np.ndarray] = {}
  ignored: list[str] = []
  renamed: list[str] = []
  for name, read in _tensors(directory):
    known = _rename(name, config)
    if known.startswith(_IGNORED[check_model_type(config)]):
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
  for name, (path, transposed) in _key_table(config).items():
    value = np.asarray(flat[path], np.float32)
    tensors[name] = np.ascontiguousarray(value.T if transposed else value)
  saved = {**config, "architectures": [_CLASS[check_model_type(config)]], "dtype": "float32"}
  saved.pop("torch_dtype", None)  # the older name of dtype
  write_safetensors(directory / "model.safetensors", tensors)
  (directory / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _key_table(config: dict[str, Any]) -> dict[str, tuple[Path, bool]]:
  """Hugging Face name -> our path, and whether the matrix is transposed."""
  distil = check_model_type(config) == "distilbert"
  modules = dict(_DISTILBERT_EMBEDDINGS if distil else _BERT_EMBEDDINGS)
  for index in range(architecture(config).layers):
    for ours, theirs in (_DISTILBERT_LAYER if distil else _BERT_LAYER).items():
      modules[ours.format(index)] = theirs.format(index)
  table: dict[str, tuple[Path, bool]] = {}
  for ours, theirs in modules.items():
    path = tuple(ours.split("/"))
    if path[-1] in ("word", "position", "type"):
      table[f"{theirs}.weight"] = ((*path, "embedding"), False)
    elif path[-1].endswith("norm"):
      table[f"{theirs}.weight"] = ((*path, "scale"), False)
      table[f"{theirs}.bias"] = ((*path, "bias"), False)
    else:
      table[f"{theirs}.weight"] = ((*path, "kernel"), True)
      table[f"{theirs}.bias"] = ((*path, "bias"), False)
  return table


def _shapes(config: dict[str, Any]) -> dict[Path, tuple[int, ...]]:
  # From the modules themselves, so that table and modules cannot drift apart unseen.
  params = jax.eval_shape(build(config, ModelSpec(dim=0)).init, jax.random.key(0))
  shapes: Any = traverse_util.flatten_dict(jax.tree.map(lambda leaf: leaf.shape, params["backbone"]))
  return shapes


def _rename(name: str, config: dict[str, Any]) -> str:
  name = name.removeprefix(_PREFIX[check_model_type(config)])
  for old, new in _RENAMED.items():
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
