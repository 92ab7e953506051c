"""A run that starts from a pretrained directory: what it takes from there, and what it is told when it cannot."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mtc import data, models
from mtc.config import Experiment, Task
from mtc.embedder import save
from mtc.embedder.embedder import load
from mtc.embedder.start import start_model
from mtc.losses import InfoNCE, Matryoshka

SIZES = {"layers": 1, "width": 16, "heads": 2, "mlp_width": 24, "positions": 32}


@pytest.fixture(scope="module")
def made(tokenizer, tokenizer_dir, tmp_path_factory):
  """A sentence-transformers directory: last-token pooling, a Dense with Tanh to 6 dimensions, a prompt for queries."""
  folder = tmp_path_factory.mktemp("made") / "model"
  spec = models.ModelSpec(**SIZES, vocab_size=tokenizer.get_vocab_size(), dim=6)
  config = models.scratch_config(spec, pad_id=0)
  params = models.build(config, spec).init(jax.random.key(7))
  models.save_backbone(folder, params["backbone"], config)
  projection = jax.tree.map(np.asarray, params["projection"])
  prompts = {"query": "who: ", "passage": "text: ", "topic": "what: "}
  models.save_sentence_transformer(folder, "last", 16, projection, prompts, 20, "tanh")
  layout = json.loads((folder / "config_sentence_transformers.json").read_text())
  del layout["prompts"]["document"]  # so that passages are documents
  (folder / "config_sentence_transformers.json").write_text(json.dumps(layout))
  for file in tokenizer_dir.iterdir():
    shutil.copy(file, folder)
  return folder


@pytest.fixture
def copy(made, tmp_path):
  return shutil.copytree(made, tmp_path / "model")


def start(directory, tmp_path, prompts=None, **spec):
  task = Task(source=data.Jsonl(str(tmp_path), {"train": "none.jsonl"}), max_length=20)
  model = models.ModelSpec(pretrained=str(directory), **{"dtype": "float32", **spec})
  return start_model(
    Experiment(tasks={"a": task}, model=model, prompts=prompts or {"query": "", "document": ""}), tmp_path
  )


def test_what_the_config_leaves_empty_comes_from_the_directory(made, tmp_path, capsys):
  found = start(made, tmp_path, dim=6)
  assert (found.spec.pooling, found.spec.projection, found.spec.dim) == ("last", "tanh", 6)
  assert found.prompts == {"query": "who: ", "passage": "text: ", "topic": "what: ", "document": "text: "}
  texts = ["goal match", "a note about the moon, and the rocket"]
  np.testing.assert_array_equal(found.encode(texts), load(made).encode(texts))
  assert not capsys.readouterr().out


def test_a_loss_of_more_dimensions_than_the_encoder_is_wide_is_refused(made, tmp_path):
  def begin(size: int):
    source = data.Jsonl(str(tmp_path), {"train": "none.jsonl"})
    task = Task(source=source, loss=Matryoshka(InfoNCE(), dims=(4, size)), max_length=20)
    experiment = Experiment(tasks={"a": task}, model=models.ModelSpec(pretrained=str(made), dim=0))
    experiment.validate()
    return start_model(experiment, tmp_path)

  assert begin(16).width == 16
  with pytest.raises(ValueError, match=r"loss of task 'a': dims=\(4, 17\) of Matryoshka: 17 is not from 1 to 16"):
    begin(17)


def test_the_config_has_the_last_word(made, tmp_path, capsys):
  found = start(made, tmp_path, {"query": "q: ", "document": ""}, dim=6, pooling="cls", projection="identity")
  assert (found.spec.pooling, found.spec.projection) == ("cls", "identity")
  assert (found.prompts["query"], found.prompts["document"]) == ("q: ", "text: ")
  np.testing.assert_array_equal(found.params["projection"]["kernel"], load(made).params["projection"]["kernel"])
  assert not capsys.readouterr().out


@pytest.mark.parametrize(("dim", "instead"), [(5, "a random rotation reduces it"), (0, "has the encoder's width")])
def test_a_projection_of_another_size(made, tmp_path, capsys, dim, instead):
  found = start(made, tmp_path, dim=dim)
  assert (found.spec.pooling, found.spec.projection, found.width) == ("last", "identity", dim or 16)
  assert ("projection" in found.params) == bool(dim)
  printed = capsys.readouterr().out
  assert f"projects to 6 dimensions, model.dim={dim}" in printed
  assert instead in printed


def test_its_export_is_the_same_model(made, tmp_path):
  started = start(made, tmp_path, dim=6)
  save.write(started, tmp_path / "export")
  again = load(tmp_path / "export")
  assert (again.spec.pooling, again.spec.projection, again.prompts) == ("last", "tanh", started.prompts)
  np.testing.assert_array_equal(again.encode(["goal match"], "query"), started.encode(["goal match"], "query"))


def test_a_run_keeps_the_length_of_its_model(made, tmp_path, capsys):
  found = start(made, tmp_path, dim=6)
  assert found.max_length == 20 and not capsys.readouterr().out
  shorter = start(made, tmp_path, dim=6, max_length=20)
  assert shorter.max_length == 20 and not capsys.readouterr().out


@pytest.mark.parametrize("length", [8, 32])
def test_another_length_is_the_choice_of_the_user_and_is_printed(made, tmp_path, capsys, length):
  task = Task(source=data.Jsonl(str(tmp_path), {"train": "none.jsonl"}), max_length=8)
  spec = models.ModelSpec(pretrained=str(made), dtype="float32", dim=6, max_length=length)
  found = start_model(Experiment(tasks={"a": task}, model=spec), tmp_path)
  printed = capsys.readouterr().out
  assert f"model.max_length={length}: evaluations and the export cut texts there; {made} cuts them at 20" in printed
  save.write(found, tmp_path / "export")
  again = load(tmp_path / "export")
  text = "a note about the moon and the rocket " * 4
  assert again.max_length == length
  np.testing.assert_array_equal(again.encode([text]), found.encode([text]))
  assert np.abs(again.encode([text]) - load(made).encode([text])).max() > 1e-3


@pytest.mark.parametrize(
  ("task", "length", "message"),
  [
    (20, 33, "model.max_length=33 is over the 32 positions of this model; use 32 or less"),
    (21, 0, "max_length=21 of task 'a' is over the 20 tokens at which .*; use 20 or less, or model.max_length=21"),
    (20, 12, "max_length=20 of task 'a' is over the 12 tokens at which .*; use 12 or less, or model.max_length=20"),
    (33, 0, "max_length=33 of task 'a' is over the 32 positions"),
    (33, 32, "max_length=33 of task 'a' is over the 32 positions"),
  ],
)
def test_a_length_that_no_text_can_have(made, tmp_path, task, length, message):
  source = data.Jsonl(str(tmp_path), {"train": "none.jsonl"})
  spec = models.ModelSpec(pretrained=str(made), dtype="float32", max_length=length)
  with pytest.raises(ValueError, match=message):
    start_model(Experiment(tasks={"a": Task(source=source, max_length=task)}, model=spec), tmp_path)


@pytest.mark.parametrize(("length", "expected"), [(0, 20), (12, None), (30, 30)])
def test_from_a_seed_the_longest_task_decides(data_dir, tmp_path, length, expected):
  spec = models.ModelSpec(**SIZES, dtype="float32", vocab_size=200, max_length=length)
  source = data.Jsonl(str(data_dir / "interest"))
  tasks = {name: Task(source, data.SameLabel(), max_length=most) for name, most in (("a", 9), ("b", 20))}
  experiment = Experiment(tasks=tasks, model=spec, cache_dir=str(tmp_path / "cache"))
  if expected is None:
    with pytest.raises(ValueError, match="of task 'b' is over the 12 tokens at which the model cuts texts"):
      start_model(experiment, tmp_path)
  else:
    assert start_model(experiment, tmp_path).max_length == expected


def test_a_plain_directory_is_cut_where_its_tokenizer_says(copy):
  (copy / "modules.json").unlink()
  assert load(copy).max_length == 20
  (copy / "sentence_bert_config.json").unlink()
  assert load(copy).max_length == 32  # the positions; the tokenizer says 512
  settings = json.loads((copy / "tokenizer_config.json").read_text()) | {"model_max_length": 11}
  (copy / "tokenizer_config.json").write_text(json.dumps(settings))
  assert load(copy).max_length == 11


def _defaults(folder, **settings):
  path = folder / "config_sentence_transformers.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("dim", [6, 5, 0])
def test_what_sentence_transformers_takes_for_default_stays(copy, tmp_path, dim):
  said = {"default_prompt_name": "topic", "similarity_fn_name": "dot", "truncate_dim": 4}
  _defaults(copy, **said)
  save.write(start(copy, tmp_path, dim=dim), tmp_path / "export")
  saved = json.loads((tmp_path / "export" / "config_sentence_transformers.json").read_text())
  assert saved["prompts"] == {"query": "who: ", "document": "text: ", "passage": "text: ", "topic": "what: "}
  if dim != 6:  # the first 4 of other dimensions are nothing that the model was trained for
    del said["truncate_dim"]
    assert "truncate_dim" not in saved
  assert saved.items() >= said.items()
  assert load(tmp_path / "export").defaults == said


def test_a_plain_directory_has_mean_pooling_and_a_new_projection(copy, tmp_path, capsys):
  (copy / "modules.json").unlink()
  found = start(copy, tmp_path, dim=6)
  assert (found.spec.pooling, found.spec.projection) == ("mean", "identity")
  assert found.prompts == {"query": "", "document": ""}
  assert not np.array_equal(
    found.params["projection"]["kernel"], load_file(copy / "2_Dense/model.safetensors")["linear.weight"].T
  )
  assert not capsys.readouterr().out


def _config(**change):
  def apply(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))

  return apply


def _weights(change):
  def apply(folder):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")

  return apply


def _added_word(special):
  def apply(folder):
    tokenizer = data.tokenizer.load(str(folder))
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(["zebra"])
    tokenizer.save(str(folder / "tokenizer.json"))

  return apply


WORDS = "embeddings.word_embeddings.weight"
BROKEN = {
  "no config": (lambda folder: (folder / "config.json").unlink(), r"config.json is missing"),
  "unknown model": (_config(model_type="t5"), "'t5' of config.json is unknown; known are bert, .*modernbert"),
  "unknown activation": (_config(hidden_act="mish"), "'mish' of config.json is unknown; known are gelu"),
  "other sizes": (
    _config(intermediate_size=25),
    r"intermediate.dense.weight has shape \[24, 16\], expected \[25, 16\]",
  ),
  "a missing name": (_weights(lambda tensors: tensors.pop(WORDS)), f"missing {WORDS}"),
  "a pickle": (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "convert it once"),
  "a word past the table": (_added_word(special=False), r"the token 'zebra' with the id \d+, past the \d+ rows"),
  "a larger tokenizer": (
    lambda folder: (
      _config(vocab_size=30)(folder),
      _weights(lambda t: t.update({WORDS: t[WORDS][:30].copy()}))(folder),
    ),
    "past the 30 rows of the embedding table",
  ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_directory_that_cannot_be_used(copy, name):
  change, message = BROKEN[name]
  change(copy)
  with pytest.raises(ValueError, match=message):
    load(copy)


def test_a_special_token_of_other_inputs_may_lie_past_the_table(copy):
  _added_word(special=True)(copy)
  assert load(copy).encode(["goal"]).shape == (1, 6)


def test_a_new_tokenizer_is_trained_once_for_the_same_texts(data_dir, tmp_path, monkeypatch):
  def tokenizer(workdir, **change):
    spec = models.ModelSpec(**SIZES, dtype="float32", **{"vocab_size": 200, **change})
    task = Task(source=data.Jsonl(str(folder)), examples=data.SameLabel(), max_length=20)
    experiment = Experiment(tasks={"a": task}, model=spec, cache_dir=str(tmp_path / "cache"))
    return start_model(experiment, tmp_path / workdir).tokenizer.to_str()

  trained = []
  train = data.tokenizer.train
  monkeypatch.setattr(data.tokenizer, "train", lambda *args, **how: trained.append(1) or train(*args, **how))
  folder = shutil.copytree(data_dir / "interest", tmp_path / "interest")
  first = tokenizer("one")
  assert tokenizer("two") == first and (tmp_path / "two/tokenizer/tokenizer.json").exists() and len(trained) == 1
  assert tokenizer("three", vocab_size=190) != first and len(trained) == 2
  with open(folder / "train.jsonl", "a") as file:
    file.write('{"id": "new", "text": "zebra quagga okapi", "labels": ["music"]}\n')
  assert tokenizer("four") != first and tokenizer("one") == first and len(trained) == 3
