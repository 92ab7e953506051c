"""The dense layer on flat tokens: the one place where a backend may want another matrix product."""

import jax
import jax.numpy as jnp


def dense(inputs: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """`inputs @ kernel + bias` in the dtype of the inputs.

  Args:
    inputs: [tokens, width].
    kernel: f32[width, features].
    bias: f32[features].
  """
  product = jnp.matmul(inputs, kernel.astype(inputs.dtype), precision=precision(inputs))
  return product + bias.astype(inputs.dtype)[None, :]


def precision(inputs: jax.Array) -> jax.lax.Precision:
  """Full float32 for float32 inputs: by default GPUs and TPUs round them to fewer bits, which bfloat16 says openly."""
  return jax.lax.Precision.HIGHEST if inputs.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
