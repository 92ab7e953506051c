"""`python -m mtc.embed` beside sentence-transformers, for directories that it wrote itself (the extra mtc[torch])."""

from dataclasses import replace
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import mtc
from mtc.embedder import save
from mtc.embedder.embedder import load

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

WIDTH = 32
SIZES = {
  "hidden_size": WIDTH,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 48,
  "max_position_embeddings": 66,
  "pad_token_id": 0,
  "bos_token_id": None,
  "eos_token_id": None,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS = {
  "bert": {},
  "roberta": {},
  "xlm-roberta": {},
  "distilbert": {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
  "mpnet": {},
  "modernbert": {"local_attention": 8},
  "llama": GROUPED,
  "mistral": {**GROUPED, "sliding_window": 6},
  "qwen2": GROUPED,
  "qwen3": GROUPED,
  "gemma3_text": {**GROUPED, "sliding_window": 6},
}
DECODERS = tuple(CONFIGS)[6:]
TEXTS = [
  "a note about the moon and the rocket",
  "goal",
  "today we saw soup bread oven recipe salt butter dinner spoon " * 8,
  "judge contract appeal lawyer",
  "heute sahen wir guitar song concert",
]
PROMPTS = {"query": "who wrote about ", "document": ""}
SCRIPTS = [
  "An earthquake off Lisbon was felt in Morocco; nobody was hurt.",
  "Die Größe der Bäckerei überraschte die Gäste.",
  "Сегодня в Риге прошёл концерт хора",
  "東京で新しいロケットが打ち上げられました。",
  "오늘 서울에서 축구 경기가 열렸습니다",
  "आज दिल्ली में अदालत का फैसला आया",
  "วันนี้มีคอนเสิร์ตที่กรุงเทพฯ",
  "افتتح الملعب الجديد في القاهرة اليوم",
  "დღეს თბილისში წვიმს",
  "Το φεγγάρι, ο πύραυλος & #space 🚀 @crew https://example.org",
  "soup bread oven " * 400,
]


@pytest.fixture(scope="module", params=CONFIGS)
def backbone(request, tokenizer, tokenizer_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param)
  sizes = {
    name: value for name, value in SIZES.items() if request.param != "distilbert" or name.startswith(("max", "pad"))
  }
  sizes |= {"vocab_size": tokenizer.get_vocab_size(), **CONFIGS[request.param]}
  torch.manual_seed(0)
  model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(request.param, **sizes))
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  model.save_pretrained(folder)
  for file in tokenizer_dir.iterdir():
    shutil.copy(file, folder)
  return request.param, folder


def written(folder, out, pooling, dense):
  """A model as sentence-transformers saves it, and the same read back by sentence-transformers."""
  parts = sentence_transformers.sentence_transformer.modules
  modules = [parts.Transformer(str(folder), max_seq_length=40), parts.Pooling(WIDTH, pooling_mode=pooling)]
  modules += [parts.Dense(WIDTH, 7, activation_function=dense)] if dense else []
  made = sentence_transformers.SentenceTransformer(modules=[*modules, parts.Normalize()], prompts=PROMPTS, device="cpu")
  made.save(str(out))
  return sentence_transformers.SentenceTransformer(str(out), device="cpu")


@pytest.mark.parametrize(
  ("pooling", "dense"),
  [("mean", "Tanh"), ("cls", "Identity"), ("lasttoken", "Identity"), ("max", "")],
)
def test_the_vectors_are_those_of_sentence_transformers(backbone, tmp_path, pooling, dense):
  model_type, folder = backbone
  if model_type in DECODERS and pooling == "cls":
    pytest.skip("the first token of a causal model sees nothing but itself")
  theirs = written(folder, tmp_path, pooling, getattr(torch.nn, dense)() if dense else None)
  ours = load(tmp_path)
  assert ours.max_length == 40
  tolerance = 1e-4 if model_type in DECODERS else 1e-5
  np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), rtol=0, atol=tolerance)
  queries = theirs.encode_query(TEXTS)
  assert np.abs(queries - theirs.encode(TEXTS)).max() > 1e-3
  np.testing.assert_allclose(ours.encode(TEXTS, "query"), queries, rtol=0, atol=tolerance)


def test_the_front_door(backbone, tmp_path):
  model_type, folder = backbone
  if model_type not in ("mpnet", "modernbert"):
    pytest.skip("the command is the same for all: two of them are enough")
  theirs = written(folder, tmp_path / "model", "mean", torch.nn.Tanh())
  (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
  command = [sys.executable, "-m", "mtc.embed", f"--model={tmp_path / 'model'}", f"--input={tmp_path / 'texts.jsonl'}"]
  subprocess.run([*command, f"--output={tmp_path / 'out.npy'}"], check=True, env=dict(os.environ, JAX_PLATFORMS="cpu"))
  np.testing.assert_allclose(np.load(tmp_path / "out.npy"), theirs.encode(TEXTS), rtol=0, atol=1e-5)


def written_static(tokenizer, out, dense="", normalize=True):
  """A static embedding as sentence-transformers saves it, and the same read back by sentence-transformers."""
  parts = sentence_transformers.sentence_transformer.modules
  torch.manual_seed(0)
  words = type(tokenizer).from_str(tokenizer.to_str())
  modules = [parts.StaticEmbedding(words, embedding_dim=WIDTH)]
  modules += [parts.Dense(WIDTH, 7, activation_function=getattr(torch.nn, dense)())] if dense else []
  modules += [parts.Normalize()] if normalize else []
  sentence_transformers.SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu").save(str(out))
  return sentence_transformers.SentenceTransformer(str(out), device="cpu")


def as_older_versions(saved, out):
  """The same files with the table and its tokenizer in a folder, and the short names of the modules."""
  shutil.copytree(saved, out)
  modules = json.loads((out / "modules.json").read_text())
  modules[0]["path"] = "0_StaticEmbedding"
  for module in modules:
    module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
  (out / "modules.json").write_text(json.dumps(modules))
  (out / "0_StaticEmbedding").mkdir()
  for name in ("model.safetensors", "tokenizer.json"):
    (out / name).rename(out / "0_StaticEmbedding" / name)


@pytest.mark.parametrize("layout", ["root", "folder"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dense", ["", "Identity", "Tanh"])
def test_the_vectors_of_a_static_embedding_are_those_of_sentence_transformers(
  tokenizer, tmp_path, dense, normalize, layout
):
  theirs, folder = written_static(tokenizer, tmp_path / "root", dense, normalize), tmp_path / layout
  assert (tmp_path / "root" / "tokenizer.json").is_file()
  if layout == "folder":
    as_older_versions(tmp_path / "root", folder)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
  ours = load(folder)
  documents = theirs.encode(TEXTS, normalize_embeddings=True)
  np.testing.assert_allclose(ours.encode(TEXTS), documents, rtol=0, atol=1e-5)
  queries = theirs.encode_query(TEXTS, normalize_embeddings=True)
  assert np.abs(queries - documents).max() > 1e-3
  np.testing.assert_allclose(ours.encode(TEXTS, "query"), queries, rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_length", [12, 100])
@pytest.mark.parametrize("dense", ["", "Identity", "Tanh"])
def test_sentence_transformers_reads_the_static_embedding_that_mtc_writes(tokenizer, tmp_path, dense, max_length):
  uncut = written_static(tokenizer, tmp_path / "theirs", dense)
  ours = replace(load(tmp_path / "theirs"), max_length=max_length)
  save.write(ours, tmp_path / "ours")
  theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
  assert load(tmp_path / "ours").max_length == max_length
  for role, encode in (("document", "encode_document"), ("query", "encode_query")):
    vectors = getattr(theirs, encode)(TEXTS)
    np.testing.assert_allclose(ours.encode(TEXTS, role), vectors, rtol=0, atol=1e-5)
    changed = np.abs(vectors - getattr(uncut, encode)(TEXTS)).max(axis=1)
    assert (changed[2] > 1e-3) == (max_length == 12)


def test_a_float16_static_embedding_is_one_of_sentence_transformers(static_dir):
  theirs = sentence_transformers.SentenceTransformer(str(static_dir), device="cpu")
  assert theirs[0].embedding.weight.dtype == torch.float16
  vectors = theirs.float().encode(SCRIPTS)
  np.testing.assert_allclose(mtc.load(static_dir).encode(SCRIPTS), vectors, rtol=0, atol=1e-5)


def test_mini_exported_is_a_model_of_sentence_transformers(tmp_path):
  mini = mtc.load("mtc-mini")
  save.write(mini, tmp_path / "mini", dtype="float16")
  theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "mini"), device="cpu")
  for role, encode in (("document", theirs.encode_document), ("query", theirs.encode_query)):
    np.testing.assert_allclose(mini.encode(SCRIPTS, role=role), encode(SCRIPTS), rtol=0, atol=1e-5)
