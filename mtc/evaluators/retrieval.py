"""Search: do the documents that answer a query come first?"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured, means
from mtc.evaluators.similarity import top_k
from mtc.evaluators.tables import Search, smaller


@dataclasses.dataclass
class Retrieval(Evaluator):
  """Mean reciprocal rank, nDCG, average precision, recall and precision, as trec_eval, BEIR and mteb define them.

  nDCG takes the grade itself as gain; recall@k and map@k divide by all relevant documents, also where they are more
  than k; a query without a relevant one scores 0; of documents that score the same, the one with the greater id comes
  first. A relevant document that could not be read counts like any other, and comes after all that could.

  A query that is itself a document, which has its id, would find itself first. This document is left out of its
  ranking, as in BEIR (`ignore_identical_ids`) and in mteb's tasks of such data; where it is judged relevant too, that
  counts as a miss. Equal texts without ids are not left out.

  Attributes:
    mrr_at: a first relevant document beyond this rank counts 0.
    ndcg_at: ranks that nDCG looks at.
    map_at: a relevant document beyond this rank counts 0.
    recall_at: ranks, one metric for each.
    precision_at: ranks, one metric for each.
    limit, document_limit, seed: as of `smaller`; with fewer documents search is easier.
    keep_identical_ids: rank the document that has the query's id too.
  """

  mrr_at: int = 10
  ndcg_at: int = 10
  map_at: int = 10
  recall_at: Sequence[int] = (1, 10)
  precision_at: Sequence[int] = (1,)
  limit: int = 0
  document_limit: int = 0
  seed: int = 0
  keep_identical_ids: bool = False

  def measure(self, encode: TextEncoder, table: Search) -> Measured:
    """`mrr@k` first, then the others, each from 0 to 1; then each as `metric/language` of the query."""
    ranks = [self.mrr_at, self.ndcg_at, self.map_at, *self.recall_at, *self.precision_at]
    depth = max(ranks)
    if min(ranks) < 1:
      raise ValueError(f"{self} looks at no rank at all for some metric; use 1 or more for each")
    table = smaller(table, self.limit, self.document_limit, self.seed)
    asked = list(table.qrels)
    documents = sorted(table.corpus, reverse=True)
    found = top_k(
      vectors(encode, [table.queries[query] for query in asked], "query"),
      vectors(encode, [table.corpus[document] for document in documents], "document"),
      depth + 1,  # of which one may be the query itself
    )
    last = sorted(table.unreadable, reverse=True)[: depth + 1]
    grades, ideal = np.zeros((2, len(asked), depth))
    relevant = np.zeros(len(asked))
    for row, query in enumerate(asked):
      judged, ranked = table.qrels[query], [*(documents[column] for column in found[row]), *last]
      if not self.keep_identical_ids:
        ranked = [document for document in ranked if not table.is_itself(query, document)]
      gains = [max(judged.get(document, 0), 0) for document in ranked[:depth]]
      grades[row, : len(gains)] = gains
      best = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
      relevant[row] = len(best)
      ideal[row, : len(best)] = best[:depth]

    hits = grades > 0
    discount = 1 / np.log2(np.arange(2, self.ndcg_at + 2))
    gain, best_gain = (values[:, : self.ndcg_at] @ discount for values in (grades, ideal))
    precision = np.cumsum(hits, axis=1) / np.arange(1, depth + 1)
    summed = np.cumsum(precision * hits, axis=1)[:, self.map_at - 1]
    values = {
      f"mrr@{self.mrr_at}": (hits[:, : self.mrr_at] / np.arange(1, self.mrr_at + 1)).max(axis=1),
      f"ndcg@{self.ndcg_at}": gain / np.where(relevant > 0, best_gain, 1),
      f"map@{self.map_at}": summed / np.maximum(relevant, 1),
    }
    for k in self.recall_at:
      values[f"recall@{k}"] = hits[:, :k].sum(axis=1) / np.maximum(relevant, 1)
    for k in self.precision_at:
      values[f"precision@{k}"] = precision[:, k - 1]
    return means(values, [table.languages.get(query, "") for query in asked])
