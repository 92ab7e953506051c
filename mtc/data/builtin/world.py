"""What the built-in posts are about: stories made of latent concepts, and the posts that tell them."""

import functools
from random import Random
from typing import NamedTuple

from mtc.data.builtin import grammar

SEED = 0
STORIES = 600
POSTS_PER_STORY = 10
REGISTERS = ("formal", "announcement", "casual", "question")
SHARES = {"train": 0.75, "validation": 0.10, "test": 0.15}  # of the stories

# A story is written in its own language mostly, by people who have a few pet forms for each of its concepts.
NATIVE = 0.65
PET_FORMS = 3

# How often the form of a domain is one of those that go with the theme, and the other way round: an author who hires
# uses other words for the same domain than an author who writes about laws.
JARGON = 0.45

# How many of actor, event, object and place a post mentions; domain and theme are always there.
MENTIONS = (1, 2, 2, 3)

TAGS = {
  "domain": {
    "healthcare": "wellbeing",
    "utilities": "netzero",
    "banking": "moneymatters",
    "schooling": "lifelonglearning",
    "mobility": "onthemove",
    "farming": "farmtofork",
  },
  "theme": {"recruiting": "jobalert", "fundraising": "dealflow", "insights": "deepdive", "lawmaking": "policywatch"},
  "actor": {
    "startup": "founderlife",
    "family": "familyowned",
    "corporation": "bigbusiness",
    "cooperative": "bettertogether",
    "institute": "academiclife",
    "consultancy": "outsideview",
    "municipal": "publicservice",
    "software": "codinglife",
    "agency": "creativework",
    "manufacturer": "madehere",
  },
  "event": {
    "opening": "grandopening",
    "move": "freshstart",
    "merger": "consolidation",
    "award": "welldone",
    "anniversary": "milestone",
    "leader": "atthetop",
    "conference": "networking",
    "rebrand": "newlook",
    "fourday": "worklifebalance",
    "climate": "climateaction",
  },
}

# These occur only in the split test_unseen_tags: concepts that no training row of the task is tagged with.
UNSEEN_TAGS = {
  "object": {
    "app": "digitalfirst",
    "chatbot": "automation",
    "podcast": "nowlistening",
    "handbook": "mustread",
    "hotline": "customercare",
    "survey": "yourvoice",
    "film": "nowshowing",
    "course": "upskilling",
    "contest": "gamechanger",
    "simulator": "immersivetech",
  },
  "place": {
    "paris": "frenchbusiness",
    "london": "ukbusiness",
    "berlin": "germanbusiness",
    "rome": "italianbusiness",
    "madrid": "spanishbusiness",
    "vienna": "austrianbusiness",
    "lisbon": "portuguesebusiness",
    "prague": "czechbusiness",
    "amsterdam": "dutchbusiness",
    "newyork": "usbusiness",
  },
}


class Post(NamedTuple):
  """One post and the latents that it was said from; `concepts` holds those that it mentions."""

  id: str
  story: str
  split: str
  language: str
  register: str
  concepts: dict[str, str]
  text: str


class Story(NamedTuple):
  """One combination of concepts, told in `language` mostly, with the forms in `pets[language][facet]`."""

  id: str
  split: str
  language: str
  concepts: dict[str, str]
  pets: dict[str, dict[str, list[str]]]


@functools.cache
def stories() -> list[Story]:
  """All stories; no two have the same concepts."""
  rng = Random(f"stories {SEED}")
  table = grammar.words("en")
  # Dealing each facet's concepts like cards keeps them all equally frequent.
  columns = {}
  for facet in grammar.FACETS:
    columns[facet] = (list(table[facet]) * STORIES)[:STORIES]
    rng.shuffle(columns[facet])
  while len(set(zip(*columns.values()))) < STORIES:
    rng.shuffle(columns["place"])
  splits = [split for split, share in SHARES.items() for _ in range(round(share * STORIES))]
  rng.shuffle(splits)
  told = []
  for index, split in enumerate(splits):
    concepts = {facet: columns[facet][index] for facet in grammar.FACETS}
    pets = {language: _pets(rng, language, concepts) for language in grammar.LANGUAGES}
    told.append(Story(f"story_{index:03}", split, rng.choice(grammar.LANGUAGES), concepts, pets))
  return told


def _pets(rng: Random, language: str, concepts: dict[str, str]) -> dict[str, list[str]]:
  table = grammar.words(language)
  pets = {facet: rng.sample(table[facet][concept], PET_FORMS) for facet, concept in concepts.items()}
  for facet, other in (("domain", "theme"), ("theme", "domain")):
    if rng.random() < JARGON:
      kinds = list(table[other])
      pets[facet] = table[facet][concepts[facet]][kinds.index(concepts[other]) :: len(kinds)]
  return pets


@functools.cache
def posts() -> list[Post]:
  """All posts, story by story; no two have the same text."""
  rng = Random(f"posts {SEED}")
  seen, written = set(), []
  for story in stories():
    for index in range(POSTS_PER_STORY):
      post = None
      while post is None or post.text in seen or not _is_short(post):
        post = _post(rng, story, f"{story.id}_{index:02}")
      seen.add(post.text)
      written.append(post)
  return written


def _post(rng: Random, story: Story, name: str) -> Post:
  language = story.language if rng.random() < NATIVE else rng.choice(grammar.LANGUAGES)
  told = {"domain", "theme", *rng.sample(grammar.FACETS[2:], rng.choice(MENTIONS))}
  concepts = {facet: story.concepts[facet] for facet in grammar.FACETS if facet in told}
  forms = {facet: rng.choice(story.pets[language][facet]) for facet in concepts}
  register = rng.choice(REGISTERS)
  return Post(name, story.id, story.split, language, register, concepts, grammar.post(rng, language, register, forms))


def _is_short(post: Post) -> bool:
  return grammar.MIN_WORDS <= grammar.count(post.text, post.language) <= grammar.MAX_WORDS
