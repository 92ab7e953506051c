"""Checkpoints: whole or refused, the latest and the best kept."""

from pathlib import Path
import random
import shutil

import numpy as np
from orbax.checkpoint import CheckpointManager
import pytest

from mtc.files import paths
from mtc.workdir import bucket
from mtc.workdir.checkpoints import Checkpoints, check_finite, mend_scores


def state(value: float) -> dict:
  return {"step": np.array(int(value), np.int32), "params": {"w": np.full((64, 64), value, np.float32)}}


@pytest.fixture
def checkpoints(tmp_path):
  made = Checkpoints(tmp_path / "checkpoints")
  yield made
  made.close()


def _save(checkpoints: Checkpoints, *steps: int, best: dict[int, float] | None = None):
  for step in steps:
    checkpoints.save(state(step), step, (best or {}).get(step))
  checkpoints.wait()


def test_what_was_saved_comes_back(checkpoints):
  assert checkpoints.restore(state(0)) is None
  _save(checkpoints, 3)
  restored, step = checkpoints.restore(state(0))
  assert step == 3 and restored["step"].dtype == np.int32 and restored["step"].shape == ()
  np.testing.assert_array_equal(restored["params"]["w"], state(3)["params"]["w"])


def test_the_latest_two_and_the_best_are_kept(checkpoints, tmp_path):
  _save(checkpoints, 1, 2, 3, 4, 5, best={1: 0.1, 2: 0.9, 3: 0.3})
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()) == ["step_2", "step_4", "step_5"]
  assert checkpoints.best_step() == 2


def test_a_score_that_is_not_finite_is_no_best(checkpoints):
  _save(checkpoints, 1, 2, best={1: 0.5, 2: float("nan")})
  assert checkpoints.best_step() == 1


# Each is a name of a directory, or of some.
NAMES = [
  "[v1]",
  "run[1:2]",
  "a?",
  "a**b/{x,y}",
  "gs:/x",
  "back\\slash",
  "new\nline/-a",
  "caf\udce9",
  "größe #%20 $HOME",
]
MORE = ["a*", "**", "a#b", "~", "x@4", "a:b", "'a' \"b\"", "a.", "a,b", "a;b|c", "()", "!x", "^", "a+b"]
NAMES += [pytest.param(name, marks=pytest.mark.slow) for name in MORE]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_directory_may_have_any_name(tmp_path, name, caplog):
  directory, beside = tmp_path / name / "checkpoints", tmp_path / "ab" / "checkpoints"
  if name == "a?":  # a name that the other one matches, as a pattern
    _close_after_saving(beside, 7)
  _close_after_saving(directory, 1, 2, 3, best={1: 0.9, 2: 0.1, 3: 0.2})
  score = directory / "step_2" / "metrics" / "metrics"
  score.write_text("{")
  mend_scores(directory)
  assert f"the validation score in {score} is damaged" in caplog.text or "\udce9" in name
  opened = Checkpoints(directory)
  restored, step = opened.restore(state(0))
  assert step == 3 and restored["params"]["w"][0, 0] == 3 and opened.best_step() == 1
  _save(opened, 4)
  opened.close()
  assert sorted(path.name for path in directory.iterdir()) == ["step_1", "step_3", "step_4"]


def _close_after_saving(directory: Path, *steps: int, best: dict[int, float] | None = None):
  opened = Checkpoints(directory)
  _save(opened, *steps, best=best)
  opened.close()


def test_a_message_has_the_name_that_the_user_gave(tmp_path, monkeypatch):
  directory = tmp_path / "[v1]"
  _close_after_saving(directory, 1)
  for path in (directory / "step_1" / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  opened = Checkpoints(directory)
  with pytest.raises(ValueError, match=r"every checkpoint in .*/\[v1\] is damaged"):
    opened.restore(state(0))
  with monkeypatch.context() as patch:
    patch.setattr(CheckpointManager, "save", lambda self, *_, **__: (self.directory / "no" / "file").read_text())
    with pytest.raises(OSError, match=r"cannot be written to .*/\[v1\] \(.*/\[v1\]/no/file'\)"):
      opened.save(state(2), 2)
  opened.close()


def test_a_name_that_needs_a_descriptor_is_refused_where_there_are_none(tmp_path, monkeypatch):
  monkeypatch.setattr(paths, "_DESCRIPTORS", tmp_path / "none")
  with pytest.raises(ValueError, match=r"/\[v1\] holds '\[', .* use a path without it"):
    Checkpoints(tmp_path / "[v1]")
  with pytest.raises(ValueError, match=r"\[v1\] holds '\['"), bucket.workdir(str(tmp_path / "[v1]")):
    pass
  assert not (tmp_path / "[v1]" / "config.json").exists()
  _close_after_saving(tmp_path / "v 1", 1)
  _close_after_saving(tmp_path / "lr=0.1, (a+b)@4~", 1)


def test_a_checkpoint_whose_files_were_not_merged_is_not_saved(tmp_path, monkeypatch):
  """What Orbax did in a directory with brackets: it found no files to merge, and reported a success."""
  monkeypatch.setattr(paths, "is_plain", lambda path: True)
  opened = Checkpoints(tmp_path / "[v1]")
  opened.save(state(1), 1)
  with pytest.raises(OSError, match=r"step 1 was written to .*/\[v1\] and cannot be read back, so it is not saved \("):
    opened.wait()
  opened.wait()  # it is reported once
  opened.close()


VANISHING = ("", "state", "state/manifest.ocdbt", "state/d", "sha256", "sha256/metadata")


@pytest.mark.parametrize("name", VANISHING)
@pytest.mark.parametrize("then", ["wait", "save"])
def test_a_checkpoint_that_cannot_be_read_back_is_an_error(checkpoints, tmp_path, monkeypatch, name, then):
  _save(checkpoints, 1)
  finished = CheckpointManager.wait_until_finished

  def finish_and_lose(self):
    finished(self)
    lost = tmp_path / "checkpoints" / "step_2" / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink(missing_ok=True)

  checkpoints.save(state(2), 2)
  with monkeypatch.context() as patch:
    patch.setattr(CheckpointManager, "wait_until_finished", finish_and_lose)
    with pytest.raises(OSError, match="checkpoint of step 2 .* cannot be read back, so it is not saved"):
      checkpoints.wait() if then == "wait" else checkpoints.save(state(3), 3)
  assert Checkpoints(tmp_path / "checkpoints").restore(state(0))[1] == 1


def test_a_checkpoint_with_other_bytes_than_were_saved_is_an_error(checkpoints, tmp_path, monkeypatch):
  checkpoints.save(state(1), 1)
  checkpoints._manager.wait_until_finished()
  largest = max(_arrays(tmp_path / "checkpoints" / "step_1" / "state"), key=lambda p: p.stat().st_size)
  largest.write_bytes(_flipped(largest.read_bytes(), largest.stat().st_size // 2, 0))
  with pytest.raises(OSError, match="step 1 .* cannot be read back"):
    checkpoints.wait()


def _arrays(directory: Path) -> list[Path]:
  return sorted(p for p in directory.rglob("*") if p.is_file() and p.stat().st_size > 0)


def _random(step: int) -> dict:
  rng = np.random.default_rng(step)
  return {"step": np.array(step, np.int32), "params": {"w": rng.normal(size=(8, 8)), "b": rng.normal(size=3)}}


@pytest.fixture
def saved(tmp_path):
  """A folder with the checkpoints of steps 1 and 2, the second better."""
  made = Checkpoints(tmp_path / "saved")
  for step in (1, 2):
    made.save(_random(step), step, best=step / 10)
  made.close()
  return tmp_path / "saved"


def _damage_and_restore(saved: Path, path: Path, content: bytes | None, caplog) -> int:
  """Damages a file, restores as a run does, and mends the file; returns the step."""
  before, second = path.read_bytes(), saved / "step_2"
  kept = shutil.copytree(second, saved.parent / "kept")
  path.unlink() if content is None else path.write_bytes(content)
  caplog.clear()
  mend_scores(saved)
  opened = Checkpoints(saved)
  restored, step = opened.restore(_random(0))
  best = opened.best_step()
  opened.close()
  for name in ("w", "b"):
    np.testing.assert_array_equal(restored["params"][name], _random(step)["params"][name], err_msg=str(path))
  assert restored["step"] == step
  assert step == 2 or "checkpoint of step 2" in caplog.text and "is damaged" in caplog.text, path
  if path.name == "metrics" and content is not None:
    assert step == 2 and best == 1 and "the validation score" in caplog.text and str(path) in caplog.text
  shutil.rmtree(second, ignore_errors=True)
  kept.rename(second)
  assert path.read_bytes() == before
  return step


def _flipped(content: bytes, place: int, bit: int) -> bytes:
  return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


# Files that Orbax writes for others and does not read: whatever is in them, what is restored is right.
UNREAD = ("_CHECKPOINT_METADATA", "commit_success.txt", "ocdbt.process_0/manifest.ocdbt")


def test_every_file_that_is_flipped_cut_or_missing_is_found_or_harmless(saved, caplog):
  found = {}
  for path in _arrays(saved / "step_2"):
    content = path.read_bytes()
    damaged = [_flipped(content, place, 1) for place in (0, len(content) // 2, len(content) - 1)]
    damaged += [b"", content[: len(content) // 2], None]
    steps = [_damage_and_restore(saved, path, each, caplog) for each in damaged]
    found[path.relative_to(saved / "step_2").as_posix()] = steps
  noticed = {name for name, steps in found.items() if 1 in steps}
  assert {"sha256/metadata", "state/manifest.ocdbt", "state/_METADATA"} < noticed
  assert not noticed & {name for name in found if name.endswith(UNREAD)}


@pytest.mark.slow
def test_no_flipped_byte_of_a_checkpoint_is_restored(saved, caplog):
  tries, noticed = 0, 0
  for path in _arrays(saved / "step_2"):
    content, rng = path.read_bytes(), random.Random(path.name)
    for place in range(len(content)):
      step = _damage_and_restore(saved, path, _flipped(content, place, rng.randrange(8)), caplog)
      tries, noticed = tries + 1, noticed + (step == 1)
  print(f"{tries} flips, {noticed} of them noticed; the others changed nothing that is restored")


def test_a_damaged_checkpoint_makes_room_for_the_next(checkpoints, tmp_path, caplog):
  _save(checkpoints, 1, 2)
  largest = max(_arrays(tmp_path / "checkpoints" / "step_2" / "state"), key=lambda p: p.stat().st_size)
  largest.write_bytes(_flipped(largest.read_bytes(), largest.stat().st_size // 2, 0))
  restored, step = checkpoints.restore(state(0))
  assert step == 1 and restored["params"]["w"][0, 0] == 1
  assert "step 2" in caplog.text and "damaged" in caplog.text
  _save(checkpoints, 2)  # its place is free again
  assert checkpoints.restore(state(0))[1] == 2


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_file_that_is_cut_or_missing_is_found(checkpoints, tmp_path, damage):
  _save(checkpoints, 1, 2)
  for path in _arrays(tmp_path / "checkpoints" / "step_2" / "state"):
    if path.parent.name == "d":  # the arrays; Orbax has a copy of some
      path.unlink() if damage == "remove" else path.write_bytes(path.read_bytes()[:-20])
  assert checkpoints.restore(state(0))[1] == 1


def test_when_all_are_damaged_the_run_does_not_begin_anew_by_itself(checkpoints, tmp_path):
  _save(checkpoints, 1)
  for path in _arrays(tmp_path / "checkpoints" / "step_1" / "state"):
    path.write_bytes(b"")
  with pytest.raises(ValueError, match=r"every checkpoint .* is damaged \(steps \[1\]\)"):
    checkpoints.restore(state(0))


def test_a_checkpoint_of_another_model_is_refused(checkpoints):
  _save(checkpoints, 1)
  with pytest.raises(ValueError, match="another model"):
    checkpoints.restore({"step": np.array(0, np.int32), "params": {"v": np.zeros(3, np.float32)}})


def test_a_state_that_is_not_finite_is_named():
  bad = state(1)
  bad["params"]["w"][3, 4] = np.inf
  with pytest.raises(FloatingPointError, match=r"1 arrays of the state, params\.w first, are not finite after step 7"):
    check_finite(bad, 7)
  check_finite(state(1), 7)
