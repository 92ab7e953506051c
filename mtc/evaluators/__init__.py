"""Text to vectors to numbers: evaluators score any encoder on a table, and know of no model."""

from mtc.evaluators.bootstrap import Difference, differences
from mtc.evaluators.encoder import Evaluator, TextEncoder
from mtc.evaluators.knn import KNN
from mtc.evaluators.label_ranking import LabelRanking
from mtc.evaluators.metrics import Measured
from mtc.evaluators.retrieval import Retrieval
from mtc.evaluators.same_label import SameLabelRetrieval
from mtc.evaluators.sts import STS
from mtc.evaluators.tables import Graded, Labelled, Parallel, Search, Table
from mtc.evaluators.tfidf import TfIdf
from mtc.evaluators.translation import TranslationMatching

__all__ = [
  "KNN",
  "STS",
  "Difference",
  "Evaluator",
  "Graded",
  "LabelRanking",
  "Labelled",
  "Measured",
  "Parallel",
  "Retrieval",
  "SameLabelRetrieval",
  "Search",
  "Table",
  "TextEncoder",
  "TfIdf",
  "TranslationMatching",
  "differences",
]
