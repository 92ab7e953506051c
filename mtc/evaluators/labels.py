"""Labels as a matrix: which row bears which label."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def label_matrix(labels: Sequence[Sequence[str]], names: Sequence[str]) -> sparse.csr_array:
  """i32[rows, names], 1 where the row bears the label; labels that are not among `names` are dropped."""
  column = {name: index for index, name in enumerate(names)}
  known = [sorted({column[label] for label in row if label in column}) for row in labels]
  indptr = np.cumsum([0, *map(len, known)])
  indices = np.array([index for row in known for index in row], np.int32)
  return sparse.csr_array((np.ones(len(indices), np.int32), indices, indptr), shape=(len(known), len(names)))


def label_names(labels: Sequence[Sequence[str]]) -> list[str]:
  """All labels that occur, sorted."""
  return sorted({label for row in labels for label in row})


def only_label(labels: Sequence[Sequence[str]], evaluator: str) -> list[str]:
  """The label of each row.

  Raises:
    ValueError: a row bears several.
  """
  several = [index for index, row in enumerate(labels) if len(row) > 1]
  if several:
    raise ValueError(
      f"{len(several)} of {len(labels)} texts bear several labels, the first {labels[several[0]]}; {evaluator} takes "
      "one label a text: use LabelRanking, MultiLabelKNN or SameLabelRetrieval"
    )
  return [row[0] for row in labels]
