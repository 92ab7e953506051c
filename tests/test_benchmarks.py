"""The benchmarks have a pulse: each says what it does, and the small ones run."""

import importlib
import json
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "peak")  # which they import


def run(script: Path, *arguments: str) -> str:
  done = subprocess.run([sys.executable, str(script), *arguments], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_says_how_to_call_it(script):
  assert f"python benchmarks/{script.name}" in run(script, "--help")


@pytest.mark.slow
def test_the_step_alone():
  arguments = "--model tiny --batch 8,16 --length 32 --chunks 1,2 --dtype float32 --steps 1 --repeats 1 --devices 2"
  lines = [json.loads(line) for line in run(ROOT / "benchmarks" / "step.py", *arguments.split()).splitlines()]
  assert lines[0]["tflops_peak"]["float32"] > 0
  assert [(line["batch"], line["chunks"]) for line in lines[1:]] == [(8, 1), (8, 2), (16, 1), (16, 2)]
  for line in lines[1:]:
    assert line["rows"][0] == 2
    assert 0 < line["mfu"] < 1 and line["tokens_per_second"] > 0 and line["mib"]["temp"] > 0


@pytest.mark.slow
def test_the_loss_alone():
  arguments = "--rows 256,512 --dim 64 --loss infonce,symmetric --block 128 --repeats 1 --devices 2"
  lines = [json.loads(line) for line in run(ROOT / "benchmarks" / "loss.py", *arguments.split()).splitlines()]
  assert [(line["rows"], line["loss"], line["version"]) for line in lines] == [
    (rows, loss, version)
    for rows in (256, 512)
    for loss in ("infonce", "symmetric")
    for version in ("whole", "blocked")
  ]
  for line in lines:
    assert line["ratio"] > 0 and line["floor_seconds"] > 0 and line["temp_mib"] > 0
  untimed = run(ROOT / "benchmarks" / "loss.py", "--rows=512", "--dim=64", "--repeats=0")
  assert json.loads(untimed.splitlines()[-1])["temp_mib"] > 0 and "ratio" not in untimed


@pytest.mark.slow
def test_the_input_alone():
  arguments = "--batch 8,16 --texts 400 --length 64 --steps 4 --repeats 1 --workers 1,2 --tasks 2"
  lines = [json.loads(line) for line in run(ROOT / "benchmarks" / "input.py", *arguments.split()).splitlines()]
  assert [(line["batch"], line["workers"]) for line in lines] == [(8, 1), (8, 2), (16, 1), (16, 2)]
  for line in lines:
    assert line["examples_per_second"] > 0 and 0 <= line["padding"] < 1
    assert line["alone"]["step_ms"] > line["alone"]["sample_ms"] > 0


@pytest.mark.slow
def test_how_a_run_grows():
  arguments = "--axis tasks --tasks-points 1,2,3 --batch 12 --texts 200 --steps 1"
  lines = [json.loads(line) for line in run(ROOT / "benchmarks" / "scaling.py", *arguments.split()).splitlines()]
  assert [line["tasks"] for line in lines[:-1]] == [1, 2, 3]
  for line in lines[:-1]:
    assert line["step_seconds"] > 0 and line["input_seconds"] > 0 and line["temp_mib"] > 0 and line["batch"] == 12
  assert set(lines[-1]["exponents"]) == {name for name in lines[0] if name.split("_")[-1] in ("seconds", "mib", "mb")}


def test_the_exponent_of_a_square_is_two(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / "benchmarks")
  scaling = importlib.import_module("scaling")
  points = [(n, {"step_seconds": 3.0 * n**2, "peak_mb": 7.0, "other": n}) for n in (1, 4, 10)]
  assert scaling.exponents(points) == {"step_seconds": 2.0, "peak_mb": 0.0}
