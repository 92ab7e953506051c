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
  # German puts the place between the verb and what follows it.
  said["verb"], _, said["rest"] = said["event"].partition(" ")
  frames = [table["news"][register], table["impact"]["any"], table["fact"]["any"]]
  if "object" in forms:
    frames.append(table["thing"]["any"])
  sentences = [rng.choice(frame).format(**said).strip() for frame in frames]
  if rng.random() < 0.5:
    rng.shuffle(sentences)
  opening, closing = (rng.choice(table[end][register]) for end in ("open", "close"))
  if rng.random() < 0.4 and _count([opening, *sentences]) <= MAX_WORDS:
    sentences.insert(0, opening)
  if rng.random() < 0.3 and _count([*sentences, closing]) <= MAX_WORDS:
    sentences.append(closing)
  return _tidy(_space(language).join(map(_capitalised, sentences)), language)


def query(rng: Random, language: str, forms: Forms) -> str:
  """A query that mentions `forms`, facet -> form: a question that begins with who, or key words."""
  table, forms = words(language), dict(forms)
  comma = "，" if language == "zh" else ", "
  asks = "event" in forms and "actor" not in forms
  subject = table["query"]["who"][0] if asks else forms.pop("actor", "")
  head = _space(language).join([subject, forms.pop("event", "")]).strip()
  parts = [part for part in [head, *forms.values()] if part]
  rng.shuffle(parts)
  if not asks and rng.random() < 0.4:
    parts[0] = f"{rng.choice(table['query']['prefix'])} {parts[0]}"
  return comma.join(parts)


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
