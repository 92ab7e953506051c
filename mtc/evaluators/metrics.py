"""What several evaluators share: average precision, subsets, scores for each language."""

from collections.abc import Callable, Sequence

import numpy as np


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


def subset(count: int, limit: int, seed: int) -> list[int]:
  """Indices of at most `limit` of `count` things, drawn by `seed`, ascending; a limit of 0 takes all."""
  if limit < 0:
    raise ValueError(f"limit={limit} is negative; use 0 for all")
  if limit == 0 or limit >= count:
    return list(range(count))
  return sorted(np.random.default_rng(seed).permutation(count)[:limit].tolist())


def by_language(measure: Callable[[np.ndarray], dict[str, float]], languages: Sequence[str]) -> dict[str, float]:
  """`measure` of all rows; and, where there are several languages, as `metric/language`, of the rows of each.

  Rows of unknown language (an empty string) count in the whole only.

  Args:
    measure: from the indices of rows to their scores.
    languages: of each row.
  """
  scores = measure(np.arange(len(languages)))
  known = sorted(set(languages) - {""})
  if len(known) < 2:
    return scores
  parts = {name: measure(np.flatnonzero(np.array(languages) == name)) for name in known}
  return scores | {f"{metric}/{name}": parts[name][metric] for metric in scores for name in known}


def means(values: dict[str, np.ndarray], languages: Sequence[str]) -> dict[str, float]:
  """The mean of each metric's per-row values, [rows]: whole, and by language."""
  return by_language(lambda rows: {name: float(value[rows].mean()) for name, value in values.items()}, languages)
