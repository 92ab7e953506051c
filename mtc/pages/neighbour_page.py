"""The page of `python -m mtc.evaluate --report`: what lies nearest to what, and maps of the tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses

from mtc.evaluators import Examples, Neighbour, Plane, Text
from mtc.pages.document import Content, Html, details, document, figure, join, section, shortened, tag
from mtc.pages.plots import OTHER, Points, colour, legend, scatter

ASKED, NEIGHBOURS = 20, 5  # texts of an evaluation that ask, and neighbours of each
_GROUPS = 8  # with a colour of their own
_SHOWN, _WHOLE = 240, 1000  # characters of a text, and of the whole that a pointer on it shows
_OPEN = 5  # examples that are there before a reader asks for more


@dataclasses.dataclass
class Shown:
  """One evaluation.

  Attributes:
    about: its evaluator and split, in words.
    examples: a few texts with those nearest to them.
    plane: its texts as points; None = no map.
  """

  about: str
  examples: Examples
  plane: Plane | None


def neighbours(model: str, evaluations: Mapping[str, Shown]) -> str:
  """The whole page.

  Args:
    model: its name.
    evaluations: by name.
  """
  parts = [_evaluation(number, name, shown) for number, (name, shown) in enumerate(evaluations.items())]
  return document(
    f"Nearest neighbours of {shortened(model, 80)}",
    tag("p", "Nearest neighbours", class_="kicker"),
    tag("h1", shortened(model, 80)),
    tag(
      "p",
      "What this model puts next to what: examples spread evenly over each test, ✓ where a neighbour is right "
      "and ✗ where it is not, with its cosine; and maps of the tests. Examples show what a score is made of, and "
      "prove nothing. Point at a text that was cut to read on.",
      class_="lead",
    ),
    *parts,
  )


def _evaluation(number: int, name: str, shown: Shown) -> Html:
  examples = shown.examples
  asked = [_asked(*one) for one in examples.asked]
  first = sum(bool(near) and near[0].right for _, near in examples.asked)
  some = sum(any(one.right for one in near) for _, near in examples.asked)
  among = f"{examples.candidates:,} texts"
  if examples.drawn < examples.candidates:
    among = f"{examples.drawn:,} of {among}, drawn, with what is right for those that ask"
  return section(
    name,
    tag("p", f"{shown.about}. A neighbour is right where {examples.meaning}. Looked for among {among}.", class_="note"),
    tag(
      "p",
      f"Of these {len(asked)} examples, {first} have a right neighbour first, and {some} have one among the "
      f"{NEIGHBOURS} nearest.",
    ),
    _maps(f"map{number}", shown.plane) if shown.plane else "",
    *asked[:_OPEN],
    details(f"{len(asked) - _OPEN} more", *asked[_OPEN:]) if len(asked) > _OPEN else "",
  )


def _asked(asked: Text, near: Sequence[Neighbour]) -> Html:
  rows = [
    tag(
      "li",
      tag("span", "✓ " if one.right else "✗ ", class_=f"mark {'gain' if one.right else 'loss'}"),
      tag("small", f"{one.cosine:.3f} ", class_="interval"),
      _text(one.of),
    )
    for one in near
  ]
  return tag("div", tag("p", tag("b", _text(asked))), tag("ol", *rows), class_="asked")


def _text(text: Text) -> Html:
  """At most so much of it, in its own direction, then what it is."""
  short = shortened(text.text, _SHOWN)
  cut = "" if short == text.text else shortened(text.text, _WHOLE)
  labels: list[Content] = [tag("span", shortened(label, 40), class_="label") for label in list(text.labels)[:6]]
  if text.language:
    labels.append(tag("span", shortened(text.language, 20), class_="label"))
  return join([tag("bdi", short or "(an empty text)", title=cut), *(part for one in labels for part in (" ", one))])


def _maps(name: str, plane: Plane) -> Html:
  """The plane coloured by the first label of each text, and by language, where there are such."""
  maps = []
  for what, groups in (
    ("label", [text.labels[0] if text.labels else "" for text in plane.texts]),
    ("language", [text.language for text in plane.texts]),
  ):
    if len(set(groups)) > 1:
      maps.append(_map(f"{name}-{what}", what, groups, plane))
  if not maps:
    maps = [_map(name, "", [""] * len(plane.texts), plane)]
  note = (
    f"{len(plane.texts):,} texts of the test by the two principal components of their vectors, which hold "
    f"{plane.share:.0%} of the variance: texts that are far apart here are so, those that are near may not be."
  )
  return join([tag("div", *maps, class_="plots"), tag("p", note, class_="note")])


def _map(name: str, what: str, groups: Sequence[str], plane: Plane) -> Html:
  common = [group for group, _ in Counter(group for group in groups if group).most_common(_GROUPS)]
  names = {group: shortened(group, 40) for group in common}
  colours = [colour(number) for number in range(len(common))]
  shades = dict(zip(common, colours, strict=True))
  clouds = []
  if rest := [row for row, group in enumerate(groups) if group not in shades]:
    clouds.append(Points(plane.xy[rest], OTHER))
    names[""], colours = "others" if common else "texts", [*colours, OTHER]
  for group in common:
    clouds.append(Points(plane.xy[[row for row, one in enumerate(groups) if one == group]], shades[group]))
  title = f"Coloured by {what}" if what else "Map"
  picture = scatter(name, clouds, f"a map of {len(groups)} texts, {title.lower()}: {', '.join(names.values())}")
  return figure(title, join([picture, legend(list(names.values()), colours)]))
