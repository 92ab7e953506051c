"""What several evaluators share: average precision, macro-F1, subsets, and rows that become scores, by language too."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import numpy as np
from scipy import sparse


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
  """The mean, over the relevant items, of the precision among all items that score at least as much.

  Equal scores share the rank of the last of them, so the order of the items does not matter. This is scikit-learn's
  `average_precision_score` of one query, and its `label_ranking_average_precision_score` of one row.

  Example: scores (3, 2, 2, 1) of which the first and the third are relevant: (1/1 + 2/3) / 2 = 0.8333.

  Args:
    scores: of each item, [items].
    relevant: bool[items], at least one of them True.
  """
  everything, hits = np.sort(scores), np.sort(scores[relevant])
  hits_above = len(hits) - np.searchsorted(hits, hits)
  all_above = len(everything) - np.searchsorted(everything, hits)
  return float(np.mean(hits_above / all_above))


def macro_f1(truth: sparse.csr_array, guesses: sparse.csr_array) -> Callable[[np.ndarray], float]:
  """A function from rows, [any], to the mean over labels of their F1 in these rows.

  Labels that these rows neither bear nor are given do not count. This is scikit-learn's
  `f1_score(..., average="macro")`, which would take a minute for the bootstrap of ten thousand rows.

  Example: rows that bear a, a, b and are given a, b, b: (2/3 + 2/3) / 2 = 0.6667.

  Args:
    truth: i32[rows, labels], 1 where the row bears the label.
    guesses: i32[rows, labels], 1 where it is given the label.
  """
  hits, either = sparse.csr_array(truth.multiply(guesses)), sparse.csr_array(truth + guesses)

  count = len(hits.indptr) - 1

  def measure(rows: np.ndarray) -> float:
    times = np.bincount(rows, minlength=count)
    right, total = times @ hits, times @ either
    return float((2 * right[total > 0] / total[total > 0]).mean())

  return measure


def subset(count: int, limit: int, seed: int) -> list[int]:
  """Indices of at most `limit` of `count` things, drawn by `seed`, ascending; a limit of 0 takes all."""
  if limit < 0:
    raise ValueError(f"limit={limit} is negative; use 0 for all")
  if limit == 0 or limit >= count:
    return list(range(count))
  return sorted(np.random.default_rng(seed).permutation(count)[:limit].tolist())


@dataclasses.dataclass
class Measured:
  """What an evaluator found, before it is one number: rows (queries, texts or pairs) that can be drawn again.

  Attributes:
    measure: from indices of rows, [any], which may repeat, to metrics by name, the task's fixed one first.
    languages: of each row; an empty string is an unknown one, and counts in the whole only.
    counts: what else there is to tell, as `left_out`.
    values: of the metrics that are means, the values of the rows, f64[rows]: quicker to draw again than by `measure`.
  """

  measure: Callable[[np.ndarray], dict[str, float]]
  languages: Sequence[str]
  counts: Mapping[str, float] = dataclasses.field(default_factory=dict)
  values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def parts(self) -> dict[str, np.ndarray]:
    """All rows under an empty name; and, where there are several languages, the rows of each."""
    whole = {"": np.arange(len(self.languages))}
    known = sorted(set(self.languages) - {""})
    if len(known) < 2:
      return whole
    return whole | {name: np.flatnonzero(np.array(self.languages) == name) for name in known}

  def scores(self) -> dict[str, float]:
    """Metrics by name, then each as `metric/language`, then the counts."""
    parts = {part: self.measure(rows) for part, rows in self.parts().items()}
    whole = parts.pop("")
    return whole | {f"{metric}/{part}": parts[part][metric] for metric in whole for part in parts} | dict(self.counts)


def means(
  values: Mapping[str, np.ndarray], languages: Sequence[str], counts: Mapping[str, float] | None = None
) -> Measured:
  """Metrics that are the means of per-row values, [rows]."""
  return Measured(
    lambda rows: {name: float(value[rows].mean()) for name, value in values.items()}, languages, counts or {}, values
  )


def one_guess(truth: sparse.csr_array, guesses: sparse.csr_array, languages: Sequence[str]) -> Measured:
  """`accuracy`, the share of rows that bear the one label that they are given, then macro `f1`; both as `macro_f1`."""
  right, f1 = np.asarray(truth.multiply(guesses).sum(axis=1), np.float64), macro_f1(truth, guesses)
  return Measured(
    lambda rows: {"accuracy": float(right[rows].mean()), "f1": f1(rows)}, languages, values={"accuracy": right}
  )
