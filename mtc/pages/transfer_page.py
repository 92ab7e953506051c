"""transfer.html: what transfer.json says, for a quick reader."""

from collections.abc import Iterable, Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from mtc import data
from mtc.pages.document import Content, Html, details, document, figure, join, section, table, tag
from mtc.pages.plots import MARKS, Curve, Interval, curves, forest, legend

Row = Mapping[str, Any]
_KEEPS = 0.97  # of the score with all dimensions
_SIGNS = {"gain": "▲", "loss": "▼", "no difference": "○"}
_GOOD, _BAD, _BEST = (26, 127, 55), (207, 34, 46), (120, 174, 228)


def transfer(found: Mapping[str, Any]) -> str:
  """The whole page; sections that `found` has nothing for are left out.

  Args:
    found: transfer.json.
  """
  title = "Does multi-task training transfer?"
  parts = [
    tag("p", title, class_="kicker"),
    tag("h1", _headline(found["gains"])),
    tag("p", _what(found), class_="lead"),
    _cards(found),
    _gains(found),
    _matrix(found),
    _left_out(found),
    _languages(found),
    _dimensions(found),
    _gradients(found),
    _geometry(found),
    _tuning(found),
    _skipped(found),
    _leakage(found),
    _cost(found),
    _how(found),
  ]
  return document(title, *[part for part in parts if part])


def _headline(gains: Sequence[Row]) -> str:
  trained = [row["verdict"] for row in gains if not row["zero_shot"]]
  gain, loss = trained.count("gain"), trained.count("loss")
  if not gain and not loss:
    return f"Trained together or alone: no difference was found on any of {len(trained)} tasks"
  end = "none loses" if not loss else f"{loss} lose{'s' if loss == 1 else ''}"
  none = len(trained) - gain - loss
  end += f", and on {none} no difference was found" if none else ""
  return f"Trained together, {gain} of {len(trained)} tasks gain{'s' if gain == 1 else ''} over training alone; {end}"


def _what(found: Row) -> str:
  seeds = len(found["seeds"])
  known = (
    "There is one seed, so the intervals know nothing of how runs of other seeds differ."
    if seeds == 1
    else f"With {seeds} seeds, the part of the intervals that is due to seeds is too narrow, by "
    f"{1 - ((seeds - 1) / seeds) ** 0.5:.0%}."
  )
  return (
    f"{found['config']}: {len(found['tasks'])} tasks, {found['steps']:,} steps together. Brackets hold 95 % intervals; "
    f"a gain or a loss is one whose interval leaves 0 out. {known}"
  )


def _cards(found: Row) -> Html:
  gains = found["gains"]
  cards = []
  for title, chosen in (
    ("Tasks that were trained", [row for row in gains if not row["zero_shot"]]),
    ("Tasks that were never trained (zero-shot)", [row for row in gains if row["zero_shot"]]),
  ):
    if chosen:
      cards.append(_card(title, _counted(chosen), [_named(row["evaluation"], row) for row in chosen]))
  groups = [row for row in found.get("groups", ()) if not row["seen"]]
  if groups:
    rows = [_named(row["evaluation"], row["over_alone"]) for row in groups]
    big = f"Over training alone: {_counted([row['over_alone'] for row in groups])}"
    cards.append(_card("Languages that were never trained", big, rows))
  if found.get("dimensions"):
    cards.append(_short_vectors(found))
  return tag("div", *cards, class_="cards")


def _card(title: str, big: str, rows: Iterable[Html]) -> Html:
  return tag(
    "div", tag("h3", title), tag("p", big, class_="big"), tag("ul", *(tag("li", row) for row in rows)), class_="card"
  )


def _counted(rows: Sequence[Row]) -> str:
  """How many of each verdict there are, in words."""
  verdicts = [row["verdict"] for row in rows]
  said = [f"{verdicts.count('gain')} of {len(rows)} gain{'s' if verdicts.count('gain') == 1 else ''}"]
  if count := verdicts.count("loss"):
    said.append(f"{count} lose{'s' if count == 1 else ''}")
  if count := verdicts.count("no difference"):
    said.append(f"no difference found in {count}")
  return ", ".join(said)


def _named(name: str, row: Row) -> Html:
  return join([f"{name} ", tag("span", f"{_SIGNS[row['verdict']]} ", class_=_class(row)), _change(row)])


def _short_vectors(found: Row) -> Html:
  """The card that says how few dimensions would do for the trained tasks."""
  tasks = {name for name, about in found["evaluations"].items() if about["task"]}
  rows = [row for row in found["dimensions"] if row["evaluation"] in tasks] or found["dimensions"]
  full = max(row["dim"] for row in rows)
  by = {dim: [row for row in rows if row["dim"] == dim] for dim in sorted({row["dim"] for row in rows})}
  enough = min(dim for dim, own in by.items() if dim == full or min(row["share"] for row in own) >= _KEEPS)
  if enough == full:
    fewer = max([dim for dim in by if dim < full], default=full)
    big, shown = f"The first {fewer} of {full} do not keep {_KEEPS:.0%} of every task's score", by[fewer]
  else:
    big = f"The first {enough} of {full} keep {_KEEPS:.0%} or more of every task's score"
    shown = by[enough]
  said = [join([f"{row['evaluation']} ", *_share(row)]) for row in shown]
  return _card("Dimensions", big, said)


def _gains(found: Row) -> Html:
  rows, scores = found["gains"], {row["name"]: row["scores"] for row in found["matrix"]["rows"]}
  marked = [Interval(_titled(row), row["gain"], row["low"], row["high"], row["verdict"]) for row in rows]
  head = ["evaluation", "gain", "verdict", "alone", "together", "p", "compared with"]
  cells = [
    [
      join([_titled(row), tag("small", f"{row['metric']}, {_rows(found['evaluations'][row['evaluation']]['rows'])}")]),
      _change(row),
      _verdict(row),
      _bracketed(scores[row["baseline"]][row["evaluation"]], "mean"),
      _bracketed(scores["together"][row["evaluation"]], "mean"),
      _number(row["p"]),
      row["baseline"],
    ]
    for row in rows
  ]
  return section(
    "Together against alone",
    tag(
      "p",
      "Right of 0, the model that was trained on all tasks is better than the best one that was trained on a single "
      "task. The bars are 95 % intervals.",
    ),
    figure("Gain of together over alone", forest("gains", marked, "together less alone"), class_="wide"),
    table(head, cells),
    tag(
      "p",
      "alone: of a task, the better of its runs with equal examples and with equal compute, as far as both were "
      "asked for; of a zero-shot evaluation, the best of all single tasks. It is chosen on this very test, to the "
      "favour of alone. p: two-sided, of one comparison.",
      class_="note",
    ),
  )


def _matrix(found: Row) -> Html:
  columns, rows = found["matrix"]["columns"], found["matrix"]["rows"]
  ends = {c: [pick(row["scores"][c]["mean"] for row in rows) for pick in (min, max)] for c in columns}

  def cell(row: Row, column: str) -> Html:
    score, (low, high) = row["scores"][column], ends[column]
    shade = _mixed(_BEST, (score["mean"] - low) / (high - low) if high > low else 0)
    own = row["kind"] == "alone" and row["name"].startswith(f"alone {column} (")
    return tag("td", _bracketed(score, "mean"), class_="own" if own else "", style=f"background:{shade}")

  return section(
    "Trained on (rows), evaluated on (columns)",
    tag("p", "The darker, the better within its column. Framed: a task's own run, evaluated on that task."),
    table(
      ["", *(join([c, tag("small", found["evaluations"][c]["metric"])]) for c in columns)],
      [[row["name"], *(cell(row, column) for column in columns)] for row in rows],
    ),
  )


def _left_out(found: Row) -> Html | None:
  rows = found.get("leave_one_out")
  if not rows:
    return None
  by = {(row["task"], row["evaluation"]): row for row in rows}
  tasks, columns = (list(dict.fromkeys(row[key] for row in rows)) for key in ("task", "evaluation"))

  def cell(task: str, column: str) -> Html:
    row = by[task, column]
    shade = {"gain": _mixed(_GOOD, 0.25), "loss": _mixed(_BAD, 0.2)}.get(row["verdict"], "#fff")
    mark = tag("span", f"{_SIGNS[row['verdict']]} ", class_=_class(row))
    return tag("td", mark, _change(row), class_="own" if task == column else "", style=f"background:{shade}")

  return section(
    "What each task gives to the others",
    tag(
      "p",
      "What is lost when the task of the row is left out: together less the run without it, which saw as many examples "
      "of each other task. ▲ the task helps, ▼ it harms, ○ no difference was found. Framed: the task itself.",
    ),
    table(["task", *columns], [[task, *(cell(task, column) for column in columns)] for task in tasks]),
  )


def _languages(found: Row) -> Html | None:
  groups, languages = found.get("groups"), found.get("languages")
  if not groups:
    return None

  def cells(row: Row, name: Content) -> list[Content]:
    over = row["over_alone"]
    return [
      row["evaluation"],
      name,
      f"{row['rows']:,}",
      _change(row),
      _verdict(row),
      _change(over),
      _verdict(over),
      _number(row["start"]),
      _number(row["alone"]),
      _number(row["together"]),
    ]

  head = ["evaluation", "languages", "test rows", "over the start", "verdict", "over alone", "verdict"]
  head += ["start", "alone", "together"]
  plots = []
  for number, name in enumerate(dict.fromkeys(row["evaluation"] for row in languages or ())):
    own = sorted((row for row in languages or () if row["evaluation"] == name), key=lambda row: -row["gain"])
    bars = [
      Interval(row["language"], row["gain"], row["low"], row["high"], "seen" if row["seen"] else "unseen")
      for row in own
    ]
    plots.append(figure(name, forest(f"languages{number}", bars, "together less the untrained model")))
  return section(
    "Languages, seen and unseen",
    tag(
      "p",
      "Seen: a training text of some task is in this language (● in the plots). Unseen: none is (◆). The start is the "
      "untrained model; alone is the run that is named above.",
    ),
    table(head, [cells(row, "seen" if row["seen"] else "unseen") for row in groups]),
    legend(["seen", "unseen"], [MARKS["seen"][0], MARKS["unseen"][0]]) if plots else "",
    tag("div", *plots, class_="plots"),
    details(
      "Each language in numbers",
      table(
        head,
        [cells(row, f"{row['language']} ({'seen' if row['seen'] else 'unseen'})") for row in languages or ()],
      ),
    ),
  )


def _dimensions(found: Row) -> Html | None:
  rows = found.get("dimensions")
  if not rows:
    return None
  plots = []
  for number, (name, group) in enumerate(itertools.groupby(rows, key=lambda row: row["evaluation"])):
    own = sorted(group, key=lambda row: row["dim"])
    xs, ys, low, high = ([row[key] for row in own] for key in ("dim", "score", "low", "high"))
    metric = found["evaluations"][name]["metric"]
    line = Curve(xs, ys, 0, low, high)
    plots.append(figure(name, curves(f"dimensions{number}", [line], "dimensions", metric, doubling=True)))
  return section(
    "Score against dimensions",
    tag("p", "Vectors of the model trained together, cut to their first dimensions. The band is the 95 % interval."),
    tag("div", *plots, class_="plots"),
    details(
      "In numbers",
      table(
        ["evaluation", "dimensions", "score", "share of the score with all"],
        [[row["evaluation"], f"{row['dim']:,}", _bracketed(row, "score"), join(_share(row))] for row in rows],
      ),
    ),
  )


def _gradients(found: Row) -> Html | None:
  of = found.get("gradients")
  if not of:
    return None
  steps, tasks = of["steps"], list(of.get("norm", ()))
  cosines = {
    frozenset((a, b)): values for a in tasks for b in tasks if (values := of.get("cosine", {}).get(f"{a}/{b}"))
  }
  content: list[Html] = []
  if cosines:
    content += [
      tag(
        "p",
        "The cosine of two tasks' gradients with respect to the shared weights: over 0 they pull the same way, under 0 "
        "against each other. Each cell: the median of the logged steps, and in brackets where 95 % of these steps are.",
      ),
      table(["", *tasks], [[a, *(_cosine(cosines.get(frozenset((a, b)))) for b in tasks)] for a in tasks]),
    ]
  content.append(legend(tasks))
  plots = []
  for number, task in enumerate(tasks):
    lines = [
      Curve(steps, _floats(values), other)
      for other, name in enumerate(tasks)
      if name != task and (values := cosines.get(frozenset((task, name))))
    ]
    if lines:
      plots.append(figure(f"Cosine with {task}", curves(f"cosine{number}", lines, "step", "cosine", zero=True)))
  for what, title in (("norm", "Norm of each task's gradient"), ("share", "Share of the update")):
    lines = [Curve(steps, _floats(of[what][task]), tasks.index(task)) for task in of.get(what, ())]
    if lines:
      plots.append(figure(title, curves(f"gradient-{what}", lines, "step", what, zero=what == "share")))
  return section("Why: the tasks' gradients", *content, tag("div", *plots, class_="plots"))


def _cosine(values: Sequence[float | None] | None) -> Html:
  if not values or np.isnan(_floats(values)).all():
    return tag("td", "")
  low, middle, high = np.nanquantile(_floats(values), (0.025, 0.5, 0.975))
  shade = _mixed(_BEST if middle > 0 else _BAD, min(abs(middle) * 2, 1) * (1 if middle > 0 else 0.5))
  return tag("td", f"{middle:+.2f} ", _interval(f"{low:+.2f}", f"{high:+.2f}"), style=f"background:{shade}")


_GEOMETRY = {
  "effective_rank": ("Effective rank", "how many dimensions are used; low is a collapse"),
  "uniformity": ("Uniformity", "lower is more spread; 0 is a single point"),
  "mean_similarity": ("Mean similarity", "the cosine of two random texts; near 1 is a collapse"),
  "mean_norm": ("Mean norm", "of vectors before they get unit length"),
}


def _geometry(found: Row) -> Html | None:
  of = found.get("geometry")
  if not of:
    return None
  steps = of["steps"]
  tasks = [name.removesuffix("/alignment") for name in of if name.endswith("/alignment")]
  plots = []
  if tasks:
    lines = [Curve(steps, _floats(of[f"{task}/alignment"]), number) for number, task in enumerate(tasks)]
    picture = join([curves("alignment", lines, "step", "alignment"), legend(tasks)])
    plots.append(figure("Alignment", picture, "the mean squared distance of a task's pairs; lower is closer"))
  for name, (title, note) in _GEOMETRY.items():
    if name in of:
      plots.append(figure(title, curves(f"geometry-{name}", [Curve(steps, _floats(of[name]))], "step", title), note))
  return section("Geometry of the embeddings while training together", tag("div", *plots, class_="plots"))


def _tuning(found: Row) -> Html | None:
  rows = found.get("tuning")
  if not rows:
    return None
  return section(
    "Learning rates",
    tag(
      "p",
      "Each way to train tried the same ones with the first seed; the best on validation was taken for all seeds: of a "
      "task alone by that task's first metric, of together by the mean of all tasks'. One run each, so no intervals.",
    ),
    table(
      ["run", "learning rate", "on validation", "taken"],
      [
        [row["way"], f"{row['learning_rate']:g}", f"{row['validation']:.4f}", "✓" if row["chosen"] else ""]
        for row in rows
      ],
    ),
  )


def _skipped(found: Row) -> Html | None:
  rows = [list(row) for row in data.each_in_words(found.get("skipped", {}))]
  if not rows:
    return None
  return section(
    "Rows left out",
    tag("p", "What tests and validation lack, because it could not be read."),
    table(["evaluation", "split", "left out"], rows),
  )


def _leakage(found: Row) -> Html | None:
  leakage = found.get("leakage")
  if not leakage:
    return None
  done = {"drop": "They were left out of training.", "warn": "They were trained on nevertheless."}
  none = not any(leakage["rows"].values())
  return section(
    "Leakage",
    tag(
      "p",
      "Training rows that hold a text of a test or of validation, or nearly one. ",
      "There are none." if none else done.get(leakage["on_leak"], ""),
    ),
    table(["task", "training rows"], [[task, f"{count:,}"] for task, count in leakage["rows"].items()]),
  )


def _cost(found: Row) -> Html | None:
  cost = found.get("cost")
  if not cost:
    return None
  rows = [
    [
      run["name"],
      str(run["seed"]),
      f"{run['learning_rate']:g}",
      f"{run['steps']:,}",
      f"{run['tokens']:,}",
      f"{run['seconds']:,.0f}",
      ", ".join(f"{task} {count:,}" for task, count in run["examples"].items()),
    ]
    for run in found.get("runs", ())
    if run["kind"] != "start"
  ]
  return section(
    "Cost",
    tag(
      "p",
      f"{cost['runs']} runs, {cost['tokens']:,} tokens and {cost['seconds'] / 60:,.1f} minutes of training steps in "
      "all. Start, compiling and evaluation are not in them.",
    ),
    details("Each run", table(["run", "seed", "learning rate", "steps", "tokens", "seconds", "examples"], rows))
    if rows
    else "",
  )


def _how(found: Row) -> Html:
  options = ", ".join(f"{name} {value}" for name, value in found.get("options", {}).items())
  facts = [
    "Every model starts from the same untrained one of its seed, with the same tokenizer. Together trains all tasks; "
    "alone trains one, on as many of its examples as together has (equal examples), or on as many tokens as together "
    "has in all (equal compute).",
    "The metric of an evaluation is its first one, fixed before anything was trained.",
    "Intervals are percentiles of a bootstrap: test rows and seeds are redrawn together, the same for both sides of "
    "a comparison. p is twice the smaller share of draws on either side of 0; of twenty comparisons, one is below 0.05 "
    "by chance.",
    "Seconds are those of the training steps at the median speed of a run; tokens are encoded ones, without padding.",
    "Gradients and geometry are of the run together of the first seed, at the steps that were logged.",
  ]
  versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items())
  return details(
    "How these numbers were made, and how to make them again",
    tag("ul", *(tag("li", fact) for fact in facts)),
    tag("pre", found["command"]),
    tag("p", f"Seeds {', '.join(map(str, found['seeds']))}. {options}. {versions}.", class_="note"),
  )


def _titled(row: Row) -> str:
  return row["evaluation"] + (" (zero-shot)" if row["zero_shot"] else "")


def _rows(count: int) -> str:
  return f"{count:,} test row{'' if count == 1 else 's'}"


def _class(row: Row) -> str:
  return "verdict " + row["verdict"].replace("no difference", "none")


def _verdict(row: Row) -> Html:
  return tag("span", f"{_SIGNS[row['verdict']]} {row['verdict']}", class_=_class(row))


def _number(value: float) -> str:
  return f"{value:.3f}"


def _bracketed(row: Row, name: str) -> Html:
  return join([f"{row[name]:.3f} ", _interval(_number(row["low"]), _number(row["high"]))])


def _change(row: Row) -> Html:
  return join([f"{row['gain']:+.3f} ", _interval(f"{row['low']:+.3f}", f"{row['high']:+.3f}")])


def _share(row: Row) -> list[Content]:
  return [f"{row['share']:.1%} ", _interval(f"{row['share_low']:.1%}", f"{row['share_high']:.1%}")]


def _interval(low: str, high: str) -> Html:
  return tag("small", f"[{low}, {high}]", class_="interval")


def _mixed(colour: tuple[int, int, int], much: float) -> str:
  """The colour on white; black text is readable on all that are used here."""
  return "#" + "".join(f"{round(255 + (part - 255) * much):02x}" for part in colour)


def _floats(values: Sequence[float | None]) -> list[float]:
  return [np.nan if value is None else value for value in values]
