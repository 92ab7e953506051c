"""Several systems on the same tables: scores, costs, differences, and how they are shown."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from pathlib import Path

from mtc import pages
from mtc.config import Evaluation
from mtc.evaluation.scoring import measure, scores_of
from mtc.evaluation.systems import Cost, System, documents
from mtc.evaluation.tables import Tables
from mtc.evaluators import (
  Difference,
  Labelled,
  Measured,
  Search,
  TextEncoder,
  differences,
  nearest,
  plane,
)
from mtc.files import atomic


def measure_system(
  system: System, tables: Tables, evaluations: Mapping[str, Evaluation]
) -> dict[str, Measured]:
  """What `measure` finds, without the tables that the system has no vectors for."""
  found = {}
  for name, table in tables.items():
    try:
      if encode := system.encoder(table):
        found |= measure(encode, {name: table}, evaluations)
    except ValueError as error:
      raise ValueError(f"{system.name}: {error}") from error
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
  """What several systems reach on the same tables, by their names.

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
  opened: Sequence[System], tables: Tables, evaluations: Mapping[str, Evaluation], paired: bool = True
) -> SideBySide:
  """Measures all systems on all tables that they can be scored on; `paired` bootstraps the differences."""
  measured = {one.name: measure_system(one, tables, evaluations) for one in opened}
  base, *rest = measured
  return SideBySide(
    {name: scores_of(m) for name, m in measured.items()},
    {one.name: one.cost() for one in opened},
    {name: compare(measured[base], measured[name]) for name in rest} if paired else {},
  )


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


def write_page(path: Path, system: System, tables: Tables, evaluations: Mapping[str, Evaluation]) -> None:
  """The page of nearest neighbours and maps of one system; it encodes once more what it shows."""
  shown = {}
  for name, table in tables.items():
    if encode := system.encoder(table):
      about = f"{type(evaluations[name].evaluator).__name__} on the split {evaluations[name].test}"
      shown[name] = pages.Shown(about, nearest(encode, table, pages.ASKED, pages.NEIGHBOURS), plane(encode, table))
  with atomic.file(path) as partial:
    partial.write_text(pages.neighbours(system.name, shown), encoding="utf-8")
  print(f"{path}: examples of nearest neighbours and maps of {system.name}")


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


def list_texts(path: Path, tables: Tables, evaluations: Mapping[str, Evaluation]) -> None:
  """Writes every text that the evaluations ask for, with its role, once."""
  asked = {(text, "document"): None for table in tables.values() for text in documents(table)}
  for name, table in tables.items():
    asked |= {(text, "document"): None for text in evaluations[name].evaluator.texts(table)}
    if isinstance(table, Search):
      asked |= {(text, "query"): None for text in table.queries.values()}
  with atomic.file(path) as partial, open(partial, "w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text, "role": role}, ensure_ascii=False) + "\n" for text, role in asked)
  print(f"{len(asked):,} texts in {path}; give their vectors, in this order, with --texts={path} --embeddings=FILE.npy")


def as_json(found: SideBySide) -> dict:
  """As JSON."""
  columns = {
    name: {"scores": found.scores[name], "cost": dataclasses.asdict(found.costs[name])} for name in found.costs
  }
  changes = {name: {metric: dataclasses.asdict(d) for metric, d in m.items()} for name, m in found.differences.items()}
  return {"systems": columns} | ({"baseline": found.baseline, "differences": changes} if changes else {})
