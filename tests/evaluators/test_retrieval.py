import numpy as np
import pytest

from mtc.evaluators import CrossLingualRetrieval, Retrieval, Search
from mtc.evaluators.tables import smaller


@pytest.fixture
def mteb(mteb):
  return mteb["search"] | {"own_documents": mteb["own_documents"]}


def search(mteb):
  """The table, and its vectors by (text, role); a text is its id."""
  vectors = {(id, "query"): row for id, row in mteb["queries"].items()}
  vectors |= {(id, "document"): row for id, row in mteb["corpus"].items()}
  return Search({q: q for q in mteb["queries"]}, {d: d for d in mteb["corpus"]}, mteb["qrels"]), vectors


def test_worked_example(encoder):
  # q1 finds a, b, c; the second is right: 1/2. q2 finds c, b, a; both of its own come first, in the wrong order.
  vectors = {"x": [1, 0], "y": [0, 1], "A": [1, 0.1], "B": [1, 1], "C": [0.1, 1]}
  table = Search({"q1": "x", "q2": "y"}, {"a": "A", "b": "B", "c": "C"}, {"q1": {"b": 1}, "q2": {"b": 2, "c": 1}})
  scores = Retrieval(mrr_at=3, ndcg_at=2, map_at=2, recall_at=(1, 2), precision_at=(1, 2))(encoder(vectors), table)
  second = 1 / np.log2(3)
  wanted = {
    "mrr@3": (1 / 2 + 1) / 2,
    "ndcg@2": (second + (1 + 2 * second) / (2 + second)) / 2,
    "map@2": (1 / 2 + (1 + 1) / 2) / 2,
    "recall@1": (0 + 1 / 2) / 2,
    "recall@2": 1.0,
    "precision@1": (0 + 1) / 2,
    "precision@2": (1 / 2 + 1) / 2,
  }
  assert list(scores) == list(wanted)
  assert scores == pytest.approx(wanted)


def test_equals_mteb_with_ties_grades_and_a_query_without_relevant_documents(mteb, encoder):
  table, vectors = search(mteb)
  scores = Retrieval(recall_at=(1, 5, 10), precision_at=(1, 5, 10))(encoder(vectors), table)
  scores |= Retrieval(mrr_at=5, ndcg_at=5, map_at=5)(encoder(vectors), table)
  assert set(scores) == set(mteb["numbers"])
  assert scores == pytest.approx(mteb["numbers"], abs=1e-9)


def test_the_order_of_queries_and_documents_changes_nothing(mteb, encoder):
  table, vectors = search(mteb)
  rng = np.random.default_rng(1)

  def shuffled(mapping):
    return {key: mapping[key] for key in rng.permutation(list(mapping))}

  other = Search(shuffled(table.queries), shuffled(table.corpus), shuffled(table.qrels))
  assert Retrieval()(encoder(vectors), other) == pytest.approx(Retrieval()(encoder(vectors), table))


def test_noise_in_the_last_bits_does_not_rank_equal_documents(mteb, encoder):
  table, vectors = search(mteb)
  rng = np.random.default_rng(2)
  noisy = {key: np.array(row) + 1e-6 * rng.normal(size=16) for key, row in vectors.items()}
  assert Retrieval()(encoder(noisy), table) == Retrieval()(encoder(vectors), table)


def test_a_language_is_the_mean_of_its_queries_against_all_documents(mteb, encoder):
  table, vectors = search(mteb)
  table.languages = {q: "ja" if int(q[1:]) % 3 else "de" for q in table.queries if q != "q0"}  # that of q0 is unknown
  scores = Retrieval()(encoder(vectors), table)
  metrics = ["mrr@10", "ndcg@10", "map@10", "recall@1", "recall@10", "precision@1"]
  assert list(scores) == [*metrics, *(f"{metric}/{name}" for metric in metrics for name in ("de", "ja"))]
  for name in ("de", "ja"):
    qrels = {q: judged for q, judged in table.qrels.items() if table.languages.get(q) == name}
    alone = Retrieval()(encoder(vectors), Search(table.queries, table.corpus, qrels))
    assert alone == pytest.approx({metric: scores[f"{metric}/{name}"] for metric in metrics})


def test_fewer_documents_than_ranks(encoder):
  table = Search({"q": "x"}, {"a": "A", "b": "B"}, {"q": {"a": 1}})
  scores = Retrieval()(encoder({"x": [1, 0], "A": [0, 1], "B": [1, 0]}), table)
  wanted = {"mrr@10": 1 / 2, "ndcg@10": 1 / np.log2(3), "map@10": 1 / 2, "recall@1": 0, "recall@10": 1}
  assert scores == pytest.approx(wanted | {"precision@1": 0})


def test_more_relevant_documents_than_ranks(encoder):
  table = Search({"q": "x"}, {str(i): "x" for i in range(5)}, {"q": {str(i): 1 for i in range(5)}})
  scores = Retrieval(mrr_at=2, ndcg_at=2, map_at=2, recall_at=(2,), precision_at=())(encoder({"x": [1, 0]}), table)
  assert scores == pytest.approx({"mrr@2": 1, "ndcg@2": 1, "map@2": 2 / 5, "recall@2": 2 / 5})


def test_no_rank_at_all(encoder):
  table = Search({"q": "x"}, {"a": "x"}, {"q": {"a": 1}})
  with pytest.raises(ValueError, match="use 1 or more"):
    Retrieval(mrr_at=0)(encoder({"x": [1, 0]}), table)


def test_fewer_queries_and_documents(mteb, encoder):
  """What is asked of a smaller table is what is asked of the table that a hand makes of the same draws."""
  table, vectors = search(mteb)
  small = smaller(table, 2, 20, seed=3)
  kept = [id for id in table.qrels if id in small.qrels]
  judged = {document for query in kept for document in table.qrels[query]}
  assert len(kept) == 2 and len(judged) < 20 and len(small.corpus) == 20 and judged <= set(small.corpus)
  by_hand = Search({id: id for id in kept}, {id: id for id in small.corpus}, {id: table.qrels[id] for id in kept})
  scores = Retrieval(limit=2, document_limit=20, seed=3)(encoder(vectors), table)
  assert scores == pytest.approx(Retrieval()(encoder(vectors), by_hand))
  assert scores != pytest.approx(Retrieval(limit=2, seed=3)(encoder(vectors), table))
  assert set(smaller(table, 2, 20, seed=4).qrels) != set(kept)


def test_judged_documents_stay_and_no_limit_takes_all():
  table = Search({"a": "a", "b": "b"}, dict(zip("ABCD", "ABCD", strict=True)), {"a": {"A": 1, "B": 0}, "b": {"C": 1}})
  assert smaller(table, 0, 0, seed=0) is table
  assert set(smaller(table, 0, 1, seed=0).corpus) == {"A", "B", "C"}
  assert set(smaller(table, 1, 0, seed=0).corpus) == set("ABCD")
  with pytest.raises(ValueError, match="limit=-1 is negative"):
    smaller(table, -1, 0, seed=0)
  with pytest.raises(ValueError, match="document_limit=-1 is negative"):
    smaller(table, 0, -1, seed=0)


@pytest.mark.parametrize("keep", [False, True])
def test_equals_mteb_where_queries_are_documents(keep, mteb, encoder):
  """Their ids are the same, and a quarter of these documents is judged relevant to itself."""
  table, vectors = search(mteb["own_documents"])
  evaluator = Retrieval(map_at=30, recall_at=(5,), keep_identical_ids=keep)
  numbers = mteb["own_documents"]["numbers"][str(not keep)]
  assert {name: evaluator(encoder(vectors), table)[name] for name in numbers} == pytest.approx(numbers, abs=1e-9)
  pool = CrossLingualRetrieval(keep_identical_ids=keep)
  assert 0 < pool(encoder(vectors), table)["map"] <= numbers["map@30"], "in which equal cosines share the last rank"


def test_a_query_does_not_find_itself_and_as_many_others_are_ranked(encoder):
  vectors = {"q": [1, 0], "near": [0.9, 0.1], "far": [0.5, 0.5]}
  table = Search({"b": "q"}, {"a": "far", "b": "q", "c": "near"}, {"b": {"a": 1}})
  scores = Retrieval(mrr_at=2, ndcg_at=2, map_at=2, recall_at=(2,), precision_at=(2,))(encoder(vectors), table)
  wanted = {"mrr@2": 1 / 2, "ndcg@2": 1 / np.log2(3), "map@2": 1 / 2, "recall@2": 1, "precision@2": 1 / 2}
  assert scores == pytest.approx(wanted)
  kept = Retrieval(mrr_at=2, recall_at=(), precision_at=(), keep_identical_ids=True)(encoder(vectors), table)
  assert kept["mrr@2"] == 0
  # As in mteb: judged relevant, it is missed.
  table = Search({"b": "q"}, {"b": "q", "c": "near"}, {"b": {"b": 1, "c": 1}})
  assert Retrieval()(encoder(vectors), table)["recall@10"] == 1 / 2
  assert Retrieval(keep_identical_ids=True)(encoder(vectors), table)["recall@10"] == 1


def test_equal_texts_without_ids_are_two_things(encoder):
  table = Search({"q": "q"}, {"q": "q", "near": "near"}, {"q": {"q": 1}}, texts_as_ids=["q", "near"])
  assert Retrieval()(encoder({"q": [1, 0], "near": [0.9, 0.1]}), table)["mrr@10"] == 1


@pytest.mark.parametrize("others", [0, 5, 20])
def test_a_document_without_a_text_counts_and_comes_last(others, encoder):
  """pytrec_eval, with x and y after all others of the run, the greater id first."""
  corpus = {"a": "near"} | {f"o{i}": "far" for i in range(others)}
  table = Search({"q": "q", "r": "q"}, corpus, {"q": {"a": 1, "x": 2}, "r": {"y": 1, "a": 1}}, unreadable=["x", "y"])
  scores = Retrieval()(encoder({"q": [1, 0], "near": [0.9, 0.1], "far": [0, 1]}), table)
  y, x = others + 2, others + 3
  second = [1 / np.log2(rank + 1) if rank <= 10 else 0 for rank in (x, y)]
  ideal = [2 + 1 / np.log2(3), 1 + 1 / np.log2(3)]
  assert scores["recall@1"] == 1 / 2
  assert scores["recall@10"] == (1 if others < 8 else 1 / 2)
  assert scores["map@10"] == pytest.approx(np.mean([(1 + (2 / rank if rank <= 10 else 0)) / 2 for rank in (x, y)]))
  assert scores["ndcg@10"] == pytest.approx(np.mean([(1 + 2 * second[0]) / ideal[0], (1 + second[1]) / ideal[1]]))


def test_fewer_documents_of_a_table_with_some_that_have_no_text():
  corpus, qrels = dict(zip("ABCD", "ABCD", strict=True)), {"a": {"A": 1, "X": 1}, "b": {"C": 1, "Y": 1}}
  table = Search({"a": "a", "b": "b"}, corpus, qrels, unreadable=["X", "Y"], texts_as_ids=["a"])
  small = smaller(table, 1, 2, seed=0)
  kept = next(iter(small.qrels))
  assert len(small.corpus) == 2 and small.unreadable == ["X" if kept == "a" else "Y"] and small.texts_as_ids == ["a"]
