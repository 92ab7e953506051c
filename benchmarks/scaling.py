"""How a run grows: time, memory and compile time by batch, corpus, tasks and devices, each with its exponent.

python benchmarks/scaling.py --axis batch,texts,tasks,devices --model tiny

Each axis is walked with all else as in the base (--batch 1024 --texts 1000000 --tasks 4, one device); every setting
runs in a process of its own, a few steps with their input, and prints one JSON line. After each axis a line has the
growth exponents: 0 = it costs the same, 1 = twice as much is twice as dear, fitted over the points of the axis (least
squares of the logarithms). Devices are simulated: they share this machine's cores, so that time says what is lost.
Points that a machine is too small for are left out with --batch-points and its like.
"""

import argparse
import json
from pathlib import Path
import statistics
import subprocess
import sys
import time

from peak import peak_bytes

POINTS = {
  "batch": [1024, 4096, 16_384, 65_536],
  "texts": [10_000, 100_000, 1_000_000, 10_000_000],
  "tasks": [1, 4, 32],
  "devices": [1, 2, 4, 8],
}
GROWING = ("step_seconds", "input_seconds", "compile_seconds", "build_seconds", "temp_mib", "peak_mb")


def main() -> None:
  options = _options()
  if options.part:
    return print(json.dumps(measure(options)))
  for axis in options.axis:
    found = []
    for point in getattr(options, f"{axis}_points"):
      setting = {name: getattr(options, name) for name in POINTS} | {axis: point}
      result = _run(options, setting)
      print(json.dumps({"axis": axis} | setting | result), flush=True)
      if "failed" not in result:
        found.append((point, result))
    print(json.dumps({"axis": axis, "exponents": exponents(found)}), flush=True)


def measure(options: argparse.Namespace) -> dict:
  """Trains a few steps in this process."""
  import jax
  import step as step_benchmark

  from mtc import data, parallel

  jax.config.update("jax_num_cpu_devices", options.devices)
  began = time.perf_counter()
  setting = {name: getattr(options, name) for name in step_benchmark.Setting._fields if hasattr(options, name)}
  packer, train_step, state, _ = step_benchmark.make(step_benchmark.Setting(**setting))
  building = time.perf_counter() - began
  tried = [packer.step(number) for number in range(8)]
  shape = statistics.mode(step.tokens.ids.shape for step in tried)  # the others would be compiled too
  batch = next(step for step in tried if step.tokens.ids.shape == shape)
  began = time.perf_counter()
  compiled = parallel.compiled(train_step.lower(state, batch))
  compiling = time.perf_counter() - began

  times, inputs = [], []
  for _, made in data.make_input(packer.step, 0, 20 + 20 * options.steps, "threads", workers=1):
    if made.tokens.ids.shape != shape:
      continue
    began = time.perf_counter()
    state, _ = compiled(state, made)
    jax.block_until_ready(state)
    times.append(time.perf_counter() - began)
    if len(times) > options.steps:
      break
  for number in range(options.steps):
    began = time.perf_counter()
    packer.step(100 + number)
    inputs.append(time.perf_counter() - began)
  peak = peak_bytes() / 2**20
  return {
    "step_seconds": round(statistics.median(times[1:]), 4),
    "input_seconds": round(statistics.median(inputs), 5),
    "compile_seconds": round(compiling, 2),
    "build_seconds": round(building, 2),
    "temp_mib": step_benchmark.mebibytes(compiled)["temp"],
    "peak_mb": round(peak),
  }


def exponents(found: list[tuple[int, dict]]) -> dict[str, float]:
  """The slope of each measure over an axis, both in logarithms: [(1, {"s": 3}), (10, {"s": 30})] gives {"s": 1.0}."""
  import numpy as np

  if len(found) < 2:
    return {}
  at = np.log([point for point, _ in found])
  slopes = {
    name: np.polyfit(at, np.log([max(result[name], 1e-6) for _, result in found]), 1)[0]
    for name in found[0][1]
    if name in GROWING
  }
  return {name: round(float(slope), 2) for name, slope in slopes.items()}


def _run(options: argparse.Namespace, setting: dict[str, int]) -> dict:
  flags = [f"--{name}={value}" for name, value in setting.items()]
  command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], *flags, "--part"]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    return {"failed": (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]}
  return json.loads(done.stdout.splitlines()[-1])


def _options() -> argparse.Namespace:
  def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]

  def axes(text: str) -> list[str]:
    for name in text.split(","):
      if name not in POINTS:
        raise argparse.ArgumentTypeError(f"{name!r} is unknown; use {', '.join(POINTS)}")
    return text.split(",")

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--axis", type=axes, default=list(POINTS), help=f"of {', '.join(POINTS)}; default: all")
  for name, points in POINTS.items():
    parser.add_argument(f"--{name}-points", type=numbers, default=points, help="where this axis is measured")
  parser.add_argument("--batch", type=int, default=1024, help="pairs of a step, of all tasks and devices")
  parser.add_argument("--texts", type=int, default=1_000_000, help="of all tasks together")
  parser.add_argument("--tasks", type=int, default=4, help="that share the batch")
  parser.add_argument("--devices", type=int, default=1)
  parser.add_argument("--model", choices=("tiny", "minilm", "base"), default="tiny")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--length", type=int, default=128, help="tokens of a row")
  parser.add_argument("--chunks", type=int, default=1, help="of GradCache")
  parser.add_argument("--block", type=int, default=1024, help="columns of the logit matrix at a time; 0 = all")
  parser.add_argument("--steps", type=int, default=5, help="that are timed")
  parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if min(options.batch, options.tasks, options.devices, options.steps, options.chunks) < 1:
    parser.error("--batch, --tasks, --devices, --steps and --chunks are 1 or more")
  if options.batch < 2 * options.tasks or options.batch % options.tasks:
    parser.error(f"--batch={options.batch} does not give {options.tasks} tasks equal parts of 2 pairs or more")
  return options


if __name__ == "__main__":
  main()
