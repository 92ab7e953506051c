"""mtc.embed --config: one command writes the vectors of all teachers, resumes, and trusts no file unchecked."""

import gzip
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import mtc
from mtc import models
from mtc.config import Experiment, Task
from mtc.data import Folder, Texts, Vectors
from mtc.embedder import embedder, save, vector_files
from mtc.embedder.embedder import Embedder
from mtc.embedder.partial import PartialNpy
from mtc.embedder.vector_files import embed_teachers
from mtc.losses import EmbeddingDistillation
from mtc.models import ModelSpec

ROOT = Path(__file__).parent.parent
SETTINGS = {"role": "document", "dim": 0, "dtype": "float32", "compute": "float32"}
CONFIG = """
from mtc.config import Experiment, Task
from mtc.data import Folder, Texts, Vectors
from mtc.losses import EmbeddingDistillation

def get_config():
  posts, asked = Vectors("posts/train.jsonl"), Vectors("more.txt.gz", npy="asked.npy", role="query")
  return Experiment(
    tasks={
      "posts": Task(Folder("posts"), Texts(), EmbeddingDistillation(), teacher=(posts, asked)),
      "again": Task(Folder("posts"), Texts(), EmbeddingDistillation(), teacher=(posts,)),
    },
  )
"""
# Runs mtc.embed with small grids, and prints how many of them it encoded. The process is killed before grid STOP.
COUNTED = """
import os, runpy, signal, sys
from mtc import parallel
from mtc.embedder import grids, partial

partial.SECONDS, grids._CPU_TOKENS, grids._SHORT = 0, 1024, 32
made, encoded = parallel.map_over_devices, []

def counted(function):
  mapped = made(function)
  def encode(params, tokens):
    if len(encoded) == int(os.environ.get("STOP", -1)):
      os.kill(os.getpid(), signal.SIGKILL)
    encoded.append(tokens.ids.shape)
    return mapped(params, tokens)
  return encode

parallel.map_over_devices = counted
try:
  runpy.run_module("mtc.embed", run_name="__main__", alter_sys=True)
finally:
  print("grids:", len(encoded))
"""


@pytest.fixture(scope="module")
def model(make_embedder, tmp_path_factory):
  return save.write(make_embedder(), directory := tmp_path_factory.mktemp("teacher") / "export") or directory


@pytest.fixture
def folder(texts, tmp_path):
  """A data directory with two files of texts, and a config beside it."""
  data = tmp_path / "data"
  (data / "posts").mkdir(parents=True)
  (data / "posts" / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:700]))
  (data / "more.txt.gz").write_bytes(gzip.compress("\n".join(texts[-500:]).encode()))
  (tmp_path / "distill.py").write_text(CONFIG)
  return data


@pytest.fixture
def experiment(folder):
  """The experiment of the config, with fewer texts."""
  for name in ("posts/train.jsonl", "more.txt"):
    lines = [json.dumps({"text": f"soup {i}"}) if "json" in name else f"bread {i}" for i in range(5)]
    (folder / name).write_text("\n".join(lines) + "\n")
  teacher = (Vectors("posts/train.jsonl"), Vectors("more.txt", npy="asked.npy", role="query"))
  task = Task(Folder("posts"), Texts(), EmbeddingDistillation(), teacher=teacher)
  return Experiment(tasks={"posts": task}, data_dir=str(folder))


def run(model: Path, *arguments: object, stop: int = -1) -> tuple[int, str]:
  """The exit code of mtc.embed and all that it printed."""
  command = [sys.executable, "-c", COUNTED, f"--model={model}", *map(str, arguments)]
  env = dict(os.environ, STOP=str(stop), JAX_NUM_CPU_DEVICES="1", MTC_TRACEBACK="")
  done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
  return done.returncode, done.stdout


def encoded(said: str) -> int:
  """How many grids were encoded."""
  return int(said.split("grids: ")[1].split()[0])


def content(folder: Path) -> dict[str, bytes]:
  return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_command_writes_all_files_and_continues_after_a_kill(model, folder, tmp_path):
  config = [f"--config={tmp_path / 'distill.py'}", f"--config.data_dir={folder}", "--dtype=float16"]
  first, second = folder / "posts" / "train.npy", folder / "asked.npy"

  one = [run(model, f"--input={folder / 'posts' / 'train.jsonl'}", f"--output={first}", "--dtype=float16")]
  one += [run(model, f"--input={folder / 'more.txt.gz'}", f"--output={second}", "--dtype=float16", "--role=query")]
  assert [code for code, _ in one] == [0, 0], one
  grids, expected = [encoded(said) for _, said in one], content(folder)
  assert min(grids) > 5 and {"posts/train.npy", "posts/train.npy.json", "asked.npy", "asked.npy.json"} < set(expected)
  code, said = run(model, *config)
  assert (code, encoded(said)) == (0, 0), "what single commands wrote is finished as well"
  assert [line for line in said.splitlines() if "skipped" in line] == [
    f"{f} is finished: skipped" for f in (first, second)
  ]

  for path in (first, second):
    path.unlink()
  code, _ = run(model, *config, stop=grids[0] + 4)
  assert code == -signal.SIGKILL and first.exists() and not second.exists()
  saved = json.loads((folder / "asked.npy.progress.json").read_text())["grids"]
  assert 1 <= saved <= 4
  code, said = run(model, *config)
  assert (code, encoded(said)) == (0, grids[1] - saved), said
  assert f"{first} is finished: skipped" in said and f"500 vectors in {second}" in said
  assert content(folder) == expected

  with open(folder / "posts" / "train.jsonl", "a") as file:
    file.write('{"text": "one more"}\n')
  code, said = run(model, *config)
  assert (code, encoded(said)) == (2, 0) and f"{first}: other texts" in said and "--overwrite" in said
  assert "Traceback" not in said and content(folder)["posts/train.npy"] == expected["posts/train.npy"]


@pytest.fixture
def embed(model, experiment, monkeypatch):
  """A function that writes the vectors, and returns the files whose texts it encoded."""
  embed_file, files = vector_files.embed_file, []

  def counted(model, source, output, **options):
    files.append(output.name)
    return embed_file(model, source, output, **options)

  def embed(**changes):
    files.clear()
    directory = changes.pop("directory", model)
    embed_teachers(experiment, str(directory), **{**SETTINGS, **changes})
    return list(files)

  monkeypatch.setattr(vector_files, "embed_file", counted)
  return embed


def test_the_model_is_loaded_once_and_a_second_run_does_nothing(embed, folder, monkeypatch, capsys):
  load, loaded = embedder.load, []
  monkeypatch.setattr(embedder, "load", lambda *arguments: loaded.append(arguments) or load(*arguments))
  assert embed() == ["train.npy", "asked.npy"] and len(loaded) == 1
  before = content(folder)
  monkeypatch.setattr(embedder, "load", lambda *_: pytest.fail("it loaded the model"))
  assert embed() == [] and content(folder) == before
  assert capsys.readouterr().out.count("is finished: skipped\n") == 2


@pytest.mark.parametrize("named", [False, True])
def test_a_file_is_never_without_its_manifest(embed, folder, monkeypatch, named):
  """A kill just before or just after it gets its name: the next run continues, or skips it."""
  embed()
  expected, finish = content(folder), PartialNpy.finish
  for name in ("asked.npy", "asked.npy.json"):
    (folder / name).unlink()

  def killed(self):
    if named:
      finish(self)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(PartialNpy, "finish", killed)
    embed()
  assert (folder / "asked.npy").exists() == named
  assert embed() == ([] if named else ["asked.npy"])
  assert content(folder) == expected


def another_model(folder, make_embedder, experiment):
  save.write(make_embedder(1), folder / "another")
  return {"directory": folder / "another"}


def other_texts(folder, make_embedder, experiment):
  (folder / "posts" / "train.jsonl").write_text('{"text": "salt"}\n' * 5)


def another_field(folder, make_embedder, experiment):
  rows = '{"text": "salt", "body": "salt"}\n' * 5
  (folder / "posts" / "train.jsonl").write_text(rows)
  experiment.tasks["posts"].teacher[0].field = "body"


def no_manifest(folder, make_embedder, experiment):
  (folder / "posts" / "train.npy.json").unlink()


def a_broken_manifest(folder, make_embedder, experiment):
  (folder / "posts" / "train.npy.json").write_text('{"stamp":' * 100_000)


def other_vectors(folder, make_embedder, experiment):
  np.save(folder / "posts" / "train.npy", np.ones((5, 8), np.float32))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (another_model, r"2 of 2 files(.|\n)*train\.npy: another model\n.*asked\.npy: another model\n"),
    (other_texts, r"1 of 2 files(.|\n)*train\.npy: other texts\n"),
    (another_field, r"train\.npy: other texts, field='text' instead of 'body'\n"),
    (no_manifest, r"train\.npy: it has no train\.npy\.json, which would say how it was made\n"),
    (a_broken_manifest, r"train\.npy: it has no train\.npy\.json, which would say how it was made\n"),
    (other_vectors, r"train\.npy: it changed after train\.npy\.json was written\n"),
    (lambda *_: {"dim": 4}, r"train\.npy: dim=0 instead of 4\n"),
    (lambda *_: {"dtype": "float16"}, r"train\.npy: dtype='float32' instead of 'float16'\n"),
    (lambda *_: {"compute": "bfloat16"}, r"train\.npy: compute='float32' instead of 'bfloat16'\n"),
    (lambda *_: {"role": "query"}, r"1 of 2 files(.|\n)*train\.npy: role='document' instead of 'query'\n"),
  ],
)
def test_a_file_that_was_made_in_another_way_is_refused_or_overwritten(
  embed, folder, make_embedder, experiment, change, message
):
  embed()
  changes = change(folder, make_embedder, experiment) or {}
  before = content(folder)
  with pytest.raises(
    ValueError, match=message + r"(.|\n)*Use the old model.*delete these files, or .* with --overwrite$"
  ):
    embed(**changes)
  assert content(folder) == before
  assert embed(**changes, overwrite=True)[0] == "train.npy"
  assert embed(**changes) == []


def no_teacher(folder, experiment):
  experiment.tasks["posts"].teacher = ()


def one_npy_for_two(folder, experiment):
  (folder / "link").symlink_to(folder)
  experiment.tasks["posts"].teacher += (Vectors("more.txt", npy="link/posts/train.npy"),)


def one_npy_for_two_fields(folder, experiment):
  experiment.tasks["posts"].teacher += (Vectors("posts/train.jsonl", "body"),)


def a_missing_file(folder, experiment):
  (folder / "more.txt").unlink()


def an_empty_file(folder, experiment):
  (folder / "more.txt").write_text("")


def a_bad_row(folder, experiment):
  with open(folder / "posts" / "train.jsonl", "a") as file:
    file.write('{"body": "one more"}\n')


def an_unknown_kind(folder, experiment):
  (folder / "more.csv").write_text("text\n")
  experiment.tasks["posts"].teacher += (Vectors("more.csv"),)


def no_npy(folder, experiment):
  experiment.tasks["posts"].teacher[1].npy = "more.txt"


def no_folder(folder, experiment):
  experiment.tasks["posts"].teacher[1].npy = "nowhere/more.npy"


def a_read_only_folder(folder, experiment):
  """As os.access finds it; root may write everywhere."""
  (folder / "shut").mkdir()
  experiment.tasks["posts"].teacher[1].npy = "shut/more.npy"


def an_unknown_role(folder, experiment):
  experiment.tasks["posts"].teacher[1].role = "tweet"


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (no_teacher, r"no task of --config has a teacher \(tasks: posts\); name .* teacher=\(Vectors"),
    (one_npy_for_two, r"link/posts/train\.npy would hold two .*'text' of .*train\.jsonl .*'text' of .*more\.txt"),
    (one_npy_for_two_fields, r"train\.npy would hold two things: field 'text' .*, and field 'body' .* another npy"),
    (a_missing_file, r"teacher of task 'posts': .*more\.txt is not a file; correct"),
    (an_empty_file, r"more\.txt holds no text; expected one or more"),
    (a_bad_row, r"train\.jsonl:6: field 'text' is missing .* with --field or in Vectors"),
    (an_unknown_kind, r"more\.csv is of an unknown kind; use \.jsonl"),
    (no_npy, r"teacher of task 'posts': .*more\.txt does not end in \.npy; give"),
    (no_folder, r"teacher of task 'posts': .*nowhere is not a directory; make it"),
    (a_read_only_folder, r"more\.npy cannot be written: .*shut is read-only; name another"),
    (an_unknown_role, r"role='tweet' is unknown to this model; use one of query, document"),
    (lambda *_: {"dim": 9}, r"dim=9 is not in 1\.\.8"),
    (lambda *_: {"directory": "/no/model"}, r"/no/model"),
  ],
)
def test_what_cannot_be_used_is_refused_before_any_work(embed, folder, experiment, monkeypatch, change, message):
  changes = change(folder, experiment) or {}
  access = os.access
  monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut" and access(path, mode))
  before = content(folder)
  with pytest.raises(ValueError, match=message):
    embed(**changes)
  assert content(folder) == before


@pytest.mark.parametrize("flag", ["--input=a.jsonl", "--field=text", "--merge=2"])
def test_flags_for_one_file_do_not_go_with_a_config(model, folder, tmp_path, flag):
  code, said = run(model, f"--config={tmp_path / 'distill.py'}", f"--config.data_dir={folder}", flag)
  assert (code, encoded(said)) == (2, 0) and "Traceback" not in said
  assert f"error: {flag.split('=')[0]} is for one file, and the Vectors of --config name theirs; leave out" in said


def test_the_commands_of_the_documentation_distil_a_teacher(tokenizer, folder, tmp_path):
  spec = ModelSpec(layers=1, width=64, heads=2, mlp_width=64, positions=160, dim=0, dropout=0.0, dtype="float32")
  made = models.scratch_config(spec, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  encoder = models.build(made, spec)
  tiny = Embedder(encoder, encoder.init(jax.random.key(0)), made, spec, tokenizer, {"query": "", "document": ""}, 160)
  save.write(tiny, tmp_path / "tiny")
  page = (ROOT / "docs" / "data.md").read_text("utf-8").split("## Distillation")[1].split("\n## ")[0]
  config = page.split("```python\n")[1].split("```")[0]
  commands = [" ".join(re.findall(rf"    (python -m {name} .*)\n", page)) for name in ("mtc.embed", "mtc.main")]
  assert '"mtc-mini"' in config  # whose twelve layers take minutes here
  (tmp_path / "distill.py").write_text(config.replace("mtc-mini", str(tmp_path / "tiny")))
  names = {
    "TEACHER": tmp_path / "tiny",
    "configs/distill.py": tmp_path / "distill.py",
    "DIR": folder,
    "runs/small": tmp_path / "run",
  }
  short = ["--config.steps=4", "--config.input=threads", f"--config.cache_dir={tmp_path / 'cache'}"]
  env = dict(os.environ, JAX_NUM_CPU_DEVICES="1", MTC_TRACEBACK="")
  for command in commands:
    for name, value in names.items():
      command = command.replace(name, str(value))
    parts = [sys.executable, *command.split()[1:], *(short if "mtc.main" in command else [])]
    done = subprocess.run(parts, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
  assert np.load(folder / "posts" / "train.npy").shape[0] == 700
  metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert metrics and all(np.isfinite(value) for line in metrics for value in line.values())
  assert mtc.load(tmp_path / "run" / "export").width == 50
