"""Test texts in training texts: equal ones as sets, near ones as brute force finds them."""

import itertools
import random

import numpy as np
import pytest

from mtc.data import HeldOut, InMemory, Pairs, SameLabel, find_leaks, leakage, leakage_table, read
from mtc.data.leakage import NEAR, similarity

WORDS = "river stone paper lamp winter garden signal copper market window basket engine".split()


def posts(rng, count):
  return [" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) for _ in range(count)]


def changed(rng, text):
  """The text with a few letters replaced: from nearly equal to far away."""
  letters = list(text)
  for _ in range(rng.randint(0, 6)):
    letters[rng.randrange(len(letters))] = rng.choice("abcxyz")
  return "".join(letters)


def rows(texts):
  return list(read(InMemory({"train": [{"text": t, "labels": ["a"]} for t in texts]}), "train", SameLabel()))


@pytest.fixture(scope="module")
def both():
  rng = random.Random(0)
  training = posts(rng, 700)
  return training, [changed(rng, text) for text in rng.sample(training, 200)] + posts(rng, 100)


def test_what_is_found_is_what_brute_force_finds(both, monkeypatch):
  monkeypatch.setattr(leakage, "_BLOCK", 128)
  training, tests = both
  leaks = HeldOut({"t": tests}).seen_in(rows(training))
  equal = set(tests) & set(training)
  pairs = {(a, b) for a, b in itertools.product(set(tests), set(training)) if a != b and similarity(a, b) >= NEAR}
  near = {a for a, _ in pairs} - equal
  assert len(equal) > 20 and len(near) > 25
  assert leaks.tests["t"] == {"texts": len(set(tests)), "equal": len(equal), "near": len(near)}
  wanted = [i for i, text in enumerate(training) if text in equal or any(text == b for _, b in pairs)]
  assert leaks.leaking == wanted and leaks.rows == 700
  assert leaks.examples["t"] and all(pair in pairs for pair in leaks.examples["t"])


def test_similarity_by_hand():
  assert similarity("abcdef", "abcdeg") == pytest.approx(1 / 3)  # abcde | bcdef, bcdeg
  assert similarity("ab", "ab") == 1 and similarity("ab", "abc") == 0


def test_the_minima_estimate_the_similarity(both):
  training, tests = both
  a, b = training[:200], [text + " and more" for text in training[:200]]
  agree = (leakage._minima(a) == leakage._minima(b)).mean(axis=1)
  true = np.array([similarity(x, y) for x, y in zip(a, b, strict=True)])
  assert abs((agree - true).mean()) < 0.02 and np.abs(agree - true).max() < 4.5 * 0.056
  short = ["a", "b", "abcd", "a"]  # shorter than a shingle: not the letters of the next text
  np.testing.assert_array_equal(leakage._minima(short)[0], leakage._minima(["a"])[0])
  assert (leakage._minima(short)[0] == leakage._minima(short)[3]).all()


def test_nearly_all_pairs_at_the_threshold_are_compared():
  # At the threshold itself, where fewest are: 1 - (1 - 0.8 ** 5) ** 16 = 0.998 of them.
  rng = random.Random(1)
  texts = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=94)) for _ in range(400)]
  others = [text[:86] + "".join(rng.choices("ABCDEFGHIJ", k=8)) for text in texts]
  others = [text[:-8] + text[-8:].lower()[::-1] for text in others]
  true = [similarity(a, b) for a, b in zip(texts, others, strict=True)]
  assert 0.8 <= min(true) <= max(true) < 0.86
  assert HeldOut({"t": texts}).seen_in(rows(others)).tests["t"]["near"] >= 394


def test_case_width_and_spaces_make_no_difference():
  leaks = HeldOut({"t": ["The  RIVER bends", "ｗｉｄｅ", "other"]}).seen_in(rows(["the river\tbends ", "wide", "else"]))
  assert leaks.tests["t"] == {"texts": 3, "equal": 2, "near": 0}
  assert leaks.leaking == [0, 1]


def test_each_test_counts_its_own_and_every_text_of_a_row_counts():
  source = InMemory(
    {
      "train": [
        {"anchor": "one two three", "positive": "the answer", "negatives": ["a wrong answer"]},
        {"anchor": "nothing at all", "positive": "of any test", "negatives": []},
        {"anchor": "four", "positive": "one two three", "negatives": []},
      ]
    }
  )
  examples = list(read(source, "train", Pairs(negatives="negatives")))
  leaks = HeldOut({"a": ["one two three", "new"], "b": ["a wrong answer", "new"], "c": ["new"], "d": []}).seen_in(
    examples
  )
  assert {name: counts["equal"] for name, counts in leaks.tests.items()} == {"a": 1, "b": 1, "c": 0, "d": 0}
  assert leaks.leaking == [0, 2]


def test_every_copy_leaks_and_every_original_is_found():
  text = "the garden behind the old stone house was full of winter light, said number"
  leaks = HeldOut({"t": [f"{text} 1", f"{text} 2"]}).seen_in(rows([f"{text} 3", "another", f"{text} 4"]))
  assert leaks.leaking == [0, 2] and leaks.tests["t"]["near"] == 2
  assert HeldOut({"t": [f"{text} 1", f"{text} 2"]}).seen_in(rows([f"{text} 3"])).tests["t"]["near"] == 2


def test_thousands_of_copies_of_one_text_are_compared_few_times(monkeypatch):
  calls = []
  monkeypatch.setattr(leakage, "similarity", lambda a, b: calls.append(0) or similarity(a, b))
  tests = [f"the garden behind the old stone house was full of winter light, said number {i}" for i in range(100)]
  leaks = HeldOut({"t": tests}).seen_in(rows([text.replace("said", "says") for text in tests]))
  assert leaks.tests["t"]["near"] == 100 and len(leaks.leaking) == 100
  assert len(calls) < 1000, "of 10,000 pairs"


def test_it_is_looked_for_once(tmp_path, monkeypatch):
  source = InMemory({"train": [{"text": "a text of both", "labels": ["a"]}, {"text": "another", "labels": ["a"]}]})

  def find(tests, source=source):
    return find_leaks(HeldOut({"t": tests}), source, "train", SameLabel(), cache_dir=tmp_path)

  first = find(["a text of both"])
  assert first.leaking == [0]
  with monkeypatch.context() as patch:
    patch.setattr(HeldOut, "seen_in", None)
    assert find(["a text of both"]) == first
  assert find(["something else"]).leaking == []
  more = InMemory({"train": [*source.rows_by_split["train"], {"text": "A text of both", "labels": ["b"]}]})
  assert find(["a text of both"], more).leaking == [0, 2]
  assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 3


def test_the_table_names_pairs_with_leaks_only(both):
  training, tests = both
  held_out = HeldOut({"own/test": tests, "other/test": ["nowhere at all"]})
  shown = leakage_table({"task": held_out.seen_in(rows(training)), "clean": held_out.seen_in(rows(["new"]))})
  assert "own/test" in shown and "other/test" not in shown and "clean" not in shown
  assert "of 700 of task; the other 3 pairs have none" in shown
  assert "4 pairs" in leakage_table({"a": held_out.seen_in(rows(["new"])), "b": held_out.seen_in([])})
