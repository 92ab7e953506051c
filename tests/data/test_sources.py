"""Every source reads the same rows, names places, notices changes, and says what is missing."""

import gzip
import json
from pathlib import Path
import shutil

import numpy as np
import pytest

from mtc.data import network, sources

ROWS = [
  {"text": "Ein Café öffnet\u2028früh", "labels": ["food", "city"], "language": "de"},
  {"text": "東京の朝", "labels": ["city"], "language": "ja"},
  {"text": "rates rise", "labels": ["money"], "language": "en"},
]


def write_jsonl(path: Path, rows, opener=open, newline="\n", bom=b"") -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  with opener(path, "wb") as file:
    file.write(bom + b"".join((json.dumps(row, ensure_ascii=False) + newline).encode() for row in rows))
  return path


def write_parquet(path: Path, rows) -> Path:
  import pyarrow as pa
  from pyarrow import parquet

  path.parent.mkdir(parents=True, exist_ok=True)
  parquet.write_table(pa.Table.from_pylist(rows), path)
  return path


def write_beir(path: Path, opener=open, end="") -> Path:
  corpus = [
    {"_id": "d0", "title": "Rain", "text": "It rains.", "language": "en"},
    {"_id": "d1", "title": "", "text": "Es schneit.", "language": "de"},
    {"_id": "d2", "text": "It is hot."},
  ]
  queries = [{"_id": "q0", "text": "what falls?", "language": "en"}, {"_id": "q1", "text": "hot?", "language": "en"}]
  write_jsonl(path / f"corpus.jsonl{end}", corpus, opener)
  write_jsonl(path / f"queries.jsonl{end}", queries, opener)
  (path / "qrels").mkdir()
  with opener(path / f"qrels/test.tsv{end}", "wb") as file:
    file.write(b"query-id\tcorpus-id\tscore\nq0\td1\t2\nq0\td0\t1\r\nq1\td0\t0\n\nq1\td2\t1\n")
  return path


def rows_of(source, split):
  return [row for _, row in source.rows(split)]


@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("train.jsonl", {}),
    ("train.jsonl.gz", {"opener": gzip.open}),
    ("train.jsonl", {"newline": "\r\n"}),
    ("train.jsonl", {"newline": "\n\n \n"}),
    ("train.jsonl", {"bom": b"\xef\xbb\xbf"}),
  ],
)
def test_jsonl_in_all_its_forms(tmp_path, name, options):
  write_jsonl(tmp_path / name, ROWS, **options)
  source = sources.Jsonl(str(tmp_path))
  assert rows_of(source, "train") == ROWS
  assert source.splits() == ["train"]


def test_jsonl_names_file_and_line(tmp_path):
  path = write_jsonl(tmp_path / "train.jsonl", ROWS)
  assert [place for place, _ in sources.Jsonl(str(tmp_path)).rows("train")] == [f"{path}:{n}" for n in (1, 2, 3)]


def test_shards_and_named_files(tmp_path):
  write_jsonl(tmp_path / "train-00001-of-00002.jsonl", ROWS[2:])
  write_jsonl(tmp_path / "train-00000-of-00002.jsonl", ROWS[:2])
  write_jsonl(tmp_path / "train-extra.jsonl", ROWS[:1])
  source = sources.Jsonl(str(tmp_path))
  assert rows_of(source, "train") == ROWS
  assert source.splits() == ["train", "train-extra"]
  named = sources.Jsonl(str(tmp_path), files={"test": "train-extra.jsonl", "all": "train-0*.jsonl"})
  assert rows_of(named, "test") == ROWS[:1]
  assert rows_of(named, "all") == ROWS
  assert named.splits() == ["test", "all"]


def test_a_split_that_is_there_twice_is_refused(tmp_path):
  write_jsonl(tmp_path / "train.jsonl", ROWS)
  write_jsonl(tmp_path / "train.jsonl.gz", ROWS, gzip.open)
  with pytest.raises(ValueError, match="there twice"):
    rows_of(sources.Jsonl(str(tmp_path)), "train")


@pytest.mark.parametrize("name", ["gs:", "s3:/x", "file:", "[v1]"])
def test_parquet_in_a_relative_directory_of_any_name(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  Path(name).mkdir(parents=True)
  write_parquet(tmp_path / name / "train.parquet", ROWS)
  assert rows_of(sources.Parquet(name), "train") == ROWS


def test_parquet_reads_the_same_rows_and_names_them(tmp_path):
  path = write_parquet(tmp_path / "train.parquet", ROWS)
  source = sources.Parquet(str(tmp_path))
  assert list(source.rows("train")) == [(f"{path}:{number}", row) for number, row in enumerate(ROWS, 1)]
  assert source.splits() == ["train"]
  (tmp_path / "test.parquet").write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ValueError, match=r"test\.parquet: not a readable Parquet file"):
    rows_of(source, "test")


def test_text_is_a_text_a_line_in_the_language_of_its_file(tmp_path):
  (tmp_path / "texts").mkdir()
  de, ja = tmp_path / "texts/de.news.txt", tmp_path / "texts/ja.txt.gz"
  de.write_bytes(b"\xef\xbb\xbf" + " Ein Café\u2028öffnet \r\n\n \nEs schneit".encode())
  with gzip.open(ja, "wb") as file:
    file.write("東京の朝\n".encode())
  (tmp_path / "texts/readme.md").write_text("not a text")
  source = sources.Text("texts").resolve(str(tmp_path))
  assert list(source.rows("train")) == [
    (f"{de}:1", {"text": "Ein Café\u2028öffnet", "language": "de"}),
    (f"{de}:4", {"text": "Es schneit", "language": "de"}),
    (f"{ja}:1", {"text": "東京の朝", "language": "ja"}),
  ]
  assert source.splits() == ["train"]
  assert {row["language"] for row in rows_of(sources.Text(str(tmp_path / "texts"), language="xx"), "train")} == {"xx"}


def test_text_that_cannot_be_read(tmp_path):
  path = tmp_path / "de.txt"
  path.write_bytes(b"eins\nzw\xff\ndrei\n")
  source = sources.Text(str(tmp_path))
  with pytest.raises(sources.BadRow) as caught:
    rows_of(source, "train")
  assert str(caught.value).startswith(f"{path}:2: not UTF-8 (byte 3 of the line); fix the row")
  bad: list[sources.BadRow] = []
  assert [row["text"] for _, row in source.rows("train", bad.append)] == ["eins", "drei"]
  assert [one.reason for one in bad] == ["not UTF-8"]
  for read in (source.fingerprint, lambda split: rows_of(source, split)):
    with pytest.raises(ValueError, match="no split 'test' in the text files of .*; they are the split 'train'"):
      read("test")
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match=r"empty has no \.txt or \.txt\.gz; .*empty is empty; correct the path"):
    rows_of(sources.Text("empty").resolve(str(tmp_path)), "train")
  with pytest.raises(FileNotFoundError, match=r"nowhere has no .*nowhere is not a directory"):
    sources.Text(str(tmp_path / "nowhere")).fingerprint("train")


def test_the_fingerprint_of_text_follows_its_languages(tmp_path):
  # Tokens are kept by the fingerprint, and with them which text is of which language.
  for name in ("a", "b"):
    (tmp_path / f"{name}.txt").write_text(f"{name}\n")
  first = sources.Text(str(tmp_path)).fingerprint("train")
  assert sources.Text(str(tmp_path)).fingerprint("train") == first
  assert sources.Text(str(tmp_path), language="de").fingerprint("train") != first
  (tmp_path / "b.txt").rename(tmp_path / "c.txt")
  renamed = sources.Text(str(tmp_path)).fingerprint("train")
  (tmp_path / "c.txt").write_text("other\n")
  assert len({first, renamed, sources.Text(str(tmp_path)).fingerprint("train")}) == 3


@pytest.mark.parametrize(("opener", "end"), [(open, ""), (gzip.open, ".gz")])
def test_beir_joins_queries_and_documents(tmp_path, opener, end):
  source = sources.Beir(str(write_beir(tmp_path, opener, end)))
  assert source.splits() == ["test", "corpus"]
  place, first = next(iter(source.rows("test")))
  assert place == f"{tmp_path}/qrels/test.tsv{end}:2"
  assert first == {
    "anchor": "what falls?",
    "positive": "Es schneit.",
    "anchor_id": "q0",
    "positive_id": "d1",
    "score": 2.0,
    "language": "en",
  }
  # Grade 0 is no pair.
  pairs = [(row["anchor_id"], row["positive_id"]) for row in rows_of(source, "test")]
  assert pairs == [("q0", "d1"), ("q0", "d0"), ("q1", "d2")]
  assert rows_of(source, "corpus") == [
    {"id": "d0", "text": "Rain It rains.", "language": "en"},
    {"id": "d1", "text": "Es schneit.", "language": "de"},
    {"id": "d2", "text": "It is hot.", "language": ""},
  ]


@pytest.mark.parametrize(
  ("file", "line", "place", "reason"),
  [
    ("qrels/test.tsv", "q9\td0\t1", "qrels/test.tsv:7", "an id is not in queries.jsonl"),
    ("qrels/test.tsv", "q0\td9\t1", "qrels/test.tsv:7", "an id is not in corpus.jsonl"),
    ("qrels/test.tsv", "q0 d0 1", "qrels/test.tsv:7", "not three columns separated by tabs, and not the four of TREC"),
    ("qrels/test.tsv", "q0\td0\tyes", "qrels/test.tsv:7", "the grade is not a number"),
    ("qrels/test.tsv", "q0\td0\tnan", "qrels/test.tsv:7", "the grade is not a number"),
    ("corpus.jsonl", '{"_id": "d3", "text"', "corpus.jsonl:4", "broken JSON"),
    ("corpus.jsonl", '{"_id": "d0", "text": "again"}', "corpus.jsonl:4", "the '_id' is there twice"),
    ("corpus.jsonl", '{"_id": "d3", "title": " ", "text": " "}', "corpus.jsonl:4", "field 'text' is empty"),
    ("corpus.jsonl", '{"_id": "d3"}', "corpus.jsonl:4", "field 'text' is missing"),
    ("queries.jsonl", '{"text": "no id"}', "queries.jsonl:3", "field '_id' is missing"),
  ],
)
def test_bad_rows_of_beir_are_named_and_can_be_skipped(tmp_path, file, line, place, reason):
  source = sources.Beir(str(write_beir(tmp_path)))
  whole = rows_of(source, "test")
  with open(tmp_path / file, "a") as stream:
    stream.write(line + "\n")
  with pytest.raises(sources.BadRow) as caught:
    rows_of(source, "test")
  assert caught.value.place == f"{tmp_path}/{place}"
  assert caught.value.reason == reason
  bad: list[sources.BadRow] = []
  assert [row for _, row in source.rows("test", bad.append)] == whole
  assert [one.reason for one in bad] == [reason]


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    (b'{"text": "cut', "broken JSON"),
    (b"[1, 2]", "not an object"),
    (b'{"text": "\xff"}', "not UTF-8"),
    (b"[" * 100_000, "broken JSON"),
  ],
)
def test_lines_that_are_no_rows(tmp_path, line, reason):
  path = tmp_path / "train.jsonl"
  path.write_bytes(b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
  source = sources.Jsonl(str(tmp_path))
  with pytest.raises(sources.BadRow) as caught:
    rows_of(source, "train")
  assert str(caught.value).startswith(f"{path}:2: {reason} (")
  assert 'on_bad_row="skip"' in str(caught.value)
  bad: list[sources.BadRow] = []
  assert [row["text"] for _, row in source.rows("train", bad.append)] == ["a", "b"]
  assert [one.reason for one in bad] == [reason]


def test_a_gzip_file_that_was_cut_is_an_error(tmp_path):
  path = write_jsonl(tmp_path / "train.jsonl.gz", ROWS, gzip.open)
  path.write_bytes(path.read_bytes()[:-12])
  with pytest.raises(ValueError, match=r"train\.jsonl\.gz: not a whole gzip file"):
    rows_of(sources.Jsonl(str(tmp_path)), "train")


def test_in_memory():
  source = sources.InMemory({"train": ROWS})
  assert rows_of(source, "train") == ROWS
  assert source.splits() == ["train"]
  with pytest.raises(ValueError, match="no split 'test' in memory; there is train"):
    rows_of(source, "test")
  with pytest.raises(sources.BadRow, match=r"InMemory\['train'\]:1: not an object"):
    rows_of(sources.InMemory({"train": ["text"]}), "train")  # type: ignore


def test_the_fingerprint_follows_the_content(tmp_path):
  jsonl = write_jsonl(tmp_path / "jsonl/train.jsonl", ROWS)
  parquet = write_parquet(tmp_path / "parquet/train.parquet", ROWS)
  beir = write_beir(tmp_path / "beir")
  memory = sources.InMemory({"train": [dict(row) for row in ROWS]})
  found = [sources.Jsonl(str(jsonl.parent)), sources.Parquet(str(parquet.parent)), memory]
  before = [source.fingerprint("train") for source in found]
  assert before == [source.fingerprint("train") for source in found]
  write_jsonl(jsonl, [*ROWS[:2], {**ROWS[2], "text": "rates fall"}])
  write_parquet(parquet, ROWS[:2])
  memory.rows_by_split["train"][0]["text"] = "other"
  assert all(old != source.fingerprint("train") for old, source in zip(before, found, strict=True))

  source = sources.Beir(str(beir))
  pairs, corpus = source.fingerprint("test"), source.fingerprint("corpus")
  with open(beir / "qrels/test.tsv", "a") as stream:
    stream.write("q1\td1\t1\n")
  assert source.fingerprint("test") != pairs
  assert source.fingerprint("corpus") == corpus


def test_folder_finds_what_is_there(tmp_path):
  write_jsonl(tmp_path / "lines/train.jsonl.gz", ROWS, gzip.open)
  write_jsonl(tmp_path / "lines/test_unseen_tags.jsonl", ROWS)
  write_parquet(tmp_path / "columns/train.parquet", ROWS)
  write_beir(tmp_path / "search")
  found = {name: sources.Folder(name).resolve(str(tmp_path)) for name in ("lines", "columns", "search")}
  assert found == {
    "lines": sources.Jsonl(str(tmp_path / "lines")),
    "columns": sources.Parquet(str(tmp_path / "columns")),
    "search": sources.Beir(str(tmp_path / "search")),
  }
  assert found["lines"].splits() == ["test_unseen_tags", "train"]
  assert rows_of(found["lines"], "test_unseen_tags") == ROWS


def test_what_is_missing_is_named_with_what_is_there(tmp_path):
  write_jsonl(tmp_path / "interest/train.jsonl", ROWS)
  (tmp_path / "empty").mkdir()
  write_beir(tmp_path / "search")
  with pytest.raises(FileNotFoundError, match=r"storyline does not exist; there is empty, interest, search; make the"):
    sources.Folder("storyline").resolve(str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"nowhere/interest does not exist; .*nowhere is not a directory"):
    sources.Folder("interest").resolve(str(tmp_path / "nowhere"))
  with pytest.raises(FileNotFoundError, match=r"empty holds no data; .*empty is empty; it needs SPLIT\.jsonl"):
    sources.Folder("empty").resolve(str(tmp_path))
  interest = sources.Folder("interest").resolve(str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"interest/test\.jsonl does not exist; there is train\.jsonl"):
    rows_of(interest, "test")
  with pytest.raises(FileNotFoundError, match=r"interest/test\.jsonl does not exist"):
    interest.fingerprint("test")
  with pytest.raises(FileNotFoundError, match=r"qrels/train\.tsv does not exist; there is test\.tsv"):
    rows_of(sources.Folder("search").resolve(str(tmp_path)), "train")
  with pytest.raises(ValueError, match=r"no split 'test' in files="):
    rows_of(sources.Jsonl(str(tmp_path), files={"train": "interest/train.jsonl"}), "test")
  with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl does not exist; there is empty, interest, search"):
    rows_of(sources.Jsonl(str(tmp_path), files={"train": "nothing.jsonl"}), "train")


@pytest.mark.parametrize("name", ["[v1]", "a*", "?", "**", "[!a]", "{x,y}", "new\nline", "caf\udce9"])
def test_only_the_name_in_files_is_a_pattern(tmp_path, name):
  folder, beside = tmp_path / name, tmp_path / "v"
  for directory, word in (folder, "right"), (folder / "[x]", "inner"), (beside, "wrong"):
    directory.mkdir(parents=True)
    for part in (0, 1):
      (directory / f"part-{part}.jsonl").write_text(json.dumps({"text": word}) + "\n")
  named = {"train": "part-*.jsonl", "one": "part-[1].jsonl", "inner": "[x]/part-?.jsonl", "all": "*/part-0.jsonl"}
  source = sources.Jsonl(str(folder), files=named | {"absolute": f"{folder}/part-*.jsonl"})
  texts = {split: [row["text"] for row in rows_of(source, split)] for split in source.splits()}
  assert texts == {
    "train": ["right", "right"],
    "one": ["right"],
    "inner": ["inner", "inner"],
    "all": ["inner"],
    "absolute": ["right", "right"],
  }
  assert source.files_of("train") == [folder / "part-0.jsonl", folder / "part-1.jsonl"]
  with pytest.raises(FileNotFoundError, match=r"none-\*\.jsonl does not exist; there is .*; correct files\['train'\]"):
    sources.Jsonl(str(folder), files={"train": "none-*.jsonl"}).files_of("train")


@pytest.fixture(scope="module")
def local_tfds(tmp_path_factory):
  import tensorflow_datasets as tfds

  class TinyPosts(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    MODULE_PATH = __file__

    def _info(self):
      features = tfds.features.FeaturesDict(
        {
          "text": tfds.features.Text(),
          "labels": tfds.features.Sequence(tfds.features.Text()),
          "score": np.float32,
        }
      )
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples(20), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
      for index in range(count):
        yield index, {"text": f"Überschrift {index}", "labels": [f"l{index % 3}", "all"], "score": 0.5}

  data_dir = tmp_path_factory.mktemp("tfds")
  builder = TinyPosts(data_dir=str(data_dir), file_format="array_record")
  builder.download_and_prepare()
  return builder


def test_tfds_by_name_by_directory_and_by_part(local_tfds):
  root = str(Path(local_tfds.data_dir).parents[1])
  by_name = sources.Tfds("tiny_posts", data_dir=root, validation="train[:10%]")
  rows = rows_of(by_name, "train")
  assert sorted(row["text"] for row in rows) == sorted(f"Überschrift {index}" for index in range(20))
  assert {type(row["score"]) for row in rows} == {float}
  assert {tuple(row["labels"])[1] for row in rows} == {"all"}
  assert next(iter(by_name.rows("train")))[0] == "tiny_posts/train:1"
  assert rows_of(by_name, "validation") == rows[:2]
  assert rows_of(by_name, "train[5:7]") == rows[5:7]
  assert by_name.splits() == ["train", "validation", "test"]
  by_directory = sources.Folder(Path(local_tfds.data_dir).name).resolve(str(Path(local_tfds.data_dir).parent))
  assert rows_of(by_directory, "train") == rows
  assert by_name.fingerprint("train") != by_name.fingerprint("test")
  assert by_name.fingerprint("train") != by_name.fingerprint("validation")
  assert by_name.fingerprint("train") == by_directory.fingerprint("train")
  with pytest.raises(ValueError, match=r"has no split 'dev'; it has .*train.*train\[:10%\]"):
    rows_of(by_name, "dev")


@pytest.mark.parametrize("name", ["[v1]", "a[0:5]", "a**b", "x@4 ?"])
def test_tfds_in_a_directory_of_any_name(local_tfds, tmp_path, name):
  root = Path(local_tfds.data_dir).parents[1]
  copy = shutil.copytree(root, tmp_path / name / "all")
  rows = rows_of(sources.Tfds("tiny_posts", data_dir=str(root)), "train")
  by_name = sources.Tfds("tiny_posts", data_dir=str(copy))
  by_directory = sources.Tfds(str(copy / Path(local_tfds.data_dir).relative_to(root)))
  for source in (by_name, by_directory):
    assert rows_of(source, "train") == rows and rows_of(source, "train[5:7]") == rows[5:7]
    assert all(file.is_relative_to(copy) and file.is_file() for file in source.files_of("train"))


def test_tfds_without_the_network_fails_at_once(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(network, "reachable", lambda url: asked.append(url))
  with pytest.raises(FileNotFoundError, match=r"'ag_news_subset' is not prepared under .*no network to download it"):
    rows_of(sources.Tfds("ag_news_subset", data_dir=str(tmp_path)), "train")
  assert len(asked) == 1
  with pytest.raises(ValueError, match=r"TFDS has no dataset 'ag_new_subset' \(close: ag_news_subset"):
    rows_of(sources.Tfds("ag_new_subset", data_dir=str(tmp_path)), "train")


def test_tfds_stored_as_parquet_is_refused(local_tfds, tmp_path):
  builder = type(local_tfds)(data_dir=str(tmp_path), file_format="parquet")
  builder.download_and_prepare()
  with pytest.raises(ValueError, match=r"stored as parquet, which TFDS reads incompletely"):
    rows_of(sources.Tfds(str(builder.data_dir)), "train")


@pytest.mark.slow  # TensorFlow takes 10 s to import
def test_tfds_stored_as_tfrecord_is_read_through_tensorflow(local_tfds, tmp_path):
  builder = type(local_tfds)(data_dir=str(tmp_path), file_format="tfrecord")
  builder.download_and_prepare()
  rows = rows_of(sources.Tfds(str(builder.data_dir)), "train")
  assert rows == rows_of(sources.Tfds(str(local_tfds.data_dir)), "train")
  copy = shutil.copytree(builder.data_dir, tmp_path / "[v1]*" / "a")
  assert rows_of(sources.Tfds(str(copy)), "train[5:7]") == rows[5:7]


def test_bytes_that_are_no_text_become_a_bad_row():
  from mtc.data import examples, fields

  row = fields.all_plain({"text": b"\xff!", "labels": np.array([b"a"], object)})
  assert row["labels"] == ["a"]
  with pytest.raises(sources.BadRow, match=r"field 'text' is not UTF-8 \(got b'\\xff!', a bytes\)"):
    examples.SameLabel().parse("here", row)


def test_reachable_says_no_quickly():
  assert not network.reachable("http://127.0.0.1:9/", seconds=2.0)
