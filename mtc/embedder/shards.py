"""Vectors from many machines: each embeds a range of the texts into its own file, and the last step joins them."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mtc.embedder import manifest
from mtc.files import json_file

_BYTES = 2**24  # that are copied at a time


def parse(text: str) -> tuple[int, int]:
  """ "3/8" -> (3, 8): the fourth of eight; raises ValueError for anything else."""
  index, _, count = text.partition("/")
  if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
    raise ValueError(f"--shard {text!r} is none; write 0/8 for the first of eight, and 7/8 for the last")
  return int(index), int(count)


def path(output: Path, shard: tuple[int, int]) -> Path:
  """Where the vectors of a shard are: posts.npy -> posts.3-of-8.npy."""
  return output.with_name(f"{output.stem}.{shard[0]}-of-{shard[1]}.npy")


def split(count: int, shard: tuple[int, int], block: int) -> range:
  """The texts of one of several shards: whole blocks, so that they are packed as if all were embedded at once.

  Raises:
    ValueError: there are fewer blocks than shards.
  """
  index, shards = shard
  blocks = -(-count // block)
  if shards > blocks:
    raise ValueError(
      f"--shard {index}/{shards}: {count:,} texts are {blocks} blocks of {block:,}; use {blocks} or fewer"
    )
  return range(blocks * index // shards * block, min(blocks * (index + 1) // shards * block, count))


def merge(output: Path, count: int) -> int:
  """Joins the files of all shards to `output`, with a manifest beside it; returns how many vectors.

  Raises:
    ValueError: a shard is not finished, is damaged, or is of another model, input or kind than the first.
  """
  files = [path(output, (i, count)) for i in range(count)]
  manifests = [_read(file) for file in files]
  for file, found in zip(files, manifests, strict=True):
    differing = [name for name, value in manifests[0]["stamp"].items() if found["stamp"].get(name) != value]
    if differing or found["width"] != manifests[0]["width"]:
      raise ValueError(f"{file} is of other work than {files[0].name} ({', '.join(differing)} differ); embed it again")
    if manifest.digest(file) != found["sha256"]:
      raise ValueError(f"{file} is damaged: its sha256 is not that of its manifest; remove both and embed it again")
  rows, dtype = sum(found["rows"] for found in manifests), np.load(files[0], mmap_mode="r").dtype
  partial = output.with_name(output.name + ".partial")
  with open(partial, "wb") as joined:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(joined, header | {"shape": (rows, manifests[0]["width"])})
    for file in files:
      with open(file, "rb") as part:
        np.lib.format.read_magic(part)
        np.lib.format.read_array_header_1_0(part)
        while piece := part.read(_BYTES):  # not through a map of the file, whose pages would count as memory
          joined.write(piece)
    joined.flush()
    os.fsync(joined.fileno())
  shards = [{"file": f.name, "rows": m["rows"], "sha256": m["sha256"]} for f, m in zip(files, manifests, strict=True)]
  whole = {
    "stamp": manifests[0]["stamp"],
    "rows": rows,
    "width": manifests[0]["width"],
    "sha256": manifest.digest(partial),
  }
  json_file.write_json(manifest.path(output), whole | {"shards": shards})
  os.replace(partial, output)
  return rows


def _read(file: Path) -> dict[str, Any]:
  if (found := manifest.read(file)) is None:
    raise ValueError(f"{file} is not finished; run its --shard again, and --merge after it")
  return found
