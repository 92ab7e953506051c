"""Sampling: every anchor once an epoch, positives by label, and a step that depends on nothing but (seed, step)."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
import random
import time

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from mtc.data.prepared import Prepared
from mtc.data.sampling import MAX_KEYS, PERIOD, Mixing, Sampler, quotas, unite


def pairs(count: int, negatives: int = 0, score: bool = False) -> Prepared:
  """Example i is texts 2i and 2i + 1; text t has key 10 t; negatives are the texts after, the last one missing."""
  anchor = np.arange(0, 2 * count, 2, dtype=np.int32)
  others = (anchor[:, None] + 2 + np.arange(negatives, dtype=np.int32)) % (2 * count)
  if negatives:
    others[:, -1] = -1
  text_keys = np.arange(2 * count, dtype=np.int32) * 10
  return Prepared(
    tokens=np.zeros(2 * count, np.int32),
    offsets=np.arange(2 * count + 1),
    anchor=anchor,
    positive=anchor + 1,
    negatives=others.astype(np.int32),
    score=np.linspace(0, 1, count, dtype=np.float32) if score else None,
    labels=np.zeros(0, np.int32),
    label_offsets=np.zeros(count + 1, np.int64),
    keys=np.stack([anchor, anchor + 1], 1) * 10,
    text_keys=text_keys,
    report={},
  )


def grouped(labels: list[list[int]], texts: list[int] | None = None) -> Prepared:
  """Example i has these labels and text i, or `texts[i]`; its keys are its text and 1000 + its labels."""
  anchor = np.array(range(len(labels)) if texts is None else texts, np.int32)
  keys = np.full((len(labels), 1 + max(map(len, labels))), -1, np.int32)
  for i, own in enumerate(labels):
    keys[i, : 1 + len(own)] = [anchor[i], *(1000 + label for label in own)]
  count = int(anchor.max()) + 1
  return Prepared(
    tokens=np.zeros(count, np.int32),
    offsets=np.arange(count + 1),
    anchor=anchor,
    positive=None,
    negatives=np.zeros((len(labels), 0), np.int32),
    score=None,
    labels=np.array([label for own in labels for label in own], np.int32),
    label_offsets=np.cumsum([0, *map(len, labels)]),
    keys=keys,
    text_keys=np.arange(count, dtype=np.int32),
    report={},
  )


def anchors(sampler: Sampler, name: str, steps: range) -> list[int]:
  return np.concatenate([sampler.sample(step)[name].anchor for step in steps]).tolist()


# Labels 0, 1, 2 have 20, 8 and 2 examples; the last example is alone with label 3.
ONE_LABEL = [[0]] * 20 + [[1]] * 8 + [[2]] * 2 + [[3]]


def test_pairs_come_once_an_epoch_in_a_new_order():
  sampler = Sampler({"a": pairs(15)}, {"a": 4}, seed=1)
  drawn = anchors(sampler, "a", range(15))  # four epochs, whose ends are within a step
  epochs = [drawn[i : i + 15] for i in range(0, 60, 15)]
  assert [sorted(epoch) for epoch in epochs] == [list(range(0, 30, 2))] * 4
  assert len(set(map(tuple, epochs))) == 4


def test_a_draw_carries_what_belongs_to_its_examples():
  sampler = Sampler({"a": pairs(15, negatives=3, score=True)}, {"a": 15}, seed=1)
  draw = sampler.sample(0)["a"]
  assert draw.negatives is not None and draw.negative_keys is not None and draw.score is not None
  for i, anchor in enumerate(draw.anchor.tolist()):
    assert draw.positive[i] == anchor + 1
    assert draw.keys[i].tolist() == [10 * anchor, 10 * anchor + 10]
    assert draw.negatives[i].tolist() == [(anchor + 2) % 30, (anchor + 3) % 30, -1]
    assert draw.negative_keys[i].tolist() == [(10 * anchor + 20) % 300, (10 * anchor + 30) % 300, -1]
    assert draw.score[i] == np.float32(anchor / 28)
  plain = Sampler({"a": pairs(15)}, {"a": 15}, seed=1).sample(0)["a"]
  assert plain.negatives is None and plain.negative_keys is None and plain.score is None


def test_the_draws_of_a_release_are_the_draws_of_the_next():
  """If this changes, a resumed run sees other data than the run it goes on with."""
  sampler = Sampler(
    {"a": pairs(8), "b": grouped(ONE_LABEL), "c": grouped(ONE_LABEL)}, {"a": 8, "b": 8, "c": 8}, 0, None, {"c": 0.5}
  )
  first, far = sampler.sample(0), sampler.sample(123_456_789)
  assert first["a"].anchor.tolist() == [0, 12, 2, 8, 14, 6, 10, 4]
  assert first["b"].positive.tolist() == [7, 23, 29, 3, 19, 14, 27, 5]
  assert far["c"].anchor.tolist() == [4, 26, 3, 24, 28, 1, 22, 5]


def test_order_depends_on_seed_and_name_but_not_on_other_tasks():
  def order(seed: int, name: str, *others: str) -> list[int]:
    names = (*others, name)
    return anchors(Sampler({n: pairs(50) for n in names}, dict.fromkeys(names, 50), seed), name, range(1))

  assert order(0, "a") == order(0, "a", "b") != order(0, "b")
  assert order(0, "a") != order(1, "a")


def test_anchors_with_labels_come_once_an_epoch_and_lonely_ones_are_left_out():
  sampler = Sampler({"a": grouped(ONE_LABEL)}, {"a": 4}, seed=0)
  assert sampler.anchors == {"a": 30} and sampler.left_out == {"a": 1}
  drawn = anchors(sampler, "a", range(15))
  assert sorted(drawn[:30]) == sorted(drawn[30:]) == list(range(30))


@settings(max_examples=50, deadline=None)
@given(
  st.lists(st.tuples(st.integers(0, 9), st.sets(st.integers(0, 4), min_size=1)), min_size=1, max_size=30),
  st.sampled_from([0.0, 0.4, 1.0]),
  st.integers(0, 10**9),
)
def test_positives_are_other_texts_that_share_a_label(examples, exponent, step):
  """Texts may repeat, with other labels: the same text is no positive, and its labels count as drawn."""
  labels, texts = [sorted(own) for _, own in examples], [text for text, _ in examples]
  task = grouped(labels, texts)
  texts_of = {label: {t for t, own in zip(texts, labels) if label in own} for label in range(5)}
  eligible = [i for i, own in enumerate(labels) if any(len(texts_of[label]) > 1 for label in own)]
  if not eligible:
    with pytest.raises(ValueError, match="0 anchors; give it labels that two different texts share"):
      Sampler({"a": task}, {"a": 1}, 0)
    return
  sampler = Sampler({"a": task}, {"a": len(eligible)}, 0, label_exponents={"a": exponent})
  assert sampler.left_out == {"a": len(labels) - len(eligible)}
  draw = sampler.sample(step)["a"]
  for anchor, positive, keys in zip(draw.anchor.tolist(), draw.positive.tolist(), draw.keys.tolist()):
    assert anchor != positive
    assert any({anchor, positive} <= own for own in texts_of.values())
    assert {anchor, positive} <= set(keys)
  if exponent == 1:
    assert sorted(draw.anchor.tolist()) == sorted(texts[i] for i in eligible)


def test_an_anchor_draws_one_of_its_labels_and_then_one_of_the_others():
  """Example 0 has labels 0 and 1, 1 has label 0, 2 to 5 have label 1: 0 meets 1 half the time, the others an eighth."""
  sampler = Sampler({"a": grouped([[0, 1], [0], [1], [1], [1], [1]])}, {"a": 6}, seed=0)
  met = Counter()
  for step in range(4000):
    draw = sampler.sample(step)["a"]
    met[int(draw.positive[draw.anchor == 0][0])] += 1
  np.testing.assert_allclose([met[i] / 4000 for i in range(1, 6)], [1 / 2, 1 / 8, 1 / 8, 1 / 8, 1 / 8], atol=0.025)


def test_keys_of_a_same_label_example_are_those_of_both_texts():
  draw = Sampler({"a": grouped([[0, 1], [0, 2]])}, {"a": 2}, seed=0).sample(0)["a"]
  expected = {0: [0, 1, 1000, 1001, 1002, -1], 1: [1, 0, 1000, 1002, 1001, -1]}
  assert {int(a): k.tolist() for a, k in zip(draw.anchor, draw.keys)} == expected


@pytest.mark.parametrize(("exponent", "expected"), [(0.0, [10, 10, 10]), (0.5, [15, 10, 5])])
def test_labels_come_by_their_size_to_the_exponent(exponent, expected):
  """At 0.5, of 30 draws: 30 times sqrt(20), sqrt(8), sqrt(2) = 4.47, 2.83, 1.41 by their sum 8.71 is 15.4, 9.7, 4.9."""
  sampler = Sampler({"a": grouped(ONE_LABEL)}, {"a": 30}, 0, label_exponents={"a": exponent})
  for step in (0, 1, 1000):
    drawn = Counter(ONE_LABEL[i][0] for i in anchors(sampler, "a", range(step, step + 1)))
    assert [drawn[label] for label in range(3)] == expected
  in_tens = Sampler({"a": grouped(ONE_LABEL)}, {"a": 10}, 0, label_exponents={"a": exponent})
  for step in range(9):
    assert {ONE_LABEL[i][0] for i in anchors(in_tens, "a", range(step, step + 1))} >= {0, 1}  # not one after the other


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=6), st.sampled_from([0.0, 0.3, 0.7]), st.integers(1, 9))
def test_each_labels_anchors_come_once_before_any_repeats(sizes, exponent, batch):
  labels = [[label] for label, size in enumerate(sizes) for _ in range(size)]
  sampler = Sampler({"a": grouped(labels)}, {"a": min(batch, len(labels))}, 0, label_exponents={"a": exponent})
  drawn = anchors(sampler, "a", range(100))
  for label, size in enumerate(sizes):
    own = [i for i in drawn if labels[i][0] == label]
    passes = [own[i : i + size] for i in range(0, len(own) - size + 1, size)]
    assert all(len(set(p)) == size for p in passes)


def test_a_step_does_not_depend_on_the_order_of_calls_or_on_threads():
  tasks = {"a": pairs(7), "b": grouped(ONE_LABEL), "c": grouped(ONE_LABEL)}

  def make() -> Sampler:
    return Sampler(tasks, {"a": 3, "b": 4, "c": 5}, 5, None, {"c": 0.5})

  steps = [*range(40), 10**6, 10**9]
  expected = {step: make().sample(step) for step in steps}
  shuffled = random.Random(0).sample(steps * 3, 3 * len(steps))
  with ThreadPoolExecutor(4) as pool:
    found = list(pool.map(make().sample, shuffled))
  for step, draws in zip(shuffled, found):
    for name, draw in draws.items():
      for got, want in zip(draw, expected[step][name]):
        np.testing.assert_array_equal(got, want)


def test_quotas_by_hand():
  assert quotas(np.array([70, 20, 9.9, 0.1]), 10).tolist() == [6, 2, 1, 1]
  assert quotas(np.array([1, 1, 1]), 1000).tolist() == [334, 333, 333]
  with pytest.raises(ValueError, match="3 shares of at least 1 do not fit into 2"):
    quotas(np.ones(3), 2)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.integers(20, 1000))
def test_quotas_sum_to_the_total_and_are_near_the_shares(shares, total):
  found = quotas(np.array(shares), total)
  assert found.sum() == total and found.min() >= 1
  exact = np.array(shares) / sum(shares) * total
  if exact.min() >= 1:
    assert np.abs(found - exact).max() < 1


def test_unite_by_hand():
  assert unite(np.array([[1, 5, 6]]), np.array([[2, 6, 7]])).tolist() == [[1, 2, 5, 6, 7, -1]]
  wide = np.arange(2 * MAX_KEYS).reshape(2, -1)
  kept = unite(wide[:1], wide[1:])
  assert kept.tolist() == [[key for pair in zip(*wide.tolist()) for key in pair][:MAX_KEYS]]


def test_all_tasks_come_in_every_step_unless_mixing_says_otherwise():
  sampler = Sampler({"a": pairs(10), "b": pairs(20)}, {"a": 2, "b": 4}, 0)
  assert sampler.task_sets() == [("a", "b")]
  assert sampler.cursors(17) == {"a": 17, "b": 17}
  assert sampler.mix(10) == {"a": (10, 20, 2.0), "b": (10, 40, 2.0)}


@pytest.mark.parametrize(
  ("mixing", "steps"),
  [
    # 100, 300 and 600 anchors; batches of 10, 10 and 20: shares of the anchors by the batch size.
    (Mixing("proportional"), [143, 429, 428]),  # 10 : 30 : 30, the odd step to the first
    (Mixing("uniform"), [400, 400, 200]),  # 1 : 1 : 1/2
    (Mixing("temperature", temperature=2.0), [253, 438, 309]),  # 1 : 1.732 : 1.2247
    (Mixing("weights", weights={"a": 6, "b": 1, "c": 6}), [600, 100, 300]),  # 6 : 1 : 3
  ],
)
def test_one_task_a_step_by_its_share_of_the_anchors(mixing, steps):
  tasks = {"a": pairs(100), "b": pairs(300), "c": pairs(600)}
  sampler = Sampler(tasks, {"a": 10, "b": 10, "c": 20}, 3, mixing)
  assert sampler.task_sets() == [("a",), ("b",), ("c",)]
  counts = dict.fromkeys(tasks, 0)
  orders = []
  for step in range(2 * PERIOD):
    if step % 250 == 0:
      assert [mix.steps for mix in sampler.mix(step).values()] == list(counts.values())
    [(name, cursor)] = sampler.cursors(step).items()
    assert cursor == counts[name]
    counts[name] += 1
    orders.append(name)
  assert list(counts.values()) == [2 * n for n in steps]
  assert orders[:PERIOD] != orders[PERIOD:]
  mix = sampler.mix(2 * PERIOD)["c"]
  assert mix == (2 * steps[2], 40 * steps[2], 40 * steps[2] / 600)


def test_a_far_step_is_found_at_once():
  tasks = {"a": pairs(100), "b": pairs(300)}
  taken = []
  for _ in range(20):
    sampler = Sampler(tasks, {"a": 10, "b": 10}, 0, Mixing("proportional"))
    start = time.perf_counter()
    [(name, cursor)] = sampler.cursors(123_456_789).items()
    taken.append(time.perf_counter() - start)
  share = {"a": 0.25, "b": 0.75}[name]
  assert abs(cursor - share * 123_456_789) < PERIOD
  assert min(taken) < 1e-3


@pytest.mark.parametrize(
  ("mixing", "message"),
  [
    (Mixing("random"), "mixing.kind='random' is unknown; use one of all, proportional, uniform, temperature, weights"),
    (Mixing("temperature", temperature=0.0), "mixing.temperature=0.0 is not positive"),
    (Mixing("uniform", weights={"a": 1.0}), "mixing.kind='uniform' does not use it; use kind='weights'"),
    (Mixing("weights", weights={"x": 1.0}), "names 'x', which is no task; known tasks: a, b"),
    (Mixing("weights", weights={"a": 0.0}), r"mixing.weights\['a'\]=0.0 is not positive; remove the task"),
    (Mixing("weights", weights={"a": 1.0}), "has no entry for b; give every task a weight"),
  ],
)
def test_a_mixing_that_cannot_be_says_why(mixing, message):
  with pytest.raises(ValueError, match=message):
    Sampler({"a": pairs(10), "b": pairs(10)}, {"a": 2, "b": 2}, 0, mixing)


def test_a_batch_larger_than_its_task_is_an_error():
  with pytest.raises(ValueError, match="batch_size=11 of task 'a', which has 10 anchors; use 1 to 10"):
    Sampler({"a": pairs(10)}, {"a": 11}, 0)
