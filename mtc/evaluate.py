"""A model, or vectors that somebody else made, to numbers: python -m mtc.evaluate --model DIR --config CONFIG.

--compare BASE, another model's directory, says what the model kept, gained and forgot against it, test row by test row.

The texts to embed with another tool are written by --list_texts=FILE.jsonl; then --texts=FILE.jsonl
--embeddings=FILE.npy scores its vectors, row by row those of the texts.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import json
from pathlib import Path
import sys
import time
from typing import get_type_hints

from absl import app, flags
from ml_collections import config_flags
import numpy as np

from mtc import cli, data, records
from mtc.config import Evaluation, Experiment
from mtc.embed import load
from mtc.evaluators import (
  Difference,
  Graded,
  Labelled,
  Measured,
  Parallel,
  Search,
  Table,
  TextEncoder,
  TfIdf,
  differences,
)

Tables = dict[str, Table]


def read_tables(experiment: Experiment, which: str) -> Tables:
  """Reads what each evaluation scores; those whose folder or split is missing are reported and left
  out, unless a task has their name.

  Args:
    experiment: for its evaluations, data_dir and on_bad_row.
    which: "test" or "validation": the field of `Evaluation` that names the split.

  Raises:
    ValueError: rows that cannot be used.
  """
  tables = {}
  for name, evaluation in experiment.evaluations.items():
    split = evaluation.test if which == "test" else evaluation.validation
    if not split:
      continue
    try:
      table = _read_table(evaluation.source.resolve(experiment.data_dir), evaluation, split, experiment.on_bad_row)
      _check_kind(evaluation, table)
      tables[name] = table
    except FileNotFoundError as error:
      if name in experiment.tasks:
        raise
      if which == "test":
        print(f"evaluation {name!r} is left out: {error}", file=sys.stderr)
    except ValueError as error:
      raise ValueError(f"evaluation {name!r}, split {split!r}: {error}") from error
  return tables


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


def compare(base: Mapping[str, Measured], this: Mapping[str, Measured]) -> dict[str, Difference]:
  """The differences of two models that were measured on the same tables, named as scores are."""
  return {
    f"{name}/{metric}": difference
    for name in this
    for metric, difference in differences(base[name], this[name]).items()
  }


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
    scores |= score(TfIdf("word").fit(_documents(table)), {name: table}, evaluations)
  return scores


def before(path: Path, encode: TextEncoder, tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict:
  """The scores of the untrained model and of TF-IDF, with the seconds they took; measured once and kept in `path`."""
  if path.exists():
    return json.loads(path.read_text())
  began = time.perf_counter()
  untrained = score(encode, tables, evaluations)
  found = {
    "untrained": untrained,
    "untrained_seconds": time.perf_counter() - began,
    "tfidf": tfidf_scores(tables, evaluations),
  }
  records.write_json(path, found)
  return found


def report(columns: Mapping[str, Mapping[str, float]]) -> str:
  """A table: a line for each metric that is no language's and no count, a column for each set of scores."""
  names = [n for n in dict.fromkeys(n for scores in columns.values() for n in scores) if n.count("/") == 1]
  names = [n for n in names if not n.endswith("/left_out")]
  width = max([len(n) for n in names], default=0) + 2
  lines = ["".ljust(width) + "".join(f"{title:>12}" for title in columns)]
  for name in names:
    lines.append(
      name.ljust(width) + "".join(f"{s[name]:12.3f}" if name in s else f"{'-':>12}" for s in columns.values())
    )
  return "\n".join(lines)


def comparison(title: str, found: Mapping[str, Difference]) -> str:
  """A table of differences: a line for each metric that is no language's, and for each language that changed."""
  shown = {name: d for name, d in found.items() if name.count("/") == 1 or d.verdict != "kept"}
  width = max(map(len, shown), default=0) + 2
  head = f"{'':{width}}{'rows':>7}{'base':>8}{'this':>8}{'change':>9}   {'95 % interval':18}"
  lines = [f"against {title}:", head.rstrip()]
  for name, d in shown.items():
    interval = f"[{d.low:+.3f}, {d.high:+.3f}]"
    lines.append(
      f"{name:{width}}{d.rows:7,}{d.base:8.3f}{d.this:8.3f}{d.this - d.base:+9.3f}   {interval:18} {d.verdict}"
    )
  return "\n".join(lines)


def neighbours(encode: TextEncoder, tables: Tables, count: int, k: int = 3) -> str:
  """A few posts of the first labelled table, each with those nearest to it."""
  texts = next((list(dict.fromkeys(t.texts))[:2000] for t in tables.values() if isinstance(t, Labelled)), [])
  if not count or len(texts) <= k:
    return ""
  vectors = np.asarray(encode(texts))
  lines = []
  for i in np.linspace(0, len(texts) - 1, count + 2).astype(int)[1:-1]:
    similarity = vectors @ vectors[i]
    similarity[i] = -np.inf
    lines.append(_shown(texts[i]))
    lines += [f"  {similarity[j]:.2f}  {_shown(texts[j])}" for j in np.argsort(-similarity)[:k]]
  return "\n".join(lines)


def _shown(text: str) -> str:
  text = " ".join(text.split())
  return text if len(text) <= 110 else text[:107] + "..."


def _documents(table: Table) -> list[str]:
  match table:
    case Search():
      return list(table.corpus.values())
    case Labelled():
      return [*table.texts, *table.reference_texts]
    case Graded():
      return [*table.a, *table.b]
    case Parallel():
      return list(table.texts)


def _read_table(source: data.Rows, evaluation: Evaluation, split: str, on_bad_row: str) -> Table:
  examples = evaluation.examples

  def rows(split: str) -> Iterator[data.Example]:
    return data.read(source, split, examples, on_bad_row)

  if isinstance(examples, data.Pairs):
    return _search(source, list(rows(split)))
  if isinstance(examples, data.Scored):
    read = list(rows(split))
    return Graded(
      [r["anchor"] for r in read],
      [r["positive"] or "" for r in read],
      [r["score"] or 0.0 for r in read],
      [r["language"] for r in read],
    )
  if isinstance(examples, data.Translations):
    read = list(rows(split))
    return Parallel([r["labels"][0] for r in read], [r["anchor"] for r in read], [r["language"] for r in read])
  read = list(rows(split))
  known = list(rows(evaluation.reference)) if evaluation.reference else []
  return Labelled(
    [r["anchor"] for r in read],
    [r["labels"] for r in read],
    [r["language"] for r in read],
    [r["anchor"] for r in known],
    [r["labels"] for r in known],
  )


def _check_kind(evaluation: Evaluation, table: Table) -> None:
  """Raises ValueError where the evaluator's `measure` says that it takes tables of another shape."""
  wanted = get_type_hints(evaluation.evaluator.measure).get("table")
  if isinstance(wanted, type) and not isinstance(table, wanted):
    kinds = {Search: "Pairs", Labelled: "SameLabel", Graded: "Scored", Parallel: "Translations"}
    raise ValueError(
      f"{type(evaluation.evaluator).__name__} scores data of {kinds.get(wanted, wanted.__name__)}, "
      f"and the config says {type(evaluation.examples).__name__}; docs/evaluation.md says which evaluator takes what"
    )


def _search(source: data.Rows, read: Sequence[data.Example]) -> Search:
  queries, corpus, qrels, languages, spoken = {}, {}, {}, {}, {}
  for row in read:
    query, document = row["anchor_id"] or row["anchor"], row["positive_id"] or row["positive"]
    queries[query], corpus[document], languages[query] = row["anchor"], row["positive"], row["language"]
    qrels.setdefault(query, {})[document] = row["score"] or 1.0
  if "corpus" in source.splits():
    documents = [row for _, row in source.rows("corpus")]
    corpus = {row["id"]: row["text"] for row in documents}
    spoken = {row["id"]: row.get("language") or "" for row in documents}
  return Search(queries, corpus, qrels, languages, spoken)


def _lookup(texts_path: Path, vectors_path: Path) -> TextEncoder:
  """Vectors from a file as an encoder: each text, with its role, is looked up."""
  try:
    vectors = np.lib.format.open_memmap(vectors_path, mode="r")
  except ValueError as error:
    raise ValueError(f"{vectors_path} is no array of numbers ({error}); write it with numpy.save") from error
  listed = [json.loads(line) for line in texts_path.read_text(encoding="utf-8").splitlines()]
  if vectors.ndim != 2 or len(vectors) != len(listed):
    raise ValueError(
      f"{vectors_path} has shape {vectors.shape}, but {texts_path} has {len(listed)} texts; expected one row for each"
    )
  rows = {(row["text"], row.get("role", "document")): i for i, row in enumerate(listed)}

  def encode(texts: Sequence[str], role: str = "document") -> np.ndarray:
    missing = [text for text in texts if (text, role) not in rows]
    if missing:
      raise ValueError(
        f"{texts_path} lacks {len(missing)} of {len(texts)} texts of role {role!r}, {missing[0][:80]!r} first; "
        "see --list_texts"
      )
    return vectors[[rows[text, role] for text in texts]]

  return encode


def _list_texts(path: Path, tables: Tables, evaluations: Mapping[str, Evaluation]) -> None:
  """Writes every text that the evaluations ask for, with its role, once."""
  asked = {(text, "document"): None for table in tables.values() for text in _documents(table)}
  for name, table in tables.items():
    asked |= {(text, "document"): None for text in evaluations[name].evaluator.texts(table)}
    if isinstance(table, Search):
      asked |= {(text, "query"): None for text in table.queries.values()}
  with open(path, "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text, "role": role}, ensure_ascii=False) + "\n" for text, role in asked)
  print(f"{len(asked):,} texts in {path}; give their vectors, in this order, with --texts={path} --embeddings=FILE.npy")


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    experiment = cli.experiment(f.config, argv)
    tables = read_tables(experiment, "test")
    if not tables:
      raise ValueError(
        f"none of the {len(experiment.evaluations)} evaluations of the config has data to score; give "
        "--config.data_dir, or correct the config"
      )
    if f.list_texts:
      _list_texts(Path(f.list_texts), tables, experiment.evaluations)
      return
    if bool(f.model) == bool(f.embeddings):
      raise ValueError("name what to score: --model=DIR, or --embeddings=FILE.npy with --texts=FILE.jsonl")
    if f.embeddings and not f.texts:
      raise ValueError(
        "--embeddings needs --texts=FILE.jsonl, the texts of its rows; --list_texts=FILE.jsonl writes them"
      )
    bases = {base: load(base).encode for base in f.compare}
    encode = load(f.model).encode if f.model else _lookup(Path(f.texts), Path(f.embeddings))
    measured = measure(encode, tables, experiment.evaluations)
    scores = _scores(measured)
    found = {base: compare(measure(e, tables, experiment.evaluations), measured) for base, e in bases.items()}
    if f.output:
      written = {base: {name: dataclasses.asdict(d) for name, d in changes.items()} for base, changes in found.items()}
      records.write_json(Path(f.output), {"scores": scores} | ({"compare": written} if written else {}))
  for base, changes in found.items():
    print(comparison(base, changes) + "\n")
  print(report({"TF-IDF": tfidf_scores(tables, experiment.evaluations), Path(f.model or f.embeddings).name: scores}))


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file("config", None, "The experiment whose evaluations are asked for.")
  flags.DEFINE_string("model", "", "An mtc export, a sentence-transformers or a Hugging Face directory.")
  flags.DEFINE_string("embeddings", "", "A .npy of vectors, instead of a model.")
  flags.DEFINE_string("texts", "", 'The texts of --embeddings, a JSON line each: {"text", "role"}.')
  flags.DEFINE_string("list_texts", "", "Only write the texts that would be embedded to this JSONL file.")
  flags.DEFINE_multi_string("compare", [], "The directory of a model to compare with; may be given several times.")
  flags.DEFINE_string("output", "", "A JSON file for the scores.")
  app.run(_main, flags_parser=cli.parse_flags)
