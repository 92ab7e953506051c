"""Intervals over rows and seeds: by hand, beside loops and beside the bootstrap of one seed."""

import numpy as np
import pytest

from mtc.evaluators import Measured, differences, gain, ratio, redraw
from mtc.evaluators.metrics import means


def ways(rng, seeds=3, rows=40, better=0.05):
  base = rng.random((seeds, rows))
  this = base + rng.normal(better, 0.1, (seeds, rows))
  measured = {name: [means({"mrr": row}, [""] * rows) for row in v] for name, v in {"alone": base, "all": this}.items()}
  return base, this, measured


def test_rows_and_seeds_are_drawn_as_in_a_loop():
  base, this, measured = ways(np.random.default_rng(0))
  found = redraw(measured, resamples=50, seed=4)
  of_rows, of_seeds = np.random.default_rng(4), np.random.default_rng((4, 1))
  rows = [of_rows.integers(0, 40, 40) for _ in range(50)]
  seeds = of_seeds.integers(0, 3, (50, 3))
  expected = {"alone": [], "all": []}
  for drawn, chosen in zip(rows, seeds):
    for name, values in {"alone": base, "all": this}.items():
      expected[name].append(np.mean([values[s][r] for s in chosen for r in drawn]))
  for name in expected:
    np.testing.assert_allclose(found[name].draws, expected[name], rtol=1e-12)
  assert found["alone"].score == pytest.approx(base.mean(), rel=1e-12)
  g = gain(found["alone"], found["all"])
  d = np.array(expected["all"]) - np.array(expected["alone"])
  assert (g.low, g.high) == pytest.approx(tuple(np.percentile(d, [2.5, 97.5])), rel=1e-9)
  assert (g.gain, g.verdict) == (pytest.approx(this.mean() - base.mean()), "gain")
  assert g.p == pytest.approx(2 / 51)
  assert gain(found["all"], found["alone"]).verdict == "loss"
  assert gain(found["all"], found["all"]).verdict == "no difference"


def test_the_worked_example_of_two_seeds():
  found = redraw({"a": [means({"x": np.full(2, v)}, ["", ""]) for v in (1.0, 0.0)]}, resamples=4000)["a"]
  assert found.score == 0.5
  shares = [np.mean(found.draws == v) for v in (0, 0.5, 1)]
  assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_one_seed_is_the_bootstrap_of_rows():
  _, _, measured = ways(np.random.default_rng(1), seeds=1, better=0.02)
  found = redraw(measured, resamples=300, seed=2)
  expected = differences(measured["alone"][0], measured["all"][0], resamples=300, seed=2)["mrr"]
  mine = gain(found["alone"], found["all"])
  assert (mine.low, mine.high, mine.p) == pytest.approx((expected.low, expected.high, expected.p), rel=1e-12)


def test_a_metric_that_is_no_mean_is_measured_again_on_each_draw():
  values = np.random.default_rng(3).random((2, 20))
  medians = [Measured(lambda rows, v=v: {"median": float(np.median(v[rows]))}, [""] * 20) for v in values]
  found = redraw({"a": medians}, resamples=20, seed=0)["a"]
  of_rows, of_seeds = np.random.default_rng(0), np.random.default_rng((0, 1))
  rows, seeds = [of_rows.integers(0, 20, 20) for _ in range(20)], of_seeds.integers(0, 2, (20, 2))
  expected = [np.mean([np.median(values[s][r]) for s in chosen]) for r, chosen in zip(rows, seeds)]
  np.testing.assert_allclose(found.draws, expected, rtol=1e-12)


def test_only_the_rows_asked_for_are_drawn():
  measured = {"a": [means({"x": np.array([0.0] * 5 + [1.0] * 5)}, [""] * 10)]}
  found = redraw(measured, np.arange(5, 10), resamples=30)["a"]
  assert found.score == 1 and found.interval() == (1, 1)


def test_a_share_is_paired():
  _, _, measured = ways(np.random.default_rng(5))
  measured["half"] = [means({"mrr": m.values["mrr"] / 2}, m.languages) for m in measured["alone"]]
  found = redraw(measured, resamples=40)
  assert ratio(found["alone"], found["half"]) == pytest.approx((0.5, 0.5, 0.5), rel=1e-12)


def test_ways_that_cannot_be_compared_are_refused():
  one, other = (means({"x": np.zeros(n)}, [""] * n) for n in (3, 4))
  with pytest.raises(ValueError, match="different rows"):
    redraw({"a": [one], "b": [other]})
  with pytest.raises(ValueError, match="'a': 1, 'b': 2"):
    redraw({"a": [one], "b": [one, one]})
