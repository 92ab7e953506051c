"""python -m mtc.main --config configs/multitask.py --workdir runs/a: trains, evaluates, checkpoints and exports.

Run it again to go on after an interruption. Any field of the config can be set: --config.tasks.interest.weight=2.
Exit codes: 0 done, 1 failed, 2 wrong arguments, config or data, 130 and 143 after SIGINT and SIGTERM.
"""

from collections.abc import Sequence
from pathlib import Path
import sys

from absl import app, flags
from ml_collections import config_flags

from mtc import cli, parallel, train


def main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    experiment = cli.experiment(f.config, argv)
    if not f.workdir:
      raise ValueError("--workdir is missing; name a folder for this run, for example --workdir runs/a")
    parallel.initialize(f.coordinator, f.process_id, f.process_count, f.distributed)
    run = train.prepare(experiment, Path(f.workdir), command=sys.argv)
  try:
    sys.exit(run())
  except FloatingPointError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file("config", None, "A file with get_config() -> mtc.config.Experiment.")
  flags.DEFINE_string("workdir", "", "The folder of this run: config, metrics, checkpoints, scores, export.")
  flags.DEFINE_string("coordinator", "", "host:port of process 0, when several processes train together.")
  flags.DEFINE_integer("process_id", 0, "Which of the processes this one is.")
  flags.DEFINE_integer("process_count", 1, "How many processes there are.")
  flags.DEFINE_bool("distributed", False, "Find the other processes by itself: TPU pods, Slurm, Open MPI.")
  app.run(main, flags_parser=cli.parse_flags)
