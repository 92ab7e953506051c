import re

import numpy as np
import pytest

from mtc.losses import CoSENT, CosineRegression, EmbeddingDistillation, InfoNCE, Sigmoid, SimilarityDistillation, Sum


@pytest.mark.usefixtures("x64")
def test_it_is_the_weighted_sum_and_each_loss_has_its_own_scalars(draw):
  e = draw()
  parts = (InfoNCE(learn_temperature=True), CoSENT(), Sigmoid())
  loss = Sum(parts, weights=(2.0, 0.5, 0.1))
  scalars = loss.init()
  assert set(scalars) == {"0_log_scale", "2_log_scale", "2_bias"}
  scalars["2_bias"] = scalars["2_bias"] + 3
  own = [parts[0].init(), {}, Sigmoid(bias=-7).init()]
  expected = sum(weight * part(of, e, e, 0) for weight, part, of in zip((2.0, 0.5, 0.1), parts, own, strict=True))
  np.testing.assert_allclose(loss(scalars, e, e, 0), expected, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_the_example_of_the_docstring(draw):
  e = draw()
  expected = 2 * CosineRegression()({}, e, e, 0) + 0.5 * CoSENT()({}, e, e, 0)
  np.testing.assert_allclose(Sum((CosineRegression(), CoSENT()), weights=(2.0, 0.5))({}, e, e, 0), expected, rtol=1e-12)


def test_it_scores_single_texts_where_all_losses_do():
  both = (EmbeddingDistillation(), SimilarityDistillation())
  assert Sum(both).single and not Sum((*both, InfoNCE())).single
  assert Sum(both).teacher_dim(50) == 50 and Sum((InfoNCE(), CoSENT())).teacher_dim(50) == 0


@pytest.mark.parametrize(
  ("loss", "message"),
  [
    (Sum(), "losses of Sum is empty"),
    (Sum((CoSENT(),), weights=(1.0, 2.0)), "weights=(1.0, 2.0) of Sum do not match its 1 losses"),
    (Sum((CoSENT(),), weights=(0.0,)), "weights=(0.0,) of Sum are not all positive"),
    (Sum((CoSENT(), CoSENT(scale=-1))), "scale=-1 of CoSENT is not a positive number"),
  ],
)
def test_bad_fields(loss, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    loss.validate(50)
