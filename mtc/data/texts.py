"""The texts of one file, in order; or of many files and directories, by group."""

from collections.abc import Iterator, Sequence
import contextlib
import os
from pathlib import Path

from absl import logging

from mtc.data import fields
from mtc.data.bad_rows import BadRow
from mtc.data.fields import Row
from mtc.data.files import all_lines, listing
from mtc.data.sources import Folder, Jsonl, Parquet, Rows, Text

_LINES = (".txt", ".txt.gz")
_ROWS = (".jsonl", ".jsonl.gz", ".parquet")
_FOLDER = (*_ROWS, "qrels", "dataset_info.json")  # ends of the names by which a directory is one that `Folder` reads


def count_texts(path: Path, field_name: str) -> int:
  """The number of texts of a file, at least one, all of which can be read.

  Raises:
    ValueError: as of `read_texts`, or there is no text.
  """
  if count := sum(1 for _ in read_texts(path, field_name)):
    return count
  raise ValueError(f"{path} holds no text; expected one or more")


def read_texts(path: Path, field_name: str) -> Iterator[str]:
  """The texts of a file: a field of JSONL or Parquet, or the lines of a .txt; JSONL and .txt may have .gz too.

  Raises:
    ValueError: the file is of another kind, or a row has no such text; names file, line and reason.
  """
  if not path.is_file():
    raise FileNotFoundError(f"{path} is not a file")
  if path.name.endswith(_LINES):
    for number, _, line in all_lines(path):
      try:
        yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
      except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{number} is not UTF-8 ({error}); convert it") from error
    return
  with _named("fix the row, or name another field with --field or in Vectors(...)"):
    for place, row in _of_file(path).rows("train"):
      yield _encodable(place, field_name, fields.string(place, field_name, fields.required(place, row, field_name)))


def read_groups(source: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
  """Yields (group, text) of a file or of all that a directory holds; blank texts are left out.

  A file is .txt, .jsonl or .parquet; .txt and .jsonl may have .gz too. A directory holds such lines (*.txt), or a
  training split as `Folder` and `Beir` have it, of which only that is read, or it holds such directories.

  The group of a text is the one of the source, else its row's `language`, else the name of its file up to the first
  dot (lines) or of its directory (rows).

  Args:
    source: a path, or GROUP=PATH.
    names: fields of rows; a row has a text in one of them or more.

  Raises:
    FileNotFoundError: there is no such path, or no data in it.
    ValueError: a file is of another kind, or a row has no text; names file, line and reason.
  """
  group, _, path = ("", "", source) if os.path.exists(source) else source.rpartition("=")
  if not path:
    raise ValueError(f"{source!r} names no file or directory of texts; use a path, or GROUP=PATH")
  found = list(_found(Path(path).absolute(), set()))
  if not found:
    raise FileNotFoundError(f"{path} holds no texts; {listing(Path(path))}; name a directory of .txt or .jsonl files")
  for name, rows in found:
    if "train" not in rows.splits() and len(found) > 1:
      logging.warning("%s: left out, it has no split train", rows)
      continue
    with _named("fix the row"):
      for place, row in rows.rows("train"):
        spoken = group or fields.language(place, row) or name
        for text in _texts(place, row, names):
          yield spoken, text


@contextlib.contextmanager
def _named(remedy: str) -> Iterator[None]:
  """Raises ValueError with this remedy for a bad row: where texts are read, no row can be skipped."""
  try:
    yield
  except BadRow as bad:
    detail = f" ({bad.detail})" if bad.detail else ""
    raise ValueError(f"{bad.place}: {bad.reason}{detail}; {remedy}") from bad


def _texts(place: str, row: Row, names: Sequence[str]) -> Iterator[str]:
  texts = {name: fields.plain(fields.optional(row, name)) for name in names}
  texts = {name: text for name, text in texts.items() if isinstance(text, str)}
  if not texts:
    raise ValueError(f"{place}: no text in the fields {', '.join(names)}; {fields.there(row)}; see --field")
  for name, text in texts.items():
    if text.strip():
      yield _encodable(place, name, text)


def _found(path: Path, seen: set[str]) -> Iterator[tuple[str, Rows]]:
  """(name, rows) of what is in a path."""
  if path.is_file():
    yield path.name.split(".")[0], _of_file(path)
    return
  if not path.is_dir():
    raise FileNotFoundError(f"{path} does not exist; name a file or a directory of texts")
  if (real := os.path.realpath(path)) in seen:
    return  # a link to what is above it
  seen.add(real)
  entries = sorted(path.iterdir())
  if any(entry.name.endswith(_LINES) for entry in entries):
    yield path.name, Text(str(path))
  if any(entry.name.removesuffix(".gz").endswith(_FOLDER) for entry in entries):
    yield path.name, Folder(path.name).resolve(str(path.parent))
    return
  for entry in entries:
    if entry.is_dir() and not entry.name.startswith("."):
      yield from _found(entry, seen)


def _of_file(path: Path) -> Rows:
  """The rows of a file, as the split `train`."""
  if path.name.endswith(_LINES):
    return Text(str(path))
  if not path.name.endswith(_ROWS):
    raise ValueError(f"{path} is of an unknown kind; use .jsonl, .jsonl.gz, .parquet, .txt or .txt.gz")
  kind = Parquet if path.suffix == ".parquet" else Jsonl
  return kind(str(path.parent), {"train": path.name})


def _encodable(place: str, name: str, text: str) -> str:
  try:
    text.encode()
  except UnicodeEncodeError as error:  # JSON can hold it, and no tokenizer takes it
    raise ValueError(f"{place}: field {name!r} has half a surrogate pair; fix the row") from error
  return text
