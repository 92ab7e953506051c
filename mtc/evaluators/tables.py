"""What is scored, in memory: four shapes of table that know nothing of where their rows came from."""

from collections.abc import Collection, Mapping, Sequence
import dataclasses

import numpy as np

from mtc.evaluators.metrics import subset


@dataclasses.dataclass
class Search:
  """Queries, documents, and how well these answer those.

  Attributes:
    queries: id to text; those without an entry in `qrels` are not asked.
    corpus: id to text.
    qrels: query id to document id to grade; above 0 is relevant.
    languages: query id to language; may lack some, or all.
    document_languages: document id to language; may lack some, or all.
    unreadable: ids of judged documents without a text; every query ranks them after all others.
    texts_as_ids: ids that are the texts themselves; a query and a document of such an id are two things.
  """

  queries: Mapping[str, str]
  corpus: Mapping[str, str]
  qrels: Mapping[str, Mapping[str, float]]
  languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
  document_languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unreadable: Sequence[str] = ()
  texts_as_ids: Collection[str] = ()

  def __post_init__(self):
    _not_empty(self.qrels, "queries with judgements (qrels)")
    _not_empty(self.corpus, "documents")
    _known(self.qrels, self.queries, "query")
    known = {*self.corpus, *self.unreadable}
    _known((document for judged in self.qrels.values() for document in judged), known, "document")
    relevant = {document for judged in self.qrels.values() for document, grade in judged.items() if grade > 0}
    if not relevant:
      raise ValueError(f"none of {len(self.qrels)} queries has a relevant document, which is one with a grade over 0")
    if relevant.isdisjoint(self.corpus):
      raise ValueError(
        f"none of {len(relevant)} relevant documents can be read; are the ids of the judgements those of the corpus?"
      )

  def is_itself(self, query: str, document: str) -> bool:
    """Whether the document is the query, because it has its id."""
    return query == document and query not in self.texts_as_ids


@dataclasses.dataclass
class Labelled:
  """Texts with one label or more each, and reference texts (the training split, or nothing) to compare them with.

  Attributes:
    texts: the test split.
    labels: of each text.
    languages: of each text, or empty.
    reference_texts: may be empty.
    reference_labels: of each reference text.
  """

  texts: Sequence[str]
  labels: Sequence[Sequence[str]]
  languages: Sequence[str] = ()
  reference_texts: Sequence[str] = ()
  reference_labels: Sequence[Sequence[str]] = ()

  def __post_init__(self):
    _not_empty(self.texts, "texts")
    self.languages = self.languages or [""] * len(self.texts)
    _same_length(texts=self.texts, labels=self.labels, languages=self.languages)
    _same_length(reference_texts=self.reference_texts, reference_labels=self.reference_labels)
    for field in ("labels", "reference_labels"):
      rows = getattr(self, field)
      if flat := [index for index, row in enumerate(rows) if isinstance(row, str)]:
        raise ValueError(f"{field}[{flat[0]}] is the string {rows[flat[0]]!r}; expected a list of labels")
      if bare := [index for index, row in enumerate(rows) if not row]:
        raise ValueError(f"{len(bare)} of {len(rows)} {field} are empty, the first in row {bare[0]}; drop such rows")
    found = {label for rows in (self.labels, self.reference_labels) for row in rows for label in row}
    if len(found) < 2:
      raise ValueError(
        f"all {len(self.texts)} texts have the one label {found.pop()!r}, so any guess is right; is it the right field?"
      )


@dataclasses.dataclass
class Graded:
  """Pairs of texts with a score of how alike they are, on any scale.

  Attributes:
    a: one text of each pair.
    b: the other.
    scores: of each pair.
    languages: of each pair, or empty.
  """

  a: Sequence[str]
  b: Sequence[str]
  scores: Sequence[float]
  languages: Sequence[str] = ()

  def __post_init__(self):
    _not_empty(self.a, "pairs")
    self.languages = self.languages or [""] * len(self.a)
    _same_length(a=self.a, b=self.b, scores=self.scores, languages=self.languages)
    bad = np.flatnonzero(~np.isfinite(np.asarray(self.scores, np.float64)))
    if bad.size:
      raise ValueError(f"{bad.size} of {len(self.scores)} scores are NaN or infinite, the first in row {bad[0]}")
    if len(set(self.scores)) < 2:
      raise ValueError(f"all {len(self.scores)} scores are {self.scores[0]}; a correlation needs at least two values")
    for language in sorted(set(self.languages) - {""}):
      own = [score for score, other in zip(self.scores, self.languages, strict=True) if other == language]
      if len(set(own)) < 2:
        raise ValueError(
          f"language {language!r} has {len(own)} of {len(self.a)} pairs, all with the score {own[0]}; a correlation "
          "needs at least two values: drop these pairs, or leave their language out"
        )


@dataclasses.dataclass
class Parallel:
  """Texts in several languages; an id joins the translations of one another.

  Attributes:
    ids: of each text.
    texts: each in one language; a language has an id once at most.
    languages: of each text.
  """

  ids: Sequence[str]
  texts: Sequence[str]
  languages: Sequence[str]

  def __post_init__(self):
    _not_empty(self.texts, "texts")
    _same_length(ids=self.ids, texts=self.texts, languages=self.languages)
    if len(set(self.languages)) < 2:
      raise ValueError(f"all {len(self.texts)} texts are in {self.languages[0]!r}; translation takes two languages")
    seen = set()
    for row, key in enumerate(zip(self.ids, self.languages, strict=True)):
      if key in seen:
        raise ValueError(f"row {row} has id {key[0]!r} in language {key[1]!r} a second time; expected one text of each")
      seen.add(key)


Table = Search | Labelled | Graded | Parallel


def smaller(table: Search, limit: int, document_limit: int, seed: int) -> Search:
  """The same search with fewer queries and documents.

  With the queries a, b and the documents A, B, C, D of which A answers a, `limit=1` may keep a, and then
  `document_limit=2` keeps A, and one of B, C and D.

  Args:
    table: what is searched.
    limit: queries at most, drawn by `seed`; 0 takes all.
    document_limit: documents at most, drawn by `seed`; 0 takes all. Those judged for a kept query stay, however many.
    seed: of the draws.

  Raises:
    ValueError: a limit is negative.
  """
  if document_limit < 0:
    raise ValueError(f"document_limit={document_limit} is negative; use 0 for all")
  if not limit and not document_limit:
    return table
  asked = list(table.qrels)
  qrels = {asked[index]: table.qrels[asked[index]] for index in subset(len(asked), limit, seed)}
  judged = {document for judgements in qrels.values() for document in judgements}
  others = [document for document in table.corpus if document not in judged]
  spare = max(document_limit - len(judged.intersection(table.corpus)), 0) if document_limit else len(others)
  drawn = {others[index] for index in subset(len(others), spare, seed)} if spare else set()
  corpus = {document: text for document, text in table.corpus.items() if document in judged or document in drawn}
  unreadable = [document for document in table.unreadable if document in judged]
  return dataclasses.replace(table, corpus=corpus, qrels=qrels, unreadable=unreadable)


def _not_empty(rows, what: str):
  if len(rows) == 0:
    raise ValueError(f"the table has no {what}; is the split empty?")


def _known(ids, known, what: str):
  if unknown := [id for id in dict.fromkeys(ids) if id not in known]:
    raise ValueError(f"qrels name {len(unknown)} {what} ids that do not exist, the first {unknown[0]!r}")


def _same_length(**columns: Sequence):
  lengths = {name: len(column) for name, column in columns.items()}
  if len(set(lengths.values())) > 1:
    raise ValueError(f"the columns have different lengths: {lengths}")
