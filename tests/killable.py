"""Runs a tiny experiment again and again, each time in a fork, and kills it where it is told; see test_kills.py.

Everything is imported once, before any fork, so that a try takes seconds. A line of JSON comes in for each try:
{"workdir", "log", "operation", "full", "seconds", "signals", "devices", "settings"}; one goes out: {"code",
"operations", "seconds"}.
"""

import errno
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from safetensors.numpy import load_file

# What a process does to files. Orbax writes its arrays in C++, unseen from here: random seconds are for these.
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def experiment(data_dir: str, cache_dir: str):
  """Two tasks, a tokenizer to train, evaluations on the way, dropout on."""
  from mtc import data
  from mtc.config import Evaluation, Experiment, Task
  from mtc.evaluators import KNN, Retrieval
  from mtc.losses import InfoNCE
  from mtc.models import ModelSpec
  from mtc.optim import OptimSpec

  return Experiment(
    tasks={
      "interest": Task(data.Folder("interest"), data.SameLabel(), InfoNCE(), batch_size=12, max_length=64),
      "search_tweets": Task(
        data.Folder("search_tweets"), data.Pairs(), InfoNCE(learn_temperature=True), batch_size=10, max_length=64
      ),
    },
    evaluations={
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(), reference="train"),
      "search_tweets": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval()),
    },
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=64, dim=8, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir=data_dir,
    cache_dir=cache_dir,
    steps=6,
    input="threads",
    log_every=1,
    checkpoint_every=2,
    evaluate_every=2,
  )


class Operations:
  """Counts what this process does to files below a folder; kills it before the one of a number, or fills its disk.

  On a full disk nothing can be made or opened for writing from that operation on, and all can be removed.
  """

  def __init__(self, root: str, last: int, full: int):
    self.count, self._root, self._last, self._full, self._lock = 0, root, last, full, threading.Lock()
    sys.addaudithook(self._see)

  def _see(self, event: str, arguments: tuple) -> None:
    if event not in EVENTS or not str(arguments[0]).startswith(self._root):
      return
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
      return  # to read changes nothing
    with self._lock:
      self.count += 1
      if self.count == self._last:
        os.kill(os.getpid(), signal.SIGKILL)
      if self._full and self.count >= self._full and event in ("open", "os.mkdir"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))


def run(data_dir: str, root: str, order: dict, report: int) -> int:
  """The run, in the fork; writes the number of operations to the descriptor."""
  import jax

  from mtc import cli
  from mtc.training import contrastive
  from mtc.workdir import bucket

  cli.set_up()
  if devices := order.get("devices"):
    jax.config.update("jax_num_cpu_devices", devices)
  settings = experiment(data_dir, order.get("cache", f"{root}/cache"))
  for name, value in order.get("settings", {}).items():
    if name == "no_dropout":
      settings.model.dropout = 0.0
    else:
      setattr(settings, name, value)
  operations = Operations(root, order.get("operation", 0), order.get("full", 0))
  with cli.mistakes(), bucket.workdir(order["workdir"]) as workdir:
    ready = contrastive.prepare(settings, workdir)
    try:
      cli.finish(ready)
    except SystemExit as end:
      os.write(report, str(operations.count).encode())
      return int(end.code or 0)
  raise AssertionError("finish() ends the process")


def main() -> None:
  from mtc.training import contrastive  # so that no fork has to  # noqa: F401

  data_dir, root = sys.argv[1:]
  answers = os.dup(1)
  os.write(answers, b"ready\n")
  for line in sys.stdin:
    order = json.loads(line)
    read, write = os.pipe()
    began = time.monotonic()
    if not (child := os.fork()):
      code = 1
      try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = run(data_dir, root, order, write)
      except SystemExit as end:
        code = int(end.code or 0)
      except BaseException:
        import traceback

        traceback.print_exc()
      finally:
        sys.stdout.flush()
        os._exit(code)
    os.close(write)
    timers = []
    for seconds, number in [(order.get("seconds"), signal.SIGKILL), *order.get("signals", ())]:
      if seconds:
        timers.append(threading.Timer(seconds, os.kill, (child, number)))
        timers[-1].start()
    _, status = os.waitpid(child, 0)
    for timer in timers:
      timer.cancel()
    counted = os.read(read, 100)
    os.close(read)
    answer = {"code": os.waitstatus_to_exitcode(status), "operations": int(counted or 0)}
    os.write(answers, json.dumps(answer | {"seconds": time.monotonic() - began}).encode() + b"\n")


class Runs:
  """Starts this file, and runs in forks of its process."""

  def __init__(self, data_dir: Path, root: Path):
    self.root = root
    command = [sys.executable, __file__, str(data_dir), str(root)]
    self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert self._answer() == "ready\n"

  def __call__(self, workdir: Path, **order: object) -> dict:
    """One try; returns its exit code (-9 = killed), and its operations on files and seconds."""
    assert self._process.stdin is not None
    print(json.dumps({"workdir": str(workdir), "log": str(self.root / "log")} | order), file=self._process.stdin)
    self._process.stdin.flush()
    return json.loads(self._answer())

  def said(self) -> str:
    return (self.root / "log").read_text()

  def close(self) -> None:
    assert self._process.stdin is not None and self._process.stdout is not None
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()

  def _answer(self) -> str:
    assert self._process.stdout is not None
    return self._process.stdout.readline()


def tensors(workdir: Path) -> dict[str, np.ndarray]:
  files = sorted((workdir / "export").rglob("*.safetensors"))
  return {f"{f.parent.name}/{name}": value for f in files for name, value in load_file(f).items()}


def assert_equal_bits(a: Path, b: Path) -> None:
  left, right = tensors(a), tensors(b)
  assert left.keys() == right.keys() and len(left) > 10
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)
  for name in ("evaluation.json", "leakage.json", "data.json"):
    assert (a / name).read_text() == (b / name).read_text(), name


def assert_nothing_is_half_written(workdir: Path) -> None:
  """What has its final name is whole."""
  for path in workdir.glob("*.json"):
    json.loads(path.read_text())
  if (workdir / "export").exists():
    assert len(tensors(workdir)) > 10 and (workdir / "export" / "README.md").exists()
  if (workdir / "evaluation.json").exists():
    assert (workdir / "export").exists()


if __name__ == "__main__":
  sys.path.insert(0, str(Path(__file__).parent.parent))
  main()
