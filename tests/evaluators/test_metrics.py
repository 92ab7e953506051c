import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import f1_score

from mtc.evaluators.metrics import macro_f1


def test_worked_example():
  rows = [[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]]
  truth, guesses = (sparse.csr_array(np.array(each, np.int32)) for each in rows)
  assert macro_f1(truth, guesses)(np.arange(3)) == pytest.approx(2 / 3)


def test_equals_scikit_learn_on_rows_drawn_anew():
  rng = np.random.default_rng(0)
  truth, guesses = rng.integers(0, 9, (2, 40))
  measure = macro_f1(*(sparse.csr_array(np.eye(9, dtype=np.int32)[rows]) for rows in (truth, guesses)))
  for _ in range(20):
    rows = rng.integers(0, 40, 15)
    assert measure(rows) == pytest.approx(f1_score(truth[rows], guesses[rows], average="macro"), rel=1e-12)
