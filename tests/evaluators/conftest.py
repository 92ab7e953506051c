"""Encoders that look their vectors up."""

import json
import pathlib

import numpy as np
import pytest

from mtc.evaluators import Labelled


@pytest.fixture
def encoder():
  """A function from {text: vector} to a TextEncoder; {(text, role): vector} where the role matters."""

  def build(table):
    def encode(texts, role="document"):
      return np.array([table[(text, role)] if (text, role) in table else table[text] for text in texts], np.float32)

    return encode

  return build


@pytest.fixture(scope="session")
def mteb():
  """What make_mteb_numbers.py wrote: made data, and mteb's numbers on them."""
  return json.loads(pathlib.Path(__file__).with_name("mteb_numbers.json").read_text())


@pytest.fixture
def mteb_labelled(mteb):
  """A function from a field of labels to a table for `numbered`: the last half of mteb's texts, the first to learn."""
  data = mteb["labelled"]

  def build(field="labels"):
    labels = [[f"l{label}" for label in (row if isinstance(row, list) else [row])] for row in data[field]]
    texts = [str(i) for i in range(240)]
    return Labelled(texts[120:], labels[120:], (), texts[:120], labels[:120])

  return build


@pytest.fixture
def numbered():
  """A function from a matrix to a TextEncoder of the texts "0", "1", ...: the text is the number of its row."""

  def build(matrix):
    return lambda texts, role="document": np.asarray(matrix, np.float32)[[int(text) for text in texts]]

  return build
