import re

import numpy as np
import pytest

from mtc.losses import CosineRegression
from mtc.types import Embeddings


@pytest.mark.usefixtures("x64")
def test_equals_loops(draw):
  e = draw(hard=0)
  expected = [(e.anchor[i] @ e.positive[i] - e.score[i]) ** 2 for i in range(8)]
  np.testing.assert_allclose(CosineRegression()({}, e, e, 0), expected, rtol=1e-12)
  shifted = e.replace(score=1 + 4 * e.score)
  np.testing.assert_allclose(CosineRegression((1.0, 5.0))({}, shifted, e, 0), expected, rtol=1e-12)


def test_example_of_the_docstring():
  anchor, positive = np.float32([[1, 0]]), np.float32([[0.5, 0.75**0.5]])
  one = np.ones(1, np.float32)
  e = Embeddings(anchor, positive, None, None, np.zeros((1, 0), np.int32), None, 4 * one, one)
  np.testing.assert_allclose(CosineRegression((0.0, 5.0))({}, e, e, 0), [0.09], rtol=1e-6)


@pytest.mark.parametrize(
  ("score_range", "message"),
  [
    ((1.0, 1.0), "score_range=(1.0, 1.0) of CosineRegression does not rise"),
    ((0.0, float("inf")), "score_range=(0.0, inf) of CosineRegression is not two numbers"),
    ((5.0,), "score_range=(5.0,) of CosineRegression is not two numbers"),
  ],
)
def test_bad_fields(score_range, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    CosineRegression(score_range).validate(50)


def test_examples_without_a_score(draw):
  e = draw().replace(score=None)
  with pytest.raises(ValueError, match="CosineRegression got examples without a score"):
    CosineRegression()({}, e, e, 0)
