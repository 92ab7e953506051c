"""The operations of an encoder's training: pairs of tokens by hand, and the count beside XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc import optim
from mtc.models import LoraSpec, ModelSpec, build, training_work
from mtc.models.work import attended
from mtc.types import Tokens

ROWS, LENGTH = 16, 32
WIDTH, MLP = 256, 1024


def _config(model_type, **rest):
  return {
    "model_type": model_type,
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    **rest,
  }


CONFIGS = {
  "bert": _config("bert", type_vocab_size=2),
  "modernbert": _config("modernbert", global_attn_every_n_layers=1, pad_token_id=0),
  "qwen3": _config("qwen3", head_dim=48, num_key_value_heads=2),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [0, 1, 3, 9])
def test_pairs_that_attend_to_each_other(window, causal):
  lengths = [1, 3, 8]
  pairs = sum(
    (abs(i - j) <= window or not window) and (j <= i or not causal) for n in lengths for i in range(n) for j in range(n)
  )
  assert attended(np.concatenate([np.arange(n) for n in lengths]), window, causal) == pairs
  assert [attended(np.arange(3), *kind) for kind in ((0, False), (0, True), (1, False), (1, True))] == [9, 6, 7, 5]


def test_padding_and_pairs_of_different_texts_are_no_work():
  config = CONFIGS["bert"]
  params = jax.eval_shape(build(config, ModelSpec(dim=8)).init, jax.random.key(0))
  work = training_work(config, params, params)
  weights = 3 * (4 * WIDTH**2 + 2 * WIDTH * MLP)
  assert (work.token, work.text, work.attention) == (6 * weights, 6 * WIDTH * 8, {(0, False): 3 * 12 * WIDTH})
  segment = np.array([[[1, 1, 1, 2, 2, 0]]], np.int32)
  position = np.array([[[0, 1, 2, 0, 1, 0]]], np.int32)
  tokens = Tokens(ids=segment, segment=segment, position=position, slots=2)
  assert work.of(tokens) == 5 * 6 * weights + 2 * 6 * WIDTH * 8 + (9 + 4) * 3 * 12 * WIDTH


@pytest.mark.parametrize(
  ("model_type", "freeze", "lora"),
  [
    ("bert", (), 0),
    ("bert", ("backbone",), 0),
    ("bert", ("backbone/embeddings", "backbone/layer_[01]"), 0),
    ("bert", ("backbone/embeddings",), 0),
    ("bert", (), 8),
    ("modernbert", (), 0),
    ("qwen3", (), 0),
  ],
)
def test_the_count_beside_that_of_xla(model_type, freeze, lora):
  config = CONFIGS[model_type]
  spec = ModelSpec(dim=16, dropout=0.0, dtype="float32", lora=LoraSpec(rank=lora), pretrained="x" if lora else "")
  encoder = build(config, spec)
  params = jax.eval_shape(encoder.init, jax.random.key(0))
  grid = np.ones((ROWS, LENGTH), np.int32)
  tokens = Tokens(ids=grid, segment=grid, position=np.arange(LENGTH, dtype=np.int32)[None] * grid, slots=1)
  trained, frozen = (part["encoder"] for part in optim.split({"encoder": params}, freeze))

  def loss(trained, frozen):
    whole = optim.merge(trained, frozen)
    return jnp.sum(encoder.pool(whole, encoder.apply(whole, tokens, None), tokens) ** 2)

  found = jax.jit(jax.grad(loss)).lower(trained, frozen).compile().cost_analysis()["flops"]
  work = training_work(config, params, trained)
  # XLA counts norms, activations and sums too. A row is one text here, so that all its pairs are work, as for XLA. It
  # knows no causal product: it computes both halves.
  work = work._replace(attention={(window, False): each for (window, _), each in work.attention.items()})
  assert work.of(tokens) == pytest.approx(found, rel=0.05)
