"""From concepts to sentences: reads the words of a language and says a post or a query in it."""

import functools
import importlib
from random import Random
import re

LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")
FACETS = ("domain", "theme", "actor", "event", "object", "place")
MAX_WORDS = 40

Words = dict[str, dict[str, list[str]]]
Forms = dict[str, str]


def read(table: str) -> Words:
  """Reads `[section]` lines, each followed by `name: form | form | ...`, where an indented line continues the last.

  >>> read("[actor]\\ncity: the mayor |\\n  a town hall")
  {'actor': {'city': ['the mayor', 'a town hall']}}
  """
  words: Words = {}
  section: dict[str, list[str]] = {}
  for line in re.sub(r"\n +", " ", table).strip().splitlines():
    if line.startswith("["):
      section = words.setdefault(line.strip("[]"), {})
    else:
      name, forms = line.split(":", 1)
      section[name] = [form.strip() for form in forms.split(" | ")]
  return words


@functools.cache
def words(language: str) -> Words:
  """The words of one of `LANGUAGES`: for each facet its concepts' forms, and the frames that sentences are made of."""
  return read(importlib.import_module(f"{__package__}.words.{language}").WORDS)


def post(rng: Random, language: str, register: str, forms: Forms) -> str:
  """A post of one register that mentions `forms`, facet -> form; without an actor or event it speaks vaguely of one."""
  table = words(language)
  said = {"place": "", **{facet: rng.choice(some) for facet, some in table["someone"].items()}, **forms}
  said["Actor"] = _capitalised(said["actor"])
  said |= _halves(said["event"])
  frames = [table["news"][register], table["impact"]["any"], table["fact"]["any"]]
  if "object" in forms:
    frames.append(table["thing"]["any"])
  sentences = [rng.choice(frame).format(**said).strip(" ，") for frame in frames]
  if rng.random() < 0.5:
    rng.shuffle(sentences)
  opening, closing = (rng.choice(table[end][register]) for end in ("open", "close"))
  if rng.random() < 0.4 and _count([opening, *sentences]) <= MAX_WORDS:
    sentences.insert(0, opening)
  if rng.random() < 0.3 and _count([*sentences, closing]) <= MAX_WORDS:
    sentences.append(closing)
  return _tidy(_space(language).join(map(_capitalised, sentences)), language)


def query(rng: Random, language: str, forms: Forms) -> str:
  """A query that mentions `forms`, facet -> form: a question for who does something, or key words."""
  table = words(language)["query"]
  comma = "，" if language == "zh" else ", "
  asks = "event" in forms and "actor" not in forms
  told = [forms[facet] for facet in (("event", "place") if asks else ("actor", "event")) if facet in forms]
  rest = [form for form in forms.values() if form not in told]
  if asks:
    rng.shuffle(rest)
    more = "".join(comma + form for form in rest)
    said = {"place": "", **forms, **_halves(forms["event"]), "more": more}
    return _tidy(table["question"][0].format(**said), language)
  parts = [_space(language).join(told), *rest] if told else rest
  rng.shuffle(parts)
  prefix = [rng.choice(table["prefix"])] if rng.random() < 0.4 else []
  return _space(language).join([*prefix, comma.join(parts)])


def _halves(event: str) -> Forms:
  """The verb of an event and what follows it: German puts the place between them."""
  verb, _, rest = event.partition(" ")
  return {"verb": verb, "rest": rest}


def _space(language: str) -> str:
  return "" if language == "zh" else " "


def _count(sentences: list[str]) -> int:
  return len(" ".join(sentences).split())


def _capitalised(text: str) -> str:
  return text[:1].upper() + text[1:]


def _tidy(text: str, language: str) -> str:
  """Mends the places where a frame's field was empty, and the capitals after them."""
  text = re.sub(r"(?<=[：，])，|，(?=[，。！？])", "", re.sub(r"  +", " ", text))
  text = re.sub(r" (?=[.,])", "", text)
  if language != "fr":
    text = re.sub(r" (?=[!?])", "", text)
  return re.sub(r"(?<=[?!.] )[^\W\d_]", lambda match: match.group().upper(), text).strip()
