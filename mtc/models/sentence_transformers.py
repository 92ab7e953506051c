"""The directory layout of sentence-transformers: which modules follow the backbone, and with which weights."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from mtc.models.tensors import common_dtype, stored, write
from mtc.models.untrusted import check_links, read_any_json, read_json

# Ours on the left, theirs on the right.
_POOLINGS = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}
_ACTIVATIONS = {"identity": "torch.nn.modules.linear.Identity", "tanh": "torch.nn.modules.activation.Tanh"}
_ALWAYS = ("query", "document")  # roles that every model has
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Which flag of the older layout says which pooling. Every version reads these flags, so they are what is written.
_FLAGS = {
  "pooling_mode_cls_token": "cls",
  "pooling_mode_mean_tokens": "mean",
  "pooling_mode_max_tokens": "max",
  "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
  "pooling_mode_weightedmean_tokens": "weightedmean",
  "pooling_mode_lasttoken": "lasttoken",
}


@dataclasses.dataclass
class SentenceTransformer:
  """What a sentence-transformers directory says beside its backbone.

  Attributes:
    backbone: the directory with model.safetensors, the tokenizer and, unless it is static, config.json.
    static: the backbone is a StaticEmbedding.
    pooling: mean, cls, max or last.
    projection: {"kernel": f32[width, dim], "bias": f32[dim]}; {} = none.
    activation: what follows the projection: identity or tanh.
    prompts: role ("query", "document", ...) -> the text that precedes each input; "query" and "document" are there
      where they have one.
    max_length: in tokens; 0 = as the tokenizer or the positions say.
    defaults: what `SentenceTransformer` takes where a call names nothing else, see `save_sentence_transformer`.
  """

  backbone: pathlib.Path
  static: bool
  pooling: str
  projection: dict[str, np.ndarray]
  activation: str
  prompts: dict[str, str]
  max_length: int
  defaults: dict[str, Any] = dataclasses.field(default_factory=dict)


def is_sentence_transformer(directory: str | pathlib.Path) -> bool:
  """Whether the directory has the layout of sentence-transformers."""
  return (pathlib.Path(directory) / "modules.json").is_file()


def load_sentence_transformer(directory: str | pathlib.Path) -> SentenceTransformer:
  """Reads the layout; raises ValueError on modules, poolings or activations that this encoder does not have."""
  check_links(directory)
  try:
    return _load(pathlib.Path(directory))
  except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError) as error:
    raise ValueError(
      f"{directory}: an entry of its JSON files is missing or of another type than sentence-transformers writes "
      f"({error!r})"
    ) from error


def _load(directory: pathlib.Path) -> SentenceTransformer:
  kinds, paths = _read_modules(directory)
  static = kinds[:1] == ["StaticEmbedding"]
  first = 1 if static else 2
  rest = kinds[first:-1] if kinds[-1:] == ["Normalize"] else kinds[first:]
  if (not static and kinds[:2] != ["Transformer", "Pooling"]) or set(rest) - {"Dense"}:
    raise ValueError(
      f"{directory / 'modules.json'} has the modules {', '.join(kinds)}; known is Transformer and Pooling, or "
      "StaticEmbedding, then any Dense and a Normalize, in this order"
    )
  projection, activation = _join([_read_dense(path) for path in paths[first : first + len(rest)]], directory)
  settings = directory / "config_sentence_transformers.json"
  prompts = _read_prompts(settings)
  return SentenceTransformer(
    backbone=paths[0],
    static=static,
    pooling="mean" if static else _read_pooling(paths[1] / "config.json"),
    projection=projection,
    activation=activation,
    prompts=prompts,
    max_length=_read_truncation(paths[0]) if static else read_max_length(paths[0]),
    defaults=_read_defaults(settings, prompts),
  )


def save_sentence_transformer(
  directory: str | pathlib.Path,
  pooling: str,
  width: int,
  projection: dict[str, np.ndarray],
  prompts: dict[str, str],
  max_length: int,
  activation: str = "identity",
  dtype: str = "float32",
  static: bool = False,
  defaults: Mapping[str, Any] | None = None,
) -> None:
  """Writes the modules around a backbone that lies, or will lie, in the directory itself.

  The embeddings get unit length.

  Args:
    pooling: mean, cls, max or last.
    width: of the backbone.
    projection: {"kernel": [width, dim], "bias": [dim]}, or {} for none.
    prompts: role -> the text that precedes each input; "query" and "document" are always written.
    max_length: in tokens, with the special ones.
    activation: what follows the projection: identity or tanh.
    dtype: of the projection's file: float32, float16 or bfloat16; q4_0 = float16.
    static: the backbone is a static embedding, which pools by the mean and whose tokenizer cuts texts.
    defaults: what `SentenceTransformer` takes where a call names nothing else: `default_prompt_name` (of a text without
      a prompt), `similarity_fn_name` (of `similarity`) and `truncate_dim` (the first dimensions of a vector).
  """
  directory = pathlib.Path(directory)
  mode = _POOLINGS[pooling]
  flags = {flag: value == mode for flag, value in _FLAGS.items()}
  names = ["StaticEmbedding"] if static else ["Transformer", "Pooling"]
  names += ["Dense", "Normalize"] if projection else ["Normalize"]
  modules = []
  for index, name in enumerate(names):
    path = f"{index}_{name}" if index else ""
    (directory / path).mkdir(parents=True, exist_ok=True)
    # The short names of the first versions, which all later ones resolve.
    modules.append({"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"})
  _write_json(directory / "modules.json", modules)
  _write_json(
    directory / "config_sentence_transformers.json",
    {
      "__version__": {},
      "default_prompt_name": None,
      "model_type": "SentenceTransformer",
      "prompts": {"query": "", "document": "", **prompts},
      "similarity_fn_name": "cosine",
      **(defaults or {}),
    },
  )
  if not static:
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    pools = {"word_embedding_dimension": width, **flags, "include_prompt": True}
    _write_json(directory / "1_Pooling" / "config.json", pools)
  if projection:
    kernel, bias = (np.asarray(projection[name], np.float32) for name in ("kernel", "bias"))
    dense = {
      "in_features": kernel.shape[0],
      "out_features": kernel.shape[1],
      "bias": True,
      "activation_function": _ACTIVATIONS[activation],
    }
    folder = directory / f"{names.index('Dense')}_Dense"
    _write_json(folder / "config.json", dense)
    write(folder / "model.safetensors", {"linear.weight": kernel.T, "linear.bias": bias}, _of_modules(dtype))


def copy_around(source: str | pathlib.Path, directory: str | pathlib.Path, dtype: str = "") -> pathlib.Path:
  """Copies all that the layout of sentence-transformers has around a backbone, such as pooling, projection and prompts.

  Args:
    source: a directory that `load_sentence_transformer` reads.
    directory: to write to.
    dtype: of projections; "" = as they are stored; q4_0 = float16.

  Returns:
    Where the backbone belongs: `directory` or a folder in it.
  """
  source, directory = pathlib.Path(source), pathlib.Path(directory)
  _, folders = _read_modules(source)
  names = [source / "modules.json", source / "config_sentence_transformers.json"]
  # The older versions call the settings of a backbone by its architecture: sentence_xlm-roberta_config.json.
  names += [*folders[0].glob("sentence_*_config.json"), *(folder / "config.json" for folder in folders[1:])]
  for folder in folders:  # also those without a file, such as that of Normalize
    (directory / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
  for path in names:
    if path.is_file():
      (directory / path.relative_to(source)).write_bytes(path.read_bytes())
  for folder in folders[1:]:
    if (path := folder / "model.safetensors").is_file():
      tensors = [tensor for tensor in stored(path) if tensor.floating]
      values = {tensor.name: tensor.read() for tensor in tensors}
      write(directory / path.relative_to(source), values, _of_modules(dtype) or common_dtype(tensors))
  return directory / folders[0].relative_to(source)


def _of_modules(dtype: str) -> str:
  """Blocks of 4 bits are for backbones only."""
  return "float16" if dtype == "q4_0" else dtype


def _read_modules(directory: pathlib.Path) -> tuple[list[str], list[pathlib.Path]]:
  path = directory / "modules.json"
  try:
    modules = [(module["type"], pathlib.Path(module["path"])) for module in read_any_json(path)]
  except (KeyError, TypeError) as error:
    raise ValueError(f"{path} is not a list of modules with type and path ({error!r})") from error
  for _, folder in modules:
    if folder.is_absolute() or ".." in folder.parts:
      raise ValueError(f"{path} names {str(folder)!r}, a folder outside its directory")
  return [name.rpartition(".")[2] for name, _ in modules], [directory / folder for _, folder in modules]


def _read_pooling(path: pathlib.Path) -> str:
  config = read_json(path)
  modes = config.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if config.get(flag)] or "mean"
  modes = [modes] if isinstance(modes, str) else modes
  ours = [name for name, theirs in _POOLINGS.items() if modes == [theirs]]
  if not ours:
    raise ValueError(f"{path} has the pooling {' + '.join(modes)}; known is one of {', '.join(_POOLINGS.values())}")
  if not config.get("include_prompt", True):
    raise ValueError(f"{path} leaves the prompt out of the pooling (include_prompt=false), which is not supported")
  return ours[0]


def read_max_length(directory: pathlib.Path) -> int:
  """Tokens of a text that the files beside a backbone allow; 0 = as many as it has positions."""
  # The first is how the older versions say it, and goes before the second.
  for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
    path = directory / name
    length = read_json(path).get(key) if path.is_file() else None
    if length and 1 <= length < 2**31:  # without a limit, tokenizers say 10 ** 30
      return int(length)
  return 0


def _read_truncation(directory: pathlib.Path) -> int:
  """What alone cuts the texts of a StaticEmbedding."""
  path = directory / "tokenizer.json"
  truncation = read_json(path).get("truncation") if path.is_file() else None
  if truncation is None:
    return 0
  length = truncation.get("max_length") if isinstance(truncation, dict) else None
  if isinstance(length, bool) or not isinstance(length, int) or length < 1:
    raise ValueError(f"{path} has truncation={truncation!r}; expected a positive integer max_length, or null for none")
  direction = truncation.get("direction", "Right")
  if direction not in ("Left", "Right"):
    raise ValueError(f"{path} has truncation.direction={direction!r}; expected 'Right' or 'Left'")
  return length


def _read_prompts(path: pathlib.Path) -> dict[str, str]:
  """The prompts, with those that sentence-transformers takes for queries and documents under our names."""
  settings = read_json(path) if path.is_file() else {}
  prompts = {name: prompt for name, prompt in (settings.get("prompts") or {}).items() if prompt is not None}
  if not all(_is_text(text) for text in prompts.values()):
    raise ValueError(f"{path} has the prompts {prompts!r}; expected texts")
  default = prompts.get(settings.get("default_prompt_name"), "")
  document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
  prompts |= {"query": prompts.get("query", default), "document": document}
  return {role: prompt for role, prompt in prompts.items() if prompt or role not in _ALWAYS}


def _read_defaults(path: pathlib.Path, prompts: Mapping[str, str]) -> dict[str, Any]:
  """What decides the vectors and scores of a call that names nothing else, where it is stated."""
  settings = read_json(path) if path.is_file() else {}
  found: dict[str, Any] = {}
  if name := settings.get("default_prompt_name"):
    if name not in (known := dict.fromkeys([*_ALWAYS, *prompts])):
      raise ValueError(
        f"{path} has default_prompt_name={name!r}, which is no prompt of it; name one of {', '.join(known)}, or null"
      )
    found["default_prompt_name"] = name
  if (similarity := settings.get("similarity_fn_name")) in _SIMILARITIES:
    found["similarity_fn_name"] = similarity
  if (dim := settings.get("truncate_dim")) is not None:
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
      raise ValueError(f"{path} has truncate_dim={dim!r}; expected a positive number of dimensions, or null")
    found["truncate_dim"] = dim
  return found


def _is_text(value: Any) -> bool:
  """JSON can hold half a surrogate pair, which no tokenizer takes."""
  return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _join(
  layers: list[tuple[dict[str, np.ndarray], str]], directory: pathlib.Path
) -> tuple[dict[str, np.ndarray], str]:
  """One dense layer for several: without an activation between them, their product is one."""
  if not layers:
    return {}, "identity"
  if any(activation != "identity" for _, activation in layers[:-1]):
    raise ValueError(f"{directory} has a Dense with an activation before another Dense, which is not supported")
  joined, _ = layers[0]
  for layer, _ in layers[1:]:
    kernel = layer["kernel"].astype(np.float64)
    joined = {"kernel": joined["kernel"] @ kernel, "bias": joined["bias"] @ kernel + layer["bias"]}
  return {name: value.astype(np.float32) for name, value in joined.items()}, layers[-1][1]


def _read_dense(directory: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
  config = read_json(directory / "config.json")
  # Without the entry, sentence-transformers takes its default, Tanh.
  name = str(config.get("activation_function", _ACTIVATIONS["tanh"])).rpartition(".")[2].lower()
  if name not in _ACTIVATIONS:
    known = ", ".join(_ACTIVATIONS.values())
    raise ValueError(f"{directory} has the activation {config['activation_function']}; supported are {known}")
  if config.get("use_residual", False):
    raise ValueError(f"{directory} has a residual connection (use_residual=true), which is not supported")
  for key in ("module_input_name", "module_output_name"):
    if (config.get(key) or "sentence_embedding") != "sentence_embedding":
      raise ValueError(f"{directory} has {key}={config[key]!r}; only 'sentence_embedding' is supported")
  path = directory / "model.safetensors"
  tensors = {tensor.name: tensor for tensor in stored(path)}
  shape = (config["out_features"], config["in_features"])
  expected = {"linear.weight": shape, "linear.bias": shape[:1]}
  if not config.get("bias", True) and "linear.bias" not in tensors:
    del expected["linear.bias"]
  for tensor, size in expected.items():
    # Before anything is read: a shape without an entry may still have 2 ** 62 rows.
    if tensor not in tensors or not tensors[tensor].floating or tensors[tensor].shape != size or min(size) < 1:
      found = {name: f"{value.dtype} {list(value.shape)}" for name, value in tensors.items()}
      raise ValueError(f"{path} has {found}, expected linear.weight {list(shape)} and linear.bias [{shape[0]}], floats")
  bias = tensors["linear.bias"].read() if "linear.bias" in expected else np.zeros(shape[0], np.float32)
  return {"kernel": tensors["linear.weight"].read(transposed=True), "bias": bias}, name


def _write_json(path: pathlib.Path, content: Any) -> None:
  path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
