"""Text to vectors to numbers: evaluators score any encoder on a table, and know of no model."""

from mtc.evaluators.bm25 import BM25
from mtc.evaluators.bootstrap import Difference, differences
from mtc.evaluators.clustering import Clustering
from mtc.evaluators.cross_lingual import CrossLingualRetrieval
from mtc.evaluators.encoder import Evaluator, TextEncoder
from mtc.evaluators.knn import KNN, MultiLabelKNN
from mtc.evaluators.label_ranking import LabelRanking
from mtc.evaluators.linear_probe import LinearProbe
from mtc.evaluators.metrics import Measured
from mtc.evaluators.nearest import Examples, Neighbour, Plane, Text, nearest, plane
from mtc.evaluators.pair_classification import PairClassification
from mtc.evaluators.retrieval import Retrieval
from mtc.evaluators.same_label import SameLabelRetrieval
from mtc.evaluators.seeds import Gain, Redrawn, first_metric, gain, ratio, redraw
from mtc.evaluators.sts import STS
from mtc.evaluators.tables import Graded, Labelled, Parallel, Search, Table
from mtc.evaluators.tfidf import TfIdf
from mtc.evaluators.translation import TranslationMatching
from mtc.evaluators.zero_shot import ZeroShot

__all__ = [
  "BM25",
  "KNN",
  "STS",
  "Clustering",
  "CrossLingualRetrieval",
  "Difference",
  "Evaluator",
  "Examples",
  "Gain",
  "Graded",
  "LabelRanking",
  "Labelled",
  "LinearProbe",
  "Measured",
  "MultiLabelKNN",
  "Neighbour",
  "PairClassification",
  "Parallel",
  "Plane",
  "Redrawn",
  "Retrieval",
  "SameLabelRetrieval",
  "Search",
  "Table",
  "Text",
  "TextEncoder",
  "TfIdf",
  "TranslationMatching",
  "ZeroShot",
  "differences",
  "first_metric",
  "gain",
  "nearest",
  "plane",
  "ratio",
  "redraw",
]
