"""Zero-shot classification: is the name of a text's label the nearest of all names?"""

from collections.abc import Mapping
import dataclasses

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.labels import label_matrix, label_names
from mtc.evaluators.metrics import Measured, one_guess, subset
from mtc.evaluators.similarity import top_k
from mtc.evaluators.tables import Labelled


@dataclasses.dataclass
class ZeroShot(Evaluator):
  """The nearest label name is the guess; it is right if the text bears that label. No labelled text is learned from.

  All labels of the texts and of the reference texts compete; of equally near ones the first by name wins.

  Attributes:
    template: what is embedded for a label, its name in place of {}: "a message about {}".
    names: the names of labels that are not names, as {"37": "sports"}; else an underscore becomes a space.
    limit: texts at most, drawn by `seed`; 0 takes all.
    seed: of the draw.
  """

  template: str = "{}"
  names: Mapping[str, str] = dataclasses.field(default_factory=dict)
  limit: int = 0
  seed: int = 0

  def texts(self, table: Labelled) -> list[str]:
    """The label names in the template, in the order of the labels."""
    if self.template.count("{}") != 1:
      raise ValueError(f"template={self.template!r} of ZeroShot has not one {{}}, where the name of a label goes")
    labels = label_names([*table.labels, *table.reference_labels])
    return [self.template.replace("{}", self.names.get(label, label.replace("_", " "))) for label in labels]

  def measure(self, encode: TextEncoder, table: Labelled) -> Measured:
    """`accuracy` first, then macro `f1`, each from 0 to 1; then by language."""
    chosen = subset(len(table.texts), self.limit, self.seed)
    rows, candidates = vectors(encode, [table.texts[index] for index in chosen]), vectors(encode, self.texts(table))
    guesses = top_k(rows, candidates, 1)[:, 0]
    labels = label_names([*table.labels, *table.reference_labels])
    truth = label_matrix([table.labels[index] for index in chosen], labels)
    guessed = label_matrix([[labels[guess]] for guess in guesses], labels)
    return one_guess(truth, guessed, [table.languages[index] for index in chosen])
