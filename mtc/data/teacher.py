"""A teacher's vectors of texts: a `.npy` beside a file of texts, as `python -m mtc.embed` writes it."""

from collections.abc import Iterator, Sequence
import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtc.data.settings import Settings
from mtc.data.texts import read_texts
from mtc.files.npy import open_npy

_BLOCK = 2**14  # vectors that are looked at together
_SUFFIXES = (".gz", ".jsonl", ".parquet", ".txt")


@dataclasses.dataclass
class Vectors(Settings):
  """Row `i` of a `.npy` is the vector of text `i` of a file.

  Attributes:
    texts: .jsonl or .txt, either with .gz too, or .parquet; in the data directory of the run where it is relative.
    field: of the texts in JSONL and Parquet.
    npy: float16, float32 or float64 [texts, k], of any length; "" = beside the texts: `posts.jsonl` has `posts.npy`.
    role: whose prompt `mtc.embed --config` puts before the texts: query or document; "" = that of its flag --role.
  """

  texts: str
  field: str = "text"
  npy: str = ""
  role: str = ""

  def resolve(self, data_dir: str) -> "Vectors":
    """The same with paths that do not depend on the data directory."""
    name = Path(self.texts).name
    for suffix in _SUFFIXES:
      name = name.removesuffix(suffix)
    npy = self.npy or Path(self.texts).with_name(f"{name}.npy")
    return dataclasses.replace(self, texts=str(Path(data_dir) / self.texts), npy=str(Path(data_dir) / npy))


class TextVectors(NamedTuple):
  """A teacher's vectors of the texts of a task; they stay on disk.

  Attributes:
    tables: float[rows, k] each, memory-mapped.
    rows: i64[T]; the vector of text `t` is row `rows[t]` of the tables, counted through all of them.
    axes: f32[k, dim]: the vectors are given along these; None = as they are.
  """

  tables: Sequence[np.ndarray]
  rows: np.ndarray
  axes: np.ndarray | None

  @property
  def dim(self) -> int:
    """Dimensions of a vector."""
    return self.tables[0].shape[1] if self.axes is None else self.axes.shape[1]

  def __call__(self, texts: np.ndarray) -> np.ndarray:
    """Unit vectors f32[..., dim] of the texts i64[...] by index; zeros for -1."""
    rows, start = np.where(texts < 0, -1, self.rows[texts]), 0
    vectors = np.zeros((*texts.shape, self.tables[0].shape[1]), np.float32)
    for table in self.tables:
      mine = (rows >= start) & (rows < start + len(table))
      vectors[mine] = table[rows[mine] - start]
      start += len(table)
    return _unit(vectors if self.axes is None else _unit(vectors) @ self.axes)


class Teacher:
  """The vectors of several files, opened as one table; the first vector of a text counts."""

  def __init__(self, files: Sequence[Vectors], dim: int = 0):
    """Opens the files.

    Args:
      files: resolved.
      dim: number of principal axes to give the vectors along; 0 = as they are.

    Raises:
      ValueError, OSError: a `.npy` is none, or of another shape than its texts; says which.
    """
    self._files, self._dim = files, dim
    self._tables = [_open(file) for file in files]
    widths = [table.shape[1] for table in self._tables]
    if len(set(widths)) > 1:
      raise ValueError(
        f"the teacher's vectors {', '.join(f.npy for f in files)} have {widths} dimensions; use one model"
      )
    if not 0 <= dim <= widths[0]:
      raise ValueError(f"teacher_dim={dim} is not in 0..{widths[0]}, the dimensions of {files[0].npy}")
    self.dim = dim or widths[0]
    self._index: dict[bytes, int] = {}
    self.missing, self.example = 0, ""  # texts asked for that have no vector, and the first of them

  @property
  def mapped(self) -> list[Path]:
    """The files of vectors, which a run reads as it goes."""
    return [Path(file.npy) for file in self._files]

  def fingerprint(self) -> list[str | int]:
    """Hashes of the files' content, and the options."""
    parts: list[str | int] = [self._dim]
    for file in self._files:
      parts.append(file.field)
      for path in (file.texts, file.npy):
        with open(path, "rb") as stream:
          parts.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return parts

  def row(self, text: str) -> int:
    """The row of a text; -1 = it has none, which is counted."""
    row = (self._index or self._read()).get(_digest(text), -1)
    if row < 0:
      self.missing, self.example = self.missing + 1, self.example or text
    return row

  def write(self, directory: Path, rows: Sequence[int]) -> None:
    """Checks all vectors, and keeps in the directory what `of` needs.

    Args:
      directory: of the tokens.
      rows: of each text of the task, as `row` gave them.

    Raises:
      ValueError: a text has no vector, or a vector no direction.
    """
    names = ", ".join(file.texts for file in self._files)
    if self.missing:
      raise ValueError(
        f"{self.missing} of {len(rows)} texts have no vector in {names}, for example {self.example[:80]!r}; "
        "embed the texts of the task as they stand in its rows"
      )
    moment = 0.0
    for block in self._blocks():
      moment = moment + (block.T @ block).astype(np.float64) if self._dim else moment
    np.save(directory / "teacher_rows.npy", np.asarray(rows, np.int64))
    if self._dim:
      axes = np.linalg.eigh(moment)[1][:, : -self._dim - 1 : -1]  # the largest first
      axes = axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(self._dim)])  # eigh may turn any around
      np.save(directory / "teacher_axes.npy", axes.astype(np.float32))

  def of(self, directory: Path) -> TextVectors:
    """The vectors of the texts whose tokens are in the directory."""
    axes = np.load(directory / "teacher_axes.npy") if self._dim else None
    return TextVectors(self._tables, np.load(directory / "teacher_rows.npy", mmap_mode="r"), axes)

  def _read(self) -> dict[bytes, int]:
    start = 0
    for file, table in zip(self._files, self._tables, strict=True):
      count = 0
      for count, text in enumerate(read_texts(Path(file.texts), file.field), 1):
        self._index.setdefault(_digest(text), start + count - 1)
      if count != len(table):
        raise ValueError(f"{file.npy} has {len(table)} rows for the {count} texts of {file.texts}; embed them again")
      start += len(table)
    return self._index

  def _blocks(self) -> Iterator[np.ndarray]:
    for file, table in zip(self._files, self._tables, strict=True):
      for start in range(0, len(table), _BLOCK):
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinity, and reported below
          block = table[start : start + _BLOCK].astype(np.float32)
          lengths = np.linalg.norm(block, axis=1)
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if bad.size:
          raise ValueError(
            f"row {start + bad[0]} of {file.npy} has no direction (its length is {lengths[bad[0]]}); embed it again"
          )
        yield block / lengths[:, None]


def _open(file: Vectors) -> np.ndarray:
  if not Path(file.npy).is_file():
    raise FileNotFoundError(
      f"{file.npy} does not exist; python -m mtc.embed --model TEACHER --config CONFIG writes it from {file.texts}"
    )
  table = open_npy(file.npy)
  if table.ndim != 2 or not table.shape[1]:
    raise ValueError(f"{file.npy} is {table.dtype} {list(table.shape)}; expected numbers [texts, dimensions]")
  return table


def _digest(text: str) -> bytes:
  return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
