import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.losses import CoSENT, InfoNCE, Matryoshka, Sigmoid, unit


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("inner", [InfoNCE(learn_temperature=True), Sigmoid(), CoSENT()])
def test_is_the_weighted_sum_over_cut_vectors(draw, inner):
  e = draw(fillers=(3,))
  loss, scalars = Matryoshka(inner, dims=(2, 6), weights=(0.25, 2.0)), inner.init()
  assert jax.tree.structure(loss.init()) == jax.tree.structure(scalars)
  first = [x[..., :2] / np.linalg.norm(x[..., :2], axis=-1, keepdims=True) for x in (e.anchor, e.positive, e.negatives)]
  cut = e.replace(anchor=first[0], positive=first[1], negatives=first[2])
  expected = 0.25 * inner(scalars, cut, cut, 0) + 2 * inner(scalars, e, e, 0)
  np.testing.assert_allclose(loss(scalars, e, e, 0), expected, rtol=1e-12)
  unweighted = inner(scalars, cut, cut, 0) + inner(scalars, e, e, 0)
  np.testing.assert_allclose(Matryoshka(inner, dims=(2, 6))(scalars, e, e, 0), unweighted, rtol=1e-12)


def test_example_of_the_docstring(draw):
  e = draw(examples=2, dim=3, hard=0, dtype=np.float32)
  vector = np.float32([[0.6, 0, 0.8], [0, 1, 0]])
  e = e.replace(anchor=vector, positive=vector, keys=np.full((2, 1), -1, np.int32))
  # At two dimensions the pairs are [1, 0] and [0, 1]: the example of InfoNCE.
  np.testing.assert_allclose(Matryoshka(InfoNCE(1.0), dims=(2,))({}, e, e, 0), [0.3133] * 2, atol=5e-5)


def test_a_beginning_of_zeros_has_finite_gradients(draw):
  e = draw(dtype=np.float32)
  anchor = e.anchor.copy()
  anchor[1, :2] = 0
  mean = lambda anchor: Matryoshka(dims=(2, 6))({}, (x := e.replace(anchor=anchor)), x, 0).mean()
  value, grad = jax.value_and_grad(mean)(anchor)
  assert np.isfinite(value)
  assert np.isfinite(grad).all()
  assert np.abs(grad).max() < 1e3


def test_unit_length_has_the_bits_of_rsqrt_and_zeros_pass_no_gradient_on():
  vectors = np.random.default_rng(0).normal(size=(50, 7)) * np.logspace(-5, 5, 50)[:, None]
  vectors = jnp.asarray(vectors, jnp.float32)
  expected = vectors * jax.lax.rsqrt(jnp.sum(vectors * vectors, axis=-1, keepdims=True))
  np.testing.assert_array_equal(unit(vectors), expected)
  vectors = vectors.at[3].set(0)
  gradient = jax.grad(lambda x: (unit(x) @ jnp.arange(7.0)).sum())(vectors)
  assert not unit(vectors)[3].any() and not gradient[3].any()
  assert np.isfinite(gradient).all() and gradient[4].any()


@pytest.mark.parametrize(
  ("loss", "message"),
  [
    (Matryoshka(), "dims of Matryoshka is empty; name the dimensions to train, e.g. (50, 25)"),
    (Matryoshka(dims=(64, 8)), "dims=(64, 8) of Matryoshka: 64 is not from 1 to 50, the model's dimensions"),
    (Matryoshka(dims=(0,)), "dims=(0,) of Matryoshka: 0 is not from 1 to 50"),
    (Matryoshka(dims=(8, 8)), "dims=(8, 8) of Matryoshka has one twice"),
    (Matryoshka(dims=(8, 50), weights=(1.0,)), "weights=(1.0,) of Matryoshka do not match dims=(8, 50)"),
    (Matryoshka(dims=(8,), weights=(0.0,)), "weights=(0.0,) of Matryoshka are not all positive"),
    (Matryoshka(InfoNCE(temperature=-1), dims=(8,)), "temperature=-1 of InfoNCE is not a positive number"),
    (Matryoshka(Matryoshka(dims=(16,)), dims=(50, 8)), "dims=(16,) of Matryoshka: 16 is not from 1 to 8"),
  ],
)
def test_bad_fields(loss, message):
  Matryoshka(dims=(50, 8), weights=(1.0, 0.5)).validate(50)
  Matryoshka(dims=(50, 8)).validate(0)  # the encoder's width, which is not known yet
  with pytest.raises(ValueError, match=re.escape(message)):
    loss.validate(50)
