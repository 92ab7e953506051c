"""Rows that cannot be read: counted, printed and saved beside the scores, and judged documents stay judged."""

import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest

import mtc
from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import mining
from mtc.evaluation import tables
from mtc.evaluators import KNN, STS, CrossLingualRetrieval, Retrieval, SameLabelRetrieval, TranslationMatching
from mtc.models import ModelSpec
from mtc.training import contrastive

CASES = Path(__file__).parent / "cases"
BONDS = CASES / "judged_document_empty"
# Of mtc-mini, over the queries a and b: pytrec_eval, with the document 2 after all others.
SCORES = {"mrr@10": 1.0, "ndcg@10": 0.9251724, "map@10": 0.85, "recall@1": 0.75, "recall@10": 1.0, "precision@1": 1.0}


@pytest.fixture(scope="module")
def mini():
  return mtc.load("mtc-mini")


def read(source, examples, evaluator, on_bad_row="skip", **options):
  """The table, and the counts of what was skipped of its splits."""
  evaluation = Evaluation(source, examples, evaluator, **options)
  experiment = Experiment(tasks={}, evaluations={"it": evaluation}, on_bad_row=on_bad_row)
  skipped = {}
  table = tables.read_tables(experiment, "test", skipped)["it"]
  return table, skipped.get("it", {})


def bonds(tmp_path, corpus=(), queries=(), drop=()):
  """The case with other lines for some documents and queries, by their ids; those to drop have none."""
  folder = Path(shutil.copytree(BONDS, tmp_path / "bonds"))
  for name, changes in (("corpus", dict(corpus)), ("queries", dict(queries))):
    lines = {json.loads(line)["_id"]: line for line in (folder / f"{name}.jsonl").read_text().splitlines()} | changes
    (folder / f"{name}.jsonl").write_text("".join(f"{lines[id]}\n" for id in lines if id not in drop))
  return data.Beir(str(folder))


EMPTY = "document: field 'text' is empty"
NO_QUERY = {"query: an id is not in queries.jsonl": 1}
# What becomes of the document 2 and of the query c, which are judged; and what is reported.
UNREADABLE = {
  "as the case has it": ({}, {EMPTY: 1, **NO_QUERY}),
  "spaces": ({"corpus": {"2": '{"_id": "2", "title": " ", "text": " \\n"}'}}, {EMPTY: 1, **NO_QUERY}),
  "a null": (
    {"corpus": {"2": '{"_id": "2", "text": null}'}},
    {"document: field 'text' is missing": 1, **NO_QUERY},
  ),
  "half a line, of which nobody knows the id": (
    {"corpus": {"2": '{"_id": "2", "text": "A bo'}},
    {"document: broken JSON": 1, **NO_QUERY},
  ),
  "a NUL": (
    {"corpus": {"2": r'{"_id": "2", "text": "a\u0000"}'}},
    {"document: field 'text' has a NUL character": 1, **NO_QUERY},
  ),
  "no line": ({"drop": ["2"]}, {"document: an id is not in corpus.jsonl": 1, **NO_QUERY}),
  "the query is empty": (
    {"queries": {"c": '{"_id": "c", "text": ""}'}},
    {EMPTY: 1, "query: field 'text' is empty": 1},
  ),
  "the query is half a line": ({"queries": {"c": '{"_id": "c", "te'}}, {EMPTY: 1, "query: broken JSON": 1}),
}


@pytest.mark.parametrize("changes, counts", UNREADABLE.values(), ids=UNREADABLE)
def test_a_judged_document_that_cannot_be_read_stays_judged(changes, counts, mini, tmp_path, capsys):
  table, skipped = read(bonds(tmp_path, **changes), data.Pairs(), Retrieval())
  assert skipped == {"test": counts} and list(table.qrels) == ["a", "b"] and table.qrels["a"] == {"1": 1, "2": 1}
  assert Retrieval()(mini.encode, table) == pytest.approx(SCORES, abs=1e-6)
  assert CrossLingualRetrieval()(mini.encode, table) == pytest.approx({"map": 0.85})
  printed = capsys.readouterr().out
  assert f"evaluation 'it', split test: {data.in_words(counts)}\n" in printed
  assert printed.count("left out") == 2, "once each"
  assert "split test: 1 relevant document cannot be read" in printed


def documents():
  return [json.loads(line) for line in (BONDS / "corpus.jsonl").read_text().splitlines()]


def pairs(**changes):
  """The case as pairs with ids, in which the document 2 and the query c have no text."""
  texts = {row["_id"]: row["text"] for row in documents()}
  asked = {"a": "what is a bond", "b": "what is an index fund", "c": None}
  judged = [("a", "1"), ("a", "2"), ("b", "5"), ("c", "4")]
  rows = [{"anchor": asked[q], "positive": texts[d] or None, "anchor_id": q, "positive_id": d} for q, d in judged]
  return rows, [{"id": id, "text": text} for id, text in texts.items()]


def in_memory(folder, rows, corpus):
  return data.InMemory({"test": rows, "corpus": corpus})


def jsonl(folder, rows, corpus):
  for name, content in (("test", rows), ("corpus", corpus)):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
  return data.Jsonl(str(folder))


def parquet(folder, rows, corpus):
  import pyarrow as pa
  from pyarrow import parquet as files

  for name, content in (("test", rows), ("corpus", corpus)):
    files.write_table(pa.Table.from_pylist(content), folder / f"{name}.parquet")
  return data.Parquet(str(folder))


@pytest.mark.parametrize("make", [in_memory, jsonl, parquet])
def test_pairs_with_ids_and_a_corpus_behave_like_a_beir_folder(make, mini, tmp_path):
  table, skipped = read(make(tmp_path, *pairs()), data.Pairs(), Retrieval())
  assert skipped == {"test": {"document: field 'positive' is missing": 1, "query: field 'anchor' is missing": 1}}
  assert Retrieval()(mini.encode, table) == pytest.approx(SCORES, abs=1e-6)
  rows, corpus = pairs()
  rows[1]["positive"] = "a text that the corpus lacks"
  table, skipped = read(make(tmp_path, rows, [row for row in corpus if row["id"] != "2"]), data.Pairs(), Retrieval())
  assert skipped == {"test": {"document: an id is not in the corpus": 1, "query: field 'anchor' is missing": 1}}
  assert Retrieval()(mini.encode, table) == pytest.approx(SCORES, abs=1e-6)


def test_what_another_row_or_the_corpus_has_is_not_lost():
  rows, corpus = pairs()
  corpus[1]["text"] = "a bond pays interest"
  table, skipped = read(data.InMemory({"test": rows, "corpus": corpus}), data.Pairs(), Retrieval())
  assert skipped == {"test": {"query: field 'anchor' is missing": 1}} and table.unreadable == []
  rows.append({"anchor": "what is inflation", "positive": "Inflation makes money worth less.", "anchor_id": "c"})
  table, skipped = read(data.InMemory({"test": rows}), data.Pairs(), Retrieval())
  assert skipped == {"test": {"document: field 'positive' is missing": 1}}
  assert set(table.qrels["c"]) == {"4", "Inflation makes money worth less."}


def test_pairs_without_ids():
  """A document without a text is one that nothing finds; a query without one asks nothing, and its answer is there."""
  rows = [("a", "x"), ("a", ""), ("b", None), (None, "y"), ("", ""), ("c", "z")]
  rows = [{"anchor": anchor, "positive": positive} for anchor, positive in rows]
  table, skipped = read(data.InMemory({"test": rows}), data.Pairs(), Retrieval())
  assert list(table.qrels) == ["a", "c", "b"] and list(table.corpus) == ["x", "z", "y"]
  assert {query: len(judged) for query, judged in table.qrels.items()} == {"a": 2, "b": 1, "c": 1}
  assert len(table.unreadable) == 2
  assert skipped == {
    "test": {
      "field 'anchor' is empty": 1,
      "document: field 'positive' is empty": 1,
      "document: field 'positive' is missing": 1,
      "query: field 'anchor' is missing": 1,
    }
  }


def test_what_is_judged_is_no_training_pair():
  rows, corpus = pairs()
  found = list(data.read(data.InMemory({"train": rows}), "train", data.Pairs(), "skip"))
  assert [example["positive_id"] for example in found] == ["1", "5"]
  source = data.Beir(str(BONDS))
  assert [example["positive_id"] for example in data.read(source, "test", data.Pairs(), "skip")] == ["1", "5"]
  _, texts = mining.read_task(source, "test", data.Pairs(), data.Skipped("skip"))
  assert texts.queries == ["what is a bond", "what is an index fund"]
  assert "" not in texts.documents and len(texts.documents) == 4


STOPS = {
  "an empty document": ({}, "corpus.jsonl:2: field 'text' is empty"),
  "a missing document": ({"drop": ["2"]}, "test.tsv:3: an id is not in corpus.jsonl ('2')"),
  "a missing query": (
    {"corpus": {"2": '{"_id": "2", "text": "a"}'}},
    "test.tsv:5: an id is not in queries.jsonl ('c')",
  ),
}


@pytest.mark.parametrize("changes, message", STOPS.values(), ids=STOPS)
def test_stop_stops(changes, message, tmp_path):
  with pytest.raises(ValueError, match=rf"evaluation 'it', split 'test': .*{re.escape(message)}.*; fix the row"):
    read(bonds(tmp_path, **changes), data.Pairs(), Retrieval(), "stop")


def test_stop_stops_at_an_id_that_the_corpus_lacks():
  rows, corpus = pairs()
  source = data.InMemory({"test": rows[:1], "corpus": corpus[2:]})
  with pytest.raises(ValueError, match=r"an id is not in the corpus \('1'\); fix the row, or skip such rows"):
    read(source, data.Pairs(), Retrieval(), "stop")


def test_a_search_of_which_nothing_can_be_found_is_refused(tmp_path):
  source = bonds(tmp_path, drop=["1", "2", "5"])
  with pytest.raises(ValueError, match=r"none of 3 relevant documents can be read; are the ids .* split test: 3 doc"):
    read(source, data.Pairs(), Retrieval())


# Good rows of the other kinds.
KINDS = {
  "labels": (data.SameLabel(), SameLabelRetrieval(), [{"text": t, "labels": "x" if t < "c" else "y"} for t in "abcd"]),
  "labels of a reference": (data.SameLabel(), KNN(k=1), [{"text": t, "labels": t} for t in "abcd"]),
  "scores": (data.Scored(), STS(), [{"text_a": "a", "text_b": t, "score": i} for i, t in enumerate("abcd")]),
  "translations": (
    data.Translations(),
    TranslationMatching(),
    [{"id": i, "text": t, "language": g} for i, t, g in [(1, "a", "x"), (1, "b", "y"), (2, "c", "x"), (2, "d", "y")]],
  ),
}


@pytest.mark.parametrize("examples, evaluator, rows", KINDS.values(), ids=KINDS)
def test_rows_of_every_kind_are_counted(examples, evaluator, rows, capsys):
  bad = [dict.fromkeys(rows[0]), "no row"]
  source = data.InMemory({"test": [*rows, *bad], "known": [*rows, bad[1]]})
  reference = "known" if isinstance(evaluator, KNN) else ""
  _, skipped = read(source, examples, evaluator, reference=reference)
  assert sum(skipped.pop("test").values()) == 2
  assert skipped == ({"known": {"not an object": 1}} if reference else {})
  assert capsys.readouterr().out.count("1 row left out (not an object)") == 1 + bool(reference)


def test_mining_prints_the_counts(tmp_path):
  (tmp_path / "c.py").write_text(
    "from mtc import data\nfrom mtc.config import Experiment, Task\ndef get_config():\n"
    f"  return Experiment(tasks={{'search': Task(data.Beir({str(BONDS)!r}))}}, on_bad_row='skip')\n"
  )
  command = [sys.executable, "-m", "mtc.mine", f"--config={tmp_path / 'c.py'}", "--task=search", "--split=test"]
  command += ["--model=mtc-mini", f"--output={tmp_path / 'hard.jsonl'}"]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  assert f"split 'test': {data.in_words({EMPTY: 1, **NO_QUERY})}\n" in done.stdout
  assert len((tmp_path / "hard.jsonl").read_text().splitlines()) == 2


OWN = CASES / "query_is_a_document"
# Of mtc-mini, as mteb and pytrec_eval have them with and without identical ids.
LEFT_OUT = {"mrr@10": 1.0, "ndcg@10": 1.0, "recall@1": 1.0}
KEPT = {"mrr@10": 0.5, "ndcg@10": 0.6309298, "recall@1": 0.0}


def test_a_query_that_is_a_document_does_not_find_itself(mini, capsys):
  table, _ = read(data.Beir(str(OWN)), data.Pairs(), Retrieval(), "stop")
  assert "split test: 8 of 8 queries have the id of a document, which is left out of" in capsys.readouterr().out
  for evaluator, wanted in ((Retrieval(), LEFT_OUT), (Retrieval(keep_identical_ids=True), KEPT)):
    scores = evaluator(mini.encode, table)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
  read(data.Beir(str(OWN)), data.Pairs(), Retrieval(keep_identical_ids=True), "stop")
  assert capsys.readouterr().out == ""


def test_identical_ids_of_pairs(mini, capsys):
  rows = [row for _, row in data.Beir(str(OWN)).rows("test")]
  table, _ = read(data.InMemory({"test": rows}), data.Pairs(), Retrieval())
  assert Retrieval()(mini.encode, table)["mrr@10"] == pytest.approx(LEFT_OUT["mrr@10"])
  plain = [{name: row[name] for name in ("anchor", "positive")} for row in rows]
  table, _ = read(data.InMemory({"test": plain}), data.Pairs(), Retrieval())
  assert Retrieval()(mini.encode, table)["mrr@10"] == pytest.approx(KEPT["mrr@10"]), "they have no ids"
  capsys.readouterr()
  rows = [{"anchor": text, "positive": text + "!", "anchor_id": text, "positive_id": text} for text in "abc"]
  read(data.InMemory({"test": rows}), data.Pairs(), Retrieval())
  assert "for 3 of them it is judged relevant, which counts as a miss (keep_identical_ids=True of Ret" in (
    capsys.readouterr().out
  )


def test_nothing_is_said_where_nothing_is_skipped(capsys):
  _, skipped = read(data.Jsonl(str(CASES / "posts_without_text"), {"test": "train.jsonl"}), data.SameLabel(), KNN())
  assert skipped == {} and capsys.readouterr().out == ""


CONFIG = """
from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.evaluators import KNN, Retrieval
def get_config():
  posts, search = (data.Jsonl({posts!r}), data.SameLabel()), (data.Beir({bonds!r}), data.Pairs())
  tests = {{"posts": Evaluation(*posts, KNN(k=3), reference="train"), "search": Evaluation(*search, Retrieval())}}
  return Experiment(tasks={{"posts": Task(*posts)}}, evaluations=tests, on_bad_row="skip")
"""


def test_the_command_prints_and_saves_the_counts_beside_the_scores(tmp_path):
  config = CONFIG.format(posts=str(CASES / "posts_without_text"), bonds=str(BONDS))
  (tmp_path / "c.py").write_text(config)
  command = [sys.executable, "-m", "mtc.evaluate", f"--config={tmp_path / 'c.py'}", "--model=mtc-mini"]
  done = subprocess.run([*command, f"--output={tmp_path / 'o.json'}"], capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  written = json.loads((tmp_path / "o.json").read_text())
  assert written["skipped"] == {
    "posts": {"test": {"field 'text' is missing": 16}},
    "search": {"test": {EMPTY: 1, **NO_QUERY}},
  }
  assert written["scores"]["search/recall@1"] == 0.75 and written["scores"]["search/map@10"] == pytest.approx(0.85)
  assert "evaluation 'posts', split test: 16 rows left out (field 'text' is missing)\n" in done.stdout
  assert "1 document left out (field 'text' is empty), 1 query left out (an id is not in queries" in done.stdout


def test_a_run_saves_the_counts_and_the_card_has_them(tmp_path, capsys):
  training, tests = (
    [json.loads(line) for line in (CASES / "posts_without_text" / f"{name}.jsonl").read_text().splitlines()]
    for name in ("train", "test")
  )
  source = data.InMemory({"train": training + tests[4:8], "validation": tests, "test": tests})
  experiment = Experiment(
    tasks={"posts": Task(source, data.SameLabel(), batch_size=4, max_length=16)},
    evaluations={"posts": Evaluation(source, data.SameLabel(), KNN(k=3), reference="train")},
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=200, positions=32, dim=8, dtype="float32"),
    cache_dir=str(tmp_path / "cache"),
    steps=1,
    input="threads",
    on_bad_row="skip",
  )
  assert contrastive.prepare(experiment, tmp_path / "run")() == 0
  missing = "field 'text' is missing"
  counts = {"posts": {"test": {missing: 16}, "train": {missing: 4}, "validation": {missing: 16}}}
  saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
  assert saved.keys() == {"scores", "skipped"} and saved["skipped"] == counts
  assert json.loads((tmp_path / "run" / "data.json").read_text())["posts"]["skipped"] == {missing: 4}
  page = (tmp_path / "run" / "export" / "README.md").read_text()
  assert "| posts | test | 16 rows left out (field 'text' is missing) |" in page
  assert "| posts | train | 4 rows left out" in page and "validation |" not in page, "it has no scores of validation"
  printed = capsys.readouterr().out
  assert printed.count("split test: 16 rows left out (field 'text' is missing)") == 1
  assert printed.count("split train: 4 rows left out") == 1, "the reference of both, once"
  assert "  posts: 4 rows left out (field 'text' is missing)\n" in printed, "below the table of the start"
