"""From rows on disk to the steps of a run: sources, kinds of task, tokens, sampling, packing, the input pipeline."""

from mtc.data import tokenizer
from mtc.data.batches import batches
from mtc.data.cache import find_or_make, user_cache
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
from mtc.data.fields import plain
from mtc.data.files import Names
from mtc.data.leakage import HeldOut, Leaks, find_leaks, leakage_table
from mtc.data.lookup import examples_of, find_texts
from mtc.data.masking import Masker
from mtc.data.npy import open_npy
from mtc.data.origin import Changed
from mtc.data.packing import Packer, best_fit
from mtc.data.pipeline import make_input
from mtc.data.prepared import Prepared
from mtc.data.sampling import Mixing, Sampler
from mtc.data.settings import Settings, check_types, paths_to_strings
from mtc.data.sources import BadRow, Beir, Builtin, Folder, InMemory, Jsonl, Parquet, Rows, Source, Text, Tfds
from mtc.data.teacher import Teacher, Vectors
from mtc.data.texts import read_texts
from mtc.data.tokens import prepare

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
  "Names",
  "Packer",
  "Pairs",
  "Parquet",
  "Prepared",
  "Rows",
  "SameLabel",
  "Sampler",
  "Scored",
  "Settings",
  "Source",
  "Text",
  "Teacher",
  "HeldOut",
  "Tfds",
  "Translations",
  "Vectors",
  "batches",
  "belong",
  "best_fit",
  "check_types",
  "documents",
  "examples_of",
  "find_leaks",
  "find_or_make",
  "find_texts",
  "leakage_table",
  "make_input",
  "open_npy",
  "paths_to_strings",
  "plain",
  "prepare",
  "read",
  "read_judged",
  "read_texts",
  "tokenizer",
  "user_cache",
]
