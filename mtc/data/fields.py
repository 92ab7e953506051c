"""The fields of a row as texts, names and numbers, whatever library made the row, and messages about other values.

Every kind of task and every source reads its fields here, so that all of them take the same values:

- A text is a string, or bytes in UTF-8.
- A name (an id, a label, a language) is a string or a whole number: 3, numpy.int64(3), Decimal("3.0") and 3.0 are "3".
- A number is an int or float of Python or NumPy, a Decimal or a Fraction, but not a boolean, nor a string such as "3".
- None, NaN, and NA and NaT of pandas are a missing value.
- A list is a list, a tuple, or an array or series of NumPy, pandas or Arrow, but not a set, which has no order.
"""

from collections.abc import Iterable
from decimal import Decimal
import math
from numbers import Rational, Real
import reprlib
import sys
from typing import Any

import numpy as np

from mtc.data.bad_rows import BadRow

Row = dict[str, Any]
MOST = 256  # labels, or negatives, of a row: every example gets as much room on disk as the one with the most


def text(place: str, row: Row, field: str) -> str:
  """A text that must be there and not be blank; raises BadRow."""
  return check_text(place, field, required(place, row, field))


def texts(place: str, row: Row, field: str, most: int | None = None) -> list[str]:
  """The first `most` texts, or all, of a field that holds one or a list of them, or is missing; raises BadRow."""
  value = plain(optional(row, field, []))
  if not isinstance(value, list | str | bytes):
    raise BadRow(place, f"field {field!r} is not a list of strings", got(row[field]))
  value = value[:most] if isinstance(value, list) else value
  return [check_text(place, field, each, entry) for entry, each in _entries(place, field, value)]


def name(place: str, row: Row, field: str) -> str:
  """An id; "" where it is missing. Raises BadRow."""
  return check_name(place, field, optional(row, field, ""))


def required_name(place: str, row: Row, field: str) -> str:
  """An id that must be there; raises BadRow."""
  if not (found := name(place, row, field)):
    raise _missing(place, row, field)
  return found


def names(place: str, row: Row, field: str) -> list[str]:
  """The labels of a field that holds one or a list of them, each once; raises BadRow."""
  found: dict[str, None] = {}
  for entry, each in _entries(place, field, plain(required(place, row, field))):
    label = check_name(place, field, each, entry)
    if not label.strip():
      raise BadRow(place, f"field {field!r} is empty", _entry(entry))
    found[label] = None
  if not found:
    raise BadRow(place, f"field {field!r} has no label")
  return list(found)


def number(place: str, row: Row, field: str) -> float | None:
  """A number, which may be infinite or NaN; None where it is missing. Raises BadRow."""
  value: Any = plain(row.get(field))
  if value is None:
    return None
  if type(value) is float:
    return value
  if isinstance(value, _NO_NUMBERS) or not isinstance(value, (int, Decimal, Real)):  # the classes that are quick first
    raise BadRow(place, f"field {field!r} is not a number", got(row[field]))
  try:
    return float(value)
  except OverflowError:  # of an int or a Fraction
    return math.inf if abs(value) == value else -math.inf


def required_number(place: str, row: Row, field: str) -> float:
  """A number that must be there; raises BadRow."""
  found = number(place, row, field)
  if found is None:
    raise _missing(place, row, field)
  return found


def language(place: str, row: Row, field: str = "language") -> str:
  """The row's language; "" where it is missing. Scores are reported by it, so it must be a name. Raises BadRow."""
  found = _as_name(place, field, optional(row, field, ""), 0)
  # Half a surrogate pair is not printable either.
  if found and (len(found) > _LANGUAGE or not found.isprintable() or not found.strip()):
    raise BadRow(place, f"field {field!r} is no name of a language", got(row[field]))
  return found


def required_language(place: str, row: Row, field: str) -> str:
  """A language that must be there; raises BadRow."""
  if not (found := language(place, row, field)):
    raise _missing(place, row, field)
  return found


def required(place: str, row: Row, field: str) -> Any:
  """The value of a field as it stands in the row; raises BadRow where it is missing."""
  value = optional(row, field)
  if value is None:
    raise _missing(place, row, field)
  return value


def optional(row: Row, field: str, default: Any = None) -> Any:
  """The value of a field as it stands in the row, or the default where it is missing."""
  value = row.get(field)
  if type(value) is str:
    return value
  value = plain(value)
  return default if value is None or (isinstance(value, float) and math.isnan(value)) else row[field]


def plain(value: Any) -> Any:
  """The value in Python's own types, without what NumPy, pandas, Arrow or TFDS held it in.

  A missing value of pandas or NumPy is None, bytes in UTF-8 are a string, and a tuple, an array or a series is a list,
  whose entries stay as they are. What has no such form, as a date, stays as it is too.
  """
  if value is None or type(value) in _PLAIN:
    return value
  if isinstance(value, str):
    return str.__str__(value)
  if isinstance(value, bytes):
    try:
      return value.decode()
    except UnicodeDecodeError:
      return bytes(value)
  if isinstance(value, list | tuple):
    return list(value)
  if isinstance(value, np.ndarray):
    return list(value) if value.ndim else plain(value[()])
  if isinstance(value, np.datetime64 | np.timedelta64):
    return None if np.isnat(value) else value  # else a number of nanoseconds
  if isinstance(value, np.floating):
    return float(value)
  if isinstance(value, Decimal) and value.is_nan():
    return math.nan
  pandas = sys.modules.get("pandas")  # a row has no pandas value unless pandas was imported
  if pandas is not None and any(value is getattr(pandas, missing, None) for missing in ("NA", "NaT")):
    return None
  for method in ("item",) if isinstance(value, np.generic) else ("as_py", "to_pylist", "tolist", "to_list"):
    if hasattr(value, method) and not isinstance(value, type):
      held = getattr(value, method)()
      return held if type(held) is type(value) else plain(held)
  return value


def all_plain(value: Any) -> Any:
  """`plain` of the value and of all that it holds; the keys of dicts become strings."""
  if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
    return value.tolist()
  value = plain(value)
  if isinstance(value, list):
    return [all_plain(item) for item in value]
  if isinstance(value, dict):
    return {str(plain(key)): all_plain(item) for key, item in value.items()}
  return value


def check_text(place: str, field: str, value: Any, entry: int = 0) -> str:
  """The value as a text; raises BadRow for other types and blank texts. `entry` is its number in a list, from 1."""
  found = string(place, field, value, entry)
  if not found.strip():
    raise BadRow(place, f"field {field!r} is empty", _entry(entry))
  check_characters(place, field, found)
  return found


def check_name(place: str, field: str, value: Any, entry: int = 0) -> str:
  """The value as a name, which may be ""; raises BadRow for other types. `entry` as of `check_text`."""
  found = _as_name(place, field, value, entry)
  check_characters(place, field, found)
  return found


def check_characters(place: str, field: str, text: str) -> None:
  """Raises BadRow for what JSON can hold and no text does: NUL, and half a surrogate pair."""
  if "\0" in text:
    raise BadRow(place, f"field {field!r} has a NUL character", f"character {text.index(chr(0)) + 1}")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise BadRow(place, f"field {field!r} has half a surrogate pair", f"character {error.start + 1}") from error


def string(place: str, field: str, value: Any, entry: int = 0) -> str:
  """The value as a string of any characters; raises BadRow for other types."""
  if type(value) is str:
    return value
  found = plain(value)
  if isinstance(found, bytes):
    raise BadRow(place, f"field {field!r} is not UTF-8", _detail(value, entry))
  if not isinstance(found, str):
    raise BadRow(place, f"field {field!r} is not a string", _detail(value, entry))
  return found


def got(value: Any) -> str:
  """What a message shows of a value, however large or deep it is, and of its type."""
  try:
    shown = _SHOWN.repr(value)
  except ValueError:  # Python writes no whole number of more than 4300 digits
    shown = "a very long number" if isinstance(value, int) else "..."
  shown = shown if len(shown) <= 60 else shown[:57] + "..."
  return f"got {shown}" if value is None else f"got {shown}, {a_kind(value)}"


def a_kind(value: Any) -> str:
  """The type of a value with its article: "an int", "a list"."""
  kind = type(value).__name__
  return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def there(row: Row) -> str:
  """What a message shows of a row's fields."""
  fields = ", ".join(str(field)[:40] for field in list(row)[:20])
  return f"the row has {fields or 'no field'}{' ...' if len(row) > 20 else ''}"


_LANGUAGE = 64  # characters
_EXACT = 2**53  # from here on a float stands for several whole numbers
_DIGITS = 100  # of a whole number that is a name
_PLAIN = frozenset((str, int, float, bool))
_NO_NUMBERS = (bool, np.timedelta64)  # which are ints of Python and NumPy
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 100


def _missing(place: str, row: Row, field: str) -> BadRow:
  return BadRow(place, f"field {field!r} is missing", got(row[field]) if field in row else there(row))


def _entries(place: str, field: str, value: Any) -> Iterable[tuple[int, Any]]:
  """(number, value) of each entry of a list, from 1; (0, value) of a value that stands alone."""
  if not isinstance(value, list):
    return [(0, value)]
  if len(value) > MOST:
    raise BadRow(place, f"field {field!r} has more than {MOST} entries", f"{len(value)} of them")
  return enumerate(value, 1)


def _entry(number: int) -> str:
  return f"entry {number} of the list" if number else ""


def _detail(value: Any, entry: int) -> str:
  return f"{got(value)}, {_entry(entry)}" if entry else got(value)


def _as_name(place: str, field: str, value: Any, entry: int) -> str:
  if type(value) is str:
    return value
  found = plain(value)
  if isinstance(found, str | bytes):
    return string(place, field, value, entry)
  digits = _digits(found)
  if digits is None:
    raise BadRow(place, f"field {field!r} is not a string or a whole number", _detail(value, entry))
  return digits


def _digits(value: Any) -> str | None:
  """A whole number as text, or None for all other values."""
  if isinstance(value, _NO_NUMBERS):
    return None
  if isinstance(value, float):
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else None
  if isinstance(value, Decimal):
    near = value.is_finite() and value.adjusted() < _DIGITS
    return str(int(value)) if near and value == value.to_integral_value() else None
  if not isinstance(value, (int, Rational)) or value.denominator != 1:
    return None
  whole: Any = value
  return str(int(whole)) if abs(whole) < 10**_DIGITS else None
