"""The vectors of files of texts, written in pieces so that an interrupted call continues."""

from collections.abc import Mapping
import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from mtc import data, models
from mtc.config import Experiment
from mtc.data import read_texts
from mtc.embedder import embedder, manifest, shards, teacher_vectors
from mtc.embedder.embedder import Embedder
from mtc.embedder.partial import PartialNpy
from mtc.files import lock
from mtc.progress import Bar

_LETTERS = 2**27  # of them together, or fewer of them


def embed_file(
  model: Embedder,
  source: Path,
  output: Path,
  *,
  field_name: str,
  role: str,
  dim: int,
  dtype: str,
  stamp: Mapping[str, Any],
  shard: tuple[int, int] = (0, 1),
) -> int:
  """Embeds the texts of a file, or this shard (index, of how many) of them, into a `.npy` of the same order.

  It is written beside the output first, at least about once a minute, and renamed at the end. It goes on where an
  earlier call of the same work (`stamp`) was interrupted, to the same bits on the same number of devices. A manifest
  with the stamp is written beside it. Returns how many vectors there are.
  """
  count = data.count_texts(source, field_name)  # also finds a row that cannot be used before any work
  width = model.width_of(dim or None)
  mine = shards.split(count, shard, embedder.BLOCK)
  work = {**stamp, "rows": count, "width": width, "shard": list(shard)}
  with PartialNpy(output, (len(mine), width), dtype, work) as file, Bar(total=len(mine), unit="text") as bar:
    left = file.state
    done = left.get("done", 0)
    bar.skip(done)
    start = 0
    own = itertools.islice(read_texts(source, field_name), mine.start, mine.stop)
    for texts in data.batches(own, embedder.BLOCK, _LETTERS):
      if start + len(texts) > done:
        block = model.block(texts, role, mine.start + start)
        # Other devices would have packed it in another way; it is then encoded again from its start.
        skip = left.get("grids", 0) if left.get("plan") == block.digest() else 0
        bar.skip(block.count(skip))
        vectors, new = np.empty((len(texts), width), dtype), np.zeros(len(texts), bool)
        for encoded, (chosen, found) in enumerate(model.vectors(block, dim or None, skip), skip + 1):
          vectors[chosen], new[chosen] = found, True
          bar.update(len(chosen))
          if encoded < block.grids and file.due():
            file.save(start, vectors, new, {"done": start, "grids": encoded, "plan": block.digest()})
        file.save(start, vectors, new, {"done": start + len(texts)})
      start += len(texts)
    manifest.write(output, {**stamp, "shards": shard[1]}, file.path)
    file.finish()
  return len(mine)


def embed_teachers(
  experiment: Experiment, directory: str, *, role: str, dim: int, dtype: str, compute: str, overwrite: bool = False
) -> None:
  """Embeds the texts of all `Vectors` that the tasks of an experiment name, each file once.

  Finished files are skipped, and an interrupted one goes on; see `embed_file`.

  Args:
    experiment: its tasks name the files.
    directory: of the model, as of `load`.
    role: for the `Vectors` that name none.
    dim, dtype: as of `embed_file`.
    compute: what the encoder computes in.
    overwrite: replace files that were made in another way.

  Raises:
    ValueError: before any text is encoded, where a file or an argument cannot be used; see `teacher_vectors.plan`.
  """
  settings = settings_of(directory, role, dim, dtype, compute)
  jobs = teacher_vectors.plan(experiment, settings, overwrite)
  for job in jobs:
    if job.finished:
      print(f"{job.npy} is finished: skipped", flush=True)
  left = [job for job in jobs if not job.finished]
  if not left:
    return
  model = embedder.load(directory, compute)
  for job in left:
    model._prompt(job.role)  # raises for an unknown role before any work
  for job in left:
    with locked(job.npy):
      count = embed_file(
        model, job.texts, job.npy, field_name=job.field, role=job.role, dim=dim, dtype=dtype, stamp=job.stamp
      )
    print(f"{count:,} vectors in {job.npy}", flush=True)


def settings_of(directory: str, role: str, dim: int, dtype: str, compute: str) -> dict[str, Any]:
  """What decides the vectors of a text, for a stamp."""
  model = manifest.digest(models.directory_of(directory))
  return {"model": model, "role": role, "dim": dim, "dtype": dtype, "compute": compute}


def locked(output: Path) -> contextlib.AbstractContextManager[None]:
  return lock.held(output.with_name(output.name + ".lock"), str(output))
