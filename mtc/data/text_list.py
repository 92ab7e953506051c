"""Texts that a caller gives, as a list of strings."""

from collections.abc import Mapping
import reprlib
from typing import Any


def as_texts(texts: Any, name: str = "texts") -> list[str]:
  """The texts in their order, as plain strings: `as_texts(numpy.array(["a", "b"]))` is `["a", "b"]`.

  Args:
    texts: anything that gives strings one after another: a list, an array, a column of a table, a generator.
    name: of `texts`, for messages.

  Raises:
    ValueError: it gives no strings, or has no order; names the first entry that cannot be used.
  """
  expected = "expected a list of strings"
  if isinstance(texts, str | bytes | bytearray):
    raise ValueError(f"{name} is the {type(texts).__name__} {_shown(texts)}; {expected}: [text] for one text")
  if isinstance(texts, Mapping):
    raise ValueError(f"{name} is a {type(texts).__name__}; {expected}, such as list({name}.values())")
  if isinstance(texts, set | frozenset):
    raise ValueError(f"{name} is a {type(texts).__name__}, which has no order; {expected}, such as sorted({name})")
  if getattr(texts, "ndim", 1) != 1:
    remedy = "[text] for one text" if texts.ndim == 0 else "such as one column of it"
    raise ValueError(f"{name} is a {type(texts).__name__} of {texts.ndim} dimensions; {expected}, {remedy}")
  if hasattr(texts, "to_pylist"):  # Arrow's arrays, whose entries are no strings
    texts = texts.to_pylist()
  try:
    entries = iter(texts)
  except TypeError:
    raise ValueError(f"{name} is {_shown(texts)}; {expected}") from None
  usual = (text if type(text) is str and text.isascii() else _checked(text, name, i) for i, text in enumerate(entries))
  return list(usual)


def _checked(text: Any, name: str, index: int) -> str:
  place = f"{name}[{index}]"
  if not isinstance(text, str):
    kind = "" if text is None else f" ({type(text).__name__})"
    remedy = " (decode it)" if isinstance(text, bytes | bytearray) else ""
    raise ValueError(f"{place} is {_shown(text)}{kind}; expected a string{remedy}")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{place} is {_shown(text)}, whose character {error.start + 1} is half a surrogate pair; expected a string of "
      "whole characters, such as text.encode('utf-8', 'replace').decode()"
    ) from None
  return text if type(text) is str else str.__str__(text)  # a subclass may print itself in another way


def _shown(value: Any) -> str:
  shown = " ".join(_REPR.repr(value).split())
  return shown if len(shown) <= 60 else f"{shown[:57]}..."


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60
