"""Encoders: pretrained or from a seed, behind three pure functions."""

from mtc.models.architecture import is_static, positions, sizes, width, with_attention
from mtc.models.encoder import Encoder, build
from mtc.models.lora import LoraSpec, merge as merge_lora
from mtc.models.masked_lm import Head, build_head
from mtc.models.memory import training_bytes
from mtc.models.peft import load_adapter, save_adapter, start_from_adapter
from mtc.models.pretrained import (
  directory_of,
  load_backbone,
  load_masked_lm,
  read_config,
  resolve,
  save_backbone,
  stored_bytes,
  stored_dtype,
)
from mtc.models.rarity import weigh_words
from mtc.models.sentence_transformers import (
  SentenceTransformer,
  copy_around,
  is_sentence_transformer,
  load_sentence_transformer,
  read_max_length,
  save_sentence_transformer,
)
from mtc.models.shrinking import fixed_tokens, keep_layers, keep_tokens
from mtc.models.spec import ModelSpec, scratch_config
from mtc.models.static import config_of as static_config
from mtc.models.untrusted import check_links, copy_licences
from mtc.models.work import Work, training_work

__all__ = [
  "Encoder",
  "Head",
  "LoraSpec",
  "ModelSpec",
  "SentenceTransformer",
  "Work",
  "build",
  "build_head",
  "check_links",
  "copy_around",
  "copy_licences",
  "directory_of",
  "fixed_tokens",
  "is_sentence_transformer",
  "is_static",
  "keep_layers",
  "keep_tokens",
  "load_adapter",
  "load_backbone",
  "load_masked_lm",
  "load_sentence_transformer",
  "merge_lora",
  "positions",
  "read_config",
  "read_max_length",
  "resolve",
  "save_adapter",
  "save_backbone",
  "save_sentence_transformer",
  "scratch_config",
  "sizes",
  "start_from_adapter",
  "static_config",
  "stored_bytes",
  "stored_dtype",
  "training_bytes",
  "training_work",
  "weigh_words",
  "width",
  "with_attention",
]
