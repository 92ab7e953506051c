"""One process at a time: a lock that dies with the process that holds it."""

from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
from pathlib import Path

from absl import logging


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
  """Holds the lock file `path` while the block runs.

  The kernel lets go of it when the process ends, however it ends: what a killed process leaves locks nobody out.

  Args:
    path: of the lock file; its folder is there. It is removed at the end.
    what: is locked, for the message.

  Raises:
    ValueError: another process holds it; says which.
    OSError: the folder cannot be written.
  """
  file = _take(path, what)
  try:
    yield
  finally:
    path.unlink(missing_ok=True)  # before it is let go, so that nobody holds a file that has no name
    os.close(file)


def _take(path: Path, what: str) -> int:
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = _holder(file)
      os.close(file)
      raise ValueError(f"{what} is in use by {holder}; wait for it, end it, or name another one") from None
    except OSError as error:
      logging.warning(
        "%s: this disk has no locks (%s); see to it that one process at a time uses %s", path, error, what
      )
      return file
    if _is(file, path):
      os.ftruncate(file, 0)
      os.pwrite(file, json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode(), 0)
      return file
    os.close(file)  # the process that held it before has just removed it


def _holder(file: int) -> str:
  try:
    known = json.loads(os.pread(file, 1000, 0))
    return f"process {known['pid']} on {known['host']}"
  except (ValueError, KeyError, TypeError):  # it has only just taken it
    return "another process"


def _is(file: int, path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file), os.stat(path))
  except FileNotFoundError:
    return False
