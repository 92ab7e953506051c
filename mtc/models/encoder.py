"""The interface of this package: an encoder as three pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mtc.models import lora, pooling
from mtc.models.architecture import family, is_static, with_attention
from mtc.models.dense import dense
from mtc.models.spec import ModelSpec
from mtc.types import PyTree, Tokens


class Encoder(NamedTuple):
  """Tokens to hidden states to one vector for each slot.

  Attributes:
    init: key -> params: {"backbone": ..., "projection": {"kernel", "bias"}}, float32; no projection when dim is 0. With
      LoRA also "lora": see `lora.init`.
    apply: (params, tokens, key) -> hidden states [rows * length, width]; the key is for dropout, None = no dropout.
    pool: (params, hidden, tokens) -> f32[rows * slots, dim], projected, not normalised; finite for an empty slot.
  """

  init: Callable[[jax.Array], dict[str, Any]]
  apply: Callable[[PyTree, Tokens, jax.Array | None], jax.Array]
  pool: Callable[[PyTree, jax.Array, Tokens], jax.Array]


def build(config: dict[str, Any], spec: ModelSpec) -> Encoder:
  """Builds the encoder that a Hugging Face config describes, with the dropout, dim, pooling and dtype of the spec.

  Raises:
    ValueError: the config is not of a known encoder, or the spec is out of range.
  """
  spec.validate()
  architecture = family(config)
  sizes = architecture.read(with_attention(config, spec.attention))
  if is_static(config) and spec.pooling not in ("", "mean"):
    raise ValueError(f"model.pooling={spec.pooling!r} does not fit a static embedding; use 'mean' or leave it empty")
  backbone = architecture.module(sizes, spec.dropout, jnp.dtype(spec.dtype))

  def init(key: jax.Array) -> dict[str, Any]:
    backbone_key, projection_key = jax.random.split(key)
    one = jnp.ones((1, 1), jnp.int32)
    tokens = Tokens(ids=jnp.zeros_like(one), segment=one, position=jnp.zeros_like(one), slots=1)
    params = {"backbone": backbone.init(backbone_key, tokens, deterministic=True)["params"]}
    if spec.dim:
      kernel = 0.02 * jax.random.normal(projection_key, (sizes.width, spec.dim))
      params["projection"] = {"kernel": kernel, "bias": jnp.zeros(spec.dim)}
    if spec.lora.rank:
      params["lora"] = lora.init(jax.random.fold_in(key, 2), spec.lora, params["backbone"])
    return params

  def apply(params: PyTree, tokens: Tokens, key: jax.Array | None) -> jax.Array:
    keys = {} if key is None else {"dropout": key}
    variables = {"params": params["backbone"], "lora": params.get("lora", {})}
    with lora.adapted(spec.lora, deterministic=key is None):
      return jnp.asarray(backbone.apply(variables, tokens, deterministic=key is None, rngs=keys))

  def pool(params: PyTree, hidden: jax.Array, tokens: Tokens) -> jax.Array:
    pooled = pooling.pool(hidden, tokens, spec.pooling or "mean")
    if not spec.dim:
      return pooled
    projected = dense(pooled, params["projection"]["kernel"], params["projection"]["bias"])
    return jnp.tanh(projected) if spec.projection == "tanh" else projected

  return Encoder(init, apply, pool)
