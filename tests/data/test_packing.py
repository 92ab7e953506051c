"""Packing: nothing is lost, every device gets as much, no host sees another step, and the grid is full."""

from collections import Counter

from hypothesis import given, settings, strategies as st
import jax
import numpy as np
import pytest

from mtc.data.packing import Packer, best_fit, deal, make_plan, pack
from mtc.data.prepared import Prepared
from mtc.data.sampling import Draw, Mixing, Sampler
from mtc.types import Batch, Step


def task(
  seed: int, lengths: np.ndarray, examples: int, negatives: int = 0, score: bool = False, single: bool = False
) -> Prepared:
  """Texts of these lengths with random tokens >= 1, in random pairs or single; about half the negatives are missing."""
  rng = np.random.default_rng(seed)
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  hard = rng.integers(-len(lengths), len(lengths), (examples, negatives)).clip(-1).astype(np.int32)
  anchor, positive = rng.integers(0, len(lengths), (2, examples)).astype(np.int32)
  return Prepared(
    tokens=rng.integers(1, 1000, offsets[-1]).astype(np.int32),
    offsets=offsets,
    anchor=anchor,
    positive=None if single else positive,
    negatives=hard,
    score=rng.random(examples, np.float32) if score else None,
    labels=np.zeros(0, np.int32),
    label_offsets=np.zeros(examples + 1, np.int64),
    keys=rng.integers(-1, 50, (examples, 3)).astype(np.int32),
    text_keys=np.arange(len(lengths), dtype=np.int32),
    report={},
  )


def post_lengths(seed: int, mean: float, count: int = 3000, most: int = 120) -> np.ndarray:
  """Lengths like those of posts: log-normal with a long tail, cut at `most`."""
  return np.random.default_rng(seed).lognormal(np.log(mean), 0.5, count).astype(int).clip(3, most)


TASKS = {
  "plain": task(0, post_lengths(0, 12), 500),
  "hard": task(1, post_lengths(1, 20), 500, negatives=2),
  "scored": task(2, post_lengths(2, 30), 500, score=True),
  "single": task(3, post_lengths(3, 15), 500, single=True),
}
BATCH = {"plain": 21, "hard": 8, "scored": 5, "single": 11}  # not all divide by 2, 4 or 8: fillers are needed


def make_packer(devices: int, local: range | None = None, chunks: int = 1, mixing: Mixing | None = None) -> Packer:
  return Packer(TASKS, Sampler(TASKS, BATCH, 0, mixing), devices, local, chunks)


def unpack(step: Step, device: int) -> list[tuple[int, ...]]:
  """The tokens of each slot of a device, in a plain loop."""
  tokens = jax.tree.map(lambda x: x[device], step.tokens)
  rows, length = tokens.ids.shape
  slots: list[list[int]] = [[] for _ in range(rows * tokens.slots)]
  for row in range(rows):
    for column in range(length):
      segment = int(tokens.segment[row, column])
      if segment == 0:
        assert tokens.ids[row, column] == tokens.position[row, column] == 0
        continue
      slot = slots[row * tokens.slots + segment - 1]
      assert 1 <= segment <= tokens.slots
      assert tokens.position[row, column] == len(slot)
      slot.append(int(tokens.ids[row, column]))
  return [tuple(slot) for slot in slots]


def examples(step: Step, name: str, devices: int) -> list[tuple]:
  """All that a step says of each example that is no filler, with the texts' tokens for their slots."""
  found = []
  for device in range(devices):
    texts, batch = unpack(step, device), jax.tree.map(lambda x, d=device: x[d], step.tasks[name])
    for i in np.flatnonzero(batch.weight):
      slots = [batch.anchor[i], *([] if batch.positive is None else [batch.positive[i]])]
      slots += [] if batch.negatives is None else list(batch.negatives[i])
      found.append((*(texts[slot] if slot >= 0 else None for slot in slots), *known(batch, i)))
  return found


def known(batch: Batch | Draw, i: int) -> tuple:
  keys = () if batch.negative_keys is None else batch.negative_keys[i].tolist()
  return (*batch.keys[i].tolist(), *keys, None if batch.score is None else float(batch.score[i]))


def drawn(draw: Draw, data: Prepared) -> list[tuple]:
  """The same of a draw, straight from the data."""

  def text(t: int) -> tuple[int, ...] | None:
    return tuple(data.tokens[data.offsets[t] : data.offsets[t + 1]].tolist()) if t >= 0 else None

  rows = draw.texts().tolist()
  return [(*map(text, row), *known(draw, i)) for i, row in enumerate(rows)]


def test_best_fit_by_hand():
  row, column, segment = best_fit(np.array([2, 6, 3, 5]), length=8, slots=2)
  assert (row.tolist(), column.tolist(), segment.tolist()) == ([0, 0, 1, 1], [6, 0, 5, 0], [2, 1, 2, 1])
  # Of two rows with room 3 and 2, a text of 2 goes to the fuller; with one slot each has its own row.
  assert best_fit(np.array([5, 6, 2]), length=8, slots=2)[0].tolist() == [1, 0, 0]
  assert sorted(best_fit(np.array([5, 6, 2]), length=8, slots=1)[0].tolist()) == [0, 1, 2]


def test_best_fit_in_halves_by_hand():
  """6 is over half of 8, and 2 fits behind it; 3 and 1 share a half, 4 has the other."""
  row, column, segment = best_fit(np.array([3, 6, 2, 4, 1]), length=8, slots=4, halves=True)
  assert (row.tolist(), column.tolist(), segment.tolist()) == ([1, 0, 0, 1, 1], [4, 0, 6, 0, 7], [3, 1, 2, 1, 4])


@given(st.lists(st.integers(1, 16), max_size=60), st.integers(2, 6))
def test_best_fit_in_halves_has_no_text_across_the_middle_but_in_the_first_rows(lengths, slots):
  lengths = np.array(lengths, int)
  row, column, segment = best_fit(lengths, 16, slots, halves=True)
  wide = np.count_nonzero(lengths > 8)
  assert set(range(wide)) <= set(row.tolist()) == set(range(max(row, default=-1) + 1))
  assert sorted(row[lengths > 8].tolist()) == list(range(wide))
  assert ((row < wide) | (column + lengths <= 8) | (column >= 8)).all()
  taken = np.zeros((len(lengths), 16), int)
  for r, c, n in zip(row, column, lengths):
    taken[r, c : c + n] += 1
  assert taken.max(initial=0) <= 1
  assert len(set(zip(row, segment))) == len(lengths)
  assert ((segment >= 1) & (segment <= slots)).all()


@given(st.lists(st.integers(1, 16), max_size=60), st.integers(1, 5))
def test_best_fit_overlaps_nothing_and_leaves_no_row_that_another_holds(lengths, slots):
  row, column, segment = best_fit(np.array(lengths, int), 16, slots)
  rows = max(row, default=-1) + 1
  taken = np.zeros((rows, 16), int)
  for r, c, n in zip(row, column, lengths):
    assert c + n <= 16
    taken[r, c : c + n] += 1
  assert taken.max(initial=0) <= 1
  for r in range(rows):
    assert sorted(segment[row == r].tolist()) == list(range(1, (row == r).sum() + 1))
    assert (row == r).sum() <= slots
  # Any two rows with a free slot together hold more than one row's tokens.
  open_rows = [taken[r].sum() for r in range(rows) if (row == r).sum() < slots]
  assert sum(sorted(open_rows)[:2]) > 16 or len(open_rows) < 2


def test_deal_by_hand():
  """Pairs of 9 8 ... 3 tokens, shuffled, to three devices; then the heaviest of the next task to the lightest hand."""
  lengths = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])

  def draw(*texts: int) -> Draw:  # each with text 1
    anchor = np.array(texts, np.int32)
    return Draw(anchor, np.ones_like(anchor), None, np.zeros((len(texts), 1), np.int32), None, None)

  dealt = deal({"a": draw(5, 8, 2, 7, 6, 3, 4), "b": draw(2, 7, 4)}, {"a": lengths, "b": lengths}, 3)
  assert dealt["a"].tolist() == [[1, 5, 2], [3, 6, -1], [4, 0, -1]]  # 9 4 3 | 8 5 | 7 6
  assert dealt["b"].tolist() == [[0], [1], [2]]  # 16 tokens get 3 more, 13 get 8, 13 get 5


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_step_on_any_number_of_devices_is_what_was_drawn(devices):
  packer = make_packer(devices)
  sampler = Sampler(TASKS, BATCH, 0)
  for number in (0, 7, 1000):
    step, draws = packer.step(number), sampler.sample(number)
    assert list(step.tasks) == list(TASKS)
    texts = 0
    for name, batch in step.tasks.items():
      each = -(-BATCH[name] // devices)
      assert {leaf.shape[:2] for leaf in jax.tree.leaves(batch)} == {(devices, each)}
      assert Counter(examples(step, name, devices)) == Counter(drawn(draws[name], TASKS[name]))
      texts += sum(isinstance(field, tuple) for row in drawn(draws[name], TASKS[name]) for field in row)
    packed = [text for device in range(devices) for text in unpack(step, device) if text]
    assert len(packed) == texts  # a text that is drawn twice is there twice


def test_fillers_weigh_nothing_and_name_nothing():
  step = make_packer(8).step(0)
  for name, batch in step.tasks.items():
    filler = batch.weight == 0
    assert filler.sum() == -BATCH[name] % 8
    assert set(batch.weight.reshape(-1)) <= {0.0, 1.0}
    assert (batch.keys[filler] == -1).all()
    slots = step.tokens.ids.shape[1] * step.tokens.slots
    for slot in (batch.anchor, batch.anchor if batch.positive is None else batch.positive):
      assert ((slot >= 0) & (slot < slots)).all()
    if batch.negatives is not None:
      assert (batch.negatives[filler] == -1).all() and (batch.negative_keys[filler] == -1).all()
      assert ((batch.negatives == -1) == (batch.negative_keys == -1)).all()
    if batch.score is not None:
      assert (batch.score[filler] == 0).all()


def test_two_hosts_of_four_devices_build_the_halves_of_one_host_of_eight():
  whole, first, second = make_packer(8), make_packer(8, range(4)), make_packer(8, range(4, 8))
  assert whole.plans == first.plans == second.plans
  for number in range(5):
    halves = jax.tree.map(lambda a, b: np.concatenate([a, b]), first.step(number), second.step(number))
    jax.tree.map(np.testing.assert_array_equal, whole.step(number), halves)


def test_leaves_have_the_types_of_the_step():
  step = make_packer(2).step(0)
  for batch in step.tasks.values():
    for name in ("anchor", "positive", "negatives", "keys", "negative_keys"):
      leaf = getattr(batch, name)
      assert leaf is None or leaf.dtype == np.int32
    assert batch.weight.dtype == np.float32 and (batch.score is None or batch.score.dtype == np.float32)
  assert {leaf.dtype for leaf in jax.tree.leaves(step.tokens)} == {np.dtype(np.int32)}


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_nine_tenths_of_the_grid_are_tokens(devices):
  """Four tasks of posts, 64 pairs each, rows of 120 tokens; the grid counts as it is computed, in its fixed shapes."""
  tasks = {
    name: task(i, post_lengths(i, mean), 2000)
    for i, (name, mean) in enumerate({"interest": 21, "storyline": 10, "hashtag": 13, "search": 20}.items())
  }
  packer = Packer(tasks, Sampler(tasks, dict.fromkeys(tasks, 64), 0), devices)
  shapes, real, grid = set(), 0, 0
  for number in range(1000, 1100):
    segment = packer.step(number).tokens.segment
    real, grid = real + np.count_nonzero(segment), grid + segment.size
    shapes.add(segment.shape[1:])
  assert real / grid >= 0.9
  assert len(shapes) <= 2


@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("mixing", [Mixing("all"), Mixing("uniform")])
def test_shapes_are_few_and_divide_into_chunks_that_fit(chunks, mixing):
  packer = make_packer(2, chunks=chunks, mixing=mixing)
  assert len(packer.plans) == (1 if mixing.kind == "all" else len(TASKS))
  biggest = 0
  for plan in packer.plans.values():
    assert len(plan.rows) <= 3 and list(plan.rows) == sorted(set(plan.rows))
    assert plan.length % 8 == 0
    for rows in plan.rows:
      chunk = packer.rows_per_chunk(rows, plan.length)
      assert rows % chunk == 0
      assert chunk * plan.length <= packer.tokens_per_chunk
      biggest = max(biggest, chunk * plan.length)
    if chunks == 1:
      assert all(packer.rows_per_chunk(rows, plan.length) == rows for rows in plan.rows[:-1])
    if mixing.kind == "all":
      assert plan.rows[0] // packer.rows_per_chunk(plan.rows[0], plan.length) <= chunks
      assert plan.rows[-1] % plan.chunk == 0
  assert biggest == packer.tokens_per_chunk


def test_in_one_task_mode_each_task_has_its_own_shapes():
  packer = make_packer(2, mixing=Mixing("uniform"))
  for name, data in TASKS.items():
    assert packer.plans[(name,)].length == -(-int(np.diff(data.offsets).max()) // 8) * 8
  for number in range(20):
    step = packer.step(number)
    [name] = step.tasks
    plan = packer.plans[(name,)]
    assert step.tokens.ids.shape[1] in plan.rows and step.tokens.ids.shape[2] == plan.length


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]))
def test_the_last_shape_holds_any_step(seed, devices):
  """Shapes chosen while all texts are short must hold the step that draws only long ones."""
  rng = np.random.default_rng(seed)
  lengths = np.where(np.arange(200) < 100, rng.integers(1, 9, 200), rng.integers(30, 65, 200))

  def draw(low: int, high: int) -> dict[str, Draw]:
    anchor, positive = rng.integers(low, high, (2, 13)).astype(np.int32)
    return {"a": Draw(anchor, positive, None, np.zeros((13, 1), np.int32), None, None)}

  plan = make_plan([draw(0, 100) for _ in range(8)], {"a": lengths}, devices, length=64)
  for low, high in ((100, 200), (0, 200)):
    dealt = deal(draw(low, high), {"a": lengths}, devices)["a"]
    each = dealt.shape[1] * 2
    long = rng.integers(low, high, each)
    assert best_fit(lengths[long], plan.length, plan.slots, plan.wide > 0)[0].max() < plan.rows[-1]


def test_a_step_over_the_usual_shape_takes_the_next():
  """One example in 40 is ten times longer; batches of 4 rarely have two."""
  lengths = np.array([4] * 78 + [40, 40])
  even = np.arange(0, 80, 2, dtype=np.int32)
  data = task(0, lengths, 40)._replace(anchor=even, positive=even + 1)
  packer = Packer({"a": data}, Sampler({"a": data}, {"a": 4}, 0), 1)
  [plan] = packer.plans.values()
  rows = Counter(packer.step(number).tokens.ids.shape[1] for number in range(100))
  assert set(rows) == set(plan.rows[:2])
  assert rows[plan.rows[0]] == 90  # the long example comes once in ten steps


def halved_packer(long, chunks=1, devices=1, local=None):
  """Steps of 500 pairs of short texts, and a share of texts of 40 tokens; rows of 64."""
  lengths = np.where(np.arange(2000) < 2000 * long, 40, 2 + 2 * (np.arange(2000) % 2))
  data = task(0, lengths, 1000)
  sampler = Sampler({"a": data}, {"a": 500}, 0)
  return Packer({"a": data}, sampler, devices, local, chunks, length=64), data


def test_short_texts_keep_to_half_a_row_and_long_ones_have_rows_of_their_own():
  packer, _ = halved_packer(long=0.002)
  [plan] = packer.plans.values()
  assert 0 < plan.wide <= plan.rows[0] // 2
  for number in range(50):
    tokens = packer.step(number).tokens
    assert tokens.ids.shape[1] - tokens.halved == plan.wide
    for row in tokens.segment[0, -tokens.halved :]:
      left, right = (set(half.tolist()) - {0} for half in np.split(row, 2))
      assert not left & right
  *usual, last = packer.shapes()
  assert all(step.tokens.halved == step.tokens.ids.shape[1] - plan.wide for step in usual) and last.tokens.halved == 0


@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_in_halves_is_what_was_drawn(devices):
  packer, data = halved_packer(long=0.002, devices=devices)
  draw = Sampler({"a": data}, {"a": 500}, 0).sample(3)["a"]
  step = packer.step(3)
  assert step.tokens.halved and np.count_nonzero(step.tokens.segment[:, -step.tokens.halved :, 32:])
  assert Counter(examples(step, "a", devices)) == Counter(drawn(draw, data))


def test_two_hosts_halve_the_same_rows():
  whole, first, second = (halved_packer(0.002, devices=2, local=local)[0] for local in (None, range(1), range(1, 2)))
  assert whole.plans == first.plans == second.plans
  for number in range(3):
    parts = first.step(number), second.step(number)
    assert {part.tokens.halved for part in parts} == {whole.step(number).tokens.halved} != {0}
    jax.tree.map(np.testing.assert_array_equal, whole.step(number), jax.tree.map(lambda *x: np.concatenate(x), *parts))


@pytest.mark.parametrize(("long", "chunks"), [(0.5, 1), (0.002, 2)])
def test_rows_are_not_halved_where_long_texts_are_many_or_rows_come_in_chunks(long, chunks):
  packer, _ = halved_packer(long, chunks)
  [plan] = packer.plans.values()
  assert plan.wide == 0 and packer.step(0).tokens.halved == 0


def test_rows_are_not_halved_where_that_would_take_more_of_them():
  """Three texts of 20 fill a row of 64, but a half holds one only."""
  data = task(0, np.array([20] * 398 + [64, 64]), 200)
  [plan] = Packer({"a": data}, Sampler({"a": data}, {"a": 20}, 0), 1, length=64).plans.values()
  assert plan.wide == 0


def test_a_step_with_more_long_texts_than_rows_for_them_takes_the_last_shape():
  packer, data = halved_packer(long=0.002)
  [plan] = packer.plans.values()
  lengths = np.diff(data.offsets)
  long = np.flatnonzero(lengths > 32)
  for count in (plan.wide, plan.wide + 1):
    anchor = np.concatenate([np.resize(long, count), np.full(150 - count, 1999)]).astype(np.int32)
    draw = Draw(anchor, np.full_like(anchor, 1999), None, np.zeros((150, 1), np.int32), None, None)
    tokens = pack({"a": draw}, {"a": data}, {"a": lengths}, plan, 1, range(1)).tokens
    assert (tokens.halved > 0) == (count == plan.wide)


def test_a_row_that_is_too_short_is_an_error():
  sampler = Sampler(TASKS, BATCH, 0)
  with pytest.raises(ValueError, match="rows of length=64 do not hold a text of 120 tokens; use 120 or more, or 0"):
    Packer(TASKS, sampler, 1, length=64)
  assert Packer(TASKS, sampler, 1, length=200).step(0).tokens.ids.shape[2] == 200
