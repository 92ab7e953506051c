"""A `.npy` that is written in pieces beside its place: after a kill, the next call of the same work goes on."""

from collections.abc import Mapping
import io
import json
import os
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from mtc.files import json_file

SECONDS = 60  # between two saves within a block of rows


class PartialNpy:
  """The file `NAME.partial`, beside it `NAME.progress.json`, which says what of it is done; at the end, `NAME`.

  Attributes:
    path: where the rows are until `finish`.
    state: what `save` was last given, by an earlier process too; {} = nothing was saved.
  """

  def __init__(self, output: Path, shape: tuple[int, int], dtype: str, stamp: Mapping[str, Any]):
    """Opens what is left of the same work, or a new file.

    Args:
      output: the `.npy`.
      shape: of the array.
      dtype: of the array.
      stamp: of the work; what is left of another work is overwritten.
    """
    self._output, self._stamp = output, dict(stamp)
    self.path = output.with_name(output.name + ".partial")
    self._progress = output.with_name(output.name + ".progress.json")
    self.state = self._left()
    if not self.state:  # before the file is emptied: the other work must not go on from it
      self._progress.unlink(missing_ok=True)
    header = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    self._start, self._row = header.tell(), shape[1] * np.dtype(dtype).itemsize
    # Not through a map of the file: its pages would count as memory, and a full disk would kill the process.
    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | (0 if self.state else os.O_TRUNC), 0o666)
    self._write(0, header.getbuffer())
    self._saved = monotonic()

  def __enter__(self) -> "PartialNpy":
    return self

  def __exit__(self, *unused: Any) -> None:
    os.close(self._file)

  def due(self) -> bool:
    """True when the last save is a minute ago."""
    return monotonic() - self._saved >= SECONDS

  def save(self, first: int, rows: np.ndarray, new: np.ndarray, state: Mapping[str, Any]) -> None:
    """Writes rows, and when they are on the disk, how far the work is.

    Args:
      first: of the array, where `rows` begin.
      rows: [rows, width], in the dtype of the array.
      new: bool[rows]; those that are written. All are False afterwards.
      state: what `state` is for the next process.
    """
    edges = np.flatnonzero(np.diff(new, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():
      self._write(self._start + (first + start) * self._row, rows[start:end].data.cast("B"))
    os.fsync(self._file)
    new[:] = False
    self.state = dict(state)
    json_file.write_json(self._progress, {"stamp": self._stamp, **self.state})
    self._saved = monotonic()

  def finish(self) -> None:
    """Gives the file its name."""
    os.replace(self.path, self._output)
    self._progress.unlink()

  def _write(self, place: int, content: memoryview) -> None:
    while content:
      written = os.pwrite(self._file, content, place)  # not all of it where the disk becomes full
      place, content = place + written, content[written:]

  def _left(self) -> dict[str, Any]:
    """The state of the same work; {} = no such work."""
    try:
      saved = json.loads(self._progress.read_text())
    except (OSError, ValueError):
      return {}
    same = isinstance(saved, dict) and saved.pop("stamp", None) == self._stamp
    return saved if same and self.path.exists() else {}
