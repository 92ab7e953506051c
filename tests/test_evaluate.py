"""Tables from sources, numbers from models and from vectors in files."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mtc import data, evaluate
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import save
from mtc.evaluation import comparing, scoring, tables as tables_lib
from mtc.evaluation.systems import lookup
from mtc.evaluators import (
  KNN,
  STS,
  CrossLingualRetrieval,
  Retrieval,
  SameLabelRetrieval,
  TranslationMatching,
  ZeroShot,
)


def by_length(texts, role="document"):
  """Vectors that know the role: letters counted."""
  rows = np.array([[t.count(c) for c in "abcdefghij"] + [1.0 + (role == "query")] for t in texts], np.float32)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def experiment(data_dir):
  return Experiment(
    tasks={"interest": Task(data.Folder("interest"), data.SameLabel())},
    evaluations={
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(), reference="train"),
      "storyline": Evaluation(data.Folder("storyline"), data.SameLabel(), SameLabelRetrieval(), validation=""),
      "search_tweets": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval()),
    },
    data_dir=str(data_dir),
  )


def test_tables_are_read_by_split(experiment):
  tables = tables_lib.read_tables(experiment, "test")
  assert list(tables) == ["interest", "storyline", "search_tweets"]
  assert len(tables["interest"].texts) == 40 and len(tables["interest"].reference_texts) == 200
  assert list(tables_lib.read_tables(experiment, "validation")) == ["interest", "search_tweets"]
  search = tables["search_tweets"]
  answers = {document for judged in search.qrels.values() for document in judged}
  assert len(search.corpus) > len(answers), "documents that answer nothing belong to the corpus too"


def test_scores_are_named_by_evaluation_and_the_first_metrics_found(experiment):
  tables = tables_lib.read_tables(experiment, "test")
  scores = scoring.score(by_length, tables, experiment.evaluations)
  assert list(scoring.primary_metrics(scores)) == ["interest/accuracy", "storyline/map", "search_tweets/mrr@10"]
  assert "interest/accuracy/de" in scores
  shown = comparing.report({"a": scores, "b": {"interest/accuracy": 0.5}})
  assert "interest/accuracy" in shown and "/de" not in shown and "0.500" in shown


def test_graded_pairs_and_translations():
  source = data.InMemory(
    {"test": [{"text_a": "a", "text_b": "ab", "score": 2.0}, {"text_a": "a", "text_b": "a", "score": 5.0}]}
  )
  words = data.InMemory(
    {
      "test": [
        {"id": i, "text": t, "language": g}
        for i, t, g in [(1, "ab", "x"), (2, "cd", "x"), (1, "aab", "y"), (2, "d", "y")]
      ]
    }
  )
  experiment = Experiment(
    tasks={},
    evaluations={
      "sts": Evaluation(source, data.Scored(), STS()),
      "translations": Evaluation(words, data.Translations(), TranslationMatching()),
    },
  )
  scores = scoring.score(by_length, tables_lib.read_tables(experiment, "test"), experiment.evaluations)
  assert scores["sts/spearman"] == pytest.approx(1.0) and scores["translations/accuracy"] == 1.0


def test_what_cannot_be_scored_is_answered_with_the_name_of_its_evaluation(experiment):
  def read(examples, evaluator, *rows):
    source = data.InMemory({"test": list(rows)})
    experiment.evaluations = {"mine": Evaluation(source, examples, evaluator)}
    return tables_lib.read_tables(experiment, "test")

  texts = [{"text": "a", "labels": ["x"]}, {"text": "b", "labels": ["y"]}]
  with pytest.raises(ValueError, match=r"'mine', split 'test': InMemory.*:1: field 'labels' is missing"):
    read(data.SameLabel(), KNN(), {"text": "no label"})
  with pytest.raises(ValueError, match="'mine', split 'test': the table has no texts; is the split empty"):
    read(data.SameLabel(), KNN())
  with pytest.raises(ValueError, match="'mine', split 'test': all 1 texts have the one label 'x'"):
    read(data.SameLabel(), KNN(), texts[0])
  with pytest.raises(ValueError, match="STS scores data of Scored, and the config says SameLabel"):
    read(data.SameLabel(), STS(), *texts)
  tables = read(data.SameLabel(), KNN(), *texts)
  with pytest.raises(ValueError, match="evaluation 'mine': k=10 of KNN"):
    scoring.measure(by_length, tables, experiment.evaluations)


def test_languages_of_documents_and_names_of_labels_reach_the_evaluators(experiment, data_dir, tmp_path):
  experiment.evaluations = {
    "pool": Evaluation(data.Folder("search_tweets"), data.Pairs(), CrossLingualRetrieval()),
    "topic": Evaluation(data.Folder("interest"), data.SameLabel(), ZeroShot("about {}")),
  }
  tables = tables_lib.read_tables(experiment, "test")
  assert set(tables["pool"].document_languages.values()) == {"de", "en"}
  comparing.list_texts(tmp_path / "texts.jsonl", tables, experiment.evaluations)
  listed = [json.loads(line)["text"] for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
  assert {"about cooking", "about space"} <= set(listed)


def test_a_document_of_grade_0_does_not_answer():
  pairs = [{"anchor": "a", "positive": text} | graded for text, graded in (("b", {"score": 0}), ("c", {}))]
  experiment = Experiment(
    tasks={}, evaluations={"search": Evaluation(data.InMemory({"test": pairs}), data.Pairs(), Retrieval())}
  )
  assert tables_lib.read_tables(experiment, "test")["search"].qrels == {"a": {"b": 0.0, "c": 1.0}}


def test_bad_documents_of_a_search_are_skipped_and_the_first_of_an_id_is_kept(experiment, data_dir, tmp_path):
  folder = shutil.copytree(data_dir / "search_tweets", tmp_path / "search_tweets")
  with open(folder / "corpus.jsonl", "a") as file:
    file.write('{"_id": "d0", "text": "again"}\n{"_id": "broken"\n')
  del experiment.evaluations["interest"], experiment.evaluations["storyline"]
  (whole,) = tables_lib.read_tables(experiment, "test").values()
  experiment.data_dir, experiment.on_bad_row = str(tmp_path), "skip"
  assert tables_lib.read_tables(experiment, "test") == {"search_tweets": whole}
  experiment.on_bad_row = "stop"
  with pytest.raises(ValueError, match="'search_tweets', split 'test': .*broken JSON"):
    tables_lib.read_tables(experiment, "test")


def test_a_missing_folder_is_left_out_unless_a_task_needs_it(experiment, capsys):
  experiment.evaluations["nowhere"] = Evaluation(data.Folder("nowhere"), data.Pairs(), Retrieval())
  assert "nowhere" not in tables_lib.read_tables(experiment, "test")
  assert "'nowhere' is left out" in capsys.readouterr().err
  experiment.tasks["nowhere"] = experiment.tasks["interest"]
  with pytest.raises(FileNotFoundError, match="nowhere"):
    tables_lib.read_tables(experiment, "test")


def test_before_is_measured_once(experiment, tmp_path):
  tables = tables_lib.read_tables(experiment, "test")
  path = tmp_path / "before.json"
  tfidf = scoring.before(path, tables, experiment.evaluations)
  assert tfidf.keys() == {"tfidf"} and json.loads(path.read_text()).items() > tfidf.items()
  both = scoring.before(path, tables, experiment.evaluations, by_length)
  assert both["untrained"].keys() == both["tfidf"].keys() and both["tfidf"] == tfidf["tfidf"]

  def fail(texts, role="document"):
    raise AssertionError("measured a second time")

  assert scoring.before(path, tables, experiment.evaluations, fail) == both
  assert json.loads(path.read_text()).items() > both.items()


def test_before_is_measured_anew_for_other_evaluations_or_data(experiment, tmp_path):
  tables = tables_lib.read_tables(experiment, "test")
  path = tmp_path / "before.json"
  first = scoring.before(path, tables, experiment.evaluations, by_length)
  experiment.evaluations["search_tweets"].evaluator.mrr_at = 5
  second = scoring.before(path, tables, experiment.evaluations, by_length)
  assert "search_tweets/mrr@5" in second["untrained"].keys() == second["tfidf"].keys() != first["tfidf"].keys()
  tables["storyline"].texts[:20] = tables["storyline"].texts[20:]
  third = scoring.before(path, tables, experiment.evaluations)
  assert "untrained" not in third and third["tfidf"]["storyline/map"] != second["tfidf"]["storyline/map"]


def test_vectors_of_a_file_score_like_the_encoder_that_made_them(experiment, tmp_path):
  tables = tables_lib.read_tables(experiment, "test")
  comparing.list_texts(tmp_path / "texts.jsonl", tables, experiment.evaluations)
  rows = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
  assert {row["role"] for row in rows} == {"query", "document"}
  np.save(tmp_path / "vectors.npy", np.concatenate([by_length([row["text"]], row["role"]) for row in rows]))
  encode = lookup(tmp_path / "texts.jsonl", tmp_path / "vectors.npy")
  assert scoring.score(encode, tables, experiment.evaluations) == scoring.score(
    by_length, tables, experiment.evaluations
  )
  with pytest.raises(ValueError, match="lacks 1 of 1 texts of role 'document', 'never seen' first"):
    encode(["never seen"])


def test_neighbours_are_the_nearest_and_not_the_post_itself(experiment):
  tables = tables_lib.read_tables(experiment, "test")
  shown = comparing.neighbours(by_length, tables, count=2).splitlines()
  assert len(shown) == 8
  assert shown[0] not in [line.split("  ")[-1] for line in shown[1:4]]
  assert [float(line.split()[0]) for line in shown[1:4]] == sorted(
    [float(line.split()[0]) for line in shown[1:4]], reverse=True
  )
  assert comparing.neighbours(by_length, tables, count=0) == ""


def test_two_models_are_compared_on_the_same_rows(experiment):
  tables = tables_lib.read_tables(experiment, "test")

  def forgetful(texts, role="document"):
    """Knows queries as before; documents got one another's vectors."""
    rows = by_length(texts, role)
    return rows if role == "query" else np.roll(rows, 1, axis=0)

  base, this = (scoring.measure(encode, tables, experiment.evaluations) for encode in (by_length, forgetful))
  found = comparing.compare(base, this)
  scores = [scoring.score(encode, tables, experiment.evaluations) for encode in (by_length, forgetful)]
  assert [list(found)] * 2 == [[name for name in s if not name.endswith("/left_out")] for s in scores]
  for name, d in found.items():
    assert (d.base, d.this) == (scores[0][name], scores[1][name])
    assert d.low <= d.this - d.base <= d.high
  assert found["search_tweets/mrr@10"].verdict == "forgot" and found["search_tweets/mrr@10"].rows == 40
  same = comparing.compare(base, base)
  assert {(d.low, d.high, d.verdict) for d in same.values()} == {(0, 0, "kept")}
  shown = comparing.comparison("b", "a", found)
  assert "b against a:" in shown and "forgot" in shown
  assert f"  {found['search_tweets/mrr@10'].p:.3f}  forgot" in shown
  assert "interest/accuracy/de" not in comparing.comparison("b", "a", same), "a language is shown where it changed only"


def test_systems_from_the_command_line(experiment, make_embedder, tmp_path):
  models = [tmp_path / name / "export" for name in ("base", "this")]
  for seed, path in enumerate(models):
    save.write(make_embedder(seed), path)
  config = tmp_path / "config.py"
  config.write_text(
    "from mtc import data\n"
    "from mtc.config import Evaluation, Experiment, Task\n"
    "from mtc.evaluators import Retrieval, SameLabelRetrieval\n"
    "def get_config():\n"
    "  tags, search = (data.Folder('hashtag'), data.SameLabel()), (data.Folder('search_tweets'), data.Pairs())\n"
    "  tests = {'hashtag': Evaluation(*tags, SameLabelRetrieval()), 'search': Evaluation(*search, Retrieval())}\n"
    f"  return Experiment(tasks={{'hashtag': Task(*tags)}}, evaluations=tests, data_dir={experiment.data_dir!r})\n"
  )

  def run(*arguments):
    command = [sys.executable, "-m", "mtc.evaluate", "--config", config, "--output", tmp_path / "o.json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done, json.loads((tmp_path / "o.json").read_text()) if done.returncode == 0 else {}

  page = tmp_path / "page.html"
  done, written = run("--report", page, "--compare", models[0], models[1], "words=tfidf", "bm25")
  assert done.returncode == 0, done.stderr
  shown = page.read_text("utf-8")
  assert "<h2>search</h2>" in shown and "<h2>hashtag</h2>" not in shown, "the last system's, which is BM25"
  assert list(written["systems"]) == ["base", "this", "words", "bm25"] and written["baseline"] == "base"
  entry = written["differences"]["this"]["hashtag/map"]
  assert entry.keys() == {"base", "this", "low", "high", "rows", "p", "verdict"}
  assert [entry["base"], entry["this"]] == [written["systems"][n]["scores"]["hashtag/map"] for n in ("base", "this")]
  assert "this against base:" in done.stdout and entry["verdict"] in done.stdout
  assert not any(name.startswith("hashtag") for name in written["systems"]["bm25"]["scores"])
  assert written["systems"]["bm25"]["scores"]["search/mrr@10"] > 0.5
  cost = written["systems"]["this"]["cost"]
  assert (cost["dimensions"], cost["bytes_per_text"]) == (8, 32) and cost["milliseconds_per_text"] > 0
  table = done.stdout[done.stdout.rindex("hashtag/map") :].splitlines()
  assert table[0].split()[-1] == "-" and ["ms per text" in line for line in table].count(True) == 1

  done, alone = run("--model", models[1], "--report", page)
  assert "<h2>hashtag</h2>" in page.read_text("utf-8")
  assert list(alone["systems"]) == ["tfidf", "this"] and "differences" not in alone
  assert alone["scores"] == alone["systems"]["this"]["scores"] == written["systems"]["this"]["scores"]


def test_what_the_flags_name(tmp_path):
  def names(*compared, model="", embeddings=""):
    given = SimpleNamespace(model=model, embeddings=embeddings, texts="", api_cache="", api_key_variable="KEY")
    given.api_requests_per_second = 1.0
    return [one.name for one in evaluate._opened(given, compared)]

  np.save(tmp_path / "v.npy", np.eye(2))
  (tmp_path / "v.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
  vectors = str(tmp_path / "v.npy")
  assert names(embeddings=vectors) == ["tfidf", "v.npy"], "TF-IDF beside what is scored alone"
  assert names("bm25", model="tfidf") == ["bm25", "tfidf"], "the first is what --model is compared with"
  assert names("bm25", "a=tfidf", "b=" + vectors) == ["bm25", "a", "b"]
  with pytest.raises(ValueError, match="name what to score"):
    names()
  with pytest.raises(ValueError, match="name what to score"):
    names(model="tfidf", embeddings=vectors)
  with pytest.raises(ValueError, match="'bm25' alone; name two or more, or use --model=bm25"):
    names("bm25")


def test_mistakes_end_with_exit_code_2(tmp_path):
  rows = [{"text": f"t{i}", "labels": [label]} for i, label in enumerate("aabb")]
  (tmp_path / "tags").mkdir()
  for path in ("tags/test.jsonl", "texts.jsonl"):
    (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
  np.save(tmp_path / "vectors.npy", np.array([[1, 0], [0, np.nan], [1, 1], [0, 1]]))
  (tmp_path / "config.py").write_text(
    "from mtc import data\n"
    "from mtc.config import Evaluation, Experiment, Task\n"
    "from mtc.evaluators import SameLabelRetrieval\n"
    "def get_config():\n"
    "  tags = data.Folder('tags'), data.SameLabel()\n"
    "  return Experiment(tasks={'other': Task(*tags)}, evaluations={'tags': Evaluation(*tags, SameLabelRetrieval())})\n"
  )

  def run(data_dir, *arguments):
    command = [sys.executable, "-m", "mtc.evaluate", "--config", tmp_path / "config.py"]
    command += [f"--config.data_dir={data_dir}", "--texts", tmp_path / "texts.jsonl"]
    command += ["--embeddings", tmp_path / "vectors.npy", *arguments]
    return subprocess.run(command, capture_output=True, text=True)

  done = run(tmp_path)
  assert done.returncode == 2, done.stderr
  assert "evaluation 'tags': 1 of 4 vectors hold NaN or infinity, the first for text 1: 't1'" in done.stderr
  done = run(tmp_path / "tags")
  assert done.returncode == 2, done.stderr
  assert "none of the 1 evaluations of the config has data to score" in done.stderr
  done = run(tmp_path, "--report", tmp_path / "nowhere" / "page.html")  # before the vectors are looked at
  assert done.returncode == 2 and "nowhere is not a directory" in done.stderr


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
  evaluate._check_writable("report", tmp_path / "page.html")
  assert not (tmp_path / "page.html").exists()
  with pytest.raises(ValueError, match="--report .* is a directory; name a file"):
    evaluate._check_writable("report", tmp_path)
  with pytest.raises(ValueError, match="--output .*nowhere is not a directory"):
    evaluate._check_writable("output", tmp_path / "nowhere" / "scores.json")
