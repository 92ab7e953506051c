"""The kinds of task: which fields of a row are the texts, and how rows become examples."""

from collections import Counter
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import math
from typing import ClassVar, Protocol, TypedDict, runtime_checkable

from mtc.data import fields
from mtc.data.bad_rows import BadRow, must_stop, stop
from mtc.data.fields import Row
from mtc.data.files import Names
from mtc.data.settings import Settings
from mtc.data.sources import Rows

_LARGEST = 1e30  # grade


class Example(TypedDict):
  """One row in the common form of all kinds."""

  anchor: str  # of a grouped or a single kind: the text
  positive: str | None  # None = grouped: any text that shares a label; or single: no positive
  negatives: list[str]
  score: float | None  # Scored: 0..1. Pairs: the row's grade, if it has one
  labels: list[str]
  anchor_id: str  # "" = none
  positive_id: str  # "" = none
  language: str  # "" = not said


@runtime_checkable
class Kind(Protocol):
  """What a task's `examples` must be."""

  grouped: ClassVar[bool]  # the positive is drawn among the examples that share a label
  single: ClassVar[bool]  # an example is one text, without a positive
  scored: ClassVar[bool]  # the score is what is learned

  def parse(self, place: str, row: Row) -> Example:
    """Raises BadRow if the row cannot be used."""
    ...


@dataclasses.dataclass
class Pairs(Settings):
  """A text and the text that belongs to it, with hard negatives where there are any.

  Fields `anchor_id`, `positive_id`, `language` and `score` (a grade) of the row are used if they are there. A grade of
  0 or less says that the texts do not belong together: such a row is no training pair.

  Attributes:
    anchor, positive: names of the fields.
    negatives: name of the field with a string or a list of strings, or a list of such names; "" = no hard negatives. A
      row may lack any of them.
    max_negatives: how many to take of each row, from the front; 0 = all.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  anchor: str = "anchor"
  positive: str = "positive"
  negatives: Names = ""
  max_negatives: int = 0

  @property
  def negative_fields(self) -> list[str]:
    """The names of the fields with negatives."""
    return [self.negatives] if self.negatives and isinstance(self.negatives, str) else list(self.negatives)

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right."""
    super().validate()
    names = self.negative_fields
    if "" in names or len(set(names)) < len(names):
      raise ValueError(f"negatives={self.negatives!r} of Pairs has an empty name, or one twice; name each field once")
    if self.max_negatives < 0:
      raise ValueError(f"max_negatives={self.max_negatives} of Pairs is negative; 0 takes all")

  def parse(self, place: str, row: Row) -> Example:
    negatives: list[str] = []
    for field in self.negative_fields:
      left = self.max_negatives - len(negatives) if self.max_negatives else None
      negatives += fields.texts(place, row, field, left)
    if len(negatives) > fields.MOST:
      raise BadRow(place, f"more than {fields.MOST} negatives", f"{len(negatives)} in {self.negative_fields}")
    grade = fields.number(place, row, "score")
    if grade is not None and math.isnan(grade):
      grade = None  # of pandas, which has no other sign for a missing number
    if grade is not None and not abs(grade) < _LARGEST:
      raise BadRow(place, "field 'score' is not a finite number", fields.got(row["score"]))
    return Example(
      anchor=fields.text(place, row, self.anchor),
      positive=fields.text(place, row, self.positive),
      negatives=negatives,
      score=grade,
      labels=[],
      anchor_id=fields.name(place, row, "anchor_id"),
      positive_id=fields.name(place, row, "positive_id"),
      language=fields.language(place, row),
    )


@dataclasses.dataclass
class SameLabel(Settings):
  """Texts that belong together when they share a label; field `labels` is one label or a list of them.

  Fields `id` and `language` of the row are used if they are there.
  """

  grouped: ClassVar[bool] = True
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  text: str = "text"  # field of the text
  labels: str = "labels"  # field of the label, or of a list of labels

  def parse(self, place: str, row: Row) -> Example:
    return _without_positive(
      text=fields.text(place, row, self.text),
      labels=fields.names(place, row, self.labels),
      identity=fields.name(place, row, "id"),
      language=fields.language(place, row),
    )


@dataclasses.dataclass
class Texts(Settings):
  """Single texts, each encoded once: what a task learns from them comes from a teacher, not from labels or pairs.

  Its losses are EmbeddingDistillation and SimilarityDistillation. Fields `id` and `language` of the row are used if
  they are there.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = True
  scored: ClassVar[bool] = False
  text: str = "text"  # field of the text

  def parse(self, place: str, row: Row) -> Example:
    return _without_positive(
      text=fields.text(place, row, self.text),
      labels=[],
      identity=fields.name(place, row, "id"),
      language=fields.language(place, row),
    )


@dataclasses.dataclass
class Crops(Settings):
  """Texts without labels: the first and the last part of each are a pair.

  Words are what spaces separate; a text with fewer than `least` of them, as where no spaces are written, is cut between
  characters. Example: with share=0.6, the ten words a b c d e f g h i j give the anchor a b c d e f and the positive
  e f g h i j.

  Reference: independent cropping of arXiv 2112.09118, section 3.2, with one fixed pair of crops for each text.
  """

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  text: str = "text"  # field of the text
  share: float = 0.6  # of the words, in each part
  least: int = 6  # words, or else characters; shorter texts are bad rows

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right."""
    super().validate()
    if not 0 < self.share <= 1:
      raise ValueError(f"share={self.share} of Crops is not in (0, 1]; 0.6 lets the parts overlap by a fifth")

  def parse(self, place: str, row: Row) -> Example:
    text = fields.text(place, row, self.text)
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
      language=fields.language(place, row),
    )


@dataclasses.dataclass
class Scored(Settings):
  """Two texts and how similar they are; a score in `range` is brought to 0..1."""

  grouped: ClassVar[bool] = False
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = True
  a: str = "text_a"  # field of one text
  b: str = "text_b"  # field of the other text
  score: str = "score"  # field of the score
  range: tuple[float, float] = (0.0, 5.0)  # lowest and highest score

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right."""
    super().validate()
    low, high = self.range
    if not (low < high and math.isfinite(high - low)):
      raise ValueError(f"range={self.range!r} of Scored is empty; the lower bound comes first, as in (0.0, 5.0)")

  def parse(self, place: str, row: Row) -> Example:
    low, high = self.range
    score = fields.required_number(place, row, self.score)
    if not low <= score <= high:  # true for NaN
      detail = f"{fields.got(row[self.score])}; Scored(range=...) sets it"
      raise BadRow(place, f"field {self.score!r} is outside {low}..{high}", detail)
    return Example(
      anchor=fields.text(place, row, self.a),
      positive=fields.text(place, row, self.b),
      negatives=[],
      score=(score - low) / (high - low),
      labels=[],
      anchor_id="",
      positive_id="",
      language=fields.language(place, row),
    )


@dataclasses.dataclass
class Translations(Settings):
  """Texts that say the same in other languages: rows with one `id` belong together."""

  grouped: ClassVar[bool] = True
  single: ClassVar[bool] = False
  scored: ClassVar[bool] = False
  id: str = "id"  # field that joins translations of one text
  text: str = "text"  # field of the text
  language: str = "language"  # field of the language

  def parse(self, place: str, row: Row) -> Example:
    identity = fields.required_name(place, row, self.id)
    return _without_positive(
      text=fields.text(place, row, self.text),
      labels=[identity],
      identity="",  # it is the label already
      language=fields.required_language(place, row, self.language),
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
      identity = fields.required_name(place, row, "id")
      spoken = {"language": fields.language(place, row)} if "language" in row else {}
      document = row | {"text": fields.text(place, row, "text")} | spoken
    except BadRow as bad:
      on_bad(bad.of("document", row.get("id")))
    else:
      found.setdefault(identity, document)
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
