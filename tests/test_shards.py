"""Vectors from many machines: joined, the shards are the whole file, and nothing but finished shards is joined."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from mtc.embedder import embedder, manifest as manifest_lib, save, shards
from mtc.embedder.vector_files import embed_file


@pytest.fixture
def source(tmp_path, texts, monkeypatch):
  monkeypatch.setattr(embedder, "BLOCK", 20)
  path = tmp_path / "texts.jsonl"
  path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
  return path


def embed(model, source: Path, output: Path, shard=None, stamp="one") -> int:
  file = shards.path(output, shard) if shard else output
  arguments = {"field_name": "text", "role": "document", "dim": 0, "dtype": "float32"}
  return embed_file(model, source, file, **arguments, stamp={"stamp": stamp}, shard=shard or (0, 1))


@pytest.fixture
def made(make_embedder, source, tmp_path):
  model, output = make_embedder(), tmp_path / "out.npy"
  counts = [embed(model, source, output, (i, 3)) for i in range(3)]
  return model, output, counts


def test_the_joined_shards_are_the_whole_bit_for_bit(made, source, tmp_path, texts):
  model, output, counts = made
  assert shards.merge(output, 3) == len(texts) == sum(counts) and min(counts) > 0
  embed(model, source, tmp_path / "whole.npy")
  assert output.read_bytes() == (tmp_path / "whole.npy").read_bytes()
  manifest = json.loads((tmp_path / "out.npy.json").read_text())
  assert manifest["rows"] == len(texts) and [s["rows"] for s in manifest["shards"]] == counts
  assert manifest["sha256"] == manifest_lib.digest(output)
  assert not list(tmp_path.glob("*.partial*"))


def test_a_missing_or_damaged_or_foreign_shard_is_refused(made, source):
  model, output, _ = made
  second = shards.path(output, (1, 3))
  embed(model, source, output, (1, 3), stamp="two")
  with pytest.raises(ValueError, match=r"out\.1-of-3\.npy is of other work than out\.0-of-3\.npy \(stamp differ"):
    shards.merge(output, 3)
  embed(model, source, output, (1, 3))
  content = bytearray(second.read_bytes())
  content[200] ^= 1
  second.write_bytes(content)
  with pytest.raises(ValueError, match=r"out\.1-of-3\.npy is damaged"):
    shards.merge(output, 3)
  second.with_name(second.name + ".json").unlink()
  with pytest.raises(ValueError, match=r"out\.1-of-3\.npy is not finished"):
    shards.merge(output, 3)
  assert not output.exists()


@pytest.mark.parametrize("text", ["3", "3/3", "-1/3", "a/b", "1/"])
def test_bad_shards(text):
  with pytest.raises(ValueError, match="write 0/8 for the first"):
    shards.parse(text)


def test_every_text_is_in_one_shard():
  for count, parts in ((1, 1), (20, 1), (61, 3), (61, 4), (200, 7)):
    found = [i for shard in range(parts) for i in shards.split(count, (shard, parts), 20)]
    assert found == list(range(count))
  with pytest.raises(ValueError, match="61 texts are 4 blocks of 20; use 4 or fewer"):
    shards.split(61, (0, 5), 20)


@pytest.mark.slow
def test_memory_stays_flat_while_the_texts_grow_tenfold(make_embedder, tmp_path):
  save.write(make_embedder(), tmp_path / "model")
  peaks, counts = [], (100_000, int(os.environ.get("MTC_TEXTS", "1000000")))
  for count in counts:
    source = tmp_path / f"{count}.txt"
    with open(source, "w") as file:
      file.writelines(f"goal match {i}\n" for i in range(count))
    command = [sys.executable, "-m", "mtc.embed", "--model", str(tmp_path / "model"), "--input", str(source)]
    command += ["--output", str(tmp_path / "out.npy")]
    for i in range(2):
      process = subprocess.Popen([*command, "--shard", f"{i}/2"], env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"})
      _, status, usage = os.wait4(process.pid, 0)
      process.returncode = os.waitstatus_to_exitcode(status)
      assert process.returncode == 0
    peaks.append(usage.ru_maxrss / 1024)
    subprocess.run([*command, "--merge", "2"], check=True)
    assert np.load(tmp_path / "out.npy", mmap_mode="r").shape == (count, 8)
  print(f"peak MiB: {dict(zip(counts, peaks, strict=True))}")
  assert peaks[1] < peaks[0] + 200
