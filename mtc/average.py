"""Averages the weights of several models: of runs from one start, or of a model and its start.

python -m mtc.average --models runs/a/export,runs/b/export,runs/c/export --output runs/mean
python -m mtc.average --models runs/a/export,mtc-mini --shares 0.3,0.7 --output runs/a_little

The first can be better than each of several runs with other seeds. The second keeps a share of what a run has changed.
All models must come from one start: weights that began as other random numbers cannot be averaged. A run that added a
projection (`model.dim`) has more weights than its start.

Reference: model soups, arXiv 2203.05482 section 2; between a start and its fine-tuned model WiSE-FT, arXiv 2109.01903
section 3.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from mtc import cli, models
from mtc.embedder import card, save
from mtc.embedder.averaging import average
from mtc.embedder.embedder import load


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if not f.output or len(f.models) < 2:
      raise ValueError("name two models or more and a directory: --models=runs/a/export,runs/b/export --output=DIR")
    if not all(f.models):
      raise ValueError(f"--models {','.join(f.models)} names an empty directory; leave out the comma")
    if len({models.directory_of(name).resolve() for name in f.models}) < len(f.models):
      raise ValueError(f"--models {','.join(f.models)} names one twice; give it a larger share")
    try:
      shares = [float(share) for share in f.shares] or [1 / len(f.models)] * len(f.models)
    except ValueError:
      raise ValueError(f"--shares {','.join(f.shares)} are not numbers; write --shares=0.3,0.7") from None
    if len(shares) != len(f.models):
      raise ValueError(f"{len(f.models)} models have {len(shares)} shares; give each model one")
    cli.check_output(f.output)
    merged = average((load(name) for name in f.models), shares)
    page = card.of_average(merged, dict(zip(f.models, shares, strict=True)))
    save.write(merged, Path(f.output), page, f.dtype)
    print(f"the average of {len(f.models)} models: {f.output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_list(
    "models",
    [],
    "Directories of the models, or mtc-mini; a name with a comma or a line break is put in double quotes. Prompts and"
    " lengths are taken from the first one.",
  )
  flags.DEFINE_list("shares", [], "Weight of each model, in the same order; the sum is 1. By default all are equal.")
  flags.DEFINE_string("output", "", "Directory to write the averaged model to. It must not exist.")
  flags.DEFINE_enum("dtype", "float32", save.DTYPES, "Number type of the weights in the output.")
  app.run(_main, flags_parser=cli.parse_flags)
