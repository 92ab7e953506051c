"""The dense layer on flat tokens: the one place where a backend may want another matrix product."""

import functools

from flax import linen as nn
import jax
from jax.experimental.layout import Layout, with_layout_constraint
import jax.numpy as jnp


class Dense(nn.Module):
  """Every dense layer of every architecture: `inputs @ kernel + bias`, [tokens, width] -> [tokens, features].

  Attributes:
    stddev: of a fresh kernel.
  """

  features: int
  use_bias: bool = True
  stddev: float = 0.02

  @nn.compact
  def __call__(self, inputs: jax.Array) -> jax.Array:
    kernel = self.param("kernel", nn.initializers.normal(self.stddev), (inputs.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
    return dense(inputs, kernel, bias)


def dense(inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> jax.Array:
  """`inputs @ kernel + bias` in the dtype of the inputs.

  Args:
    inputs: [tokens, width].
    kernel: f32[width, features].
    bias: f32[features]; None = no bias.
  """
  outputs = product(inputs, kernel, inputs.dtype)
  return outputs if bias is None else outputs + bias.astype(inputs.dtype)[None, :]


def product(a: jax.Array, b: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
  """`a @ b` of matrices [..., n, k] and [..., k, m], multiplied in the dtype of `a`, as an array of `dtype`."""
  if _bfloat16_on_cpu(a):
    return _product_on_cpu(a, b, dtype)
  return jnp.matmul(a, b.astype(a.dtype), precision=precision(a), preferred_element_type=dtype)


def inner_products(a: jax.Array, b: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
  """`a @ b.T` of matrices [..., n, k] and [..., m, k], as `product` does it."""
  if _bfloat16_on_cpu(a):
    return _product_on_cpu(a, jnp.swapaxes(b, -1, -2), dtype)
  return jnp.einsum("...nk,...mk->...nm", a, b, precision=precision(a), preferred_element_type=dtype)


def _bfloat16_on_cpu(x: jax.Array) -> bool:
  return x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu"


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product_on_cpu(a: jax.Array, b: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
  return jnp.matmul(a, b.astype(a.dtype), preferred_element_type=dtype)


def _forward(a: jax.Array, b: jax.Array, dtype: jax.typing.DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _product_on_cpu(a, b, dtype), (a, b)


def _backward(
  dtype: jax.typing.DTypeLike, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  a, b = saved
  gradient = gradient.astype(a.dtype)
  of_a = jnp.matmul(gradient, _transposed(b.astype(a.dtype)))
  of_b = jnp.matmul(_transposed(a), gradient, preferred_element_type=jnp.float32)
  return of_a, of_b.astype(b.dtype)


_product_on_cpu.defvjp(_forward, _backward)


def _transposed(x: jax.Array) -> jax.Array:
  """The transposed matrices, in memory: a bfloat16 product of which one side is only read so takes XLA on CPU longer.

  In float32 there is no such difference, and other backends read either way as fast.
  """
  return with_layout_constraint(jnp.swapaxes(x, -1, -2), Layout(tuple(range(x.ndim))))


def precision(inputs: jax.Array) -> jax.lax.Precision:
  """Full float32 for float32 inputs: by default GPUs and TPUs round them to fewer bits, which bfloat16 says openly."""
  return jax.lax.Precision.HIGHEST if inputs.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
