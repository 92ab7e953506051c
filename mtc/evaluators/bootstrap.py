"""How sure a difference of two encoders is: the bootstrap of the rows that both were measured on."""

from collections.abc import Iterator
import dataclasses

import numpy as np

from mtc.evaluators.metrics import Measured

_CONFIDENCE = 0.95


@dataclasses.dataclass
class Difference:
  """One metric of two encoders on the same rows.

  Attributes:
    base: the score of the one that is compared with.
    this: the score of the other.
    low, high: 95 % of the differences, this - base, of rows drawn again lie between them.
    rows: how many there are.
    p: how often rows drawn again show no difference or one of the other sign, times two (two-sided); at most 1.
    verdict: gained or forgot, where all of the interval lies on one side of 0; else kept: no difference was found.
  """

  base: float
  this: float
  low: float
  high: float
  rows: int
  p: float
  verdict: str = dataclasses.field(init=False)

  def __post_init__(self):
    self.verdict = "gained" if self.low > 0 else "forgot" if self.high < 0 else "kept"


def differences(base: Measured, this: Measured, resamples: int = 2000, seed: int = 0) -> dict[str, Difference]:
  """Every metric, whole and as `metric/language`, with the paired percentile bootstrap of its difference.

  Rows are drawn with replacement, the same for both encoders; metrics that are no means (a correlation) are measured
  again on each draw. Rows of one story or one document are drawn as if they knew nothing of one another, so where
  there are few such groups the true interval is wider. The p-value is that of the same draws: twice the smaller of the
  shares on either side of 0, with one more draw counted on both, so that 2,000 draws give 0.001 at least. It is below
  0.05 where the interval leaves 0 out. It is of one comparison: of twenty, one is below 0.05 by chance.

  Example: rows (1, 0, 0) against (0, 0, 0), means: 0.333 more, between 0 and 1 (with 27 draws of rows, 8 give 0).

  Args:
    base: measured with the encoder that is compared with.
    this: measured with the other one, by the same evaluator on the same table.
    resamples: draws of rows.
    seed: of the draws.

  Raises:
    ValueError: the two were not measured on the same rows.

  Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3; the intervals are those of
  `scipy.stats.bootstrap(..., paired=True, method="percentile")`. Davison and Hinkley, Bootstrap Methods and their
  Application (1997), 4.2.3, for the draw that is added.
  """
  if list(base.languages) != list(this.languages):
    raise ValueError(
      f"{len(base.languages)} rows of the base, {len(this.languages)} of the other: not the same ones; "
      "measure both with one evaluator on one table"
    )
  found: dict[str, dict[str, Difference]] = {}
  for part, rows in this.parts().items():
    drawn = np.array(list(_resampled(base, this, rows, resamples, seed)))
    low, high = np.percentile(drawn, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)], axis=0)
    fewer = np.minimum((~(drawn > 0)).sum(axis=0), (~(drawn < 0)).sum(axis=0))  # NaN speaks for neither side
    p = np.minimum(1, 2 * (1 + fewer) / (1 + len(drawn)))
    a, b = base.measure(rows), this.measure(rows)
    found[part] = {
      metric: Difference(a[metric], b[metric], float(low[at]), float(high[at]), len(rows), float(p[at]))
      for at, metric in enumerate(a)
    }
  whole = found.pop("")
  return whole | {f"{metric}/{part}": found[part][metric] for metric in whole for part in found}


def _resampled(base: Measured, this: Measured, rows: np.ndarray, resamples: int, seed: int) -> Iterator[list[float]]:
  """The difference of each metric on each draw of rows."""
  rng = np.random.default_rng(seed)
  for _ in range(resamples):
    drawn = rows[rng.integers(0, len(rows), len(rows))]
    a, b = base.measure(drawn), this.measure(drawn)
    yield [b[metric] - a[metric] for metric in a]
