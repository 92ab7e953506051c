"""The products of matrices: on CPU in bfloat16 their gradients take a path of their own, and are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc.models import dense


@pytest.mark.parametrize("shape", [(), (2, 3)], ids=["one", "many"])
@pytest.mark.parametrize("name", ["product", "inner_products"])
@pytest.mark.parametrize("out", [jnp.bfloat16, jnp.float32])
def test_gradients_in_bfloat16_are_those_of_float64_by_hand(name, shape, out):
  rng = np.random.default_rng(0)
  a = jnp.asarray(rng.normal(size=(*shape, 24, 16)), jnp.bfloat16)
  b = jnp.asarray(rng.normal(size=(*shape, *((16, 40) if name == "product" else (40, 16)))), jnp.bfloat16)
  cotangent = jnp.asarray(rng.normal(size=(*shape, 24, 40)), jnp.bfloat16).astype(out)

  value, pull = jax.vjp(jax.jit(lambda a, b: getattr(dense, name)(a, b, out)), a, b)
  of_a, of_b = pull(cotangent)
  assert (value.dtype, of_a.dtype, of_b.dtype) == (out, jnp.bfloat16, jnp.bfloat16)
  exact_a, exact_b, exact = (np.asarray(x, np.float64) for x in (a, b, cotangent))
  right = exact_b if name == "product" else exact_b.swapaxes(-1, -2)
  by_hand = exact_a.swapaxes(-1, -2) @ exact
  _check(value, exact_a @ right)
  _check(of_a, exact @ right.swapaxes(-1, -2))
  _check(of_b, by_hand if name == "product" else by_hand.swapaxes(-1, -2))


def test_the_gradient_of_a_float32_kernel_is_not_rounded_to_bfloat16():
  rng = np.random.default_rng(0)
  inputs = jnp.asarray(rng.normal(size=(24, 16)), jnp.bfloat16)
  kernel = jnp.asarray(rng.normal(size=(16, 40)), jnp.float32)
  gradient = jax.jit(jax.grad(lambda k: jnp.sum(dense.dense(inputs, k, None) ** 2)))(kernel)
  exact = np.asarray(inputs, np.float64)
  outputs = np.asarray(dense.dense(inputs, kernel, None), np.float64)
  asked = np.asarray(jnp.asarray(2 * outputs, jnp.bfloat16), np.float64)
  assert gradient.dtype == jnp.float32
  np.testing.assert_allclose(gradient, exact.T @ asked, rtol=0, atol=1e-5 * np.abs(gradient).max())


def test_a_checkpointed_chunk_has_the_gradient_of_the_whole():
  rng = np.random.default_rng(0)
  inputs = jnp.asarray(rng.normal(size=(4, 8, 16)), jnp.bfloat16)
  kernel = jnp.asarray(rng.normal(size=(16, 16)), jnp.float32)

  def chunked(kernel):
    return jnp.sum(jax.lax.map(jax.checkpoint(lambda x: dense.dense(x, kernel, None)), inputs).astype(jnp.float32))

  def whole(kernel):
    return jnp.sum(dense.dense(inputs.reshape(32, 16), kernel, None).astype(jnp.float32))

  np.testing.assert_allclose(jax.grad(chunked)(kernel), jax.grad(whole)(kernel), rtol=1e-5, atol=1e-5)


def _check(found: jax.Array, exact: np.ndarray) -> None:
  np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=0, atol=2**-8 * np.abs(exact).max())
