import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc import losses
from mtc.types import Embeddings

STORED = json.loads((Path(__file__).parent / "references.json").read_text())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("reference", STORED["references"], ids=lambda r: f"{r['loss']}-{r['hard']}-{r['options']}")
def test_equals_sentence_transformers(reference):
  options = {k: tuple(v) if isinstance(v, list) else v for k, v in reference["options"].items()}
  match reference["loss"]:
    case "InfoNCE":
      loss = losses.InfoNCE(**options)
    case "Matryoshka":
      loss = losses.Matryoshka(losses.InfoNCE(temperature=0.2), **options)
    case name:
      loss = getattr(losses, name)(**options)
  loss.validate(6)

  def mean(vectors):
    unit = {name: v / jnp.linalg.norm(v, axis=-1, keepdims=True) for name, v in vectors.items()}
    keys, score, hard = np.full((5, 1), -1, np.int32), np.array(STORED["inputs"]["score"]), reference["hard"]
    negatives, teacher = (unit["negatives"][:, :hard] if hard else None), np.array(STORED["inputs"]["teacher"])
    e = Embeddings(
      unit["anchor"], unit["positive"], negatives, None, keys, None, score, np.ones(5), teacher[:, : 2 + hard]
    )
    return loss({}, e, e, 0).mean()

  vectors = {name: np.array(STORED["inputs"][name]) for name in reference["gradients"]}
  value, grads = jax.value_and_grad(mean)(vectors)
  np.testing.assert_allclose(value, reference["value"], rtol=1e-12)
  for name, grad in reference["gradients"].items():
    np.testing.assert_allclose(grads[name], np.array(grad), atol=2e-13)  # they are stored with 13 decimals
