"""Compares multi-task with single-task training: does multi-task training transfer?

python -m mtc.transfer --config configs/multitask.py --workdir runs/transfer

It trains one model on all tasks, one on each task, and with --leave_one_out one on all tasks but each, all from the
same untrained model. It evaluates each of them on every test and writes transfer.json, transfer.md and transfer.html,
a page with plots. The same command continues after an interruption.
"""

from collections.abc import Sequence
import contextlib
import sys

from absl import app, flags
from ml_collections import config_flags

from mtc import cli
from mtc.transfer.experiment import Options, prepare
from mtc.workdir import bucket


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.failures(), contextlib.ExitStack() as stack:
    with cli.mistakes():
      experiment = cli.experiment(f.config, argv)
      if not f.workdir:
        raise ValueError("--workdir is missing; name a folder for the report, for example --workdir runs/transfer")
      options = Options(f.seeds, f.budget, f.leave_one_out, _rates(f.learning_rates))
      config = config_flags.get_config_filename(f["config"])
      workdir = stack.enter_context(bucket.workdir(f.workdir))
      report = prepare(experiment, workdir, options, config, sys.argv)
    cli.finish(report)


def _rates(given: Sequence[str]) -> tuple[float, ...]:
  try:
    return tuple(float(rate) for rate in given)
  except ValueError as error:
    raise ValueError(f"--learning_rates={','.join(given)}: {error}; write for example 3e-4,1e-3") from None


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file("config", None, "Python file whose get_config() returns the mtc.config.Experiment.")
  flags.DEFINE_string("workdir", "", "Directory of the report; each run has its workdir in its runs/.")
  flags.DEFINE_integer("seeds", 1, "Number of seeds to train with, from the seed of the config on.")
  flags.DEFINE_string("budget", "both", "Budget of a single-task run: examples, steps (equal compute) or both.")
  flags.DEFINE_bool("leave_one_out", False, "Also train on all tasks but one, for each task.")
  flags.DEFINE_list("learning_rates", [], "Rates to choose from on validation, as a,b,c; by default the config's.")
  app.run(_main, flags_parser=cli.parse_flags)
