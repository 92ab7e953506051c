"""Writes references.json: losses and gradients of sentence-transformers, which the tests compare with.

Needs sentence-transformers 6.2 and PyTorch (`pip install mtc[torch]`); run from the root of the repository:

    python tests/losses/make_references.py
"""

import itertools
import json
from pathlib import Path

import numpy as np
from sentence_transformers.sentence_transformer import losses
import torch

EXAMPLES, HARD, DIM = 5, 2, 6
SCORES = [0.25, 1.0, 0.25, 0.0, 0.5]  # with a tie; exact in float32, to which they are cast


class Table(torch.nn.Module):
  """A model whose embeddings are given: all that MatryoshkaLoss asks of one."""

  def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"sentence_embedding": features["vectors"]}

  def get_embedding_dimension(self) -> int:
    return DIM


def main() -> None:
  random = np.random.default_rng(0)
  draw = lambda *shape: np.round(random.normal(size=shape), 3)
  vectors = {"anchor": draw(EXAMPLES, DIM), "positive": draw(EXAMPLES, DIM), "negatives": draw(EXAMPLES, HARD, DIM)}
  references = []

  def add(loss: str, options: dict, hard: bool, module: torch.nn.Module) -> None:
    leaves = {name: torch.tensor(v, requires_grad=True) for name, v in vectors.items() if hard or name != "negatives"}
    columns = [leaves["anchor"], leaves["positive"]]
    columns += [leaves["negatives"][:, n] for n in range(HARD)] if hard else []
    value = module([{"vectors": column} for column in columns], torch.tensor(SCORES, dtype=torch.float64))
    value.backward()
    gradients = {name: np.round(leaf.grad.numpy(), 13).tolist() for name, leaf in leaves.items()}
    references.append({"loss": loss, "options": options, "hard": hard, "value": value.item(), "gradients": gradients})

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

  inputs = {name: v.tolist() for name, v in vectors.items()} | {"score": SCORES}
  lines = ",\n".join(json.dumps(reference) for reference in references)
  text = f'{{"inputs": {json.dumps(inputs)},\n"references": [\n{lines}\n]}}\n'
  (Path(__file__).parent / "references.json").write_text(text)


if __name__ == "__main__":
  main()
