"""How sure a score or a gain is that was measured with several seeds: the bootstrap of rows and seeds together."""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mtc.evaluators.metrics import Measured

_CONFIDENCE = 0.95


@dataclasses.dataclass
class Redrawn:
  """The first metric of one way to train.

  Attributes:
    score: on all rows, the mean of the seeds.
    draws: f64[resamples], the same of rows and seeds drawn again.
  """

  score: float
  draws: np.ndarray

  def interval(self) -> tuple[float, float]:
    """95 % of the draws lie between these."""
    low, high = np.nanpercentile(self.draws, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    return float(low), float(high)


@dataclasses.dataclass
class Gain:
  """What one way to train has more than another; `p` is that of `Difference`."""

  base: float
  this: float
  gain: float
  low: float
  high: float
  p: float
  verdict: str = dataclasses.field(init=False)

  def __post_init__(self):
    self.verdict = "gain" if self.low > 0 else "loss" if self.high < 0 else "no difference"


def first_metric(measured: Measured) -> str:
  """The name of the metric that was fixed beforehand."""
  return next(iter(measured.measure(np.arange(len(measured.languages)))))


def redraw(
  ways: Mapping[str, Sequence[Measured]], rows: np.ndarray | None = None, resamples: int = 2000, seed: int = 0
) -> dict[str, Redrawn]:
  """The first metric of each way to train, with the same rows and the same seeds drawn for all: pairs stay pairs.

  A draw takes rows with replacement, once for all seeds, as these are tested on the same rows; and seeds with
  replacement. Two or three seeds say little of all seeds: the interval then is too narrow, by a factor of
  sqrt((n - 1) / n) where only seeds differ; one seed says nothing, and the interval is that of the rows alone.

  Example: of two seeds with the per-row values (1, 1) and (0, 0) the score is 0.5, and a draw of seeds gives 0, 0.5 or
  1 with the chances 1/4, 1/2 and 1/4.

  Args:
    ways: name of a way to train -> what each seed's model measured, all on one table and in one order of seeds.
    rows: the rows to draw from, [any]; None = all.
    resamples: draws.
    seed: of the draws.

  Raises:
    ValueError: ways differ in their number of seeds, or were not measured on the same rows.

  Reference: the two-way bootstrap of crossed factors, Owen, "The pigeonhole bootstrap", arXiv 0712.1111, section 2.
  """
  flat = [measured for seeds in ways.values() for measured in seeds]
  counts = {name: len(seeds) for name, seeds in ways.items()}
  if len(set(counts.values())) != 1 or not flat:
    raise ValueError(f"ways to train have {counts} seeds; measure each with the same ones")
  if any(list(measured.languages) != list(flat[0].languages) for measured in flat):
    raise ValueError("ways to train were measured on different rows; measure all with one evaluator on one table")
  rows = np.arange(len(flat[0].languages)) if rows is None else np.asarray(rows)
  metric, seeds = first_metric(flat[0]), next(iter(counts.values()))
  of_rows, of_seeds = np.random.default_rng(seed), np.random.default_rng((seed, 1))
  values = [measured.values[metric] for measured in flat if metric in measured.values]
  table = np.stack(values, axis=1) if len(values) == len(flat) else None

  def scores(drawn: np.ndarray) -> np.ndarray:
    """f64[ways * seeds]"""
    if table is not None:
      return table[drawn].mean(axis=0)
    return np.array([measured.measure(drawn)[metric] for measured in flat])

  draws = np.stack([scores(rows[of_rows.integers(0, len(rows), len(rows))]) for _ in range(resamples)])
  chosen = of_seeds.integers(0, seeds, (resamples, seeds))
  whole = scores(rows).reshape(len(ways), seeds)
  found = {}
  for at, name in enumerate(ways):
    own = np.take_along_axis(draws[:, at * seeds : (at + 1) * seeds], chosen, axis=1)
    found[name] = Redrawn(float(whole[at].mean()), own.mean(axis=1))
  return found


def gain(base: Redrawn, this: Redrawn) -> Gain:
  """The difference of two ways from one call of `redraw`, with its paired interval."""
  difference = Redrawn(this.score - base.score, this.draws - base.draws)
  low, high = difference.interval()
  fewer = min((~(difference.draws > 0)).sum(), (~(difference.draws < 0)).sum())  # NaN speaks for neither side
  p = min(1.0, 2 * (1 + int(fewer)) / (1 + len(difference.draws)))
  return Gain(base.score, this.score, difference.score, low, high, p)


def ratio(base: Redrawn, this: Redrawn) -> tuple[float, float, float]:
  """This score as a share of the base's, with its paired interval."""
  with np.errstate(divide="ignore", invalid="ignore"):
    share = Redrawn(float(np.divide(this.score, base.score)), this.draws / base.draws)
  return share.score, *share.interval()
