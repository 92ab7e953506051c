"""Scores a model, or vectors of another tool: python -m mtc.evaluate --model DIR --config CONFIG.

Any number of them side by side, the first of which the others are compared with, test row by test row:

  python -m mtc.evaluate --config CONFIG --compare a=DIR b=vectors.npy tfidf bm25 st=DIR c=api=URL#MODEL

To embed the texts with another tool, write them with --list_texts=FILE.jsonl; then give --texts=FILE.jsonl with the
.npy, whose rows are in the same order. --report=FILE.html shows nearest neighbours and maps.
"""

from collections.abc import Sequence
import functools
import os
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from mtc import cli, data
from mtc.evaluation import comparing, systems
from mtc.evaluation.api import Api
from mtc.evaluation.systems import System
from mtc.evaluation.tables import read_tables
from mtc.files import json_file


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    experiment = cli.experiment(f.config, argv[:1] if f.compare else argv)
    skipped: data.SkippedRows = {}
    tables = read_tables(experiment, "test", skipped)
    if not tables:
      raise ValueError(
        f"none of the {len(experiment.evaluations)} evaluations of the config has data to score; give "
        "--config.data_dir, or correct the config"
      )
    if f.list_texts:
      comparing.list_texts(Path(f.list_texts), tables, experiment.evaluations)
      return
    for flag, path in (("output", f.output), ("report", f.report)):
      if path:
        _check_writable(flag, Path(path))
    compared = [*f.compare, *argv[1:]]
    opened = _opened(f, compared)
    found = comparing.side_by_side(opened, tables, experiment.evaluations, paired=bool(compared))
    if f.output:
      scores = {} if compared else {"scores": found.scores[found.last]}
      json_file.write_json(Path(f.output), comparing.as_json(found) | scores | {"skipped": skipped})
    if f.report:
      comparing.write_page(Path(f.report), opened[-1], tables, experiment.evaluations)
  for name, changes in found.differences.items():
    print(comparing.comparison(name, found.baseline, changes) + "\n")
  print(comparing.report(found.scores, found.costs))


def _check_writable(flag: str, path: Path) -> None:
  """Raises ValueError where a file cannot be written, before the work that fills it."""
  if path.is_dir():
    raise ValueError(f"--{flag} {path} is a directory; name a file")
  cli.check_parent(flag, path)
  if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
    raise ValueError(f"--{flag} {path} cannot be written; name another file")


def _opened(f: flags.FlagValues, compared: Sequence[str]) -> list[System]:
  """What the flags name, TF-IDF beside what is scored alone."""
  asked = [spec for spec in (f.embeddings, f.model) if spec]
  if len(asked) > 1 or not [*asked, *compared]:
    raise ValueError(
      "name what to score: --model=DIR, or --embeddings=FILE.npy with --texts=FILE.jsonl, "
      "or several with --compare a=DIR b=FILE.npy tfidf bm25"
    )
  if len([*asked, *compared]) == 1 and compared:
    raise ValueError(f"--compare has {compared[0]!r} alone; name two or more, or use --model={compared[0]}")
  cache = Path(f.api_cache) if f.api_cache else data.user_cache() / "api.sqlite"
  endpoint = functools.partial(Api, cache=cache, key_variable=f.api_key_variable, per_second=f.api_requests_per_second)
  return systems.parse([*(compared or ["tfidf"]), *asked], f.texts, endpoint)


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file(
    "config", None, "Python file whose get_config() returns the mtc.config.Experiment with the evaluations."
  )
  flags.DEFINE_string(
    "model", "", "System to score, usually the directory of a model; with --compare it is added as the last system."
  )
  flags.DEFINE_string("embeddings", "", "File .npy of vectors to score instead of a model.")
  flags.DEFINE_multi_string(
    "compare",
    [],
    "Systems to score side by side, as arguments separated by spaces; the others are compared with the first. Each is"
    " [NAME=] and one of DIR, FILE.npy, tfidf, bm25, st=DIR (sentence-transformers) or api=URL#MODEL[,dimensions=N].",
  )
  flags.DEFINE_string(
    "texts", "", 'File .jsonl with {"text", "role"} for each row of a .npy; by default it is next to the .npy.'
  )
  flags.DEFINE_string("list_texts", "", "File .jsonl to write the texts of the evaluations to; nothing is scored then.")
  flags.DEFINE_string("output", "", "File .json to write scores, differences and costs to.")
  flags.DEFINE_string("report", "", "File .html to write nearest neighbours and maps of the last system to.")
  flags.DEFINE_string("api_key_variable", "OPENAI_API_KEY", "Environment variable that holds the key for api=.")
  flags.DEFINE_float(
    "api_requests_per_second", 5.0, "Highest number of requests per second that api= sends.", lower_bound=1e-3
  )
  flags.DEFINE_string(
    "api_cache", "", "SQLite file that keeps the vectors of api=; by default it is in the user's cache directory."
  )
  app.run(_main, flags_parser=cli.parse_flags)
