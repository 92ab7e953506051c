"""Cross-lingual retrieval: in one pool of many languages, do the answers of every language come first?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured, means
from mtc.evaluators.similarity import similarity_blocks
from mtc.evaluators.tables import Search, smaller

# Below all cosines: of a document without a text, which comes last, and of the query itself, which is not ranked.
_UNREADABLE, _LEFT_OUT = -(2**31) + 1, -(2**31)


@dataclasses.dataclass
class CrossLingualRetrieval(Evaluator):
  """Mean average precision over the whole pool: a model that prefers the language of the query loses, as in LAReQA.

  Equal cosines share the rank of the last of them. A query without a relevant document scores 0. Documents that could
  not be read come last, and the document that has the query's id is left out, as in `Retrieval`.

  Attributes:
    by_answer: score the answers of each language apart too; with 11 languages that is a table of 11 x 11.
    limit, document_limit, seed: as of `smaller`; with fewer documents search is easier.
    keep_identical_ids: rank the document that has the query's id too.

  Reference: arXiv 2004.05484.
  """

  by_answer: bool = False
  limit: int = 0
  document_limit: int = 0
  seed: int = 0
  keep_identical_ids: bool = False

  def measure(self, encode: TextEncoder, table: Search) -> Measured:
    """`map`, from 0 to 1; with `by_answer` also `map_to_LANGUAGE` of the answers; then each by language of the query.

    `map_to_de` counts the German answers only, with the others taken out of the pool; it is there for languages in
    which every query has an answer. `map_to_de/ja` is that of the Japanese queries.
    """
    table = smaller(table, self.limit, self.document_limit, self.seed)
    asked, documents = list(table.qrels), [*table.corpus, *table.unreadable]
    place = {document: row for row, document in enumerate(documents)}
    relevant = [[document for document, grade in table.qrels[query].items() if grade > 0] for query in asked]
    spoken = [{table.document_languages.get(document, "") for document in answers} for answers in relevant]
    targets = sorted(set.intersection(*spoken) - {""}) if self.by_answer else []

    values = {name: np.zeros(len(asked)) for name in ("map", *(f"map_to_{target}" for target in targets))}
    queries = vectors(encode, [table.queries[query] for query in asked], "query")
    pool = vectors(encode, list(table.corpus.values()))
    for block, scores in similarity_blocks(queries, pool):
      for row, score in zip(block, scores, strict=True):
        answers = relevant[row]
        if not answers:
          continue
        score = np.append(score, np.full(len(table.unreadable), _UNREADABLE, np.int32))
        if not self.keep_identical_ids and asked[row] in place and table.is_itself(asked[row], asked[row]):
          score[place[asked[row]]] = _LEFT_OUT
        own = score[[place[answer] for answer in answers]]
        above = _at_least(np.sort(score), own) - _at_least(np.sort(own), own)  # documents that answer nothing
        values["map"][row] = _average_precision(above, own)
        languages = np.array([table.document_languages.get(answer, "") for answer in answers])
        for target in targets:
          values[f"map_to_{target}"][row] = _average_precision(above[languages == target], own[languages == target])
    return means(values, [table.languages.get(query, "") for query in asked])


def _at_least(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """How many of some scores are not below each of others."""
  return len(ascending) - np.searchsorted(ascending, scores)


def _average_precision(above: np.ndarray, scores: np.ndarray) -> float:
  """The average precision of answers with these scores, each below `above` other documents."""
  hits = _at_least(np.sort(scores), scores)
  return float(np.mean(np.where(scores > _LEFT_OUT, hits / (hits + above), 0)))
