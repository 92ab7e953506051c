"""Sources and kinds take lists of files and fields, and paths; what they cannot take is reported in words."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtc.config import Corpus, Evaluation, Experiment, Pretraining, Task, differences, to_dict
from mtc.data import (
  Beir,
  Crops,
  Folder,
  InMemory,
  Jsonl,
  Pairs,
  Parquet,
  SameLabel,
  Scored,
  Text,
  Tfds,
  Translations,
  Vectors,
  prepare,
)
from mtc.evaluators import Retrieval

WRONG = [
  (lambda: Jsonl(None), "path=None of Jsonl is a NoneType, expected a string"),
  (lambda: Jsonl(["a"]), r"path=\['a'\] of Jsonl is a list, expected a string"),
  (
    lambda: Jsonl("a", "a.jsonl"),
    "files='a.jsonl' of Jsonl is a str, expected a dict of strings, each with a string or",
  ),
  (lambda: Jsonl("a", ["a.jsonl"]), r"files=\['a.jsonl'\] of Jsonl is a list, expected a dict"),
  (lambda: Jsonl("a", None), "files=None of Jsonl is a NoneType, expected a dict"),
  (lambda: Jsonl("a", {"train": 5}), "files.train=5 of Jsonl is an int, expected a string or a list of strings"),
  (lambda: Parquet("a", {"train": ["a", 5]}), r"files.train\[1\]=5 of Parquet is an int, expected a string"),
  (lambda: Parquet("a", {5: "a"}), "a key of files=5 of Parquet is an int, expected a string"),
  (lambda: Beir(5), "path=5 of Beir is an int, expected a string"),
  (lambda: Text(b"a"), "path=b'a' of Text is a bytes, expected a string"),
  (lambda: Text("a", language=None), "language=None of Text is a NoneType, expected a string"),
  (lambda: Tfds(5), "name=5 of Tfds is an int, expected a string"),
  (lambda: Tfds("a", train=["train"]), r"train=\['train'\] of Tfds is a list, expected a string"),
  (lambda: Folder(None), "name=None of Folder is a NoneType, expected a string"),
  (lambda: InMemory([{"a": 1}]), r"rows_by_split=\[{'a': 1}\] of InMemory is a list, expected a dict"),
  (lambda: InMemory(None), "rows_by_split=None of InMemory is a NoneType, expected a dict"),
  (lambda: InMemory({"train": {"a": 1}}), r"rows_by_split\['train'\] of InMemory is a dict; use a list of dicts"),
  (lambda: InMemory({"train": iter([])}), "of InMemory is a list_iterator; use a list of dicts, which is list"),
  (lambda: Vectors(5), "texts=5 of Vectors is an int, expected a string"),
  (lambda: Pairs(anchor=None), "anchor=None of Pairs is a NoneType, expected a string"),
  (lambda: Pairs(negatives=5), "negatives=5 of Pairs is an int, expected a string or a list of strings"),
  (lambda: Pairs(negatives=["a", 5]), r"negatives\[1\]=5 of Pairs is an int, expected a string"),
  (lambda: Pairs(negatives={"a"}), "negatives={'a'} of Pairs is a set, expected a string or a list of strings"),
  (lambda: Pairs(negatives=["a", ""]), r"negatives=\['a', ''\] of Pairs has an empty name, or one twice"),
  (lambda: Pairs(negatives=["a", "a"]), r"negatives=\['a', 'a'\] of Pairs has an empty name, or one twice"),
  (lambda: Pairs(max_negatives="3"), "max_negatives='3' of Pairs is a str, expected a whole number"),
  (lambda: Pairs(max_negatives=2.0), "max_negatives=2.0 of Pairs is a float, expected a whole number"),
  (lambda: Pairs(max_negatives=True), "max_negatives=True of Pairs is a bool, expected a whole number"),
  (lambda: Pairs(max_negatives=-1), "max_negatives=-1 of Pairs is negative; 0 takes all"),
  (lambda: SameLabel(labels=None), "labels=None of SameLabel is a NoneType, expected a string"),
  (lambda: SameLabel(text=["a"]), r"text=\['a'\] of SameLabel is a list, expected a string"),
  (lambda: Crops(share="0.6"), "share='0.6' of Crops is a str, expected a number"),
  (lambda: Crops(least=None), "least=None of Crops is a NoneType, expected a whole number"),
  (lambda: Scored(range="0,5"), "range='0,5' of Scored is a str, expected 2 numbers"),
  (lambda: Scored(range=5), "range=5 of Scored is an int, expected 2 numbers"),
  (lambda: Scored(range=(0, 1, 2)), r"range=\(0, 1, 2\) of Scored is a tuple, expected 2 numbers"),
  (lambda: Scored(range=(0, "5")), r"range\[1\]='5' of Scored is a str, expected a number"),
  (lambda: Scored(range=(0, float("inf"))), r"range=\(0, inf\) of Scored is empty"),
  (lambda: Translations(id=5), "id=5 of Translations is an int, expected a string"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_field_of_another_type_is_refused_in_words(make, message):
  with pytest.raises(ValueError, match=message):
    make()


ROWS = InMemory({"train": []})


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: Experiment(tasks={"a": Task("a.jsonl")}), "tasks.a.source='a.jsonl' is a str, expected a Source"),
    (
      lambda: Experiment(tasks={"a": Task(Jsonl)}),
      r"tasks.a.source=<.*Jsonl'> is a type, expected a Source; write Jsonl",
    ),
    (
      lambda: Experiment(tasks={"a": Task(ROWS, SameLabel)}),
      r"tasks.a.examples=.* is a type, .* write SameLabel\(\.\.\.\)",
    ),
    (lambda: Experiment(tasks={"a": Task(ROWS, None)}), "tasks.a.examples=None is a NoneType, expected a Kind"),
    (
      lambda: Experiment(tasks={"a": Task(ROWS, batch_size="64")}),
      "tasks.a.batch_size='64' is a str, expected a whole",
    ),
    (lambda: Experiment(tasks={"a": ROWS}), r"tasks.a=InMemory\(.* of Experiment is an InMemory, expected a Task"),
    (
      lambda: Experiment(
        tasks={"a": Task(ROWS)}, evaluations={"b": Evaluation(ROWS, Pairs(), Retrieval(), reference=None)}
      ),
      "evaluations.b.reference=None is a NoneType, expected a string",
    ),
    (lambda: Pretraining(corpora={"a": Corpus("a.txt")}), "corpora.a.source='a.txt' is a str, expected a Source"),
    (
      lambda: Experiment(tasks={"a": Task(ROWS)}, data_dir=None),
      "data_dir=None of Experiment is a NoneType, expected a",
    ),
  ],
)
def test_a_config_with_another_type_is_refused_in_words(make, message):
  with pytest.raises(ValueError, match=message):
    make().validate()


@pytest.mark.parametrize("field", ["tasks", "evaluations", "corpora"])
def test_a_field_that_is_set_later_is_checked_with_the_config(field):
  kind = Pairs()
  kind.max_negatives = -1  # as the command line does
  if field == "corpora":
    config, owner = Pretraining(corpora={"a": Corpus(ROWS, kind)}), "corpus 'a'"
  elif field == "tasks":
    config, owner = Experiment(tasks={"a": Task(ROWS, kind)}), "task 'a'"
  else:
    evaluations = {"a": Evaluation(ROWS, kind, Retrieval())}
    config, owner = Experiment(tasks={"a": Task(ROWS)}, evaluations=evaluations), "evaluation 'a'"
  with pytest.raises(ValueError, match=f"{owner}: max_negatives=-1 of Pairs is negative"):
    config.validate()


def test_paths_are_strings(tmp_path):
  made = [
    Jsonl(tmp_path),
    Parquet(tmp_path),
    Beir(tmp_path),
    Text(tmp_path),
    Folder(Path("a")),
    Tfds(tmp_path, tmp_path),
  ]
  made += [
    Vectors(tmp_path / "a.jsonl", npy=tmp_path / "a.npy"),
    Jsonl(tmp_path, {"train": [Path("a.jsonl"), "b.jsonl"]}),
  ]
  assert made[0] == Jsonl(str(tmp_path)) and made[-1].files == {"train": ("a.jsonl", "b.jsonl")}
  config = Experiment(tasks={"a": Task(made[0])}, data_dir=tmp_path, cache_dir=tmp_path)
  config.model.pretrained = "mtc-mini"
  config.validate()
  assert str(tmp_path) in json.dumps(to_dict([*made, config]))


def write(folder, **files):
  for name, words in files.items():
    rows = [{"anchor": word, "positive": f"{word} x"} for word in words.split()]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def anchors(source, split="train"):
  return [row["anchor"] for _, row in source.rows(split)]


def test_a_list_of_files_is_read_in_its_order(tmp_path):
  write(tmp_path, a="1 2", b="3", c1="4", c2="5", d="6")
  source = Jsonl(
    tmp_path, {"train": ["b.jsonl", "a.jsonl", "c*.jsonl"], "test": "d.jsonl", "dev": (str(tmp_path / "d.jsonl"),)}
  )
  assert anchors(source) == ["3", "1", "2", "4", "5"]
  assert [file.name for file in source.files_of("train")] == ["b.jsonl", "a.jsonl", "c1.jsonl", "c2.jsonl"]
  assert anchors(source, "test") == anchors(source, "dev") == ["6"]
  assert [place.split("/")[-1] for place, _ in source.rows("train")][:2] == ["b.jsonl:1", "a.jsonl:1"]


def test_parquet_takes_lists_too(tmp_path):
  import pyarrow as pa
  from pyarrow import parquet

  for name in "ab":
    parquet.write_table(pa.table({"anchor": [name]}), tmp_path / f"{name}.parquet")
  assert anchors(Parquet(tmp_path, {"train": ["b.parquet", "a.parquet"]})) == ["b", "a"]


def test_the_fingerprint_of_a_list_is_of_content_and_order(tmp_path):
  write(tmp_path, a="1 2", b="3")
  one, other = Jsonl(tmp_path, {"train": ["a.jsonl", "b.jsonl"]}), Jsonl(tmp_path, {"train": ["b.jsonl", "a.jsonl"]})
  first = one.fingerprint("train")
  assert first == Jsonl(tmp_path, {"train": "*.jsonl"}).fingerprint("train")  # the same files in the same order
  assert first != other.fingerprint("train")
  write(tmp_path, b="4")
  assert first != one.fingerprint("train")


@pytest.mark.parametrize("folder", ["runs [v1]", "a*b", "q?", "[!a]"])
def test_a_folder_that_looks_like_a_pattern_is_none(tmp_path, folder):
  (tmp_path / folder).mkdir()
  write(tmp_path / folder, part1="1", part2="2")
  write(tmp_path / folder, **{"part[1]": "3"})
  source = Jsonl(tmp_path / folder, {"train": "part?.jsonl", "test": ["part[1].jsonl", "part2.jsonl"]})
  assert anchors(source) == ["1", "2"] and anchors(source, "test") == ["3", "2"]


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (["a.jsonl", "x.jsonl"], r"x\.jsonl does not exist; there is a\.jsonl, b\.jsonl, sub; correct files\['train'\]"),
    (["a.jsonl", "./a.jsonl"], r"a\.jsonl is in files\['train'\] twice: .*; name each file once"),
    (["*.jsonl", "b.jsonl"], r"b\.jsonl is in files\['train'\] twice"),
    ([], r"files\['train'\]=\(\) of .* names no file; use a name, a glob, or a list of them"),
    (["sub"], r"sub in files\['train'\] is a directory; name a file, or a pattern such as 'sub/\*'"),
    (["a.jsonl", ""], r"files\['train'\]=\('a.jsonl', ''\) of .* names no file"),
  ],
)
def test_a_list_of_files_that_cannot_be_read(tmp_path, names, message):
  write(tmp_path, a="1", b="2")
  (tmp_path / "sub").mkdir()
  source = Jsonl(tmp_path, {"train": names})
  for ask in (source.fingerprint, source.files_of, lambda split: anchors(source, split)):
    with pytest.raises((ValueError, OSError), match=message):
      ask("train")


NEGATIVES = [
  {"anchor": "soup", "positive": "bread", "negative_1": "moon", "negative_2": ["orbit", "planet"]},
  {"anchor": "goal", "positive": "match", "negative_2": "judge"},
  {"anchor": "song", "positive": "band", "negative_1": None},
]


@pytest.mark.parametrize(
  ("names", "most", "expected"),
  [
    (["negative_1", "negative_2"], 0, [["moon", "orbit", "planet"], ["judge"], []]),
    (("negative_2", "negative_1"), 0, [["orbit", "planet", "moon"], ["judge"], []]),
    (["negative_1", "negative_2"], 2, [["moon", "orbit"], ["judge"], []]),
    (["negative_1", "negative_2"], 1, [["moon"], ["judge"], []]),
    (["negative_2"], 0, [["orbit", "planet"], ["judge"], []]),
    ("negative_2", 1, [["orbit"], ["judge"], []]),
    ([], 0, [[], [], []]),
  ],
)
def test_negatives_of_several_fields(names, most, expected):
  kind = Pairs(negatives=names, max_negatives=most)
  assert [kind.parse("here", row)["negatives"] for row in NEGATIVES] == expected


def test_negatives_of_several_fields_are_prepared(tokenizer, tmp_path):
  def make(kind):
    options = {"max_length": 16, "prompts": {}, "cache_dir": tmp_path, "progress": False}
    return prepare(InMemory({"train": NEGATIVES}), "train", kind, tokenizer, **options)

  made = make(Pairs(negatives=["negative_1", "negative_2"]))
  np.testing.assert_array_equal((made.negatives >= 0).sum(1), [3, 1, 0])
  again = make(Pairs(negatives=("negative_2", "negative_1")))
  assert again.report["fingerprint"] != made.report["fingerprint"]
  with pytest.raises(ValueError, match="has negatives in the field 'negative_3'; correct the name, or leave it out"):
    make(Pairs(negatives=["negative_1", "negative_3", "negative_2"]))
  with pytest.raises(ValueError, match="has negatives in the field 'none'; correct the name, or use negatives"):
    make(Pairs(negatives="none"))


CONFIG = """
from mtc.config import Experiment, Task
from mtc.data import Jsonl, Pairs


def get_config():
  source = Jsonl("data", files={"train": ["a.jsonl", "b.jsonl"], "test": "t.jsonl"})
  return Experiment(tasks={"a": Task(source, Pairs(negatives=["n1", "n2"])), "b": Task(source, Pairs(negatives="n"))})
"""


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # which ml_collections calls
@pytest.mark.parametrize(
  ("flags", "changed"),
  [
    ([], []),
    (["tasks.a.examples.negatives=n"], ["tasks.a.examples.negatives: ['n1', 'n2'] -> n"]),
    (["tasks.a.examples.negatives="], ["tasks.a.examples.negatives: ['n1', 'n2'] -> "]),
    (["tasks.b.examples.negatives=('x', 'y')"], ["tasks.b.examples.negatives: n -> ['x', 'y']"]),
    (['tasks.b.examples.negatives=["x"]'], ["tasks.b.examples.negatives: n -> ['x']"]),
    (["tasks.a.source.files.test=u.jsonl"], ["tasks.*.source.files.test: t.jsonl -> u.jsonl"]),
    (
      ["tasks.a.source.files.train=('c.jsonl', 'd.jsonl')"],
      ["tasks.*.source.files.train: ['a.jsonl', 'b.jsonl'] -> ['c.jsonl', 'd.jsonl']"],
    ),
    (["tasks.a.source.path=elsewhere"], ["tasks.*.source.path: data -> elsewhere"]),
  ],
)
def test_flags_and_config_json_take_lists(tmp_path, flags, changed):
  import hostile_inputs

  (tmp_path / "c.py").write_text(CONFIG)
  read = lambda flags: hostile_inputs.overridden(*(f"--config.{flag}" for flag in flags), config="c.py")(tmp_path)
  old = json.loads(json.dumps(to_dict(read([]))))
  found = differences(old, json.loads(json.dumps(to_dict(read(flags)))))
  both = [line.replace("*", task) for line in changed for task in ("a", "b")]  # they share the source
  assert found == list(dict.fromkeys(both))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("tasks.a.examples.negatives=('x',", "is not a list of names"),
    ("tasks.a.examples.negatives=(1, 2)", "tasks.a.examples.negatives[0]=1 is an int, expected a string"),
    (
      "tasks.a.examples.negatives=('x', 'x')",
      "task 'a': negatives=('x', 'x') of Pairs has an empty name, or one twice",
    ),
    ("tasks.a.examples.max_negatives=-1", "task 'a': max_negatives=-1 of Pairs is negative"),
    ("tasks.a.examples.max_negatives=many", "many"),
  ],
)
def test_flags_that_cannot_be_right_end_with_code_2(tmp_path, capfd, flag, words):
  import hostile_inputs

  (tmp_path / "c.py").write_text(CONFIG)
  with pytest.raises(SystemExit) as caught:
    hostile_inputs.overridden(f"--config.{flag}", config="c.py")(tmp_path)
  said = capfd.readouterr().err
  assert caught.value.code == 2 and words in said and "Traceback" not in said
