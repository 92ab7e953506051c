"""Names of directories for libraries that take characters of a name for a pattern or an address.

Orbax and TensorFlow Datasets find files with `directory.glob(...)`, in which `[v1]` of the directory is a pattern, read
`gs:` in the middle of a path, and hand names to C++ that must be UTF-8.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import re
from typing import Any, TypeVar
import weakref

T = TypeVar("T")

_PLAIN = re.compile(r"(?!/(?:gs|s3|az|hf)/)[\w./ -]*")  # letters of any script; /gs/ is a bucket to etils.epath
_PATTERN = re.compile(r"[*?\[\]{}\\]|gs:|[\x00-\x1f\udc80-\udcff]|^/(?:gs|s3|az|hf)/")  # no name to some library
_DESCRIPTORS = Path("/proc/self/fd")


def is_plain(path: Any) -> bool:
  """Whether every library reads this path as the name that it is."""
  return _PLAIN.fullmatch(os.fspath(path)) is not None


def check(directory: Path) -> None:
  """Raises ValueError for a directory that `plain` cannot give a plain name here."""
  found = _PATTERN.search(os.fspath(directory.absolute()))
  if found and not _DESCRIPTORS.is_dir():
    raise ValueError(
      f"{directory} holds {found[0]!r}, which libraries take for a pattern, and this system has no {_DESCRIPTORS} to "
      "avoid that; use a path without it"
    )


@contextlib.contextmanager
def plain(directory: Path) -> Iterator[Path]:
  """Yields a name of an existing directory that is plain, and valid while the block runs.

  That is its absolute path, or `/proc/self/fd/N` of a descriptor that is open meanwhile. All threads may use it.

  Raises:
    ValueError: there is no such name on this system.
    OSError: the directory does not exist or cannot be read.
  """
  check(directory)
  if is_plain(directory.absolute()) or not _DESCRIPTORS.is_dir():
    yield directory.absolute()
    return
  descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
  try:
    yield _DESCRIPTORS / str(descriptor)
  finally:
    os.close(descriptor)


def open_plain(make: Callable[[str], T], directory: Path) -> T:
  """Returns `make(name)` for a plain name of the directory, which is valid as long as the object that it returns."""
  with contextlib.ExitStack() as names:
    made = make(str(names.enter_context(plain(directory))))
    weakref.finalize(made, names.pop_all().close)
    return made


def shown(path: Any) -> str:
  """The path as text that can be printed: bytes that are not UTF-8 are written as escapes."""
  return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def check_text(name: str, value: str) -> None:
  """Raises ValueError for an argument or a field with bytes that are not UTF-8, which no file here can record."""
  try:
    value.encode()
  except UnicodeEncodeError:
    raise ValueError(
      f"{name} {ascii(value)} holds bytes that are not UTF-8; rename the file or directory, or correct the value"
    ) from None
