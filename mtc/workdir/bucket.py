"""Workdirs in a bucket: `--workdir gs://bucket/runs/a`.

A run writes its files into a folder of this machine, and they follow into the bucket while it runs and at its end.
Checkpoints go to the bucket at once, as every process of a run must see them. A machine that takes over begins with
what the bucket holds.
"""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import re
import shutil
import tempfile
import threading

from absl import logging
from etils import epath

from mtc import parallel
from mtc.files import lock, paths

CHECKPOINTS = "checkpoints"
_PATTERN = re.compile(r"[*?\[\]{}\\]")
_SECONDS = 30  # between two looks at what has changed

_buckets: dict[Path, epath.Path] = {}  # folder here -> folder in a bucket


@contextlib.contextmanager
def workdir(name: str) -> Iterator[Path]:
  """The folder to work in: `name` itself, which is then locked, or for gs:// a folder that the bucket follows.

  A bucket has no locks: two runs of one workdir there are not told apart.

  Raises:
    ValueError: it is a file, or another process's workdir; the bucket cannot be read, or is of a kind that is unknown
      here.
    OSError: the folder cannot be made or written.
  """
  if "://" not in name:
    paths.check(Path(name))
    with _alone(Path(name)) if parallel.is_main_process() else contextlib.nullcontext():
      yield Path(name)
    return
  if not name.startswith("gs://"):
    raise ValueError(f"--workdir {name}: only gs:// is known here; mount other storage, or use a folder")
  if found := _PATTERN.search(name):
    raise ValueError(f"--workdir {name}: {found[0]!r} is part of a pattern to the libraries for buckets; leave it out")
  mirror = _Mirror(Path(tempfile.mkdtemp(prefix="mtc-workdir-")), bucket_folder(name))
  try:
    mirror.pull()
  except Exception as error:  # of whichever library speaks to the bucket
    mirror.close()
    raise ValueError(
      f"--workdir {name} cannot be read ({type(error).__name__}: {error}); check its name and your credentials"
    ) from error
  _buckets[mirror.here] = mirror.there
  try:
    with mirror.following() if parallel.is_main_process() else contextlib.closing(mirror):
      yield mirror.here
  finally:
    del _buckets[mirror.here]


def _alone(folder: Path) -> contextlib.AbstractContextManager[None]:
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"--workdir {folder} is a file; name a folder")
  folder.mkdir(parents=True, exist_ok=True)
  if (kept := folder / CHECKPOINTS).exists():
    if not kept.is_dir():
      raise ValueError(f"{kept} is a file, and a run keeps its checkpoints there; name another --workdir")
    with tempfile.TemporaryFile(dir=kept):  # raises what the first save would, before there is anything to lose
      pass
  return lock.held(folder / ".lock", f"--workdir {folder}")


def bucket_folder(name: str) -> epath.Path:
  """What reads and writes a folder in a bucket; a test puts its own folder here."""
  return epath.Path(name)


def checkpoints(folder: Path) -> Path | epath.Path:
  """Where the checkpoints of a workdir are: below it, or below what it stands for."""
  folder = folder.absolute()
  for here, there in _buckets.items():
    if folder.is_relative_to(here):
      return there / folder.relative_to(here).as_posix() / CHECKPOINTS
  return folder / CHECKPOINTS  # not of epath, for which /gs/ is a bucket


def remove_checkpoints(folder: Path) -> None:
  """Removes the checkpoints of a workdir, here or in a bucket."""
  directory = checkpoints(folder)
  shutil.rmtree(directory) if isinstance(directory, Path) else directory.rmtree()


def shown(path: Path) -> str:
  """A path as people know it: in the bucket, if it is there that they find it."""
  for here, there in _buckets.items():
    if path.is_relative_to(here):
      return f"{there}/{path.relative_to(here).as_posix()}".removesuffix("/.")
  return os.path.relpath(path)


class _Mirror:
  """A folder here and one in a bucket, which gets what was written here. Files here are replaced whole."""

  def __init__(self, here: Path, there: epath.Path):
    self.here, self.there = here.resolve(), there
    self._sent: dict[str, tuple[int, int]] = {}  # file -> its time and size when it was sent

  def pull(self) -> None:
    """Copies the bucket's files here, but for checkpoints."""
    if not self.there.exists():
      return
    if not self.there.is_dir():
      raise NotADirectoryError("it is a file")
    self._pull(self.there, self.here)
    self._sent = self._files()

  def _pull(self, there: epath.Path, here: Path) -> None:
    here.mkdir(parents=True, exist_ok=True)
    for entry in there.iterdir():
      if not entry.is_dir():
        (here / entry.name).write_bytes(entry.read_bytes())
      elif entry.name != CHECKPOINTS:
        self._pull(entry, here / entry.name)

  def push(self) -> None:
    """Copies what was written here since the last time, the oldest first: evaluation.json, which says that a run is
    finished, comes after what it speaks of."""
    files = self._files()
    for name in sorted(files, key=lambda name: files[name]):
      if self._sent.get(name) != files[name]:
        target = self.there / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
          target.write_bytes((self.here / name).read_bytes())
        except FileNotFoundError:  # replaced meanwhile by another name; the next time
          continue
        self._sent[name] = files[name]
    for name in self._sent.keys() - files.keys():
      (self.there / name).unlink(missing_ok=True)
      del self._sent[name]

  def _files(self) -> dict[str, tuple[int, int]]:
    found = {}
    for path in self.here.rglob("*"):
      with contextlib.suppress(FileNotFoundError):
        if path.is_file() and ".partial" not in path.as_posix():
          stat = path.stat()
          found[path.relative_to(self.here).as_posix()] = stat.st_mtime_ns, stat.st_size
    return found

  def close(self) -> None:
    """Removes the folder here."""
    shutil.rmtree(self.here, ignore_errors=True)  # a run does not fail because a temporary folder stays

  @contextlib.contextmanager
  def following(self) -> Iterator[None]:
    """Sends what changes while the block runs, and the rest at its end, however it ends; then nothing is left here."""
    ended = threading.Event()

    def follow() -> None:
      while not ended.wait(_SECONDS):
        try:
          self.push()
        except Exception as error:  # a run does not end because a bucket is away for a while
          logging.warning("%s cannot be written now, and will be tried again: %s", self.there, error)

    thread = threading.Thread(target=follow, name="mtc-workdir", daemon=True)
    thread.start()
    try:
      yield
    finally:
      ended.set()
      thread.join()
      try:
        self.push()
      except Exception as error:
        raise OSError(f"{self.there} cannot be written, and what it lacks is still in {self.here}: {error}") from error
      self.close()
