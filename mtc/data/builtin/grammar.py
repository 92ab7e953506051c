"""From concepts to sentences: reads the words of a language and writes a post or a query with them."""

import functools
from importlib import resources
from random import Random
import re

LANGUAGES = ("en", "de", "fr", "es", "ru", "zh")
FACETS = ("domain", "theme", "actor", "event", "object", "place")
MIN_WORDS, MAX_WORDS = 12, 25

Words = dict[str, dict[str, list[str]]]
Forms = dict[str, str]


def read(table: str) -> Words:
  """Reads `[section]` lines, each followed by `name: form | form | ...`, where an indented line continues the last.

  >>> read("[actor]\\nfamily: our family business |\\n  our traditional firm")
  {'actor': {'family': ['our family business', 'our traditional firm']}}
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
  """The words of one of `LANGUAGES`: the forms of each facet's concepts, and the frames of the sentences."""
  return read((resources.files("mtc.data.builtin") / "words" / f"{language}.txt").read_text(encoding="utf-8"))


def post(rng: Random, language: str, register: str, forms: Forms) -> str:
  """A post of one register that mentions `forms`, facet -> form.

  First comes the news, if there is an actor or an event, then the theme in its domain, then the object and the place.
  An opening and a closing fill a short post.
  """
  table = words(language)
  said = {"actor": rng.choice(table["someone"]["actor"]), **forms}
  said["Actor"] = _capitalised(said["actor"])

  def sentence(section: str, name: str = "any") -> str:
    return rng.choice(table[section][name]).format(**said)

  def wanted(upto: int) -> bool:
    size = count(_space(language).join(sentences), language)
    return size < MIN_WORDS or size <= upto and rng.random() < 0.5

  sentences = [forms["theme"].format(**said) + ("。" if language == "zh" else ".")]
  if "object" in forms:
    sentences.append(sentence("stage" if "place" in forms else "thing"))
  if "event" in forms or "actor" in forms:
    if rng.random() < 0.5:
      sentences.reverse()
    sentences.insert(0, sentence("news", register) if "event" in forms else sentence("name"))
  if "place" in forms and "object" not in forms:
    sentences.append(sentence("venue"))
  if wanted(13):
    sentences.insert(0, sentence("open", register))
  if wanted(13):
    sentences.append(sentence("close", register))
  return _space(language).join(map(_capitalised, sentences))


def query(rng: Random, language: str, concepts: dict[str, str], forms: Forms) -> str:
  """A query for posts of a domain that mention `concepts`: key words, or, if one thing is asked of a place, a question.

  Args:
    concepts: facet -> concept; a theme or an event has nouns for the key words.
    forms: facet -> form, of the same facets.
  """
  table = words(language)
  asked = [facet for facet in concepts if facet not in ("domain", "place")]
  if len(asked) == 1 and "place" in concepts and asked != ["actor"] and rng.random() < 0.6:
    frame = table["query"][concepts["theme"] if asked == ["theme"] else asked[0]][0]
    return frame.format(bare=bare(language, forms.get("object", "")), **forms)
  nouns = {facet: rng.choice(table["noun"][concepts[facet]]) for facet in asked if facet in ("theme", "event")}
  things = [bare(language, {**forms, **nouns}[facet]) for facet in asked]
  rng.shuffle(things)
  where = [bare(language, forms[facet]) for facet in ("domain", "place") if facet in forms]
  suffix = [rng.choice(table["query"]["suffix"])] if rng.random() < 0.1 else []
  return " ".join([(" " if language == "zh" else ", ").join(things), *where, *suffix])


def bare(language: str, form: str) -> str:
  """A form without the determiner, the measure word or, in Chinese, the preposition that it begins with."""
  return re.sub(rf"^(?:{'|'.join(words(language)['query']['strip'])}){_space(language)}", "", form)


def count(text: str, language: str) -> int:
  """The number of words; two Chinese characters count as one."""
  return len(text) // 2 if language == "zh" else len(text.split())


def _space(language: str) -> str:
  return "" if language == "zh" else " "


def _capitalised(text: str) -> str:
  return text[:1].upper() + text[1:]
