"""The texts of one file, in order."""

from collections.abc import Iterator
from pathlib import Path

from mtc.data import fields
from mtc.data.bad_rows import BadRow
from mtc.data.files import all_lines
from mtc.data.sources import Jsonl, Parquet


def read_texts(path: Path, field_name: str) -> Iterator[str]:
  """The texts of a file: a field of JSONL (also .gz) or Parquet, or the lines of a .txt.

  Raises:
    ValueError: the file is of another kind, or a row has no such text; names file, line and reason.
  """
  if not path.is_file():
    raise FileNotFoundError(f"{path} is not a file")
  files = {"all": path.name}
  if path.suffix == ".txt":
    for number, _, line in all_lines(path):
      try:
        yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
      except UnicodeDecodeError as error:
        raise ValueError(f"{path}:{number} is not UTF-8 ({error}); convert it") from error
    return
  if path.suffix == ".parquet":
    source = Parquet(str(path.parent), files)
  elif path.name.endswith((".jsonl", ".jsonl.gz")):
    source = Jsonl(str(path.parent), files)
  else:
    raise ValueError(f"{path} is of an unknown kind; use .jsonl, .jsonl.gz, .parquet or .txt")
  for place, row in source.rows("all"):
    try:
      text = fields.string(place, field_name, fields.required(place, row, field_name))
    except BadRow as bad:
      raise ValueError(
        f"{place}: {bad.reason} ({bad.detail}); correct the row, or name another field with --field"
      ) from bad
    try:
      text.encode()
    except UnicodeEncodeError as error:  # JSON can hold it, and no tokenizer takes it
      raise ValueError(f"{place}: field {field_name!r} has half a surrogate pair; mend the row") from error
    yield text
