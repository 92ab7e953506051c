"""The pages: well-formed, the same for the same input, harmless whatever the texts are, true to the numbers."""

from collections import Counter
import copy
import dataclasses
from html.parser import HTMLParser
import random
from xml.etree import ElementTree

import numpy as np
import pytest

from mtc import pages
from mtc.evaluators import Examples, Neighbour, Plane, Text
from mtc.pages.document import clean
from mtc.pages.plots import Interval, forest

VOID = {"meta"}
HOSTILE = "<script>alert(1)</script>&\"'\ud800\x00\u202e$\\frac{$_ 東"


class Page(HTMLParser):
  """A page, read: that every element is closed, its ids, its text by element, the rows of its tables."""

  def __init__(self, text: str):
    super().__init__()
    self.open: list[str] = []
    self.seen = Counter()
    self.attributes: list[tuple[str, str, str]] = []
    self.texts: list[tuple[str, str]] = []
    self.rows: list[list[str]] = []
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.seen[tag] += 1
    self.attributes += [(tag, key, value or "") for key, value in attrs]
    if tag == "tr":
      self.rows.append([])
    if tag in ("td", "th"):
      self.rows[-1].append("")
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append((self.open[-1] if self.open else "", data))
    if {"td", "th"} & set(self.open):
      self.rows[-1][-1] += data

  def headings(self) -> list[str]:
    return [text for tag, text in self.texts if tag == "h2"]

  def harmless(self) -> None:
    """No scripts, and nothing from elsewhere."""
    assert not {"script", "img", "link", "iframe", "object", "a", "base", "form"} & set(self.seen)
    for _, key, value in self.attributes:
      assert not key.startswith("on") and "expression(" not in value
      assert key not in ("src", "data", "action") and (not key.endswith("href") or value.startswith("#"))
      assert "url(" not in value.replace("url(#", "")


def svgs(page: str) -> list[ElementTree.Element]:
  return [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in page.split("<svg")[1:]]


def change(rng: random.Random, verdict: str) -> dict:
  """A made-up gain with an interval that fits its verdict."""
  size = rng.uniform(0.02, 0.05)
  middle = {"gain": size, "loss": -size, "no difference": size / 10}[verdict]
  low, high = middle - size * 0.7, middle + size * 0.7
  return {"gain": middle, "low": low, "high": high, "p": rng.random(), "verdict": verdict}


def rich(
  tasks=("search", "topic", "tags"), zero=("qa", "sts"), languages=("de", "en", "sw"), seeds=3, steps=20
) -> dict:
  """A made-up transfer.json with every section."""
  rng = random.Random(0)
  names, verdicts = [*tasks, *zero], ("gain", "no difference", "gain", "loss")
  dims = (32, 50, 64, 128, 256)
  ways = ["untrained", "together"]
  ways += [f"alone {task} (equal {what})" for task in tasks for what in ("examples", "compute")]
  ways += [f"without {task}" for task in tasks]
  kinds = {"untrained": "start"} | {way: way.split()[0] for way in ways[1:]}

  def scores() -> dict:
    return {name: {"mean": (m := rng.uniform(0.2, 0.9)), "low": m - 0.02, "high": m + 0.02} for name in names}

  def by_language(name: str) -> dict:
    over = {"rows": rng.randint(50, 900), "start": 0.3, "alone": 0.4, "together": 0.5}
    return {"evaluation": name} | over | change(rng, rng.choice(verdicts)) | {"over_alone": change(rng, "gain")}

  return {
    "config": "configs/made_up.py",
    "command": "python -m mtc.transfer --config configs/made_up.py --workdir runs/t",
    "options": {"seeds": seeds, "budget": "both", "leave_one_out": True, "learning_rates": [1e-3, 1e-4]},
    "versions": {"jax": "0.0", "mtc": "abc"},
    "seeds": list(range(seeds)),
    "steps": 1000,
    "tasks": list(tasks),
    "evaluations": {
      name: {"metric": "map" if n % 2 else "mrr@10", "task": name in tasks, "rows": 1000 + n}
      for n, name in enumerate(names)
    },
    "matrix": {
      "rows": [{"name": way, "kind": kinds[way], "scores": scores()} for way in ways],
      "columns": names,
    },
    "gains": [
      {
        "evaluation": name,
        "metric": "map",
        "zero_shot": name in zero,
        "baseline": f"alone {name if name in tasks else tasks[0]} (equal compute)",
        "alone": rng.random(),
        "together": rng.random(),
      }
      | change(rng, verdicts[n % 4])
      for n, name in enumerate(names)
    ],
    "leave_one_out": [
      {"evaluation": name, "task": task, "without": 0.4, "together": 0.5} | change(rng, rng.choice(verdicts))
      for name in names
      for task in tasks
    ],
    "languages": [by_language(n) | {"language": g, "seen": g in ("de", "en")} for n in names[:3] for g in languages],
    "groups": [by_language(name) | {"seen": seen} for name in names[:3] for seen in (True, False)],
    "dimensions": [
      {"evaluation": name, "dim": dim, "score": 0.6 * (s := 1 - 0.9 / dim), "low": 0.55 * s, "high": 0.65 * s}
      | {"share": s if dim < 256 else 1.0, "share_low": s - 0.01, "share_high": s + 0.01}
      for name in names
      for dim in dims
    ],
    "runs": [
      {"name": way, "kind": kinds[way], "task": "", "budget": "", "seed": seed, "learning_rate": 1e-3, "steps": 1000}
      | {"examples": dict.fromkeys(tasks, 64000), "tokens": 12345678, "seconds": 81.5, "scores": {}}
      for way in ways
      for seed in range(seeds)
    ],
    "tuning": [
      {"way": way, "learning_rate": rate, "validation": rng.random(), "chosen": rate == 1e-3}
      for way in ways[1 : 2 + 2 * len(tasks)]
      for rate in (1e-3, 1e-4)
    ],
    "leakage": {"on_leak": "drop", "rows": dict.fromkeys(tasks, 17)},
    "cost": {"runs": 30, "seconds": 3723.0, "tokens": 98765432},
    "gradients": {
      "steps": [100 * i for i in range(steps)],
      "cosine": {
        f"{a}/{b}": [rng.gauss(0.1, 0.2) if i else None for i in range(steps)] for a in tasks for b in tasks if a < b
      },
      "norm": {task: [rng.uniform(1, 3) for _ in range(steps)] for task in tasks},
      "share": {task: [rng.random() for _ in range(steps)] for task in tasks},
    },
    "geometry": {"steps": [100 * i for i in range(steps)]}
    | {f"{task}/alignment": [rng.random() for _ in range(steps)] for task in tasks}
    | {
      name: [rng.random() for _ in range(steps)]
      for name in ("uniformity", "effective_rank", "mean_norm", "mean_similarity")
    },
  }


SECTIONS = {
  "leave_one_out": "What each task gives to the others",
  "groups": "Languages, seen and unseen",
  "dimensions": "Score against dimensions",
  "gradients": "Why: the tasks' gradients",
  "geometry": "Geometry of the embeddings while training together",
  "tuning": "Learning rates",
  "leakage": "Leakage",
  "cost": "Cost",
}


@pytest.fixture(scope="module")
def found():
  return rich(steps=4)


@pytest.fixture(scope="module")
def page(found):
  return pages.transfer(found)


def test_a_transfer_page_is_well_formed_and_needs_nothing_else(page):
  read = Page(page)
  read.harmless()
  assert set(SECTIONS.values()) <= set(read.headings()) and read.seen["h1"] == 1
  ids = [value for _, key, value in read.attributes if key == "id"]
  assert len(ids) == len(set(ids)) > 10
  drawn = svgs(page)
  assert len(drawn) == read.seen["svg"] == 1 + 3 + 5 + (3 + 2) + 5
  for svg in drawn:
    own = {e.get("id") for e in svg.iter()} - {None}
    used = {e.get("href", "").removeprefix("#") for e in svg.iter()} - {""}
    assert used <= own


def test_the_same_numbers_give_the_same_bytes(found, page):
  assert pages.transfer(copy.deepcopy(found)) == page


def test_the_numbers_are_those_of_the_dict(found, page):
  read = Page(page)
  rows = {row[0]: row for row in read.rows if len(row) == 7}
  scores = {row["name"]: row["scores"] for row in found["matrix"]["rows"]}
  for gain in found["gains"]:
    name = gain["evaluation"] + (" (zero-shot)" if gain["zero_shot"] else "")
    name += f"{gain['metric']}, {found['evaluations'][gain['evaluation']]['rows']:,} test rows"
    assert rows[name][1] == f"{gain['gain']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
    assert rows[name][2].endswith(gain["verdict"]) and rows[name][-1] == gain["baseline"]
    both = [scores[way][gain["evaluation"]] for way in (gain["baseline"], "together")]
    assert rows[name][3:5] == [f"{s['mean']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in both]
  for row in found["matrix"]["rows"]:
    cells = [f"{s['mean']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in row["scores"].values()]
    assert [row["name"], *cells] in read.rows
  for row in found["dimensions"]:
    share = f"{row['share']:.1%} [{row['share_low']:.1%}, {row['share_high']:.1%}]"
    score = f"{row['score']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert [row["evaluation"], str(row["dim"]), score, share] in read.rows
  for task in found["tasks"]:
    lost = {r["evaluation"]: r for r in found["leave_one_out"] if r["task"] == task}
    cells = [f"{r['gain']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in lost.values()]
    assert any(row[0] == task and [cell[2:] for cell in row[1:]] == cells for row in read.rows)


@pytest.mark.parametrize(
  "verdicts, said",
  [
    (["gain", "gain", "gain"], "3 of 3 tasks gain over training alone; none loses"),
    (["gain", "loss", "no difference"], "1 of 3 tasks gains over training alone; 1 loses, and on 1 no difference was"),
    (["loss", "loss", "loss"], "0 of 3 tasks gain over training alone; 3 lose"),
    (["no difference"] * 3, "no difference was found on any of 3 tasks"),
  ],
)
def test_the_verdict_comes_first(found, verdicts, said):
  trained = [row | {"verdict": verdict} for row, verdict in zip(found["gains"], verdicts, strict=False)]
  bare = {key: value for key, value in found.items() if key not in SECTIONS}
  read = Page(pages.transfer(bare | {"gains": [*trained, *found["gains"][3:]]}))
  assert said in next(text for tag, text in read.texts if tag == "h1")


def test_sections_with_nothing_in_them_are_left_out(found):
  read = Page(pages.transfer({key: value for key, value in found.items() if key not in SECTIONS}))
  assert read.headings() == ["Together against alone", "Trained on (rows), evaluated on (columns)"]
  empty = {key: type(found[key])() for key in SECTIONS} | {"languages": []}
  assert Page(pages.transfer(found | empty)).headings() == read.headings()


def test_rows_left_out_are_a_section_where_there_are_any(found):
  skipped = {"search": {"test": {"document: broken JSON": 2}, "train": {HOSTILE: 1}}}
  read = Page(pages.transfer(found | {"skipped": skipped}))
  assert "Rows left out" in read.headings() and ["search", "test", "2 documents left out (broken JSON)"] in read.rows
  read.harmless()
  assert "Rows left out" not in Page(pages.transfer(found | {"skipped": {}})).headings()


def test_how_few_dimensions_would_do(found):
  def said(least: float) -> str:
    rows = [
      row | ({"share": least} if row["evaluation"] == "tags" and row["dim"] == 32 else {})
      for row in found["dimensions"]
    ]
    return "".join(text for _, text in Page(pages.transfer(found | {"dimensions": rows, "gradients": {}})).texts)

  assert "The first 32 of 256 keep 97% or more of every task's score" in said(0.97)
  assert "The first 50 of 256 keep 97% or more of every task's score" in said(0.969)


def test_names_are_text_and_nothing_else(found):
  """Markup, a lone surrogate, NUL, an override of direction, TeX, and glyphs that the plot's font lacks."""
  page = pages.transfer(rich((HOSTILE, "_b", "c"), (HOSTILE + "z",), ("de", HOSTILE), steps=2) | {"command": HOSTILE})
  read = Page(page)
  read.harmless()
  assert not set("\ud800\x00\u202e") & set(page)
  shown = "<script>alert(1)</script>&\"'\ufffd\ufffd\ufffd$\\frac{$_ 東"
  assert [shown, "17"] in read.rows
  page.encode("utf-8")
  in_plots = [text for svg in svgs(page) for text in svg.itertext()]
  assert any(text.startswith("<script>alert(1)</script>") for text in in_plots)


@pytest.mark.parametrize("label", ["$\\frac{$", "\x00\ud800\ufffe", "_<b>", "東京", ""])
def test_labels_in_plots_are_text(label):
  svg = forest("f", [Interval(label, 0.1, 0.0, 0.2, "gain")], "gain")
  drawn = [text.strip() for text in svgs(svg)[0].itertext() if text.strip()]
  assert clean(label) in [*drawn, ""]


def shown(text: str = "a text", label: str = "news", points: int = 30) -> pages.Shown:
  asked = Text(text, [label], "en")
  near = [Neighbour(Text(f"{text} {n}", [label]), 0.9 - n / 10, n == 1) for n in range(3)]
  others = [Text(text, [label if n % 3 else f"l{n}"], "de" if n % 2 else "en") for n in range(points)]
  rows = [(asked, near), *[(Text("other"), near[:1])] * 7]
  plane = Plane(np.random.default_rng(0).normal(size=(points, 2)), others, 0.456)
  return pages.Shown("KNN on the split test", Examples(rows, "it shares a label", 4000, 2000), plane)


def test_neighbours_are_marked_and_maps_have_colours():
  page = pages.neighbours("my model", {"topic": shown(), "bare": dataclasses.replace(shown(), plane=None)})
  read = Page(page)
  read.harmless()
  assert page == pages.neighbours("my model", {"topic": shown(), "bare": dataclasses.replace(shown(), plane=None)})
  assert read.headings() == ["topic", "bare"] and read.seen["svg"] == 2
  text = "".join(text for _, text in read.texts)
  assert "a text news en✗ 0.900 a text 0 news✓ 0.800 a text 1 news✗ 0.700 a text 2 news" in text
  assert "Of these 8 examples, 0 have a right neighbour first, and 1 have one among the 5 nearest." in text
  assert "2,000 of 4,000 texts, drawn" in text and "46% of the variance" in text and "3 more" in text
  by_label, by_language = svgs(page)
  points = [sum(e.tag == "use" for e in svg.iter()) for svg in (by_label, by_language)]
  assert points == [30, 30]
  drawn = {e.get("style") for e in by_language.iter() if e.tag == "use"}
  assert len(drawn) == 2, "a colour for each language"
  ids = [value for _, key, value in read.attributes if key == "id"]
  assert ids and len(ids) == len(set(ids))


def test_texts_of_strangers_are_text_and_nothing_else():
  longer = HOSTILE * 50
  page = pages.neighbours(HOSTILE, {HOSTILE: shown(longer, HOSTILE), "$x": shown("", "_")})
  read = Page(page)
  read.harmless()
  assert not set("\ud800\x00\u202e") & set(page)
  cut = [value for tag, key, value in read.attributes if (tag, key) == ("bdi", "title")]
  assert cut and max(map(len, cut)) <= 1000 and cut[0].startswith("<script>alert(1)</script>&\"'\ufffd")
  assert all(len(text) < 400 for tag, text in read.texts if tag == "bdi")
