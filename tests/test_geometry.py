"""The geometry of embeddings, by loops over pairs in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtc.training import geometry


def unit_rows(rows: int, dim: int) -> np.ndarray:
  vectors = np.random.default_rng(0).normal(size=(rows, dim)) + 0.3
  return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rows", [7, 300])  # fewer than a block of rows, and more
def test_pairs_by_hand(rows):
  vectors = unit_rows(rows, 4)
  weight = np.ones(rows, np.float32)
  weight[[1, 5]] = 0
  real = [v for v, w in zip(vectors.astype(np.float64), weight) if w]
  pairs = [(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j]
  uniformity = np.log(np.mean([np.exp(-2 * ((a - b) ** 2).sum()) for a, b in pairs]))
  assert float(geometry.uniformity(jnp.asarray(vectors), weight)) == pytest.approx(uniformity, rel=1e-5)
  similarity = np.mean([a @ b for a, b in pairs])
  assert float(geometry.mean_similarity(jnp.asarray(vectors), weight)) == pytest.approx(similarity, rel=1e-5)


def test_the_examples():
  corners, both = jnp.array([[1.0, 0.0], [-1.0, 0.0]]), np.ones(2, np.float32)
  assert float(geometry.uniformity(corners, both)) == pytest.approx(-8)
  assert float(geometry.mean_similarity(jnp.eye(2), both)) == 0
  assert float(geometry.effective_rank(2 * jnp.eye(2))) == pytest.approx(2)
  assert geometry.squared_distances(corners, corners[::-1]).tolist() == [4, 4]


def test_one_point_is_collapse():
  vectors, weight = jnp.ones((5, 4)) / 2, np.ones(5, np.float32)
  assert float(geometry.uniformity(vectors, weight)) == pytest.approx(0, abs=1e-5)
  assert float(geometry.mean_similarity(vectors, weight)) == pytest.approx(1)
  assert float(geometry.effective_rank(vectors)) == pytest.approx(1, abs=1e-4)


def test_effective_rank_by_its_definition():
  vectors = unit_rows(30, 6) * np.array([1, 1, 0.1, 0.01, 0, 0], np.float32)
  values = np.sqrt(np.maximum(np.linalg.eigvalsh(vectors.astype(np.float64).T @ vectors.astype(np.float64)), 0))
  share = values / values.sum()
  expected = np.exp(-sum(p * np.log(p) for p in share if p > 1e-9))
  assert float(geometry.effective_rank(jnp.asarray(vectors))) == pytest.approx(expected, rel=1e-5)
  padded = np.concatenate([vectors, np.zeros((9, 6), np.float32)])
  assert float(geometry.effective_rank(jnp.asarray(padded))) == pytest.approx(expected, rel=1e-5)
