"""Workdirs in a bucket, with a folder of this machine in the bucket's place."""

from pathlib import Path

from etils import epath
import pytest

from mtc import cli
from mtc.workdir import bucket as bucket_lib


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
  monkeypatch.setattr(bucket_lib, "bucket_folder", lambda name: epath.Path(tmp_path / name.removeprefix("gs://")))
  return tmp_path


def files(folder: Path) -> dict[str, str]:
  return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_this_machine_is_itself(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with bucket_lib.workdir("runs/a") as workdir:
    assert workdir == Path("runs/a")
    assert str(bucket_lib.checkpoints(workdir)) == str(Path("runs/a/checkpoints").absolute())
    assert bucket_lib.shown(workdir.absolute() / "export") == "runs/a/export"


@pytest.mark.parametrize("name", ["gs://b/a[1]", "gs://b/a*", "gs://b/{a}/c", "gs://b/a?"])
def test_a_bucket_whose_name_is_a_pattern_is_refused(bucket, name):
  """The libraries read such a name as a pattern, and there is no other name for it."""
  with (
    pytest.raises(ValueError, match=r"--workdir gs://b/.* is part of a pattern .* leave it out"),
    bucket_lib.workdir(name),
  ):
    pass
  assert not (bucket / "b").exists()


def test_checkpoints_are_removed_here_and_in_a_bucket(bucket, tmp_path):
  (tmp_path / "[v1]" / "checkpoints" / "step_1").mkdir(parents=True)
  bucket_lib.remove_checkpoints(tmp_path / "[v1]")
  assert not list((tmp_path / "[v1]").iterdir())
  with bucket_lib.workdir("gs://b/a") as workdir:
    (bucket / "b/a/checkpoints/step_1").mkdir(parents=True)
    bucket_lib.remove_checkpoints(workdir)
  assert not (bucket / "b/a/checkpoints").exists()


def test_what_is_written_is_in_the_bucket_at_the_end_and_there_for_the_next_machine(bucket):
  with bucket_lib.workdir("gs://b/runs/a") as workdir:
    (workdir / "export").mkdir()
    (workdir / "export" / "model").write_text("weights")
    (workdir / "metrics.jsonl").write_text("one\n")
    (workdir / "config.json.partial").write_text("half")
    assert bucket_lib.checkpoints(workdir) == epath.Path(bucket / "b/runs/a/checkpoints")
    assert bucket_lib.checkpoints(workdir / "runs" / "x") == epath.Path(bucket / "b/runs/a/runs/x/checkpoints")
    assert bucket_lib.shown(workdir / "export") == str(bucket / "b/runs/a/export")
    assert bucket_lib.shown(workdir) == str(bucket / "b/runs/a")
  assert not workdir.exists()
  assert files(bucket / "b/runs/a") == {"export/model": "weights", "metrics.jsonl": "one\n"}

  (bucket / "b/runs/a/checkpoints").mkdir()
  (bucket / "b/runs/a/checkpoints/state").write_text("large")
  with bucket_lib.workdir("gs://b/runs/a") as workdir:
    assert files(workdir) == {"export/model": "weights", "metrics.jsonl": "one\n"}
    (workdir / "metrics.jsonl").write_text("one\ntwo\n")
    (workdir / "export" / "model").unlink()
  assert files(bucket / "b/runs/a") == {"metrics.jsonl": "one\ntwo\n", "checkpoints/state": "large"}


def test_the_bucket_follows_while_the_block_runs(bucket, monkeypatch):
  monkeypatch.setattr(bucket_lib, "_SECONDS", 0.01)
  with bucket_lib.workdir("gs://b/a") as workdir:
    (workdir / "metrics.jsonl").write_text("one\n")
    for _ in range(500):
      if (bucket / "b/a/metrics.jsonl").exists():
        break
      bucket_lib.threading.Event().wait(0.01)
    assert files(bucket / "b/a") == {"metrics.jsonl": "one\n"}


def test_what_ends_the_block_loses_nothing(bucket):
  with pytest.raises(SystemExit), bucket_lib.workdir("gs://b/a") as workdir:
    (workdir / "metrics.jsonl").write_text("one\n")
    raise SystemExit(143)
  assert files(bucket / "b/a") == {"metrics.jsonl": "one\n"}
  assert not workdir.exists()


def test_a_process_beside_the_first_writes_nothing(bucket, monkeypatch):
  monkeypatch.setattr(bucket_lib.parallel, "is_main_process", lambda: False)
  with bucket_lib.workdir("gs://b/a") as workdir:
    (workdir / "metrics.jsonl").write_text("one\n")
  assert not (bucket / "b").exists() and not workdir.exists()


def test_the_newest_file_is_sent_last(bucket, monkeypatch):
  sent = []
  monkeypatch.setattr(type(epath.Path(bucket)), "write_bytes", lambda self, data: sent.append(self.name))
  with bucket_lib.workdir("gs://b/a") as workdir:
    for time, name in enumerate(("z", "b", "a")):
      (workdir / name).write_text(name)
      bucket_lib.os.utime(workdir / name, (time, time))
  assert sent == ["z", "b", "a"]


def test_a_bucket_that_cannot_be_written_loses_nothing(bucket):
  (bucket / "b").write_text("a file where the folder goes")
  message = r"--workdir gs://b cannot be read \(NotADirectoryError: it is a file\)"
  with pytest.raises(ValueError, match=message), bucket_lib.workdir("gs://b"):
    pass
  message = "cannot be written, and what it lacks is still in (.*)"
  with pytest.raises(OSError, match=message) as caught, bucket_lib.workdir("gs://b/a") as workdir:
    (workdir / "metrics.jsonl").write_text("one\n")
    raise SystemExit(0)  # as every command ends
  assert str(workdir) in str(caught.value) and files(workdir) == {"metrics.jsonl": "one\n"}


@pytest.mark.parametrize("said", ["", "step 7 is not finite"])
def test_a_run_whose_end_does_not_reach_the_bucket_says_so_after_its_own_end(bucket, capsys, said):
  def run() -> int:
    if said:
      raise FloatingPointError(said)
    return 0

  with pytest.raises(SystemExit) as ended, cli.failures(), bucket_lib.workdir("gs://b/a") as workdir:
    (workdir / "metrics.jsonl").write_text("one\n")
    (bucket / "b").write_text("a file where the folder goes")
    cli.finish(run)
  told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
  assert ended.value.code == 1 and told[:-1] == [f"error: {said}"] * bool(said)
  assert f"what it lacks is still in {workdir}" in told[-1]
  assert files(workdir) == {"metrics.jsonl": "one\n"}


def test_other_storage_is_refused():
  with pytest.raises(ValueError, match="--workdir s3://b/a: only gs:// is known here"), bucket_lib.workdir("s3://b/a"):
    pass
