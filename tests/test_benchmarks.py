"""The benchmarks have a pulse: each says what it does, and the small ones run."""

import json
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


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
