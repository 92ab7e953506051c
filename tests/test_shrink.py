"""A smaller model out of a larger one, by its command and its function."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import yaml

from mtc import data, models
from mtc.embedder import save
from mtc.embedder.embedder import load
from mtc.embedder.shrinking import Shrinking, shrink

FRONT = "---\nlicense: mit\nlicense_name: [x]\nlanguage:\n- en\n- de\nwidget: {a: 1}\n---\n"
CARD = f"{FRONT}# A teacher\n\n```\nIts notice.\n```\n"


@pytest.fixture(scope="module")
def large(make_embedder, tmp_path_factory):
  """A model of mtc with a projection, prompts, a licence and a card."""
  folder = tmp_path_factory.mktemp("models") / "large"
  save.write(make_embedder(), folder, card=CARD)
  (folder / "LICENSE").write_text("Permission is granted.\n")
  (folder / "NOTICE.txt").write_text("Made by others.\n")
  (folder / "notes.txt").write_text("left behind\n")
  return folder


@pytest.fixture(scope="module")
def small(large, data_dir):
  """Half of its tokens, by the texts of two tasks; what the command printed."""
  out = large.parent / "small"
  sources = f"{data_dir / 'interest'},{data_dir / 'search_tweets'}"
  done = run("--model", large, "--texts", sources, "--tokens=100", "--min_character_count=40", "--output", out)
  assert done.returncode == 0, done.stderr
  return out, done.stdout


def run(*arguments):
  command = [sys.executable, "-m", "mtc.shrink", *map(str, arguments)]
  return subprocess.run(command, capture_output=True, text=True, timeout=300)


def whole(tokenizer, smaller, texts):
  """Those of the texts whose tokens are all in the smaller vocabulary."""
  known = smaller.get_vocab()
  found = [text for text in texts if known.keys() >= set(tokenizer.encode(text).tokens)]
  assert len(found) > 20
  return found


def test_a_text_whose_tokens_are_kept_has_the_same_vector(large, small, texts):
  before, after = load(large), load(small[0])
  assert after.config["vocab_size"] == len(after.params["backbone"]["embeddings"]["word"]["embedding"]) == 100
  found = whole(before.tokenizer, after.tokenizer, texts)
  assert len(found) < len(texts)
  for role in ("query", "document"):
    np.testing.assert_array_equal(after.encode(found, role), before.encode(found, role))
  others = sorted(set(texts) - set(found))
  assert np.isfinite(after.encode(others)).all()
  assert np.abs(after.encode(others) - before.encode(others)).max() > 1e-3
  assert after.prompts == before.prompts and after.max_length == before.max_length and after.width == before.width


def test_what_is_printed_and_saved(large, small, data_dir):
  out, printed = small
  report = json.loads((out / "shrink.json").read_text())
  tokenizer = load(large).tokenizer
  assert report["model"] == str(large) and report["texts"] == [
    str(data_dir / "interest"),
    str(data_dir / "search_tweets"),
  ]
  assert report["tokens"] == {"before": tokenizer.get_vocab_size(), "after": 100}
  assert report["layers"] == {"before": 1, "kept": [0]}
  for when, folder in (("before", large), ("after", out)):
    sizes = sum(leaf.size for leaf in jax.tree.leaves(load(folder).params))
    assert report["parameters"][when] == sizes
    files = [folder / name for name in ("model.safetensors", "tokenizer.json")]
    assert report["bytes"][when] == sum(path.stat().st_size for path in files)
  assert list(report["coverage"]) == ["all", "de", "en"]
  texts = [
    text
    for name in ("interest", "search_tweets")
    for text in data.read_groups(data_dir / name, ["text", "anchor", "positive"])
  ]
  kept = set(load(out).tokenizer.get_vocab())
  for group, row in report["coverage"].items():
    tokens = [tokenizer.encode(text).tokens[1:-1] for language, text in texts if group in ("all", language)]
    flat = [token for text in tokens for token in text]
    assert row["texts"] == len(tokens) and row["tokens"] == len(flat)
    assert row["tokens_kept"] == pytest.approx(np.mean([token in kept for token in flat]))
    assert row["texts_kept"] == pytest.approx(np.mean([kept >= set(text) for text in tokens]))
    assert row["unknown_before"] == 0 < row["unknown_after"] < 0.5
    assert f"{group:<15}{row['texts']:<15,}{row['tokens_kept']:<15.4f}" in printed
  assert f"tokens: {tokenizer.get_vocab_size()} -> 100" in printed and "layers: 1 -> 1" in printed
  assert str(out) in printed


def test_the_card_says_what_was_done_and_whose_the_model_was(large, small):
  out, _ = small
  card = (out / "README.md").read_text()
  fields = yaml.safe_load(card.split("---")[1])
  assert fields["license"] == "mit" and fields["language"] == ["en", "de"] and fields["license_name"] == ["x"]
  assert "widget" not in fields and "base_model" not in fields
  assert "kept 100 of" in card and "# A teacher" in card and "Its notice." in card and card.count("license: mit") == 1
  assert (out / "LICENSE").read_text() == "Permission is granted.\n"
  assert (out / "NOTICE.txt").read_text() == "Made by others.\n"
  assert not (out / "notes.txt").exists()


def test_the_modules_around_it_are_copied(large, small):
  out, _ = small
  for name in (
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
  ):
    assert (out / name).read_bytes() == (large / name).read_bytes()
  ours, theirs = models.load_sentence_transformer(out), models.load_sentence_transformer(large)
  np.testing.assert_array_equal(ours.projection["kernel"], theirs.projection["kernel"])
  assert (out / "3_Normalize").is_dir()


def test_every_run_writes_the_same(large, data_dir, tmp_path):
  wanted = Shrinking(tokens=75, texts=(str(data_dir),))
  for name in ("a", "b"):
    shrink(str(large), tmp_path / name, wanted)
  files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
  for path in files:
    assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("dtype, stored", [("", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16")])
def test_the_weights_are_stored_as_they_were_or_as_one_wants(large, tmp_path, dtype, stored):
  shrink(str(large), tmp_path / "small", Shrinking(layers=(0,)), dtype)
  for name in ("model.safetensors", "2_Dense/model.safetensors"):
    header = (tmp_path / "small" / name).read_bytes()[:2000]
    assert {"float32": b'"F32"', "float16": b'"F16"', "bfloat16": b'"BF16"'}[stored] in header
  shrink(str(tmp_path / "small"), tmp_path / "again", Shrinking(layers=(0,)))  # without a dtype it stays
  for name in ("model.safetensors", "2_Dense/model.safetensors"):
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()


def test_a_number_past_a_dtype_is_refused(make_embedder, tmp_path):
  embedder = make_embedder()
  embedder.params["backbone"]["embeddings"]["norm"]["scale"] = np.full(16, 1e5, np.float32)
  save.write(embedder, tmp_path / "large")
  with pytest.raises(ValueError, match=r"embeddings.LayerNorm.weight holds a number that float16 cannot hold"):
    shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(layers=(0,)), "float16")
  assert not (tmp_path / "small").exists()
  shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(layers=(0,)), "bfloat16")


def test_a_static_embedding(texts, static_dir, tmp_path):
  (tmp_path / "posts.txt").write_text("\n".join(texts))
  wanted = Shrinking(tokens=120, texts=(str(tmp_path / "posts.txt"),), min_character_count=1)
  report = shrink(str(static_dir), tmp_path / "small", wanted)
  before, after = load(static_dir), load(tmp_path / "small")
  found = whole(before.tokenizer, after.tokenizer, texts)
  np.testing.assert_array_equal(after.encode(found), before.encode(found))
  assert report["layers"] == {"before": 0, "kept": ()} and not (tmp_path / "small" / "config.json").exists()
  assert report["tokens"]["after"] <= 120
  with pytest.raises(ValueError, match="a static embedding has no layers"):
    shrink(str(static_dir), tmp_path / "other", Shrinking(layers=(0,)))


@pytest.mark.parametrize("beside", [{"do_lower_case": False}, {"cls_token": "[SEP]"}, {"add_eos_token": True}])
def test_a_static_embedding_reads_no_settings_beside_its_tokenizer(texts, static_dir, tmp_path, beside):
  folder = tmp_path / "large"
  shutil.copytree(static_dir, folder)
  (folder / "tokenizer_config.json").write_text(json.dumps(beside))
  tokenizer = json.loads((folder / "tokenizer.json").read_text())
  tokenizer["truncation"] = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
  (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
  (tmp_path / "posts.txt").write_text("\n".join(texts))
  wanted = Shrinking(tokens=120, texts=(str(tmp_path / "posts.txt"),), min_character_count=1)
  shrink(str(folder), tmp_path / "small", wanted)
  before, after = load(folder), load(tmp_path / "small")
  assert before.max_length == after.max_length == 3
  found = whole(before.tokenizer, after.tokenizer, texts)
  np.testing.assert_array_equal(after.encode(found), before.encode(found))


def test_a_plain_directory_and_a_backbone_in_a_folder(large, data_dir, tmp_path):
  plain = tmp_path / "plain"
  embedder = load(large)
  models.save_backbone(plain, embedder.params["backbone"], embedder.config | {"auto_map": {"AutoModel": "x.X"}})
  data.tokenizer.save(embedder.tokenizer, plain, max_length=99)
  shrink(str(plain), tmp_path / "small", Shrinking(tokens=75, texts=(str(data_dir),)))
  assert not (tmp_path / "small" / "modules.json").exists()
  assert "auto_map" not in json.loads((tmp_path / "small" / "config.json").read_text())
  assert json.loads((tmp_path / "small" / "tokenizer_config.json").read_text())["model_max_length"] == 99
  assert load(tmp_path / "small").encode(["a note"]).shape == (1, 16)
  nested = tmp_path / "nested"
  plain.rename(nested_backbone := _folder(nested) / "0_Transformer")
  modules = [{"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
  modules += [{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
  (nested / "modules.json").write_text(json.dumps(modules))  # and no Normalize
  (_folder(nested / "1_Pooling") / "config.json").write_text('{"pooling_mode": "cls", "word_embedding_dimension": 16}')
  for name in ("bert", "xlm-roberta"):
    (nested_backbone / f"sentence_{name}_config.json").write_text('{"max_seq_length": 33}')
  shrink(str(nested), tmp_path / "other", Shrinking(tokens=75, texts=(str(data_dir),)))
  found = load(tmp_path / "other")
  assert (found.max_length, found.spec.pooling) == (33, "cls")
  assert (tmp_path / "other" / "0_Transformer" / "model.safetensors").is_file()
  assert (tmp_path / "other" / "0_Transformer" / "sentence_xlm-roberta_config.json").is_file()
  assert (tmp_path / "other" / "modules.json").read_bytes() == (nested / "modules.json").read_bytes()


def _folder(path):
  path.mkdir()
  return path


def test_what_a_prompt_needs_is_kept(make_embedder, data_dir, tmp_path):
  embedder = make_embedder()
  prompt = "kilume referee: "
  embedder.prompts = {"query": prompt, "document": ""}
  save.write(embedder, tmp_path / "large")
  (tmp_path / "de.txt").write_text("goal\n" * 3)
  shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(tokens=40, texts=(str(tmp_path / "de.txt"),)))
  before, after = load(tmp_path / "large"), load(tmp_path / "small")
  assert after.tokenizer.encode(prompt).tokens == before.tokenizer.encode(prompt).tokens
  assert "[UNK]" not in after.tokenizer.encode(prompt).tokens
  np.testing.assert_array_equal(after.encode(["goal"], "query"), before.encode(["goal"], "query"))


def test_without_a_card_or_with_a_broken_one(make_embedder, tmp_path):
  save.write(make_embedder(), tmp_path / "large")
  for card in (
    "",
    "no front matter",
    "---\n[\n---\ntext",
    "---\n- a\n---\n",
    "---\nlicense: {a: 1}\n---\n",
    "a" * 300_000,
  ):
    (tmp_path / "large" / "README.md").write_text(card)
    shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(layers=(0,)))
    found = (tmp_path / "small" / "README.md").read_text()
    assert "license" not in yaml.safe_load(found.split("---")[1]) and len(found) < 110_000
    assert ("The model that it was made from" in found) == any(word in card for word in ("no front", "text", "aa"))


@pytest.mark.parametrize(
  "wanted, said",
  [
    ({}, "name what to keep: --tokens=16000 with --texts=DIR, or --layers=0,3,7,11"),
    ({"tokens": 75}, "--tokens is given without --texts"),
    ({"texts": ("a",), "layers": (0,)}, "--texts is given without --tokens"),
    ({"layers": (0, 1)}, "1 is not a layer of this model; it has 0 to 0"),
    ({"texts": ("no/such/file",), "tokens": 75, "layers": (2,)}, "2 is not a layer"),  # before the texts are read
    ({"texts": ("no/such/file",), "tokens": 100_000}, "tokens=100000 is more than the"),
    ({"texts": ("no/such/file",), "tokens": 3}, "special and other tokens that must be kept"),
    ({"texts": ("no/such/file",), "tokens": 75}, "no/such/file does not exist"),
    ({"texts": ("a",), "tokens": -1}, "tokens=-1"),
    ({"texts": ("a",), "tokens": 75, "balance": 2.0}, "balance=2.0"),
    ({"texts": ("a",), "tokens": 75, "balance": float("nan")}, "balance=nan"),
    ({"texts": ("a",), "tokens": 75, "min_character_count": 0}, "min_character_count=0"),
  ],
)
def test_what_cannot_be_kept(large, tmp_path, wanted, said):
  with pytest.raises((ValueError, OSError)) as error:
    shrink(str(large), tmp_path / "small", Shrinking(**wanted))
  assert said in str(error.value) and not list(tmp_path.iterdir())


def test_bad_arguments_end_with_code_2(large, tmp_path):
  (tmp_path / "empty.txt").write_text("\n \n")
  model, out = f"--model={large}", f"--output={tmp_path / 'out'}"
  for arguments, said in (
    ([model, "--layers=0"], "name a model and the directory to write"),
    ([model, out, "--layers=zero"], "--layers zero are not numbers of layers"),
    ([model, f"--output={tmp_path}", "--layers=0"], "exists already"),
    ([model, out, f"--texts={tmp_path / 'empty.txt'}", "--tokens=75"], "there is no token in the texts"),
  ):
    done = run(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, (arguments, done.stderr)
  assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]
