"""`python -m mtc.embed` beside sentence-transformers, for directories that it wrote itself (the extra mtc[torch])."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mtc.embed import load

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
  prompts = {"query": "who wrote about ", "document": ""}
  made = sentence_transformers.SentenceTransformer(modules=[*modules, parts.Normalize()], prompts=prompts, device="cpu")
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
