"""Rows that cannot be used: what is wrong with one, and how many of a table were skipped for which reason."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

SkippedRows = dict[str, dict[str, dict[str, int]]]  # evaluation -> split -> reason -> count, where there are any
_PLURAL = {"row": "rows", "document": "documents", "query": "queries"}


class BadRow(ValueError):
  """A row that cannot be used: where it is, why (`reason`, equal for equal faults), and what to do.

  Attributes:
    what: "row"; of a search "document" or "query", where only that part cannot be used.
    identity: the id of the document or of the query; "" = unknown.
    judged: the rest of a pair of which one text cannot be read, with "" or None in its place; None = nothing is left.
  """

  what = "row"
  identity = ""
  judged: Mapping[str, Any] | None = None

  def __init__(self, place: str, reason: str, detail: str = ""):
    self.place, self.reason, self.detail = place, reason, detail
    super().__init__(
      f'{place}: {reason}{f" ({detail})" if detail else ""}; fix the row, or skip such rows with on_bad_row="skip"'
    )

  def of(self, what: str, identity: Any = "", judged: Mapping[str, Any] | None = None) -> "BadRow":
    """The same error, which now says what it is a row of; an identity that is no string or whole number is unknown."""
    self.what, self.judged = what, judged
    self.identity = str(identity) if isinstance(identity, str | int) and not isinstance(identity, bool) else ""
    return self


class NotThere(BadRow):
  """A judgement names a document or a query that no row is."""


def stop(bad: BadRow) -> None:
  """The default treatment of a row that cannot be read."""
  raise bad


class Skipped:
  """What was skipped of a table, by reason: rows, and of a search the documents and the queries, each once.

  Call it with each bad row. A document that several judgements name, or that is read twice, counts once.

  Attributes:
    judged: what is left of pairs with a text that cannot be read; see `BadRow`.
  """

  def __init__(self, on_bad_row: str):
    """`on_bad_row`: "stop" raises the first bad row, "skip" counts it."""
    self._stop = must_stop(on_bad_row)
    self.judged: list[Mapping[str, Any]] = []
    self._rows: Counter[str] = Counter()
    self._parts: dict[tuple[str, str], tuple[str, bool | None]] = {}  # reason, and whether a row has the id

  def __call__(self, bad: BadRow) -> None:
    if self._stop:
      raise bad
    if bad.judged is not None:
      self.judged.append(bad.judged)
    if bad.what == "row":
      self._rows[bad.reason] += 1
    else:
      has_row = not isinstance(bad, NotThere) if bad.identity else None
      self._parts.setdefault((bad.what, bad.identity or bad.place), (bad.reason, has_row))

  def found(self, what: str, identities: Collection[str]) -> None:
    """These documents or queries could be read after all, from another row."""
    for part in [part for part in self._parts if part[0] == what and part[1] in identities]:
      del self._parts[part]

  def counts(self) -> dict[str, int]:
    """How many were skipped by reason, which begins with "document: " or "query: " for these.

    A row whose own id cannot be read may be the one that a judgement asks for: the two count once.
    """
    counts = Counter(self._rows)
    unknown = Counter(what for (what, _), (_, has_row) in self._parts.items() if has_row is None)
    for (what, _), (reason, has_row) in self._parts.items():
      if has_row is False and unknown[what]:
        unknown[what] -= 1
      else:
        counts[f"{what}: {reason}"] += 1
    return dict(sorted(counts.items()))


def must_stop(on_bad_row: str) -> bool:
  """Whether a bad row raises; ValueError for a setting that is neither "stop" nor "skip"."""
  if on_bad_row not in ("stop", "skip"):
    raise ValueError(f"on_bad_row={on_bad_row!r} is not known; use 'stop' or 'skip'")
  return on_bad_row == "stop"


def in_words(skipped: Mapping[str, int], before: str = "") -> str:
  """The counts of skipped rows by reason as a phrase, with something before it; "" where nothing was skipped.

  Example: {"document: broken JSON": 1} is "1 document left out (broken JSON)".
  """
  parts = []
  for name, count in skipped.items():
    what, _, reason = name.partition(": ")
    if what not in ("document", "query"):
      what, reason = "row", name
    parts.append(f"{count:,} {what if count == 1 else _PLURAL[what]} left out ({reason})")
  return before + ", ".join(parts) if parts else ""


def each_in_words(skipped: SkippedRows) -> Iterator[tuple[str, str, str]]:
  """(evaluation, split, what is left out) of each split that something is left out of."""
  for name, splits in skipped.items():
    for split, counts in splits.items():
      yield name, split, in_words(counts)
