"""A run as several real processes: the same numbers for every layout, one that writes, and none that hangs."""

import json
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow  # each process imports jax and the rest

STEPS = 6
CONFIG = """
from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.evaluators import KNN, Retrieval
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config():
  return Experiment(
    tasks={{
      "interest": Task(data.Folder("interest"), data.SameLabel(), InfoNCE(), batch_size=12, max_length=64),
      "search_tweets": Task(
        data.Folder("search_tweets"), data.Pairs(), InfoNCE(learn_temperature=True), batch_size=10, max_length=64
      ),
    }},
    evaluations={{
      "interest": Evaluation(data.Folder("interest"), data.SameLabel(), KNN(), reference="train"),
      "search_tweets": Evaluation(data.Folder("search_tweets"), data.Pairs(), Retrieval()),
    }},
    model=ModelSpec(
      layers=1, width=16, heads=2, mlp_width=32, tokenizer={tokenizer!r}, positions=64, dim=8, dtype="float32",
      dropout=0.0,
    ),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir={data!r},
    cache_dir={cache!r},
    steps={steps},
    log_every=1,
    checkpoint_every=2,
  )
"""


@pytest.fixture(scope="module")
def config(data_dir, tokenizer_dir, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("config")
  path = folder / "tiny.py"
  names = {"data": str(data_dir), "tokenizer": str(tokenizer_dir), "cache": str(folder / "cache"), "steps": STEPS}
  path.write_text(CONFIG.format(**names))
  return path


class Processes:
  """The processes of one run on this machine; whatever is left of them is killed."""

  def __init__(self, config: Path, workdir: Path, count: int, devices: int, *arguments: str):
    self.files = [workdir.with_name(f"{workdir.name}.{count}.{i}") for i in range(count)]
    workdir.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mtc.main", "--config", str(config), "--workdir", str(workdir), *arguments]
    port = free_port()
    self.started = []
    for i, file in enumerate(self.files):
      place = [f"--coordinator=localhost:{port}", f"--process_id={i}", f"--process_count={count}"]
      with open(file, "w") as output:
        self.started.append(
          subprocess.Popen(
            command + place * (count > 1),
            env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
            cwd=Path(__file__).parent.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
          )
        )

  def __enter__(self) -> "Processes":
    return self

  def __exit__(self, *_: object) -> None:
    for process in self.started:
      process.kill()
      process.wait()

  def codes(self, seconds: float) -> list[int]:
    """The exit codes of all; raises TimeoutExpired when they take longer than so many seconds together."""
    end = time.monotonic() + seconds
    return [process.wait(max(end - time.monotonic(), 0.1)) for process in self.started]

  def said(self, i: int) -> str:
    return self.files[i].read_text()


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def run(config: Path, workdir: Path, count: int, devices: int, *arguments: str) -> Path:
  with Processes(config, workdir, count, devices, *arguments) as processes:
    assert processes.codes(150) == [0] * count, [processes.said(i)[-3000:] for i in range(count)]
  return workdir


def lines(workdir: Path) -> list[dict]:
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return [row for row in rows if "loss" in row]


def tensors(workdir: Path) -> dict[str, np.ndarray]:
  files = sorted((workdir / "export").rglob("*.safetensors"))
  return {f"{f.parent.name}/{name}": value for f in files for name, value in load_file(f).items()}


def vectors(workdir: Path, data_dir: Path) -> np.ndarray:
  import mtc

  texts = [json.loads(line)["text"] for line in (data_dir / "interest" / "test.jsonl").read_text().splitlines()]
  return mtc.load(workdir / "export").encode(texts)


@pytest.fixture(scope="module")
def one(config, tmp_path_factory) -> Path:
  """The run of a single process with four devices, with which all others are compared."""
  return run(config, tmp_path_factory.mktemp("runs") / "one", 1, 4)


def assert_same_run(one: Path, other: Path, data_dir: Path) -> None:
  ours, theirs = lines(one), lines(other)
  assert [row["step"] for row in theirs] == list(range(1, STEPS + 1))  # so each was written once
  for name in ("loss", "interest/loss", "search_tweets/loss", "grad_norm", "learning_rate"):
    np.testing.assert_allclose([r[name] for r in theirs], [r[name] for r in ours], rtol=1e-5, err_msg=name)
  left, right = tensors(one), tensors(other)
  assert left.keys() == right.keys() and len(left) > 10
  for name in left:
    np.testing.assert_allclose(right[name], left[name], atol=1e-5, rtol=0, err_msg=name)
  np.testing.assert_allclose(vectors(other, data_dir), vectors(one, data_dir), atol=1e-5, rtol=0)


@pytest.mark.parametrize("count, devices", [(2, 2), (4, 1)])
def test_every_layout_is_the_same_run(config, one, data_dir, tmp_path, count, devices):
  assert_same_run(one, run(config, tmp_path / "run", count, devices), data_dir)


def test_a_run_begun_by_two_processes_goes_on_in_one(config, one, data_dir, tmp_path):
  workdir = tmp_path / "[v1]" / "run"  # each process has another name for it
  run(config, workdir, 2, 2, "--config.stop_after=3")
  assert_same_run(one, run(config, workdir, 1, 4), data_dir)


LONG = ["--config.steps=100000", "--config.log_every=5", "--config.checkpoint_every=5"]


def wait_for_checkpoint(processes: Processes, workdir: Path) -> None:
  end = time.monotonic() + 120
  while not any(p.name.startswith("step_") and "tmp" not in p.name for p in workdir.glob("checkpoints/*")):
    assert time.monotonic() < end and all(p.poll() is None for p in processes.started), processes.said(0)
    time.sleep(0.2)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_goes_on(config, tmp_path, killed):
  workdir = tmp_path / "run"
  with Processes(config, workdir, 2, 1, *LONG) as processes:
    wait_for_checkpoint(processes, workdir)
    processes.started[killed].kill()
    codes = processes.codes(60)
    said = processes.said(1 - killed)
  assert codes[killed] == -signal.SIGKILL and codes[1 - killed] not in (0, 2), said
  # Where the one that is killed is the one through which they find each other, jax itself may be quicker to end it.
  assert "another process ended first" in said or "distributed service detected fatal errors" in said
  stopping = ["--config.stop_after=1"]  # at once, and at the step of the checkpoint
  run(config, workdir, 1, 2, *LONG, *stopping)
  assert "resuming from step" in (tmp_path / "run.1.0").read_text()


def test_processes_that_hear_a_signal_at_different_times_stop_at_the_same_step(config, tmp_path):
  workdir = tmp_path / "run"
  with Processes(config, workdir, 2, 1, *LONG) as processes:
    wait_for_checkpoint(processes, workdir)
    processes.started[1].send_signal(signal.SIGTERM)  # the other hears it through this one
    assert processes.codes(60) == [143, 143], processes.said(0)
    saved = [processes.said(i).split("saved at step ")[1].split()[0] for i in (0, 1)]
  assert saved[0] == saved[1]
  assert (workdir / "checkpoints" / f"step_{saved[0]}").is_dir()
