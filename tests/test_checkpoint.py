"""Checkpoints: whole or refused, the latest and the best kept."""

from pathlib import Path

import numpy as np
import pytest

from mtc.checkpoint import Checkpoints


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


def _arrays(directory: Path) -> list[Path]:
  return sorted(p for p in directory.rglob("*") if p.is_file() and p.stat().st_size > 0)


def test_a_flipped_byte_is_found_and_the_checkpoint_before_it_used(checkpoints, tmp_path, caplog):
  _save(checkpoints, 1, 2)
  largest = max(_arrays(tmp_path / "checkpoints" / "step_2" / "state"), key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
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
