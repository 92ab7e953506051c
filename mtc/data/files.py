"""Files of rows or lines: which of them are a split, what is in them, and what to say where they are not there."""

from collections.abc import Iterator, Mapping
import glob
import gzip
import hashlib
from pathlib import Path
import re
from typing import Annotated, BinaryIO, cast
import zlib

Names = Annotated[str | list[str] | tuple[str, ...], "one or several"]  # of files or fields; the command line reads it
_LONGEST = 2**25  # bytes of a line: a gzip file of a few kilobytes may unpack to one that fills the memory
_SHARD = re.compile(r"-\d+-of-\d+$")


class InFiles:
  """A source of rows whose content is that of its files."""

  def files_of(self, split: str) -> list[Path]:
    raise NotImplementedError

  def fingerprint(self, split: str) -> str:
    return hash_files(self.files_of(split))


def listing(path: Path) -> str:
  if not path.is_dir():
    return f"{path} is not a directory"
  names = sorted(entry.name for entry in path.iterdir())
  return f"there is {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}" if names else f"{path} is empty"


def splits(path: str, files: Mapping[str, Names], suffixes: tuple[str, ...]) -> list[str]:
  if files:
    return list(files)
  found = set()
  for entry in Path(path).iterdir() if Path(path).is_dir() else ():
    for suffix in suffixes:
      if entry.name.endswith(suffix):
        found.add(_SHARD.sub("", entry.name.removesuffix(suffix)))
  return sorted(found)


def split_files(path: str, files: Mapping[str, Names], split: str, suffixes: tuple[str, ...]) -> list[Path]:
  root = Path(path)
  if files:
    if split not in files:
      raise ValueError(f"no split {split!r} in files={files!r} of {path}; add it there")
    return _named_files(root, split, files[split])
  whole = [root / f"{split}{suffix}" for suffix in suffixes if (root / f"{split}{suffix}").is_file()]
  shards = [
    entry
    for suffix in suffixes
    for entry in sorted(root.glob(f"{glob.escape(split)}-*{suffix}"))
    if _SHARD.sub("", entry.name.removesuffix(suffix)) == split
  ]
  if len(whole) > 1 or (whole and shards):
    raise ValueError(f"split {split!r} is there twice: {whole + shards}; leave one of them")
  if not whole and not shards:
    raise FileNotFoundError(
      f"{root / split}{suffixes[0]} does not exist; {listing(root)}; make the file, or name it with files="
    )
  return whole or shards


def _matching(root: Path, pattern: Path) -> list[Path]:
  """The files below a directory that match a pattern; directories that exist are names there, and no patterns."""
  parts = list(pattern.parts)
  while len(parts) > 1 and (root / parts[0]).is_dir():
    root = root / parts.pop(0)
  found = [root / name for name in sorted(glob.glob(str(Path(*parts)), root_dir=root))]
  return [path for path in found if not path.is_dir()]


def _named_files(root: Path, split: str, names: Names) -> list[Path]:
  """The files of `files[split]`, in the order of the names; those of a glob by their own names."""
  if not names or (not isinstance(names, str) and "" in names):
    raise ValueError(f"files[{split!r}]={names!r} of {root} names no file; use a name, a glob, or a list of them")
  found: dict[Path, Path] = {}  # where it really is -> as it is named
  for name in (names,) if isinstance(names, str) else names:
    path = root / name
    matches = [path] if path.is_file() else _matching(root, Path(name))
    if path.is_dir():
      raise ValueError(f"{path} in files[{split!r}] is a directory; name a file, or a pattern such as '{name}/*'")
    if not matches:
      raise FileNotFoundError(f"{path} does not exist; {listing(path.parent)}; correct files[{split!r}]")
    for match in matches:
      if match.resolve() in found:
        raise ValueError(f"{match} is in files[{split!r}] twice: {names!r}; name each file once")
      found[match.resolve()] = match
  return list(found.values())


def hash_files(files: list[Path]) -> str:
  digest = hashlib.sha256()
  for file in files:
    digest.update(bytes.fromhex(hash_file(file)))
  return digest.hexdigest()


def hash_file(path: Path) -> str:
  with open(path, "rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def open_file(path: Path) -> BinaryIO:
  return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else open(path, "rb")


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
  """Yields (line number from 1, offset in the unpacked file, line) of the lines that are not blank.

  Raises:
    ValueError: a line is longer than any row, or the file is not whole.
  """
  for number, offset, line in all_lines(path):
    if line.strip():
      yield number, offset, line


def all_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
  """`lines` with the blank ones."""
  offset = number = 0
  with open_file(path) as file:
    try:
      while line := file.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
          raise ValueError(f"{path}:{number}: a line of more than {_LONGEST:,} bytes; is it a file of lines?")
        yield number, offset, line
        offset += len(line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
      raise ValueError(f"{path}: not a whole gzip file after line {number} ({error}); copy it again") from error
