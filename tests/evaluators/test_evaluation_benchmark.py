import json
import os
from pathlib import Path
import subprocess
import sys

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "evaluate.py"


def run(*options):
  environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
  return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, env=environment)


def test_prints_one_json_line():
  done = run("--documents=500", "--queries=40")
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found["documents"] == 500 and found["seconds"] >= 0 and 0 < found["peak_gib"] < 2
  assert 0.1 < found["scores"]["recall@10"] <= 1


def test_help_and_bad_sizes():
  assert "--documents" in run("--help").stdout
  done = run("--dim=0")
  assert done.returncode == 2 and "--dim=0 is not positive" in done.stderr
