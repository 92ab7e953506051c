"""What a step's products need, by hand and beside XLA's own count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc import data, models, optim, parallel
from mtc.config import Task
from mtc.losses import CoSENT, InfoNCE, Matryoshka, Sigmoid, SimilarityDistillation
from mtc.training import flops, step as step_lib
from mtc.types import Batch, Embeddings, Step, Tokens

EXAMPLES, LENGTH, DIM = 512, 32, 48
BOTH = InfoNCE(directions=("query_to_doc", "query_to_query", "doc_to_query"))


@pytest.mark.parametrize(
  ("loss", "compared"),
  [
    (InfoNCE(), 4 * 3),
    (BOTH, 4 * 3 + 4 + 4),
    (Sigmoid(), 4 * 3),
    (SimilarityDistillation(), 4),
    (CoSENT(), 0),
    (Matryoshka(InfoNCE(), dims=(10, 5)), 4 * 3 * 1.5),
  ],
)
def test_what_four_examples_with_two_hard_negatives_are_compared_with(loss, compared):
  assert flops.loss_flops(loss, 4, 4, 2, 10) == 6 * 4 * compared * 10


def test_a_loss_beside_the_count_of_xla():
  rng = np.random.default_rng(0)
  vectors = [rng.normal(size=shape).astype(np.float32) for shape in ((32, 512), (32, 512), (32, 2, 512))]

  def loss(vectors):
    anchor, positive, hard = vectors
    keys, weight = jnp.full((32, 1), -1), jnp.ones(32)
    examples = Embeddings(anchor, positive, hard, jnp.ones((32, 2), bool), keys, None, None, weight)
    return jnp.sum(BOTH({}, examples, examples, 0))

  found = jax.jit(jax.grad(loss)).lower(vectors).compile().cost_analysis()["flops"]
  assert flops.loss_flops(BOTH, 32, 32, 2, 512) == pytest.approx(found, rel=0.05)


def test_a_step_beside_the_count_of_xla():
  devices = parallel.device_count()
  spec = models.ModelSpec(
    layers=1,
    width=256,
    heads=4,
    mlp_width=1024,
    vocab_size=60,
    positions=64,
    dim=DIM,
    dropout=0.0,
    dtype="float32",
  )
  config = models.scratch_config(spec, 0)
  encoder = models.build(config, spec)
  tasks = {"a": Task(data.InMemory({}), loss=BOTH, batch_size=EXAMPLES)}
  optimizer = optim.make_optimizer(optim.OptimSpec(), 9)
  state = step_lib.init_state(encoder.init(jax.random.key(0)), tasks, optimizer)
  each = EXAMPLES // devices
  grid = np.ones((devices, 2 * each, LENGTH), np.int32)
  tokens = Tokens(grid, grid, np.arange(LENGTH, dtype=np.int32)[None, None] * grid, slots=1)
  slot = np.tile(np.arange(2 * each, dtype=np.int32), (devices, 1))
  examples = Batch(
    anchor=slot[:, :each],
    positive=slot[:, each:],
    negatives=None,
    keys=np.full((devices, each, 1), -1, np.int32),
    negative_keys=None,
    score=None,
    weight=np.ones((devices, each), np.float32),
  )
  batch = Step(tokens, {"a": examples})
  found = step_lib.make_train_step(encoder, tasks, optimizer, 0).lower(state, batch).compile().cost_analysis()["flops"]
  work = models.training_work(config, state.params["encoder"], state.params["encoder"])
  # XLA counts on one device, and also what is no matrix product.
  counted = flops.step_flops(work, tasks, DIM)(batch) / devices
  assert counted == pytest.approx(found, rel=0.05)


def test_the_peak_of_this_machine():
  assert flops.matrix_peak("float32") > 1e8
