"""Where rows come from: JSONL, BEIR folders, Parquet, TFDS, memory. A row is a dict, its place a name for messages."""

from array import array
from collections.abc import Callable, Iterator
import dataclasses
import hashlib
import json
import math
from pathlib import Path
import re
import reprlib
import shutil
import tempfile
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from mtc.data import tfds_rows
from mtc.data.files import InFiles, hash_files, lines, listing, open_file, split_files, splits

Row = dict[str, Any]


class BadRow(ValueError):
  """A row that cannot be used: where it is, why (`reason`, equal for equal faults), and what to do."""

  def __init__(self, place: str, reason: str, detail: str = ""):
    self.place, self.reason, self.detail = place, reason, detail
    super().__init__(
      f'{place}: {reason}{f" ({detail})" if detail else ""}; mend the row, or skip such rows with on_bad_row="skip"'
    )


def stop(bad: BadRow) -> None:
  """The default treatment of a row that cannot be read."""
  raise bad


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


class Source(Protocol):
  """What a task names in its config."""

  def resolve(self, data_dir: str) -> Rows:
    """Finds the rows; only `Folder` and `Text` look at `data_dir`."""
    ...


@dataclasses.dataclass
class Jsonl(InFiles):
  """One JSON object a line, `SPLIT.jsonl` or `SPLIT.jsonl.gz` in a directory.

  Attributes:
    path: the directory.
    files: split -> file name or glob relative to `path`, where the names are not the usual ones.
  """

  path: str
  files: dict[str, str] = dataclasses.field(default_factory=dict)

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
class Parquet(InFiles):
  """A row a row, `SPLIT.parquet` or `SPLIT-00000-of-00004.parquet` in a directory; `files` as in `Jsonl`."""

  path: str
  files: dict[str, str] = dataclasses.field(default_factory=dict)

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
class Text:
  """A text a line, in the files `*.txt` and `*.txt.gz` of a directory; they are the split `train`.

  Attributes:
    path: the directory, in the data directory of the run where it is relative.
    language: of all lines; "" = as the files are named, up to the first dot: `de.txt.gz` is de.
  """

  path: str
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
    found = sorted(entry for suffix in _TEXT for entry in Path(self.path).glob(f"*{suffix}"))
    if not found:
      raise FileNotFoundError(f"{self.path} has no .txt or .txt.gz; {listing(Path(self.path))}; correct the path")
    return found


@dataclasses.dataclass
class Beir(InFiles):
  """The BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`, each possibly with `.gz`.

  A row of a split is a pair of a query and a document of grade > 0: `anchor`, `positive`, `anchor_id`, `positive_id`,
  `score` (the grade) and `language` (the query's). A row of the split `corpus` is a document: `id`, `text`, `language`.
  """

  path: str

  def resolve(self, data_dir: str) -> "Beir":
    return self

  def splits(self) -> list[str]:
    qrels = (Path(self.path) / "qrels").glob("*.tsv*")
    return [*sorted({file.name.removesuffix(".gz").removesuffix(".tsv") for file in qrels}), "corpus"]

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    if split == "corpus":
      corpus = self._file("corpus.jsonl")
      for number, _, row in _json_lines(corpus, on_bad):
        place = f"{corpus}:{number}"
        try:
          document = _document(place, row)
        except BadRow as bad:
          on_bad(bad)
        else:
          yield place, document
      return
    qrels = self._file(f"qrels/{split}.tsv")
    with _ById(self._file("queries.jsonl"), on_bad) as queries, _ById(self._file("corpus.jsonl"), on_bad) as corpus:
      for number, _, line in lines(qrels):
        place = f"{qrels}:{number}"
        try:
          judged = _judgement(place, number, line)
          if judged is None:
            continue
          query, document = queries.get(judged[0], place), corpus.get(judged[1], place)
        except BadRow as bad:
          on_bad(bad)
          continue
        yield (
          place,
          {
            "anchor": query["text"],
            "positive": document["text"],
            "anchor_id": query["id"],
            "positive_id": document["id"],
            "score": judged[2],
            "language": query["language"],
          },
        )

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
class Tfds:
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
class InMemory:
  """Rows given as lists of dicts, by split."""

  rows_by_split: dict[str, list[Row]]

  def resolve(self, data_dir: str) -> "InMemory":
    return self

  def splits(self) -> list[str]:
    return list(self.rows_by_split)

  def rows(self, split: str, on_bad: Callable[[BadRow], None] = stop) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(self._rows(split), 1):
      if isinstance(row, dict):
        yield f"InMemory[{split!r}]:{number}", row
      else:
        on_bad(BadRow(f"InMemory[{split!r}]:{number}", "not an object", f"a {type(row).__name__}"))

  def files_of(self, split: str) -> list[Path]:
    return []

  def fingerprint(self, split: str) -> str:
    return hashlib.sha256(json.dumps(self._rows(split), sort_keys=True, default=repr).encode()).hexdigest()

  def _rows(self, split: str) -> list[Row]:
    if split not in self.rows_by_split:
      raise ValueError(f"no split {split!r} in memory; there is {', '.join(self.rows_by_split) or 'nothing'}")
    return self.rows_by_split[split]


@dataclasses.dataclass
class Folder:
  """A task's folder in the data directory of the run, or, without one, the built-in dataset of that name.

  The folder holds SPLIT.jsonl (or .jsonl.gz), SPLIT.parquet, the BEIR layout, or a prepared TFDS dataset.
  """

  name: str

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
    raise BadRow(place, "not an object", f"a {type(row).__name__}, expected {{...}}")
  return row


def _document(place: str, row: Row) -> Row:
  identity, title, text = row.get("_id"), row.get("title") or "", row.get("text")
  if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
    raise BadRow(place, "field '_id' is missing or not a string", got(identity))
  if not isinstance(text, str) or not isinstance(title, str):
    raise BadRow(place, "field 'text' is missing or not a string", there(row))
  text = f"{title} {text}".strip()
  if not text:
    raise BadRow(place, "field 'text' is empty")
  for name, value in ("_id", str(identity)), ("text", text):
    check_characters(place, name, value)
  return {"id": str(identity), "text": text, "language": language_of(place, row)}


def _judgement(place: str, number: int, line: bytes) -> tuple[str, str, float] | None:
  """(query id, document id, grade) of a line of qrels, or None for the header and for a grade that is not positive."""
  try:
    cells = line.decode("utf-8-sig").strip("\r\n").split("\t")
  except UnicodeDecodeError as error:
    raise BadRow(place, "not UTF-8", f"byte {error.start + 1} of the line") from error
  if len(cells) != 3:
    raise BadRow(place, "not three columns separated by tabs", f"{len(cells)} columns")
  try:
    grade = float(cells[2])
  except ValueError as error:
    if number == 1:
      return None
    raise BadRow(place, "the grade is not a number", repr(cells[2])) from error
  if not math.isfinite(grade):
    raise BadRow(place, "the grade is not a number", repr(cells[2]))
  return (cells[0].strip(), cells[1].strip(), grade) if grade > 0 else None


def check_characters(place: str, name: str, text: str) -> None:
  """Raises BadRow for what JSON can hold and no text does: NUL, and half a surrogate pair."""
  if "\0" in text:
    raise BadRow(place, f"field {name!r} has a NUL character", f"character {text.index(chr(0)) + 1}")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise BadRow(place, f"field {name!r} has half a surrogate pair", f"character {error.start + 1}") from error


def language_of(place: str, row: Row) -> str:
  """The row's language; "" = it says none. Scores are reported by it, so it must be a name."""
  language = row.get("language")
  if not isinstance(language, str):
    return ""
  if len(language) > _LANGUAGE or not language.isprintable():  # half a surrogate pair is not printable either
    raise BadRow(place, "field 'language' is no name of a language", got(language))
  return language


def got(value: Any) -> str:
  """What a message shows of a value, however large or deep it is."""
  shown = _SHOWN.repr(value)
  return f"got {shown if len(shown) <= 60 else shown[:57] + '...'}"


def there(row: Row) -> str:
  """What a message shows of a row's fields."""
  names = ", ".join(str(name)[:40] for name in list(row)[:20])
  return f"the row has {names or 'no field'}{' ...' if len(row) > 20 else ''}"


_LANGUAGE = 64  # characters
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 100


class _ById:
  """Documents of a JSONL file by their `_id`: holds hashes and offsets (24 bytes a row), reads the text when asked."""

  def __init__(self, path: Path, on_bad: Callable[[BadRow], None]):
    self.path = path
    hashes, offsets, numbers = array("Q"), array("q"), array("q")
    for number, offset, row in _json_lines(path, on_bad):
      try:
        document = _document(f"{path}:{number}", row)
      except BadRow as bad:
        on_bad(bad)
      else:
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
      on_bad(BadRow(f"{path}:{number}", "the '_id' is there twice", "the first one is kept"))

  def __enter__(self) -> "_ById":
    self.file = open_file(self.path)
    if self.path.suffix == ".gz":  # seeking in a gzip file unpacks it from the start each time
      packed, self.file = self.file, cast(BinaryIO, tempfile.TemporaryFile())
      with packed:
        shutil.copyfileobj(packed, self.file)
    return self

  def __exit__(self, *unused) -> None:
    self.file.close()

  def get(self, identity: str, place: str) -> Row:
    """Raises BadRow at `place` if the file has no such id."""
    index = int(np.searchsorted(self.hashes, np.uint64(_hash_id(identity))))
    if index == len(self.hashes) or self.hashes[index] != _hash_id(identity):
      raise BadRow(place, f"an id is not in {self.path.name}", repr(identity))
    self.file.seek(self.offsets[index])
    return _document(place, _parse(place, self.file.readline()))


def _hash_id(identity: str) -> int:
  return int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
