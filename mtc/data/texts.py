"""The texts of one file, in order."""

from collections.abc import Iterator
from pathlib import Path

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
    try:
      with open(path, encoding="utf-8") as lines:
        yield from (line.rstrip("\r\n") for line in lines)
    except UnicodeDecodeError as error:
      raise ValueError(f"{path} is not UTF-8 ({error}); convert it") from error
    return
  if path.suffix == ".parquet":
    source = Parquet(str(path.parent), files)
  elif path.name.endswith((".jsonl", ".jsonl.gz")):
    source = Jsonl(str(path.parent), files)
  else:
    raise ValueError(f"{path} is of an unknown kind; use .jsonl, .jsonl.gz, .parquet or .txt")
  for place, row in source.rows("all"):
    text = row.get(field_name)
    if not isinstance(text, str):
      raise ValueError(
        f"{place}: no text in field {field_name!r}; the row has {', '.join(map(repr, row)) or 'no field'}; see --field"
      )
    try:
      text.encode()
    except UnicodeEncodeError as error:  # JSON can hold it, and no tokenizer takes it
      raise ValueError(f"{place}: field {field_name!r} has half a surrogate pair; mend the row") from error
    yield text
