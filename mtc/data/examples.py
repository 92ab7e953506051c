"""The kinds of task: which fields of a row are the texts, and how rows become examples."""

from collections import Counter
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
from decimal import Decimal
from typing import Any, ClassVar, Protocol, TypedDict

from mtc.data.bad_rows import BadRow, must_stop, stop
from mtc.data.sources import Row, Rows, check_characters, got, language_of, there

_MOST = 256  # labels, or negatives, of a row
_LARGEST = 1e30  # grade


class Example(TypedDict):
  """One row in the common form of all kinds."""

  anchor: str  # of a grouped or a single kind: the text
  positive: str | None  # None = grouped: any text that shares a label; or single: there is none
  negatives: list[str]
  score: float | None  # Scored: 0..1. Pairs: the row's grade, if it has one
  labels: list[str]
  anchor_id: str  # "" = none
  positive_id: str  # "" = none
  language: str  # "" = not said


class Kind(Protocol):
  """What a task's `examples` must be."""

  grouped: ClassVar[bool]  # the positive is drawn among the examples that share a label
  single: ClassVar[bool]  # an example is one text, without a positive
  scored: ClassVar[bool]  # the score is what is learnt

  def parse(self, place: str, row: Row) -> Example:
    """Raises BadRow if the row cannot be used."""
    ...


@dataclasses.dataclass
class Pairs:
  """A text and the text that belongs to it, with hard negatives where there are any.

  Fields `anchor_id`, `positive_id`, `language` and `score` (a grade) of the row are used if they are there. A grade of
  0 or less says that the texts do not belong together: such a row is no training pair.

  Attributes:
    anchor, positive: names of the fields.
    negatives: name of the field with a string or a list of strings; "" = no hard negatives. A row may lack it.
    max_negatives: how many to take of each row, from the front; 0 = all.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  anchor: str = "anchor"
  positive: str = "positive"
  negatives: str = ""
  max_negatives: int = 0

  def parse(self, place: str, row: Row) -> Example:
    negatives = row.get(self.negatives) if self.negatives else None
    if isinstance(negatives, str):
      negatives = [negatives]
    if not isinstance(negatives, list | tuple | None):
      raise BadRow(place, f"field {self.negatives!r} is not a list of strings", got(negatives))
    negatives = (negatives or ())[: self.max_negatives or None]
    _check_count(place, self.negatives, negatives)
    grade = row.get("score")
    grade = float(grade) if isinstance(grade, Decimal) else grade  # of Parquet
    if grade is not None and not (isinstance(grade, int | float) and abs(grade) < _LARGEST):  # not so of NaN
      raise BadRow(place, "field 'score' is not a finite number", got(grade))
    return Example(
      anchor=_text(place, row, self.anchor),
      positive=_text(place, row, self.positive),
      negatives=[_checked_text(place, self.negatives, text) for text in negatives],
      score=None if grade is None else float(grade),
      labels=[],
      anchor_id=_identity(place, row, "anchor_id"),
      positive_id=_identity(place, row, "positive_id"),
      language=language_of(place, row),
    )


@dataclasses.dataclass
class SameLabel:
  """Texts that belong together when they share a label; field `labels` is one label or a list of them.

  Fields `id` and `language` of the row are used if they are there.
  """

  grouped: ClassVar[bool] = True
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  text: str = "text"
  labels: str = "labels"

  def parse(self, place: str, row: Row) -> Example:
    return _without_positive(
      text=_text(place, row, self.text),
      labels=_labels(place, row, self.labels),
      identity=_identity(place, row, "id"),
      language=language_of(place, row),
    )


@dataclasses.dataclass
class Texts:
  """Single texts, each encoded once: what a task learns from them comes from a teacher, not from labels or pairs.

  Its losses are EmbeddingDistillation and SimilarityDistillation. Fields `id` and `language` of the row are used if
  they are there.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = True
  scored: ClassVar[bool] = False
  text: str = "text"

  def parse(self, place: str, row: Row) -> Example:
    return _without_positive(
      text=_text(place, row, self.text),
      labels=[],
      identity=_identity(place, row, "id"),
      language=language_of(place, row),
    )


@dataclasses.dataclass
class Crops:
  """Texts without labels: the first and the last part of each are a pair.

  Words are what spaces separate; a text with fewer than `least` of them, as where no spaces are written, is cut between
  characters. Example: with share=0.6, the ten words a b c d e f g h i j give the anchor a b c d e f and the positive
  e f g h i j.

  Reference: independent cropping of arXiv 2112.09118, section 3.2, with one fixed pair of crops for each text.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  text: str = "text"
  share: float = 0.6  # of the words, in each part
  least: int = 6  # words, or else characters; shorter texts are bad rows

  def parse(self, place: str, row: Row) -> Example:
    if not 0 < self.share <= 1:
      raise ValueError(f"share={self.share} of Crops is not in (0, 1]; 0.6 lets the parts overlap by a fifth")
    text = _text(place, row, self.text)
    parts, glue = text.split(), " "
    if len(parts) < self.least:
      parts, glue = list(" ".join(parts)), ""
    if len(parts) < self.least:
      raise BadRow(place, f"field {self.text!r} is too short for two parts", f"{len(parts)} < least={self.least}")
    size = max(1, round(self.share * len(parts)))
    return Example(
      anchor=glue.join(parts[:size]),
      positive=glue.join(parts[-size:]),
      negatives=[],
      score=None,
      labels=[],
      anchor_id="",
      positive_id="",
      language=language_of(place, row),
    )


@dataclasses.dataclass
class Scored:
  """Two texts and how similar they are; a score in `range` is brought to 0..1."""

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = True
  a: str = "text_a"
  b: str = "text_b"
  score: str = "score"
  range: tuple[float, float] = (0.0, 5.0)

  def parse(self, place: str, row: Row) -> Example:
    low, high = self.range
    if not low < high:
      raise ValueError(f"range={self.range!r} of Scored is empty; the lower bound comes first, as in (0.0, 5.0)")
    score = _field(place, row, self.score)
    if isinstance(score, bool) or not isinstance(score, int | float):
      raise BadRow(place, f"field {self.score!r} is not a number", got(score))
    if not low <= score <= high:  # true for NaN
      raise BadRow(place, f"field {self.score!r} is outside {low}..{high}", f"{got(score)}; Scored(range=...) sets it")
    return Example(
      anchor=_text(place, row, self.a),
      positive=_text(place, row, self.b),
      negatives=[],
      score=(score - low) / (high - low),
      labels=[],
      anchor_id="",
      positive_id="",
      language=language_of(place, row),
    )


@dataclasses.dataclass
class Translations:
  """Texts that say the same in other languages: rows with one `id` belong together."""

  grouped: ClassVar[bool] = True
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  id: str = "id"
  text: str = "text"
  language: str = "language"

  def parse(self, place: str, row: Row) -> Example:
    identity = _named(place, row, self.id)
    return _without_positive(
      text=_text(place, row, self.text),
      labels=[identity],
      identity="",  # it is the label already
      language=_text(place, row, self.language),
    )


def read(
  source: Rows, split: str, examples: Kind, on_bad_row: str = "stop", skipped: Counter[str] | None = None
) -> Iterator[Example]:
  """Yields the examples of a split, one by one; those of `read_judged` whose grade is not 0 or less.

  Args:
    source: where the rows are.
    split: which of them.
    examples: the kind of task.
    on_bad_row: "stop" raises BadRow at the first row that cannot be used, "skip" goes on without it.
    skipped: counts the rows left out, by reason.
  """
  skipped = Counter() if skipped is None else skipped

  def skip(bad: BadRow) -> None:
    skipped[bad.reason] += 1

  for example in read_judged(source, split, examples, stop if must_stop(on_bad_row) else skip):
    if examples.scored or belong(example):
      yield example
    else:
      skipped["a grade of 0 or less"] += 1


def belong(example: Example) -> bool:
  """Whether the texts of a row of pairs belong together: it has no grade, or one above 0."""
  return example["score"] is None or example["score"] > 0


def read_judged(source: Rows, split: str, examples: Kind, on_bad: Callable[[BadRow], None] = stop) -> Iterator[Example]:
  """Yields all examples of a split, one by one, also the pairs of which a grade says that they belong not together.

  It is for who searches among their texts; what is trained is read by `read`.

  Args:
    source: where the rows are.
    split: which of them.
    examples: the kind of task.
    on_bad: called with each row that cannot be used, which is then passed over: `Skipped` counts them.
  """
  for place, row in source.rows(split, on_bad):
    try:
      example = examples.parse(place, row)
    except BadRow as bad:
      on_bad(_half(bad, row, examples) if isinstance(examples, Pairs) else bad)
    else:
      yield example


def documents(source: Rows, on_bad: Callable[[BadRow], None] = stop) -> dict[str, Row]:
  """The documents of a search, by their id; where two have one, the first, as in its pairs.

  Args:
    source: rows with the split `corpus`.
    on_bad: as of `read_judged`.

  Raises:
    BadRow: a document has no id or no text.
  """
  found: dict[str, Row] = {}
  for place, row in source.rows("corpus", lambda bad: on_bad(bad.of("document", bad.identity))):
    try:
      identity = _named(place, row, "id")
      _text(place, row, "text")  # is there, and is one
    except BadRow as bad:
      on_bad(bad.of("document", row.get("id")))
    else:
      found.setdefault(identity, row)
  return found


def _half(bad: BadRow, row: Row, pairs: Pairs) -> BadRow:
  """Says of a bad pair whether one of its texts is its only fault, and what is left: that judges a document still."""
  for what, field, role in (("query", pairs.anchor, "anchor"), ("document", pairs.positive, "positive")):
    with contextlib.suppress(BadRow):
      left = dict(pairs.parse(bad.place, row | {field: "text"}))
      identity = left[f"{role}_id"]
      return bad.of(what, identity, left | {role: "", f"{role}_id": identity or bad.place})
  return bad


def _without_positive(text: str, labels: list[str], identity: str, language: str) -> Example:
  return Example(
    anchor=text,
    positive=None,
    negatives=[],
    score=None,
    labels=labels,
    anchor_id=identity,
    positive_id="",
    language=language,
  )


def _field(place: str, row: Row, name: str) -> Any:
  if row.get(name) is None:
    raise BadRow(place, f"field {name!r} is missing", there(row))
  return row[name]


def _text(place: str, row: Row, name: str) -> str:
  return _checked_text(place, name, _field(place, row, name))


def _checked_text(place: str, name: str, text: Any) -> str:
  if not isinstance(text, str):
    raise BadRow(place, f"field {name!r} is not a string", got(text))
  if not text.strip():
    raise BadRow(place, f"field {name!r} is empty")
  check_characters(place, name, text)
  return text


def _labels(place: str, row: Row, name: str) -> list[str]:
  value = _field(place, row, name)
  labels = []
  _check_count(place, name, value)
  for label in value if isinstance(value, list | tuple) else [value]:
    if isinstance(label, int) and not isinstance(label, bool):
      label = str(label)
    labels.append(_checked_text(place, name, label))
  if not labels:
    raise BadRow(place, f"field {name!r} has no label")
  return list(dict.fromkeys(labels))


def _check_count(place: str, name: str, values: Any) -> None:
  """Every example gets as much room on disk as the one with the most."""
  if isinstance(values, list | tuple) and len(values) > _MOST:
    raise BadRow(place, f"field {name!r} has more than {_MOST} entries", f"{len(values)} of them")


def _named(place: str, row: Row, name: str) -> str:
  """An identity that must be there."""
  if not (identity := _identity(place, row, name)):
    raise BadRow(place, f"field {name!r} is missing", there(row))
  return identity


def _identity(place: str, row: Row, name: str) -> str:
  value = row.get(name)
  if value is None:
    return ""
  if isinstance(value, bool) or not isinstance(value, str | int):
    raise BadRow(place, f"field {name!r} is not a string or a whole number", got(value))
  check_characters(place, name, str(value))
  return str(value)
