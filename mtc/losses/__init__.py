"""Losses: pure functions of embeddings of unit length. They know neither the model, nor the config, nor the devices."""

from mtc.losses.base import Loss
from mtc.losses.columns import unit
from mtc.losses.cosent import CoSENT
from mtc.losses.distillation import EmbeddingDistillation, SimilarityDistillation
from mtc.losses.infonce import InfoNCE
from mtc.losses.matryoshka import Matryoshka
from mtc.losses.regression import CosineRegression
from mtc.losses.sigmoid import Sigmoid
from mtc.losses.sum import Sum

__all__ = [
  "CoSENT",
  "CosineRegression",
  "EmbeddingDistillation",
  "InfoNCE",
  "Loss",
  "Matryoshka",
  "Sigmoid",
  "SimilarityDistillation",
  "Sum",
  "unit",
]
