"""Disks that are full, read-only or not there: a clear error, the right exit code, and what was saved stays whole."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import random
import subprocess
import sys

from killable import Runs, assert_equal_bits, assert_nothing_is_half_written
import pytest

from mtc.embedder import save

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "MTC_TRACEBACK": ""}
ALONE = {"evaluations": {}, "diagnose_every": 0}


@pytest.fixture(scope="module")
def whole(runs) -> tuple[Path, dict]:
  """A run that nobody touched, and what it took."""
  took = runs(runs.root / "whole")
  assert took["code"] == 0, runs.said()[-3000:]
  (runs.root / "cache").rename(runs.root / "cache.whole")
  return runs.root / "whole", took


def fill_and_go_on(runs: Runs, whole: tuple[Path, dict], tries: int, seed: int) -> None:
  """Fills the disk before random operations on files, then makes room; what was saved is gone on with."""
  expected, took = whole
  rng = random.Random(seed)
  for number in range(tries):
    workdir = runs.root / f"full{seed}.{number}"
    at = rng.randint(1, took["operations"])
    ended = runs(workdir, full=at, seconds=300)
    said = runs.said()
    assert ended["code"] == 1, (at, ended, said[-3000:])
    assert "error: " in said and "Traceback" not in said and "make room there" in said, (at, said[-3000:])
    assert_nothing_is_half_written(workdir)
    saved = [path.name for path in workdir.glob("checkpoints/step_*") if "tmp" not in path.name]
    ended = runs(workdir)
    assert ended["code"] == 0, (at, runs.said()[-3000:])
    assert not saved or "resuming from step" in runs.said() or "nothing to do" in runs.said()
    assert_equal_bits(expected, workdir)
    (runs.root / "cache").rename(runs.root / f"cache{seed}.{number}")


def test_a_disk_that_is_full_at_any_moment_loses_nothing(runs, whole):
  fill_and_go_on(runs, whole, tries=1, seed=3)


@pytest.mark.slow
def test_a_disk_that_is_full_at_twenty_moments_loses_nothing(runs, whole):
  fill_and_go_on(runs, whole, tries=20, seed=int(os.environ.get("MTC_DISK_SEED", "0")))


@pytest.fixture
def disk(tmp_path) -> Iterator:
  """A function that mounts a small file system of so many KiB, or one that is read-only, at a folder below tmp_path."""
  mounted = []

  def mount(options: str, name: str = "disk") -> Path:
    place = tmp_path / name
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
      pytest.skip("nobody but root may mount a file system")
    mounted.append(place)
    return place

  yield mount
  for place in mounted:
    subprocess.run(["umount", "-l", str(place)], check=True)


def folders_and_bytes(path: Path) -> int:
  return int(subprocess.run(["du", "-sk", str(path)], capture_output=True, text=True, check=True).stdout.split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_disk_of_too_few_bytes(runs, whole, disk, share):
  """A real one: what is written in C++ meets it too, and the last page of a file that began well."""
  expected, _ = whole
  size = int(share * folders_and_bytes(expected))
  place = disk(f"size={size}k")
  ended = runs(place / "run", seconds=300)
  said = runs.said()
  answer = said[said.rindex("\nerror: ") :]  # last; a thread of Orbax may have printed its traceback before it
  assert ended["code"] == 1 and "Traceback" not in answer and "make room there" in answer, (ended, said[-3000:])
  assert_nothing_is_half_written(place / "run")
  subprocess.run(["mount", "-o", "remount,size=100m", str(place)], check=True)
  ended = runs(place / "run")
  assert ended["code"] == 0, runs.said()[-3000:]
  assert_equal_bits(expected, place / "run")


@pytest.mark.parametrize("where", ["run", "run/checkpoints"])
def test_a_workdir_that_cannot_be_written_is_a_mistake(runs, disk, where):
  place = disk("ro", where)
  workdir = place if where == "run" else place.parent
  ended = runs(workdir, settings=ALONE)
  said = runs.said()
  assert ended["code"] == 2 and "Read-only file system" in said and "Traceback" not in said, (ended, said[-3000:])


def test_a_workdir_in_a_folder_of_somebody_else_is_a_mistake(runs, tmp_path):
  if not os.geteuid():
    pytest.skip("root may write everywhere; the test before this one is for root")
  (tmp_path / "closed").mkdir(mode=0o555)
  ended = runs(tmp_path / "closed" / "run")
  assert ended["code"] == 2 and "Permission denied" in runs.said() and "Traceback" not in runs.said()


def test_a_workdir_that_is_a_file_is_a_mistake(runs, tmp_path):
  (tmp_path / "run").write_text("mine")
  ended = runs(tmp_path / "run")
  assert ended["code"] == 2 and "is a file; name a folder" in runs.said() and "Traceback" not in runs.said()
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "checkpoints").write_text("mine")
  ended = runs(tmp_path / "other", settings=ALONE)
  assert ended["code"] == 2 and "checkpoints" in runs.said() and "Traceback" not in runs.said(), runs.said()[-2000:]


COMMANDS = {
  "embed": ["mtc.embed", "--model={model}", "--input={texts}", "--output={disk}/out.npy"],
  "mine": ["mtc.mine", "--model={model}", "--input={pairs}", "--output={disk}/hard.jsonl"],
  "average": ["mtc.average", "--models={model},{another}", "--output={disk}/mean"],
  "export": ["mtc.export", "--model={model}", "--numpy={disk}/weights.npz"],
  "shrink": ["mtc.shrink", "--model={model}", "--layers=0", "--output={disk}/small"],
  "evaluate": [
    "mtc.evaluate", "--config=configs/multitask.py", "--config.data_dir={data}", "--model={model}",
    "--output={disk}/e.json", "--report={disk}/page.html",
  ],
  "list the texts": [
    "mtc.evaluate", "--config=configs/multitask.py", "--config.data_dir={data}", "--list_texts={disk}/texts.jsonl",
  ],
}  # fmt: skip


@pytest.fixture(scope="module")
def things(make_embedder, data_dir, tmp_path_factory) -> dict[str, Path]:
  """A model, texts and pairs."""
  folder = tmp_path_factory.mktemp("things")
  save.write(make_embedder(), folder / "model")
  save.write(make_embedder(1), folder / "another")
  (folder / "texts.txt").write_text("".join(f"soup and bread {i}\n" for i in range(5000)))
  pairs = [{"anchor": f"soup {i}", "positive": f"bread {i}"} for i in range(200)]
  (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
  return {
    "model": folder / "model",
    "another": folder / "another",
    "texts": folder / "texts.txt",
    "pairs": folder / "pairs.jsonl",
    "data": data_dir,
  }


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_cannot_write_says_so_and_leaves_nothing(things, disk, command):
  names = {name: str(path) for name, path in things.items()}
  for options, code, word in (("size=8k", 1, "No space left on device"), ("ro", 2, "")):
    place = disk(options, options)
    parts = [part.format(disk=place, **names) for part in COMMANDS[command]]
    done = subprocess.run([sys.executable, "-m", *parts], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stderr[-3000:])
    assert "error: " in done.stderr and "Traceback" not in done.stderr and word in done.stderr, done.stderr[-3000:]
    left = {path.name for path in place.iterdir()} - {"e.json"}  # the scores, which came before the page
    assert left <= {"out.npy.partial", "out.npy.progress.json"}, left  # from which embed goes on
