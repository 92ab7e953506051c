"""The rows of each task, made from the posts: what TFDS writes to disk."""

from collections.abc import Iterator
import functools
import itertools
from random import Random
from typing import Any

from mtc.data.builtin import grammar, world

Row = dict[str, Any]

STORY_SPLITS = ("train", "validation", "test")
SPLITS = {
  "interest": STORY_SPLITS,
  "storyline": STORY_SPLITS,
  "hashtag": (*STORY_SPLITS, "test_unseen_tags"),
  "search_tweets": (*STORY_SPLITS, "corpus"),
  "translations": STORY_SPLITS,
  "sts": STORY_SPLITS,
}

SAME_LANGUAGE = 0.6  # of the queries are surely in the language of the post that they were made for
POSITIVES = 2  # posts per training query; validation and test list all that answer
PAIRS = {"train": 1800, "validation": 200, "test": 400}
QUERIES = {"train": 2400, "validation": 100, "test": 200}

_NO_PAIR: Row = {
  **dict.fromkeys(("anchor", "positive", "anchor_id", "positive_id", "id", "text", "language"), ""),
  "score": 0.0,
}


def rows(config: str, split: str) -> Iterator[Row]:
  """The rows of one split of one config of `SPLITS`."""
  posts = [post for post in world.posts() if post.split == split]
  match config:
    case "interest":
      return _interest(posts)
    case "storyline":
      return _storyline(posts)
    case "hashtag":
      return _unseen_tags() if split == "test_unseen_tags" else _hashtag(posts)
    case "search_tweets":
      return _corpus() if split == "corpus" else _search(posts, split)
    case "translations":
      return _translations(split)
    case "sts":
      return _sts(posts, split)
    case _:
      raise ValueError(f"no built-in task {config!r}; there is {', '.join(SPLITS)}")


def topic(post: world.Post) -> str:
  """The interest that a post is of: its domain and its theme, which no single word gives away."""
  return f"{post.concepts['domain']}_{post.concepts['theme']}"


def tags(post: world.Post) -> list[str]:
  return [names[post.concepts[facet]] for facet, names in world.TAGS.items() if facet in post.concepts]


def _labelled(post: world.Post, labels: list[str]) -> Row:
  return {"id": post.id, "text": post.text, "language": post.language, "labels": labels}


def _part(posts: list[world.Post], part: int) -> list[world.Post]:
  """Every post is in one of two parts: nobody labels a post for both interests and hashtags."""
  return posts[part::2]


def _interest(posts: list[world.Post]) -> Iterator[Row]:
  return (_labelled(post, [topic(post)]) for post in _part(posts, 0))


def _storyline(posts: list[world.Post]) -> Iterator[Row]:
  return (_labelled(post, [post.story]) for post in posts)


def _hashtag(posts: list[world.Post]) -> Iterator[Row]:
  return (_labelled(post, tags(post)) for post in _part(posts, 1))


def _unseen_tags() -> Iterator[Row]:
  for post in _part([post for post in world.posts() if post.split == "test"], 0):
    labels = [names[post.concepts[facet]] for facet, names in world.UNSEEN_TAGS.items() if facet in post.concepts]
    if labels:
      yield _labelled(post, labels)


def _corpus() -> Iterator[Row]:
  """What is searched: the posts that no training row holds. TFDS wants the fields of a pair in these rows too."""
  for post in world.posts():
    if post.split != "train":
      yield {**_NO_PAIR, "id": post.id, "text": post.text, "language": post.language}


def _search(posts: list[world.Post], split: str) -> Iterator[Row]:
  rng = Random(f"search {split} {world.SEED}")
  tale = {story.id: story for story in world.stories()}
  searched = posts if split == "train" else [post for post in world.posts() if post.split != "train"]
  mentioned: dict[tuple[str, str], set[int]] = {}
  for index, post in enumerate(searched):
    for concept in post.concepts.items():
      mentioned.setdefault(concept, set()).add(index)
  for number, post in enumerate(rng.sample(posts, QUERIES[split])):
    language = post.language if rng.random() < SAME_LANGUAGE else rng.choice(grammar.LANGUAGES)
    others = [facet for facet in post.concepts if facet not in ("domain", "place")]
    others = rng.sample(others, 1 if "place" in post.concepts else 2)
    wanted = [facet for facet in post.concepts if facet in ("domain", "place", *others)]
    forms = {}
    for facet in wanted:
      pets = tale[post.story].pets[language][facet]
      forms[facet] = rng.choice([form for form in pets if form.lower() not in post.text.lower()] or pets)
    concepts = {facet: post.concepts[facet] for facet in wanted}
    text = grammar.query(rng, language, concepts, forms)
    answering = set.intersection(*(mentioned[concept] for concept in concepts.items()))
    answers = [searched[index] for index in sorted(answering)]
    if split == "train":
      answers = [post, *[found for found in answers if found is not post][: POSITIVES - 1]]
    for answer in answers:
      yield {
        **_NO_PAIR,
        "anchor": text,
        "positive": answer.text,
        "anchor_id": f"query_{split}_{number:04}",
        "positive_id": answer.id,
        "score": 1.0,
        "language": language,
      }


def _translations(split: str) -> Iterator[Row]:
  return (row for post, row in _translated() if post.split == split)


@functools.cache
def _translated() -> list[tuple[world.Post, Row]]:
  """The first post of each story in all languages; no two have the same text."""
  seen, translated = {post.text for post in world.posts()}, []
  for post in world.posts()[:: world.POSTS_PER_STORY]:
    rng = Random(f"translations {post.id} {world.SEED}")
    for language in grammar.LANGUAGES:
      text = post.text
      while language != post.language and text in seen:
        forms = {facet: rng.choice(grammar.words(language)[facet][concept]) for facet, concept in post.concepts.items()}
        text = grammar.post(rng, language, post.register, forms)
      seen.add(text)
      translated.append((post, {"id": post.id, "text": text, "language": language}))
  return translated


def _sts(posts: list[world.Post], split: str) -> Iterator[Row]:
  """Pairs of one language, graded 0 to 5, in quarters, by the share of their concepts that they have in common."""
  rng = Random(f"sts {split} {world.SEED}")
  by_language: dict[str, list[world.Post]] = {}
  siblings: dict[tuple[str, str], list[world.Post]] = {}
  for post in posts:
    by_language.setdefault(post.language, []).append(post)
    siblings.setdefault((post.story, post.language), []).append(post)
  for language in itertools.islice(itertools.cycle(grammar.LANGUAGES), PAIRS[split]):
    a = rng.choice(by_language[language])
    # Chance alone would give pairs with next to nothing in common.
    wanted = rng.randrange(len(grammar.FACETS))
    near = [*siblings[a.story, language], *rng.choices(by_language[language], k=20)]
    b = min((b for b in near if b is not a), key=lambda b: abs(_common(a, b) - wanted))
    share = 2 * _common(a, b) / (len(a.concepts) + len(b.concepts))
    yield {"text_a": a.text, "text_b": b.text, "score": round(20 * share) / 4, "language": language}


def _common(a: world.Post, b: world.Post) -> int:
  return len(a.concepts.items() & b.concepts.items())
