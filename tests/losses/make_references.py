"""Writes references.json: losses and gradients of sentence-transformers, which the tests compare with.

Needs sentence-transformers 6.2 and PyTorch (`pip install mtc[torch]`); run from the root of the repository:

    python tests/losses/make_references.py
"""

from collections.abc import Callable
import itertools
import json
from pathlib import Path

import numpy as np
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import pairwise_cos_sim
from tokenizers import Tokenizer, models
import torch
from transformers import PreTrainedTokenizerFast

EXAMPLES, HARD, DIM, TEACHER = 5, 2, 6, 9
SCORES = [0.25, 1.0, 0.25, 0.0, 0.5]  # with a tie; exact in float32, to which they are cast


class Table(torch.nn.Module):
  """A model whose embeddings are given: all that the losses ask of one."""

  tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
  max_seq_length = 8

  def __init__(self, name: str = "vectors"):
    super().__init__()
    self.name = name

  def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"sentence_embedding": features[self.name]}

  def __getitem__(self, index: int) -> torch.nn.Module:
    return self

  def get_embedding_dimension(self) -> int:
    return DIM


def main() -> None:
  random = np.random.default_rng(0)
  draw = lambda *shape: np.round(random.normal(size=shape), 3)
  vectors = {"anchor": draw(EXAMPLES, DIM), "positive": draw(EXAMPLES, DIM), "negatives": draw(EXAMPLES, HARD, DIM)}
  # Unit vectors, as the data make them. Positives are near their anchors, or a guide would leave out nearly all.
  teacher = random.normal(size=(EXAMPLES, 2 + HARD, TEACHER))
  teacher[:, 1] += teacher[:, 0]
  teacher = teacher / np.linalg.norm(teacher, axis=-1, keepdims=True)
  references = []

  def texts(leaves: dict[str, torch.Tensor], hard: int) -> list[torch.Tensor]:
    return [leaves["anchor"], leaves["positive"], *(leaves["negatives"][:, n] for n in range(hard))]

  def score(loss: str, options: dict, hard: int, function: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> None:
    leaves = {name: torch.tensor(v, requires_grad=True) for name, v in vectors.items() if hard or name != "negatives"}
    value = function(leaves)
    value.backward()
    gradients = {name: np.round(leaf.grad.numpy(), 13).tolist() for name, leaf in leaves.items()}
    references.append({"loss": loss, "options": options, "hard": hard, "value": value.item(), "gradients": gradients})

  def add(loss: str, options: dict, hard: bool, module: torch.nn.Module) -> None:
    n, scores = HARD if hard else 0, torch.tensor(SCORES, dtype=torch.float64)
    score(loss, options, n, lambda leaves: module([{"vectors": column} for column in texts(leaves, n)], scores))

  others = ("query_to_query", "doc_to_query", "doc_to_doc")
  for hard, count in itertools.product((False, True), range(len(others) + 1)):
    for chosen in itertools.combinations(others, count):
      for partition in ("joint", "per_direction") if set(chosen) <= {"doc_to_query"} else ("joint",):
        directions = ("query_to_doc", *chosen)
        module = losses.MultipleNegativesRankingLoss(Table(), 5.0, directions=directions, partition_mode=partition)
        add("InfoNCE", {"temperature": 0.2, "directions": directions, "partition": partition}, hard, module)
  add("CoSENT", {"scale": 20.0}, False, losses.CoSENTLoss(Table()))
  add("CoSENT", {"scale": 3.0}, False, losses.CoSENTLoss(Table(), scale=3.0))
  add("CosineRegression", {}, False, losses.CosineSimilarityLoss(Table()))
  for dims, weights in (((6, 3), ()), ((2, 6, 4), (0.5, 1.0, 0.25))):
    inner = losses.MultipleNegativesRankingLoss(Table(), 5.0)
    inner.model = table = Table()
    module = losses.MatryoshkaLoss(table, inner, dims, weights or None)
    add("Matryoshka", {"dims": dims, "weights": weights}, True, module)

  guides = [torch.tensor(teacher[:, n]) for n in range(2 + HARD)]
  for strategy, margin in (("absolute", 0.0), ("absolute", 0.3), ("relative", 0.4)):
    for hard in range(1 + HARD):
      # With hard negatives doc_to_doc of InfoNCE has more columns: the positive with the others' hard negatives.
      keywords = {"margin_strategy": strategy, "margin": margin, "contrast_positives": not hard}
      directions = ("query_to_doc", "query_to_query") + (() if hard else ("doc_to_doc",))
      ours = {"temperature": 0.2, "directions": directions, "guide": strategy, "guide_margin": margin}

      def guided(leaves, hard=hard, keywords=keywords):
        columns = texts(leaves, hard)
        if hard < 2:
          module = losses.GISTEmbedLoss(Table(), Table("guide"), 0.2, **keywords)
          return module([{"vectors": c, "guide": g} for c, g in zip(columns, guides)], None)
        module = losses.CachedGISTEmbedLoss(Table(), Table("guide"), 0.2, **keywords)
        return module.calculate_loss([[c] for c in columns], [[g] for g in guides])

      score("InfoNCE", ours, hard, guided)

  def embeddings(leaves, hard):
    targets = torch.tensor(teacher[:, : 2 + hard, :DIM])
    return losses.EmbedDistillLoss(Table())([{"vectors": c} for c in texts(leaves, hard)], targets)

  def similarities(leaves, hard, student_temperature, teacher_temperature):
    columns = [leaves["positive"], *(leaves["negatives"][:, n] for n in range(hard))]
    candidates = [c[i].expand(EXAMPLES, DIM) for c in columns for i in range(EXAMPLES)]
    labels = torch.tensor(teacher[:, 0]) @ torch.tensor(np.concatenate([teacher[:, 1 + n] for n in range(1 + hard)])).T
    module = losses.DistillKLDivLoss(
      Table(), pairwise_cos_sim, student_temperature=student_temperature, teacher_temperature=teacher_temperature
    )
    value = module([{"vectors": c} for c in (leaves["anchor"], *candidates)], labels)
    return value / student_temperature**2

  for hard in (0, HARD):
    score("EmbeddingDistillation", {}, hard, lambda leaves, hard=hard: embeddings(leaves, hard))
    for ours in ({"temperature": 0.2}, {"temperature": 0.2, "teacher_temperature": 0.1}):
      both = (ours["temperature"], ours.get("teacher_temperature", ours["temperature"]))
      score(
        "SimilarityDistillation", ours, hard, lambda leaves, hard=hard, both=both: similarities(leaves, hard, *both)
      )

  inputs = {name: v.tolist() for name, v in vectors.items()} | {"score": SCORES, "teacher": teacher.tolist()}
  lines = ",\n".join(json.dumps(reference) for reference in references)
  text = f'{{"inputs": {json.dumps(inputs)},\n"references": [\n{lines}\n]}}\n'
  (Path(__file__).parent / "references.json").write_text(text)


if __name__ == "__main__":
  main()
