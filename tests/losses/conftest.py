"""Examples to score: unit vectors with keys that meet, scores that tie, missing hard negatives and filler rows."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest

from mtc.types import Embeddings


@pytest.fixture
def x64() -> Iterator[None]:
  """Float64 in jax, for tests that compare to the last digits."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def draw() -> Callable[..., Embeddings]:
  """A function that draws random examples; `fillers` are the rows that get weight 0."""

  def draw(
    examples: int = 8, hard: int = 2, dim: int = 6, fillers: tuple[int, ...] = (), dtype: type = np.float64
  ) -> Embeddings:
    random = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
      x = random.normal(size=shape)
      return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(dtype)

    weight = np.ones(examples, np.float32)
    weight[list(fillers)] = 0
    return Embeddings(
      anchor=unit(examples, dim),
      positive=unit(examples, dim),
      negatives=unit(examples, hard, dim) if hard else None,
      negative_mask=random.random((examples, hard)) < 0.8 if hard else None,
      keys=_keys(random, examples, 3),
      negative_keys=_keys(random, examples, hard) if hard else None,
      score=random.integers(-2, 2, examples).astype(dtype) / 4,
      weight=weight,
      teacher=unit(examples, 2 + hard, 9),
    )

  return draw


def _keys(random: np.random.Generator, examples: int, m: int) -> np.ndarray:
  """A pair of rows meets with a probability of about a third; a third of the keys are none."""
  return np.where(random.random((examples, m)) < 0.33, -1, random.integers(0, 12, (examples, m))).astype(np.int32)
