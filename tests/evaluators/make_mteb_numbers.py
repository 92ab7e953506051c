"""Scores made data with mteb (and pytrec_eval inside it): python tests/evaluators/make_mteb_numbers.py, with mteb 2.

Writes mteb_numbers.json: the data and mteb's numbers. mteb needs PyTorch and is no dependency of mtc, so the tests
read the file. Vectors of the search and of the pairs are entries of +1 or -1: the cosines are exact, and many of them
are equal.
"""

import json
import pathlib
import types

from datasets import Dataset
from mteb._evaluators import ClusteringEvaluator, SklearnEvaluator
from mteb._evaluators.retrieval_evaluator import RetrievalEvaluator
from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
from mteb._evaluators.text.bitext_mining_evaluator import BitextMiningEvaluator
from mteb.abstasks import clustering_legacy, multilabel_classification, zeroshot_classification
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
from mteb.mocks.mock_tasks.clustering import MockClusteringTask
from mteb.timing import TimingStack
import numpy as np
from sklearn.preprocessing import MultiLabelBinarizer

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
  numbers |= {f"map@{k}": float(np.mean([scores[f"map_cut_{k}"] for scores in each])) for k in (5, 10)}
  numbers |= {f"precision@{k}": float(np.mean([scores[f"P_{k}"] for scores in each])) for k in (1, 5, 10)}
  queries, corpus = ({key: row.tolist() for key, row in rows.items()} for rows in (queries, corpus))
  return {"queries": queries, "corpus": corpus, "qrels": qrels, "numbers": numbers}


def own_documents():
  """Queries that are documents of the same ids, which mteb leaves out; some of these are judged relevant."""
  corpus = {f"d{i}": row for i, row in enumerate(signs(30))}
  queries = {f"d{i}": np.where(rng.random(16) < 0.9, corpus[f"d{i}"], -corpus[f"d{i}"]) for i in range(20)}
  qrels = {q: {f"d{j}": int(rng.integers(1, 4)) for j in rng.choice(30, 4, replace=False)} for q in queries}
  for i in range(0, 20, 4):
    qrels[f"d{i}"][f"d{i}"] = 2
  numbers = {}
  for ignore in (True, False):
    results = {q: {d: float(queries[q] @ corpus[d] / 16) for d in corpus} for q in qrels}
    found = RetrievalEvaluator.evaluate(None, qrels, results, [1, 5, 10, 30], ignore_identical_ids=ignore)
    each, mrr = found.all_scores.values(), found.mrr
    kinds = {"ndcg": "ndcg_cut_10", "recall": "recall_5", "map": "map_cut_30", "precision": "P_1"}
    numbers[str(ignore)] = {
      f"{name}@{key.split('_')[-1]}": float(np.mean([scores[key] for scores in each])) for name, key in kinds.items()
    } | {"mrr@10": mrr["MRR@10"]}
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
        found = AbsTaskBitextMining._compute_metrics(None, nearest, gold)
        numbers[f"{a}-{b}"] = {name: found[name] for name in ("accuracy", "f1")}
  return {"vectors": {name: rows.tolist() for name, rows in vectors.items()}, "numbers": numbers}


def pool():
  """Questions and answers in three languages, all of which answer every question."""
  meaning = rng.normal(size=(15, 8))

  def near(noise):
    return {
      f"{name}{i}": np.round(row + noise * rng.normal(size=8), 3) for i, row in enumerate(meaning) for name in "abc"
    }

  queries, corpus = near(0.5), near(0.7)
  qrels = {query: {f"{name}{query[1:]}": 1 for name in "abc"} for query in queries}
  results = {q: {d: float(u @ v / np.linalg.norm(v)) for d, v in corpus.items()} for q, u in queries.items()}
  numbers = {}
  for target in ("", "a", "b", "c"):  # of one language: the others of the answers are not in the pool
    wanted = {q: {d: 1 for d in answers if d.startswith(target)} for q, answers in qrels.items()}
    found = {q: {d: s for d, s in results[q].items() if d in wanted[q] or d not in qrels[q]} for q in results}
    each = calculate_retrieval_scores(found, wanted, [len(corpus)]).all_scores
    for source in "abc":
      values = [scores[f"map_cut_{len(corpus)}"] for query, scores in each.items() if query.startswith(source)]
      numbers[f"map_to_{target}/{source}" if target else f"map/{source}"] = float(np.mean(values))
  queries, corpus = ({key: row.tolist() for key, row in rows.items()} for rows in (queries, corpus))
  return {"queries": queries, "corpus": corpus, "qrels": qrels, "numbers": numbers}


def labelled():
  """Texts around four centres, the first half of them reference texts; a sixth has the label of another centre."""
  centres = rng.permutation(240) % 4
  labels = np.where(rng.random(240) < 1 / 6, rng.integers(0, 4, 240), centres)
  vectors = np.round(3 * np.eye(4, 8)[centres] + 0.7 * rng.normal(size=(240, 8)), 3)
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  train, test = (Dataset.from_dict({"label": part.tolist()}) for part in (labels[:120], labels[120:]))

  task = types.SimpleNamespace(seed=42, label_column_name="label", samples_per_label=8, evaluator=SklearnEvaluator)
  task.evaluator_model = AbsTaskClassification.evaluator_model
  task._calculate_scores = lambda *pair: AbsTaskClassification._calculate_scores(task, *pair)
  order, probes = None, []
  for i in range(10):
    learnt, order, rows = AbsTaskClassification._undersample_data(task, train, i, order)
    run = AbsTaskClassification._run_experiment
    probes.append(run(task, learnt, test, unit[:120][rows], unit[120:], TimingStack())[0])
  probe = {name: float(np.mean([scores[name] for scores in probes])) for name in ("accuracy", "f1")}

  names = np.round(np.eye(4, 8) + 0.4 * rng.normal(size=(4, 8)), 3)
  cosines = unit[120:] @ (names / np.linalg.norm(names, axis=1, keepdims=True)).T
  score = zeroshot_classification.AbsTaskZeroShotClassification._calculate_scores
  zero_shot = {name: score(None, labels[120:].tolist(), cosines)[name] for name in ("accuracy", "f1")}

  texts = Dataset.from_dict({"sentences": [str(i) for i in range(120, 240)], "labels": labels[120:].tolist()})
  model = types.SimpleNamespace(
    encode=lambda batches, **_: np.stack([unit[int(t)] for b in batches for t in b["text"]])
  )
  runs = []
  for seed in (42, 43, 44):
    evaluator = ClusteringEvaluator(
      texts,
      input_column_name="sentences",
      label_column_name="labels",
      task_metadata=MockClusteringTask.metadata,
      hf_split="test",
      hf_subset="default",
      timer=TimingStack(),
      seed=seed,
    )
    found = evaluator(model, encode_kwargs={})
    runs.append(clustering_legacy.AbsTaskClusteringLegacy._compute_metrics(None, labels[120:].tolist(), found))
  clusters = {name: float(np.mean([run[name] for run in runs])) for name in ("v_measure", "nmi")}

  several = [sorted({int(label), int(rng.choice([4, 5, label]))}) for label in labels]
  binarizer = MultiLabelBinarizer()
  wanted, known = binarizer.fit_transform(several[120:]), binarizer.transform(several[:120])
  knn = multilabel_classification.AbsTaskMultilabelClassification.evaluator_model
  guessed, fitted = multilabel_classification._evaluate_classifier(unit[:120], known, unit[120:], knn)
  score = multilabel_classification.AbsTaskMultilabelClassification._calculate_scores
  multi_label = {name: float(score(None, wanted, guessed, unit[120:], fitted)[name]) for name in ("f1", "accuracy")}
  numbers = {"probe": probe, "zero_shot": zero_shot, "clusters": clusters, "multi_label": multi_label}
  labels = {"labels": labels.tolist(), "several": several, "names": names.tolist()}
  return labels | {"vectors": vectors.tolist(), "numbers": numbers}


def pairs():
  a = signs(80)
  positive = rng.random(80) < 0.4
  b = np.where(rng.random((80, 16)) < np.where(positive, 0.7, 0.55)[:, None], a, -a)
  score, task = AbsTaskPairClassification._compute_metrics_values, object.__new__(AbsTaskPairClassification)
  found = score(task, (a * b).mean(axis=1).tolist(), positive.astype(int), True)
  numbers = {name: found[name] for name in ("ap", "accuracy", "f1")}
  return {"a": a.tolist(), "b": b.tolist(), "positive": positive.tolist(), "numbers": numbers}


makers = {"search": search, "translations": translations, "pool": pool, "labelled": labelled, "pairs": pairs}
makers["own_documents"] = own_documents  # last: what the others draw stays
numbers = {name: make() for name, make in makers.items()}
pathlib.Path(__file__).with_name("mteb_numbers.json").write_text(json.dumps(numbers) + "\n")
print({name: made["numbers"] for name, made in numbers.items()})
