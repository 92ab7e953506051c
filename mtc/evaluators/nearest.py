"""What lies nearest to what: examples of what scores are made of, and the texts of a test as points in a plane."""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np

from mtc.evaluators.encoder import TextEncoder, Vectors, vectors
from mtc.evaluators.metrics import subset
from mtc.evaluators.tables import Graded, Labelled, Parallel, Search, Table


@dataclasses.dataclass
class Text:
  """A text of a table.

  Attributes:
    text: as it is there.
    labels: its labels; of a search its id, of a translation the id that joins it with others; or none.
    language: "" = unknown.
  """

  text: str
  labels: Sequence[str] = ()
  language: str = ""


@dataclasses.dataclass
class Neighbour:
  """A text near another one.

  Attributes:
    of: the text.
    cosine: with the one that asked.
    right: whether the table says that it belongs to it.
  """

  of: Text
  cosine: float
  right: bool


@dataclasses.dataclass
class Examples:
  """A few texts of a test, each with those nearest to it.

  Attributes:
    asked: each text, with its neighbours, the nearest first.
    meaning: when a neighbour is right, in words.
    candidates: how many texts could be neighbours.
    drawn: how many of them were looked at.
  """

  asked: list[tuple[Text, list[Neighbour]]]
  meaning: str
  candidates: int
  drawn: int


@dataclasses.dataclass
class Plane:
  """Texts of a test in the plane that shows most of their variance.

  Attributes:
    xy: f64[texts, 2]
    texts: where `labels` say what a colour could mean: a text's labels, or whether it is a query or a document.
    share: of the variance.
  """

  xy: np.ndarray
  texts: list[Text]
  share: float


@dataclasses.dataclass
class _Question:
  """A table as texts that ask and texts that are found: `right` and `barred` take an index of each."""

  asking: list[Text]
  pool: list[Text]
  meaning: str
  right: Callable[[int, int], bool]
  barred: Callable[[int, int], bool] = lambda ask, found: False
  role: str = "document"  # of those that ask


def nearest(encode: TextEncoder, table: Table, count: int, k: int, most: int = 20_000) -> Examples:
  """Examples spread evenly over a table.

  Labelled texts look among the reference texts, or where there are none among the other texts; queries among the
  documents, but for the one with their id; translations among the texts of other languages, and the first texts of the
  best graded quarter of pairs among all second ones.

  Args:
    encode: what is looked at.
    table: any.
    count: texts that ask, at most.
    k: neighbours of each, at most.
    most: most candidates that are encoded; of more, this many are drawn, and the right ones.
  """
  question = _question(table)
  chosen = np.unique(np.linspace(0, len(question.asking) - 1, count + 2).astype(int)[1:-1]).tolist()
  drawn = subset(len(question.pool), most, 0)
  if len(drawn) < len(question.pool) and not isinstance(table, Labelled):
    needed = {j for j in range(len(question.pool)) for i in chosen if question.right(i, j)}
    drawn = sorted(needed.union(drawn))
  found = vectors(encode, [question.pool[j].text for j in drawn])
  asking = vectors(encode, [question.asking[i].text for i in chosen], question.role)
  cosines = _dense(asking @ found.T)
  asked = []
  for i, row in zip(chosen, cosines, strict=True):
    order = (place for place in np.argsort(-row, kind="stable") if not question.barred(i, drawn[place]))
    near = [
      Neighbour(question.pool[drawn[place]], float(row[place]), question.right(i, drawn[place]))
      for place, _ in zip(order, range(k), strict=False)
    ]
    asked.append((question.asking[i], near))
  return Examples(asked, question.meaning, len(question.pool), len(drawn))


def plane(encode: TextEncoder, table: Table, most: int = 1000) -> Plane | None:
  """The texts that a test is about, `most` of them drawn, by principal components; None = all are in one place.

  Of a search these are queries and documents that answer them, half each.
  """
  from sklearn.decomposition import PCA  # 1 s to import

  question = _question(table)
  if isinstance(table, Search):
    queries = [question.asking[i] for i in subset(len(question.asking), most // 2, 0)]
    answers = {d: None for query in queries for d, grade in table.qrels[query.labels[0]].items() if grade > 0}
    found = [d for d in answers if d in table.corpus]
    documents = [Text(table.corpus[d], ["document"], table.document_languages.get(d, "")) for d in found]
    documents = [documents[i] for i in subset(len(documents), most // 2, 0)]
    queries = [Text(query.text, ["query"], query.language) for query in queries]
    rows = [(queries, "query"), (documents, "document")]
  else:
    texts = [Text(a.text, a.labels if isinstance(table, Labelled) else (), a.language) for a in question.asking]
    rows = [([texts[i] for i in subset(len(texts), most, 0)], "document")]
  parts = [_dense(vectors(encode, [one.text for one in part], role)) for part, role in rows]
  points = np.concatenate(parts).astype(np.float64)
  points = points[:, np.ptp(points, axis=0) > 0]
  if min(points.shape) < 2:
    return None
  found = PCA(2, svd_solver="full")
  xy = found.fit_transform(points)
  return Plane(xy, [one for part, _ in rows for one in part], float(found.explained_variance_ratio_.sum()))


def _question(table: Table) -> _Question:
  match table:
    case Labelled():
      asking = [Text(*row) for row in zip(table.texts, table.labels, table.languages, strict=True)]
      known = [Text(*row) for row in zip(table.reference_texts, table.reference_labels, strict=True)]
      pool = known or asking
      return _Question(
        asking,
        pool,
        "it shares a label" + (" (neighbours are reference texts)" if known else ""),
        lambda i, j: bool(set(asking[i].labels) & set(pool[j].labels)),
        lambda i, j: not known and asking[i].text == pool[j].text,
      )
    case Search():
      queries, ids = list(table.qrels), list(table.corpus)
      return _Question(
        [Text(table.queries[query], [query], table.languages.get(query, "")) for query in queries],
        [Text(table.corpus[d], [d], table.document_languages.get(d, "")) for d in ids],
        "the document answers the query",
        lambda i, j: table.qrels[queries[i]].get(ids[j], 0) > 0,
        lambda i, j: table.is_itself(queries[i], ids[j]),
        role="query",
      )
    case Parallel():
      texts = [Text(t, [id], g) for t, id, g in zip(table.texts, table.ids, table.languages, strict=True)]
      return _Question(
        texts,
        texts,
        "it is the translation (neighbours are texts of other languages)",
        lambda i, j: table.ids[i] == table.ids[j],
        lambda i, j: table.languages[i] == table.languages[j],
      )
    case Graded():
      enough = np.quantile(table.scores, 0.75)
      best = [row for row, score in enumerate(table.scores) if score >= enough]
      pairs = {(table.a[row], table.b[row]) for row in best}
      second = [Text(t, (), g) for t, g in dict(zip(table.b, table.languages, strict=True)).items()]
      return _Question(
        [Text(table.a[row], (), table.languages[row]) for row in best],
        second,
        "the pair is among the best graded quarter of all (of which all that ask here are)",
        lambda i, j: (table.a[best[i]], second[j].text) in pairs,
      )


def _dense(rows: Vectors) -> np.ndarray:
  return rows if isinstance(rows, np.ndarray) else rows.toarray()
