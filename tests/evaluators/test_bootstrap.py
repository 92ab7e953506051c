import numpy as np
import pytest
from scipy import stats

from mtc.evaluators import STS, Graded, Measured, differences
from mtc.evaluators.metrics import means


def two(rng, count, languages=None):
  """The same rows measured twice: per-row values that go together, as those of two models do."""
  base = rng.random(count)
  this = np.clip(base + rng.normal(0.05, 0.3, count), 0, 1)
  languages = languages or [""] * count
  return base, this, means({"mrr": base}, languages), means({"mrr": this}, languages)


def test_a_mean_has_the_interval_of_scipy():
  base, this, a, b = two(np.random.default_rng(0), 50)
  reference = stats.bootstrap(
    (base, this),
    lambda x, y, axis=-1: y.mean(axis) - x.mean(axis),
    paired=True,
    method="percentile",
    n_resamples=500,
    rng=np.random.default_rng(3),
  ).confidence_interval
  found = differences(a, b, resamples=500, seed=3)["mrr"]
  assert (found.low, found.high) == pytest.approx(tuple(reference), rel=1e-12)
  assert (found.base, found.this) == pytest.approx((base.mean(), this.mean()))
  assert found.rows == 50


def test_a_correlation_is_measured_again_on_each_draw(numbered):
  rng = np.random.default_rng(1)
  vectors, scores = rng.normal(size=(60, 3)), rng.integers(0, 6, 30).astype(float)
  others = vectors + rng.normal(size=vectors.shape)
  table = Graded([str(i) for i in range(30)], [str(i) for i in range(30, 60)], scores.tolist())
  a, b = (STS().measure(numbered(v), table) for v in (vectors, others))

  def cosines(v):
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    return (v[:30] * v[30:]).sum(axis=1)

  def statistic(x, y, s):
    return stats.spearmanr(y, s).statistic - stats.spearmanr(x, s).statistic

  reference = stats.bootstrap(
    (cosines(vectors), cosines(others), scores),
    statistic,
    paired=True,
    vectorized=False,
    method="percentile",
    n_resamples=200,
    rng=np.random.default_rng(0),
  ).confidence_interval
  found = differences(a, b, resamples=200)["spearman"]
  assert (found.low, found.high) == pytest.approx(tuple(reference), abs=1e-6)


def test_the_worked_example():
  a, b = means({"hits": np.zeros(3)}, [""] * 3), means({"hits": np.array([1.0, 0, 0])}, [""] * 3)
  found = differences(a, b)["hits"]
  assert (found.this - found.base, found.low, found.high) == (pytest.approx(1 / 3), 0, 1)


def test_the_p_value_counts_the_draws_on_the_other_side():
  base, this, a, b = two(np.random.default_rng(2), 40)
  found = differences(a, b, resamples=999, seed=5)["mrr"]
  draws = np.random.default_rng(5)
  drawn = [(this - base)[draws.integers(0, 40, 40)].mean() for _ in range(999)]
  assert found.p == pytest.approx(2 * (1 + min(np.sum(np.array(drawn) <= 0), np.sum(np.array(drawn) >= 0))) / 1000)
  assert differences(b, a, resamples=999, seed=5)["mrr"].p == found.p, "two-sided"
  assert differences(a, a, resamples=9)["mrr"].p == 1
  more = means({"mrr": base + 0.1}, [""] * 40)
  assert differences(a, more)["mrr"].p == pytest.approx(2 / 2001), "no less can be said with 2,000 draws"
  nan = Measured(lambda rows: {"mrr": float("nan")}, [""] * 40)
  assert differences(a, nan, resamples=9)["mrr"].p == 1, "no number speaks for neither"


def test_a_language_draws_its_own_rows_only():
  values = np.array([0.0] * 20 + [1.0] * 20)
  languages = ["de"] * 20 + ["en"] * 20
  found = differences(means({"hits": np.zeros(40)}, languages), means({"hits": values}, languages), resamples=100)
  assert list(found) == ["hits", "hits/de", "hits/en"]
  assert (found["hits/de"].low, found["hits/de"].high, found["hits/de"].rows) == (0, 0, 20)
  assert (found["hits/en"].low, found["hits/en"].high) == (1, 1)
  assert [found[name].verdict for name in found] == ["gained", "kept", "gained"]
  back = differences(means({"hits": values}, languages), means({"hits": np.zeros(40)}, languages), resamples=100)
  assert [back[name].verdict for name in back] == ["forgot", "kept", "forgot"]


def test_rows_that_are_not_the_same_are_refused():
  measured = [Measured(lambda rows: {"hits": 0.0}, [""] * count) for count in (3, 4)]
  with pytest.raises(ValueError, match="3 rows of the base, 4 of the other"):
    differences(*measured)
