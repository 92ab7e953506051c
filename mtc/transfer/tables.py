"""What the runs of a transfer report say together: tables of gains with intervals, and the page that states them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtc import data, evaluators
from mtc.evaluators import Measured, Redrawn

By = Mapping[str, Sequence[Mapping[str, Measured]]]  # way to train -> of each seed: evaluation -> measured
START, TOGETHER = "untrained", "together"


def tables(
  by: By, truncated: Mapping[int, Sequence[Mapping[str, Measured]]], tasks: Collection[str], seen: Collection[str]
) -> dict[str, Any]:
  """The parts of transfer.json that compare: evaluations, matrix, gains, leave_one_out, languages, groups, dimensions.

  The baseline of an evaluation is the run alone that scores best on it, chosen on the test itself: of a task its own
  runs, of any other evaluation those of all tasks. A gain over it is a gain over each.

  Args:
    by: the untrained start and together, "alone TASK (BUDGET)", and "without TASK" where there are such.
    truncated: dimensions kept -> what the multi-task seeds measured with them.
    tasks: names of the tasks that are trained.
    seen: the languages of their training texts.
  """
  first = by[TOGETHER][0]
  redrawn = {
    name: evaluators.redraw({way: [seed[name] for seed in seeds] for way, seeds in by.items()}) for name in first
  }
  found: dict[str, Any] = {
    "evaluations": {
      name: {"metric": evaluators.first_metric(m), "task": name in tasks, "rows": len(m.languages)}
      for name, m in first.items()
    },
    "matrix": {
      "rows": [
        {"name": way, "kind": _kind(way), "scores": {name: _interval(redrawn[name][way]) for name in first}}
        for way in by
      ],
      "columns": list(first),
    },
    "gains": [],
    "leave_one_out": [],
    "languages": [],
    "groups": [],
    "dimensions": list(_dimensions(truncated)),
  }
  for name, ways in redrawn.items():
    own = f"alone {name} ("
    alone = [way for way in by if way.startswith(own if name in tasks else "alone ")]
    base = max(alone, key=lambda way: ways[way].score)
    gain = evaluators.gain(ways[base], ways[TOGETHER])
    found["gains"].append(
      {"evaluation": name, "metric": found["evaluations"][name]["metric"], "zero_shot": name not in tasks}
      | {"baseline": base, "alone": gain.base, "together": gain.this}
      | _change(gain)
    )
    for way in by:
      if way.startswith("without "):
        lost = evaluators.gain(ways[way], ways[TOGETHER])
        row = {"evaluation": name, "task": way.removeprefix("without "), "without": lost.base, "together": lost.this}
        found["leave_one_out"].append(row | _change(lost))
    parts = {part: rows for part, rows in first[name].parts().items() if part}
    compared = {way: [seed[name] for seed in by[way]] for way in (START, base, TOGETHER)}
    for part, rows in parts.items():
      found["languages"].append(_of_rows(compared, rows, {"evaluation": name, "language": part, "seen": part in seen}))
    for known in (True, False) if parts else ():
      if chosen := [rows for part, rows in parts.items() if (part in seen) == known]:
        found["groups"].append(_of_rows(compared, np.concatenate(chosen), {"evaluation": name, "seen": known}))
  return found


def _of_rows(compared: Mapping[str, Sequence[Measured]], rows: np.ndarray, about: dict[str, Any]) -> dict[str, Any]:
  ways = evaluators.redraw(compared, rows)
  start, alone, together = ways.values()
  over_start, over_alone = evaluators.gain(start, together), evaluators.gain(alone, together)
  return (
    about
    | {"rows": len(rows), "start": start.score, "together": together.score}
    | _change(over_start)
    | {"alone": alone.score, "over_alone": _change(over_alone)}
  )


def _dimensions(truncated: Mapping[int, Sequence[Mapping[str, Measured]]]) -> Iterator[dict[str, Any]]:
  full = max(truncated)
  for name in truncated[full][0]:
    ways = evaluators.redraw({str(dim): [seed[name] for seed in seeds] for dim, seeds in truncated.items()})
    for dim in sorted(truncated):
      share, low, high = evaluators.ratio(ways[str(full)], ways[str(dim)])
      interval = _interval(ways[str(dim)])
      yield {"evaluation": name, "dim": dim, "score": interval.pop("mean"), **interval} | {
        "share": share,
        "share_low": low,
        "share_high": high,
      }


def _change(gain: evaluators.Gain) -> dict[str, Any]:
  return {"gain": gain.gain, "low": gain.low, "high": gain.high, "p": gain.p, "verdict": gain.verdict}


def _interval(redrawn: Redrawn) -> dict[str, float]:
  low, high = redrawn.interval()
  return {"mean": redrawn.score, "low": low, "high": high}


def _kind(way: str) -> str:
  return "start" if way == START else way.split()[0]


def markdown(found: Mapping[str, Any]) -> str:
  """transfer.md: the tables of transfer.json for people."""
  seeds, gains = len(found["seeds"]), found["gains"]
  counts = {verdict: sum(row["verdict"] == verdict for row in gains) for verdict in ("gain", "no difference", "loss")}
  trained = [row for row in gains if not row["zero_shot"]]
  parts = [
    "# Does multi-task training transfer?",
    f"`{found['config']}`, {found['steps']:,} steps together, {_seeds(seeds)}: together is better than alone on "
    f"{sum(row['verdict'] == 'gain' for row in trained)} of {len(trained)} trained tasks; of all {len(gains)} "
    f"evaluations {counts['gain']} gain, {counts['loss']} lose, and in {counts['no difference']} no difference was "
    "found.",
    "Brackets hold 95 % intervals, of test rows and seeds drawn again together; both sides of a comparison are drawn "
    "the same. "
    + (
      "There is one seed: the intervals know nothing of how runs of other seeds differ."
      if seeds == 1
      else f"With {seeds} seeds the part of the intervals that is due to seeds is too narrow, by {_narrow(seeds):.0%}."
    ),
    "Training rows that hold a text of a test or of validation, or nearly one: "
    + ", ".join(f"{task} {count:,}" for task, count in found["leakage"]["rows"].items())
    + f" (on_leak={found['leakage']['on_leak']}).",
    *_skipped(found),
    "## Together against alone",
    "*metric*: the first of its evaluation, fixed beforehand. *alone*: the better, on this very test, of the "
    "single-task runs with equal examples and equal compute, as far as both were asked for; where the evaluation is no "
    "task, the best of all tasks' runs. *gain*: together less alone. *p*: two-sided, of these draws, for one "
    "comparison.",
    _table(
      ["evaluation", "metric", "rows", "alone", "together", "gain", "p", "verdict", "compared with"],
      [
        [
          row["evaluation"] + (" (zero-shot)" if row["zero_shot"] else ""),
          row["metric"],
          f"{found['evaluations'][row['evaluation']]['rows']:,}",
          f"{row['alone']:.3f}",
          f"{row['together']:.3f}",
          _signed(row),
          f"{row['p']:.3f}",
          row["verdict"],
          row["baseline"],
        ]
        for row in gains
      ],
    ),
    "## Trained on (rows) and evaluated on (columns)",
    _table(
      ["", *found["matrix"]["columns"]],
      [
        [row["name"], *(_bracketed(row["scores"][name], "mean") for name in found["matrix"]["columns"])]
        for row in found["matrix"]["rows"]
      ],
    ),
  ]
  if found["leave_one_out"]:
    parts += [
      "## What each task gives to the others",
      "*gain*: together less the run without that task, which saw as many examples of each other task.",
      _table(
        ["evaluation", "left out", "without", "together", "gain", "verdict"],
        [
          [
            row["evaluation"],
            row["task"],
            f"{row['without']:.3f}",
            f"{row['together']:.3f}",
            _signed(row),
            row["verdict"],
          ]
          for row in found["leave_one_out"]
        ],
      ),
    ]
  if found["groups"]:
    parts += [
      "## Languages",
      "*seen*: a training text of some task is in this language. *over the start*: together less the untrained model. "
      "*over alone*: together less the run named above. *verdict*: of both.",
      _table(_LANGUAGES, [_language(row, "all") for row in found["groups"]]),
      "<details><summary>Each language</summary>",
      _table(_LANGUAGES, [_language(row, row["language"]) for row in found["languages"]]),
      "</details>",
    ]
  parts += [
    "## Score against dimensions",
    "The vectors of the runs together, cut to the first dimensions and brought back to unit length. *share*: of the "
    "score with all dimensions.",
    _table(
      ["evaluation", "dimensions", "score", "share"],
      [
        [
          row["evaluation"],
          str(row["dim"]),
          _bracketed(row, "score"),
          f"{row['share']:.1%} [{row['share_low']:.1%}, {row['share_high']:.1%}]",
        ]
        for row in found["dimensions"]
      ],
    ),
  ]
  if found["tuning"]:
    parts += [
      "## Learning rates",
      "Each way to train tried the same ones with the first seed; the best on validation was taken for all seeds: of a "
      "task alone by that task's first metric, of together by the mean of all tasks'.",
      _table(
        ["run", "learning rate", "validation", "taken"],
        [
          [row["way"], f"{row['learning_rate']:g}", f"{row['validation']:.4f}", "yes" if row["chosen"] else ""]
          for row in found["tuning"]
        ],
      ),
    ]
  parts += [
    "## Cost",
    "*tokens*: encoded in training, without padding. *seconds*: of the training steps, at the median speed of the run; "
    "start, compiling and evaluation are not in them.",
    _table(
      ["run", "seed", "learning rate", "steps", "examples", "tokens", "seconds"],
      [
        [
          run["name"],
          str(run["seed"]),
          f"{run['learning_rate']:g}",
          f"{run['steps']:,}",
          ", ".join(f"{task} {count:,}" for task, count in run["examples"].items()),
          f"{run['tokens']:,}",
          f"{run['seconds']:.0f}",
        ]
        for run in found["runs"]
        if run["kind"] != "start"
      ],
    ),
    f"In all {found['cost']['tokens']:,} tokens and {found['cost']['seconds'] / 60:.1f} minutes of training, in "
    f"{found['cost']['runs']} runs.",
    "## How to repeat it",
    f"```sh\n{found['command']}\n```",
    ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
  ]
  return "\n\n".join(parts) + "\n"


def _skipped(found: Mapping[str, Any]) -> list[str]:
  rows = list(data.each_in_words(found.get("skipped", {})))
  head = ["evaluation", "split", "left out"]
  return ["What tests and validation lack, because it could not be read:", _table(head, rows)] if rows else []


_LANGUAGES = ["evaluation", "language", "seen", "rows", "start", "together", "over the start", "over alone", "verdict"]


def _language(row: Mapping[str, Any], name: str) -> list[str]:
  return [
    row["evaluation"],
    name,
    "seen" if row["seen"] else "unseen",
    f"{row['rows']:,}",
    f"{row['start']:.3f}",
    f"{row['together']:.3f}",
    _signed(row),
    _signed(row["over_alone"]),
    f"{row['verdict']}, {row['over_alone']['verdict']}",
  ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join(
    "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in row) + " |" for row in lines
  )


def _bracketed(row: Mapping[str, float], name: str) -> str:
  return f"{row[name]:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _signed(row: Mapping[str, float]) -> str:
  return f"{row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _seeds(count: int) -> str:
  return "1 seed" if count == 1 else f"{count} seeds"


def _narrow(seeds: int) -> float:
  return 1 - ((seeds - 1) / seeds) ** 0.5
