"""A page that needs nothing but itself, and in which no text can be more than text."""

from collections.abc import Iterable, Sequence
import html
import re

# What HTML and XML cannot hold (control characters, halves of surrogate pairs), and what would turn the direction of
# the text around it.
_UNFIT = re.compile("[^\t\n\r -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]")


class Html(str):
  """What is markup already; any other text is escaped where it enters a page."""


Content = Html | str


def clean(text: str) -> str:
  """The text, with U+FFFD for each character that no page can hold."""
  return _UNFIT.sub("\ufffd", text)


def shortened(text: str, longest: int) -> str:
  """The text on one line, cut to a number of characters."""
  text = " ".join(text.split())
  return text if len(text) <= longest else text[: longest - 1] + "…"


def tag(name: str, *content: Content, **attributes: str) -> Html:
  """An element; `class_` is the attribute class. Content that is not Html, and every attribute, is escaped."""
  inner = "".join(part if isinstance(part, Html) else html.escape(clean(part)) for part in content)
  written = "".join(f' {key.strip("_")}="{html.escape(clean(value))}"' for key, value in attributes.items() if value)
  return Html(f"<{name}{written}>{inner}</{name}>")


def join(parts: Iterable[Content]) -> Html:
  """All of them, one after the other."""
  return Html("".join(part if isinstance(part, Html) else html.escape(clean(part)) for part in parts))


def section(title: str, *content: Content) -> Html:
  """A part of the page with a heading."""
  return tag("section", tag("h2", title), *content)


def details(summary: str, *content: Content) -> Html:
  """What is shown to those who ask for it."""
  return tag("details", tag("summary", summary), *content)


def table(head: Sequence[Content], rows: Iterable[Sequence[Content]]) -> Html:
  """A table in a box, which scrolls where the page is narrower; a cell may be a whole `td`."""
  body = [
    tag("tr", tag("th", row[0], scope="row"), *(cell if _is_cell(cell) else tag("td", cell) for cell in row[1:]))
    for row in rows
  ]
  top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
  return tag("div", tag("table", top, tag("tbody", *body)), class_="scroll", tabindex="0")


def _is_cell(content: Content) -> bool:
  return isinstance(content, Html) and content.startswith("<td")


def figure(title: Content, picture: Html, note: Content = "", class_: str = "") -> Html:
  """A plot with what it shows above it."""
  below = [tag("p", note, class_="note")] if note else []
  return tag("figure", tag("figcaption", title), picture, *below, class_=class_)


def document(title: str, *content: Content) -> str:
  """A whole page of one heading."""
  body = tag("main", *content)
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light">\n'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    f"{tag('title', title)}\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
  )


_STYLE = """
:root { color-scheme: light; --line: #d8dee4; --soft: #57606a; --good: #116329; --bad: #a40e26; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1f2328; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 16px 64px; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.5rem, 5vw, 2.25rem); line-height: 1.2; margin: 0 0 8px; text-wrap: balance; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 48px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 24px 0 4px; }
p { margin: 0 0 12px; max-width: 76ch; }
.note, .lead, figcaption small { color: var(--soft); }
.note { font-size: .875rem; }
.kicker { color: var(--soft); font-size: .875rem; margin: 0 0 4px; }
.cards, .plots { display: grid; gap: 16px; margin: 16px 0; }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); align-items: start; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; }
.card h3 { margin: 0; font-size: .875rem; color: var(--soft); font-weight: 600; }
.card .big { font-size: 1.125rem; font-weight: 600; margin: 2px 0 6px; line-height: 1.35; }
.card ul { list-style: none; margin: 0; padding: 0; font-size: .875rem; }
.card li { margin: 2px 0; }
figure { margin: 0; min-width: 0; }
figure.wide { max-width: 520px; margin: 16px 0; }
figcaption { font-weight: 600; font-size: .9375rem; }
figcaption small { font-weight: 400; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif !important; }
.scroll { overflow-x: auto; max-width: 100%; margin: 8px 0 16px; }
/* A shadow at the edge says that a table goes on; what covers it scrolls along, and is there at its end only. */
.scroll { background: linear-gradient(90deg, #fff0, #fff 60%) 100% 0 / 48px 100% local,
  linear-gradient(270deg, #0004, #0000) 100% 0 / 12px 100%; background-repeat: no-repeat; }
table { overflow-wrap: normal; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { font-size: .8125rem; color: var(--soft); vertical-align: bottom; }
thead small { display: block; font-weight: 400; }
th[scope=row] { position: sticky; left: 0; background: #fff; min-width: min(13rem, 40vw); max-width: 14rem; }
th[scope=row] { font-weight: 600; overflow-wrap: anywhere; }
th[scope=row] small { display: block; font-weight: 400; color: var(--soft); }
@media (max-width: 600px) { th, td { padding: 6px 8px; } th[scope=row] { min-width: 8.5rem; max-width: 10.5rem; } }
td { white-space: nowrap; }
td[style] small.interval { color: inherit; display: block; }
td.own { box-shadow: inset 0 0 0 2px #1f2328; }
small.interval { color: #424a53; font-size: .8125rem; white-space: nowrap; }
.verdict { font-weight: 600; white-space: nowrap; }
.gain { color: var(--good); }
.loss { color: var(--bad); }
.none { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0; padding: 0; font-size: .875rem; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend i { width: 20px; flex: none; border-top: 3px solid; }
.legend i.dot { width: 10px; height: 10px; border: 0; border-radius: 50%; }
details { margin: 8px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
pre, code { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Consolas, monospace; }
pre { overflow-x: auto; background: #f6f8fa; border-radius: 6px; padding: 12px; }
.asked { border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; margin: 12px 0; }
.asked > p { margin: 0; max-width: none; }
.asked ol { margin: 6px 0 4px; padding-left: 1.5rem; }
.asked li { margin: 4px 0; }
.mark { font-weight: 700; }
.label { background: #eef1f4; border-radius: 4px; padding: 0 6px; font-size: .8125rem; }
@media print { .scroll { overflow: visible; } section { break-inside: avoid-page; } }
"""
