"""Translation matching: is a text's nearest neighbour in another language its translation?"""

import dataclasses

import numpy as np

from mtc.evaluators.encoder import Evaluator, TextEncoder, vectors
from mtc.evaluators.metrics import Measured, means, subset
from mtc.evaluators.similarity import top_k
from mtc.evaluators.tables import Parallel


@dataclasses.dataclass
class TranslationMatching(Evaluator):
  """Each text asks each other language for its nearest text, as mteb's bitext mining; of equals the first id wins.

  Attributes:
    pivot: with a language here, only pairs from it and to it are scored; with none, all ordered pairs.
    limit: ids at most, drawn by `seed`; 0 takes all.
    seed: of the draw.
  """

  pivot: str = ""
  limit: int = 1000
  seed: int = 0

  def measure(self, encode: TextEncoder, table: Parallel) -> Measured:
    """`accuracy`, then `f1`, from 0 to 1, means over all texts asked; then by language of the asking text.

    `f1` is mteb's: of a text that finds its translation, 2 / (1 + texts of its language that find the same one).

    Raises:
      ValueError: no text has the pivot's language, or no text has a translation.
    """
    ids = np.array(sorted(set(table.ids)))
    chosen = set(ids[subset(len(ids), self.limit, self.seed)])
    order = sorted((row for row, id in enumerate(table.ids) if id in chosen), key=lambda row: table.ids[row])
    languages = np.array([table.languages[row] for row in order])
    names = sorted(set(languages))
    if self.pivot and self.pivot not in names:
      raise ValueError(f"pivot={self.pivot!r} is not a language of the table; it has {', '.join(names)}")
    rows = vectors(encode, [table.texts[row] for row in order])
    members = {name: np.flatnonzero(languages == name) for name in names}
    place = {name: {table.ids[order[row]]: at for at, row in enumerate(members[name])} for name in names}

    right, f1, asked = [], [], []
    for source in names:
      for target in names:
        if source == target or (self.pivot and self.pivot not in (source, target)):
          continue
        wanted = np.array([place[target].get(table.ids[order[row]], -1) for row in members[source]])
        nearest = top_k(rows[members[source]], rows[members[target]], 1)[:, 0]
        nearest, wanted = nearest[wanted >= 0], wanted[wanted >= 0]
        right.extend(nearest == wanted)
        f1.extend((nearest == wanted) * 2 / (1 + np.bincount(nearest, minlength=len(members[target]))[nearest]))
        asked.extend([source] * len(wanted))
    if not asked:
      raise ValueError(f"none of {len(order)} texts has a translation among the others; do the ids join them?")
    return means({"accuracy": np.array(right, np.float64), "f1": np.array(f1)}, asked)
