"""From rows on disk to the steps of a run: sources, kinds of task, tokens, sampling, packing, the input pipeline."""

from mtc.data import tokenizer
from mtc.data.batches import batches
from mtc.data.cache import find_or_make, user_cache
from mtc.data.counting import fewer
from mtc.data.examples import (
  Crops,
  Example,
  Kind,
  Pairs,
  SameLabel,
  Scored,
  Translations,
  belong,
  documents,
  read,
  read_judged,
)
from mtc.data.leakage import HeldOut, Leaks, find_leaks, leakage_table
from mtc.data.lookup import examples_of, find_texts
from mtc.data.masking import Masker
from mtc.data.npy import open_npy
from mtc.data.origin import Changed
from mtc.data.packing import Packer, best_fit
from mtc.data.pipeline import make_input
from mtc.data.prepared import Prepared
from mtc.data.sampling import Mixing, Sampler
from mtc.data.sources import BadRow, Beir, Builtin, Folder, InMemory, Jsonl, Parquet, Rows, Source, Text, Tfds
from mtc.data.teacher import Teacher, Vectors
from mtc.data.texts import read_groups, read_texts
from mtc.data.tokens import prepare
from mtc.data.vocabulary import Vocabulary, named_tokens, save_trimmed

__all__ = [
  "BadRow",
  "Beir",
  "Builtin",
  "Changed",
  "Crops",
  "Example",
  "Folder",
  "InMemory",
  "Jsonl",
  "Kind",
  "Leaks",
  "Masker",
  "Mixing",
  "Packer",
  "Pairs",
  "Parquet",
  "Prepared",
  "Rows",
  "SameLabel",
  "Sampler",
  "Scored",
  "Source",
  "Text",
  "Teacher",
  "HeldOut",
  "Tfds",
  "Translations",
  "Vectors",
  "Vocabulary",
  "batches",
  "belong",
  "best_fit",
  "documents",
  "examples_of",
  "fewer",
  "find_leaks",
  "find_or_make",
  "find_texts",
  "leakage_table",
  "make_input",
  "named_tokens",
  "open_npy",
  "prepare",
  "read",
  "read_groups",
  "read_judged",
  "read_texts",
  "save_trimmed",
  "tokenizer",
  "user_cache",
]
