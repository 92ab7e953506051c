"""Hard negatives: the nearest documents, exactly; those that the rules leave; files that a task reads."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mtc import data
from mtc.config import Experiment, Task
from mtc.embedder import mining as mining_lib, save
from mtc.embedder.mining import Mining, choose, nearest


def unit(rng, count, dim=6):
  rows = rng.normal(size=(count, dim)).astype(np.float32)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pair(anchor, positive, anchor_id="", positive_id=""):
  return data.Pairs().parse(
    "here", {"anchor": anchor, "positive": positive, "anchor_id": anchor_id, "positive_id": positive_id}
  )


@pytest.mark.parametrize("block", [(1, 1), (3, 4), (2, 7), (100, 100)])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_nearest_in_blocks_is_a_stable_sort_of_all(block, k):
  rng = np.random.default_rng(0)
  queries, documents = unit(rng, 7), unit(rng, 20)
  documents[[3, 9, 15]] = documents[1]  # copies tie, also across blocks
  documents[5] = 0  # 0 and -0 tie
  queries = np.rint(queries * 4) / 4  # products are exact, however they are blocked
  documents = np.rint(documents * 4) / 4
  products = queries @ documents.T
  wanted = np.argsort(-products, axis=1, kind="stable")[:, :k]
  found = list(nearest(queries, documents, k, block))
  assert [first for first, _, _ in found] == list(range(0, 7, block[0]))
  columns, scores = (np.concatenate([f[i] for f in found]) for i in (1, 2))
  np.testing.assert_array_equal(columns, wanted)
  np.testing.assert_array_equal(scores, np.take_along_axis(products, wanted, axis=1))


def test_a_pair_of_grade_0_is_a_document_and_no_answer():
  rows = [{"anchor": "who", "positive": "me"}, {"anchor": "who", "positive": "you", "score": 0}]
  pairs, texts = mining_lib.read_task(data.InMemory({"train": rows}), "train", data.Pairs(), data.Skipped("stop"))
  assert [row["positive"] for row in pairs] == ["me"]
  assert texts.documents == ["me", "you"] and texts.positives == [[0]]


def test_what_belongs_together_is_masked_by_id_and_by_text():
  rows = [
    pair("where is it", "here", "q1", "d1"),
    pair("where  is IT", "there", "q2"),  # the same query in other letters: two positives
    pair("and who", "me", "q1"),  # another text of the query q1: its answers are masked, they are no positives
    pair("what", "thing", "", "d1"),  # answered by d1, and the text "thing" is d1 as well
    pair("where is it", "Here", "q1", "d1"),  # a copy of the first row
  ]
  corpus = [("d1", "here, again"), ("d2", "AND WHO"), ("d3", "other"), ("d4", "Other ")]
  texts = mining_lib.join(rows, corpus)
  assert texts.queries == ["where is it", "and who", "what"]
  assert texts.documents == ["here", "there", "me", "thing", "here, again", "AND WHO", "other"]
  assert texts.query_of.tolist() == [0, 0, 1, 2, -1]
  assert texts.positives == [[0, 1], [2], [3]]
  d1 = {0, 3, 4}
  assert [set(m) for m in texts.masked] == [d1 | {1, 2}, d1 | {2, 5}, d1]
  assert texts.repeated == 2


def test_a_query_that_is_a_document_is_not_its_own_negative():
  """By its id: the text of the document may be another, as where it has a title."""
  rows = [pair("how tall is it", "its height", "1a", "1b"), pair("its height", "how tall is it", "1b", "1a")]
  rows.append(pair("no id", "here"))
  texts = mining_lib.join(rows, [("1a", "Height. How tall is it"), ("", "other")])
  named = {query: {texts.documents[d] for d in masked} for query, masked in zip(texts.queries, texts.masked)}
  both = {"its height", "how tall is it", "Height. How tall is it"}
  assert named == {"how tall is it": both, "its height": both, "no id": {"here"}}
  chosen, _ = choose(unit(np.random.default_rng(0), 3), unit(np.random.default_rng(1), 5), texts, Mining())
  assert [{texts.documents[d] for d in row if d >= 0} for row in chosen[:2]] == [{"here", "other"}] * 2


RULES = {
  "nothing": Mining(num_negatives=2),
  "ranks": Mining(num_negatives=2, range_min=3, range_max=6),
  "an absolute margin": Mining(num_negatives=3, absolute_margin=0.2),
  "a relative margin": Mining(num_negatives=3, relative_margin=0.3, range_min=1, range_max=8),
  "bounds": Mining(num_negatives=4, max_score=0.5, min_score=0.1),
  "all": Mining(num_negatives=3, range_min=1, range_max=12, absolute_margin=0.05, relative_margin=0.1, max_score=0.6),
}


def by_loops(queries, documents, texts, mining):
  """The rules as they are told."""
  longest = max(len(m) for m in texts.masked)
  result = []
  for q, query in enumerate(queries):
    scores = documents @ query
    least = min(scores[p] for p in texts.positives[q])
    left = []
    for d in np.argsort(-scores, kind="stable")[: mining.depth + longest]:
      ok = d not in texts.masked[q]
      ok &= mining.absolute_margin is None or scores[d] + mining.absolute_margin <= least
      ok &= mining.relative_margin is None or scores[d] <= least - abs(least) * mining.relative_margin
      ok &= mining.max_score is None or scores[d] <= mining.max_score
      ok &= mining.min_score is None or scores[d] >= mining.min_score
      if ok:
        left.append(int(d))
    left = left[mining.range_min : mining.depth][: mining.num_negatives]
    result.append(left + [-1] * (mining.num_negatives - len(left)))
  return result


def made(rng, queries=12, documents=40):
  rows = [pair(f"q{i}", f"d{i}") for i in range(queries)] + [pair("q0", "d20"), pair("q1", "d21")]
  texts = mining_lib.join(rows, [("", f"d{i}") for i in range(documents)])
  vectors = unit(rng, documents)[[int(name[1:]) for name in texts.documents]]
  answers = np.array([vectors[p[0]] for p in texts.positives])
  asked = answers + 0.5 * unit(rng, queries)
  return asked / np.linalg.norm(asked, axis=1, keepdims=True), vectors, texts, rows


@pytest.mark.parametrize("mining", RULES.values(), ids=RULES)
def test_the_rules_by_hand(mining):
  queries, documents, texts, _ = made(np.random.default_rng(1))
  chosen, counts = choose(queries, documents, texts, mining)
  assert chosen.tolist() == by_loops(queries, documents, texts, mining)
  assert counts["kept"] == (chosen >= 0).sum() > 0
  for row, masked in zip(chosen, texts.masked):
    assert not set(row) & set(masked)


def test_random_negatives_are_seeded_and_within_the_ranks():
  queries, documents, texts, _ = made(np.random.default_rng(2))
  ranked, _ = choose(queries, documents, texts, Mining(num_negatives=10, range_max=10))

  def drawn(seed):
    return choose(queries, documents, texts, Mining(num_negatives=4, range_max=10, sampling="random", seed=seed))[0]

  one, again, other = drawn(0), drawn(0), drawn(1)
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()
  for row, allowed in zip(one, ranked):
    ranks = [allowed.tolist().index(d) for d in row]
    assert ranks == sorted(ranks) and len(set(ranks)) == 4  # nearest first
  assert (one != ranked[:, :4]).any()


def test_a_query_with_too_few_documents_has_fewer_negatives():
  texts = mining_lib.join([pair("a", "x"), pair("b", "y")])
  vectors = np.eye(2, dtype=np.float32)
  chosen, counts = choose(vectors, vectors, texts, Mining(num_negatives=3))
  assert chosen.tolist() == [[1, -1, -1], [0, -1, -1]] and counts["kept"] == 2


def test_the_written_rows_are_a_task(tmp_path):
  rows = [pair("a", "x", "q1", "d1"), pair("b", "y"), pair("A", "x"), pair("c", "z")]
  texts = mining_lib.join(rows)
  counts = mining_lib.write(tmp_path / "hard.jsonl", rows, texts, np.array([[1, 2], [0, -1], [-1, -1]]))
  assert counts == {2: 1, 1: 1, 0: 1}
  source = data.Jsonl(str(tmp_path), {"train": "hard.jsonl"})
  examples = list(data.read(source, "train", data.Pairs(negatives="negatives")))
  assert [e["negatives"] for e in examples] == [["y", "z"], ["x"], []]
  assert (examples[0]["anchor_id"], examples[0]["positive_id"]) == ("q1", "d1")
  assert os.listdir(tmp_path) == ["hard.jsonl"]
  shown = mining_lib.report(tmp_path / "hard.jsonl", texts, counts, {"kept": 3})
  task = shown.splitlines()[-1].removeprefix("use them: ")
  assert eval(task, {"Task": lambda s, e: (s, e), "Jsonl": data.Jsonl, "Pairs": data.Pairs}) == (
    source,
    data.Pairs(negatives="negatives"),
  )


WRONG = {
  "num_negatives=0 mines nothing": Mining(num_negatives=0),
  "leave less than": Mining(num_negatives=3, range_min=5, range_max=7),
  "range_min=-1": Mining(range_min=-1),
  "sampling='best' is unknown": Mining(sampling="best"),
  "absolute_margin=-1": Mining(absolute_margin=-1),
  "relative_margin=1.5": Mining(relative_margin=1.5),
  "nothing is between them": Mining(min_score=0.5, max_score=0.4),
}


@pytest.mark.parametrize("message, mining", WRONG.items(), ids=WRONG)
def test_rules_that_cannot_be_right(message, mining):
  with pytest.raises(ValueError, match=message):
    mining.validate()


@pytest.fixture(scope="module")
def model(make_embedder, tmp_path_factory):
  directory = tmp_path_factory.mktemp("mine") / "export"
  save.write(make_embedder(), directory)
  return directory


def run(*arguments):
  command = [sys.executable, "-m", "mtc.mine", *map(str, arguments)]
  return subprocess.run(command, env=dict(os.environ, MTC_TRACEBACK=""), capture_output=True, text=True, timeout=300)


def test_a_task_of_a_config_from_the_command_line(model, data_dir, tmp_path):
  flags = ["--config", "configs/multitask.py", f"--config.data_dir={data_dir}", "--task", "search_tweets"]
  done = run("--model", model, *flags, "--output", tmp_path / "hard.jsonl", "--num_negatives", 2)
  assert done.returncode == 0, done.stderr
  rows = [json.loads(line) for line in (tmp_path / "hard.jsonl").read_text("utf-8").splitlines()]
  assert len(rows) == 200 and all(len(row["negatives"]) == 2 for row in rows)
  corpus = {json.loads(line)["text"] for line in (data_dir / "search_tweets/corpus.jsonl").read_text().splitlines()}
  answers = {row["positive"] for row in rows}
  mined = {text for row in rows for text in row["negatives"]}
  assert mined <= corpus and mined - answers, "documents of no training query are candidates too"
  assert all(row["positive"] not in row["negatives"] for row in rows)
  assert "200 rows with 2 negatives" in done.stdout and "400 candidates: kept" in done.stdout


def test_a_task_without_pairs_is_refused(data_dir):
  tasks = {"tags": Task(data.Folder("hashtag"), data.SameLabel()), "search": Task(data.Folder("search_tweets"))}
  experiment = Experiment(tasks=tasks, data_dir=str(data_dir))
  with pytest.raises(ValueError, match="--task='tags' is not a task of pairs; there is search"):
    mining_lib.of_task(experiment, "tags")
  source, _, roles = mining_lib.of_task(experiment, "search")
  assert source.splits()[-1] == "corpus" and roles == ("query", "document")


def test_pairs_and_more_documents_from_files(tmp_path, data_dir):
  path = tmp_path / "anything.jsonl"
  path.write_text('{"q": "a", "a": "x"}\n{"q": "b", "a": "y"}\n')
  rows, texts = mining_lib.read_task(
    mining_lib.of_path(path, "train"), "train", data.Pairs("q", "a"), data.Skipped("stop"), ["z", "x"]
  )
  assert [row["anchor"] for row in rows] == ["a", "b"] and texts.documents == ["x", "y", "z"]
  assert "corpus" in mining_lib.of_path(data_dir / "search_tweets", "train").splits()
  with pytest.raises(FileNotFoundError, match="does not exist"):
    mining_lib.of_path(tmp_path / "none", "train")


def test_bad_documents_are_skipped_like_bad_pairs(data_dir, tmp_path):
  folder = shutil.copytree(data_dir / "search_tweets", tmp_path / "search")
  with open(folder / "corpus.jsonl", "a") as file:
    file.write('{"_id": "d0", "text": "again"}\n{"_id": "broken"\n')
  source = data.Beir(str(data_dir / "search_tweets"))
  _, whole = mining_lib.read_task(source, "train", data.Pairs(), data.Skipped("stop"))
  _, texts = mining_lib.read_task(data.Beir(str(folder)), "train", data.Pairs(), data.Skipped("skip"))
  assert texts.documents == whole.documents
  with open(folder / "qrels/train.tsv", "w") as file:
    file.write("q0\tbroken\t1\n")
  with pytest.raises(ValueError, match=r"has no pair; 1 document left out \(broken JSON\), 1 document left out"):
    mining_lib.read_task(data.Beir(str(folder)), "train", data.Pairs(), data.Skipped("skip"))
  with pytest.raises(data.BadRow, match="broken JSON"):
    mining_lib.read_task(data.Beir(str(folder)), "train", data.Pairs(), data.Skipped("stop"))


@pytest.mark.torch
@pytest.mark.parametrize("mining", RULES.values(), ids=RULES)
def test_equals_sentence_transformers(mining):
  util = pytest.importorskip("sentence_transformers.util")
  datasets = pytest.importorskip("datasets")
  torch = pytest.importorskip("torch")

  queries, documents, texts, rows = made(np.random.default_rng(3))
  vectors = dict(zip(texts.queries, queries)) | dict(zip(texts.documents, documents))

  class Model:
    """Only what mining asks of a model."""

    device = torch.device("cpu")
    similarity = staticmethod(util.cos_sim)
    similarity_pairwise = staticmethod(util.pairwise_cos_sim)

    def encode_query(self, texts, **_):
      return np.stack([vectors[text] for text in texts])

    encode_document = encode_query

  limits = {n: getattr(mining, n) for n in ("absolute_margin", "relative_margin", "max_score", "min_score")}
  reference = util.mine_hard_negatives(
    datasets.Dataset.from_dict({"anchor": [r["anchor"] for r in rows], "positive": [r["positive"] for r in rows]}),
    Model(),
    corpus=texts.documents,
    range_min=mining.range_min,
    range_max=mining.depth,
    num_negatives=mining.num_negatives,
    output_format="triplet",
    verbose=False,
    **limits,
  )
  wanted = {}
  for row in reference:
    wanted.setdefault((row["anchor"], row["positive"]), []).append(row["negative"])
  chosen, _ = choose(queries, documents, texts, mining)
  found = {}
  for row, query in zip(rows, texts.query_of):
    negatives = [texts.documents[index] for index in chosen[query] if index >= 0]
    if negatives:
      found[row["anchor"], row["positive"]] = negatives
  assert found == wanted and len(found) > 5
