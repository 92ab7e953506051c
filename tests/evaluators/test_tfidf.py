import numpy as np
import pytest

from mtc.evaluators import STS, Graded, Labelled, Retrieval, SameLabelRetrieval, Search, TfIdf

TEXTS = ["the cat sat on the mat", "a dog sat", "the the the cat", "dogs and cats"]


def test_words_by_hand():
  words = [text.split() for text in TEXTS]
  names = sorted({word for row in words for word in row if len(word) > 1})  # scikit-learn takes no words of one letter
  idf = {word: np.log((1 + len(TEXTS)) / (1 + sum(word in row for row in words))) + 1 for word in names}
  wanted = np.array([[(1 + np.log(row.count(w))) * idf[w] if w in row else 0 for w in names] for row in words])
  wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
  np.testing.assert_allclose(TfIdf().fit(TEXTS)(TEXTS).toarray(), wanted, atol=1e-6)


def test_characters_match_where_words_do_not():
  encode = TfIdf("char").fit(["今日は天気が良い", "明日の会議", "天気の話"])
  query, documents = encode(["天気"], role="query"), encode(["今日は天気が良い", "明日の会議"])
  near, far = (query @ documents.T).toarray()[0]
  assert near > 0.05 and far == 0
  assert TfIdf().fit(["今日は天気が良い"])(["天気"]).nnz == 0


def test_evaluators_take_it_as_an_encoder():
  encode = TfIdf().fit(TEXTS)
  table = Search({"q": "dog"}, dict(enumerate(TEXTS)), {"q": {1: 1}})
  assert Retrieval()(encode, table)["mrr@10"] == 1
  assert SameLabelRetrieval()(encode, Labelled(TEXTS[:3], [["cat"], ["dog"], ["cat"]]))["map"] == pytest.approx(1)
  assert STS()(encode, Graded(TEXTS[:2], TEXTS[2:], [1.0, 0.0]))["spearman"] == pytest.approx(1)


def test_a_text_without_a_known_word_is_a_row_of_zeros():
  assert TfIdf().fit(TEXTS)(["xyzzy"]).nnz == 0


def test_bad_input():
  with pytest.raises(ValueError, match="analyzer='words' is unknown; use 'word' or 'char'"):
    TfIdf("words").fit(TEXTS)
