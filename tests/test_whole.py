"""Files and folders are there whole or not at all, and what dead processes left goes."""

import os
import subprocess
import sys

import pytest

from mtc.files import atomic


def test_a_file_takes_its_place_at_the_end(tmp_path):
  path = tmp_path / "a.json"
  path.write_text("old")
  with atomic.file(path) as partial:
    partial.write_text("new")
    assert path.read_text() == "old"
  assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_changes_nothing(tmp_path):
  path = tmp_path / "a"
  path.write_text("old")
  with pytest.raises(OSError, match="full"), atomic.file(path) as partial:
    partial.write_text("new")
    raise OSError(28, "disk full")
  with pytest.raises(OSError, match="full"), atomic.folder(tmp_path / "b") as partial:
    (partial / "x").write_text("new")
    raise OSError(28, "disk full")
  assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another(tmp_path):
  for content in ("one", "two"):
    with atomic.folder(tmp_path / "a") as partial:
      (partial / content).mkdir()
      (partial / content / "x").write_text(content)
  assert [p.name for p in tmp_path.iterdir()] == ["a"] and [p.name for p in (tmp_path / "a").iterdir()] == ["two"]


def test_what_dead_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
  with subprocess.Popen([sys.executable, "-c", ""]) as dead:
    dead.wait()
  host = os.uname().nodename
  (tmp_path / f"a.{host}.{dead.pid}.partial").mkdir()
  (tmp_path / f"a.{host}.{dead.pid}.partial" / "x").write_text("half")
  others = [f"a.{host}.{os.getppid()}.partial", f"a.elsewhere.{dead.pid}.partial", f"b.{host}.{dead.pid}.partial"]
  for name in others:
    (tmp_path / name).write_text("half")
  with atomic.folder(tmp_path / "a"):
    pass
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", *others])


WRITE = """
import pathlib, sys
from mtc.files import atomic
with atomic.file(pathlib.Path(sys.argv[1])) as partial:
  partial.write_text("b" * 9)
  input()
"""


def test_two_writers_of_one_file_do_not_mix(tmp_path):
  path = tmp_path / "a"
  with subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, text=True) as other:
    while not list(tmp_path.glob("*.partial")):
      assert other.poll() is None
    with atomic.file(path) as partial:
      partial.write_text("a")
    assert path.read_text() == "a"
    other.communicate("\n")
  assert other.returncode == 0 and path.read_text() == "b" * 9 and list(tmp_path.iterdir()) == [path]
