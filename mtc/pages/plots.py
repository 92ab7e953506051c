"""Plots as SVG inside a page: the same bytes for the same numbers, text as text, and ids that are this plot's own."""

from collections.abc import Callable, Sequence
import io
import re
from typing import NamedTuple
import warnings
from xml.etree import ElementTree

import numpy as np

from mtc.pages.document import Html, clean, join, shortened, tag

_COLOURS = (
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#b8578c",
  "#8c6d00",
  "#5b4b9a",
  "#2b9fd9",
  "#7f3b08",
  "#4d4d4d",
  "#999999",
)
OTHER = "#c6cbd1"  # what has no own colour
_DASHES = ("-", "--", ":", "-.")
_CSS_DASHES = ("solid", "dashed", "dotted", "double")
# How an interval looks: colour and marker, so that it is told apart without colours too.
MARKS = {
  "gain": ("#116329", ">"),
  "loss": ("#a40e26", "<"),
  "no difference": ("#6e7781", "o"),
  "seen": ("#0072b2", "o"),
  "unseen": ("#d55e00", "D"),
}
_WIDTH = 330  # points: at least as many pixels are there on a phone
_STYLE = {
  "axes.edgecolor": "#8c959f",
  "axes.grid": True,
  "axes.labelsize": 10,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.size": 10,
  "font.sans-serif": ["DejaVu Sans"],
  "grid.color": "#eaeef2",
  "path.simplify": True,
  "svg.fonttype": "none",
  "svg.hashsalt": "mtc",
  "text.parse_math": False,  # a task may be called $x$
}
_REFERENCE = re.compile(r"url\(#([\w-]+)\)|^#([\w-]+)$")


class Interval(NamedTuple):
  """A row of a forest plot; `mark` is one of MARKS."""

  label: str
  middle: float
  low: float
  high: float
  mark: str


class Curve(NamedTuple):
  """A line, with a band from `low` to `high` where there are such; NaN = nothing was measured there."""

  xs: Sequence[float]
  ys: Sequence[float]
  number: int = 0  # of its colour
  low: Sequence[float] = ()
  high: Sequence[float] = ()


class Points(NamedTuple):
  """A cloud of points [n, 2] of one colour."""

  xy: np.ndarray
  colour: str


def colour(number: int) -> str:
  """Of the curve or group of that number; dashes tell those apart that have the same."""
  return _COLOURS[number % len(_COLOURS)]


def legend(names: Sequence[str], dots: Sequence[str] = ()) -> Html:
  """What the lines of each number are, or the dots of these colours; outside the plot, where it can wrap."""
  rows = []
  for number, name in enumerate(names):
    if dots:
      sample = tag("i", class_="dot", style=f"background:{dots[number]}")
    else:
      dash = _CSS_DASHES[number // len(_COLOURS) % len(_DASHES)]
      sample = tag("i", style=f"border-top-style:{dash};border-top-color:{colour(number)}")
    rows.append(tag("li", sample, tag("span", name)))
  return tag("ul", join(rows), class_="legend")


def forest(name: str, rows: Sequence[Interval], what: str) -> Html:
  """Intervals below one another, with a line at 0.

  Args:
    name: of this plot, once in a page.
    rows: from top to bottom.
    what: the values are.
  """

  def draw(axes):
    axes.axvline(0, color="#1f2328", linewidth=1)
    for place, row in enumerate(rows):
      shade, marker = MARKS[row.mark]
      axes.plot([row.low, row.high], [place, place], color=shade, linewidth=2, solid_capstyle="butt")
      axes.plot([row.middle], [place], marker=marker, color=shade, markersize=6, linestyle="")
    labels = [clean(shortened(row.label, 28)) for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=3)  # the labels of the rows leave little room
    axes.grid(False, axis="y")
    axes.set_xlabel(what)

  said = "; ".join(f"{row.label} {row.middle:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in rows)
  return _svg(name, draw, f"{what}: {said}", (_WIDTH, 46 + 18 * len(rows)))


def curves(name: str, lines: Sequence[Curve], x: str, y: str, zero: bool = False, doubling: bool = False) -> Html:
  """Lines over a common axis.

  Args:
    name: of this plot, once in a page.
    lines: what is drawn.
    x: what the horizontal axis is.
    y: what the vertical axis is.
    zero: draw a line at 0.
    doubling: the horizontal axis doubles from tick to tick, as dimensions do.
  """

  def draw(axes):
    if zero:
      axes.axhline(0, color="#1f2328", linewidth=1)
    for line in lines:
      dash = _DASHES[line.number // len(_COLOURS) % len(_DASHES)]
      few = "o" if len(line.xs) <= 12 else ""
      axes.plot(line.xs, line.ys, color=colour(line.number), linestyle=dash, linewidth=1.5, marker=few, markersize=3)
      if len(line.low):
        axes.fill_between(line.xs, line.low, line.high, color=colour(line.number), alpha=0.2, linewidth=0)
    if doubling:
      axes.set_xscale("log", base=2)
      ticks = sorted({value for line in lines for value in line.xs})
      axes.set_xticks(ticks, [f"{value:g}" for value in ticks], rotation=45)
      axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)

  return _svg(name, draw, f"{y} over {x}", (_WIDTH, 200))


def scatter(name: str, clouds: Sequence[Points], what: str) -> Html:
  """Points of several colours; the later ones lie on top."""

  def draw(axes):
    for cloud in clouds:
      axes.plot(
        *cloud.xy.T, linestyle="", marker="o", markersize=3.5, markeredgewidth=0, color=cloud.colour, alpha=0.75
      )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")

  return _svg(name, draw, what, (_WIDTH, 270))


def _svg(name: str, draw: Callable, said: str, size: tuple[int, int]) -> Html:
  from matplotlib import style  # 0.5 s, which commands without a page need not wait for
  from matplotlib.figure import Figure

  written = io.StringIO()
  with style.context(_STYLE, after_reset=True), warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # the reader's browser has other fonts
    drawn = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
    draw(drawn.add_subplot())
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    drawn.savefig(written, format="svg", transparent=True, metadata=nothing)
  return _inline(written.getvalue(), name, said)


def _inline(svg: str, name: str, said: str) -> Html:
  """An SVG file as an element: no namespaces, no style for all the page, and only ids that something refers to."""
  root = ElementTree.fromstring(svg)
  elements = list(root.iter())
  found = [_REFERENCE.search(v) for e in elements for k, v in e.attrib.items() if k.endswith("href") or "url(" in v]
  used = {match[1] or match[2] for match in found if match}
  for element in elements:
    element.tag = element.tag.rpartition("}")[2]
    old, element.attrib = element.attrib, {}
    for key, value in old.items():
      key = key.rpartition("}")[2]
      if key == "id":
        if value in used:
          element.set(key, f"{name}-{value}")
      elif key == "href" or "url(" in value:
        element.set(key, value.replace("#", f"#{name}-"))
      elif not (element is root and key in ("width", "height", "version")):
        element.set(key, value)
    for child in list(element):
      if child.tag.endswith(("}metadata", "}style")):
        element.remove(child)
  root.set("role", "img")
  root.set("aria-label", clean(said))
  return Html(ElementTree.tostring(root, encoding="unicode"))
