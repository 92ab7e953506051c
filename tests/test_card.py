"""The model card: true to the run, and no row of the data can break the page."""

import ast
import html
import json
import re

import numpy as np
import pytest
import yaml

import mtc
from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.embedder import card, save
from mtc.evaluators import SameLabelRetrieval
from mtc.losses import CoSENT, InfoNCE, Matryoshka
from mtc.models import ModelSpec
from mtc.training import contrastive
from mtc.workdir import records

HOSTILE = [
  "a | b | c\n\n# heading",
  "</details><script>alert(1)</script>",
  "```\n~~~ **bold** _it_ [x](javascript:x) ![i](http://x/y.png)",
  "\u202eright to left\x07 & &lt; <!-- $x$ @user :smile:",
  "| --- |",
]
REPORT = {
  "examples": 12345,
  "texts": 234,
  "mean_length": 12.34,
  "languages": {"en": 9, "x y: [": 3},
  "fingerprint": "f" * 32,
}
ENVIRONMENT = {
  "command": ["/somewhere/mtc/main.py", "--config", "configs/a b.py", "--config.steps=7"],
  "revision": "abc+changes",
  "python": "3.13.0",
  "devices": "8 cpu devices",
  "packages": {"jax": "0.12.0"},
}
BEFORE = {"tfidf": {"tags/map": 0.25}, "untrained": {"tags/map": 0.125, "tags/map/en": 0.5}}
SCORES = {"tags/map": 0.75, "tags/map/en": 0.875}
LANGUAGES = [f"{a}{b}" for a in "abc" for b in "abcde"]


@pytest.fixture
def experiment():
  tags = [{"text": text, "labels": [text]} for text in HOSTILE]
  pairs = [{"text_a": "x" * 500, "text_b": "short", "score": 4.0, "language": "en"}] * 5
  return Experiment(
    tasks={
      "tags": Task(data.InMemory({"train": tags}), data.SameLabel(), Matryoshka(InfoNCE(temperature=0.07))),
      "sts": Task(data.InMemory({"train": pairs}), data.Scored(), CoSENT(scale=17.0), weight=0.5),
    },
    evaluations={"tags": Evaluation(data.Folder("tags"), data.SameLabel(), SameLabelRetrieval(limit=77))},
    card_samples=5,
  )


@pytest.fixture
def made(experiment, make_embedder):
  return card.text(experiment, make_embedder(), dict.fromkeys(experiment.tasks, REPORT), ENVIRONMENT, BEFORE, SCORES)


def front_matter(page):
  _, front, _ = page.split("---\n", 2)
  return yaml.safe_load(front)


def blocks(page, language):
  return re.findall(rf"^(`{{3,}}){language}\n(.*?)\n\1$", page, re.M | re.S)


def test_the_hub_can_read_the_front_matter(made, experiment, make_embedder):
  found = front_matter(made)
  assert made.startswith("---\n")
  assert (found["library_name"], found["pipeline_tag"]) == ("sentence-transformers", "sentence-similarity")
  assert found["language"] == ["en"] and "mtc" in found["tags"]
  assert "base_model" not in found
  experiment.model.pretrained = "someone/encoder"
  page = card.text(experiment, make_embedder(), dict.fromkeys(experiment.tasks, REPORT), {}, {}, {})
  assert front_matter(page)["base_model"] == "someone/encoder" and "someone/encoder</code>" in page


def test_what_it_says(made, experiment):
  titles = re.findall("^#+ (.*)$", made, re.M)
  assert titles[1:] == ["How to load it", "Scores", "Training data", "Training", "Versions"]
  plain = html.unescape(made)
  for fact in (
    "| tags | `map` | 0.250 | 0.125 | 0.750 |",
    "|  | en |\n| --- | --- |\n| tags | 0.875 |",
    "12,345",
    "temperature=0.07",
    "SameLabelRetrieval(limit=77, seed=0)",
    "| tags | <code>Matryoshka(",
    "CoSENT(scale=17.0",
    "OptimSpec(learning_rate=",
    "'find: '",
    "python -m mtc.main --config 'configs/a b.py' --config.steps=7",
    "abc+changes",
    "| jax | 0.12.0 |",
    "8 dimensions",
  ):
    assert fact in plain, fact
  (_, measured), (_, config) = blocks(made, "json")
  assert json.loads(measured)["scores"] == {"tfidf": BEFORE["tfidf"], "before": BEFORE["untrained"], "after": SCORES}
  assert json.loads(config)["tasks"]["sts"]["weight"] == 0.5
  assert json.loads(config)["tasks"]["sts"]["source"]["rows_by_split"] == {"train": 5}
  assert "x" * 197 + "..." in made and "x" * 198 + "..." not in made


def test_no_row_breaks_the_page(made, experiment):
  rendered = re.sub(r"^(`{3,}).*?^\1$", "", made, flags=re.M | re.S)  # what stands in a fence is shown as it is
  assert "script" not in re.findall(r"<\W*(\w+)", rendered) and rendered.count("</details>") == 2
  assert not re.search("[\u202a-\u202e\x00-\x09\x0b-\x1f]", rendered)
  (table,) = re.findall(r"^Rows of tags:\n\n((?:\|.*\n)+)", made, re.M)
  lines = table.splitlines()
  assert len(lines) == 2 + len(HOSTILE) and {line.count("|") for line in lines} == {3}
  for line, text in zip(lines[2:], HOSTILE):
    cell = line.split("|")[1].strip()
    assert not set("`*_[]<>#@:$\\~|") & set(re.sub(r"&#\d+;", "", cell))
    assert html.unescape(cell) == " ".join(text.replace("\u202e", "").replace("\x07", "").split())


def test_names_stay_readable():
  assert card._safe("mrr@10 of search_tweets, _so_ a_b") == "mrr&#64;10 of search_tweets, &#95;so&#95; a_b"


def test_the_metrics_of_the_table_are_the_first_ones_and_address_nobody(experiment, make_embedder):
  scores = {"tags/mrr@10": 0.5, "tags/map": 0.25} | {f"tags/mrr@10/{language}": 0.125 for language in LANGUAGES}
  page = card.text(experiment, make_embedder(), dict.fromkeys(experiment.tasks, REPORT), {}, {}, scores)
  assert "| tags | `mrr@10` |  |  | 0.500 |" in page and "`map`" not in page
  assert "|  | tags |\n| --- | --- |\n| aa | 0.125 |" in page, "more languages than fit as columns are rows"
  assert page.index("How to load it") < page.index("## Scores") < page.index("## Training")


@pytest.mark.parametrize("name, command", [("main.py", "main"), ("transfer/__main__.py", "transfer")])
def test_the_command_of_a_file_and_of_a_package(name, command):
  assert card._command([f"/somewhere/mtc/{name}", "--seeds=2"]) == f"python -m mtc.{command} --seeds=2"


def test_a_fence_is_longer_than_what_it_holds():
  fence, content = blocks(card._fenced("a\n````\nb", "sh"), "sh")[0]
  assert fence == "`````" and content == "a\n````\nb"


def test_private_rows_stay_out(experiment, make_embedder):
  experiment.card_samples = 0
  page = card.text(experiment, make_embedder(), dict.fromkeys(experiment.tasks, REPORT), ENVIRONMENT, BEFORE, SCORES)
  assert "Rows of" not in page and "short" not in page and "heading" not in page


@pytest.mark.parametrize("pooling", card._POOLED)
def test_the_code_is_python_and_that_of_mtc_runs(pooling, experiment, make_embedder, tmp_path, monkeypatch, capsys):
  embedder = make_embedder()
  embedder.spec.pooling = pooling
  page = card.text(experiment, embedder, dict.fromkeys(experiment.tasks, REPORT), {}, {}, {})
  save.write(embedder, tmp_path / "export", page)
  assert (tmp_path / "export" / "README.md").read_text("utf-8") == page
  ours, *theirs = [code for _, code in blocks(page, "python")]
  assert len(theirs) == 2 and all(ast.parse(code) for code in theirs)
  monkeypatch.chdir(tmp_path / "export")
  space: dict = {}
  exec(ours, space)
  assert space["documents"].shape == (2, 8) and capsys.readouterr().out.count(".") == 2


@pytest.mark.torch
@pytest.mark.parametrize("pooling", card._POOLED)
@pytest.mark.parametrize("projection", ["identity", "tanh", "none"])
def test_the_three_tools_give_the_same(pooling, projection, experiment, make_embedder, tmp_path, monkeypatch):
  pytest.importorskip("sentence_transformers")
  embedder = make_embedder()
  embedder.spec.pooling, embedder.spec.projection = pooling, projection if projection != "none" else ""
  if projection == "none":
    embedder.spec.dim = 0
    del embedder.params["projection"]
  page = card.text(experiment, embedder, dict.fromkeys(experiment.tasks, REPORT), {}, {}, {})
  save.write(embedder, tmp_path / "export", page)
  monkeypatch.chdir(tmp_path / "export")
  texts = ["a note about soup", "today we saw guitar song concert album, Quito", "neu: orbit"]
  ours, sentence_transformers, transformers = [code for _, code in blocks(page, "python")]
  spaces = []
  for code in (ours, sentence_transformers, transformers):
    spaces.append({})
    exec(code, spaces[-1])
  model = mtc.load(".")
  for role in ("query", "document"):
    wanted = model.encode(texts, role)
    encode = {"query": "encode_query", "document": "encode_document"}[role]
    np.testing.assert_allclose(getattr(spaces[1]["model"], encode)(texts), wanted, atol=1e-5)
    np.testing.assert_allclose(spaces[2]["encode"](texts, role).numpy(), wanted, atol=1e-5)


def test_a_run_leaves_a_card_and_another_one_the_same(data_dir, tmp_path, monkeypatch):
  environment = records.environment()  # a commit between the two runs is no part of this test
  monkeypatch.setattr(records, "environment", lambda command: environment | {"command": list(command)})
  experiment = Experiment(
    tasks={"tags": Task(data.Folder("hashtag"), data.SameLabel(), batch_size=8, max_length=32)},
    evaluations={"tags": Evaluation(data.Folder("hashtag"), data.SameLabel(), SameLabelRetrieval(limit=20))},
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=32, dim=8, dtype="float32"),
    data_dir=str(data_dir),
    cache_dir=str(tmp_path / "cache"),
    steps=2,
    input="threads",
  )
  pages = []
  for name in ("a", "b"):
    assert contrastive.prepare(experiment, tmp_path / name, ["mtc/main.py", "--config=c.py"])() == 0
    pages.append((tmp_path / name / "export" / "README.md").read_text("utf-8"))
  assert pages[0] == pages[1]
  scores = json.loads((tmp_path / "a" / "evaluation.json").read_text())["scores"]
  assert "| tags | `map` | " in pages[0] and f" | {scores['tags/map']:.3f} |" in pages[0]
  assert "tags/map/de" in pages[0] and "by language" in pages[0] and "python -m mtc.main --config=c.py" in pages[0]
