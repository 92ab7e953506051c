"""Where prepared examples come from, and whether it is still as it was when they were made."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mtc.data.examples import Example, Kind, read
from mtc.data.sources import Rows

_Signature = dict[Path, tuple[int, int, int]]  # file -> which one it is, its size and the time of its last change


class Changed(ValueError):
  """Data are not what they were when the run read them."""


class Origin:
  """The source of a split and, once they are made, the files that a run maps into its memory.

  Attributes:
    content: the fingerprint of the source when this was made.
  """

  def __init__(self, source: Rows, split: str, examples: Kind, on_bad_row: str, without: Collection[int]):
    """Takes note of the source as it is now; the arguments are those of `prepare`."""
    self._source, self._split = source, split
    self._examples, self._on_bad_row, self._without = examples, on_bad_row, frozenset(without)
    self._files = _signature(source.files_of(split))  # first: what changes after it is seen, however soon
    self.content = source.fingerprint(split)
    self._mapped: _Signature = {}

  def read(self) -> Iterator[Example]:
    """The examples once more, without those that were left out."""
    for number, example in enumerate(read(self._source, self._split, self._examples, self._on_bad_row)):
      if number not in self._without:
        yield example

  def keep(self, files: Iterable[Path]) -> None:
    """These files are mapped from now on: tokens, and a teacher's vectors."""
    self._mapped = _signature(files)

  def check_mapped(self) -> None:
    """Raises Changed if a mapped file was written to; those that are removed or replaced stay as they were."""
    for file, before in self._mapped.items():
      now = _signature([file]).get(file)
      if now and now != before and now[0] == before[0]:
        raise Changed(
          f"{file} was changed while the run read it; run the same command again: it goes on from the last checkpoint"
        )

  def changed(self) -> bool:
    """Whether the content of the source is another one now. It is read again only where its files look changed."""
    try:
      files = _signature(self._source.files_of(self._split))
      if files == self._files:
        return False
      if self._source.fingerprint(self._split) != self.content:
        return True
    except (OSError, ValueError):  # a file has gone
      return True
    self._files = files
    return False


def _signature(files: Iterable[Path]) -> _Signature:
  found = {}
  for file in files:
    try:
      stat = file.stat()
    except FileNotFoundError:
      continue
    found[file] = stat.st_ino, stat.st_size, stat.st_mtime_ns
  return found
