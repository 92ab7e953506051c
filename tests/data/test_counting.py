"""Tokens counted by group, and what a smaller vocabulary keeps of them, by hand."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mtc.data import counting
from mtc.data.counting import Coverage, count, cover, fewer
from mtc.data.vocabulary import Vocabulary

TOKENS = ("[UNK]", "the", "sea", "sky", "a", "b", "##a", "##b")
TEXTS = [
  ("en", "the sea the sky"),
  ("de", "sky"),
  ("en", "x sea"),
  ("en", "ab"),
  ("de", "   "),
]


@pytest.fixture
def tokenizer():
  made = Tokenizer(models.WordPiece({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return made


def test_tokens_are_counted_by_group(tokenizer, monkeypatch):
  for block in (8192, 2, 1):
    monkeypatch.setattr(counting, "_BLOCK", block)
    found = count(tokenizer, iter(TEXTS), 9)
    assert {group: counts.tolist() for group, counts in found.items()} == {
      "en": [1, 2, 2, 1, 1, 0, 0, 1, 0],
      "de": [0, 0, 0, 1, 0, 0, 0, 0, 0],
    }


@pytest.mark.parametrize("block", [8192, 2])
def test_what_is_kept_of_a_group(tokenizer, monkeypatch, block):
  monkeypatch.setattr(counting, "_BLOCK", block)
  vocabulary = Vocabulary(tokenizer, 8)
  kept = [0, 1, 2, 4, 6]  # neither sky, nor b at the start or inside of a word
  found = cover(vocabulary, vocabulary.trimmed(kept), kept, iter(TEXTS))
  assert found == {
    "en": Coverage(
      texts=3, tokens=8, tokens_kept=6, texts_kept=1, unknown=1, tokens_after=7, unknown_after=3
    ),  # "sky" and "ab" are unknown now, each one token
    "de": Coverage(texts=2, tokens=1, tokens_kept=0, texts_kept=1, tokens_after=1, unknown_after=1),
  }
  both = (found["en"] + found["de"]).report()
  assert both == {
    "texts": 5,
    "tokens": 9,
    "tokens_kept": 6 / 9,
    "texts_kept": 2 / 5,
    "unknown_before": 1 / 9,
    "unknown_after": 4 / 8,
    "tokens_after": 8 / 9,
  }
  assert Coverage().report()["tokens_kept"] == 0


@pytest.mark.parametrize("text", ["the sea", "sea the the sea sea", "sea"])
def test_a_tokenizer_that_breaks_its_promise_is_found(tokenizer, text):
  vocabulary, kept = Vocabulary(tokenizer, 8), list(range(8))
  settings = json.loads(tokenizer.to_str())
  settings["model"]["vocab"] |= {"the": 2, "sea": 1}
  wrong = Tokenizer.from_str(json.dumps(settings))
  with pytest.raises(ValueError, match=f"cannot be trimmed: the text '{text}', whose tokens are all kept"):
    cover(vocabulary, wrong, kept, [("en", "sky"), ("en", text), ("en", "sky x")])
  shorter = Tokenizer(models.WordPiece({"[UNK]": 0, text: 1}, unk_token="[UNK]"))
  if " " in text:
    with pytest.raises(ValueError, match=f"the text '{text}'"):
      cover(vocabulary, shorter, kept, [("en", text)])


def test_all_of_it(tokenizer):
  vocabulary = Vocabulary(tokenizer, 8)
  kept, smaller, covered = fewer(vocabulary, lambda: iter(TEXTS), 3, balance=1.0, least=99, required={3})
  assert kept == [0, 1, 3] and smaller.encode("sky the").ids == [2, 1]
  assert list(covered) == ["all", "de", "en"] and covered["all"].texts == 5
  assert (covered["de"].texts_kept, covered["en"].texts_kept) == (2, 0)
  reads = []

  def texts():
    reads.append(1)
    return iter(TEXTS)

  with pytest.raises(ValueError, match="tokens=9 is more than the 8 tokens"):
    fewer(vocabulary, texts, 9, balance=1.0, least=99, required=())
  assert not reads  # it is said before the texts are read


def test_texts_that_cannot_be_counted(tokenizer):
  for texts in ([], [("en", "  ")]):
    with pytest.raises(ValueError, match="there is no token in the texts"):
      count(tokenizer, texts, 8)
  with pytest.raises(ValueError, match="more than 256 groups, such as '256'; is it a language"):
    count(tokenizer, ((str(i), "sea") for i in range(300)), 8)


def test_memory_does_not_grow_with_the_texts(tokenizer):
  """50,000 texts pass through; only a block of them is alive at a time."""
  alive, most = 0, 0

  class Text(str):
    def __del__(self):
      nonlocal alive
      alive -= 1

  def texts():
    nonlocal alive, most
    for _ in range(50_000):
      alive += 1
      most = max(most, alive)
      yield "en", Text("sea")

  assert count(tokenizer, texts(), 8)["en"].tolist() == [0, 0, 50_000, 0, 0, 0, 0, 0]
  assert most <= 3 * counting._BLOCK
