import numpy as np
import pytest

from mtc.evaluators import Parallel, TranslationMatching


@pytest.fixture
def mteb(mteb):
  return mteb["translations"]


def parallel(mteb):
  """The table, and the vectors of its texts."""
  rows = [(f"{i:02}", f"{name} {i}", name) for name, vectors in mteb["vectors"].items() for i in range(len(vectors))]
  vectors = {f"{name} {i}": row for name, vectors in mteb["vectors"].items() for i, row in enumerate(vectors)}
  return Parallel(*zip(*rows, strict=True)), vectors


def test_equals_mteb(mteb, encoder):
  table, vectors = parallel(mteb)
  scores = TranslationMatching()(encoder(vectors), table)
  metrics = ("accuracy", "f1")
  wanted = {metric: np.mean([found[metric] for found in mteb["numbers"].values()]) for metric in metrics}
  for metric in metrics:
    for name in ("de", "en", "ja"):
      values = [found[metric] for pair, found in mteb["numbers"].items() if pair.startswith(name)]
      wanted[f"{metric}/{name}"] = np.mean(values)
  assert list(scores) == list(wanted)
  assert scores == pytest.approx(wanted)


def test_two_languages_are_two_pairs_of_mteb(mteb, encoder):
  table, vectors = parallel(mteb)
  keep = [row for row, language in enumerate(table.languages) if language != "de"]
  two = Parallel(*([column[row] for row in keep] for column in (table.ids, table.texts, table.languages)))
  scores = TranslationMatching()(encoder(vectors), two)
  for metric in ("accuracy", "f1"):
    assert scores[f"{metric}/en"] == pytest.approx(mteb["numbers"]["en-ja"][metric])
    assert scores[f"{metric}/ja"] == pytest.approx(mteb["numbers"]["ja-en"][metric])


def test_a_pivot_scores_only_pairs_from_it_and_to_it(mteb, encoder):
  table, vectors = parallel(mteb)
  scores = TranslationMatching(pivot="en")(encoder(vectors), table)
  for metric in ("accuracy", "f1"):
    of = {pair: found[metric] for pair, found in mteb["numbers"].items()}
    assert {name: value for name, value in scores.items() if name.startswith(metric)} == pytest.approx(
      {
        metric: (of["en-de"] + of["en-ja"] + of["de-en"] + of["ja-en"]) / 4,
        f"{metric}/de": of["de-en"],
        f"{metric}/en": (of["en-de"] + of["en-ja"]) / 2,
        f"{metric}/ja": of["ja-en"],
      }
    )


def test_the_order_of_texts_changes_nothing_also_with_ties(encoder):
  rng = np.random.default_rng(0)
  rows = [(str(i), f"{name} {i}", name) for name in ("de", "en", "fr") for i in range(20)]
  vectors = {text: rng.choice([-1, 1], 4) for _, text, _ in rows}
  scores = TranslationMatching()(encoder(vectors), Parallel(*zip(*rows, strict=True)))
  shuffled = [rows[i] for i in rng.permutation(60)]
  assert TranslationMatching()(encoder(vectors), Parallel(*zip(*shuffled, strict=True))) == pytest.approx(scores)


def test_a_text_without_a_translation_is_not_asked_but_can_be_found(encoder):
  vectors = {"eins": [1, 0], "one": [1, 0.5], "uno": [1, 0.1], "two": [1, 0.01]}
  table = Parallel(["1", "1", "1", "2"], ["eins", "one", "uno", "two"], ["de", "en", "es", "en"])
  scores = TranslationMatching()(encoder(vectors), table)
  # "two" is the English nearest to "eins" and "uno"; everything else has one text to choose
  wanted = {"accuracy": 4 / 6, "accuracy/de": 1 / 2, "accuracy/en": 1, "accuracy/es": 1 / 2}
  assert scores == pytest.approx(wanted | {name.replace("accuracy", "f1"): value for name, value in wanted.items()})


def test_a_limit_draws_ids_with_all_their_translations(mteb, encoder):
  table, vectors = parallel(mteb)
  seen = []

  def encode(texts, role="document"):
    seen.extend(texts)
    return encoder(vectors)(texts)

  TranslationMatching(limit=6)(encode, table)
  assert len(seen) == 18 and len({text.split()[1] for text in seen}) == 6


def test_bad_input(encoder):
  table = Parallel(["1", "2"], ["eins", "two"], ["de", "en"])
  vectors = encoder({"eins": [1, 0], "two": [0, 1]})
  with pytest.raises(ValueError, match="none of 2 texts has a translation"):
    TranslationMatching()(vectors, table)
  with pytest.raises(ValueError, match="pivot='fr' is not a language of the table; it has de, en"):
    TranslationMatching(pivot="fr")(vectors, table)
