"""Hard negatives: documents near a query that do not answer it, chosen from the pairs of a task."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtc import data
from mtc.config import Experiment
from mtc.files import atomic
from mtc.progress import Bar

_QUERIES, _DOCUMENTS = 256, 2**14  # that are compared at a time: about 150 MiB
_ONES = 2**32 - 1


@dataclass
class Mining:
  """Which of the documents nearest to a query become its negatives.

  As sentence-transformers' `mine_hard_negatives`: of the nearest `range_max` documents (positives apart) those that a
  margin or a bound forbids are taken out, the first `range_min` of the others are skipped, and of the rest
  `num_negatives` are taken. A margin counts from the query's least similar positive.

  Attributes:
    num_negatives: at most, for each query.
    range_min: of the nearest documents, how many are skipped: they may be answers that nobody has marked.
    range_max: how far to look; 0 = range_min + 10 * num_negatives.
    absolute_margin: a negative's cosine is at least so much below the positive's.
    relative_margin: a negative's cosine is at least this share of the positive's below it; 0.05 is usual.
    max_score, min_score: bounds of a negative's cosine.
    sampling: "top" takes the nearest, "random" any of them.
    seed: of "random".

  Reference: arXiv 2407.15831, section 4 (TopK-PercPos is relative_margin=0.05).
  """

  num_negatives: int = 3
  range_min: int = 0
  range_max: int = 0
  absolute_margin: float | None = None
  relative_margin: float | None = None
  max_score: float | None = None
  min_score: float | None = None
  sampling: str = "top"
  seed: int = 0

  @property
  def depth(self) -> int:
    """How many documents to look at, positives apart."""
    return self.range_max or self.range_min + 10 * self.num_negatives

  def validate(self) -> None:
    """Raises ValueError for a field that cannot be right."""
    if self.num_negatives < 1:
      raise ValueError(f"num_negatives={self.num_negatives} mines nothing; use 1 or more")
    if self.range_min < 0 or self.depth - self.range_min < self.num_negatives:
      raise ValueError(
        f"range_min={self.range_min} and range_max={self.range_max} leave less than "
        f"num_negatives={self.num_negatives} ranks; widen the range, or ask for fewer negatives"
      )
    if self.sampling not in ("top", "random"):
      raise ValueError(f"sampling={self.sampling!r} is unknown; use 'top' or 'random'")
    if self.absolute_margin is not None and self.absolute_margin < 0:
      raise ValueError(f"absolute_margin={self.absolute_margin} is negative; use 0 or more, or leave it out")
    if self.relative_margin is not None and not 0 <= self.relative_margin < 1:
      raise ValueError(f"relative_margin={self.relative_margin} is not in [0, 1); 0.05 is usual")
    low, high = self.min_score, self.max_score
    if low is not None and high is not None and low > high:
      raise ValueError(f"min_score={low} is over max_score={high}, so nothing is between them")


class Texts(NamedTuple):
  """The queries and documents of a task, each text once; texts that differ in case and spaces only are one."""

  queries: list[str]
  documents: list[str]
  query_of: np.ndarray  # i64[rows], -1 = a row that repeats another
  positives: list[list[int]]  # of each query, documents
  masked: list[list[int]]  # of each query, documents that are never its negatives: positives, and the query itself
  repeated: int  # documents left out because their text is there already


def join(rows: Sequence[data.Example], corpus: Sequence[tuple[str, str]] = ()) -> Texts:
  """Joins what belongs together: a document that answers a query by id or by text answers it in all its copies.

  A document that is the query itself, by id or by text, is never one of its negatives.

  Example: rows (a, x) and (A, y) are one query with the positives x and y.

  Args:
    rows: pairs.
    corpus: (id, text) of further documents; an empty id is none.
  """
  documents, queries = _Numbered(), _Numbered()
  by_id: dict[str, set[int]] = defaultdict(set)
  for identity, text in [*((row["positive_id"], row["positive"] or "") for row in rows), *corpus]:
    by_id[identity].add(documents.add(text))
  by_id[""] = set()

  query_of, positives, masked = np.full(len(rows), -1), [], []
  by_anchor_id: dict[str, set[int]] = defaultdict(set)
  for number, row in enumerate(rows):
    query, positive = queries.add(row["anchor"]), documents.add(row["positive"] or "")
    if query == len(positives):
      positives.append([])
      masked.append({documents.find(row["anchor"])})
    if positive not in positives[query]:
      positives[query].append(positive)
      query_of[number] = query
    answers = {positive} | by_id[row["positive_id"]]
    masked[query] |= answers
    if row["anchor_id"]:
      by_anchor_id[row["anchor_id"]] |= answers
  for row in rows:
    itself = by_id.get(row["anchor_id"], set())
    masked[queries.add(row["anchor"])] |= by_anchor_id.get(row["anchor_id"], set()) | itself
  repeated = len(rows) + len(corpus) - len(documents.texts)
  return Texts(queries.texts, documents.texts, query_of, positives, [sorted(m - {-1}) for m in masked], repeated)


class _Numbered:
  """Texts in the order of their first copies."""

  def __init__(self):
    self.texts: list[str] = []
    self._index: dict[str, int] = {}

  def add(self, text: str) -> int:
    """The number of the text, a new one if it has none yet."""
    index = self._index.setdefault(_folded(text), len(self.texts))
    if index == len(self.texts):
      self.texts.append(text)
    return index

  def find(self, text: str) -> int:
    """The number of the text, or -1."""
    return self._index.get(_folded(text), -1)


def _folded(text: str) -> str:
  return " ".join(text.split()).casefold()


def nearest(
  queries: np.ndarray, documents: np.ndarray, k: int, block: tuple[int, int] = (_QUERIES, _DOCUMENTS)
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """The `k` documents of the highest product with each query, exactly; of equals the first document comes first.

  Memory grows with the block, never with queries x documents.

  Args:
    queries: f32[queries, dim].
    documents: f32[documents, dim].
    k: at most the number of documents is found.
    block: queries and documents that are compared at a time.

  Yields:
    For each block of queries: the first one's row, documents i64[rows, k] best first, and products f32[rows, k].
  """
  for first in range(0, len(queries), block[0]):
    rows = queries[first : first + block[0]]
    best = np.empty((len(rows), 0), np.int64)
    for start in range(0, len(documents), block[1]):
      # Of most blocks hardly a document is nearer than the k that are known; of equals the first ones are known.
      least = _unkeyed(best[:, 0])[1] if best.shape[1] == k else np.full(len(rows), -np.inf, np.float32)
      best = np.concatenate([best, _above(least, rows @ documents[start : start + block[1]].T, start)], axis=1)
      if best.shape[1] > k:
        best = np.partition(best, best.shape[1] - k, axis=1)[:, best.shape[1] - k :]  # the least of them in front
    yield first, *_unkeyed(np.sort(best, axis=1)[:, ::-1])


def _above(least: np.ndarray, scores: np.ndarray, start: int) -> np.ndarray:
  """The keys of the scores, f32[rows, columns], over `least`, f32[rows]: i64[rows, the most of a row], filled up."""
  rows, columns = np.nonzero(scores > least[:, None])
  counts = np.bincount(rows, minlength=len(scores))
  keys = np.full((len(scores), counts.max(initial=0)), np.iinfo(np.int64).min)
  keys[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = _keys(
    scores[rows, columns], start + columns
  )
  return keys


def _keys(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
  """f32[n] and i64[n] -> i64[n] that sort like (score, - column), each its own."""
  bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
  bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative floats sort backwards as integers
  return (bits.astype(np.int64) << 32) | (_ONES - columns)


def _unkeyed(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  bits = (keys >> 32).astype(np.int32)
  return _ONES - (keys & _ONES), (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)


def choose(
  queries: np.ndarray, documents: np.ndarray, texts: Texts, mining: Mining, progress: bool = False
) -> tuple[np.ndarray, Counter[str]]:
  """The negatives of each query.

  Args:
    queries, documents: unit vectors of `texts`, f32[queries, dim] and f32[documents, dim].
    texts: what belongs together.
    mining: which to take.
    progress: show it.

  Returns:
    i64[queries, num_negatives] of documents, -1 = none; and what became of the documents looked at, by reason.
  """
  chosen = np.full((len(queries), mining.num_negatives), -1)
  counts: Counter[str] = Counter()
  rng = np.random.default_rng(mining.seed)
  # Room for every masked document: then no query is left with less than `depth` others.
  k = mining.depth + max(map(len, texts.masked), default=0)
  bar = Bar(total=len(queries), unit="query", disable=not progress)
  for first, found, scores in nearest(queries, documents, k):
    for row, (columns, cosines) in enumerate(zip(found, scores, strict=True), first):
      least = (documents[texts.positives[row]] @ queries[row]).min()
      left = ~np.isin(columns, texts.masked[row])
      counts["positives of the query, or the query itself"] += len(columns) - int(left.sum())
      for reason, allowed in _rules(mining, cosines, least).items():
        counts[reason] += int((left & ~allowed).sum())
        left &= allowed
      ranks = np.flatnonzero(left)
      counts["skipped by range_min"] += len(ranks[: mining.range_min])
      ranks = ranks[mining.range_min : mining.depth]
      if mining.sampling == "random":
        ranks = np.sort(rng.permutation(ranks)[: mining.num_negatives])
      ranks = ranks[: mining.num_negatives]
      counts["kept"] += len(ranks)
      chosen[row, : len(ranks)] = columns[ranks]
    bar.update(len(found))
  bar.close()
  return chosen, counts


def _rules(mining: Mining, cosines: np.ndarray, positive: np.float32) -> dict[str, np.ndarray]:
  """Flag -> which documents it allows, for each flag that is set."""
  rules = {}
  if (margin := mining.absolute_margin) is not None:
    rules[f"within absolute_margin={margin} of the positive"] = cosines + margin <= positive
  if (margin := mining.relative_margin) is not None:
    rules[f"within relative_margin={margin} of the positive"] = cosines <= positive - abs(positive) * margin
  if (bound := mining.max_score) is not None:
    rules[f"above max_score={bound}"] = cosines <= bound
  if (bound := mining.min_score) is not None:
    rules[f"below min_score={bound}"] = cosines >= bound
  return rules


def write(path: Path, rows: Sequence[data.Example], texts: Texts, chosen: np.ndarray) -> Counter[int]:
  """Writes each row once, with its negatives, as JSONL; the file appears whole or not at all.

  Returns:
    How many rows have how many negatives.
  """
  counts: Counter[int] = Counter()
  with atomic.file(path) as partial, open(partial, "w", encoding="utf-8") as file:
    for row, query in zip(rows, texts.query_of, strict=True):
      if query < 0:
        continue
      negatives = [texts.documents[index] for index in chosen[query] if index >= 0]
      counts[len(negatives)] += 1
      written: dict[str, Any] = {"anchor": row["anchor"], "positive": row["positive"], "negatives": negatives}
      for name in ("anchor_id", "positive_id", "language", "score"):
        if row[name] not in ("", None):
          written[name] = row[name]
      file.write(json.dumps(written, ensure_ascii=False) + "\n")
  return counts


def report(path: Path, texts: Texts, rows: Counter[int], counts: Mapping[str, int]) -> str:
  """What was kept and dropped, and how a config takes it up."""
  repeats = int((texts.query_of < 0).sum())
  lines = [f"{len(texts.queries):10,} queries, {len(texts.documents):,} documents"]
  lines += [f"{texts.repeated:10,} documents were copies of others, {repeats:,} rows copies of other rows"]
  lines += [f"{number:10,} candidates: {reason}" for reason, number in counts.items() if number]
  lines += [f"{number:10,} rows with {n} negatives" for n, number in sorted(rows.items(), reverse=True)]
  lines.append(f"use them: Task(Jsonl({str(path.parent)!r}, {{'train': {path.name!r}}}), Pairs(negatives='negatives'))")
  return "\n".join(lines)


def of_task(experiment: Experiment, name: str) -> tuple[data.Rows, data.Kind, tuple[str, str]]:
  """Where a task's pairs are, their kind, and the roles of queries and documents; raises ValueError if it has none."""
  pairs = [name for name, task in experiment.tasks.items() if isinstance(task.examples, data.Pairs)]
  if name not in pairs:
    raise ValueError(f"--task={name!r} is not a task of pairs; there is {', '.join(pairs) or 'none in this config'}")
  task = experiment.tasks[name]
  return task.source.resolve(experiment.data_dir), task.examples, task.roles()


def of_path(path: Path, split: str) -> data.Rows:
  """The rows of a .jsonl, .jsonl.gz or .parquet file, whatever its name, or of a folder of data."""
  if not path.exists():
    raise FileNotFoundError(f"--input {path} does not exist; name a file of pairs, or a folder of data")
  if path.is_dir():
    path = path.absolute()  # "." has no name
    return data.Folder(path.name).resolve(str(path.parent))
  kind = data.Parquet if path.suffix == ".parquet" else data.Jsonl
  return kind(str(path.parent), {split: path.name})


def read_task(
  source: data.Rows, split: str, examples: data.Kind, skipped: data.Skipped, more: Sequence[str] = ()
) -> tuple[list[data.Example], Texts]:
  """The pairs of a split, joined; its documents are those of the source's corpus and `more` too.

  A pair of grade 0 or less is not used as a pair; its document may be a hard negative. `skipped` is called with each
  bad row.
  """
  read = list(data.read_judged(source, split, examples, skipped))
  rows = [row for row in read if data.belong(row)]
  if not rows:
    graded = f", only {len(read)} that a grade of 0 or less denies" if read else ""
    raise ValueError(f"split {split!r} of {source} has no pair{graded}{data.in_words(skipped.counts(), '; ')}")
  corpus = [("", text) for text in more]
  corpus += [(row["positive_id"], row["positive"] or "") for row in read if not data.belong(row)]
  if "corpus" in source.splits():
    corpus += [(identity, row["text"]) for identity, row in data.documents(source, skipped).items()]
  return rows, join(rows, corpus)
