"""Test texts that training has seen, equal or nearly so: found before the first step, in time linear in the texts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
import unicodedata

import numpy as np

from mtc.data.batches import batches
from mtc.data.examples import Example, Kind, read
from mtc.data.sources import Rows
from mtc.files import cache
from mtc.progress import Bar

NEAR = 0.8  # the Jaccard similarity of two texts' shingles from which on one is nearly the other
SHINGLE = 5  # characters in a row
_BANDS, _DEPTH = 16, 5  # texts that agree in the 5 minima of one of 16 bands are compared: 99.8 % of those at 0.8
_LIKELY = 0.6  # of all minima must agree: 4 standard deviations less than at 0.8
_BLOCK = 4096  # examples at a time
_LETTERS = 2**23  # that are hashed at a time: each takes 16 bytes or so
_SHOWN = 3
_FORMAT = 2  # raise it whenever the same texts would give other leaks


@dataclasses.dataclass
class Leaks:
  """What the training rows of one task hold of the tests.

  Attributes:
    rows: of how many examples.
    leaking: the numbers of those with a text that is a test text, or nearly one, ascending.
    tests: by test: `texts`, how many different ones it has, and how many of them are `equal` or only `near` to a
      training text.
    examples: by test: some pairs of a test text and a training text that is near to it.
  """

  rows: int
  leaking: list[int]
  tests: dict[str, dict[str, int]]
  examples: dict[str, list[tuple[str, str]]]


class HeldOut:
  """The texts of all tests, indexed; two texts are equal if they are so in NFKC, whatever their case and spaces.

  Reference: MinHash and banding, Leskovec et al., Mining of Massive Datasets, 3.3 and 3.4.
  """

  def __init__(self, texts: Mapping[str, Iterable[str]]):
    """Takes the texts of each test by its name."""
    self._written: dict[str, str] = {}  # normal form -> the first text that has it
    self._index: dict[str, int] = {}
    self.members = {name: sorted({self._add(text) for text in own}) for name, own in texts.items()}

  def _add(self, text: str) -> int:
    normal = _normal(text)
    self._written.setdefault(normal, text)
    return self._index.setdefault(normal, len(self._index))

  def fingerprint(self) -> str:
    """A hash of names, texts and the way of looking for them."""
    how = [_FORMAT, NEAR, SHINGLE, _BANDS, _DEPTH, _LIKELY, unicodedata.unidata_version]
    return hashlib.sha256(json.dumps([how, self.members, list(self._written.values())]).encode()).hexdigest()

  def seen_in(self, examples: Iterable[Example]) -> Leaks:
    """Looks for the tests in the texts of training examples: anchors, positives and negatives."""
    normals = list(self._index)
    equal: set[int] = set()
    near: dict[int, str] = {}  # test -> the training text
    leaking: set[int] = set()
    count = 0
    for block in batches(examples, _BLOCK, _LETTERS, _letters):
      rows: dict[str, list[int]] = {}  # normal form -> examples of the block
      written: dict[str, str] = {}
      for row, example in enumerate(block, count):
        for text in dict.fromkeys((example["anchor"], example["positive"] or example["anchor"], *example["negatives"])):
          written.setdefault(normal := _normal(text), text)
          rows.setdefault(normal, []).append(row)
      count += len(block)
      for normal in rows.keys() & self._index.keys():
        equal.add(self._index[normal])
        leaking.update(rows[normal])
      texts, known = list(rows), set()  # known: places in texts that leak already
      for place, test in self._candidates(texts):
        new = test not in near, place not in known
        # Where both are known there is nothing to learn: thousands of copies of one text cost no more than a few.
        if any(new) and texts[place] != normals[test] and similarity(texts[place], normals[test]) >= NEAR:
          near.setdefault(test, written[texts[place]])
          known.add(place)
          leaking.update(rows[texts[place]])
    originals = list(self._written.values())
    only_near = {test: text for test, text in sorted(near.items()) if test not in equal}
    tests, shown = {}, {}
    for name, own in self.members.items():
      beside = [test for test in own if test in only_near]
      tests[name] = {"texts": len(own), "equal": len(equal.intersection(own)), "near": len(beside)}
      shown[name] = [(originals[test], only_near[test]) for test in beside[:_SHOWN]]
    return Leaks(count, sorted(leaking), tests, shown)

  @functools.cached_property
  def _bands(self) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The minima of the tests, u32[tests, bands * depth]; and of each band its hashes, sorted, with their tests."""
    minima = _minima(list(self._index))
    hashes = _hash_bands(minima)
    orders = np.argsort(hashes, axis=0, kind="stable")
    return minima, [(hashes[order, band], order) for band, order in enumerate(orders.T)]

  def _candidates(self, texts: Sequence[str]) -> list[tuple[int, int]]:
    """(place in texts, test) of all pairs that are likely to be near."""
    if not texts or not self._index:
      return []
    tests, bands = self._bands
    minima = _minima(texts)
    pairs = np.empty(0, np.int64)
    for hashes, (known, order) in zip(_hash_bands(minima).T, bands, strict=True):
      first, end = np.searchsorted(known, hashes, "left"), np.searchsorted(known, hashes, "right")
      number = end - first
      place = np.repeat(np.arange(len(texts)), number)
      within = np.arange(len(place)) - np.repeat(np.cumsum(number) - number, number)
      pairs = np.union1d(pairs, place * len(tests) + order[np.repeat(first, number) + within])
    place, test = np.divmod(pairs, len(tests))
    agree = np.concatenate([(minima[p] == tests[t]).mean(axis=1) for p, t in _both(place, test)] or [np.empty(0)])
    return list(zip(place[agree >= _LIKELY].tolist(), test[agree >= _LIKELY].tolist(), strict=True))


def find_leaks(
  held_out: HeldOut, source: Rows, split: str, examples: Kind, *, cache_dir: str | Path, on_bad_row: str = "stop"
) -> Leaks:
  """The leaks of a task; looked for once, and read from `cache_dir` after that.

  Args:
    held_out: the tests.
    source: where the training rows are.
    split: which of them.
    examples: the kind of task.
    cache_dir: holds one directory per fingerprint of the tests and everything above.
    on_bad_row: "stop" or "skip", see `read`.

  Raises:
    BadRow: a row that cannot be used, unless they are skipped.
  """
  what = [held_out.fingerprint(), source.fingerprint(split), split, repr(examples), on_bad_row]
  name = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]

  def make(directory: Path) -> None:
    rows = Bar(read(source, split, examples, on_bad_row), desc="leakage", unit=" examples", leave=False)
    (directory / "leaks.json").write_text(json.dumps(dataclasses.asdict(held_out.seen_in(rows))), "utf-8")

  return cache.find_or_make(Path(cache_dir) / name, _open, make)


def leakage_table(leaks: Mapping[str, Leaks]) -> str:
  """A line for each pair of a task and a test of which it holds texts, then the rows that hold them."""
  lines = [
    f"{task:18} {test:30} {counts['texts']:9,} {counts['equal']:8,} {counts['near']:8,}"
    for task, found in leaks.items()
    for test, counts in found.tests.items()
    if counts["equal"] or counts["near"]
  ]
  pairs = sum(len(found.tests) for found in leaks.values())
  if not lines:
    return f"no training row contains a test text or nearly one ({pairs} pairs of a task and a test)"
  head = f"{'task':18} {'contains texts of test':30} {'texts':>9} {'equal':>8} {'near':>8}"
  rows = ", ".join(f"{len(f.leaking):,} of {f.rows:,} of {task}" for task, f in leaks.items() if f.leaking)
  return "\n".join(
    [head, *lines, f"  training rows that contain them: {rows}; the other {pairs - len(lines)} pairs have none"]
  )


def similarity(a: str, b: str) -> float:
  """The Jaccard similarity of the shingles of two texts in their normal form."""
  one, other = _shingles(a), _shingles(b)
  return len(one & other) / len(one | other)


def _shingles(normal: str) -> set[str]:
  return {normal[i : i + SHINGLE] for i in range(max(len(normal) - SHINGLE + 1, 1))}


def _normal(text: str) -> str:
  return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _letters(example: Example) -> int:
  return len(example["anchor"]) + len(example["positive"] or "") + sum(map(len, example["negatives"]))


def _both(place: np.ndarray, test: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  for start in range(0, len(place), 2**16):
    yield place[start : start + 2**16], test[start : start + 2**16]


def _minima(normals: Sequence[str]) -> np.ndarray:
  """The least value of each of the hash functions over the shingles of each text, u32[texts, bands * depth]."""
  return np.concatenate([_minima_of(batch) for batch in batches(normals, _BLOCK, _LETTERS)])


def _minima_of(normals: Sequence[str]) -> np.ndarray:
  letters = [np.frombuffer(text.ljust(SHINGLE, "\0").encode("utf-32-le", "surrogatepass"), "<u4") for text in normals]
  flat, lengths = np.concatenate(letters).astype(np.uint64), np.array([len(own) for own in letters])
  hashes = np.zeros(len(flat) - SHINGLE + 1, np.uint64)
  for i in range(SHINGLE):  # of all shingles of all texts at once, those that reach into the next text too
    hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + flat[i : i + len(hashes)]
  hashes = ((hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)
  number = lengths - SHINGLE + 1
  starts = np.cumsum(number) - number
  own = np.arange(number.sum()) + np.repeat(np.cumsum(lengths) - lengths - starts, number)
  values = hashes[own].astype(np.uint32)
  factors, summands = np.random.default_rng(0).integers(0, 2**32, (2, _BANDS * _DEPTH), dtype=np.uint32)
  pairs = zip(factors | np.uint32(1), summands, strict=True)
  return np.stack([np.minimum.reduceat(values * factor + summand, starts) for factor, summand in pairs], axis=1)


def _hash_bands(minima: np.ndarray) -> np.ndarray:
  """u64[texts, bands]"""
  factors = np.random.default_rng(1).integers(0, 2**63, _DEPTH, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
  return (minima.reshape(len(minima), _BANDS, _DEPTH) * factors).sum(axis=2, dtype=np.uint64)


def _open(directory: Path) -> Leaks | None:
  try:
    return Leaks(**json.loads((directory / "leaks.json").read_text("utf-8")))
  except (OSError, ValueError, TypeError):
    return None
