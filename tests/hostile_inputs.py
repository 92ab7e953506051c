"""Bad inputs by name: how each is made, which door it is brought to, and the words that the answer must hold."""

from collections.abc import Callable, Sequence
import functools
import gzip
import io
import json
from pathlib import Path
import shutil
import struct
import sys
import tempfile
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mtc import data
from mtc.data import tokenizer as tokenizers_
from mtc.evaluation.systems import lookup

Door = Callable[[Path], Any]


class Bad(NamedTuple):
  """A bad input.

  Attributes:
    name: of the row.
    make: writes it into an empty folder.
    door: reads the folder, and must raise ValueError or OSError.
    words: of the message.
  """

  name: str
  make: Callable[[Path], Any]
  door: Door
  words: str


# --- doors


@functools.cache
def small_tokenizer():
  """About 60 WordPieces."""
  return tokenizers_.train(["a note about soup and bread", "the moon is a planet"] * 3, 100)


def prepared(source: Callable[[Path], Any], kind: Any, split: str = "train", **options: Any) -> Door:
  """The door of training data: rows to tokens on disk."""

  def door(folder: Path) -> Any:
    rows = source(folder).resolve(str(folder))
    options_ = {"max_length": 16, "prompts": {}, "cache_dir": folder / "cache", "progress": False} | options
    return data.prepare(rows, split, kind, small_tokenizer(), **options_)

  return door


def scored(source: Callable[[Path], Any], kind: Any, on_bad_row: str) -> Door:
  """The door of a test: rows to the table of an evaluation."""
  from mtc.config import Evaluation, Experiment
  from mtc.evaluation.tables import read_tables
  from mtc.evaluators import Retrieval, SameLabelRetrieval

  def door(folder: Path) -> Any:
    evaluator = Retrieval() if isinstance(kind, data.Pairs) else SameLabelRetrieval()
    evaluations = {"it": Evaluation(source(folder), kind, evaluator, test="train")}
    return read_tables(Experiment(tasks={}, evaluations=evaluations, on_bad_row=on_bad_row), "test")

  return door


def jsonl(folder: Path) -> data.Jsonl:
  return data.Jsonl(str(folder))


def beir(folder: Path) -> data.Beir:
  return data.Beir(str(folder))


def parquet_folder(folder: Path) -> data.Parquet:
  return data.Parquet(str(folder))


def lines_folder(folder: Path) -> data.Text:
  return data.Text(str(folder))


def texts_of(name: str) -> Door:
  return lambda folder: list(data.read_texts(folder / name, "text"))


def teacher(folder: Path) -> Any:
  """A teacher's vectors, looked up and written."""
  taught = data.Teacher([data.Vectors(str(folder / "texts.jsonl"), npy=str(folder / "vectors.npy"))])
  taught.write(folder, [taught.row("a"), taught.row("b")])
  return taught.of(folder)(np.arange(2))


def system(folder: Path) -> Any:
  """Vectors in a file that are to be scored."""
  from mtc.evaluators.encoder import vectors

  return vectors(lookup(folder / "texts.jsonl", folder / "vectors.npy"), ["a", "b"])


def tokenizer(folder: Path) -> Any:
  """A tokenizer of a directory, used."""
  return tokenizers_.encode(tokenizers_.load(str(folder)), ["a note", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"], 16)


def new_encoder(folder: Path) -> Any:
  """A tokenizer for an encoder that starts from a seed."""
  return tokenizers_.new_table(tokenizers_.load(str(folder)))


def model(folder: Path) -> Any:
  """A model directory, used."""
  from mtc.embedder import embedder

  return embedder.load(folder).encode(["a note", ""])


def encoded(texts: Any, **options: Any) -> Door:
  """The door of texts that a caller gives to a model."""

  def door(folder: Path) -> Any:
    from mtc.embedder import embedder

    return embedder.load(folder).encode(texts, **options)

  return door


def shrunk(**wanted: Any) -> Door:
  """A smaller model of the one in `model`, by the texts in `texts`."""

  def door(folder: Path) -> Any:
    from mtc.embedder.shrinking import Shrinking, shrink

    texts = {"texts": (str(folder / "texts"),)} if "tokens" in wanted else {}
    return shrink(str(folder / "model"), folder / "small", Shrinking(**texts, **wanted))

  return door


def config_json(folder: Path) -> Any:
  """The config.json of a model directory alone."""
  from mtc import models

  return models.read_config(folder)


def adapter(folder: Path) -> Any:
  """A LoRA adapter for the small model."""
  from mtc import models

  config, backbone = _adapted()
  return models.load_adapter(folder, config, backbone, "base")


@functools.cache
def _adapted() -> tuple[dict[str, Any], Any]:
  from mtc import models

  directory = small_model()
  config = models.read_config(directory)
  return config, models.load_backbone(directory, config)


def overridden(*arguments: str, config: str = "configs/multitask.py") -> Door:
  """The command line: a config with overrides, parsed and checked; exit code 2 as the error it printed."""

  def door(folder: Path) -> Any:
    from absl import flags
    from ml_collections import config_flags

    from mtc import cli

    values = flags.FlagValues()
    values["verbosity"] = flags.FLAGS["verbosity"]
    config_flags.DEFINE_config_file("config", None, flag_values=values)
    path = Path(__file__).parent.parent / config if config.startswith("configs/") else folder / config
    sys.modules.pop("config_config", None)  # else what the last config defined is still there
    line = ["mtc", f"--config={path}", *arguments]
    with mock.patch.object(flags, "FLAGS", values), mock.patch.object(sys, "argv", line), cli.mistakes():
      rest = cli.parse_flags(line)
      return cli.experiment(values.config, rest)

  return door


# --- how they are made


def put(name: str, content: bytes | str) -> Callable[[Path], Any]:
  """A file with this content."""

  def make(folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

  return make


def both(*makes: Callable[[Path], Any]) -> Callable[[Path], Any]:
  def make(folder: Path) -> None:
    for one in makes:
      one(folder)

  return make


@functools.cache
def small_model() -> Path:
  """A model directory as mtc exports it, of one layer; made once."""
  import jax

  from mtc import models

  made = small_tokenizer()
  folder = Path(tempfile.mkdtemp(prefix="mtc-hostile-"))
  spec = models.ModelSpec(layers=1, width=8, heads=2, mlp_width=8, positions=24, dim=0, dropout=0.0, dtype="float32")
  config = models.scratch_config(spec, 0) | {"vocab_size": made.get_vocab_size()}
  params = models.build(config, spec).init(jax.random.key(0))
  models.save_backbone(folder, jax.tree.map(np.asarray, params["backbone"]), config)
  tokenizers_.save(made, folder, max_length=24)
  projection = {"kernel": np.eye(8, 4, dtype=np.float32), "bias": np.zeros(4, np.float32)}
  models.save_sentence_transformer(folder, "mean", 8, projection, {"query": "find: "}, 24)
  return folder


@functools.cache
def small_adapter() -> Path:
  """An adapter of `small_model`."""
  import jax

  from mtc import models
  from mtc.models import lora

  config, backbone = _adapted()
  spec = models.LoraSpec(rank=2)
  params = {"backbone": backbone, "lora": jax.tree.map(np.asarray, lora.init(jax.random.key(0), spec, backbone))}
  folder = Path(tempfile.mkdtemp(prefix="mtc-hostile-"))
  models.save_adapter(folder, params, spec, config, "base")
  return folder


def copied(original: Callable[[], Path], change: Callable[[Path], Any]) -> Callable[[Path], Any]:
  """A good directory with one change."""

  def make(folder: Path) -> None:
    shutil.copytree(original(), folder, dirs_exist_ok=True)
    change(folder)

  return make


def edit(name: str, **changes: Any) -> Callable[[Path], Any]:
  """Entries of a JSON file; MISSING takes one out. NaN and infinity are written as Python does."""

  def change(folder: Path) -> None:
    settings = json.loads((folder / name).read_text("utf-8")) | changes
    kept = {key: value for key, value in settings.items() if value is not MISSING}
    (folder / name).write_text(json.dumps(kept), "utf-8")

  return change


MISSING = object()


def delete(name: str) -> Callable[[Path], Any]:
  return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Callable[[Path], Any]:
  """A file without its end (size < 0), or with the first `size` bytes only."""

  def change(folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:size])

  return change


def link(name: str, target: str) -> Callable[[Path], Any]:
  def change(folder: Path) -> None:
    path = folder / name
    if path.exists():
      path.unlink()
    path.symlink_to(target)

  return change


def safetensors(header: Any, content: bytes = b"", size: int | None = None) -> bytes:
  """A file with this header: an object, or text as it stands; `size` is what the file says of the header's size."""
  head = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(head) if size is None else size) + head + content


def header(**changes: Any) -> Callable[[Path], Any]:
  """Changes what the weights of the small model say of one tensor."""

  def change(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])
    head[TENSOR] |= changes
    path.write_bytes(safetensors(head, content[8 + size :]))

  return change


def weights(change: Callable[[dict[str, np.ndarray]], Any], name: str = "model.safetensors") -> Callable[[Path], Any]:
  """Changes tensors by name."""

  def make(folder: Path) -> None:
    from safetensors import numpy as library

    tensors = library.load_file(folder / name)
    change(tensors)
    library.save_file(tensors, folder / name)

  return make


TENSOR = "encoder.layer.0.output.dense.weight"


def table(**columns: Any) -> Callable[[Path], Any]:
  """A Parquet file."""
  return lambda folder: parquet.write_table(pa.table(columns), folder / "train.parquet")


def npy(array: Any, **options: Any) -> Callable[[Path], Any]:
  return lambda folder: np.save(folder / "vectors.npy", array, **options)


def npy_header(text: str, content: bytes = b"") -> bytes:
  head = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
  return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def zipped(content: bytes) -> bytes:
  return gzip.compress(content, 6)


def deep(depth: int, opening: str = "[", closing: str = "]") -> str:
  return opening * depth + closing * depth


PAIR = '{"anchor": "a note", "positive": "the moon"}\n'
FLOOD = b"a" * (2**25 + 2)  # more than a line may have


def pair(**fields: Any) -> str:
  """A row of Pairs with these fields."""
  return json.dumps({"anchor": "a note", "positive": "the moon"} | fields) + "\n"


def buffer(write: Callable[[io.BytesIO], Any]) -> bytes:
  file = io.BytesIO()
  write(file)
  return file.getvalue()


def rows(*groups: Sequence[Bad]) -> list[Bad]:
  return [row for group in groups for row in group]
