"""The hidden states are those of PyTorch, from checkpoints and numbers that make_references.py stored."""

import pathlib

import numpy as np
import pytest
from safetensors.numpy import load_file

from mtc.models import ModelSpec, build, load_backbone, positions, read_config, width

ROOT = pathlib.Path(__file__).parent / "references"
NAMES = sorted(path.name for path in ROOT.iterdir())


@pytest.fixture(scope="module", params=NAMES)
def reference(request):
  directory = ROOT / request.param
  config = read_config(directory)
  expected = load_file(directory / "expected.safetensors")
  mask = expected["mask"].astype(bool)
  texts = [ids[real].tolist() for ids, real in zip(expected["ids"], mask)]
  hidden = [states[real] for states, real in zip(expected["hidden"], mask)]
  encoder = build(config, ModelSpec(dtype="float32", dim=0))
  return encoder, {"backbone": load_backbone(directory, config)}, texts, hidden


def test_two_references_for_each_architecture():
  types = [read_config(ROOT / name)["model_type"] for name in NAMES]
  for model_type in ("bert", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert"):
    assert types.count(model_type) == 2


def test_padded(reference, grid):
  encoder, params, texts, expected = reference
  tokens = grid([[text] for text in texts], length=9, slots=1)
  hidden = encoder.apply(params, tokens, None).reshape(len(texts), 9, -1)
  for row, states in enumerate(expected):
    np.testing.assert_allclose(hidden[row, : len(states)], states, rtol=0, atol=1e-5)


def test_packed(reference, grid):
  encoder, params, texts, expected = reference
  rows = [[0, 1], [2, 3, 4], [5]]
  tokens = grid([[texts[index] for index in row] for row in rows], length=16, slots=4)
  hidden = np.asarray(encoder.apply(params, tokens, None)).reshape(len(rows), 16, -1)
  for row, indices in enumerate(rows):
    for slot, index in enumerate(indices):
      found = hidden[row][tokens.segment[row] == slot + 1]
      np.testing.assert_allclose(found, expected[index], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  ("name", "length", "size"),
  [
    ("bert_gelu", 16, 16),
    ("distilbert_relu", 12, 24),
    ("roberta_gelu", 16, 16),
    ("roberta_relu", 12, 24),
    ("mpnet_relu", 12, 24),
  ],
)
def test_positions_and_width(name, length, size):
  # RoBERTa's tables have 18 and 16 rows; those up to the padding token's row, 1 and 3, are no positions.
  assert positions(read_config(ROOT / name)) == length
  assert width(read_config(ROOT / name)) == size
