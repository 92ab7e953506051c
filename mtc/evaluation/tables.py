"""What the evaluations of a config score: rows become tables, and what is skipped of them is counted and printed."""

from collections.abc import Iterator, Mapping, Sequence
import sys
from typing import Any, get_type_hints

from mtc import data
from mtc.config import Evaluation, Experiment
from mtc.evaluators import Graded, Labelled, Parallel, Search, Table

Tables = dict[str, Table]


def read_tables(experiment: Experiment, which: str, skipped: data.SkippedRows | None = None) -> Tables:
  """Reads what each evaluation scores, and prints what is skipped of each table.

  Evaluations whose folder or split is missing are reported and left out, unless a task has their name.

  Args:
    experiment: for its evaluations, data_dir and on_bad_row.
    which: "test" or "validation": the field of `Evaluation` that names the split.
    skipped: gets the counts of rows, documents and queries that on_bad_row="skip" left out.

  Raises:
    ValueError: rows that cannot be used.
  """
  tables, skipped = {}, {} if skipped is None else skipped
  for name, evaluation in experiment.evaluations.items():
    split = evaluation.test if which == "test" else evaluation.validation
    if not split:
      continue
    reader = _Reader(evaluation, experiment)
    try:
      table = reader.table(split)
      _check_kind(evaluation, table)
    except FileNotFoundError as error:
      if name in experiment.tasks:
        raise
      if which == "test":
        print(f"evaluation {name!r} is left out: {error}", file=sys.stderr)
      continue
    except ValueError as error:
      counts = "".join(f"; split {of}: {data.in_words(found)}" for of, found in reader.counts().items() if found)
      raise ValueError(f"evaluation {name!r}, split {split!r}: {error}{counts}") from error
    tables[name] = table
    counts = {of: found for of, found in reader.counts().items() if found and of not in skipped.get(name, {})}
    for of, found in counts.items():
      skipped.setdefault(name, {})[of] = found
      print(f"evaluation {name!r}, split {of}: {data.in_words(found)}", flush=True)
    for note in _notes(table, evaluation) if isinstance(table, Search) else ():
      print(f"evaluation {name!r}, split {split}: {note}", flush=True)
  return tables


def asked_texts(table: Table) -> list[str]:
  """The texts that a model is tested on: of a search its queries, for the documents are there for training too."""
  match table:
    case Search():
      return [table.queries[query] for query in table.qrels]
    case Graded():
      return [*table.a, *table.b]
    case _:
      return list(table.texts)


class _Reader:
  """Reads the splits of one evaluation, and counts what it skips of each."""

  def __init__(self, evaluation: Evaluation, experiment: Experiment):
    self._evaluation, self._on_bad_row = evaluation, experiment.on_bad_row
    self._data_dir = experiment.data_dir
    self._skipped: dict[str, data.Skipped] = {}

  def counts(self) -> dict[str, dict[str, int]]:
    """By split and reason."""
    return {split: skipped.counts() for split, skipped in self._skipped.items()}

  def table(self, split: str) -> Table:
    examples, reference = self._evaluation.examples, self._evaluation.reference
    source = self._evaluation.source.resolve(self._data_dir)
    read = list(self._rows(source, split))
    if isinstance(examples, data.Pairs):
      return _search(source, read, self._skipped[split])
    if isinstance(examples, data.Scored):
      return Graded(
        [r["anchor"] for r in read],
        [r["positive"] or "" for r in read],
        [r["score"] or 0.0 for r in read],
        [r["language"] for r in read],
      )
    if isinstance(examples, data.Translations):
      return Parallel([r["labels"][0] for r in read], [r["anchor"] for r in read], [r["language"] for r in read])
    known = list(self._rows(source, reference)) if reference else []
    return Labelled(
      [r["anchor"] for r in read],
      [r["labels"] for r in read],
      [r["language"] for r in read],
      [r["anchor"] for r in known],
      [r["labels"] for r in known],
    )

  def _rows(self, source: data.Rows, split: str) -> Iterator[data.Example]:
    skipped = self._skipped[split] = data.Skipped(self._on_bad_row)  # a new one where a split is read again
    return data.read_judged(source, split, self._evaluation.examples, skipped)


def _search(source: data.Rows, read: Sequence[data.Example], skipped: data.Skipped) -> Search:
  queries, corpus, qrels, languages, spoken = {}, {}, {}, {}, {}
  texts_as_ids: dict[str, None] = {}
  rows: list[Mapping[str, Any]] = [*read, *skipped.judged]
  for row in rows:
    query, document = row["anchor_id"] or row["anchor"], row["positive_id"] or row["positive"]
    for role, identity in (("anchor", query), ("positive", document)):
      if not row[f"{role}_id"]:
        texts_as_ids[identity] = None
    if row["anchor"]:
      queries[query], languages[query] = row["anchor"], row["language"]
    if row["positive"]:
      corpus[document] = row["positive"]
    qrels.setdefault(query, {})[document] = 1.0 if row["score"] is None else row["score"]
  if "corpus" in source.splits():
    found = data.documents(source, skipped)
    corpus = {identity: row["text"] for identity, row in found.items()}
    spoken = {identity: row.get("language") or "" for identity, row in found.items()}
  qrels = {query: judged for query, judged in qrels.items() if query in queries}
  unreadable = dict.fromkeys(document for judged in qrels.values() for document in judged if document not in corpus)
  for document in unreadable:
    place = "the split 'corpus'"
    skipped(data.NotThere(place, "an id is not in the corpus", repr(document)).of("document", document))
  skipped.found("document", corpus)
  skipped.found("query", queries)
  return Search(queries, corpus, qrels, languages, spoken, list(unreadable), texts_as_ids)


def _notes(table: Search, evaluation: Evaluation) -> Iterator[str]:
  """What of the ids of a search makes its numbers others than one may think."""
  answers = {document for judged in table.qrels.values() for document, grade in judged.items() if grade > 0}
  if count := sum(document in answers for document in table.unreadable):
    yield f"{count:,} relevant document{'s' * (count > 1)} cannot be read, and counted as found after all others"
  own = [query for query in table.qrels if query in table.corpus and table.is_itself(query, query)]
  if own and not getattr(evaluation.evaluator, "keep_identical_ids", True):
    judged = sum(table.qrels[query].get(query, 0) > 0 for query in own)
    missed = f"; for {judged:,} of them it is judged relevant, which counts as a miss" if judged else ""
    yield (
      f"{len(own):,} of {len(table.qrels):,} queries have the id of a document, which is left out of their ranking"
      f"{missed} (keep_identical_ids=True of {type(evaluation.evaluator).__name__} keeps it)"
    )


def _check_kind(evaluation: Evaluation, table: Table) -> None:
  """Raises ValueError where the evaluator's `measure` says that it takes tables of another shape."""
  wanted = get_type_hints(evaluation.evaluator.measure).get("table")
  if isinstance(wanted, type) and not isinstance(table, wanted):
    kinds = {Search: "Pairs", Labelled: "SameLabel", Graded: "Scored", Parallel: "Translations"}
    raise ValueError(
      f"{type(evaluation.evaluator).__name__} scores data of {kinds.get(wanted, wanted.__name__)}, "
      f"and the config says {type(evaluation.examples).__name__}; docs/evaluation.md says which evaluator takes what"
    )
