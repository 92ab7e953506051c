"""What a caller gives as texts becomes a list of strings in its order, or is refused with the place of the fault."""

import collections
import enum
import math
import pathlib

import numpy as np
import pyarrow as pa
import pytest

from mtc.data import as_texts


class Shouting(str):
  """A string that prints itself, and joins itself to others, in another way."""

  def __str__(self):
    return "LOUD"

  def __radd__(self, other):
    return "LOUD"


class Colour(enum.StrEnum):
  RED = "red"


class FromOne:
  """A sequence whose first index is 1, and which has no __iter__."""

  def __getitem__(self, index):
    if index > 2:
      raise IndexError(index)
    return ("a", "b", "ü")[index]


class Series:
  """A column as pandas has it: `series[i]` is the row with the label i, and slices are by position."""

  ndim = 1

  def __init__(self, labels, values):
    self.rows = dict(zip(labels, values, strict=True))

  def __len__(self):
    return len(self.rows)

  def __iter__(self):
    return iter(self.rows.values())

  def __getitem__(self, label):
    return self.rows[label]


TAKEN = {
  "a list": ["a", "b", "ü"],
  "a tuple": ("a", "b", "ü"),
  "a generator": (text for text in ("a", "b", "ü")),
  "an iterator": iter(["a", "b", "ü"]),
  "a map": map(str.lower, ["A", "B", "Ü"]),
  "a deque": collections.deque(["a", "b", "ü"]),
  "the keys of a dict": {"a": 1, "b": 2, "ü": 3}.keys(),
  "the values of a dict": {1: "a", 2: "b", 0: "ü"}.values(),
  "an array": np.array(["a", "b", "ü"]),
  "an array of objects": np.array(["a", "b", "ü"], object),
  "an array of NumPy's strings": np.array(["a", "b", "ü"], np.dtypes.StringDType()),
  "an array with gaps": np.array(["a", "x", "b", "x", "ü"])[::2],
  "NumPy's strings": [np.str_("a"), np.str_("b"), np.str_("ü")],
  "an Arrow array": pa.array(["a", "b", "ü"]),
  "an Arrow array in chunks": pa.chunked_array([["a"], ["b", "ü"]]),
  "an Arrow dictionary": pa.array(["a", "b", "ü"]).dictionary_encode(),
  "a column with other labels": Series([7, 0, 3], ["a", "b", "ü"]),
  "a sequence without __iter__": FromOne(),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_has_an_order_is_taken(name):
  found = as_texts(TAKEN[name])
  assert found == ["a", "b", "ü"] and {type(text) for text in found} == {str}


def test_empty_and_odd_strings_are_taken():
  odd = ["", " ", "a\0b", "\ufeff", "\U0001f600", "\uffff", "a" * 10**6]
  assert as_texts(odd) == odd and as_texts([]) == as_texts(iter(())) == as_texts(np.array([], str)) == []
  assert as_texts([Shouting("quiet"), Colour.RED]) == ["quiet", "red"]


ENTRIES = {
  "None": (None, "texts[1] is None; expected a string"),
  "NaN": (math.nan, "texts[1] is nan (float); expected a string"),
  "NumPy's NaN": (np.float64("nan"), "(float64); expected a string"),
  "a number": (7, "texts[1] is 7 (int); expected a string"),
  "true": (True, "texts[1] is True (bool); expected a string"),
  "bytes": (b"a", "texts[1] is b'a' (bytes); expected a string (decode it)"),
  "NumPy's bytes": (np.bytes_(b"a"), "(bytes_); expected a string (decode it)"),
  "a list": (["a", "b"], "texts[1] is ['a', 'b'] (list); expected a string"),
  "a pair": (("a", "b"), "texts[1] is ('a', 'b') (tuple); expected a string"),
  "a dict": ({"text": "a"}, "texts[1] is {'text': 'a'} (dict); expected a string"),
  "a path": (pathlib.PurePosixPath("a"), "(PurePosixPath); expected a string"),
  "an Arrow scalar": (pa.scalar("a"), "(StringScalar); expected a string"),
  "an array": (np.zeros((100, 100)), "(ndarray); expected a string"),
  "half a surrogate pair": ("é\ud83d", "texts[1] is 'é\\ud83d', whose character 2 is half a surrogate pair; expected"),
  "the other half first": ("\ude00\ud83d", "whose character 1 is half a surrogate pair"),
  "half a pair in NumPy's string": (np.str_("\udfff"), "whose character 1 is half a surrogate pair"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_first_entry_that_is_no_string_is_named(name):
  entry, words = ENTRIES[name]
  for texts in (["a", entry, None], iter(["a", entry]), Series([5, 1], ["a", entry])):
    with pytest.raises(ValueError) as refused:
      as_texts(texts)
    assert words in str(refused.value) and "texts[1] is" in str(refused.value) and len(str(refused.value)) < 300
  with pytest.raises(ValueError, match=r"^batch\[0\] is "):
    as_texts((entry,), "batch")


WHOLES = {
  "a string": ("a text", "texts is the str 'a text'; expected a list of strings: [text] for one text"),
  "NumPy's string": (np.str_("a"), "texts is the str_"),
  "bytes": (b"a text", "texts is the bytes b'a text'; expected a list"),
  "None": (None, "texts is None; expected a list of strings"),
  "a number": (3, "texts is 3; expected a list of strings"),
  "a path": (pathlib.PurePosixPath("a"), "expected a list of strings"),
  "a set": ({"a"}, "texts is a set, which has no order; expected a list of strings, such as sorted(texts)"),
  "a frozen set": (frozenset("a"), "which has no order"),
  "a dict": ({"a": "b"}, "texts is a dict; expected a list of strings, such as list(texts.values())"),
  "a counter": (collections.Counter("a"), "texts is a Counter"),
  "an array of one string": (np.array("a"), "texts is a ndarray of 0 dimensions; expected a list of strings"),
  "an array of pairs": (np.array([["a", "b"]]), "texts is a ndarray of 2 dimensions"),
  "an Arrow table": (pa.table({"text": ["a"]}), "texts[0] is {'text': 'a'} (dict); expected a string"),
  "an Arrow array with a gap": (pa.array(["a", None]), "texts[1] is None; expected a string"),
  "numbers": (np.arange(3), "(int64); expected a string"),
}


@pytest.mark.parametrize("name", WHOLES)
def test_what_is_no_list_of_strings_is_refused_in_words(name):
  texts, words = WHOLES[name]
  with pytest.raises(ValueError) as refused:
    as_texts(texts)
  assert words in str(refused.value)
