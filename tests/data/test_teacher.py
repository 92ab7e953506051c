"""A teacher's vectors find their texts, in every kind of task, and what does not fit is said."""

import json

import numpy as np
import pytest

from mtc.data import InMemory, Packer, Pairs, SameLabel, Sampler, Teacher, Vectors, prepare

TEXTS = ["rain", "sun snow", "wind", "fog", "ice", "cloud", "of no task"]
PAIRS = [
  {"anchor": "rain", "positive": "sun snow", "negatives": ["wind", "fog"]},
  {"anchor": "ice", "positive": "rain"},
  {"anchor": "rain", "positive": "cloud", "negatives": ["sun snow"]},
]


@pytest.fixture
def vectors(tmp_path):
  """A function that writes texts and vectors of them, 5 dimensions each, and says where they are."""

  def write(texts=TEXTS, name="posts", seed=0, dtype=np.float32, **changes):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / f"{name}.jsonl").write_text(lines, "utf-8")
    table = np.random.default_rng(seed).normal(size=(len(texts), 5)).astype(dtype)
    np.save(tmp_path / f"{name}.npy", changes.get("table", table))
    return Vectors(f"{name}.jsonl").resolve(str(tmp_path)), table

  return write


@pytest.fixture
def make(tokenizer, tmp_path):
  def make(rows, kind, files, dim=0):
    options = {"max_length": 16, "prompts": {}, "cache_dir": tmp_path / "cache", "progress": False}
    return prepare(InMemory({"train": rows}), "train", kind, tokenizer, **options, teacher=Teacher(files, dim))

  return make


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f2", ">f4", ">f8"])
def test_a_vector_belongs_to_its_text_by_hand(make, vectors, dtype):
  first, a = vectors(TEXTS[:3], "queries", 1, dtype)
  second, b = vectors(TEXTS[2:], "corpus", 2, dtype)  # "wind" is there twice: its first vector counts
  teacher = make(PAIRS, Pairs(negatives="negatives"), [first, second]).teacher
  assert teacher is not None
  # The texts of the task, in the order of their first use: rain, sun snow, wind, fog, ice, cloud.
  expected = unit(np.concatenate([a, b[1:4]]).astype(np.float32))
  np.testing.assert_allclose(teacher(np.arange(6)), expected, rtol=1e-6)
  np.testing.assert_array_equal(teacher(np.array([[1, -1]]))[0, 1], np.zeros(5))
  assert teacher(np.array([[1, -1]])).dtype == np.float32


@pytest.mark.parametrize("devices", [1, 4])
def test_a_step_brings_the_vectors_of_its_texts(make, vectors, devices):
  file, table = vectors()
  kind = Pairs(negatives="negatives")
  tasks = {"taught": make(PAIRS, kind, [file]), "alone": make(PAIRS, kind, [file])._replace(teacher=None)}
  sampler = Sampler(tasks, {"taught": 3, "alone": 2}, seed=0)
  packer = Packer(tasks, sampler, devices)
  step = packer.step(0)
  assert step.tasks["alone"].teacher is None
  batch, flat = step.tasks["taught"], lambda x: x.reshape(-1, *x.shape[2:])
  assert batch.teacher is not None and batch.teacher.shape == (*batch.anchor.shape, 4, 5)
  draw = sampler.draw("taught", 0)
  found = {}
  for row in np.flatnonzero(flat(batch.weight)):  # the keys of a row tell which one it is
    found[tuple(flat(batch.keys)[row])] = flat(batch.teacher)[row]
  np.testing.assert_array_equal(flat(batch.teacher)[flat(batch.weight) == 0], 0)
  by_text = unit(table)[:6]
  for i in range(3):
    texts = [draw.anchor[i], draw.positive[i], *draw.negatives[i]]
    expected = [by_text[t] if t >= 0 else np.zeros(5) for t in texts]
    np.testing.assert_allclose(found[tuple(draw.keys[i])], expected, rtol=1e-6)


def test_texts_that_share_labels_have_vectors_too(make, vectors):
  file, table = vectors()
  rows = [{"text": text, "labels": ["x"]} for text in TEXTS[:4]]
  teacher = make(rows, SameLabel(), [file]).teacher
  np.testing.assert_allclose(teacher(np.arange(4)), unit(table[:4]), rtol=1e-6)


def test_principal_axes_keep_the_products_of_vectors_in_a_plane(make, vectors):
  rng = np.random.default_rng(3)
  plane = unit(rng.normal(size=(7, 2)) * [3, 1]) @ np.linalg.qr(rng.normal(size=(5, 2)))[0].T
  file, _ = vectors(table=plane.astype(np.float32))
  teacher = make(PAIRS, Pairs(), [file], dim=2).teacher
  assert teacher.dim == 2
  short, used = teacher(np.arange(4)), plane[[0, 1, 4, 5]]  # without negatives: rain, sun snow, ice, cloud
  np.testing.assert_allclose(short @ short.T, used @ used.T, atol=1e-6)
  along = np.square(plane @ teacher.axes).sum(0)
  np.testing.assert_allclose(along, np.linalg.svd(plane)[1][:2] ** 2, rtol=1e-5)  # the largest first


def test_another_teacher_is_other_data(make, vectors):
  file, table = vectors()
  names = [make(PAIRS, Pairs(), [file], dim).report["fingerprint"] for dim in (0, 0, 2)]
  table[6] += 1  # even of a text that the task does not have: the axes depend on it
  file, _ = vectors(table=table)
  names.append(make(PAIRS, Pairs(), [file]).report["fingerprint"])
  assert names[0] == names[1] and len(set(names)) == 3


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"texts": TEXTS[2:]}, r"2 of 4 texts have no vector in .*posts\.jsonl, for example 'rain'; embed the texts"),
    ({"table": np.ones((6, 5), np.float32)}, r"posts\.npy has 6 rows for the 7 texts of .*posts\.jsonl"),
    ({"table": np.ones((7, 5), np.uint8)}, r"posts\.npy has the dtype uint8; expected .*np\.unpackbits\(a, axis"),
    ({"table": np.ones(7, np.float32)}, r"posts\.npy is float32 \[7\]; expected"),
    ({"table": np.array([[{}]])}, r"posts\.npy is no array of numbers"),
    ({"table": np.full((7, 5), 1e300)}, r"row 0 of .*posts\.npy has no direction \(its length is inf\)"),
    ({"table": np.full((7, 5), np.nan, np.float32)}, r"row 0 of .*posts\.npy has no direction \(its length is nan\)"),
    ({"table": np.eye(7, 5, dtype=np.float32)}, r"row 5 of .*posts\.npy has no direction \(its length is 0\.0\)"),
  ],
)
def test_vectors_that_do_not_fit(make, vectors, changes, message):
  file, _ = vectors(**changes)
  with pytest.raises(ValueError, match=message):
    make(PAIRS, Pairs(), [file])


def test_files_that_do_not_fit(make, vectors, tmp_path):
  file, _ = vectors()
  with pytest.raises(ValueError, match=r"teacher_dim=6 is not in 0\.\.5, the dimensions of .*posts\.npy"):
    Teacher([file], 6)
  other, _ = vectors(name="other", table=np.ones((7, 4), np.float32))
  with pytest.raises(ValueError, match=r"posts\.npy, .*other\.npy have \[5, 4\] dimensions; use one model"):
    Teacher([file, other])
  for content in (b"", b"PK\3\4"):
    (tmp_path / "posts.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"posts\.npy is no array of numbers"):
      Teacher([file])
  (tmp_path / "posts.npy").unlink()
  with pytest.raises(
    FileNotFoundError, match=r"posts\.npy does not exist; python -m mtc\.embed --model TEACHER --config"
  ):
    Teacher([file])


def test_where_the_files_are():
  assert Vectors("a/posts.jsonl.gz").resolve("/data") == Vectors("/data/a/posts.jsonl.gz", "text", "/data/a/posts.npy")
  assert Vectors("a.txt", npy="/b.npy").resolve("/data") == Vectors("/data/a.txt", "text", "/b.npy")
