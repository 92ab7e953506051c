"""Masked language modelling from beginning to end, in this process, and its step on many devices."""

from dataclasses import replace
from functools import partial
import gzip
import json
from pathlib import Path
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models as tokenizer_models, pre_tokenizers

import mtc
from mtc import data, models, parallel
from mtc.config import Corpus, Experiment, Pretraining, Task
from mtc.embedder import save, start
from mtc.models import ModelSpec
from mtc.optim import OptimSpec
from mtc.pretrain import masked_lm
from mtc.training import compile_ahead, step as step_lib
from mtc.types import Tokens

STEPS = 8
SUBJECTS = ("the old sailor", "a young judge", "the tired cook", "my quiet neighbour")
VERBS = ("finds", "sells", "paints", "forgets")
OBJECTS = ("a silver rocket", "the long contract", "fresh bread", "an empty stadium", "the blue guitar")
PLACES = ("in Lisbon", "in Riga", "near Quito", "at home", "on Mondays")


@pytest.fixture(scope="module")
def texts_dir(tmp_path_factory):
  """Four hundred sentences in two files, one of them packed."""
  rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("texts")
  every = sorted(f"{s} {v} {o} {p}\n" for s in SUBJECTS for v in VERBS for o in OBJECTS for p in PLACES)
  every = [every[i] for i in rng.permutation(len(every))]
  (folder / "aa.txt").write_text("".join(every[:300]))
  with gzip.open(folder / "bb.txt.gz", "wt") as file:
    file.writelines(every[300:])
  return folder


@pytest.fixture
def settings(texts_dir, tmp_path_factory):
  """A model of a few thousand parameters, dropout on: resuming must find its keys again."""
  return Pretraining(
    corpora={"texts": Corpus(data.Text(texts_dir.name))},
    data_dir=str(texts_dir.parent),
    cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    model=ModelSpec(layers=2, width=16, heads=2, mlp_width=32, vocab_size=250, positions=48, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-2, warmup=0.0),
    rows=16,
    length=32,
    steps=STEPS,
    input="threads",
    log_every=1,
    checkpoint_every=4,
  )


def run(settings: Pretraining, workdir: Path) -> int:
  return masked_lm.prepare(settings, workdir)()


def lines(workdir: Path, name: str) -> list[dict]:
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  return [row for row in rows if name in row]


def weights(workdir: Path) -> dict[str, np.ndarray]:
  return load_file(workdir / "export" / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The workdir of a run that nobody interrupted; the first test that asks for it makes it."""
  return tmp_path_factory.mktemp("pretrained") / "whole"


@pytest.fixture
def whole(settings, finished):
  if not finished.exists():
    assert run(settings, finished) == 0
  return finished


def test_a_run_learns_and_leaves_what_it_promises(whole, settings):
  rows = lines(whole, "loss")
  assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
  assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
  assert {"accuracy", "tokens_per_second", "padding", "grad_norm", "learning_rate"} <= rows[0].keys()
  measured = lines(whole, "held_out/loss")
  assert [row["step"] for row in measured] == [4, 8]
  assert measured[1]["held_out/loss"] < measured[0]["held_out/loss"]
  scores = json.loads((whole / "evaluation.json").read_text())["scores"]
  assert scores == {name: measured[1][name] for name in ("held_out/loss", "held_out/accuracy")}
  assert json.loads((whole / "config.json").read_text())["corpora"]["texts"]["source"]["type"] == "Text"
  assert json.loads((whole / "data.json").read_text())["texts"]["languages"] == {"aa": 300, "bb": 100}


def test_a_stopped_run_goes_on_to_the_same_bits(settings, whole, tmp_path, capsys):
  stopped = replace(settings, stop_after=3)
  assert run(stopped, tmp_path / "run") == 0
  assert not (tmp_path / "run" / "export").exists()
  assert run(settings, tmp_path / "run") == 0
  assert "resuming from step 3" in capsys.readouterr().out
  expected = weights(whole)
  assert len(expected) > 30
  for name, value in weights(tmp_path / "run").items():
    np.testing.assert_array_equal(value, expected.pop(name), err_msg=name)
  assert not expected
  assert (tmp_path / "run" / "evaluation.json").read_text() == (whole / "evaluation.json").read_text()


def test_a_finished_run_again_changes_nothing(settings, whole, capsys):
  files = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}
  assert run(settings, whole) == 0
  assert "this run is finished" in capsys.readouterr().out
  assert files == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in sorted(whole.rglob("*")) if f.is_file()}
  with pytest.raises(ValueError, match=r"mask_rate: 0\.3 -> 0\.4"):
    masked_lm.prepare(replace(settings, mask_rate=0.4), whole)


def _equal(got, expected):
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_the_export_is_where_a_contrastive_run_begins(settings, whole, tmp_path):
  loaded = mtc.load(whole / "export")
  assert loaded.encode(["the old sailor finds fresh bread"]).shape == (1, 16)
  assert loaded.max_length == 48
  # A model that goes on with pretraining keeps its length.
  again = replace(settings, model=ModelSpec(pretrained=str(whole / "export"), dtype="float32", max_length=40))
  model, _ = masked_lm._start(again, tmp_path / "again")
  assert model.max_length == 40
  save.write(model, tmp_path / "shorter")
  again.model.pretrained, again.model.max_length = str(tmp_path / "shorter"), 0
  assert masked_lm._start(again, tmp_path / "again")[0].max_length == 40
  tensors = weights(whole)
  words = tensors["bert.embeddings.word_embeddings.weight"]
  np.testing.assert_array_equal(loaded.params["backbone"]["embeddings"]["word"]["embedding"], words)
  experiment = Experiment(
    tasks={"texts": Task(data.Folder("texts"), data.SameLabel(), max_length=32)},
    model=ModelSpec(pretrained=str(whole / "export"), dim=8),
  )
  begun = start.start_model(experiment, tmp_path)
  _equal(begun.params["backbone"], loaded.params["backbone"])
  assert data.tokenizer.fingerprint(begun.tokenizer) == data.tokenizer.fingerprint(loaded.tokenizer)
  assert (begun.spec.pooling, begun.params["projection"]["kernel"].shape) == ("mean", (16, 8))


def test_going_on_from_an_export_takes_its_head_too(settings, whole, tmp_path):
  settings.model = ModelSpec(pretrained=str(whole / "export"), dropout=0.0, dtype="float32")
  settings.optim.learning_rate, settings.steps, settings.checkpoint_every = 1e-9, 1, 1
  assert run(settings, tmp_path / "run") == 0
  before = json.loads((whole / "evaluation.json").read_text())["scores"]
  # The same model, measured on the same texts; a fresh head would be at log(vocabulary) = 5.5.
  after = json.loads((tmp_path / "run" / "evaluation.json").read_text())["scores"]
  assert after["held_out/loss"] == pytest.approx(before["held_out/loss"], abs=1e-3)
  assert lines(tmp_path / "run", "loss")[0]["loss"] == pytest.approx(before["held_out/loss"], abs=0.3)
  assert before["held_out/loss"] < 5
  expected = weights(whole)
  for name, value in weights(tmp_path / "run").items():
    np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_an_encoder_without_a_head_gets_a_new_one(settings, whole, tmp_path):
  loaded = mtc.load(whole / "export")
  save.write(loaded, tmp_path / "bare")
  settings.model = ModelSpec(pretrained=str(tmp_path / "bare"), dtype="float32")
  model, head = masked_lm._start(settings, tmp_path)
  _equal(model.params["backbone"], loaded.params["backbone"])
  _equal(model.params["masked_lm"], head.init(jax.random.split(jax.random.key(0))[1]))


def test_the_pooling_of_the_config_goes_before_that_of_the_directory(settings, tmp_path):
  begun, _ = masked_lm._start(settings, tmp_path)
  save.write(replace(begun, spec=replace(begun.spec, pooling="cls")), tmp_path / "cls")
  for pooling, expected in (("", "cls"), ("max", "max")):
    settings.model = ModelSpec(pretrained=str(tmp_path / "cls"), pooling=pooling)
    model, _ = masked_lm._start(settings, tmp_path)
    assert model.spec.pooling == expected


WRONG = {
  "rows": ({"rows": 12}, "rows=12 do not divide among 8 devices; use a multiple of 8"),
  "length": ({"length": 49}, "length=49 is over the 48 positions of this model; use less"),
  "mask_rate": ({"mask_rate": 1.0}, r"mask_rate=1\.0 is not in \(0, 1\)"),
  "exponent": ({"exponent": -0.5}, r"exponent=-0\.5 is not in \[0, 1\]"),
  "corpora": ({"corpora": {}}, "corpora is empty"),
  "freeze": ({"optim": OptimSpec(freeze=("nothing",))}, "optim.freeze names 'nothing', which no parameter has"),
  "lora": (
    {"model": ModelSpec(pretrained="somewhere", lora=models.LoraSpec(rank=2))},
    "model.lora and model.adapter are not for pretraining",
  ),
  "a table from a seed": (
    {"model": ModelSpec(architecture="static")},
    "steps=8: model.architecture='static' is a static embedding, which has no head for masked language modelling; use",
  ),
  "a pretrained table": (
    {"model": ModelSpec(pretrained="STATIC")},
    "steps=8: model.pretrained='STATIC' is a static embedding, which has no head for masked language modelling; use",
  ),
  "blank": (
    {"corpora": {"c": Corpus(data.InMemory({"train": []}))}},
    "there is no text to train a tokenizer on",
  ),
  "few": (
    {"corpora": {"c": Corpus(data.InMemory({"train": [{"text": "one", "language": "en"}]}))}},
    "there is no text to learn from or to measure with",
  ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_before_the_first_step(settings, static_dir, tmp_path, what):
  changes, message = WRONG[what]
  if what == "a pretrained table":
    changes, message = {"model": ModelSpec(pretrained=str(static_dir))}, message.replace("STATIC", str(static_dir))
  with pytest.raises(ValueError, match=message):
    masked_lm.prepare(replace(settings, **changes), tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()
  assert not (tmp_path / "run" / "tokenizer").exists() or what not in ("a table from a seed", "a pretrained table")


def test_what_does_not_fit_is_said_before_the_first_step(settings, tmp_path, monkeypatch):
  monkeypatch.setattr(compile_ahead, "free_memory", lambda: 100_000)
  with pytest.raises(ValueError, match=r"a step of \d+ rows of 32 tokens needs .* help: smaller rows; smaller length"):
    masked_lm.prepare(settings, tmp_path)


def test_a_table_of_words_needs_neither_padding_nor_a_mask_token(settings, tmp_path):
  made = Tokenizer(tokenizer_models.WordLevel({"?": 0, "the": 1, "sailor": 2, "old": 3}, unk_token="?"))
  made.pre_tokenizer = pre_tokenizers.Whitespace()
  (tmp_path / "tokenizer").mkdir()
  made.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
  settings.model = ModelSpec(architecture="static", width=6, tokenizer=str(tmp_path / "tokenizer"), rarity=1e-2)
  assert run(replace(settings, steps=0), tmp_path / "run") == 0
  words = mtc.load(tmp_path / "run" / "export").params["backbone"]["embeddings"]["word"]["embedding"]
  lengths = np.linalg.norm(words, axis=1)
  assert words.shape == (4, 6) and lengths[0] < lengths[1] < lengths[2]


def test_a_tokenizer_is_trained_on_languages_by_the_exponent(settings):
  rows = [{"text": f"{'abcd' if i % 10 else 'wxyz'} {i:06}", "language": "aa" if i % 10 else "bb"} for i in range(4000)]
  settings.corpora = {"c": Corpus(data.InMemory({"train": rows}))}
  settings.tokenizer_texts = 800
  for exponent, share in ((1.0, 0.9), (0.5, 0.75)):  # 9 : 1, and 3 : 1 by the roots
    settings.exponent = exponent
    chosen = list(masked_lm._sample(settings))
    assert abs(len(chosen) - 800) < 120
    assert abs(sum(text[0] == "a" for text in chosen) / len(chosen) - share) < 0.06
    assert chosen == list(masked_lm._sample(settings))
  settings.tokenizer_texts, settings.exponent = 10_000, 1.0
  assert len(list(masked_lm._sample(settings))) == len(rows)


def test_a_tokenizer_can_be_given(settings, tokenizer, tokenizer_dir, tmp_path):
  settings.model.tokenizer = str(tokenizer_dir)
  model, _ = masked_lm._start(settings, tmp_path)
  assert data.tokenizer.fingerprint(model.tokenizer) == data.tokenizer.fingerprint(tokenizer)
  assert model.config["vocab_size"] == tokenizer.get_vocab_size()
  assert not (tmp_path / "tokenizer").exists()


def test_a_tokenizer_sees_all_texts_of_a_row(settings):
  rows = [{"anchor": "q", "positive": "p", "negatives": ["n", "m"]}]
  settings.corpora = {"c": Corpus(data.InMemory({"train": rows}), data.Pairs(negatives="negatives"))}
  assert list(masked_lm._sample(settings)) == ["q", "p", "n", "m"]


def test_the_command_line_answers_mistakes():
  # A config of a contrastive run is not one of a pretraining.
  command = [sys.executable, "-m", "mtc.pretrain", "--config", "configs/multitask.py", "--workdir", "never"]
  done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
  assert done.returncode == 2, done.stderr[-2000:]
  assert "returned Experiment; it must return mtc.config.Pretraining" in done.stderr
  assert "Traceback" not in done.stderr


# --- The step on many devices ---

SPEC = ModelSpec(layers=2, width=16, heads=2, mlp_width=32, positions=32, dim=0, dropout=0.0, dtype="float32")
# Keeps the gradients where the state can be asked for them, and changes no parameter.
KEEP = optax.GradientTransformation(
  lambda params: jax.tree.map(jnp.zeros_like, params),
  lambda updates, state, params=None: (jax.tree.map(jnp.zeros_like, updates), updates),
)


@pytest.fixture(scope="module")
def tiny(tokenizer, texts, tmp_path_factory):
  """The texts, an encoder and its head, and parameters of which every one matters."""
  rows = {"train": [{"text": text, "labels": "en"} for text in texts]}
  prepared = data.prepare(
    data.InMemory(rows), "train", data.SameLabel(), tokenizer, max_length=64, prompts={},
    cache_dir=tmp_path_factory.mktemp("cache"), progress=False,
  )  # fmt: skip
  config = models.scratch_config(SPEC, 0) | {"vocab_size": tokenizer.get_vocab_size()}
  encoder, head = models.build(config, SPEC), models.build_head(config)
  params = encoder.init(jax.random.key(0)) | {"masked_lm": head.init(jax.random.key(1))}
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: np.asarray(x * (5 if x.ndim > 1 else 1) + 0.1 * rng.normal(size=x.shape), "f4"), params
  )
  return prepared, encoder, head, params


def _step(tiny, tokenizer, devices):
  """A batch, and its loss and gradients by the real step on so many devices."""
  prepared, encoder, head, params = tiny
  masker = data.Masker(
    {"texts": prepared}, tokenizer, rows=8, length=32, rate=0.3, exponent=0.5, seed=1, devices=devices,
    local_devices=range(devices),
  )  # fmt: skip
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parallel, "across_devices", partial(parallel.across_devices, devices=jax.devices()[:devices]))
    step = step_lib.make_step(masked_lm.masked_lm_loss(encoder, head), KEEP, 0)
  batch = masker.step(2)
  # The devices differ in their gaps: a mean of their means is not the mean.
  weight = batch.weight.copy()
  weight[0, 0, :] = 0
  batch = batch.replace(weight=weight)
  state, metrics = step(step_lib.init_state(params, {}, KEEP), batch)
  return batch, parallel.to_host(metrics), parallel.to_host(state.opt_state)


@pytest.fixture(scope="module")
def one_device(tiny, tokenizer):
  return _step(tiny, tokenizer, 1)


def test_the_loss_by_hand(tiny, one_device):
  _, encoder, head, params = tiny
  batch, metrics, _ = one_device
  tokens = jax.tree.map(lambda leaf: leaf[0], batch.tokens)
  hidden = np.asarray(encoder.apply(params, tokens, None)).reshape(8, 32, 16)
  losses, found = [], []
  for row in range(8):
    for place, target, weight in zip(batch.place[0, row], batch.target[0, row], batch.weight[0, row]):
      if not weight:
        continue
      logits = np.asarray(head.apply(params, hidden[row, place][None]))[0].astype(np.float64)
      losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target])
      found.append(logits.argmax() == target)
  assert len(losses) > 30
  assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
  assert metrics["accuracy"] == pytest.approx(np.mean(found), rel=1e-5)


def _difference(got, expected) -> float:
  """Per leaf, max |difference| / max |gradient|; the largest of all leaves."""
  worst = 0.0
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if name.endswith("key/bias"):  # softmax does not see it
      continue
    assert np.abs(a).max() > 0, f"{name} has no gradient"
    worst = max(worst, float(np.abs(a - b).max() / np.abs(a).max()))
  return worst


@pytest.mark.parametrize("devices", [2, 4])
def test_devices_give_the_gradients_of_one(tiny, tokenizer, one_device, devices):
  _, metrics, gradients = _step(tiny, tokenizer, devices)
  _, expected, expected_gradients = one_device
  for name, value in metrics.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)
  assert _difference(gradients, expected_gradients) < 1e-5


def test_a_mean_over_each_device_alone_is_noticed(tiny, tokenizer, one_device, monkeypatch):
  def alone(values, weight):
    return jax.lax.pmean(jnp.sum(values * weight) / jnp.sum(weight), parallel._AXIS)

  monkeypatch.setattr(parallel, "weighted_mean", alone)
  _, _, gradients = _step(tiny, tokenizer, 2)
  assert _difference(gradients, one_device[2]) > 1e-3


@pytest.mark.torch
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_the_export_in_transformers(settings, tmp_path, architecture):
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  settings.model.architecture = architecture
  begun, _ = masked_lm._start(settings, tmp_path)
  rng, folder = np.random.default_rng(0), tmp_path / "export"
  params = jax.tree.map(lambda x: np.asarray(x + 0.1 * rng.normal(size=x.shape), "f4"), begun.params)
  save.write(replace(begun, params=params), folder)
  theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  batch = tokenizer(["the old [MASK] finds fresh bread in Riga", "a young judge"], padding=True, return_tensors="pt")
  with torch.no_grad():
    expected = theirs(**batch).logits.numpy()
  model, head = masked_lm._start(replace(settings, model=ModelSpec(pretrained=str(folder), dtype="float32")), tmp_path)
  ids, mask = batch["input_ids"].numpy().astype("i4"), batch["attention_mask"].numpy().astype("i4")
  position = np.broadcast_to(np.arange(ids.shape[1], dtype="i4"), ids.shape) * mask
  tokens = Tokens(ids, mask, position, slots=1)
  logits = np.asarray(head.apply(model.params, model.encoder.apply(model.params, tokens, None)))
  logits = logits.reshape(expected.shape)
  np.testing.assert_allclose(logits[mask > 0], expected[mask > 0], rtol=0, atol=1e-4)


def test_no_step_and_rarity_leave_words_by_their_rarity(settings, tmp_path, capsys):
  settings = replace(settings, steps=0, model=replace(settings.model, architecture="modernbert", rarity=1e-2))
  assert run(settings, tmp_path / "run") == 0
  assert "the model: " in capsys.readouterr().out
  made = mtc.load(tmp_path / "run" / "export")
  assert made.config["architectures"] == ["ModernBertModel"]  # without a head, which has learned nothing
  words = np.asarray(made.params["backbone"]["embeddings"]["word"]["embedding"])
  common = (words[:, -2] - words[:, -1]) / np.linalg.norm(words, axis=1)

  def of(word: str) -> float:
    token = made.tokenizer.token_to_id(word)
    assert token is not None
    return float(common[token])

  assert of("the") > of("lisbon") + 0.05  # a fifth of all words against a twentieth
  vectors = made.encode(["the old sailor", "the old sailor", "fresh bread"])
  assert vectors[0] @ vectors[1] > 0.999 > vectors[0] @ vectors[2] + 0.3
  assert run(settings, tmp_path / "run") == 0
  assert "finished" in capsys.readouterr().out
  settings.model.rarity = 0.0
  with pytest.raises(ValueError, match="steps=0 is not positive"):
    settings.validate()


def test_what_is_skipped_of_a_corpus_is_printed_and_saved(settings, texts_dir, tmp_path, capsys):
  folder = shutil.copytree(texts_dir, tmp_path / texts_dir.name)
  with open(folder / "aa.txt", "ab") as file:
    file.write(b"in L\xffsbon\n" * 3)
  model = replace(settings.model, architecture="modernbert", rarity=1e-2)
  settings = replace(settings, steps=0, model=model, data_dir=str(tmp_path), on_bad_row="skip")
  assert run(settings, tmp_path / "run") == 0
  assert "corpus 'texts', split train: 3 rows left out (not UTF-8)\n" in capsys.readouterr().out
  assert json.loads((tmp_path / "run" / "data.json").read_text())["texts"]["skipped"] == {"not UTF-8": 3}


def test_masked_language_modelling_starts_from_words_by_their_rarity_too(settings, tmp_path):
  settings = replace(settings, steps=1, checkpoint_every=1, model=replace(settings.model, rarity=1e-2))
  settings.optim = OptimSpec(learning_rate=1e-9)
  assert run(settings, tmp_path / "run") == 0
  made = mtc.load(tmp_path / "run" / "export").params["backbone"]
  np.testing.assert_allclose(made["layer_1"]["mlp_norm"]["scale"][-3:], [1, 0, 0], atol=1e-6)
