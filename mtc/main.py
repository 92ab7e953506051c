"""Trains an embedding model on the tasks of a config, evaluates it and exports it.

python -m mtc.main --config configs/multitask.py --workdir runs/a

The same command continues after an interruption.
"""

from collections.abc import Sequence
import contextlib
import sys

from absl import app, flags
from ml_collections import config_flags

from mtc import cli, parallel
from mtc.training import contrastive
from mtc.workdir import bucket


def main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with parallel.leaving_others(), cli.failures(), contextlib.ExitStack() as stack:
    with cli.mistakes():
      experiment = cli.experiment(f.config, argv)
      if not f.workdir:
        raise ValueError("--workdir is missing; name a folder for this run, for example --workdir runs/a")
      parallel.initialize(f.coordinator, f.process_id, f.process_count, f.distributed)
      run = contrastive.prepare(experiment, stack.enter_context(bucket.workdir(f.workdir)), command=sys.argv)
    cli.finish(run)


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file("config", None, "Python file whose get_config() returns the mtc.config.Experiment.")
  cli.define_run_flags()
  app.run(main, flags_parser=cli.parse_flags)
