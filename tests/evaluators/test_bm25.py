import bm25s
import numpy as np
import pytest

from mtc.evaluators import BM25, Retrieval, Search

TEXTS = ["the cat sat on the mat", "a dog sat", "the the the cat", "dogs and cats", "a cat and a dog and the mat"]


def cosines(query, documents=TEXTS, **options):
  encode = BM25(**options).fit(documents)
  rows, asked = encode(documents), encode([query], role="query")
  norms = np.sqrt(rows.multiply(rows).sum(axis=1))
  np.testing.assert_allclose(norms, norms[0], rtol=1e-6)  # all documents have one length
  return (asked @ rows.T).toarray()[0]


def test_one_document_by_hand():
  # Lucene: idf * tf / (tf + k1 * (1 - b + b * length / mean)); "dog" is in 2 of 5 documents of 6, 2, 4, 3, 6 words
  # of two letters or more.
  idf = np.log(1 + (5 - 2 + 0.5) / (2 + 0.5))
  wanted = [idf * 1 / (1 + 1.5 * (0.25 + 0.75 * length / 4.2)) for length in (2, 6)]
  found = cosines("dog")
  np.testing.assert_allclose([found[1], found[4]], wanted, rtol=1e-5)
  assert not found[[0, 2, 3]].any()


@pytest.mark.parametrize("query", ["cat", "the cat the dog", "mat sat", "nothing known", "dogs dogs cats"])
def test_the_scores_are_those_of_bm25s(query):
  index = bm25s.BM25(k1=1.2, b=0.5)
  index.index(bm25s.tokenize(TEXTS, stopwords=None, show_progress=False, return_ids=False), show_progress=False)
  np.testing.assert_allclose(
    cosines(query, k1=1.2, b=0.5), [index.get_scores(query.split())[i] for i in range(5)], rtol=1e-5
  )


def test_retrieval_ranks_by_the_score_and_not_by_the_cosine_of_the_weights():
  # By cosine the short document would win, for "cat" is all of it; by BM25 the one with both words does.
  documents = {"short": "cat", "both": "a cat chased the dog over many other words", "none": "nothing here"}
  table = Search({"q": "cat dog"}, documents, {"q": {"both": 1}})
  assert Retrieval()(BM25().fit(list(documents.values())), table)["mrr@10"] == 1


def test_a_document_that_it_was_not_fitted_on_is_refused():
  encode = BM25().fit(TEXTS)
  with pytest.raises(ValueError, match="not fitted on 1 of 2 documents, 'another' first"):
    encode([TEXTS[0], "another"])
  with pytest.raises(ValueError, match="none of 2 documents has a word"):
    BM25().fit(["!", "?"])
