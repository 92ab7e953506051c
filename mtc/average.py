"""The average of several models' weights: of one start and several runs, or of a model and what it started from.

python -m mtc.average --models runs/a/export,runs/b/export,runs/c/export --output runs/mean
python -m mtc.average --models runs/a/export,mtc-mini --shares 0.3,0.7 --output runs/a_little

The first can be better than each of runs that differ by their seed; the second keeps a share of what a run has changed,
and more of what its start knew. All must come from one start: the weights of models that began with other random
numbers have nothing to do with each other.

Reference: model soups, arXiv 2203.05482 section 2; between a start and its fine-tuned model WiSE-FT, arXiv 2109.01903
section 3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
import math
from pathlib import Path
from typing import Any

from absl import app, flags
import jax
import numpy as np

from mtc import card, cli, export, models, parallel
from mtc.embed import Embedder, load
from mtc.types import PyTree


def average(embedders: Iterable[Embedder], shares: Sequence[float]) -> Embedder:
  """The embedder whose weights are `sum(share * weights)`, float32; prompts and lengths are those of the first.

  Args:
    embedders: two or more, of the same architecture, sizes, pooling, projection and tokenizer; taken one by one, so
      that two models need to be in memory.
    shares: of each, in [0, 1], together 1.

  Raises:
    ValueError: the shares are no average, or a model is not like the first; says in what.
  """
  if len(shares) < 2:
    raise ValueError(f"{len(shares)} share of a model is no average; name two models or more, and a share for each")
  if not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
    raise ValueError(f"the shares {', '.join(f'{s:g}' for s in shares)} are not in [0, 1] or do not add up to 1")
  first, total = None, None
  for place, (embedder, share) in enumerate(zip(embedders, shares, strict=True), start=1):
    first = first or embedder
    _check_alike(first, embedder, place)
    part = _scaled(embedder, share)
    total = part if total is None else jax.tree.map(np.add, total, part)
  assert first is not None
  return replace(first, params=total)


def _scaled(embedder: Embedder, share: float) -> PyTree:
  return jax.tree.map(lambda leaf: np.float32(share) * np.asarray(leaf, np.float32), parallel.to_host(embedder.params))


def _check_alike(first: Embedder, other: Embedder, place: int) -> None:
  """Raises ValueError unless each weight of one has its counterpart in the other."""
  differs = next((name for name, value in _nature(first).items() if _nature(other)[name] != value), "")
  if differs:
    raise ValueError(f"model {place} has another {differs} than the first; average models of one start")


def _nature(embedder: Embedder) -> dict[str, Any]:
  return {
    "architecture": models.sizes(embedder.config),
    "pooling": embedder.spec.pooling or "mean",
    "number of dimensions": embedder.width,
    "projection": embedder.spec.projection if embedder.spec.dim else "",
    "set of weights": jax.tree.map(np.shape, embedder.params),
    "tokenizer": embedder.tokenizer.to_str(),
  }


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if not f.output or len(f.models) < 2:
      raise ValueError("name two models or more and a directory: --models=runs/a/export,runs/b/export --output=DIR")
    if len(set(f.models)) < len(f.models):
      raise ValueError(f"--models {','.join(f.models)} names one twice; give it a larger share")
    try:
      shares = [float(share) for share in f.shares] or [1 / len(f.models)] * len(f.models)
    except ValueError:
      raise ValueError(f"--shares {','.join(f.shares)} are not numbers; write --shares=0.3,0.7") from None
    if len(shares) != len(f.models):
      raise ValueError(f"{len(f.models)} models have {len(shares)} shares; give each model one")
    export.check_output(f.output)
    merged = average((load(name) for name in f.models), shares)
    page = card.of_average(merged, dict(zip(f.models, shares, strict=True)))
    export.write(merged, Path(f.output), page, f.dtype)
    print(f"the average of {len(f.models)} models: {f.output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_list("models", [], "Model directories, or mtc-mini.")
  flags.DEFINE_list("shares", [], "Of each model, together 1; none = equal ones.")
  flags.DEFINE_string("output", "", "The model directory to write.")
  flags.DEFINE_enum("dtype", "float32", export.DTYPES, "Of its weights.")
  app.run(_main, flags_parser=cli.parse_flags)
