"""A lock keeps a second process out, and dies with the first."""

import os
import signal
import subprocess
import sys

import pytest

import mtc
from mtc.config import Experiment
from mtc.files import lock
from mtc.workdir import bucket

HOLD = """
import pathlib, sys, time
from mtc.files import lock
with lock.held(pathlib.Path(sys.argv[1]), "it"):
  print("held", flush=True)
  time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
  """A process that holds the lock of `tmp_path`."""
  command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()


def test_a_second_process_is_told_who_holds_it(other, tmp_path):
  message = rf"--workdir .* is in use by process {other.pid} on {os.uname().nodename}; wait for it, end it"
  with pytest.raises(ValueError, match=message), bucket.workdir(str(tmp_path)):
    pass
  assert other.poll() is None and (tmp_path / ".lock").exists()


def test_training_from_python_is_refused_too(other, tmp_path):
  with pytest.raises(ValueError, match=f"is in use by process {other.pid}"):
    mtc.train(Experiment(tasks={}), tmp_path)


def test_a_killed_process_locks_nobody_out(other, tmp_path):
  other.send_signal(signal.SIGKILL)
  other.wait()
  assert (tmp_path / ".lock").exists()  # what it left
  with bucket.workdir(str(tmp_path)) as workdir:
    assert workdir == tmp_path
  assert not (tmp_path / ".lock").exists()


def test_the_processes_beside_the_first_of_one_run_take_no_lock(other, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.parallel, "is_main_process", lambda: False)
  with bucket.workdir(str(tmp_path)):
    pass
  assert (tmp_path / ".lock").exists()


def test_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
  path, real = tmp_path / ".lock", lock.fcntl.flock
  opened = []

  def removed_first(file, how):
    if not opened:
      path.unlink()
    opened.append(file)
    real(file, how)

  monkeypatch.setattr(lock.fcntl, "flock", removed_first)
  with lock.held(path, "it"):
    assert len(opened) == 2 and path.exists()
    with pytest.raises(ValueError, match=f"it is in use by process {os.getpid()}"), lock.held(path, "it"):
      pass


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
  def none(file, how):
    raise OSError(38, "Function not implemented")

  monkeypatch.setattr(lock.fcntl, "flock", none)
  with lock.held(tmp_path / ".lock", "it"):
    assert "this disk has no locks" in caplog.text


def test_a_workdir_that_is_a_file_or_lies_in_one_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="is a file; name a folder"), bucket.workdir(str(tmp_path / "file")):
    pass
  with pytest.raises(OSError, match="Not a directory"), bucket.workdir(str(tmp_path / "file" / "run")):
    pass
