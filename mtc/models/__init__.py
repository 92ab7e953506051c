"""Encoders: pretrained or from a seed, behind three pure functions."""

from mtc.models.architecture import positions, width
from mtc.models.encoder import Encoder, build
from mtc.models.pretrained import load_backbone, read_config, resolve, save_backbone
from mtc.models.sentence_transformers import (
  SentenceTransformer,
  is_sentence_transformer,
  load_sentence_transformer,
  save_sentence_transformer,
)
from mtc.models.spec import ModelSpec, scratch_config

__all__ = [
  "Encoder",
  "ModelSpec",
  "SentenceTransformer",
  "build",
  "is_sentence_transformer",
  "load_backbone",
  "load_sentence_transformer",
  "positions",
  "read_config",
  "resolve",
  "save_backbone",
  "save_sentence_transformer",
  "scratch_config",
  "width",
]
