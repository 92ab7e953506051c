"""Encoders that look their vectors up."""

import numpy as np
import pytest


@pytest.fixture
def encoder():
  """A function from {text: vector} to a TextEncoder; {(text, role): vector} where the role matters."""

  def build(table):
    def encode(texts, role="document"):
      return np.array([table[(text, role)] if (text, role) in table else table[text] for text in texts], np.float32)

    return encode

  return build


@pytest.fixture
def numbered():
  """A function from a matrix to a TextEncoder of the texts "0", "1", ...: the text is the number of its row."""

  def build(matrix):
    return lambda texts, role="document": np.asarray(matrix, np.float32)[[int(text) for text in texts]]

  return build
