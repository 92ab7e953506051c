"""The built-in data: what it holds, that counting words does not solve it, and that it is made once and alike."""

import collections
import hashlib
import inspect
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import label_ranking_average_precision_score

from mtc.data import builtin
from mtc.data.builtin import grammar, tasks, world

ROOT = Path(__file__).parents[2]

# Of `_digest()`. Change it together with a word or a rule: results on the built-in data are then others.
GOLDEN = "28a76ca8bc5c5d0b"


def _digest() -> str:
  digest = hashlib.sha256()
  for config, splits in tasks.SPLITS.items():
    for split in splits:
      for row in tasks.rows(config, split):
        digest.update(repr(sorted(row.items())).encode())
  return digest.hexdigest()[:16]


def _texts(config: str, split: str) -> list[str]:
  return [row["text"] for row in tasks.rows(config, split)]


def _labels(config: str, split: str) -> list[list[str]]:
  return [row["labels"] for row in tasks.rows(config, split)]


def _similarity(config: str, queries: list[str], texts: list[str]) -> np.ndarray:
  """f64[queries, texts], the cosines of TF-IDF vectors whose words and frequencies are those of the training texts."""
  train = [row.get("text") or row["anchor"] for row in tasks.rows(config, "train")]
  if config == "search_tweets":
    train = _texts(config, "corpus")
  vectorizer = TfidfVectorizer(sublinear_tf=True).fit(train)
  return (vectorizer.transform(queries) @ vectorizer.transform(texts).T).toarray()


def _run(code: str, *paths: Path, **environment: str) -> subprocess.Popen:
  search = os.pathsep.join(map(str, [*paths, ROOT]))
  return subprocess.Popen(
    [sys.executable, "-W", "error", "-c", code],
    env={**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd="/",  # `python -c` finds the package of the working directory first
  )


def _finish(process: subprocess.Popen) -> str:
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, err[-2000:]
  return out.strip()


def test_languages_have_the_same_concepts_with_as_many_forms():
  english = grammar.words("en")
  for language in grammar.LANGUAGES:
    words = grammar.words(language)
    assert {section: list(names) for section, names in words.items()} == {s: list(n) for s, n in english.items()}
    for facet in grammar.FACETS:
      forms = [form for some in words[facet].values() for form in some]
      assert len(forms) == len(set(forms)), f"a form of {facet} in {language} says two things"
      assert all(len(some) == len(english[facet][name]) >= 6 for name, some in words[facet].items())
    assert list(words["noun"]) == [*words["theme"], *words["event"]]


def test_posts_are_many_short_distinct_and_in_three_scripts():
  posts = world.posts()
  assert len(posts) == len({post.text for post in posts}) == 6_000
  counts = collections.Counter(post.language for post in posts)
  assert len(counts) == 6 and min(counts.values()) > 800
  for post in posts:
    if post.language != "zh":
      assert 12 <= len(post.text.split()) <= 30, post.text
    else:
      assert 20 <= len(post.text) <= 60, post.text
  assert np.mean([grammar.count(post.text, post.language) for post in posts]) < 20.5
  scripts = {
    language: {
      unicodedata.name(char).split()[0]
      for post in posts
      if post.language == language
      for char in post.text
      if char.isalpha()
    }
    for language in counts
  }
  assert scripts == {
    "en": {"LATIN"},
    "de": {"LATIN"},
    "fr": {"LATIN"},
    "es": {"LATIN"},
    "ru": {"CYRILLIC"},
    "zh": {"CJK"},
  }


def test_frames_leave_no_traces():
  for post in world.posts():
    assert not re.search(r"[{}|]|  | [.,]|，[，。！？]|(^|[。！？：])，|\.\.", post.text), post.text
    assert post.text[0].isupper() or post.language in ("es", "zh"), post.text


def test_no_label_stands_in_a_text():
  labels = {label for split in tasks.SPLITS["hashtag"] for labels in _labels("hashtag", split) for label in labels}
  labels |= {word for labels in _labels("interest", "train") for word in labels[0].split("_")}
  texts = [post.text for post in world.posts()] + [row["anchor"] for row in tasks.rows("search_tweets", "train")]
  assert not labels & {word for text in texts for word in re.findall(r"\w+", text.lower())}


def test_topics_stories_and_tags_are_as_many_as_promised():
  assert len({label for labels in _labels("interest", "train") for label in labels}) == 24
  stories = {split: {labels[0] for labels in _labels("storyline", split)} for split in tasks.STORY_SPLITS}
  assert sum(map(len, stories.values())) == len(set.union(*stories.values())) == 600
  counts = [len(labels) for labels in _labels("hashtag", "train")]
  assert min(counts) >= 2 and np.mean(counts) > 2.5


def test_what_is_held_out_is_not_in_training():
  trained = {post.text for post in world.posts() if post.split == "train"}
  held_out = {post.text for post in world.posts() if post.split != "train"}
  for config in ("interest", "storyline", "hashtag"):
    assert set(_texts(config, "train")) <= trained and set(_texts(config, "test")) <= held_out
  assert not {row["positive"] for row in tasks.rows("search_tweets", "train")} & set(_texts("search_tweets", "corpus"))
  assert not set(_texts("translations", "train")) & set(_texts("translations", "test"))
  combinations = [tuple(story.concepts.values()) for story in world.stories()]
  assert len(combinations) == len(set(combinations))


def test_unseen_tags_occur_in_their_split_only():
  seen = {tag for split in tasks.STORY_SPLITS for labels in _labels("hashtag", split) for tag in labels}
  unseen = {tag for labels in _labels("hashtag", "test_unseen_tags") for tag in labels}
  assert len(unseen) >= len(seen) / 5 and not seen & unseen
  assert not set(_texts("hashtag", "test_unseen_tags")) & set(_texts("hashtag", "test"))


def test_held_out_words_occur_in_training():
  for config in ("storyline", "search_tweets"):
    field = {"storyline": "text", "search_tweets": "anchor"}[config]
    train, test = (
      {word for row in tasks.rows(config, split) for word in re.findall(r"\w+", row[field].lower())}
      for split in ("train", "test")
    )
    train |= {word for text in _texts("storyline", "train") for word in re.findall(r"\w+", text.lower())}
    # Chinese has no spaces: there a run of characters counts as a word, and is often new.
    new = {word for word in test - train if word.isascii() or not unicodedata.name(word[0]).startswith("CJK")}
    assert len(new) < 0.01 * len(test), sorted(new)


def test_a_query_is_answered_by_the_posts_that_mention_all_of_it():
  corpus = {row["id"]: row["text"] for row in tasks.rows("search_tweets", "corpus")}
  posts = [post for post in world.posts() if post.id in corpus]
  queries, answers = {}, collections.defaultdict(set)
  for row in tasks.rows("search_tweets", "test"):
    assert corpus[row["positive_id"]] == row["positive"] and row["score"] == 1.0
    queries[row["anchor_id"]] = (row["anchor"], row["language"])
    answers[row["anchor_id"]].add(row["positive_id"])
  assert len(answers) == tasks.QUERIES["test"]
  understood = 0
  for query, (text, language) in queries.items():
    concepts = _concepts(text, language)
    if concepts:
      understood += 1
      assert answers[query] == {post.id for post in posts if concepts <= post.concepts.items()}, text
  assert understood > 0.8 * len(queries)


def _concepts(query: str, language: str) -> set[tuple[str, str]]:
  """What a query asks for, by its own words; empty if they can be read in no way or in several."""
  words = grammar.words(language)
  said = {form: (facet, name) for facet in grammar.FACETS for name, forms in words[facet].items() for form in forms}
  said |= {grammar.bare(language, form): concept for form, concept in said.items()}
  for facet in ("theme", "event"):
    said |= {form: (facet, name) for name in words[facet] for form in words["noun"][name]}
  skipped = {*words["query"]["suffix"], ",", "，"}
  for name, (frame,) in ((name, frames) for name, frames in words["query"].items() if len(frames) == 1):
    asking = [part.strip() for part in re.split(r"\{\w+\}", frame) if part.strip()]
    if name in words["theme"]:  # its longest part says it: "who is hiring"
      said[max(asking, key=len)] = ("theme", name)
    skipped |= {part for part in asking if part not in said}

  def readings(text: str) -> list[set[tuple[str, str]]]:
    if not text:
      return [set()]
    heads = [(head, {said[head]} if head in said else set()) for head in (*said, *skipped) if text.startswith(head)]
    return [found | rest for head, found in heads for rest in readings(text[len(head) :].strip())]

  found = readings(query)
  return found[0] if len(found) == 1 else set()


def test_grades_follow_what_pairs_have_in_common():
  scores = [row["score"] for row in tasks.rows("sts", "test")]
  assert min(scores) == 0 and max(scores) == 5 and np.std(scores) > 1


def test_translations_are_complete():
  languages = collections.defaultdict(set)
  for row in tasks.rows("translations", "test"):
    languages[row["id"]].add(row["language"])
  assert len(languages) == 90 and all(found == set(grammar.LANGUAGES) for found in languages.values())


def test_tfidf_on_interest():
  train, test = _labels("interest", "train"), _labels("interest", "test")
  similarity = _similarity("interest", _texts("interest", "test"), _texts("interest", "train"))
  hits = 0
  for row, (label,) in zip(similarity, test):
    nearest = [train[index][0] for index in np.argsort(-row, kind="stable")[:10]]
    hits += collections.Counter(nearest).most_common(1)[0][0] == label
  assert 0.2 < hits / len(test) < 0.7


def test_tfidf_on_storyline():
  labels = np.array([story for (story,) in _labels("storyline", "test")])
  similarity = _similarity("storyline", _texts("storyline", "test"), _texts("storyline", "test"))
  np.fill_diagonal(similarity, -1)
  precisions = []
  for index, row in enumerate(similarity):
    hits = labels[np.argsort(-row, kind="stable")[:-1]] == labels[index]
    precisions.append(np.mean(np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)))
  assert 0.2 < np.mean(precisions) < 0.7


def test_tfidf_on_hashtag():
  train, test = _labels("hashtag", "train"), _labels("hashtag", "test")
  tags = sorted({tag for labels in train for tag in labels})
  similarity = _similarity("hashtag", _texts("hashtag", "test"), _texts("hashtag", "train"))
  best = np.stack([similarity[:, [tag in labels for labels in train]].max(axis=1) for tag in tags], axis=1)
  truth = np.array([[tag in labels for tag in tags] for labels in test])
  assert 0.2 < label_ranking_average_precision_score(truth, best) < 0.7


def test_tfidf_on_search():
  ids = [row["id"] for row in tasks.rows("search_tweets", "corpus")]
  queries, answers = {}, collections.defaultdict(set)
  for row in tasks.rows("search_tweets", "test"):
    queries[row["anchor_id"]] = row["anchor"]
    answers[row["anchor_id"]].add(row["positive_id"])
  similarity = _similarity("search_tweets", list(queries.values()), _texts("search_tweets", "corpus"))
  ranks = []
  for query, row in zip(queries, similarity):
    top = [ids[index] in answers[query] for index in np.argsort(-row, kind="stable")[:10]]
    ranks.append(1 / (top.index(True) + 1) if True in top else 0)
  assert 0.2 < np.mean(ranks) < 0.7


def test_a_fresh_process_generates_the_same_in_under_five_seconds_and_reads_it_without_tensorflow(tmp_path: Path):
  module = "import hashlib\nfrom mtc.data.builtin import tasks\n" + inspect.getsource(_digest)
  (tmp_path / "digest.py").write_text(module, encoding="utf-8")
  code = (
    "import sys, time\n"
    "from mtc.data import builtin\n"
    "from digest import _digest\n"
    "start = time.process_time()\n"
    "print(_digest(), time.process_time() - start)\n"
    "assert 'tensorflow_datasets' not in sys.modules\n"
    "for config in ('hashtag', 'sts'):\n"
    f"  print(sorted(sorted(row.items()) for row in builtin.rows(config, 'validation', {str(tmp_path)!r})))\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  generated, *read = _finish(_run(code, tmp_path, PYTHONHASHSEED="1")).splitlines()
  digest, seconds = generated.split()
  assert digest == _digest() == GOLDEN
  assert float(seconds) < 5
  for config, rows in zip(("hashtag", "sts"), read):
    assert rows == str(sorted(sorted(row.items()) for row in tasks.rows(config, "validation")))


def test_two_processes_prepare_one_directory(tmp_path: Path):
  code = f"from mtc.data import builtin; print(len(list(builtin.rows('sts', 'train', {str(tmp_path)!r}))))"
  assert [_finish(process) for process in [_run(code), _run(code)]] == ["1800", "1800"]
  assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [f"builtin-sts-{builtin.fingerprint()}"]


@pytest.mark.parametrize("name", ["[v1]", "a*?/**"])
def test_a_cache_may_have_any_name(tmp_path: Path, name: str):
  directory = tmp_path / name
  directory.mkdir(parents=True)
  expected = sorted(str(sorted(row.items())) for row in tasks.rows("sts", "validation"))
  for _ in range(2):  # the second one finds what the first has made
    assert sorted(str(sorted(row.items())) for row in builtin.rows("sts", "validation", str(directory))) == expected
  assert [path.name for path in directory.iterdir() if path.is_dir()] == [f"builtin-sts-{builtin.fingerprint()}"]


def test_a_read_only_package_prepares_into_the_cache_of_the_user(tmp_path: Path):
  package = tmp_path / "package"
  shutil.copytree(ROOT / "mtc", package / "mtc", ignore=shutil.ignore_patterns("__pycache__"))
  words = package / "mtc/data/builtin/words/en.txt"
  words.write_text(words.read_text(encoding="utf-8").replace("our start-up", "our new firm"), encoding="utf-8")
  before = sorted(path for path in package.rglob("*"))
  for path in [package, *before]:
    path.chmod(0o555 if path.is_dir() else 0o444)
  code = "from mtc.data import builtin; print(next(builtin.rows('sts', 'test'))['language'], builtin.fingerprint())"
  language, fingerprint = _finish(_run(code, package, XDG_CACHE_HOME=str(tmp_path / "cache"))).split()
  for path in [package, *before]:
    path.chmod(0o755)
  assert language in grammar.LANGUAGES and fingerprint != builtin.fingerprint()
  assert (tmp_path / "cache" / "mtc" / f"builtin-sts-{fingerprint}").is_dir()
  assert sorted(package.rglob("*")) == before


def test_unknown_names_are_answered():
  with pytest.raises(ValueError, match="no task 'stories'; it has interest, storyline"):
    builtin.builder("stories")
  with pytest.raises(ValueError, match="interest has no split 'corpus'; it has train, validation, test"):
    next(builtin.rows("interest", "corpus"))
