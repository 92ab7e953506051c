"""A checkpoint knows no devices and no version of jax: what one began, another ends, in the same numbers."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from killable import Runs, tensors
import numpy as np
import pytest

pytestmark = pytest.mark.slow

DEVICES = (1, 2, 4, 8)
ROOT = Path(__file__).parent.parent
CONFIG = """
import sys
sys.path.insert(0, {tests!r})
import killable

def get_config():
  made = killable.experiment({data!r}, {cache!r})
  made.model.dropout = 0.0
  return made
"""


def losses(workdir: Path) -> np.ndarray:
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return np.array([[row["loss"], row["grad_norm"]] for row in rows if "loss" in row])


def difference(a: Path, b: Path) -> float:
  """The largest of any weight, and of any loss and gradient norm relative to its size."""
  left, right = tensors(a), tensors(b)
  assert left.keys() == right.keys() and len(left) > 10
  assert losses(a).shape == losses(b).shape == (6, 2)  # each step once
  weights = max(float(np.abs(left[name] - right[name]).max()) for name in left)
  return max(weights, float(np.abs(losses(a) / losses(b) - 1).max()))


def test_every_number_of_devices_goes_on_from_every_other(data_dir, tmp_path):
  runs = Runs(data_dir, tmp_path)
  # Trained without dropout, whose noise belongs to a device. Validation is left out: it takes most of the time.
  alike = {"evaluations": {}, "diagnose_every": 0, "no_dropout": True}
  try:
    assert runs(tmp_path / "whole", devices=1, settings=alike)["code"] == 0, runs.said()[-3000:]
    found = {}
    for first in DEVICES:
      stopped = runs(tmp_path / f"{first}", devices=first, settings=alike | {"stop_after": 3})
      assert stopped["code"] == 0, runs.said()[-3000:]
      for second in DEVICES:
        workdir = shutil.copytree(tmp_path / f"{first}", tmp_path / f"{first}-{second}")
        ended = runs(workdir, devices=second, settings=alike)
        assert ended["code"] == 0 and "resuming from step 3" in runs.said(), runs.said()[-3000:]
        assert f"on {second} cpu device" in runs.said()
        found[first, second] = difference(tmp_path / "whole", workdir)
  finally:
    runs.close()
  print(f"largest difference from a whole run on 1 device: {max(found.values()):.1e}, of {found}")
  assert max(found.values()) < 1e-5


@pytest.mark.skipif("MTC_OTHER_PYTHON" not in os.environ, reason="MTC_OTHER_PYTHON names no Python with another jax")
def test_a_run_goes_on_with_another_version_of_jax(data_dir, tmp_path):
  pythons = {"this": sys.executable, "other": os.environ["MTC_OTHER_PYTHON"]}
  ask = "import jax, sys; print(jax.__version__, sys.version.split()[0])"
  versions = {n: subprocess.run([p, "-c", ask], capture_output=True, text=True).stdout for n, p in pythons.items()}
  assert versions["this"] != versions["other"], versions
  config = tmp_path / "config.py"
  config.write_text(CONFIG.format(tests=str(ROOT / "tests"), data=str(data_dir), cache=str(tmp_path / "cache")))

  def run(which: str, workdir: Path, *more: str) -> str:
    command = [pythons[which], "-m", "mtc.main", "--config", str(config), "--workdir", str(workdir), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, (which, done.stderr[-3000:])
    return done.stdout

  run("this", tmp_path / "whole")
  found = {}
  for first, second in (("this", "other"), ("other", "this")):
    run(first, tmp_path / first, "--config.stop_after=3")
    assert "resuming from step 3" in run(second, tmp_path / first)
    found[first, second] = difference(tmp_path / "whole", tmp_path / first)
  print(f"{versions}: largest difference from a whole run: {found}")
  assert max(found.values()) < 1e-4
