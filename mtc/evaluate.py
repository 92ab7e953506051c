"""A model, or vectors that somebody else made, to numbers: python -m mtc.evaluate --model DIR --config CONFIG.

Any number of them side by side, the first of which the others are compared with, test row by test row:

  python -m mtc.evaluate --config CONFIG --compare a=DIR b=vectors.npy tfidf bm25 st=DIR c=api=URL#MODEL

mtc/contenders.py says what each can be. The texts to embed with another tool are written by --list_texts=FILE.jsonl;
then --texts=FILE.jsonl has the texts of the .npy, row by row. --report=FILE.html shows nearest neighbours and maps.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path
import time
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from mtc import cli, contenders, data, pages, records, whole
from mtc.api import Api
from mtc.config import Evaluation
from mtc.contenders import Contender, Cost, documents
from mtc.evaluators import (
  Difference,
  Labelled,
  Measured,
  Search,
  TextEncoder,
  TfIdf,
  differences,
  nearest,
  plane,
)
from mtc.tables import Tables, read_tables


def score(encode: TextEncoder, tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
  """All numbers as `evaluation/metric` and `evaluation/metric/language`, in the order of the config."""
  return _scores(measure(encode, tables, evaluations))


def measure(encode: TextEncoder, tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict[str, Measured]:
  """What `score` makes its numbers of: for each evaluation its rows, which another model's can be compared with."""
  found = {}
  for name, table in tables.items():
    try:
      found[name] = evaluations[name].evaluator.measure(encode, table)
    except ValueError as error:
      raise ValueError(f"evaluation {name!r}: {error}") from error
  return found


def _scores(measured: Mapping[str, Measured]) -> dict[str, float]:
  return {f"{name}/{metric}": float(value) for name, m in measured.items() for metric, value in m.scores().items()}


def measure_contender(
  contender: Contender, tables: Tables, evaluations: Mapping[str, Evaluation]
) -> dict[str, Measured]:
  """What `measure` finds, without the tables that the contender has no vectors for."""
  found = {}
  for name, table in tables.items():
    try:
      if encode := contender.encoder(table):
        found |= measure(encode, {name: table}, evaluations)
    except ValueError as error:
      raise ValueError(f"{contender.name}: {error}") from error
  return found


def compare(base: Mapping[str, Measured], this: Mapping[str, Measured]) -> dict[str, Difference]:
  """The differences of two models on the tables that both were measured on, named as scores are."""
  return {
    f"{name}/{metric}": difference
    for name in this
    if name in base
    for metric, difference in differences(base[name], this[name]).items()
  }


@dataclasses.dataclass
class SideBySide:
  """What several contenders reach on the same tables, by their names.

  Attributes:
    scores: named as those of `score`.
    costs: of their vectors.
    differences: of all but the first from the first, named as scores are; empty where none was asked for.
  """

  scores: dict[str, dict[str, float]]
  costs: dict[str, Cost]
  differences: dict[str, dict[str, Difference]]

  @property
  def baseline(self) -> str:
    """The first, which the others are compared with."""
    return next(iter(self.scores))

  @property
  def last(self) -> str:
    """The last one."""
    return list(self.scores)[-1]


def side_by_side(
  opened: Sequence[Contender], tables: Tables, evaluations: Mapping[str, Evaluation], paired: bool = True
) -> SideBySide:
  """Measures all contenders on all tables that they can be scored on; `paired` bootstraps the differences."""
  measured = {one.name: measure_contender(one, tables, evaluations) for one in opened}
  base, *rest = measured
  return SideBySide(
    {name: _scores(m) for name, m in measured.items()},
    {one.name: one.cost() for one in opened},
    {name: compare(measured[base], measured[name]) for name in rest} if paired else {},
  )


def first_metrics(scores: Mapping[str, float]) -> dict[str, float]:
  """The first metric of each evaluation: the one that was fixed beforehand."""
  firsts: dict[str, float] = {}
  seen = set()
  for name, value in scores.items():
    if (evaluation := name.split("/")[0]) not in seen:
      seen.add(evaluation)
      firsts[name] = value
  return firsts


def tfidf_scores(tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
  """What counting words reaches on each table, fitted on that table's own documents."""
  scores = {}
  for name, table in tables.items():
    scores |= score(TfIdf("word").fit(documents(table)), {name: table}, evaluations)
  return scores


def before(
  path: Path, tables: Tables, evaluations: Mapping[str, Evaluation], encode: TextEncoder | None = None
) -> dict[str, Any]:
  """The scores of TF-IDF as "tfidf" and, given its encoder, those of the untrained model and the seconds they took.

  Each is measured once and kept in `path`; anew where the evaluators or the tables are others by now.
  """
  content = repr([(evaluations[name].evaluator, table) for name, table in tables.items()])
  of = hashlib.sha256(content.encode()).hexdigest()
  found = json.loads(path.read_text()) if path.exists() else {}
  measured: dict[str, Any] = dict(found) if found.get("of") == of else {"of": of}
  if encode and "untrained" not in measured:
    began = time.perf_counter()
    measured["untrained"] = score(encode, tables, evaluations)
    measured["untrained_seconds"] = time.perf_counter() - began
  if "tfidf" not in measured:
    measured["tfidf"] = tfidf_scores(tables, evaluations)
  if measured != found:
    records.write_json(path, measured)
  return {name: value for name, value in measured.items() if name != "of"}


def report(columns: Mapping[str, Mapping[str, float]], costs: Mapping[str, Cost] | None = None) -> str:
  """A table: a line for each metric that is no language's and no count, a column for each set of scores.

  Args:
    columns: scores by title.
    costs: by the same titles; their lines follow.
  """
  fullest = sorted(columns.values(), key=len, reverse=True)  # it has the order of the config
  names = [n for n in dict.fromkeys(n for scores in fullest for n in scores) if n.count("/") == 1]
  names = [n for n in names if not n.endswith("/left_out")]
  rows = {name: [f"{s[name]:.3f}" if name in s else "-" for s in columns.values()] for name in names}
  if costs:
    each = [costs[title] for title in columns]
    rows["dimensions"] = [f"{cost.dimensions:,}" for cost in each]
    rows["bytes per text"] = [f"{cost.bytes_per_text:,.0f}" for cost in each]
    times = [cost.milliseconds_per_text for cost in each]
    rows["ms per text"] = ["-" if time is None else f"{time:.3f}" for time in times]
  width = max([len(n) for n in rows], default=0) + 2
  wide = [max(12, len(title) + 2) for title in columns]
  return "\n".join(
    name.ljust(width) + "".join(cell.rjust(size) for cell, size in zip(cells, wide, strict=True))
    for name, cells in ({"": list(columns)} | rows).items()
  )


def comparison(this: str, base: str, found: Mapping[str, Difference]) -> str:
  """A table of differences of two: a line for each metric that is no language's, and for each language that changed."""
  shown = {name: d for name, d in found.items() if name.count("/") == 1 or d.verdict != "kept"}
  width = max(map(len, shown), default=0) + 2
  head = f"{'':{width}}{'rows':>7}{'base':>8}{'this':>8}{'change':>9}   {'95 % interval':18}{'p':>6}"
  lines = [f"{this} against {base}:", head]
  for name, d in shown.items():
    numbers = f"{d.rows:7,}{d.base:8.3f}{d.this:8.3f}{d.this - d.base:+9.3f}"
    interval = f"[{d.low:+.3f}, {d.high:+.3f}]"
    lines.append(f"{name:{width}}{numbers}   {interval:18}{d.p:6.3f}  {d.verdict}")
  return "\n".join(lines)


def write_page(path: Path, contender: Contender, tables: Tables, evaluations: Mapping[str, Evaluation]) -> None:
  """The page of nearest neighbours and maps of one contender; it encodes once more what it shows."""
  shown = {}
  for name, table in tables.items():
    if encode := contender.encoder(table):
      about = f"{type(evaluations[name].evaluator).__name__} on the split {evaluations[name].test}"
      shown[name] = pages.Shown(about, nearest(encode, table, pages.ASKED, pages.NEIGHBOURS), plane(encode, table))
  with whole.file(path) as partial:
    partial.write_text(pages.neighbours(contender.name, shown), encoding="utf-8")
  print(f"{path}: examples of nearest neighbours and maps of {contender.name}")


def neighbours(encode: TextEncoder, tables: Tables, count: int, k: int = 3) -> str:
  """A few posts of the first labelled table, each with those nearest to it."""
  table = next((table for table in tables.values() if isinstance(table, Labelled)), None)
  if not count or not table:
    return ""
  lines = []
  for asked, near in nearest(encode, table, count, k, most=300).asked:
    lines.append(_shown(asked.text))
    lines += [f"  {one.cosine:.2f}  {_shown(one.of.text)}" for one in near]
  return "\n".join(lines)


def _shown(text: str) -> str:
  text = " ".join(text.split())
  return text if len(text) <= 110 else text[:107] + "..."


def _list_texts(path: Path, tables: Tables, evaluations: Mapping[str, Evaluation]) -> None:
  """Writes every text that the evaluations ask for, with its role, once."""
  asked = {(text, "document"): None for table in tables.values() for text in documents(table)}
  for name, table in tables.items():
    asked |= {(text, "document"): None for text in evaluations[name].evaluator.texts(table)}
    if isinstance(table, Search):
      asked |= {(text, "query"): None for text in table.queries.values()}
  with whole.file(path) as partial, open(partial, "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text, "role": role}, ensure_ascii=False) + "\n" for text, role in asked)
  print(f"{len(asked):,} texts in {path}; give their vectors, in this order, with --texts={path} --embeddings=FILE.npy")


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
      _list_texts(Path(f.list_texts), tables, experiment.evaluations)
      return
    for flag, path in (("output", f.output), ("report", f.report)):
      if path:
        _check_writable(flag, Path(path))
    compared = [*f.compare, *argv[1:]]
    opened = _opened(f, compared)
    found = side_by_side(opened, tables, experiment.evaluations, paired=bool(compared))
    if f.output:
      scores = {} if compared else {"scores": found.scores[found.last]}
      records.write_json(Path(f.output), _written(found) | scores | {"skipped": skipped})
    if f.report:
      write_page(Path(f.report), opened[-1], tables, experiment.evaluations)
  for name, changes in found.differences.items():
    print(comparison(name, found.baseline, changes) + "\n")
  print(report(found.scores, found.costs))


def _check_writable(flag: str, path: Path) -> None:
  """Raises ValueError where a file cannot be written, before the work that fills it."""
  if path.is_dir():
    raise ValueError(f"--{flag} {path} is a directory; name a file")
  cli.check_parent(flag, path)
  if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
    raise ValueError(f"--{flag} {path} cannot be written; name another file")


def _opened(f: flags.FlagValues, compared: Sequence[str]) -> list[Contender]:
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
  return contenders.parse([*(compared or ["tfidf"]), *asked], f.texts, endpoint)


def _written(found: SideBySide) -> dict:
  """As JSON."""
  columns = {
    name: {"scores": found.scores[name], "cost": dataclasses.asdict(found.costs[name])} for name in found.costs
  }
  changes = {name: {metric: dataclasses.asdict(d) for metric, d in m.items()} for name, m in found.differences.items()}
  return {"contenders": columns} | ({"baseline": found.baseline, "differences": changes} if changes else {})


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
