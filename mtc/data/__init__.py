"""From rows on disk to the steps of a run: sources, kinds of task, tokens, sampling, packing, the input pipeline."""

from mtc.data.examples import Example, Kind, Pairs, SameLabel, Scored, Translations, read
from mtc.data.prepared import Prepared
from mtc.data.sources import BadRow, Beir, Builtin, Folder, InMemory, Jsonl, Parquet, Rows, Source, Tfds
from mtc.data.tokens import prepare

__all__ = [
  "BadRow",
  "Beir",
  "Builtin",
  "Example",
  "Folder",
  "InMemory",
  "Jsonl",
  "Kind",
  "Pairs",
  "Parquet",
  "Prepared",
  "Rows",
  "SameLabel",
  "Scored",
  "Source",
  "Tfds",
  "Translations",
  "prepare",
  "read",
]
