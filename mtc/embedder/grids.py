"""Tokenized texts, packed into the grids of tokens that a model encodes one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib

import jax
import numpy as np

from mtc import data, parallel

_TOKENS = 2**14  # of a grid that one device encodes at a time
_CPU_TOKENS = 2**11  # the same of a CPU: what is computed of so few stays in its caches
_SHORT = 128  # length of the rows for texts that fit into them; longer texts get rows for the longest
_SLOT = 8  # tokens of a row for each text that it may hold: shorter texts leave some of it empty


@dataclass
class Part:
  """Texts in rows of one length, and the grids of rows that are encoded one after another.

  Attributes:
    texts: i64[n], their indexes in the block, row by row.
    ids: the tokens of each.
    lengths, row, start, segment: i32[n]; how many tokens each has, and where they are.
    length: tokens of a row.
    slots: texts that a row may hold.
    rows: of each grid, on each device.
    bounds: i64[grids + 1]; grid `i` holds the texts bounds[i]:bounds[i + 1].
  """

  texts: np.ndarray
  ids: Sequence[Sequence[int]]
  lengths: np.ndarray
  row: np.ndarray
  start: np.ndarray
  segment: np.ndarray
  length: int
  slots: int
  rows: Sequence[int]
  bounds: np.ndarray


@dataclass
class Block:
  """Texts that are packed and encoded together.

  Attributes:
    texts: as they were given.
    first: the number of the first one.
    parts: the short ones and the long ones, packed.
  """

  texts: Sequence[str]
  first: int
  parts: Sequence[Part]

  @property
  def grids(self) -> int:
    """How many there are."""
    return sum(len(part.rows) for part in self.parts)

  def count(self, grids: int) -> int:
    """How many texts the first grids hold."""
    sizes = np.concatenate([np.diff(part.bounds) for part in self.parts])
    return int(sizes[:grids].sum())

  def digest(self) -> str:
    """A hash of which texts are in which grid, which differs between numbers of devices."""
    layout = hashlib.sha256()
    for part in self.parts:
      layout.update(f"{part.length} {part.slots} {part.rows} {part.bounds.tolist()}".encode())
      layout.update(part.texts.astype("<i8").tobytes() + part.row.astype("<i8").tobytes())
    return layout.hexdigest()


def pack(texts: Sequence[str], first: int, ids: Sequence[Sequence[int]], max_length: int) -> Block:
  """Sorts texts by length and packs them.

  Args:
    texts: at least one.
    first: the number of the first one, for messages.
    ids: the tokens of each, `max_length` at most.
    max_length: the most tokens of a row.
  """
  lengths = np.array([len(i) for i in ids], np.int32)
  short = min(_SHORT, max_length)
  # No longer than the longest text wants, in powers of two: attention costs the square of a row, and some models
  # would take texts of 131,072 tokens.
  long = min(1 << (int(lengths.max()) - 1).bit_length(), max_length)
  parts = []
  for length, chosen in ((short, lengths <= short), (long, lengths > short)):
    index = np.flatnonzero(chosen)
    if index.size:
      # Longest first: what a grid holds is then alike in length, and packing fills the rows.
      parts.append(_pack(ids, lengths, index[np.argsort(-lengths[index], kind="stable")], length))
  return Block(texts, first, parts)


def _pack(ids: Sequence[Sequence[int]], lengths: np.ndarray, texts: np.ndarray, length: int) -> Part:
  """Packs the chosen texts, which fit into rows of `length`, in their order."""
  slots = max(length // _SLOT, 1)
  row, start, segment = data.best_fit(lengths[texts], length, slots)
  # Pooling costs as many products as there are slots: no more than the fullest row needs, in powers of two, for few
  # shapes. Products with fewer slots than a short row has would round in another way.
  slots = min(slots, max(_SHORT // _SLOT, 1 << (int(segment.max()) - 1).bit_length()))
  devices = len(parallel.local_devices())
  needed = -(-(int(row.max()) + 1) // devices)
  most = max((_CPU_TOKENS if jax.default_backend() == "cpu" else _TOKENS) // length, 1)
  full, rest = divmod(needed, most)
  # The last grid holds what is left, in a power of two: so few shapes, and little that is computed for nothing.
  rows = [most] * full + ([min(1 << (rest - 1).bit_length(), most)] if rest else [])
  order = np.argsort(row, kind="stable")
  texts, row, start, segment = texts[order], row[order], start[order], segment[order]
  bounds = np.searchsorted(row, np.cumsum([0, *rows]) * devices)
  return Part(texts, [ids[i] for i in texts], lengths[texts], row, start, segment, length, slots, rows, bounds)


def counts(lengths: np.ndarray) -> np.ndarray:
  """[2, 3] -> [0, 1, 0, 1, 2]"""
  ends = np.cumsum(lengths)
  return (np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)).astype(np.int32)
