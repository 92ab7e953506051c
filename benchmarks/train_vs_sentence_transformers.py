"""Training beside sentence-transformers: the same weights, pairs, batches, loss, steps and optimizer, in turns.

python benchmarks/train_vs_sentence_transformers.py --model minilm --steps 40 --data DIR --peer-python PYTHON \\
  --dtype float32

DIR holds the tasks interest, storyline, hashtag and search_tweets; PYTHON is of an environment with
sentence-transformers. A randomly initialised BERT that transformers saves (or a StaticEmbedding) is trained by both on
the same pairs, each update on `--batch` pairs of every task. They take turns of `--round` steps, so that both meet the
same machine; the first turn of each warms up, and its time is not that of the result. Afterwards the same code scores
both.

The peer is as its documentation has it: SDPA, bfloat16 by autocast, no sampler that costs time, padding to the longest
text of a batch, and gradients of the four tasks' batches accumulated to one update; on a GPU four workers tokenise.
The last line is the result; `peak_mb` is of the device on a GPU (set XLA_PYTHON_CLIENT_PREALLOCATE=false there, so that
both have room), and of the process on CPU.
"""

import argparse
from collections.abc import Callable, Generator
import json
import os
from pathlib import Path
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from peak import peak_bytes

TASKS = ("interest", "storyline", "hashtag", "search_tweets")
SIZES = {"tiny": (2, 64, 2, 128), "minilm": (6, 384, 12, 1536), "base": (12, 768, 12, 3072)}
STATIC_WIDTH = 640  # of --model static, a static embedding
TEMPERATURE, LEARNING_RATE, WARMUP, LENGTH = 0.05, 1e-4, 0.1, 128


def main() -> None:
  options = _options()
  if options.part:
    return {"weights": make_weights, "mtc": train_mtc, "peer": train_peer, "score": score}[options.part](options)
  folder = Path(tempfile.mkdtemp(prefix="train_vs_"))
  try:
    print(json.dumps(compare(options, folder)))
  finally:
    shutil.rmtree(folder)


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
  """Trains both in turns and scores them; prints a JSON line for each turn."""
  load = os.getloadavg()[0]
  if load > 0.5:
    # Threads of PyTorch spin while they wait for each other: with a core taken away it can be ten times slower.
    print(f"warning: load average {load:.1f}: others use this machine, and the peer suffers more", file=sys.stderr)
  draw_pairs(options, folder)
  subprocess.run(_command(options.peer_python, "weights", folder), check=True)
  pythons = {"mtc": sys.executable, "peer": options.peer_python}
  # Each waits for a line before each of its turns, and answers with a line of JSON after it.
  running = {
    name: subprocess.Popen(
      _command(python, name, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    for name, python in pythons.items()
  }
  turns = {name: [] for name in running}
  try:
    for turn in range(options.steps // options.round + 1):  # the last one only saves the model
      for name, process in running.items():
        process.stdin.write("go\n")
        process.stdin.flush()
        answer = next((line for line in process.stdout if line.startswith('{"')), None)
        if answer is None:
          raise SystemExit(f"{name} ended in its turn {turn}; what it printed is above")
        turns[name].append(json.loads(answer))
        print(json.dumps({"tool": name, "turn": turn} | turns[name][-1]), flush=True)
  finally:
    for process in running.values():
      process.stdin.close()
      process.wait()
  found = {name: turn[-1] for name, turn in turns.items()}
  speed = {
    name: statistics.median(options.round * options.batch * len(TASKS) / t["seconds"] for t in turn[1:-1])
    for name, turn in turns.items()
  }
  scores = {name: _scored(folder, name) for name in running} if options.quality else {}
  return {
    "model": options.model,
    "dtype": options.dtype,
    "batch": options.batch,
    "load_before": round(load, 2),
    "steps": options.steps,
    "speedup": round(speed["mtc"] / speed["peer"], 3),
    "examples_per_second": {name: round(value, 2) for name, value in speed.items()},
    "start_seconds": {name: found[name]["start_seconds"] for name in found},
    "first_turn_seconds": {name: turns[name][0]["seconds"] for name in turns},
    "peak_mb": {name: found[name]["peak_mb"] for name in found},
    "quality": {name: scores[name]["mean"] for name in scores},
    "scores": {name: scores[name]["scores"] for name in scores},
  }


def draw_pairs(options: argparse.Namespace, folder: Path) -> None:
  """Writes the pairs of all steps, the same for both tools: a post with another of a label of it, or as they come."""
  import numpy as np

  from mtc import data

  rng = np.random.default_rng(0)
  for task in TASKS:
    kind = data.Pairs() if task == "search_tweets" else data.SameLabel()
    rows = list(data.read(data.Folder(task).resolve(options.data), "train", kind, "stop"))
    members: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
      for label in row["labels"]:
        members.setdefault(label, []).append(i)
    pairs = []
    while len(pairs) < options.steps * options.batch:
      for i in rng.permutation(len(rows)).tolist():
        positive = rows[i]["positive"]
        if positive is None:
          others = [j for j in members[rng.choice(rows[i]["labels"])] if j != i] if rows[i]["labels"] else []
          if not others:
            continue
          positive = rows[rng.choice(others)]["anchor"]
        pairs.append({"anchor": rows[i]["anchor"], "positive": positive})
    lines = [json.dumps(pair) + "\n" for pair in pairs[: options.steps * options.batch]]
    (folder / "pairs" / task).mkdir(parents=True)
    (folder / "pairs" / task / "train.jsonl").write_text("".join(lines), "utf-8")


def make_weights(options: argparse.Namespace) -> None:
  """Saves a randomly initialised BERT with the tokenizer, as transformers does, or a static embedding."""
  import torch
  from transformers import AutoTokenizer, BertConfig, BertModel

  tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
  torch.manual_seed(0)
  if options.model == "static":
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer.backend_tokenizer.enable_truncation(LENGTH)
    table = StaticEmbedding(tokenizer, embedding_dim=STATIC_WIDTH)
    SentenceTransformer(modules=[table], device="cpu").save(str(options.folder / "weights"))
    return
  layers, width, heads, mlp_width = SIZES[options.model]
  config = BertConfig(
    vocab_size=len(tokenizer),
    num_hidden_layers=layers,
    hidden_size=width,
    num_attention_heads=heads,
    intermediate_size=mlp_width,
  )
  BertModel(config, add_pooling_layer=False).save_pretrained(options.folder / "weights")
  tokenizer.save_pretrained(options.folder / "weights")


def train_mtc(options: argparse.Namespace) -> None:
  began = time.perf_counter()
  import jax

  from mtc import data, optim, parallel
  from mtc.config import Experiment, Task
  from mtc.embedder import save
  from mtc.embedder.start import make_sampler, model_and_data
  from mtc.losses import InfoNCE
  from mtc.models import ModelSpec
  from mtc.optim import OptimSpec
  from mtc.training import compile_ahead, step as step_lib

  experiment = Experiment(
    tasks={
      task: Task(
        data.Jsonl(str(options.folder / "pairs" / task)),
        data.Pairs(),
        InfoNCE(TEMPERATURE),
        options.batch,
        weight=1 / len(TASKS),
        max_length=LENGTH,
      )
      for task in TASKS
    },
    model=ModelSpec(pretrained=str(options.folder / "weights"), dim=0, pooling="mean", dtype=options.dtype),
    optim=OptimSpec(learning_rate=LEARNING_RATE, warmup=WARMUP, decay="linear"),
    steps=options.steps,
    cache_dir=str(options.folder / "cache"),
    diagnose_every=0,
  )
  experiment.validate()
  model, prepared = model_and_data(experiment, options.folder, {})
  packer = data.Packer(
    prepared, make_sampler(experiment, prepared), parallel.device_count(), parallel.local_devices(), length=options.row
  )
  optimizer = optim.make_optimizer(experiment.optim, experiment.steps)
  step = step_lib.make_train_step(model.encoder, experiment.tasks, optimizer, 0, packer.rows_per_chunk)
  like = step_lib.init_state(model.params, experiment.tasks, optimizer, shapes=True)
  step = compile_ahead.Ahead(step, like, packer.shapes())  # as mtc.main does
  state = parallel.replicate(step_lib.init_state(model.params, experiment.tasks, optimizer))
  batches = data.make_input(packer.step, 0, options.steps, "threads")

  def peak() -> int:
    """Of the device, or where it does not say so, as on CPU, of the process."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use") or peak_bytes()

  turns = _turns(options, time.perf_counter() - began, peak)
  next(turns)
  for number, batch in batches:
    state, metrics = step(state, batch)
    if (number + 1) % options.round == 0:
      jax.block_until_ready(state)
      turns.send({"loss": round(float(metrics["loss"]), 4)})
  save.write(model.inference(parallel.to_host(state.params["encoder"])), options.folder / "trained_mtc", "")
  turns.send({})


def train_peer(options: argparse.Namespace) -> None:
  began = time.perf_counter()
  import datasets
  from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
  )
  from sentence_transformers.sentence_transformer import losses
  import torch
  from transformers import TrainerCallback

  datasets.disable_progress_bars()
  on_cpu = options.peer_device == "cpu"
  attention = {} if options.model == "static" else {"model_kwargs": {"attn_implementation": "sdpa"}}
  model = SentenceTransformer(str(options.folder / "weights"), device=options.peer_device or None, **attention)
  if options.model != "static":
    model.max_seq_length = LENGTH
  pairs = {
    task: datasets.Dataset.from_list(
      [json.loads(line) for line in (options.folder / "pairs" / task / "train.jsonl").open()]
    )
    for task in TASKS
  }
  arguments = SentenceTransformerTrainingArguments(
    output_dir=str(options.folder / "peer"),
    max_steps=options.steps,
    per_device_train_batch_size=options.batch,
    gradient_accumulation_steps=len(TASKS),
    multi_dataset_batch_sampler="round_robin",
    learning_rate=LEARNING_RATE,
    weight_decay=0.01,
    warmup_steps=round(WARMUP * options.steps),
    bf16=options.dtype == "bfloat16",
    use_cpu=on_cpu,
    # On a GPU the host tokenises the next batches meanwhile; on CPU that would take its cores.
    dataloader_num_workers=0 if on_cpu else 4,
    save_strategy="no",
    logging_strategy="no",
    report_to="none",
    disable_tqdm=True,
    dataloader_pin_memory=not on_cpu,
  )

  class Turns(TrainerCallback):
    def on_train_begin(self, *_: Any, **__: Any) -> None:
      peak = peak_bytes if on_cpu else torch.cuda.max_memory_allocated
      self.turns = _turns(options, time.perf_counter() - began, peak)
      next(self.turns)

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
      if state.global_step % options.round == 0:
        if not on_cpu:
          torch.cuda.synchronize()
        self.turns.send({})

  turns = Turns()
  loss = losses.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
  trainer = SentenceTransformerTrainer(
    model=model, args=arguments, train_dataset=datasets.DatasetDict(pairs), loss=loss, callbacks=[turns]
  )
  trainer.train()
  model.save(str(options.folder / "trained_peer"))
  turns.turns.send({})


def _turns(
  options: argparse.Namespace, start_seconds: float, peak_memory: Callable[[], int]
) -> Generator[dict, dict, None]:
  """Waits for a line; each result sent here ends a turn, is printed with its time, and waits for the next line."""
  last = None
  while sys.stdin.readline():
    began = time.perf_counter()
    last = yield last
    peak = peak_memory() / 2**20
    told = {"seconds": time.perf_counter() - began, "peak_mb": peak, "start_seconds": start_seconds}
    print(json.dumps({name: round(value, 2) for name, value in told.items()} | last), flush=True)
  yield {}  # no further turn: the caller has one result left to send, and nobody waits for it


def score(options: argparse.Namespace) -> None:
  """Prints how well a trained model does on the validation splits of the four tasks."""
  sys.path.insert(0, str(Path(__file__).parent.parent))
  from configs.multitask import get_config
  from mtc.embedder import embedder
  from mtc.evaluation import scoring, tables as tables_lib

  experiment = get_config()
  experiment.data_dir = options.data
  experiment.evaluations = {name: experiment.evaluations[name] for name in TASKS}
  tables = tables_lib.read_tables(experiment, "validation")
  model = embedder.load(options.folder / options.trained)
  model.max_length = min(model.max_length, LENGTH)
  scores = scoring.primary_metrics(scoring.score(model.encode, tables, experiment.evaluations))
  mean = statistics.mean(float(value) for value in scores.values())
  print(
    json.dumps({"mean": round(mean, 4), "scores": {name: round(float(value), 4) for name, value in scores.items()}})
  )


def _scored(folder: Path, name: str) -> dict[str, Any]:
  command = [*_command(sys.executable, "score", folder), "--trained", f"trained_{name}"]
  return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _command(python: str, part: str, folder: Path) -> list[str]:
  return [python, str(Path(__file__).resolve()), *sys.argv[1:], "--part", part, "--folder", str(folder)]


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--model", choices=[*SIZES, "static"], default="minilm")
  parser.add_argument("--steps", type=int, default=40, help="of the whole, a multiple of --round")
  parser.add_argument("--round", type=int, default=5, help="steps of a turn")
  parser.add_argument("--batch", type=int, default=64, help="pairs of each task in a step")
  parser.add_argument("--row", type=int, default=0, help="tokens of a packed row; 0 = the longest text")
  parser.add_argument("--data", required=True, help="the folder of the four tasks")
  parser.add_argument("--tokenizer", default="", help="default: DATA/../tokenizers/bert-base-uncased")
  parser.add_argument("--peer-python", required=True)
  parser.add_argument("--peer-device", default="cpu", help="of sentence-transformers: cpu or cuda")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument(
    "--quality", action=argparse.BooleanOptionalAction, default=True, help="score both; it takes longer than few steps"
  )
  for hidden in ("--part", "--folder", "--trained"):
    parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.round < 1 or options.steps % options.round or options.steps < 2 * options.round:
    parser.error(f"--steps={options.steps} is not two or more turns of --round={options.round}")
  options.tokenizer = options.tokenizer or str(Path(options.data).parent / "tokenizers" / "bert-base-uncased")
  options.folder = Path(options.folder)
  return options


if __name__ == "__main__":
  main()
