"""The steps of masked language modelling: what is drawn, what is hidden, and that every gap knows what was there."""

from typing import Any

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mtc import data
from mtc.data.masking import Masker, _by_label

LENGTH, ROWS, RATE = 32, 8, 0.3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
# Each text holds its own number in its words, so that a text of a step can be told from all others.
STARTS = [f"w{i}" for i in range(200)]
INSIDE = [f"##p{i}" for i in range(200)]
LONG = 9  # pieces of a word that is masked piecewise


@pytest.fixture(scope="module")
def tokenizer():
  made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(SPECIAL + STARTS + INSIDE)}, unk_token="[UNK]"))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  made.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
  made.add_special_tokens(SPECIAL)
  return made


def _text(rng: np.random.Generator, words: int, long: bool = False) -> str:
  made = []
  for _ in range(words):
    pieces = LONG if long else rng.integers(0, 4)
    made.append(f"w{rng.integers(200)}" + "".join(f"p{rng.integers(200)}" for _ in range(pieces)))
  return " ".join(made)


@pytest.fixture(scope="module")
def corpora(tokenizer, tmp_path_factory):
  """Two languages of one corpus, 9 : 1 in texts; a corpus of texts longer than a row, with long and unknown words."""
  rng, cache = np.random.default_rng(0), tmp_path_factory.mktemp("cache")
  posts = [{"text": _text(rng, 3 + i % 3), "labels": "de" if i % 10 else "en"} for i in range(900)]
  books = [{"text": f"{_text(rng, 20)} ??? {_text(rng, 2, long=True)}", "labels": "en"} for _ in range(400)]
  return {
    name: data.prepare(
      data.InMemory({"train": rows}), "train", data.SameLabel(), tokenizer, max_length=2**16, prompts={},
      cache_dir=cache, progress=False,
    )
    for name, rows in {"posts": posts, "books": books}.items()
  }  # fmt: skip


def masker(corpora, tokenizer, **changes) -> Masker:
  settings: dict[str, Any] = {"rows": ROWS, "length": LENGTH, "rate": RATE, "exponent": 0.5, "seed": 1, "devices": 1}
  settings |= {"local_devices": range(changes.get("devices", 1))} | changes
  return Masker(corpora, tokenizer, **settings)


def whole(step):
  """The arrays of a step as one device would have them: [rows, ...]."""
  return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), step)


def unmasked(step) -> np.ndarray:
  """The grid with every target put back into its gap."""
  ids = step.tokens.ids.copy()
  row, gap = np.nonzero(step.weight)
  assert len(set(zip(row, step.place[row, gap]))) == len(row), "a place is hidden twice"
  ids[row, step.place[row, gap]] = step.target[row, gap]
  return ids


def hidden(step) -> np.ndarray:
  """bool[rows, length]: the gaps."""
  found = np.zeros(step.tokens.ids.shape, bool)
  row, gap = np.nonzero(step.weight)
  found[row, step.place[row, gap]] = True
  return found


def texts_of(step) -> list[tuple[int, ...]]:
  ids, segment = unmasked(step), step.tokens.segment
  return [tuple(ids[r, segment[r] == s].tolist()) for r in range(len(ids)) for s in range(1, segment[r].max() + 1)]


def texts_in(corpus) -> list[tuple[int, ...]]:
  return [tuple(corpus.tokens[a:b].tolist()) for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:])]


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def steps(corpora, tokenizer):
  made = masker(corpora, tokenizer)
  return [whole(made.step(number)) for number in range(100)]


def test_a_step_follows_from_seed_and_number_alone(corpora, tokenizer):
  one, other = masker(corpora, tokenizer), masker(corpora, tokenizer)
  fifth = one.step(5)
  for number in (9, 5, 0):  # in any order
    other.step(number)
  assert_equal(other.step(5), fifth)
  assert np.any(one.step(6).tokens.ids != fifth.tokens.ids)
  assert np.any(masker(corpora, tokenizer, seed=2).step(5).tokens.ids != fifth.tokens.ids)


@pytest.mark.parametrize("devices", [2, 4])
def test_any_number_of_devices_and_hosts_has_the_same_step(corpora, tokenizer, devices):
  one = whole(masker(corpora, tokenizer).step(3))
  parts = masker(corpora, tokenizer, devices=devices).step(3)
  assert parts.tokens.ids.shape == (devices, ROWS // devices, LENGTH)
  assert_equal(whole(parts), one)
  local = masker(corpora, tokenizer, devices=devices, local_devices=range(1, 2)).step(3)
  assert_equal(local, jax.tree.map(lambda leaf: leaf[1:2], parts))


def test_a_gap_knows_what_was_there_and_nothing_else_is_changed(corpora, steps):
  whole_texts = {text for corpus in corpora.values() for text in texts_in(corpus)}
  long = [text for text in texts_in(corpora["books"]) if len(text) > LENGTH]
  assert len(long) > 300
  for step in steps[:20]:
    tokens = step.tokens
    np.testing.assert_array_equal(step.tokens.ids[tokens.segment == 0], 0)
    for array in (step.place, step.target):
      np.testing.assert_array_equal(array[step.weight == 0], 0)
    # Were another place changed, or a target wrong, these would not be texts of the corpora.
    for text in texts_of(step):
      if text not in whole_texts:
        assert len(text) == LENGTH and text[0] == CLS and text[-1] == SEP
        inner = " ".join(map(str, text[1:-1])) + " "
        assert any(inner in " ".join(map(str, one)) + " " for one in long)
    for segment, position in zip(tokens.segment, tokens.position):
      for s in range(1, segment.max() + 1):
        np.testing.assert_array_equal(position[segment == s], np.arange(np.sum(segment == s)))
    assert tokens.segment.max() <= tokens.slots


def test_long_texts_give_all_their_parts(corpora, tokenizer):
  made = masker({"books": corpora["books"]}, tokenizer)
  seen = {t for number in range(60) for text in texts_of(whole(made.step(number))) for t in text[1:-1]}
  there = {t for text in texts_in(corpora["books"]) for t in text[1:-1]}
  assert len(seen) > 0.95 * len(there)
  filled = np.mean([np.mean(made.step(number).tokens.segment > 0) for number in range(20)])
  assert filled > 0.95


def test_words_are_hidden_whole_and_special_tokens_never(steps):
  piecewise = unknown = 0
  for step in steps:
    ids, gaps = unmasked(step), hidden(step)
    assert not gaps[ids < len(SPECIAL)].any()
    unknown += np.sum(ids == UNK)
    inside = ids >= len(SPECIAL) + len(STARTS)
    for r in range(len(ids)):
      columns = np.flatnonzero(ids[r] >= len(SPECIAL))
      breaks = [i for i, c in enumerate(columns) if not inside[r, c] or (i and columns[i - 1] != c - 1)]
      for word in np.split(columns, breaks):
        if len(word) > 6:
          piecewise += 0 < gaps[r, word].sum() < len(word)
        elif len(word):
          assert gaps[r, word].all() or not gaps[r, word].any()
  assert piecewise > 50 and unknown > 50


@pytest.mark.parametrize("rate", [0.15, 0.3, 0.9])
def test_the_share_of_hidden_tokens(corpora, tokenizer, rate):
  made = masker(corpora, tokenizer, rate=rate, length=128)
  taken = real = 0
  for number in range(40):
    step = whole(made.step(number))
    count, there = step.weight.sum(1), np.count_nonzero(step.tokens.segment, axis=1)
    assert np.all(count <= np.floor(rate * there + 1e-9))
    taken, real = taken + count.sum(), real + there.sum()
  # Words stay whole: a little less than asked for. Not all of 0.9 can be hidden, for special tokens are visible.
  assert (0.9 * rate if rate < 0.5 else 0.75) < taken / real <= rate


def test_80_10_10(steps):
  shown = np.concatenate([step.tokens.ids[hidden(step)] for step in steps])
  was = np.concatenate([unmasked(step)[hidden(step)] for step in steps])
  assert len(shown) > 5000

  def near(count: int, share: float):
    assert abs(count - share * len(shown)) < 4 * np.sqrt(share * (1 - share) * len(shown))

  other = (shown != MASK) & (shown != was)
  near(np.sum(shown == MASK), 0.8)
  near(np.sum(shown == was), 0.1 + 0.1 / 400)
  near(np.sum(other), 0.1 * (1 - 1 / 400))
  assert shown.min() >= MASK  # a random token is an ordinary one
  assert len(np.unique(shown[other])) > 200  # of 400, evenly


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_groups_share_the_tokens_by_the_exponent(corpora, tokenizer, exponent):
  made = masker(corpora, tokenizer, exponent=exponent, rows=32)
  assert list(made.groups) == ["posts/0", "posts/1", "books/0"]
  training = [texts for texts, _ in made.groups.values()]
  assert sum(training) == sum(np.sum(c.text_keys % 100 != 0) for c in corpora.values())
  sizes = np.array([tokens for _, tokens in made.groups.values()], float)
  np.testing.assert_allclose(made.shares, sizes**exponent / np.sum(sizes**exponent))
  label = {}
  for number, text in enumerate(texts_in(corpora["posts"])):
    label[text] = int(corpora["posts"].labels[number])
  found = np.zeros(3)
  for number in range(60):
    for text in texts_of(whole(made.step(number))):
      found[label.get(text, 2)] += len(text)
  # 60,000 tokens in texts of about 20: the shares are known to about 0.01.
  np.testing.assert_allclose(found / found.sum(), made.shares, atol=0.03)


def test_a_group_is_the_texts_of_a_first_label(corpora):
  """An example without a label counts with the next one, or at the end with the last."""
  rng, posts = np.random.default_rng(5), corpora["posts"]
  ends = np.cumsum(rng.integers(0, 3, len(posts.anchor)))
  labels, offsets = rng.integers(0, 90, ends[-1]), np.concatenate([[0], ends])
  anchor = rng.integers(0, 500, len(posts.anchor))
  expected: dict[int, set[int]] = {}
  for text, first in zip(anchor.tolist(), offsets.tolist()):
    expected.setdefault(int(labels[min(first, len(labels) - 1)]), set()).add(text)
  found = _by_label(posts._replace(anchor=anchor, labels=labels, label_offsets=offsets))
  assert [(n, texts.tolist()) for n, texts in found] == [(str(n), sorted(expected[n])) for n in sorted(expected)]


def test_texts_for_measuring_are_never_learned_from(corpora, tokenizer):
  posts = {"posts": corpora["posts"]}
  learned, measured = (
    {t for n in range(60) for t in texts_of(whole(masker(posts, tokenizer, held_out=held).step(n)))}
    for held in (False, True)
  )
  held = {t for t, key in zip(texts_in(posts["posts"]), posts["posts"].text_keys) if key % 100 == 0}
  assert measured == held and len(held) > 2
  assert not learned & held
  assert len(learned) > 600


def test_a_grid_of_one_row_is_not_empty(corpora, tokenizer):
  made = masker({"books": corpora["books"]}, tokenizer, rows=1)
  assert np.count_nonzero(made.step(0).tokens.segment) == LENGTH
  assert made.step(0).weight.sum() > 5


def test_a_corpus_without_labels_is_one_group(tokenizer, tmp_path):
  rng = np.random.default_rng(3)
  rows = [{"anchor": _text(rng, 3), "positive": _text(rng, 3)} for _ in range(100)]
  pairs = data.prepare(
    data.InMemory({"train": rows}), "train", data.Pairs(), tokenizer, max_length=64, prompts={}, cache_dir=tmp_path,
    progress=False,
  )  # fmt: skip
  made = masker({"pairs": pairs}, tokenizer)
  assert list(made.groups) == ["pairs"] and made.groups["pairs"][0] > 190
  assert made.step(0).weight.sum() > 20


def test_texts_without_a_token_are_left_out(corpora, tokenizer):
  """As a static embedding has them, whose texts have no special tokens; here all of one group, and some of another."""
  posts = corpora["posts"]
  german = posts.labels == 0
  empty = np.zeros(len(posts.offsets) - 1, bool)
  empty[posts.anchor[~german]] = True
  empty[posts.anchor[german][::3]] = True
  sizes = np.where(empty, 0, np.diff(posts.offsets))
  some = posts._replace(
    tokens=posts.tokens[np.repeat(~empty, np.diff(posts.offsets))], offsets=np.concatenate([[0], np.cumsum(sizes)])
  )
  for exponent in (0.0, 0.5):
    made = masker({"posts": some}, tokenizer, exponent=exponent)
    assert list(made.groups) == ["posts/0"]
    assert not set(made.texts(0)["posts"]) & set(np.flatnonzero(empty).tolist())
    np.testing.assert_allclose(made.frequencies().sum(), 1)


def test_a_mask_token_is_needed_where_something_is_hidden(corpora):
  """Words can be counted without it."""
  plain = Tokenizer(models.WordLevel({f"w{i}": i for i in range(405)}, unk_token="w0"))
  np.testing.assert_allclose(masker(corpora, plain, rate=0.0).frequencies().sum(), 1)


def test_what_cannot_be(corpora, tokenizer):
  with pytest.raises(ValueError, match="rows=8 do not divide among 3 devices; use a multiple of 3"):
    masker(corpora, tokenizer, devices=3)
  plain = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
  with pytest.raises(ValueError, match="no mask token; use a model that was pretrained by masking, or train one"):
    masker(corpora, plain)
  with pytest.raises(ValueError, match="no text to learn from or to measure with; give at least a few hundred"):
    few = corpora["posts"]._replace(text_keys=np.ones_like(corpora["posts"].text_keys))
    masker({"posts": few}, tokenizer, held_out=True)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("length", [24, 128])
def test_frequencies_are_those_of_what_is_drawn(corpora, tokenizer, exponent, length):
  """A text longer than a row gives a part of it."""
  made = masker(corpora, tokenizer, exponent=exponent, length=length, rows=64)
  found = made.frequencies()
  assert found.shape == (405,)
  np.testing.assert_allclose(found.sum(), 1)
  drawn = np.zeros(405)
  for number in range(300):
    for name, texts in made.texts(number).items():  # of which the last ones may not fit into the grid
      tokens, offsets = corpora[name].tokens, corpora[name].offsets
      for text in texts:
        own = tokens[offsets[text] : offsets[text + 1]]
        drawn += np.bincount(own, minlength=405) * min(1, length / len(own))
  drawn /= drawn.sum()
  for token in (CLS, SEP, UNK):
    assert found[token] == pytest.approx(drawn[token], rel=0.03)
  assert np.corrcoef(found[5:], drawn[5:])[0, 1] > 0.99


def test_a_text_of_two_languages_counts_in_both(tokenizer, tmp_path):
  rng = np.random.default_rng(3)
  texts = [{"text": _text(rng, 4), "labels": "de" if i % 2 else "en"} for i in range(300)]
  rows = [*texts, *({"text": row["text"], "labels": "fr"} for row in texts[:150])]
  made = data.prepare(
    data.InMemory({"train": rows}), "train", data.SameLabel(), tokenizer, max_length=64, prompts={},
    cache_dir=tmp_path, progress=False,
  )  # fmt: skip
  assert len(made.offsets) == 301
  np.testing.assert_allclose(masker({"a": made}, tokenizer).frequencies().sum(), 1)
