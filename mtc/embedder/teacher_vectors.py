"""The files of vectors that the tasks of an experiment learn from, and which of them are finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
from typing import Any

from mtc import data
from mtc.config import Experiment
from mtc.embedder import manifest

_CHANGED = {"model": "another model", "input": "other texts"}  # what differs where only digests are known


@dataclass
class Job:
  """A file of texts whose vectors a task needs.

  Attributes:
    texts: the file of texts.
    field: the field of JSONL and Parquet that holds the text.
    role: whose prompt precedes the texts.
    npy: the file of vectors.
    stamp: everything that decides the vectors, for the manifest of `npy`.
    finished: whether `npy` holds the vectors of this stamp.
  """

  texts: Path
  field: str
  role: str
  npy: Path
  stamp: dict[str, Any]
  finished: bool = False


def plan(experiment: Experiment, settings: Mapping[str, Any], overwrite: bool = False) -> list[Job]:
  """One job for each file of vectors, in the order in which the tasks of the experiment name them.

  Args:
    experiment: its tasks name the files.
    settings: what all files share of `Job.stamp`; `role` applies to the files that name none.
    overwrite: embed the texts of a `.npy` again where it was made in another way, instead of raising.

  Raises:
    ValueError: no task has a teacher, two tasks give one `.npy` to different texts, texts cannot be read, a `.npy`
      cannot be written there, or it was made in another way; names all such files.
  """
  jobs = _jobs(experiment, settings)
  found = {job.npy: _differences(job) for job in jobs if job.npy.exists()}
  differing = {npy: reasons for npy, reasons in found.items() if reasons}
  if differing and not overwrite:
    raise ValueError(
      f"{len(differing)} of {len(jobs)} files of vectors were not made from these texts by this model and settings:\n  "
      + "\n  ".join(f"{npy}: {', '.join(reasons)}" for npy, reasons in differing.items())
      + "\nUse the old model, texts and settings, delete these files, or replace all of them with --overwrite"
    )
  for job in jobs:
    job.finished = found.get(job.npy) == []
    if not job.finished:
      data.count_texts(job.texts, job.field)  # raises for a row that cannot be used
      if not os.access(job.npy.parent, os.W_OK):
        raise ValueError(f"{job.npy} cannot be written: {job.npy.parent} is read-only; name another file with npy=")
  return jobs


def _jobs(experiment: Experiment, settings: Mapping[str, Any]) -> list[Job]:
  jobs: dict[str, tuple[str, Job]] = {}  # where the `.npy` really is -> the first task that names it, and its job
  for task, vectors in _teachers(experiment):
    owner = f"teacher of task {task!r}"
    texts, npy, role = Path(vectors.texts), Path(vectors.npy), vectors.role or settings["role"]
    if not texts.is_file():
      raise ValueError(f"{owner}: {texts} is not a file; correct the path in Vectors(...), or --config.data_dir")
    if npy.suffix != ".npy":
      raise ValueError(f"{owner}: {npy} does not end in .npy; give Vectors(..., npy=...) a name that does")
    if not npy.parent.is_dir():
      raise ValueError(f"{owner}: {npy.parent} is not a directory; make it, or correct npy of Vectors(...)")
    before, other = jobs.get(os.path.realpath(npy), (task, None))
    if other is None:
      stamp = {**settings, "input": manifest.digest(texts), "field": vectors.field, "role": role}
      jobs[os.path.realpath(npy)] = task, Job(texts, vectors.field, role, npy, stamp)
    elif (os.path.realpath(other.texts), other.field, other.role) != (os.path.realpath(texts), vectors.field, role):
      raise ValueError(
        f"{npy} would hold two things: {_shown(other.texts, other.field, other.role)} for task {before!r}, and "
        f"{_shown(texts, vectors.field, role)} for task {task!r}; give one of them another npy"
      )
  return [job for _, job in jobs.values()]


def _teachers(experiment: Experiment) -> Sequence[tuple[str, data.Vectors]]:
  """The name of the task and the resolved files, for each teacher of each task."""
  found = [
    (name, vectors.resolve(experiment.data_dir)) for name, task in experiment.tasks.items() for vectors in task.teacher
  ]
  if not found:
    raise ValueError(
      f"no task of --config has a teacher (tasks: {', '.join(experiment.tasks)}); name the texts to embed in a task, "
      'as in teacher=(Vectors("posts.jsonl"),), or use --input and --output without --config'
    )
  return found


def _shown(texts: Path, field: str, role: str) -> str:
  return f"field {field!r} of {texts} with the role {role!r}"


def _differences(job: Job) -> list[str]:
  """How an existing `.npy` differs from what the job would write; [] where it does not."""
  made = manifest.read(job.npy)
  if made is None:
    return [f"it has no {manifest.path(job.npy).name}, which would say how it was made"]
  old = made["stamp"]
  differing = [
    _CHANGED.get(name) or f"{name}={old.get(name)!r} instead of {value!r}"
    for name, value in job.stamp.items()
    if old.get(name) != value  # the number of shards may differ: they have the same vectors
  ]
  if not differing and manifest.digest(job.npy) != made.get("sha256"):
    differing = [f"it changed after {manifest.path(job.npy).name} was written"]
  return differing
