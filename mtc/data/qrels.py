"""The judgements of a search: which document answers which query, a line each."""

from collections.abc import Callable
import csv
import math

from mtc.data.bad_rows import BadRow


def judgement(place: str, first: bool, line: bytes, known: Callable[[str], bool]) -> tuple[str, str, float] | None:
  """The query's id, the document's id and the grade of a line; None for a header and for a grade that is not positive.

  A line has three columns separated by tabs, as BEIR has them, or the four of TREC (query, iteration, document, grade),
  separated by any white space. A cell may be in double quotes. Ids are what is between tabs, with its spaces. The first
  line is a header where its grade is not a number and its first cell not the id of a query.

  Args:
    place: of the line, for messages.
    first: whether it is the first line of its file that is not blank.
    line: as it is in the file.
    known: whether a query has an id.

  Raises:
    BadRow: the line is not a judgement.
  """
  try:
    text = line.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
  except UnicodeDecodeError as error:
    raise BadRow(place, "not UTF-8", f"byte {error.start + 1} of the line") from error
  try:
    cells = _cells(text, "\t") if "\t" in text else []
    if len(cells) not in (3, 4):
      cells = _cells(" ".join(text.split()), " ")
      cells = cells if len(cells) == 4 else []
  except csv.Error as error:
    raise BadRow(place, "broken quotes", str(error)) from error
  if not cells:
    shown = text if len(text) <= 60 else text[:57] + "..."
    raise BadRow(place, "not three columns separated by tabs, and not the four of TREC", repr(shown))
  query, document, grade = cells[0], cells[-2], cells[-1]
  try:
    value = float(grade)
  except ValueError:
    if first and not known(query):
      return None
    value = math.nan
  if not math.isfinite(value):
    raise BadRow(place, "the grade is not a number", repr(grade))
  return (query, document, value) if value > 0 else None


def _cells(text: str, delimiter: str) -> list[str]:
  return next(csv.reader([text], delimiter=delimiter, strict=True))
