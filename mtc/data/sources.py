"""Where rows come from: JSONL, BEIR folders, Parquet, TFDS, memory. A row is a dict, its place a name for messages."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from pathlib import Path
import re
import shutil
import tempfile
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

import numpy as np

from mtc.data import fields, tfds_rows
from mtc.data.bad_rows import BadRow, NotThere, stop
from mtc.data.fields import Row
from mtc.data.files import InFiles, Names, hash_files, lines, listing, open_file, split_files, splits
from mtc.data.qrels import judgement
from mtc.data.settings import Settings


class Rows(Protocol):
  """Rows that can be read, by split."""

  def splits(self) -> list[str]:
    """The splits there are; a search task has the split `corpus` besides."""
    ...

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    """Yields (place, row); `on_bad` is called with each row that cannot even be read, which is then passed over."""
    ...

  def files_of(self, split: str) -> list[Path]:
    """What is read for a split."""
    ...

  def fingerprint(self, split: str) -> str:
    """A hash of the content that `rows(split)` reads."""
    ...


@runtime_checkable
class Source(Protocol):
  """What a task names in its config."""

  def resolve(self, data_dir: str) -> Rows:
    """Finds the rows; only `Folder` and `Text` look at `data_dir`."""
    ...


@dataclasses.dataclass
class Jsonl(Settings, InFiles):
  """One JSON object a line, `SPLIT.jsonl` or `SPLIT.jsonl.gz` in a directory.

  Attributes:
    path: the directory.
    files: split -> file name or glob relative to `path`, or a list of them, where the names are not the usual ones. The
      files of a list are read in its order, those of a glob by their names.
  """

  path: str  # file or directory
  files: Mapping[str, Names] = dataclasses.field(default_factory=dict)

  def resolve(self, data_dir: str) -> "Jsonl":
    return self

  def splits(self) -> list[str]:
    return splits(self.path, self.files, _JSONL)

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    for file in split_files(self.path, self.files, split, _JSONL):
      for number, _, row in _json_lines(file, on_bad):
        yield f"{file}:{number}", row

  def files_of(self, split: str) -> list[Path]:
    return split_files(self.path, self.files, split, _JSONL)


@dataclasses.dataclass
class Parquet(Settings, InFiles):
  """A row a row, `SPLIT.parquet` or `SPLIT-00000-of-00004.parquet` in a directory; `files` as in `Jsonl`."""

  path: str  # file or directory
  files: Mapping[str, Names] = dataclasses.field(default_factory=dict)  # as in Jsonl

  def resolve(self, data_dir: str) -> "Parquet":
    return self

  def splits(self) -> list[str]:
    return splits(self.path, self.files, _PARQUET)

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    from pyarrow import ArrowException, parquet

    for file in split_files(self.path, self.files, split, _PARQUET):
      number = 0
      try:
        with parquet.ParquetFile(file.absolute()) as table:  # a relative gs:/a is an address to it
          for batch in table.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
              number += 1
              yield f"{file}:{number}", row
      except BadRow:
        raise  # thrown in by the reader of the rows
      except (OSError, ValueError, ArithmeticError, LookupError, TypeError, ArrowException) as error:
        raise ValueError(f"{file}: not a readable Parquet file after row {number} ({error}); write it again") from error

  def files_of(self, split: str) -> list[Path]:
    return split_files(self.path, self.files, split, _PARQUET)


@dataclasses.dataclass
class Text(Settings):
  """A text a line, in the files `*.txt` and `*.txt.gz` of a directory; they are the split `train`.

  Attributes:
    path: the directory, or one file, in the data directory of the run where it is relative.
    language: of all lines; "" = as the files are named, up to the first dot: `de.txt.gz` is de.
  """

  path: str  # file or directory
  language: str = ""

  def resolve(self, data_dir: str) -> "Text":
    return dataclasses.replace(self, path=str(Path(data_dir) / self.path))

  def splits(self) -> list[str]:
    return ["train"]

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    for file in self.files_of(split):
      language = self.language or file.name.split(".")[0]
      for number, _, line in lines(file):
        place = f"{file}:{number}"
        try:
          yield place, {"text": line.decode("utf-8-sig").strip(), "language": language}
        except UnicodeDecodeError as error:
          on_bad(BadRow(place, "not UTF-8", f"byte {error.start + 1} of the line"))

  def fingerprint(self, split: str) -> str:
    files = self.files_of(split)
    languages = [self.language or file.name.split(".")[0] for file in files]
    return hashlib.sha256(f"{languages} {hash_files(files)}".encode()).hexdigest()

  def files_of(self, split: str) -> list[Path]:
    if split != "train":
      raise ValueError(f"no split {split!r} in the text files of {self.path}; they are the split 'train'")
    path = Path(self.path)
    found = [path] if path.is_file() else sorted(entry for suffix in _TEXT for entry in path.glob(f"*{suffix}"))
    if not found:
      raise FileNotFoundError(f"{self.path} has no .txt or .txt.gz; {listing(Path(self.path))}; correct the path")
    return found


@dataclasses.dataclass
class Beir(Settings, InFiles):
  """The BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`, each possibly with `.gz`.

  A row of a split is a pair of a query and a document of grade > 0: `anchor`, `positive`, `anchor_id`, `positive_id`,
  `score` (the grade) and `language` (the query's). A row of the split `corpus` is a document: `id`, `text`, `language`.
  """

  path: str  # directory with corpus.jsonl, queries.jsonl and qrels/

  def resolve(self, data_dir: str) -> "Beir":
    return self

  def splits(self) -> list[str]:
    qrels = (Path(self.path) / "qrels").glob("*.tsv*")
    return [*sorted({file.name.removesuffix(".gz").removesuffix(".tsv") for file in qrels}), "corpus"]

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    if split == "corpus":
      corpus = self._file("corpus.jsonl")
      for number, _, document in _documents(corpus, "document", on_bad):
        yield f"{corpus}:{number}", document
      return
    qrels, files = self._file(f"qrels/{split}.tsv"), (self._file("queries.jsonl"), self._file("corpus.jsonl"))
    with _ById(files[0], "query", on_bad) as queries, _ById(files[1], "document", on_bad) as corpus:
      for index, (number, _, line) in enumerate(lines(qrels)):
        place = f"{qrels}:{number}"
        try:
          judged = judgement(place, index == 0, line, queries.has)
          if judged is None:
            continue
          query = queries.get(judged[0], place)
          pair = {"anchor": query["text"], "positive": None, "anchor_id": query["id"], "positive_id": judged[1]}
          pair |= {"score": judged[2], "language": query["language"]}
          document = corpus.get(judged[1], place, pair)
        except BadRow as bad:
          on_bad(bad)
        else:
          yield place, pair | {"positive": document["text"], "positive_id": document["id"]}

  def files_of(self, split: str) -> list[Path]:
    names = ["corpus.jsonl"] if split == "corpus" else ["corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"]
    return [self._file(name) for name in names]

  def _file(self, name: str) -> Path:
    for candidate in (Path(self.path) / name, Path(self.path) / f"{name}.gz"):
      if candidate.is_file():
        return candidate
    raise FileNotFoundError(
      f"{Path(self.path) / name} does not exist; {listing((Path(self.path) / name).parent)}; "
      "a BEIR folder has corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (.gz allowed)"
    )


@dataclasses.dataclass
class Tfds(Settings):
  """A TensorFlow dataset by name, public or local, read without TensorFlow where it is stored as array_record.

  A public dataset that is not prepared yet is downloaded, which needs the network.

  Attributes:
    name: `name`, `name/config:version`, or a directory that holds a prepared dataset.
    data_dir: where prepared datasets are; "" is TFDS's own directory.
    train, validation, test: what these splits are in the dataset, as in `train[:90%]`.
      Other splits are taken as written.
  """

  name: str
  data_dir: str = ""
  train: str = "train"
  validation: str = "validation"
  test: str = "test"

  def resolve(self, data_dir: str) -> "Tfds":
    return self

  def splits(self) -> list[str]:
    there = tfds_rows.splits(self._builder())
    named = [name for name in ("train", "validation", "test") if re.split(r"[\[+]", getattr(self, name))[0] in there]
    return named + [name for name in there if name not in named]

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(tfds_rows.read(self._builder(), self._split(split)), 1):
      yield f"{self.name}/{self._split(split)}:{number}", row

  def files_of(self, split: str) -> list[Path]:
    return tfds_rows.files(self._builder(), self._split(split))

  def fingerprint(self, split: str) -> str:
    builder = self._builder()
    files = tfds_rows.files(builder, self._split(split))
    return hashlib.sha256(f"{builder.info.full_name} {self._split(split)} {hash_files(files)}".encode()).hexdigest()

  def _builder(self):
    return tfds_rows.open_builder(self.name, self.data_dir)

  def _split(self, split: str) -> str:
    return getattr(self, split) if split in ("train", "validation", "test") else split


@dataclasses.dataclass
class Builtin(Tfds):
  """The project's own generated posts; `name` is the task: interest, storyline, hashtag, search_tweets, ..."""

  def _builder(self):
    return tfds_rows.builtin_builder(self.name, self.data_dir)


@dataclasses.dataclass
class InMemory(Settings):
  """Rows given as lists of dicts, by split; of a pandas.DataFrame these are `frame.to_dict("records")`."""

  rows_by_split: Mapping[str, Sequence[Any]]  # split -> rows

  def __post_init__(self) -> None:
    self.validate()  # and leave the rows as they are

  def validate(self) -> None:
    """Raises ValueError where it holds something else than lists; the rows are checked when they are read."""
    for split, rows in self.rows_by_split.items() if isinstance(self.rows_by_split, Mapping) else ():
      if not isinstance(rows, list | tuple):
        raise ValueError(
          f"rows_by_split[{split!r}] of InMemory is {fields.a_kind(rows)}; use a list of dicts, which is list(rows) of "
          'an iterable and frame.to_dict("records") of a pandas.DataFrame'
        )
    super().validate()

  def resolve(self, data_dir: str) -> "InMemory":
    return self

  def splits(self) -> list[str]:
    return list(self.rows_by_split)

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(self._rows(split), 1):
      if isinstance(row, dict):
        yield f"InMemory[{split!r}]:{number}", row
      else:
        on_bad(BadRow(f"InMemory[{split!r}]:{number}", "not an object", fields.a_kind(row)))

  def files_of(self, split: str) -> list[Path]:
    return []

  def fingerprint(self, split: str) -> str:
    try:
      rows = fields.all_plain(self._rows(split))
    except RecursionError as error:
      raise ValueError(f"InMemory[{split!r}] has a row that is too deep, or in itself; leave that field out") from error
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=repr).encode()).hexdigest()

  def _rows(self, split: str) -> Sequence[Any]:
    if split not in self.rows_by_split:
      raise ValueError(f"no split {split!r} in memory; there is {', '.join(self.rows_by_split) or 'nothing'}")
    return self.rows_by_split[split]


@dataclasses.dataclass
class Folder(Settings):
  """A task's folder in the data directory of the run, or, without one, the built-in dataset of that name.

  The folder holds SPLIT.jsonl (or .jsonl.gz), SPLIT.parquet, the BEIR layout, or a prepared TFDS dataset.
  """

  name: str  # of the directory in Experiment.data_dir, or of a built-in task

  def resolve(self, data_dir: str) -> Rows:
    """Raises FileNotFoundError if there is no such folder, or nothing in it that can be read."""
    if not data_dir:
      return Builtin(self.name)
    path = Path(data_dir) / self.name
    if not path.is_dir():
      raise FileNotFoundError(
        f"{path} does not exist; {listing(Path(data_dir))}; make the folder, or change the task's source or data_dir"
      )
    names = {file.name.removesuffix(".gz") for file in path.iterdir()}
    if {"corpus.jsonl", "queries.jsonl", "qrels"} & names:
      return Beir(str(path))
    if any(name.endswith(_JSONL[0]) for name in names):
      return Jsonl(str(path))
    if any(name.endswith(_PARQUET[0]) for name in names):
      return Parquet(str(path))
    if "dataset_info.json" in names:
      return Tfds(str(path))
    raise FileNotFoundError(
      f"{path} holds no data; {listing(path)}; it needs SPLIT.jsonl, SPLIT.jsonl.gz, SPLIT.parquet, "
      "or corpus.jsonl with queries.jsonl and qrels/SPLIT.tsv"
    )


_ROWS = 256  # of a Parquet file at a time: a dictionary makes rows of a megabyte from nothing
_JSONL = (".jsonl", ".jsonl.gz")
_PARQUET = (".parquet",)
_TEXT = (".txt", ".txt.gz")


def _json_lines(path: Path, on_bad: Callable[[BadRow], None]) -> Iterator[tuple[int, int, Row]]:
  for number, offset, line in lines(path):
    try:
      row = _parse(f"{path}:{number}", line)
    except BadRow as bad:
      on_bad(bad)
    else:
      yield number, offset, row


def _parse(place: str, line: bytes) -> Row:
  try:
    row = json.loads(line.decode("utf-8-sig"))  # a byte order mark at the start of the file is no fault
  except UnicodeDecodeError as error:
    raise BadRow(place, "not UTF-8", f"byte {error.start + 1} of the line") from error
  except (ValueError, RecursionError) as error:
    raise BadRow(place, "broken JSON", str(error)) from error
  if not isinstance(row, dict):
    raise BadRow(place, "not an object", f"{fields.a_kind(row)}, expected {{...}}")
  return row


def _documents(path: Path, what: str, on_bad: Callable[[BadRow], None]) -> Iterator[tuple[int, int, Row]]:
  """Number, offset and content of each line with a document or a query, which is `what` the others are reported as."""
  for number, offset, row in _json_lines(path, lambda bad: on_bad(bad.of(what))):
    try:
      document = _document(f"{path}:{number}", row)
    except BadRow as bad:
      on_bad(bad.of(what, row.get("_id")))
    else:
      yield number, offset, document


def _document(place: str, row: Row) -> Row:
  identity = fields.required_name(place, row, "_id")
  title = fields.string(place, "title", fields.optional(row, "title", ""))
  text = fields.string(place, "text", fields.required(place, row, "text"))
  for field, value in ("title", title), ("text", text):
    fields.check_characters(place, field, value)
  text = fields.check_text(place, "text", f"{title} {text}".strip())
  return {"id": identity, "text": text, "language": fields.language(place, row)}


class _ById:
  """Documents of a JSONL file by their `_id`: holds hashes and offsets (24 bytes a row), reads the text when asked."""

  def __init__(self, path: Path, what: str, on_bad: Callable[[BadRow], None]):
    self.path, self.what = path, what
    hashes, offsets, numbers = array("Q"), array("q"), array("q")
    for number, offset, document in _documents(path, what, on_bad):
      hashes.append(_hash_id(document["id"]))
      offsets.append(offset)
      numbers.append(number)
    by_id = np.frombuffer(hashes, np.uint64)
    order = np.argsort(by_id, kind="stable")
    self.hashes = by_id[order]
    self.offsets = np.frombuffer(offsets, np.int64)[order]
    twice = np.flatnonzero(self.hashes[1:] == self.hashes[:-1])
    for index in twice:
      number = np.frombuffer(numbers, np.int64)[order][index + 1]
      place = f"{path}:{number}"
      on_bad(BadRow(place, "the '_id' is there twice", "the first one is kept").of(what, place))  # its id has a text

  def __enter__(self) -> "_ById":
    self.file = open_file(self.path)
    if self.path.suffix == ".gz":  # seeking in a gzip file unpacks it from the start each time
      packed, self.file = self.file, cast(BinaryIO, tempfile.TemporaryFile())
      with packed:
        shutil.copyfileobj(packed, self.file)
    return self

  def __exit__(self, *unused) -> None:
    self.file.close()

  def has(self, identity: str) -> bool:
    """Whether the file has such an id."""
    return self._find(identity) is not None

  def get(self, identity: str, place: str, pair: Row | None = None) -> Row:
    """Raises BadRow at `place`, with the rest of the `pair`, if the file has no such id."""
    index = self._find(identity)
    if index is None:
      raise NotThere(place, f"an id is not in {self.path.name}", repr(identity)).of(self.what, identity, pair)
    self.file.seek(self.offsets[index])
    return _document(place, _parse(place, self.file.readline()))

  def _find(self, identity: str) -> int | None:
    hashed = np.uint64(_hash_id(identity))
    index = int(np.searchsorted(self.hashes, hashed))
    return index if index < len(self.hashes) and self.hashes[index] == hashed else None


def _hash_id(identity: str) -> int:
  return int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
