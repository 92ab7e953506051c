import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mtc.evaluators import CrossLingualRetrieval, Search
from mtc.evaluators.tables import smaller


def pool(mteb):
  """Questions and answers, each text its id, whose first letter is its language; and vectors by (text, role)."""
  made = mteb["pool"]
  queries, corpus = ({id: id for id in made[side]} for side in ("queries", "corpus"))
  vectors = {
    (id, role): row for role, side in (("query", "queries"), ("document", "corpus")) for id, row in made[side].items()
  }
  return Search(queries, corpus, made["qrels"], {q: q[0] for q in queries}, {d: d[0] for d in corpus}), vectors


def test_equals_mteb_for_all_answers_and_those_of_one_language(mteb, encoder):
  table, vectors = pool(mteb)
  # Here a question and its answer have one id, and mteb ranked all answers.
  scores = CrossLingualRetrieval(by_answer=True, keep_identical_ids=True)(encoder(vectors), table)
  assert list(scores)[:4] == ["map", "map_to_a", "map_to_b", "map_to_c"]
  alone = CrossLingualRetrieval(keep_identical_ids=True)(encoder(vectors), table)
  assert alone == {name: scores[name] for name in ("map", "map/a", "map/b", "map/c")}
  numbers = mteb["pool"]["numbers"]
  assert {name: scores[name] for name in numbers} == pytest.approx(numbers)
  assert scores["map"] == pytest.approx(np.mean([numbers[f"map/{source}"] for source in "abc"]))


def test_equals_scikit_learn_with_ties_and_a_query_without_answers(encoder):
  rng = np.random.default_rng(0)
  vectors = {
    (f"{side}{i}", role): rng.choice([-1, 1], 6)
    for side, role in (("q", "query"), ("d", "document"))
    for i in range(20)
  }
  qrels = {f"q{i}": {f"d{j}": int(rng.integers(0, 3)) for j in rng.choice(20, 5, replace=False)} for i in range(19)}
  qrels["q19"] = {"d0": 0}
  table = Search({f"q{i}": f"q{i}" for i in range(20)}, {f"d{i}": f"d{i}" for i in range(20)}, qrels)
  precisions = []
  for query, judged in qrels.items():
    cosines = [vectors[query, "query"] @ vectors[f"d{i}", "document"] for i in range(20)]
    relevant = [judged.get(f"d{i}", 0) > 0 for i in range(20)]
    precisions.append(average_precision_score(relevant, cosines) if any(relevant) else 0.0)
  assert CrossLingualRetrieval(by_answer=True)(encoder(vectors), table) == pytest.approx({"map": np.mean(precisions)})


def test_a_model_that_prefers_the_language_of_the_query_loses(encoder):
  # Every text is its language and its meaning; the German questions ask for both answers.
  meaning, language = np.eye(4), {"a": [1, 0], "b": [0, 1]}
  ids = [f"{name}{i}" for i in range(4) for name in "ab"]
  table = Search(
    {id: f"q{id}" for id in ids},
    {id: id for id in ids},
    {id: {f"a{id[1]}": 1, f"b{id[1]}": 1} for id in ids},
    document_languages={id: id[0] for id in ids},
  )

  def scores(weight):
    rows = {
      text: [*meaning[int(text[-1])], *(weight * np.array(language[text[-2]]))]
      for text in [*ids, *(f"q{i}" for i in ids)]
    }
    return CrossLingualRetrieval(by_answer=True, keep_identical_ids=True)(encoder(rows), table)

  assert scores(0.5) == {"map": 1.0, "map_to_a": 1.0, "map_to_b": 1.0}
  assert scores(2.0) == pytest.approx(
    {"map": (1 + 2 / 5) / 2, "map_to_a": (1 + 1 / 4) / 2, "map_to_b": (1 + 1 / 4) / 2}
  )


def test_a_language_without_an_answer_to_every_query_is_not_told_apart(mteb, encoder):
  table, vectors = pool(mteb)
  del table.qrels["a0"]["b0"]
  assert not any(name.startswith("map_to_b") for name in CrossLingualRetrieval(by_answer=True)(encoder(vectors), table))


def test_fewer_queries_and_documents(mteb, encoder):
  table, vectors = pool(mteb)
  scores = CrossLingualRetrieval(limit=4, document_limit=15, seed=1)(encoder(vectors), table)
  assert scores == CrossLingualRetrieval()(encoder(vectors), smaller(table, 4, 15, seed=1))
  assert scores["map"] != CrossLingualRetrieval()(encoder(vectors), table)["map"]


def test_the_document_of_the_querys_id_is_left_out_also_where_it_answers(encoder):
  """As in mteb: it is taken from the ranking, and where it is judged relevant this is a miss."""
  vectors = {"q": [1, 0], "own": [1, 0], "near": [0.9, 0.1], "far": [0.5, 0.5], "farther": [0, 1]}
  corpus = {"q": "own", "b": "near", "c": "far", "d": "farther"}
  for qrels, wanted in ({"c": 1, "d": 1}, (1 / 2 + 2 / 3) / 2), ({"q": 1, "b": 1}, (0 + 1) / 2):
    table = Search({"q": "q"}, corpus, {"q": qrels}, document_languages=dict.fromkeys("qbcd", "en"))
    found = CrossLingualRetrieval(by_answer=True)(encoder(vectors), table)
    assert found == pytest.approx({"map": wanted, "map_to_en": wanted})
  kept = CrossLingualRetrieval(keep_identical_ids=True)(encoder(vectors), table)
  assert kept == {"map": 1.0}


def test_a_document_without_a_text_is_found_last(encoder):
  vectors = {"q": [1, 0], "near": [0.9, 0.1], "far": [0.5, 0.5]}
  table = Search({"a": "q"}, {"b": "near", "c": "far"}, {"a": {"c": 1, "x": 1, "y": 1}}, unreadable=["x", "y"])
  # c is the second of all, and x and y, which tie, the third and the fourth.
  assert CrossLingualRetrieval()(encoder(vectors), table) == pytest.approx({"map": (1 / 2 + 3 / 4 + 3 / 4) / 3})
