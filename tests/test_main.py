"""The front door: the documented commands in processes of their own, and what they answer to mistakes."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
CONFIG = ["--config", "configs/multitask.py"]
TINY = [
  "--config.steps=3", "--config.checkpoint_every=2", "--config.log_every=1", "--config.input=threads",
  "--config.tasks.search_tweets.batch_size=8", "--config.tasks.interest.batch_size=8",
  "--config.tasks.storyline.batch_size=8", "--config.tasks.hashtag.batch_size=8",
]  # fmt: skip


def run(*command: object) -> subprocess.CompletedProcess:
  env = dict(os.environ, JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="1", HF_HUB_OFFLINE="1", MTC_TRACEBACK="")
  return subprocess.run(
    [sys.executable, "-m", *map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
  )


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
  """A run of the reference config on tiny data, as a user would start it."""
  made = tmp_path_factory.mktemp("front") / "run"
  cache = tmp_path_factory.mktemp("cache")
  done = run(
    "mtc.main", *CONFIG, "--workdir", made, f"--config.data_dir={data_dir}", f"--config.cache_dir={cache}", *TINY
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert "TF-IDF" in done.stdout and "before" in done.stdout and "export/" in done.stdout
  return made


def test_the_export_embeds_a_file(workdir, tmp_path):
  texts = [f"a post about {w} in Lisbon" for w in ("rockets", "soup", "courts")]
  (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
  done = run(
    "mtc.embed",
    "--model",
    workdir / "export",
    "--input",
    tmp_path / "texts.jsonl",
    "--output",
    tmp_path / "out.npy",
    "--dim",
    20,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert np.load(tmp_path / "out.npy").shape == (3, 20)


def test_evaluate_repeats_the_runs_own_numbers(workdir, data_dir, tmp_path):
  done = run(
    "mtc.evaluate",
    "--model",
    workdir / "export",
    *CONFIG,
    f"--config.data_dir={data_dir}",
    "--output",
    tmp_path / "e.json",
  )
  assert done.returncode == 0, done.stderr[-3000:]
  again, own = (json.loads(path.read_text()) for path in (tmp_path / "e.json", workdir / "evaluation.json"))
  assert again["scores"] == own["scores"]
  assert again["systems"]["run"]["scores"] == own["scores"]


@pytest.fixture(scope="module")
def broken(data_dir, tmp_path_factory):
  """A data directory whose second training row of `interest` is not JSON."""
  made = shutil.copytree(data_dir, tmp_path_factory.mktemp("broken") / "data")
  (made / "interest" / "train.jsonl").write_text('{"text": "fine", "labels": ["a"]}\n{"text": broken\n')
  return made


TRAIN = ["mtc.main", *CONFIG, "--workdir", "{tmp}/x"]
EMBED = ["mtc.embed", "--model", "{run}/export", "--input", "{tmp}/texts.jsonl", "--output", "{tmp}/o.npy"]
MISTAKES = {
  "no config": (["mtc.main", "--workdir", "{tmp}/x"], "--config is missing"),
  "no workdir": (["mtc.main", *CONFIG], "--workdir is missing"),
  "a config that is not there": (["mtc.main", "--config", "configs/nowhere.py", "--workdir", "{tmp}/x"], "nowhere"),
  "a field that is not there": ([*TRAIN, "--config.stepz=3"], "stepz"),
  "a number below its range": ([*TRAIN, "--config.steps=-3"], "-3"),
  "a word for a number": ([*TRAIN, "--config.steps=many"], "many"),
  "an argument that is no flag": ([*TRAIN, "steps=3"], "steps=3"),
  "a data directory that is not there": (
    [*TRAIN, "--config.data_dir={tmp}/nothing"], "nothing"),
  "a row that is not JSON": ([*TRAIN, "--config.data_dir={broken}"], "train.jsonl:2"),
  "a model that is not there": (
    ["mtc.embed", "--model", "{tmp}/no_model", "--input", "{tmp}/texts.jsonl", "--output", "{tmp}/o.npy"], "no_model"),
  "no output": (EMBED[:-2], "--output is missing"),
  "a field that no row has": (
    [*EMBED, "--field", "body"], "body"),
  "a role that the model does not know": (
    [*EMBED, "--role", "tweet"], "tweet"),
  "more dimensions than there are": (
    [*EMBED, "--dim", "641"], "dim=641"),
  "weights into a folder that is not there": (
    ["mtc.export", "--model", "{run}/export", "--numpy", "{tmp}/no/w.npz"], "no is not a directory"),
  "nothing to evaluate": (["mtc.evaluate", *CONFIG, "--config.data_dir={data}"], "--model=DIR"),
  "vectors without texts": (
    ["mtc.evaluate", *CONFIG, "--config.data_dir={data}", "--embeddings", "{tmp}/v.npy"], "--texts"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_answered_with_exit_code_2_and_no_traceback(what, workdir, broken, data_dir, tmp_path):
  command, word = MISTAKES[what]
  (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
  done = run(*(part.format(tmp=tmp_path, run=workdir, broken=broken, data=data_dir) for part in command))
  said = done.stdout + done.stderr
  assert done.returncode == 2, (done.returncode, said[-2000:])
  assert "Traceback" not in said, said[-3000:]
  assert word in said, said[-2000:]
