import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score, v_measure_score

from mtc.evaluators import Clustering, Labelled
from mtc.evaluators.clustering import _v_measure


def test_equals_mteb(mteb, mteb_labelled, numbered):
  vectors = np.array(mteb["labelled"]["vectors"])
  scores = Clustering(experiments=3)(numbered(vectors), mteb_labelled())
  assert list(scores) == ["v_measure", "nmi"]
  assert scores == pytest.approx(mteb["labelled"]["numbers"]["clusters"])
  assert Clustering(experiments=3)(numbered(vectors * 2), mteb_labelled()) == pytest.approx(scores), "length counts"


@pytest.mark.parametrize("clusters", [1, 2, 7, 30])
def test_the_v_measure_is_that_of_scikit_learn_and_the_normalised_mutual_information(clusters):
  rng = np.random.default_rng(clusters)
  a, b = rng.integers(0, 5, 60), rng.integers(0, clusters, 60)
  assert _v_measure(a, b) == pytest.approx(v_measure_score(a, b), abs=1e-12)
  assert _v_measure(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)
  assert _v_measure(a, a) == pytest.approx(1)
  assert _v_measure(a * 0, b * 0) == v_measure_score(a * 0, b * 0) == 1


def test_a_language_is_its_part_of_clusters_that_know_of_none(numbered):
  angles = np.deg2rad([0, 1, 90, 91, 0, 1, 90, 91])
  labels = [[label] for label in "aabb" + "abab"]
  table = Labelled(list("01234567"), labels, ["de"] * 4 + ["ja"] * 4)
  scores = Clustering()(numbered(np.stack([np.cos(angles), np.sin(angles)], 1)), table)
  assert scores["v_measure/de"] == pytest.approx(1) and scores["v_measure/ja"] == pytest.approx(0, abs=1e-12)
  assert 0 < scores["v_measure"] < 1


def test_bad_input(mteb, mteb_labelled, numbered):
  encode = numbered(mteb["labelled"]["vectors"])
  with pytest.raises(ValueError, match="Clustering takes one label a text"):
    Clustering()(encode, mteb_labelled("several"))
  with pytest.raises(ValueError, match="all 2 texts have the label 'a'; clusters are compared with two labels"):
    Clustering()(encode, Labelled(["0", "1"], [["a"], ["a"]], (), ["2"], [["b"]]))
  with pytest.raises(ValueError, match="all 1 texts in 'ja' have the label 'b'"):
    Clustering()(encode, Labelled(["0", "1", "2"], [["a"], ["b"], ["b"]], ["de", "de", "ja"]))
  with pytest.raises(ValueError, match="experiments=0 of Clustering is no run at all"):
    Clustering(experiments=0)(encode, mteb_labelled())
