"""The scores of one encoder on the tables of a config."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
import time
from typing import Any

from mtc.config import Evaluation
from mtc.evaluation.systems import documents
from mtc.evaluation.tables import Tables
from mtc.evaluators import (
  Measured,
  TextEncoder,
  TfIdf,
)
from mtc.files import json_file


def score(encode: TextEncoder, tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
  """All numbers as `evaluation/metric` and `evaluation/metric/language`, in the order of the config."""
  return scores_of(measure(encode, tables, evaluations))


def measure(encode: TextEncoder, tables: Tables, evaluations: Mapping[str, Evaluation]) -> dict[str, Measured]:
  """What `score` makes its numbers of: for each evaluation its rows, which another model's can be compared with."""
  found = {}
  for name, table in tables.items():
    try:
      found[name] = evaluations[name].evaluator.measure(encode, table)
    except ValueError as error:
      raise ValueError(f"evaluation {name!r}: {error}") from error
  return found


def scores_of(measured: Mapping[str, Measured]) -> dict[str, float]:
  return {f"{name}/{metric}": float(value) for name, m in measured.items() for metric, value in m.scores().items()}


def primary_metrics(scores: Mapping[str, float]) -> dict[str, float]:
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

  Each is measured once and kept in `path`; again if the evaluators or the tables have changed.
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
    json_file.write_json(path, measured)
  return {name: value for name, value in measured.items() if name != "of"}
