"""TF-IDF as an encoder: the floor that a trained model has to beat."""

from collections.abc import Sequence
import dataclasses

from scipy import sparse

from mtc.evaluators.encoder import TextEncoder, Vectors


@dataclasses.dataclass
class TfIdf:
  """Words, or n-grams of 2 to 4 characters within them for languages without spaces, weighted (1 + log tf) * idf.

  Attributes:
    analyzer: "word" or "char".
  """

  analyzer: str = "word"

  def fit(self, texts: Sequence[str]) -> TextEncoder:
    """An encoder with the vocabulary and the document frequencies of `texts`; the role makes no difference to it.

    Raises:
      ValueError: an unknown analyzer, or texts without a single word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # 1 s to import, and training never needs it

    if self.analyzer not in ("word", "char"):
      raise ValueError(f"analyzer={self.analyzer!r} is unknown; use 'word' or 'char'")
    analyzer, spans = ("word", (1, 1)) if self.analyzer == "word" else ("char_wb", (2, 4))
    model = TfidfVectorizer(analyzer=analyzer, ngram_range=spans, sublinear_tf=True).fit(texts)

    def encode(texts: Sequence[str], role: str = "document") -> Vectors:
      del role
      return sparse.csr_array(model.transform(texts))

    return encode
