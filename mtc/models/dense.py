"""The dense layer on flat tokens: the one place where a backend may want another matrix product."""

from flax import linen as nn
import jax
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
  product = jnp.matmul(inputs, kernel.astype(inputs.dtype), precision=precision(inputs))
  return product if bias is None else product + bias.astype(inputs.dtype)[None, :]


def precision(inputs: jax.Array) -> jax.lax.Precision:
  """Full float32 for float32 inputs: by default GPUs and TPUs round them to fewer bits, which bfloat16 says openly."""
  return jax.lax.Precision.HIGHEST if inputs.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
