"""From rows on disk to the steps of a run: sources, kinds of task, tokens, sampling, packing, the input pipeline."""

from mtc.data import tokenizer
from mtc.data.bad_rows import BadRow, NotThere, Skipped, SkippedRows, each_in_words, in_words
from mtc.data.batches import batches
from mtc.data.counting import fewer
from mtc.data.examples import (
  Crops,
  Example,
  Kind,
  Pairs,
  SameLabel,
  Scored,
  Texts,
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
from mtc.data.origin import Changed
from mtc.data.packing import Packer, best_fit
from mtc.data.pipeline import make_input
from mtc.data.prepared import Prepared
from mtc.data.sampling import Draw, Mixing, Sampler
from mtc.data.settings import Settings, check_types, paths_to_strings
from mtc.data.sources import Beir, Builtin, Folder, InMemory, Jsonl, Parquet, Rows, Source, Text, Tfds
from mtc.data.teacher import Teacher, Vectors
from mtc.data.text_list import as_texts
from mtc.data.texts import count_texts, read_groups, read_texts
from mtc.data.tokens import prepare
from mtc.data.vocabulary import Vocabulary, named_tokens, save_trimmed
from mtc.files.cache import find_or_make, user_cache

__all__ = [
  "BadRow",
  "Beir",
  "Builtin",
  "Changed",
  "Crops",
  "Draw",
  "Example",
  "Folder",
  "InMemory",
  "Jsonl",
  "Kind",
  "Leaks",
  "Masker",
  "Mixing",
  "Names",
  "NotThere",
  "Packer",
  "Pairs",
  "Parquet",
  "Prepared",
  "Rows",
  "SameLabel",
  "Sampler",
  "Scored",
  "Settings",
  "Skipped",
  "SkippedRows",
  "Source",
  "Text",
  "Texts",
  "Teacher",
  "HeldOut",
  "Tfds",
  "Translations",
  "Vectors",
  "Vocabulary",
  "as_texts",
  "batches",
  "belong",
  "best_fit",
  "check_types",
  "count_texts",
  "documents",
  "each_in_words",
  "examples_of",
  "fewer",
  "find_leaks",
  "find_or_make",
  "find_texts",
  "in_words",
  "leakage_table",
  "make_input",
  "named_tokens",
  "paths_to_strings",
  "plain",
  "prepare",
  "read",
  "read_groups",
  "read_judged",
  "read_texts",
  "save_trimmed",
  "tokenizer",
  "user_cache",
]
