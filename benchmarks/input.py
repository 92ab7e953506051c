"""The input pipeline alone: sampling and packing, ahead of time and in order, with nobody who trains.

python benchmarks/input.py --batch 256,4096 --input threads,tf --workers 1,2

An option with a comma is swept: each combination prints one JSON line. Texts are random tokens whose lengths are spread
as those of posts, packed as in training. `alone` is what one thread takes for the parts of a step, without a pipeline
around them. TensorFlow is imported for `--input tf` only, and its import is not timed.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from typing import Any

import numpy as np
import step as step_benchmark

from mtc import data

INPUTS = ("threads", "tf")
SWEPT = ("batch", "tasks", "length", "input", "workers")


def main() -> None:
  options = _options()
  for chosen in itertools.product(*(getattr(options, name) for name in SWEPT)):
    setting = dict(zip(SWEPT, chosen))
    print(json.dumps({"cores": os.cpu_count(), "texts": options.texts} | setting | measure(options, **setting)))


def measure(options: argparse.Namespace, batch: int, tasks: int, length: int, input: str, workers: int) -> dict:
  """Times one setting."""
  pairs = options.texts // tasks // 2
  prepared = {f"task{i}": step_benchmark.texts(i, length, options.mean_length, pairs) for i in range(tasks)}
  sampler = data.Sampler(prepared, dict.fromkeys(prepared, batch // tasks), seed=0)
  began = time.perf_counter()
  packer = data.Packer(prepared, sampler, options.devices, chunks=1, length=length)
  planning = time.perf_counter() - began
  for _ in data.make_input(packer.step, 0, 2, input, workers):  # TensorFlow's import, and the first epoch's order
    pass
  alone = {"sample_ms": sampler.sample, "step_ms": packer.step}
  alone = {name: [_seconds(part, n) for n in range(1, 1 + options.steps)] for name, part in alone.items()}

  found = []
  for repeat in range(options.repeats):
    first = 2 + repeat * options.steps
    began = time.perf_counter()
    for _ in data.make_input(packer.step, first, first + options.steps, input, workers):
      pass
    found.append(options.steps * batch / (time.perf_counter() - began))
  rows = packer.step(2).tokens.segment
  return {
    "examples_per_second": round(statistics.median(found)),
    "tokens_per_second": round(statistics.median(found) * np.count_nonzero(rows) / batch),
    "padding": round(1 - np.count_nonzero(rows) / rows.size, 4),
    "plan_seconds": round(planning, 2),
    "alone": {name: round(1e3 * statistics.median(times), 3) for name, times in alone.items()},
  }


def _seconds(function: Any, number: int) -> float:
  began = time.perf_counter()
  function(number)
  return time.perf_counter() - began


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  numbers = step_benchmark.numbers
  parser.add_argument("--batch", type=numbers, default=[1024], help="pairs of a step, of all tasks; swept")
  parser.add_argument("--tasks", type=numbers, default=[4], help="that share the batch; swept")
  parser.add_argument("--length", type=numbers, default=[128], help="tokens of a row; swept")
  parser.add_argument("--input", type=step_benchmark.names(INPUTS), default=["threads"], help="threads, tf; swept")
  parser.add_argument("--workers", type=numbers, default=[os.cpu_count() or 1], help="threads; swept")
  parser.add_argument("--texts", type=int, default=500_000, help="of all tasks together")
  parser.add_argument("--mean-length", type=float, default=22, help="tokens of a typical text")
  parser.add_argument("--devices", type=int, default=1, help="that the rows are dealt to")
  parser.add_argument("--steps", type=int, default=50, help="of each repeat")
  parser.add_argument("--repeats", type=int, default=3, help="whose median is the result")
  options = parser.parse_args()
  for name in ("batch", "tasks", "length", "workers", "devices", "steps", "repeats"):
    value = getattr(options, name)
    if (min(value) if isinstance(value, list) else value) < 1:
      parser.error(f"--{name}={value} is not positive; use 1 or more")
  for batch, tasks in itertools.product(options.batch, options.tasks):
    if batch % tasks or options.texts < 2 * batch:
      parser.error(f"--batch={batch} is not shared equally by --tasks={tasks}, or takes over --texts={options.texts}")
  return options


if __name__ == "__main__":
  main()
