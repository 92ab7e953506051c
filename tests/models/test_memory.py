"""A checkpoint is read, and written, without a second copy of it in memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mtc.models import ModelSpec, scratch_config
from mtc.models.bert import table
from mtc.models.tensors import write

SPEC = ModelSpec(layers=12, width=1024, heads=16, mlp_width=4096, vocab_size=110_000, positions=512, dim=0)
MEASURE = """
import pathlib, sys
from mtc.models import load_backbone, read_config, save_backbone

def kilobytes(name):
  status = pathlib.Path("/proc/self/status").read_text()
  return int(status.split(name + ":")[1].split()[0])

def peak(function):
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is held now
  held = kilobytes("VmRSS")
  result = function()
  return result, (kilobytes("VmHWM") - held) * 1024

config = read_config(sys.argv[1])
backbone, loading = peak(lambda: load_backbone(sys.argv[1], config))
_, saving = peak(lambda: save_backbone(sys.argv[2], backbone, config))
print(loading, saving)
"""


def shapes() -> dict[str, tuple[int, ...]]:
  """Of a BERT of a little over 1 GB in float32."""
  width, inner = SPEC.width, SPEC.mlp_width
  found: dict[str, tuple[int, ...]] = {}
  for name, (path, transposed) in table(scratch_config(SPEC, pad_id=0)).items():
    rows = {"word": SPEC.vocab_size, "position": SPEC.positions, "type": 2, "mlp_input": inner}.get(path[-2], width)
    columns = inner if path[-2] == "mlp_output" else width
    found[name] = (rows, columns) if transposed or path[-1] == "embedding" else (rows,)
  return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_of_1_gb(tmp_path, dtype):
  rng, every, size = np.random.default_rng(0), shapes(), 0
  folder, weight_map = tmp_path / "in", {}
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(scratch_config(SPEC, pad_id=0)))
  names = list(every)
  for index in range(8):  # shards
    part = {name: rng.random(every[name], np.float32) for name in names[index::8]}
    write(folder / f"{index}.safetensors", part, dtype)
    weight_map |= dict.fromkeys(part, f"{index}.safetensors")
    size += sum(value.nbytes for value in part.values())
  (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
  assert size > 1e9
  command = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / "out")]
  loading, saving = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
  print(f"{dtype}: loading {loading / size:.3f}, saving {saving / size:.3f} of {size / 1e9:.2f} GB in float32")
  assert 0.9 * size < loading < 1.3 * size
  assert saving < 0.3 * size
  assert abs((tmp_path / "out" / "model.safetensors").stat().st_size - size) < 1e6
