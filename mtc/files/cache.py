"""Directories that are made once, by the process that comes first, and appear whole or not at all."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import shutil
from typing import TypeVar

from mtc.files.atomic import sync

Found = TypeVar("Found")


def user_cache() -> Path:
  """Where this user's caches of mtc are: `$XDG_CACHE_HOME/mtc`, else `~/.cache/mtc`."""
  return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtc"


def find_or_make(path: Path, find: Callable[[Path], Found | None], make: Callable[[Path], None]) -> Found:
  """Returns `find(path)`; if that is None, makes the directory first.

  `make` fills a temporary directory, which is written through to the disk and renamed to `path`: a reader sees all of
  it or none. Processes of one machine wait for each other, so that it is made once. What `find` rejects is removed.
  """
  found = find(path)
  if found is not None:
    return found
  path.parent.mkdir(parents=True, exist_ok=True)
  with _locked(path.parent / f".{path.name}.lock"):
    found = find(path)
    if found is not None:
      return found
    building = path.parent / f".{path.name}.{os.uname().nodename}.{os.getpid()}"
    for left in path.parent.glob(f".{path.name}.{os.uname().nodename}.*"):  # by a process of this machine that died
      shutil.rmtree(left, ignore_errors=True)
    building.mkdir()
    try:
      make(building)
      _sync(building)
      if path.exists():
        shutil.rmtree(path)
      try:
        building.rename(path)
      except OSError:  # another machine was quicker on a shared disk
        if find(path) is None:
          raise
      sync(path.parent)
    finally:
      shutil.rmtree(building, ignore_errors=True)
  found = find(path)
  if found is None:
    raise ValueError(f"{path} cannot be read back right after it was written; check the disk")
  return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  with open(path, "w") as file:
    # Some network disks have no locks; then the work is done twice, and the rename still keeps it whole.
    with contextlib.suppress(OSError):
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _sync(directory: Path) -> None:
  for root, _, names in os.walk(directory):
    for name in names:
      sync(Path(root) / name)
    sync(Path(root))
