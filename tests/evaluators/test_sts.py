import numpy as np
import pytest
from scipy import stats

from mtc.evaluators import STS, Graded
from mtc.evaluators.metrics import subset


def made(rng, count=50, dim=4):
  """Signs, so that many cosines are equal; scores of six grades, so that these are too."""
  vectors = rng.choice([-1, 1], (2 * count, dim))
  cosines = (vectors[:count] * vectors[count:]).mean(axis=1)
  scores = np.clip(np.rint(2.5 + 1.5 * cosines + rng.normal(size=count)), 0, 5).tolist()
  return Graded([str(i) for i in range(count)], [str(i) for i in range(count, 2 * count)], scores), vectors, cosines


def test_equals_scipy_with_ties(numbered):
  table, vectors, cosines = made(np.random.default_rng(0))
  scores = STS()(numbered(vectors), table)
  assert list(scores) == ["spearman", "pearson"]
  assert scores["spearman"] == pytest.approx(stats.spearmanr(cosines, table.scores).statistic)
  assert scores["pearson"] == pytest.approx(stats.pearsonr(cosines, table.scores).statistic)
  assert 0.2 < scores["spearman"] < 0.9


def test_order_and_sign():
  table = Graded(list("aaa"), list("bcd"), [0.0, 2.0, 5.0])
  near = {"a": [1, 0], "b": [0, 1], "c": [1, 1], "d": [1, 0.1]}
  assert STS()(lambda texts, role="": np.array([near[t] for t in texts]), table)["spearman"] == pytest.approx(1)
  table.scores = [5.0, 2.0, 0.0]
  assert STS()(lambda texts, role="": np.array([near[t] for t in texts]), table)["spearman"] == pytest.approx(-1)


def test_a_language_is_the_correlation_of_its_pairs(numbered):
  table, vectors, cosines = made(np.random.default_rng(1))
  table.languages = ["ja"] * 20 + ["de"] * 30
  scores = STS()(numbered(vectors), table)
  assert list(scores) == ["spearman", "pearson", "spearman/de", "spearman/ja", "pearson/de", "pearson/ja"]
  assert scores["spearman/ja"] == pytest.approx(stats.spearmanr(cosines[:20], table.scores[:20]).statistic)
  assert scores["pearson/de"] == pytest.approx(stats.pearsonr(cosines[20:], table.scores[20:]).statistic)


def test_a_collapsed_encoder_scores_zero():
  table = Graded(list("abcd"), list("efgh"), [0.0, 2.0, 5.0, 1.0], ["de", "de", "ja", "ja"])
  noise = iter(np.random.default_rng(2).normal(size=(8, 8)) * 1e-7)
  scores = STS()(lambda texts, role="": np.array([np.ones(8) + next(noise) for _ in texts]), table)
  assert len(scores) == 6 and set(scores.values()) == {0.0}


def test_fewer_pairs(numbered):
  table, vectors, cosines = made(np.random.default_rng(3))
  table.languages = ["ja"] * 20 + ["de"] * 30
  chosen = subset(50, 12, 7)
  measured = STS(limit=12, seed=7).measure(numbered(vectors), table)
  assert list(measured.languages) == [table.languages[index] for index in chosen]
  scores = np.array(table.scores)[chosen]
  assert measured.scores()["spearman"] == pytest.approx(stats.spearmanr(cosines[chosen], scores).statistic)
