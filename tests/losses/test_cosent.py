import numpy as np
import pytest

from mtc.losses import CoSENT


@pytest.mark.usefixtures("x64")
def test_equals_loops(draw):
  e, scale = draw(examples=9, fillers=(0, 5)), 7.0
  cosines = np.sum(e.anchor * e.positive, axis=1)
  total, real = 1.0, np.flatnonzero(e.weight)
  for i in real:
    for j in real:
      if e.score[i] < e.score[j]:
        total += np.exp(scale * (cosines[i] - cosines[j]))
  np.testing.assert_allclose(CoSENT(scale)({}, e, e, 0), np.full(9, np.log(total)), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_example_of_the_docstring(draw, scale):
  e = draw(examples=2, hard=0, dtype=np.float32)
  e = e.replace(positive=e.anchor, score=np.array([0, 1], np.float32))  # the cosines need only be equal
  np.testing.assert_allclose(CoSENT(scale)({}, e, e, 0), [0.6931] * 2, atol=5e-5)


@pytest.mark.usefixtures("x64")
def test_only_the_order_of_the_scores_matters(draw):
  e = draw(examples=9)
  other = e.replace(score=np.exp(5 * e.score) - 100)
  np.testing.assert_array_equal(CoSENT()({}, e, e, 0), CoSENT()({}, other, other, 0))


def test_nothing_to_order_is_no_loss(draw):
  e = draw(fillers=tuple(range(8)), dtype=np.float32)
  np.testing.assert_array_equal(CoSENT()({}, e, e, 0), np.zeros(8))
  e = draw(dtype=np.float32).replace(score=np.ones(8, np.float32))
  np.testing.assert_array_equal(CoSENT()({}, e, e, 0), np.zeros(8))


def test_bad_fields_and_input(draw):
  with pytest.raises(ValueError, match=r"scale=0 of CoSENT is not a positive number"):
    CoSENT(scale=0).validate(50)
  e = draw().replace(score=None)
  with pytest.raises(ValueError, match="CoSENT got examples without a score; use it with `Scored` examples"):
    CoSENT()({}, e, e, 0)
