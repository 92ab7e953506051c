"""Which examples are in step N: a pure function of (seed, N). No iterator has a state, and resuming costs nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
import hashlib
from typing import NamedTuple

import numpy as np

from mtc.data.prepared import Prepared

PERIOD = 1000  # steps after which a mixture has drawn each task exactly as often as its share says
MAX_KEYS = 32  # of a same-label example: texts and ids first, then labels; what is over it is not masked

_KINDS = ("all", "proportional", "uniform", "temperature", "weights")


class Draw(NamedTuple):
  """The examples that one task gives to one step, over all devices."""

  anchor: np.ndarray  # i32[batch], text indices
  positive: np.ndarray | None  # i32[batch], text indices; None = single texts
  negatives: np.ndarray | None  # i32[batch, n], text indices; -1 = none
  keys: np.ndarray  # i32[batch, m]; -1 = none
  negative_keys: np.ndarray | None  # i32[batch, n]; -1 = none
  score: np.ndarray | None  # f32[batch]

  def texts(self) -> np.ndarray:
    """i64[batch, 2 + n]: anchor, positive and negatives of each example, -1 = none; of single texts i64[batch, 1]."""
    texts = self.anchor[:, None] if self.positive is None else np.stack([self.anchor, self.positive], 1)
    return (texts if self.negatives is None else np.concatenate([texts, self.negatives], 1)).astype(np.int64)


class Mix(NamedTuple):
  """How much of one task a run draws."""

  steps: int  # that hold the task
  examples: int  # anchors drawn
  epochs: float  # examples / anchors of the task


@dataclass
class Mixing:
  """Which tasks a step holds: every one (`all`), or one drawn by its share of the anchors.

  The share of a task with `n` anchors is proportional to `n` (`proportional`), 1 (`uniform`), `n ** (1 / temperature)`
  (`temperature`) or its entry in `weights` (`weights`). What is counted is anchors: a task with half the batch size
  comes in twice as many steps for the same share.

  Reference: temperature sampling, arXiv 1907.05019, section 4.2.
  """

  kind: str = "all"  # all | proportional | uniform | temperature | weights
  temperature: float = 1.0  # for kind='temperature': tasks by size ** (1 / temperature)
  weights: dict[str, float] = field(default_factory=dict)  # task -> weight, for kind='weights'

  def validate(self, tasks: Sequence[str] | Mapping[str, object]) -> None:
    """Raises ValueError for a field that cannot be right for tasks of these names."""
    if self.kind not in _KINDS:
      raise ValueError(f"mixing.kind={self.kind!r} is unknown; use one of {', '.join(_KINDS)}")
    if not 0 < self.temperature < float("inf"):
      raise ValueError(f"mixing.temperature={self.temperature} is not positive; 1 is proportional, 2 more uniform")
    if self.kind != "weights":
      if self.weights:
        raise ValueError(f"mixing.weights is set but mixing.kind={self.kind!r} does not use it; use kind='weights'")
      return
    for name, weight in self.weights.items():
      if name not in tasks:
        raise ValueError(f"mixing.weights names {name!r}, which is no task; known tasks: {', '.join(tasks)}")
      if not 0 < weight < float("inf"):
        raise ValueError(f"mixing.weights[{name!r}]={weight} is not positive; remove the task to train without it")
    missing = [name for name in tasks if name not in self.weights]
    if missing:
      raise ValueError(f"mixing.weights has no entry for {', '.join(missing)}; give every task a weight")

  def shares(self, anchors: Mapping[str, int]) -> dict[str, float]:
    """The share of each task, from the number of anchors of each; the shares are positive and need not sum to 1."""
    exponent = {"proportional": 1.0, "temperature": 1 / self.temperature}.get(self.kind, 0.0)
    return {name: self.weights.get(name, 1.0) * float(n) ** exponent for name, n in anchors.items()}


class Sampler:
  """Draws the examples of any step of a run; safe to share between threads.

  Attributes:
    anchors: how many anchors each task has.
    left_out: how many examples of each task cannot be anchors, because nobody else has one of their labels.
  """

  def __init__(
    self,
    tasks: Mapping[str, Prepared],
    batch_sizes: Mapping[str, int],
    seed: int,
    mixing: Mixing | None = None,
    label_exponents: Mapping[str, float] | None = None,
  ):
    """Draws from `tasks`.

    Args:
      tasks: the examples of each task.
      batch_sizes: anchors of each task in a step that holds it, over all devices.
      seed: of the run. The draws of a task depend on it and the task's name, not on the other tasks.
      mixing: which tasks a step holds; None = all of them.
      label_exponents: for tasks whose positives are drawn by label. 1 (the default) = every anchor comes once an
        epoch; below 1 labels come in proportion to `size ** exponent`, and each label's anchors come once before any
        repeats.

    Raises:
      ValueError: a batch is larger than its task, or the mixing does not fit the tasks.
    """
    mixing = mixing or Mixing()
    mixing.validate(tasks)
    exponents = label_exponents or {}
    self._batch_sizes = {name: batch_sizes[name] for name in tasks}
    self._tasks = {
      name: _Grouped(name, task, seed, exponents.get(name, 1.0))
      if task.positive is None and len(task.labels)
      else _Listed(name, task, seed)
      for name, task in tasks.items()
    }
    self.anchors = {name: task.anchors for name, task in self._tasks.items()}
    self.left_out = {name: len(task.anchor) - self.anchors[name] for name, task in tasks.items()}
    for name, n in self.anchors.items():
      if not 0 < batch_sizes[name] <= n:
        remedy = f"use 1 to {n}" if n else "give it labels that two different texts share"
        raise ValueError(f"batch_size={batch_sizes[name]} of task {name!r}, which has {n} anchors; {remedy}")
    self._schedule = None if mixing.kind == "all" else _Schedule(mixing.shares(self.anchors), self._batch_sizes, seed)

  def sample(self, step: int) -> dict[str, Draw]:
    """The examples of each task that this step holds."""
    return {name: self.draw(name, cursor) for name, cursor in self.cursors(step).items()}

  def cursors(self, step: int) -> dict[str, int]:
    """The tasks of this step, each with the number of earlier steps that held it."""
    if self._schedule is None:
      return dict.fromkeys(self._tasks, step)
    name, cursor = self._schedule.at(step)
    return {name: cursor}

  def draw(self, name: str, cursor: int) -> Draw:
    """The examples of one task in the step number `cursor` of those that hold it."""
    return self._tasks[name].draw(cursor, self._batch_sizes[name])

  def task_sets(self) -> list[tuple[str, ...]]:
    """The sets of tasks that a step may hold: one set of all, or as many as there are tasks."""
    return [tuple(self._tasks)] if self._schedule is None else [(name,) for name in self._tasks]

  def mix(self, steps: int) -> dict[str, Mix]:
    """How much of each task the first `steps` steps draw."""
    held = dict.fromkeys(self._tasks, steps) if self._schedule is None else self._schedule.counts(steps)
    examples = {name: held[name] * size for name, size in self._batch_sizes.items()}
    return {name: Mix(held[name], n, n / self.anchors[name]) for name, n in examples.items()}


def quotas(shares: np.ndarray, total: int) -> np.ndarray:
  """Integers of at least 1 that sum to `total`, as near to the shares as that allows: largest remainders.

  `quotas([70, 20, 9.9, 0.1], 10)` is `[6, 2, 1, 1]`: what gets less than 1 gets 1, and 9 x 70/99.9, 9 x 20/99.9,
  9 x 9.9/99.9 = 6.3, 1.8, 0.9 would leave the third less than 1; then 8 x 70/90, 8 x 20/90 = 6.2, 1.8.

  Args:
    shares: f64[n], positive.
    total: at least n.

  Raises:
    ValueError: total is less than n.
  """
  shares = np.asarray(shares, np.float64)
  if len(shares) > total:
    raise ValueError(f"{len(shares)} shares of at least 1 do not fit into {total}")
  small = np.zeros(len(shares), bool)
  while True:
    exact = np.where(small, 1, shares / shares[~small].sum() * (total - small.sum()))
    if not (exact < 1).any():
      break
    small |= exact < 1
  exact = np.round(exact, 9)  # so that the last bit of a power or a sum decides no tie
  whole = np.floor(exact).astype(np.int64)
  whole[np.argsort(whole - exact, kind="stable")[: total - whole.sum()]] += 1
  return whole


class _Listed:
  """Examples that come with their positives, or have none: all of them in a new order each epoch."""

  def __init__(self, name: str, task: Prepared, seed: int):
    self.anchors = len(task.anchor)
    self._task, self._positive = task, None if task.positive is None else np.asarray(task.positive)
    self._order = lru_cache(maxsize=4)(lambda epoch: _permutation(self.anchors, seed, name, "epoch", epoch))

  def draw(self, cursor: int, batch: int) -> Draw:
    task = self._task
    rows = _epochs(self._order, self.anchors, cursor * batch, batch)
    positive = None if self._positive is None else self._positive[rows]
    return _draw(task, rows, task.anchor[rows], positive, task.keys[rows])


class _Grouped:
  """Examples with labels: the positive is another text with one of the anchor's labels.

  A membership is one (label, example) whose label at least two different texts share. `_example[m]` is sorted by label;
  `_text_example[_text_start[l] : _text_start[l + 1]]` has one example for each different text of label `l`.
  """

  def __init__(self, name: str, task: Prepared, seed: int, exponent: float):
    self._name, self._task, self._seed, self._exponent = name, task, seed, exponent
    owner = np.repeat(np.arange(len(task.anchor)), np.diff(task.label_offsets))
    kinds, labels = np.unique(task.labels, return_inverse=True)
    label, example = _unique_pairs(labels.reshape(-1), owner)[0]  # a label twice in a row counts once
    # Two examples may be the same text, which is no positive for itself: count the different texts of a label.
    (text_label, _), first, number = _unique_pairs(label, task.anchor[example])
    texts = np.bincount(text_label, minlength=len(kinds))
    start = np.concatenate([[0], np.cumsum(texts)])
    shared = texts[label] >= 2
    self._text_example, self._text_start, self._texts = example[first], start, texts
    self._label, self._example = label[shared], example[shared]
    self._place = (number - start[label])[shared]  # of the text of a membership, among its label's texts
    # Memberships by example: those of example e are _by_example[_example_start[e] : _example_start[e + 1]].
    self._by_example = np.argsort(self._example, kind="stable")
    self._example_start = np.concatenate([[0], np.cumsum(np.bincount(self._example, minlength=len(task.anchor)))])
    self._eligible = np.flatnonzero(np.diff(self._example_start))
    self.anchors = len(self._eligible)
    self._order = lru_cache(maxsize=4)(lambda epoch: _permutation(self.anchors, seed, name, "epoch", epoch))
    self._balanced = lru_cache(maxsize=4)(self._balanced_period)
    self._sizes = np.unique(self._label, return_counts=True)[1]

  def draw(self, cursor: int, batch: int) -> Draw:
    bits = _bits(2 * batch, self._seed, self._name, "positive", cursor).reshape(2, batch)
    if self._exponent == 1:
      anchor = self._eligible[_epochs(self._order, self.anchors, cursor * batch, batch)]
      start, end = self._example_start[anchor], self._example_start[anchor + 1]
      member = self._by_example[start + _below(bits[0], end - start)]
    else:
      member = _epochs(self._balanced, len(self._example), cursor * batch, batch)
      anchor = self._example[member]
    label = self._label[member]
    other = _below(bits[1], self._texts[label] - 1)
    other += other >= self._place[member]  # any text of the label but its own
    positive = self._text_example[self._text_start[label] + other]
    task = self._task
    keys = unite(task.keys[anchor], task.keys[positive])
    return _draw(task, anchor, task.anchor[anchor], task.anchor[positive], keys)

  def _balanced_period(self, period: int) -> np.ndarray:
    """i64[memberships]: as many draws as there are memberships, each label by its quota, in random order.

    The k-th draw of a label since the run began is the k-th of its members in an order that is new for each pass
    through them, so that all come before any repeats, across periods too.
    """
    quota = quotas(self._sizes.astype(np.float64) ** self._exponent, len(self._example))
    first = np.cumsum(self._sizes) - self._sizes
    before = period * quota
    passes = (before + quota - 1) // self._sizes - before // self._sizes + 1  # that this period touches
    members = self._sizes * passes
    label = np.repeat(np.arange(len(quota)), members)
    within = np.arange(len(label)) - np.repeat(np.cumsum(members) - members, members)
    turn = within // self._sizes[label] + (before // self._sizes)[label]
    member = first[label] + within % self._sizes[label]
    # A random order of the members for each (label, pass), the same whichever period computes it.
    chance = _mix(_mix(member.astype(np.uint64) ^ _word(self._seed, self._name, "pass")) + turn.astype(np.uint64))
    member = member[np.lexsort((chance, turn, label))]
    start = np.cumsum(members) - members + before % self._sizes  # this period's first draw of each label
    draws = np.repeat(start, quota) + np.arange(quota.sum()) - np.repeat(np.cumsum(quota) - quota, quota)
    # Shuffle which label comes when, and give each label its draws in their order.
    shuffle = _permutation(len(draws), self._seed, self._name, "labels", period)
    sequence = np.repeat(np.arange(len(quota)), quota)[shuffle]
    result = np.empty(len(draws), np.int64)
    result[np.argsort(sequence, kind="stable")] = member[draws]
    return result


class _Schedule:
  """One task a step: integer quotas for each period, each period in its own order."""

  def __init__(self, shares: Mapping[str, float], batch_sizes: Mapping[str, int], seed: int):
    self._names = list(shares)
    self._quota = quotas(np.array([shares[name] / batch_sizes[name] for name in self._names]), PERIOD)
    tasks = np.repeat(np.arange(len(self._names)), self._quota)
    self._period = lru_cache(maxsize=4)(lambda period: tasks[_permutation(PERIOD, seed, "mixing", period)])

  def at(self, step: int) -> tuple[str, int]:
    period, place = divmod(step, PERIOD)
    tasks = self._period(period)
    task = tasks[place]
    return self._names[task], int(period * self._quota[task] + np.count_nonzero(tasks[:place] == task))

  def counts(self, steps: int) -> dict[str, int]:
    period, place = divmod(steps, PERIOD)
    counts = period * self._quota + np.bincount(self._period(period)[:place], minlength=len(self._names))
    return dict(zip(self._names, counts.tolist(), strict=True))


def unite(anchor: np.ndarray, positive: np.ndarray) -> np.ndarray:
  """The keys of anchor and positive together, each once: i32[batch, min(2m, MAX_KEYS)].

  `unite([[1, 5, 6]], [[2, 6, 7]])` is `[[1, 2, 5, 6, 7, -1]]`: column by column, anchor first, gaps at the end.

  Args:
    anchor: i32[batch, m]; -1 = none.
    positive: i32[batch, m].
  """
  batch, m = anchor.shape
  positive = np.where((anchor[:, None, :] == positive[:, :, None]).any(-1), -1, positive)
  keys = np.stack([anchor, positive], 2).reshape(batch, 2 * m)
  order = np.argsort(keys < 0, axis=1, kind="stable")
  return np.take_along_axis(keys, order, 1)[:, :MAX_KEYS]


def _draw(task: Prepared, rows: np.ndarray, anchor: np.ndarray, positive: np.ndarray | None, keys: np.ndarray) -> Draw:
  score = None if task.score is None else task.score[rows]
  if not task.negatives.shape[1]:
    return Draw(anchor, positive, None, keys, None, score)
  negatives = task.negatives[rows]
  return Draw(anchor, positive, negatives, keys, np.where(negatives < 0, -1, task.text_keys[negatives]), score)


def _unique_pairs(a: np.ndarray, b: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
  """The different pairs of integers >= 0, sorted; where each is first; the number of each given pair's."""
  width = int(b.max(initial=0)) + 1
  pairs, first, number = np.unique(a.astype(np.int64) * width + b, return_index=True, return_inverse=True)
  return (pairs // width, pairs % width), first, number.reshape(-1)


def _epochs(order: Callable[[int], np.ndarray], size: int, start: int, count: int) -> np.ndarray:
  """Elements start, start + 1, ... of the endless sequence `order(0), order(1), ...`, each of `size` elements."""
  pieces, end = [], start + count
  while start < end:
    epoch, place = divmod(start, size)
    piece = order(epoch)[place : place + end - start]
    pieces.append(piece)
    start += len(piece)
  return np.concatenate(pieces)


def _permutation(size: int, *key: int | str) -> np.ndarray:
  # Sorted raw bits: NumPy keeps a bit generator's stream for ever, but not what Generator.permutation makes of it.
  return np.argsort(_bits(size, *key), kind="stable")


def _bits(count: int, *key: int | str) -> np.ndarray:
  """u64[count], random, a function of the key alone."""
  return np.random.Philox(key=np.array(_words(*key), np.uint64)).random_raw(count)


def _words(*key: int | str) -> tuple[int, int]:
  digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()  # hash() differs between processes
  return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _word(*key: int | str) -> np.uint64:
  return np.uint64(_words(*key)[0])


def _below(bits: np.ndarray, bound: np.ndarray) -> np.ndarray:
  """i64: random integers in [0, bound) from u64 bits."""
  return ((bits >> np.uint64(11)) * 2.0**-53 * bound).astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
  """u64 -> u64, the finaliser of SplitMix64: a hash of whole arrays, where a generator for each element is too slow."""
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
