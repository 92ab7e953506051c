"""Progress bars: as tqdm draws them on a terminal, and a line a minute in a log."""

from collections.abc import Iterable
import sys
from typing import Any

import tqdm

SECONDS = 60  # between two lines in a log


class Bar(tqdm.tqdm):
  """A tqdm bar. Where stderr is no terminal it prints a line about every minute, and one at the end."""

  in_lines = False

  def __init__(self, iterable: Iterable[Any] | None = None, **options: Any):
    """Takes the arguments of tqdm."""
    self.in_lines = not (sys.stderr.isatty() or "ipykernel" in sys.modules)  # a notebook draws over what it showed
    if self.in_lines:
      # miniters is fixed, because tqdm would otherwise wait for as many updates as the last minute had; the delay
      # keeps it from printing a line at once.
      options |= {"mininterval": SECONDS, "miniters": 1, "delay": SECONDS}
    super().__init__(iterable, **options)

  def skip(self, count: int) -> None:
    """Counts `count` items as done before this bar began; the rate is that of the others."""
    if not self.disable:
      self.initial += count
      self.n += count
      self.last_print_n += count

  def display(self, msg: str | None = None, pos: int | None = None) -> Any:
    """Draws the bar, or prints its line; `msg` takes the place of the bar, and "" removes it."""
    if not self.in_lines:
      return super().display(msg, pos)
    if line := str(self) if msg is None else msg:
      self.fp.write(f"{line}\n")
      self.fp.flush()
    return False

  def close(self) -> None:
    """Ends the bar, with its last line unless `leave` is false."""
    if self.in_lines and not getattr(self, "disable", True):
      if self.leave:
        self.display()
      self.leave = False
    super().close()
