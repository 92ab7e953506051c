"""What training needs: counted by hand, beside the buffers of XLA, and as docs/models.md says."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from mtc.models import LoraSpec, ModelSpec, build
from mtc.models.memory import training_bytes
from mtc.types import Tokens

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "models.md"


def _config(model_type, width, mlp, layers, heads, vocab, **rest):
  return {
    "model_type": model_type,
    "hidden_size": width,
    "intermediate_size": mlp,
    "num_hidden_layers": layers,
    "num_attention_heads": heads,
    "vocab_size": vocab,
    "max_position_embeddings": 512,
    **rest,
  }


SMALL = _config("llama", 8, 12, 2, 2, 30)
# embeddings; in each layer two norms, four square kernels and three of the MLP; the last norm
COUNT = 30 * 8 + 2 * (2 * 8 + 4 * 8 * 8 + 3 * 8 * 12) + 8


def test_whole():
  found = training_bytes(SMALL, ModelSpec(dim=5), tokens=64, length=16)
  assert found.parameters == found.trained == COUNT + 8 * 5 + 5
  assert found.state == 16 * found.parameters
  assert found.total == found.state + found.activations


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_lora(dtype, size):
  spec = ModelSpec(dim=5, pretrained="x", lora=LoraSpec(rank=3, targets=("query", "mlp_gate")))
  found = training_bytes(SMALL, spec, tokens=64, length=16, frozen_dtype=dtype)
  assert found.trained == 2 * 3 * ((8 + 8) + (8 + 12)) + 8 * 5 + 5
  assert found.parameters == COUNT + found.trained
  assert found.state == 16 * found.trained + size * COUNT


@pytest.mark.parametrize("length", [32, 128])
def test_activations_beside_the_buffers_of_xla(length):
  config = _config("qwen3", 64, 192, 8, 4, 50, head_dim=16, num_key_value_heads=4)
  spec = ModelSpec(dim=0, dropout=0.0, dtype="float32")
  encoder = build(config, spec)
  grid = jax.ShapeDtypeStruct((1024 // length, length), jnp.int32)
  tokens = Tokens(ids=grid, segment=grid, position=grid, slots=2)

  def loss(params, tokens):
    return jnp.sum(encoder.pool(params, encoder.apply(params, tokens, None), tokens) ** 2)

  params = jax.eval_shape(encoder.init, jax.random.key(0))
  buffers = jax.jit(jax.grad(loss)).lower(params, tokens).compile().memory_analysis().temp_size_in_bytes
  assert 0.75 < training_bytes(config, spec, 1024, length).activations / buffers < 1.25


KNOWN = {
  "all-MiniLM-L6-v2": _config("bert", 384, 1536, 6, 12, 30522),
  "bert-base, e5-base, bge-base": _config("bert", 768, 3072, 12, 12, 30522),
  "ModernBERT-base": _config("modernbert", 768, 1152, 22, 12, 50368),
  "multilingual-e5-base": _config("xlm-roberta", 768, 3072, 12, 12, 250002),
  "multilingual-e5-large, bge-m3": _config("xlm-roberta", 1024, 4096, 24, 16, 250002),
  "EmbeddingGemma-300M": _config("gemma3_text", 768, 1152, 24, 3, 262144, num_key_value_heads=1, head_dim=256),
  "Qwen3-Embedding-0.6B": _config("qwen3", 1024, 3072, 28, 16, 151669, num_key_value_heads=8, head_dim=128),
  "Llama-3.2-1B": _config("llama", 2048, 8192, 16, 32, 128256, num_key_value_heads=8),
  "gte-Qwen2-1.5B": _config("qwen2", 1536, 8960, 28, 12, 151646, num_key_value_heads=2),
  "Qwen3-Embedding-4B": _config("qwen3", 2560, 9728, 36, 32, 151669, num_key_value_heads=8, head_dim=128),
  "E5-Mistral-7B": _config("mistral", 4096, 14336, 32, 32, 32000, num_key_value_heads=8),
  "Qwen3-Embedding-8B": _config("qwen3", 4096, 12288, 36, 32, 151669, num_key_value_heads=8, head_dim=128),
}


def _device(total):
  return next((f"{size} GB" for size in (16, 24, 40, 80) if total < 0.9 * size * 2**30), "none of these")


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "EmbeddingGemma-300M", "Qwen3-Embedding-0.6B"])
def test_the_table_of_the_docs(name):
  assert _row(name) in DOCS.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_whole_table_of_the_docs():
  lines = DOCS.read_text(encoding="utf-8").splitlines()
  assert [row for row in map(_row, KNOWN) if row not in lines] == []


def _row(name):
  whole, lora = (
    training_bytes(KNOWN[name], ModelSpec(dim=0, pretrained="x", lora=LoraSpec(rank=rank)), tokens=2048, length=128)
    for rank in (0, 16)
  )
  gib = [f"{found.total / 2**30:.1f} GiB" for found in (whole, lora)]
  return (
    f"| {name} | {KNOWN[name]['model_type']} | {whole.parameters / 1e6:,.0f} M | {gib[0]} | {_device(whole.total)} "
    f"| {lora.trained / 1e6:.1f} M | {gib[1]} | {_device(lora.total)} |"
  )
