"""Pretrains an encoder by masked language modelling, from random weights or from a pretrained model.

python -m mtc.pretrain --config configs/pretrain.py --workdir runs/pretrain
python -m mtc.pretrain --config configs/pretrain.py --workdir runs/adapted --config.model.pretrained=DIR

The second adapts a pretrained model to the texts of a domain. The same command continues after an interruption.
`model.pretrained` of a contrastive run takes the export/ of this one, and AutoModelForMaskedLM loads it. With steps=0
it has no head; AutoModel loads it, or sentence-transformers if it is a static embedding.
"""

from collections.abc import Sequence
import contextlib
import sys

from absl import app, flags
from ml_collections import config_flags

from mtc import cli, parallel
from mtc.config import Pretraining
from mtc.pretrain.masked_lm import prepare
from mtc.workdir import bucket


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with parallel.leaving_others(), cli.failures(), contextlib.ExitStack() as stack:
    with cli.mistakes():
      settings = cli.checked(f.config, argv, Pretraining)
      if not f.workdir:
        raise ValueError("--workdir is missing; name a folder for this run, for example --workdir runs/pretrain")
      parallel.initialize(f.coordinator, f.process_id, f.process_count, f.distributed)
      run = prepare(settings, stack.enter_context(bucket.workdir(f.workdir)), command=sys.argv)
    cli.finish(run)


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file("config", None, "Python file whose get_config() returns the mtc.config.Pretraining.")
  cli.define_run_flags()
  app.run(_main, flags_parser=cli.parse_flags)
