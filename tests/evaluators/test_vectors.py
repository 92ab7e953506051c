import numpy as np
import pytest
from scipy import sparse

from mtc.evaluators.encoder import vectors

TEXTS = ["one", "two", "three", "four"]
ROWS = np.array([[3, 4], [0.6, 0.8], [0, 0], [0, -2]])


@pytest.mark.parametrize("form", [np.asarray, np.float16, sparse.csr_array, sparse.csr_matrix])
def test_rows_come_to_unit_length_and_zeros_stay(form):
  found = vectors(lambda texts, role: form(ROWS), TEXTS)
  dense = found if isinstance(found, np.ndarray) else found.toarray()
  assert dense.dtype == np.float32
  atol = 1e-3 if form is np.float16 else 1e-6
  np.testing.assert_allclose(dense, [[0.6, 0.8], [0.6, 0.8], [0, 0], [0, -1]], atol=atol)


def test_the_encoders_array_is_left_as_it_was():
  rows = ROWS.astype(np.float32)
  vectors(lambda texts, role: rows, TEXTS)
  np.testing.assert_array_equal(rows, ROWS.astype(np.float32))


def test_the_role_is_passed_on():
  roles = []
  vectors(lambda texts, role: roles.append(role) or ROWS, TEXTS, "query")
  vectors(lambda texts, role: roles.append(role) or ROWS, TEXTS)
  assert roles == ["query", "document"]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_vectors_that_are_not_finite_are_counted_and_the_first_is_named(form):
  rows = ROWS.copy()
  rows[1, 0], rows[3, 1] = np.nan, np.inf
  with pytest.raises(ValueError, match="2 of 4 vectors hold NaN or infinity, the first for text 1: 'two'"):
    vectors(lambda texts, role: form(rows), TEXTS)


@pytest.mark.parametrize("rows", [ROWS[:3], ROWS[0], ROWS[None], ROWS[:, :0]])
def test_a_wrong_shape(rows):
  with pytest.raises(ValueError, match=r"for 4 texts; expected \[4, dim\]"):
    vectors(lambda texts, role: rows, TEXTS)


def test_what_float32_cannot_hold_is_infinity():
  with pytest.raises(ValueError, match="3 of 4 vectors hold NaN or infinity"):
    vectors(lambda texts, role: ROWS * 1e300, TEXTS)


@pytest.mark.parametrize("kind", [str, complex, object, bool, np.int8, np.uint8, np.int64, np.longdouble])
def test_vectors_are_real_numbers(kind):
  words = "what the encoder returned has the dtype .*; expected float16, float32 or float64"
  with pytest.raises(ValueError, match=words):
    vectors(lambda texts, role: ROWS.astype(kind), TEXTS)
  with pytest.raises(ValueError, match=words):
    vectors(lambda texts, role: ROWS.astype(kind).tolist() if kind is np.int8 else ROWS.astype(kind), TEXTS)
  if kind in (bool, np.int8):
    with pytest.raises(ValueError, match=words):
      vectors(lambda texts, role: sparse.csr_array(ROWS.astype(kind)), TEXTS)
