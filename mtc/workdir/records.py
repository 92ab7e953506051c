"""The files of a workdir that people and programs read: config, data, environment, metrics, scores."""

from collections.abc import Mapping, Sequence
import contextlib
import importlib
from importlib import metadata
import json
import math
from pathlib import Path
import platform
import subprocess
import time
from typing import Any

from mtc import config as config_lib, parallel
from mtc.config import Run
from mtc.files import atomic, paths
from mtc.files.json_file import write_json

_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "numpy",
  "tokenizers",
  "transformers",
  "tensorflow-datasets",
)


def open_workdir(workdir: Path, settings: Run) -> Path:
  """The absolute path of a folder that is there and holds no other run; raises ValueError where it cannot be so."""
  workdir = workdir.absolute()
  paths.check_text("the workdir", str(workdir))  # the current directory may have such a name
  if workdir.exists() and not workdir.is_dir():
    raise ValueError(f"--workdir {workdir} is a file; name a folder")
  workdir.mkdir(parents=True, exist_ok=True)
  check_config(workdir, settings)
  return workdir


def finished(workdir: Path) -> bool:
  """Whether the run of this directory came to its end."""
  return (workdir / "evaluation.json").exists() and (workdir / "export").exists()


def check_config(workdir: Path, settings: Run) -> None:
  """Raises ValueError when `workdir` holds a run of another config, naming the fields that differ."""
  path = workdir / "config.json"
  if not path.exists():
    return
  found = config_lib.differences(json.loads(path.read_text()), config_lib.to_dict(settings))
  if found:
    raise ValueError(
      f"{workdir} holds a run of another config:\n  "
      + "\n  ".join(found)
      + "\nUse another --workdir, or the same config"
    )


def check_data(workdir: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
  """Raises ValueError when the training data are not those with which the run in `workdir` began."""
  path = workdir / "data.json"
  if not path.exists():
    return
  before = json.loads(path.read_text())
  changed = [
    name for name, report in reports.items() if before.get(name, {}).get("fingerprint") != report["fingerprint"]
  ]
  if changed:
    raise ValueError(
      f"the training data of {', '.join(changed)} changed since the run in {workdir} began, or another version of "
      "mtc began it and prepared them otherwise; use another --workdir, or the old data and version"
    )


def write_run(workdir: Path, settings: Run, reports: Mapping[str, Mapping[str, Any]], command: Sequence[str]) -> None:
  """Writes what is needed to repeat the run, once: a resumed run keeps the record of its beginning."""
  for name, value in {
    "data.json": reports,
    "environment.json": environment(command),
    "config.json": config_lib.to_dict(settings),  # last: its presence says that a run began here
  }.items():
    if not (workdir / name).exists():
      write_json(workdir / name, value)


def environment(command: Sequence[str] = ()) -> dict[str, Any]:
  """Versions, devices, the command and the git revision of the code."""
  return {
    "command": list(command),
    "revision": _revision(),
    "python": platform.python_version(),
    "platform": platform.platform(),
    "packages": _versions(),
    "devices": parallel.describe(),
  }


def _revision() -> str:
  """The git revision of the code, "" outside a repository or without git."""
  here = ["git", "-C", str(Path(__file__).parent)]
  try:
    revision = subprocess.run([*here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run([*here, "status", "--porcelain"], capture_output=True, text=True, check=False)
  except OSError:
    return ""
  return "" if revision.returncode else revision.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def _versions() -> dict[str, str]:
  """Of the packages that are there: with `input=threads` no run needs TensorFlow Datasets."""
  found = {}
  for name in _PACKAGES:
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[name] = metadata.version(name)
  return found


class Metrics:
  """`metrics.jsonl` and TensorBoard: a line, or a point of each curve, for each logged step."""

  def __init__(self, workdir: Path, step: int, active: bool = True):
    """Lines past `step`, left by a run that was killed after its last checkpoint, are cut."""
    self._path, self._board = workdir / "metrics.jsonl", None
    if not active:
      return
    # Not its SummaryWriter: that writes in a thread, and waits for ever where the thread has met a full disk.
    from tensorboardX.event_file_writer import EventsWriter

    if self._path.exists():
      lines = self._path.read_text(encoding="utf-8").splitlines()
      with atomic.file(self._path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines if _step(line) <= step), encoding="utf-8")
    (workdir / "tensorboard").mkdir(exist_ok=True)
    self._board = EventsWriter(str(workdir / "tensorboard" / "events"))
    if step:  # so that the curves too forget what comes after it
      self._board.write_event(_event(step=step + 1, session_log={"status": "START"}))
    self._board.flush()

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds one line; `step` counts the steps taken."""
    if self._board is None:
      return
    with open(self._path, "a", encoding="utf-8") as file:
      file.write(json.dumps({"step": step} | dict(values)) + "\n")
    points = [{"tag": name, "simple_value": value} for name, value in values.items()]
    self._board.write_event(_event(step=step, summary={"value": points}))
    self._board.flush()

  def close(self) -> None:
    """Closes the curves, of which every line was written."""
    if self._board is not None:
      with contextlib.suppress(OSError):  # a full disk was told when it was met
        self._board.close()


def _event(**content: Any) -> Any:
  """A point of the curves, as TensorBoard reads it."""
  return importlib.import_module("tensorboardX.proto.event_pb2").Event(wall_time=time.time(), **content)


def _step(line: str) -> float:
  try:
    return json.loads(line)["step"]
  except (ValueError, KeyError):  # the line that a kill cut short
    return math.inf
