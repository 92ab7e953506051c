"""The texts of a step in one grid of tokens for each device: short texts share a row, and the grid has few shapes."""

from collections.abc import Mapping, Sequence
import math
from typing import NamedTuple

import numpy as np

from mtc.data.prepared import Prepared
from mtc.data.sampling import Draw, Sampler
from mtc.types import Batch, Step, Tokens

SIMULATED = 256  # steps whose shapes are tried when a run starts
_GROWTH = 1.02  # of the rows, at most, for halving them: it gains 5 % where attention is as small a part as in MiniLM


class Plan(NamedTuple):
  """The shapes that the steps of one set of tasks are packed into; for each device."""

  length: int  # tokens of a row
  slots: int  # texts that a row can hold
  rows: tuple[int, ...]  # increasing, at most three: usual, roomy, and one for any step that can be drawn
  chunk: int  # rows that a device encodes at a time: all of the roomy shape, or one GradCache chunk of it
  wide: int = 0  # in all shapes but the last, number of first rows that may have texts across their middle; 0 = all

  def halved(self, rows: int) -> int:
    """How many of `rows` rows have no text across their middle; the last shape holds whatever is drawn."""
    return rows - self.wide if self.wide and rows < self.rows[-1] else 0


class Packer:
  """Builds any step of a run; safe to share between threads.

  Attributes:
    plans: the shapes, for each set of tasks that a step may hold.
    tokens_per_chunk: the most tokens that a device encodes at a time.
  """

  def __init__(
    self,
    tasks: Mapping[str, Prepared],
    sampler: Sampler,
    devices: int,
    local_devices: range | None = None,
    chunks: int = 1,
    length: int = 0,
  ):
    """Simulates steps to choose the shapes; every host chooses the same.

    Args:
      tasks: the examples of each task.
      sampler: draws them.
      devices: of all hosts.
      local_devices: those whose part of a step this host builds; None = all.
      chunks: GradCache chunks of a usual step.
      length: tokens of a row; 0 = the longest text, rounded up to a multiple of 8.
    """
    self._tasks, self._sampler, self._devices = tasks, sampler, devices
    self._local = range(devices) if local_devices is None else local_devices
    self._lengths = {name: np.diff(task.offsets) for name, task in tasks.items()}
    self.plans = {
      names: make_plan(
        [{name: sampler.draw(name, cursor) for name in names} for cursor in range(SIMULATED)],
        {name: self._lengths[name] for name in names},
        devices,
        chunks,
        length,
      )
      for names in sampler.task_sets()
    }
    self.tokens_per_chunk = max(plan.chunk * plan.length for plan in self.plans.values())

  def step(self, number: int) -> Step:
    """The step of this number: leaves `[local_devices, ...]`, plain NumPy."""
    draws = self._sampler.sample(number)
    return pack(draws, self._tasks, self._lengths, self.plans[tuple(draws)], self._devices, self._local)

  def shapes(self) -> list[Step]:
    """A step of each shape of the set of tasks with the largest grids; only the shapes and dtypes mean anything."""
    names, plan = max(self.plans.items(), key=lambda item: item[1].rows[-1] * item[1].length)
    draws = {name: self._sampler.draw(name, 0) for name in names}
    step = pack(draws, self._tasks, self._lengths, plan, self._devices, self._local)
    grids = [np.broadcast_to(np.int32(0), (len(self._local), rows, plan.length)) for rows in plan.rows]
    return [step.replace(tokens=Tokens(grid, grid, grid, plan.slots, plan.halved(grid.shape[1]))) for grid in grids]

  def rows_per_chunk(self, rows: int, length: int) -> int:
    """The most rows that divide a grid of `[rows, length]` and fit into `tokens_per_chunk`; `rows` = no chunks."""
    return max(n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or n * length <= self.tokens_per_chunk))


def make_plan(
  steps: Sequence[Mapping[str, Draw]], lengths: Mapping[str, np.ndarray], devices: int, chunks: int = 1, length: int = 0
) -> Plan:
  """Chooses the shapes for steps like these.

  Rows are halved where few texts are longer than half a row, and where that takes no more rows to speak of: attention
  is a small part of a step, and a row costs all of it. Rows that come in chunks are not.

  Args:
    steps: what some steps draw; all of the same tasks.
    lengths: i64[texts] of each task, in tokens.
    devices: of all hosts.
    chunks: every shape's rows divide by it, or by its number of chunks of `Plan.chunk` rows.
    length: tokens of a row; 0 = the longest text, rounded up to a multiple of 8.

  Raises:
    ValueError: a text does not fit into a row.
  """
  longest = max(int(n.max()) for n in lengths.values())
  length = length or -(-longest // 8) * 8
  if longest > length:
    raise ValueError(f"rows of length={length} do not hold a text of {longest} tokens; use {longest} or more, or 0")
  crowds, texts = [], 0
  for draws in steps:
    crowd = _crowd(draws, lengths, devices)
    crowds += [size[size >= 0] for size in crowd.size]
    texts = max(texts, crowd.size.shape[1])
  # The texts that a full row holds on average, about. Twice that costs no rows to speak of and keeps the slots few.
  mean = sum(map(len, crowds)) * length / max(1, sum(int(n.sum()) for n in crowds))
  slots = min(texts, 2 * int(np.ceil(mean)))

  def choose(halves: bool) -> tuple[int, int, float]:
    used = [best_fit(n, length, slots, halves)[0].max(initial=0) + 1 for n in crowds]
    need = -(-np.array(used).reshape(len(steps), devices).max(1) // chunks)
    usual, roomy = _choose(need, -(-texts // chunks))
    return usual, roomy, float(np.where(need <= usual, usual, roomy).mean())

  usual, roomy, mean_rows = choose(False)
  wide = 0
  if chunks == 1 and slots > 1 and length % 2 == 0:
    long = np.array([_over_half(n, length) for n in crowds])
    together = max(draw.texts().shape[1] for draws in steps for draw in draws.values())  # texts of an example
    # Room for steps that no simulation saw, for what does not find it takes the last shape: six standard deviations
    # over the mean, and at least one example.
    room = max(together, int(long.max(initial=0)), math.ceil(long.mean() + 6 * long.std()))
    if 2 * room <= usual:
      halved = choose(True)
      if 2 * room <= halved[0] and halved[2] <= _GROWTH * mean_rows:
        (usual, roomy, _), wide = halved, room
  chunk = roomy
  worst = -(-texts // chunk) * chunk
  return Plan(length, slots, tuple(sorted({usual * chunks, roomy * chunks, max(roomy * chunks, worst)})), chunk, wide)


def pack(
  draws: Mapping[str, Draw],
  tasks: Mapping[str, Prepared],
  lengths: Mapping[str, np.ndarray],
  plan: Plan,
  devices: int,
  local_devices: range,
) -> Step:
  """Packs the examples of a step into the smallest of the plan's shapes that holds them on every device.

  A text that is drawn twice is packed twice: dropout makes two views of it.

  Args:
    draws: the examples of each task, over all devices.
    tasks: their tokens.
    lengths: i64[texts] of each task, in tokens.
    plan: the shapes.
    devices: of all hosts.
    local_devices: those whose part is built; the shape and who gets what do not depend on it.

  Returns:
    Leaves `[local_devices, ...]`; each task has `ceil(batch / devices)` examples on each device.
  """
  crowd = _crowd(draws, lengths, devices)
  present = crowd.size >= 0
  sizes = [size[there] for size, there in zip(crowd.size, present, strict=True)]
  placed = [best_fit(size, plan.length, plan.slots, halves=plan.wide > 0) for size in sizes]
  need = max(int(row.max(initial=0)) + 1 for row, _, _ in placed)
  wide = max(_over_half(size, plan.length) for size in sizes)
  rows = next(n for n in plan.rows if n >= need and n - plan.halved(n) >= wide)

  local = slice(local_devices.start, local_devices.stop)
  present, size = present[local], crowd.size[local]
  row, column, segment = (np.zeros(present.shape, np.int64) for _ in range(3))
  row[present], column[present], segment[present] = np.concatenate(placed[local], 1)
  slot = np.where(present, row * plan.slots + segment - 1, -1).astype(np.int32)
  first = (np.arange(len(row))[:, None] * rows + row) * plan.length + column  # place of each text's first token
  shape = (len(row), rows, plan.length)
  ids, segments, positions = (np.zeros(len(row) * rows * plan.length, np.int32) for _ in range(3))
  batches, start = {}, 0
  for name, draw in draws.items():
    examples = crowd.dealt[name][local]
    places = slice(start, start + examples.shape[1] * draw.texts().shape[1])
    start = places.stop
    there = present[:, places]
    n = size[:, places][there]
    where, within = _ranges(first[:, places][there], n)
    source, _ = _ranges(tasks[name].offsets[crowd.text[local, places][there]], n)
    ids[where] = tasks[name].tokens[source]
    segments[where] = np.repeat(segment[:, places][there], n)
    positions[where] = within
    teacher = tasks[name].teacher
    vectors = None if teacher is None else teacher(crowd.text[local, places].reshape(*examples.shape, -1))
    batches[name] = _batch(draw, examples, slot[:, places].reshape(*examples.shape, -1), vectors)
  tokens = Tokens(ids.reshape(shape), segments.reshape(shape), positions.reshape(shape), plan.slots, plan.halved(rows))
  return Step(tokens=tokens, tasks=batches)


def deal(draws: Mapping[str, Draw], lengths: Mapping[str, np.ndarray], devices: int) -> dict[str, np.ndarray]:
  """Deals each task's examples to the devices so that all get as many examples, and nearly as many tokens.

  Examples are sorted by tokens (anchor, positive and negatives together) and dealt in snake order: 9 8 7 | 6 5 4 | 3
  to three devices are the hands 9 4 3, 8 5 and 7 6. The heaviest hand goes to the device with the fewest tokens
  from the tasks before.

  Args:
    draws: the examples of each task.
    lengths: i64[texts] of each task, in tokens.
    devices: how many.

  Returns:
    i64[devices, ceil(batch / devices)] for each task: rows of its Draw; -1 = filler.
  """
  load = np.zeros(devices, np.int64)
  dealt = {}
  for name, draw in draws.items():
    texts = draw.texts()
    size = np.where(texts < 0, 0, lengths[name][texts]).sum(1)
    rounds = -(-len(size) // devices)
    examples = np.full(rounds * devices, -1)
    examples[: len(size)] = np.argsort(-size, kind="stable")
    examples = examples.reshape(rounds, devices)
    examples[1::2] = examples[1::2, ::-1]
    hands = examples.T
    weight = np.where(hands < 0, 0, size[hands]).sum(1)
    hands, weight = hands[np.argsort(-weight, kind="stable")], -np.sort(-weight)
    device = np.argsort(load, kind="stable")
    dealt[name] = np.empty_like(hands)
    dealt[name][device] = hands
    load[device] += weight
  return dealt


def best_fit(
  lengths: np.ndarray, length: int, slots: int, halves: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Packs texts into rows, the longest first, each into the fullest row that still has room for it.

  `best_fit([2, 6, 3, 5], length=8, slots=2)` places 6 and then 5, each in its own row, 3 behind 5 and 2 behind 6:
  rows `[0, 0, 1, 1]`, columns `[6, 0, 5, 0]`, segments `[2, 1, 2, 1]`.

  Args:
    lengths: i64[texts], each at most `length`.
    length: tokens of a row.
    slots: the most texts of a row.
    halves: the first rows are those of the texts that are longer than half a row, and of what else fits there; in all
      other rows no text is across the middle. Needs an even length, and two slots or more.

  Returns:
    The row, the first column and the segment (1, 2, ... within the row) of each text, i64[texts] each.
  """
  order = np.argsort(-lengths, kind="stable")
  free: list[list[int]] = [[] for _ in range(length + 1)]  # rows by the room left in them
  rooms = 0  # bit r is set when free[r] is not empty: the fullest row that fits is one bit operation away
  half = length // 2
  wide = _over_half(lengths, length) if halves else len(lengths)  # from this row on, a row is half a row
  rows, columns, segments, count = [], [], [], []
  for n in lengths[order].tolist():
    fits = rooms >> n
    if fits:
      room = n + (fits & -fits).bit_length() - 1
      row = free[room].pop()
      if not free[room]:
        rooms ^= 1 << room
    else:
      row = len(count)
      room = length if row < wide else half
      count.append(0)
    whole, most = (length, slots) if row < wide else (half, slots // 2)
    count[row] += 1
    rows.append(row)
    columns.append(whole - room)
    segments.append(count[row])
    if count[row] < most:
      free[room - n].append(row)
      rooms |= 1 << (room - n)
  row, column, segment = result = np.empty((3, len(order)), np.int64)
  result[:, order] = rows, columns, segments
  number = row - wide  # of the half; two of them are a row
  second = (number >= 0) & (number % 2 == 1)
  return np.where(number < 0, row, wide + number // 2), column + second * half, segment + second * (slots // 2)


def _over_half(lengths: np.ndarray, length: int) -> int:
  """How many texts are longer than half a row. Each takes a row, since no two of them fit into one."""
  return int(np.count_nonzero(2 * lengths > length))


class _Crowd(NamedTuple):
  """The texts of a step: each device has a place for each text of each of its examples, task after task."""

  dealt: dict[str, np.ndarray]  # as `deal` returns it
  text: np.ndarray  # i64[devices, places], text indices
  size: np.ndarray  # i64[devices, places], tokens; -1 = no text here


def _crowd(draws: Mapping[str, Draw], lengths: Mapping[str, np.ndarray], devices: int) -> _Crowd:
  dealt = deal(draws, lengths, devices)
  text, size = [], []
  for name, draw in draws.items():
    texts = np.where((dealt[name] >= 0)[..., None], draw.texts()[dealt[name]], -1).reshape(devices, -1)
    text.append(texts)
    size.append(np.where(texts >= 0, lengths[name][texts], -1))
  return _Crowd(dealt, np.concatenate(text, 1), np.concatenate(size, 1))


def _batch(draw: Draw, examples: np.ndarray, slot: np.ndarray, teacher: np.ndarray | None) -> Batch:
  """One task's examples `[devices, examples]`; fillers have slot 0, no keys and no weight."""
  real = examples >= 0

  def hashes(x: np.ndarray) -> np.ndarray:
    return np.where(real[..., None], x[examples], -1).astype(np.int32)

  return Batch(
    anchor=np.maximum(slot[..., 0], 0),
    positive=None if draw.positive is None else np.maximum(slot[..., 1], 0),
    negatives=None if draw.negatives is None else slot[..., 2:],
    keys=hashes(draw.keys),
    negative_keys=None if draw.negative_keys is None else hashes(draw.negative_keys),
    score=None if draw.score is None else np.where(real, draw.score[examples], 0).astype(np.float32),
    weight=real.astype(np.float32),
    teacher=teacher,
  )


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The integers start, start + 1, ... of each range, end to end, and how far each is from its start."""
  within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  return np.repeat(starts, sizes) + within, within


def _choose(need: np.ndarray, most: int) -> tuple[int, int]:
  """The roomy size, a twentieth over the largest seen, and the usual one that then costs the fewest rows on average.

  The room is for steps that no simulation saw: the next shape is far larger, and compiling it takes a while.
  """
  largest = int(need.max())
  roomy = min(most, largest + -(-largest // 20))
  cost = {usual: np.where(need <= usual, usual, roomy).sum() for usual in np.unique(need).tolist()}
  return min(cost, key=lambda usual: cost[usual]), roomy
