"""Files and folders that appear whole or not at all, whenever the process that writes them is killed."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil


@contextlib.contextmanager
def file(path: Path) -> Iterator[Path]:
  """Yields a name to write to; when the block has ended well, the file takes the place of `path`."""
  with _beside(path) as partial:
    yield partial
    sync(partial)
    os.replace(partial, path)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
  """Yields a new folder to fill; when the block has ended well, it takes the place of `path`."""
  with _beside(path) as partial:
    partial.mkdir(parents=True)
    yield partial
    for root, _, names in os.walk(partial):
      for name in names:
        sync(Path(root) / name)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
  """A name of this process's own, `NAME.HOST.PID.partial`; what dead processes of this machine left is removed."""
  start, end = f"{path.name}.{os.uname().nodename}.", ".partial"
  for left in path.parent.iterdir() if path.parent.is_dir() else ():
    if left.name.startswith(start) and left.name.endswith(end):
      process = left.name[len(start) : -len(end)]
      if process.isdecimal() and (int(process) == os.getpid() or not _lives(int(process))):
        _remove(left)
  partial = path.with_name(f"{start}{os.getpid()}{end}")
  try:
    yield partial
  finally:
    _remove(partial)


def _lives(process: int) -> bool:
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except OSError:  # of another user
    pass
  return True


def _remove(path: Path) -> None:
  if path.is_dir():
    shutil.rmtree(path, ignore_errors=True)
  else:
    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
  """Brings what was written to a file, or the names in a directory, to the disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
