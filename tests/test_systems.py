"""What the command line names as systems, and what they cost."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtc.embedder import save
from mtc.evaluation import systems
from mtc.evaluation.api import Api
from mtc.evaluation.systems import lookup, parse
from mtc.evaluators import Graded, Search

TABLE = Search({"q": "which cat"}, {"a": "a cat sat", "b": "the dog"}, {"q": {"a": 1}})


def endpoint(**options):
  return Api(**options, cache=Path("unused"))


def write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "v.jsonl", [{"text": "a cat sat"}, {"text": "the dog"}, {"text": "which cat", "role": "query"}])
  np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float16))
  return tmp_path


def test_names(folder):
  given = ["v.npy", "a=./v.npy", "tfidf", "words=bm25", "api=http://h/v1#m", "c=api=http://h/v1#m,dimensions=8"]
  assert [one.name for one in parse(given, "", endpoint)] == ["v.npy", "a", "tfidf", "words", "m", "c"]


def test_a_model_is_named_by_its_run_and_a_path_may_hold_an_equals_sign(folder, make_embedder):
  save.write(make_embedder(0), folder / "lr=1" / "export")
  (plain,) = parse(["lr=1/export"], "", endpoint)
  (named,) = parse(["best=lr=1/export"], "", endpoint)
  assert (plain.name, named.name) == ("lr=1", "best")
  np.testing.assert_array_equal(*(one.encoder(TABLE)(["a cat"]) for one in (plain, named)))


@pytest.mark.parametrize(
  "given, message",
  [
    (["tfidf", "x=tfidf", "x=bm25"], r"'tfidf' and 'bm25' are both named 'x'; name them: a=tfidf b=bm25"),
    (["=v.npy"], "has no name"),
    (["a="], "has no directory"),
    (["a=nowhere"], r"'nowhere' is not there; expected \[NAME=\]"),
    (["nowhere.npy"], r"nowhere\.jsonl, the texts of nowhere\.npy, is not there"),
    (["api=h#m"], "is not URL#MODEL"),
    (["api=http://h/v1"], "has no name|is not URL#MODEL"),
    (["a=api=http://h/v1#m,dimensions=few"], "dimensions=few of the system"),
  ],
)
def test_what_cannot_be_understood(folder, given, message):
  with pytest.raises((ValueError, OSError), match=message):
    parse(given, "", endpoint)


def test_vectors_of_a_file_cost_no_time(folder):
  (one,) = parse(["v.npy"], "", endpoint)
  encode = one.encoder(TABLE)
  np.testing.assert_array_equal(encode(["the dog", "a cat sat"]), [[0, 1, 0], [1, 0, 0]])
  np.testing.assert_array_equal(encode(["which cat"], role="query"), [[0, 0, 1]])
  assert one.cost() == systems.Cost(3, 6, None)


@pytest.mark.parametrize("given", ["v.npy", "tfidf", "bm25", "api=http://h/v1#m"])
def test_texts_that_are_none_are_named_whatever_is_scored(folder, given):
  (one,) = parse([given], "", endpoint)
  with pytest.raises(ValueError, match=r"texts\[1\] is None; expected a string"):
    one.encoder(TABLE)(["the dog", None])


def test_words_have_the_cost_of_their_entries():
  tfidf, bm25 = parse(["tfidf", "bm25"], "", endpoint)
  tfidf.encoder(TABLE)(["a cat sat", "the dog", "which cat"])
  cost = tfidf.cost()
  assert (cost.dimensions, cost.bytes_per_text) == (4, 5 * (8 + 4) / 3)  # cat sat | the dog | cat, of float64 and int32
  assert 0 < cost.milliseconds_per_text < 60_000
  assert bm25.encoder(Graded(["a", "b"], ["c", "d"], [0, 1])) is None


def test_an_endpoint_costs_the_time_of_what_it_was_asked(folder):
  (one,) = parse(["api=http://h/v1#m"], "", endpoint)
  api = one._fit(TABLE)
  api.texts, api.seconds = 4, 0.1
  assert one.cost().milliseconds_per_text == pytest.approx(25)


LINES = {
  "no JSON": "text",
  "a string": '"text"',
  "no text": '{"txt": "a"}',
  "a number": '{"text": 1}',
  "a role that is none": '{"text": "a", "role": 3}',
  "no UTF-8": "\udcff",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_texts_that_are_none(folder, line):
  (folder / "t.jsonl").write_text('{"text": "a"}\n' + line + "\n", errors="surrogateescape")
  with pytest.raises(ValueError, match=r"t\.jsonl:2: .* --list_texts=FILE.jsonl writes such a file"):
    lookup(folder / "t.jsonl", folder / "v.npy")


def test_a_model_is_scored_with_its_first_dimensions(folder, make_embedder):
  save.write(make_embedder(0), folder / "run" / "export")
  whole, first = parse(["run/export", "run/export,dim=3"], "", endpoint)
  assert (whole.name, first.name) == ("run", "run@3")
  vectors = first.encoder(TABLE)(["a cat sat", "the dog"])
  cut = whole.encoder(TABLE)(["a cat sat", "the dog"])[:, :3]
  np.testing.assert_allclose(vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
  assert first.cost().dimensions == 3
  for dim in ("0", "9", "many", ""):
    with pytest.raises(ValueError, match=rf"dim={dim} of the system 'run/export,dim={dim}' is not in 1..8"):
      parse([f"run/export,dim={dim}"], "", endpoint)


def test_vectors_that_do_not_fit_their_texts(folder):
  write(folder / "one.jsonl", [{"text": "a"}])
  with pytest.raises(ValueError, match=r"shape \(3, 3\), but .* has 1 texts"):
    lookup(folder / "one.jsonl", folder / "v.npy")
  with pytest.raises(FileNotFoundError, match=r"w\.jsonl, the texts of w\.npy, is not there; name it with --texts"):
    np.save("w.npy", np.eye(2))
    parse(["w.npy"], "", endpoint)
  (folder / "empty.npy").touch()
  with pytest.raises(ValueError, match=r"empty\.npy is no array of numbers"):
    lookup(folder / "one.jsonl", folder / "empty.npy")


def test_sentence_transformers_that_is_not_installed_is_named(monkeypatch):
  def absent(name):
    raise ImportError(f"No module named {name!r}")

  monkeypatch.setattr(systems.importlib, "import_module", absent)
  with pytest.raises(ValueError, match=r"st=there needs .* install mtc\[torch\]"):
    parse(["st=there"], "", endpoint)


@pytest.mark.torch
@pytest.mark.filterwarnings("default")
def test_sentence_transformers_gives_the_vectors_of_mtc(folder, make_embedder):
  save.write(make_embedder(0), folder / "export")
  ours, theirs = parse(["a=export", "st=export"], "", endpoint)
  for role in ("query", "document"):
    vectors = [one.encoder(TABLE)(["a cat sat", "the dog"], role=role) for one in (ours, theirs)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
  assert theirs.cost().dimensions == 8


@pytest.mark.torch
@pytest.mark.filterwarnings("default")
def test_sentence_transformers_reads_the_encoder_that_mtc_brings():
  ours, theirs = parse(["a=mtc-mini", "st=mtc-mini"], "", endpoint)
  vectors = [one.encoder(TABLE)(["a cat sat", "the dog"]) for one in (ours, theirs)]
  np.testing.assert_allclose(*vectors, atol=1e-5)
