import numpy as np
import pytest
from scipy import sparse

from mtc.evaluators.similarity import UNITS, cosines, similarity_blocks, top_k


def signs(rng, count):
  return (rng.choice([-1, 1], (count, 16)) / 4).astype(np.float32)  # unit rows whose cosines are exact, with ties


def test_worked_example():
  query = np.array([[1, 0]], np.float32)
  documents = np.array([[0.5, 0.75**0.5], [0.9, 0.19**0.5], [0.5, -(0.75**0.5)]], np.float32)
  assert top_k(query, documents, 2).tolist() == [[1, 0]]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("k", [1, 7, 50, 80])
def test_top_k_is_a_stable_sort(form, k):
  rng = np.random.default_rng(0)
  queries, documents = signs(rng, 30), signs(rng, 50)
  wanted = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k]
  np.testing.assert_array_equal(top_k(form(queries), form(documents), k), wanted)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("rows, columns", [(1, 30), (7, 13), (8, 200), (200, 16), (50, 20)])
@pytest.mark.parametrize("k", [1, 10, 33])
def test_blocks_of_queries_and_documents_find_what_one_block_finds(form, rows, columns, k):
  rng = np.random.default_rng(3)
  queries, documents = signs(rng, 50), signs(rng, 200)
  whole = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k]
  np.testing.assert_array_equal(top_k(form(queries), form(documents), k, rows, columns), whole)


@pytest.mark.parametrize("seed", range(10))
def test_documents_a_unit_apart_are_told_apart_across_blocks(seed):
  units = np.random.default_rng(seed).permutation(np.repeat(np.arange(-10, 10), 6))
  documents = np.stack([units / UNITS, np.sqrt(1 - (units / UNITS) ** 2)], axis=1).astype(np.float32)
  wanted = np.argsort(-units, kind="stable")[:9]
  for columns in (5, 40, 200):
    assert top_k(np.array([[1, 0]], np.float32), documents, 9, 10, columns)[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("block", [1, 100, 170, 10**6])
def test_blocks_are_bounded_and_join_to_the_whole(form, block):
  rng = np.random.default_rng(1)
  queries, documents = signs(rng, 30), signs(rng, 50)
  parts = list(similarity_blocks(form(queries), form(documents), block))
  assert all(scores.size <= max(block, 50) for _, scores in parts)
  np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts]), np.arange(30))
  np.testing.assert_array_equal(np.concatenate([scores for _, scores in parts]), UNITS * (queries @ documents.T))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_cosines_of_pairs_are_the_diagonal(form):
  rng = np.random.default_rng(2)
  a, b = signs(rng, 20), signs(rng, 20)
  np.testing.assert_array_equal(cosines(form(a), form(b)), UNITS * np.diag(a @ b.T))
