"""Dropout: how many, which, and that no two masks are alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models.dropout import Dropout, dropout

SHAPE = (40, 50, 60)


def masks(count, rate=0.3):
  keys = jax.random.split(jax.random.key(1), count)
  found = jax.vmap(lambda key: dropout(jnp.ones(SHAPE), rate, key))(keys)
  return np.asarray(found == 0).reshape(count, -1)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_mean_stays_and_so_many_are_dropped(rate):
  found = np.asarray(dropout(jnp.full(SHAPE, 2.0), rate, jax.random.key(0)))
  np.testing.assert_allclose(np.unique(found), [0, 2 / (1 - rate)], rtol=1e-6)
  of_chance = np.sqrt(rate * (1 - rate) / found.size)
  assert abs(np.mean(found == 0) - rate) < 4 * of_chance


def test_masks_of_different_keys_have_nothing_to_do_with_each_other():
  a = masks(8) - 0.3
  correlation = a @ a.T / a.shape[1] / (0.3 * 0.7)
  np.testing.assert_allclose(correlation, np.eye(8), atol=4 / np.sqrt(a.shape[1]))
  # Nor is one the other in another order, as those of one hash of `place ^ key` are.
  counts = [tuple(np.add.reduceat(mask, range(0, len(mask), 4096))) for mask in masks(8)]
  assert len(set(counts)) == 8


@pytest.mark.parametrize("shift", [1, 2, 3, 50, 60, 64, 128, 3000, 4096])
def test_neighbours_have_nothing_to_do_with_each_other(shift):
  a = masks(4) - 0.3
  correlation = np.mean(a[:, shift:] * a[:, :-shift], axis=1) / (0.3 * 0.7)
  np.testing.assert_allclose(correlation, 0, atol=4 / np.sqrt(a.shape[1]))


def test_the_gradient_has_the_same_mask():
  key = jax.random.key(2)
  found, pull = jax.vjp(lambda x: dropout(x, 0.25, key), jnp.ones(SHAPE))
  np.testing.assert_array_equal(pull(jnp.ones(SHAPE))[0], found)


def test_the_module_draws_only_in_training():
  ones = jnp.ones(SHAPE)
  for module in (Dropout(0.5, deterministic=True), Dropout(0.0, deterministic=False)):
    assert module.apply({}, ones) is ones
  drop = Dropout(0.5, deterministic=False)
  first, second = (drop.apply({}, ones, rngs={"dropout": jax.random.key(i)}) for i in (1, 2))
  assert np.mean(np.asarray(first) != np.asarray(second)) > 0.4
