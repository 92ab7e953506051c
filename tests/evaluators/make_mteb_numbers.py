"""Scores made data with mteb (and pytrec_eval inside it): python tests/evaluators/make_mteb_numbers.py, with mteb 2.

Writes mteb_numbers.json: the data and mteb's numbers. mteb needs PyTorch and is no dependency of mtc, so the tests
read the file. Vectors of the search are 16 entries of +1 or -1: the cosines are exact, and many of them are equal.
"""

import json
import pathlib
import types

from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from mteb._evaluators.text.bitext_mining_evaluator import BitextMiningEvaluator
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
import numpy as np

rng = np.random.default_rng(0)


def signs(count):
  return rng.choice([-1, 1], (count, 16))


def search():
  queries = {f"q{i}": row for i, row in enumerate(signs(40))}
  corpus = {f"d{i}": row for i, row in enumerate(signs(60))}
  for i in range(30):  # some documents near their query
    corpus[f"d{i}"] = np.where(rng.random(16) < 0.75, queries[f"q{i}"], corpus[f"d{i}"])
  qrels = {}
  for i in range(39):  # q39 is not asked
    judged = rng.choice(60, rng.integers(1, 15), replace=False)
    qrels[f"q{i}"] = {f"d{j}": int(rng.integers(0, 4)) for j in judged} | ({f"d{i}": 3} if i < 30 else {})
  qrels["q38"] = {"d7": 0}  # nothing is relevant
  results = {q: {d: float(queries[q] @ corpus[d] / 16) for d in corpus} for q in qrels}
  found = calculate_retrieval_scores(results, qrels, [1, 5, 10])
  numbers = {f"mrr@{k}": found.mrr[f"MRR@{k}"] for k in (5, 10)}
  each = found.all_scores.values()  # of a query; their means in `found` are rounded
  numbers |= {f"ndcg@{k}": float(np.mean([scores[f"ndcg_cut_{k}"] for scores in each])) for k in (5, 10)}
  numbers |= {f"recall@{k}": float(np.mean([scores[f"recall_{k}"] for scores in each])) for k in (1, 5, 10)}
  queries, corpus = ({key: row.tolist() for key, row in rows.items()} for rows in (queries, corpus))
  return {"queries": queries, "corpus": corpus, "qrels": qrels, "numbers": numbers}


def translations():
  meaning = rng.normal(size=(50, 8))
  vectors = {name: np.round(meaning + 0.6 * rng.normal(size=meaning.shape), 3) for name in ("de", "en", "ja")}
  unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
  cosine = types.SimpleNamespace(similarity=lambda a, b: a @ b.T)
  numbers = {}
  for a in unit:
    for b in unit:
      if a != b:
        nearest = BitextMiningEvaluator._similarity_search(None, unit[a], unit[b], cosine)
        gold = [(i, i) for i in range(len(meaning))]
        numbers[f"{a}-{b}"] = AbsTaskBitextMining._compute_metrics(None, nearest, gold)["accuracy"]
  return {"vectors": {name: rows.tolist() for name, rows in vectors.items()}, "numbers": numbers}


numbers = {"search": search(), "translations": translations()}
pathlib.Path(__file__).with_name("mteb_numbers.json").write_text(json.dumps(numbers) + "\n")
print(numbers["search"]["numbers"], numbers["translations"]["numbers"])
