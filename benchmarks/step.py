"""The training step alone, on made batches: tokens/s, the share of the matrix peak, and memory by XLA's own analysis.

python benchmarks/step.py --model base --dtype bfloat16 --batch 256,1024 --length 64,128 --chunks 1,4

An option with a comma is swept: each combination prints one JSON line, after one with the machine's matrix peak. Texts
are random tokens whose lengths are spread as those of posts, packed as in training. It needs neither data nor
TensorFlow: jax, flax, optax, safetensors, tokenizers, tqdm and mtc (`pip install --no-deps mtc-*.whl`) will do.

`mfu` is that of training (mtc/training/flops.py): what real tokens need against the peak measured in this run, in the
same dtype. Padding, recomputing and the optimizer do not count as useful work.
"""

import argparse
from collections.abc import Callable
import itertools
import json
import statistics
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from mtc import data, losses, models, optim, parallel
from mtc.config import Task
from mtc.models import ModelSpec
from mtc.models.spec import DTYPES
from mtc.optim import OptimSpec
from mtc.training import flops, step as step_lib
from mtc.types import Step, TrainState

MODELS = {
  "tiny": {"layers": 2, "width": 64, "heads": 2, "mlp_width": 128},
  "minilm": {"layers": 6, "width": 384, "heads": 12, "mlp_width": 1536},
  "base": {"layers": 12, "width": 768, "heads": 12, "mlp_width": 3072},
}
LOSSES = {
  "infonce": lambda block: losses.InfoNCE(block=block),
  "symmetric": lambda block: losses.InfoNCE(directions=("query_to_doc", "doc_to_query"), block=block),
  "sigmoid": lambda block: losses.Sigmoid(block=block),
}
VOCABULARY = 30_522
SWEPT = ("batch", "length", "chunks", "dtype", "loss")


def main() -> None:
  options = _options()
  if options.devices:
    jax.config.update("jax_num_cpu_devices", options.devices)
  if options.devices and jax.device_count() != options.devices:
    raise SystemExit(f"--devices={options.devices}, and there are {jax.device_count()}; hide the others from jax")
  device = {"device": parallel.describe(), "jax": jax.__version__}
  peaks = {dtype: flops.matrix_peak(dtype) for dtype in options.dtype}
  print(json.dumps(device | {"tflops_peak": {dtype: round(peak / 1e12, 3) for dtype, peak in peaks.items()}}))
  for chosen in itertools.product(*(getattr(options, name) for name in SWEPT)):
    setting = dict(zip(SWEPT, chosen))
    try:
      kept = Setting(**{name: getattr(options, name) for name in Setting._fields if hasattr(options, name)} | setting)
      result = measure(kept, peaks[setting["dtype"]], options.steps, options.repeats)
    except jax.errors.JaxRuntimeError as error:
      result = {"failed": str(error).splitlines()[0]}
    print(json.dumps(device | {"model": options.model, "tasks": options.tasks} | setting | result), flush=True)


class Setting(NamedTuple):
  """What a step is made of."""

  model: str = "minilm"
  architecture: str = "bert"
  batch: int = 256  # pairs of a step, of all tasks and devices
  length: int = 128  # tokens of a row
  chunks: int = 1  # of GradCache
  dtype: str = "bfloat16"
  loss: str = "infonce"
  block: int = 0  # columns of the logit matrix at a time; 0 = all
  tasks: int = 4  # that share the batch
  texts: int = 0  # of all tasks together; 0 = a few more than a step holds
  mean_length: float = 22  # tokens of a typical text
  dropout: float = 0.1


class Made(NamedTuple):
  """All that it takes to train on made texts; the state is on the devices."""

  packer: data.Packer
  train_step: Callable
  state: TrainState
  operations: Callable[[Step], float]  # that a batch takes


def make(setting: Setting) -> Made:
  """Makes texts, model and step of one setting."""
  spec = ModelSpec(
    architecture=setting.architecture,
    **MODELS[setting.model],
    vocab_size=VOCABULARY,
    positions=max(512, setting.length),
    dim=0,
    dropout=setting.dropout,
    dtype=setting.dtype,
  )
  config = models.scratch_config(spec, 0)
  encoder = models.build(config, spec)
  tasks = {f"task{i}": Task(data.InMemory({}), loss=LOSSES[setting.loss](setting.block)) for i in range(setting.tasks)}
  pairs = setting.texts // setting.tasks // 2 or 2 * max(setting.batch, 256)
  prepared = {name: texts(i, setting.length, setting.mean_length, pairs) for i, name in enumerate(tasks)}
  sampler = data.Sampler(prepared, dict.fromkeys(tasks, setting.batch // setting.tasks), seed=0)
  packer = data.Packer(
    prepared, sampler, parallel.device_count(), parallel.local_devices(), setting.chunks, setting.length
  )
  optimizer = optim.make_optimizer(OptimSpec(), 1000)
  params = encoder.init(jax.random.key(0))
  state = parallel.replicate(step_lib.init_state(params, tasks, optimizer))
  train_step = step_lib.make_train_step(encoder, tasks, optimizer, 0, packer.rows_per_chunk)
  operations = flops.step_flops(models.training_work(config, params, params), tasks, spec.width)
  return Made(packer, train_step, state, operations)


def measure(setting: Setting, peak: float, steps: int, repeats: int) -> dict[str, Any]:
  """Times one setting; `peak`: operations a second of all devices."""
  packer, train_step, state, operations = make(setting)
  batch = packer.step(0)

  began = time.perf_counter()
  compiled = parallel.compiled(train_step.lower(state, batch))
  compiling = time.perf_counter() - began
  seconds = _time(compiled, state, batch, steps, repeats)

  segment = np.asarray(batch.tokens.segment)
  real = int(np.count_nonzero(segment))
  return {
    "rows": list(segment.shape),
    "padding": round(1 - real / segment.size, 4),
    "seconds_per_step": round(seconds, 4),
    "tokens_per_second": round(real / seconds),
    "pairs_per_second": round(setting.batch / seconds, 1),
    "mfu": round(operations(batch) / seconds / peak, 4),
    "compile_seconds": round(compiling, 1),
    "mib": mebibytes(compiled),
  }


def mebibytes(compiled: Any) -> dict[str, float]:
  """What a compiled function holds on one device, by XLA's own analysis."""
  memory = compiled.memory_analysis()
  return {name: round(getattr(memory, f"{name}_size_in_bytes") / 2**20, 1) for name in ("argument", "output", "temp")}


def texts(seed: int, length: int, mean: float, pairs: int) -> data.Prepared:
  """Pairs of random texts: lengths are log-normal around `mean`, as those of posts, and at most `length`."""
  rng, n = np.random.default_rng(seed), pairs
  lengths = np.clip(rng.lognormal(np.log(mean), 0.5, 2 * n).astype(np.int64), 3, length)
  return data.Prepared(
    tokens=rng.integers(0, VOCABULARY, lengths.sum(), np.int32),
    offsets=np.concatenate([[0], np.cumsum(lengths)]),
    anchor=np.arange(n, dtype=np.int32),
    positive=np.arange(n, 2 * n, dtype=np.int32),
    negatives=np.zeros((n, 0), np.int32),
    score=None,
    labels=np.zeros(0, np.int32),
    label_offsets=np.zeros(n + 1, np.int64),
    keys=np.arange(2 * n, dtype=np.int32).reshape(2, n).T,
    text_keys=np.arange(2 * n, dtype=np.int32),
    report={},
  )


def _time(step: Callable, state: Any, batch: Any, steps: int, repeats: int) -> float:
  """The median over `repeats` of the mean time of a step; the devices never wait for the host within a repeat."""
  state, _ = step(state, batch)
  jax.block_until_ready(state)
  found = []
  for _ in range(repeats):
    began = time.perf_counter()
    for _ in range(steps):
      state, _ = step(state, batch)
    jax.block_until_ready(state)
    found.append((time.perf_counter() - began) / steps)
  return statistics.median(found)


def timed(work: Callable[[], Any]) -> float:
  """How long some work on the devices takes."""
  began = time.perf_counter()
  jax.block_until_ready(work())
  return time.perf_counter() - began


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--model", choices=MODELS, default="minilm")
  parser.add_argument("--architecture", choices=("bert", "modernbert"), default="bert")
  parser.add_argument("--batch", type=numbers, default=[256], help="pairs of a step, of all tasks and devices; swept")
  parser.add_argument("--length", type=numbers, default=[128], help="tokens of a row; swept")
  parser.add_argument("--chunks", type=numbers, default=[1], help="GradCache chunks; swept")
  parser.add_argument("--dtype", type=names(DTYPES), default=["bfloat16"], help="swept")
  parser.add_argument("--loss", type=names(LOSSES), default=["infonce"], help=f"of {', '.join(LOSSES)}; swept")
  parser.add_argument("--block", type=int, default=0, help="columns of the logit matrix at a time; 0 = all")
  parser.add_argument("--tasks", type=int, default=4, help="that share the batch")
  parser.add_argument("--mean-length", type=float, default=22, help="tokens of a typical text")
  parser.add_argument("--dropout", type=float, default=0.1)
  parser.add_argument("--devices", type=int, default=0, help="that jax makes of a CPU; 0 = all there are, as they are")
  parser.add_argument("--steps", type=int, default=5, help="of each repeat")
  parser.add_argument("--repeats", type=int, default=3, help="whose median is the result")
  options = parser.parse_args()
  for name in ("batch", "length", "chunks", "tasks", "mean_length", "steps", "repeats"):
    value = getattr(options, name)
    if (min(value) if isinstance(value, list) else value) < 1:
      parser.error(f"--{name.replace('_', '-')}={value} is not positive; use 1 or more")
  if min(options.batch) < 2 * options.tasks or any(n % options.tasks for n in options.batch):
    parser.error(f"--batch={options.batch} does not give {options.tasks} tasks equal parts of 2 pairs or more")
  return options


def numbers(text: str) -> list[int]:
  """ "1,2" -> [1, 2], for an option that is swept."""
  return [int(part) for part in text.split(",")]


def names(known: Any) -> Callable[[str], list[str]]:
  """The same for names, each one of `known`."""

  def read(text: str) -> list[str]:
    for name in text.split(","):
      if name not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is unknown; use {', '.join(known)}")
    return text.split(",")

  return read


if __name__ == "__main__":
  main()
