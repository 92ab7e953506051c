"""Embedding beside sentence-transformers: the same model and texts to NumPy, in turns.

python benchmarks/embed_vs_sentence_transformers.py --model minilm --texts 20000 --data DIR --peer-python PYTHON \\
  --dtype float32

DIR holds the tasks interest, storyline, hashtag and search_tweets, whose training texts are embedded; PYTHON is of an
environment with sentence-transformers. A randomly initialised BERT that transformers saves is loaded by both. They take
turns of a tenth of the texts; the first turn of each warms up. The peer sorts by length within a turn, as it always
does, with SDPA and `--peer-batch` texts at a time. The last line is the result, with the largest difference between
the two tools' vectors.
"""

import argparse
import json
import os
from pathlib import Path
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from peak import peak_bytes

TURNS = 10


def main() -> None:
  options = _options()
  if options.part:
    return {"mtc": embed_mtc, "peer": embed_peer}[options.part](options)
  folder = Path(tempfile.mkdtemp(prefix="embed_vs_"))
  try:
    print(json.dumps(compare(options, folder)))
  finally:
    shutil.rmtree(folder)


def compare(options: argparse.Namespace, folder: Path) -> dict:
  """Embeds in turns; prints a JSON line for each turn."""
  import numpy as np
  from train_vs_sentence_transformers import TASKS

  from mtc import data

  load = os.getloadavg()[0]
  if load > 0.5:
    print(f"warning: load average {load:.1f}: others use this machine, and the peer suffers more", file=sys.stderr)
  texts = []
  for task in TASKS:
    kind = data.Pairs() if task == "search_tweets" else data.SameLabel()
    texts += [row["anchor"] for row in data.read(data.Folder(task).resolve(options.data), "train", kind, "stop")]
  if len(texts) < options.texts:
    raise SystemExit(f"--texts={options.texts} is more than the {len(texts)} that {options.data} has")
  chosen = np.random.default_rng(0).permutation(len(texts))[: options.texts]
  (folder / "texts.json").write_text(json.dumps([texts[i] for i in chosen]), "utf-8")
  _part(options.peer_python, "weights", folder, script="train_vs_sentence_transformers.py").wait()

  running = {"mtc": _part(sys.executable, "mtc", folder), "peer": _part(options.peer_python, "peer", folder)}
  turns = {name: [] for name in running}
  try:
    for turn in range(TURNS):
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
  speed = {name: statistics.median(turn["texts_per_second"] for turn in done[1:]) for name, done in turns.items()}
  vectors = {name: np.load(folder / f"{name}.npy") for name in running}
  return {
    "model": options.model,
    "dtype": options.dtype,
    "texts": options.texts,
    "load_before": round(load, 2),
    "speedup": round(speed["mtc"] / speed["peer"], 3),
    "texts_per_second": speed,
    "peak_mb": {name: done[-1]["peak_mb"] for name, done in turns.items()},
    "largest_difference": float(np.abs(vectors["mtc"] - vectors["peer"]).max()),
  }


def embed_mtc(options: argparse.Namespace) -> None:
  import mtc
  from mtc import cli

  cli.set_up()
  model = mtc.load(options.folder / "weights", options.dtype)
  model.max_length = 128
  _turns(options, "mtc", model.encode)


def embed_peer(options: argparse.Namespace) -> None:
  from sentence_transformers import SentenceTransformer
  import torch

  kwargs = {"attn_implementation": "sdpa", "dtype": getattr(torch, options.dtype)}
  model = SentenceTransformer(str(options.folder / "weights"), device=options.peer_device, model_kwargs=kwargs)
  model.max_seq_length = 128

  def encode(texts: list[str]):
    found = model.encode(
      texts, batch_size=options.peer_batch, show_progress_bar=False, convert_to_tensor=True, normalize_embeddings=True
    )
    return found.float().cpu().numpy()

  _turns(options, "peer", encode)


def _turns(options: argparse.Namespace, name: str, encode) -> None:
  import numpy as np

  texts = json.loads((options.folder / "texts.json").read_text("utf-8"))
  size = len(texts) // TURNS
  made = []
  for turn in range(TURNS):
    if not sys.stdin.readline():
      return
    began = time.perf_counter()
    made.append(encode(texts[turn * size : (turn + 1) * size]))
    speed = size / (time.perf_counter() - began)
    peak = peak_bytes() / 2**20
    if turn == TURNS - 1:
      np.save(options.folder / f"{name}.npy", np.concatenate(made))
    print(json.dumps({"texts_per_second": round(speed, 1), "peak_mb": round(peak, 1)}), flush=True)


def _part(python: str, part: str, folder: Path, script: str = "") -> subprocess.Popen:
  path = Path(__file__).resolve()
  arguments = sys.argv[1:]
  if script:  # it knows only some of the flags
    path, arguments = path.with_name(script), _shared(arguments)
  command = [python, str(path), *arguments, "--part", part, "--folder", str(folder)]
  return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)


def _shared(arguments: list[str]) -> list[str]:
  parser = argparse.ArgumentParser(add_help=False)
  parser.add_argument("--texts")
  parser.add_argument("--peer-batch")
  return parser.parse_known_args(arguments)[1]


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--model", choices=("tiny", "minilm", "base"), default="minilm")
  parser.add_argument("--texts", type=int, default=20_000)
  parser.add_argument("--data", required=True, help="the folder of the four tasks")
  parser.add_argument("--tokenizer", default="", help="default: DATA/../tokenizers/bert-base-uncased")
  parser.add_argument("--peer-python", required=True)
  parser.add_argument("--peer-device", default="cpu", help="of sentence-transformers: cpu or cuda")
  parser.add_argument("--peer-batch", type=int, default=32)
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  for hidden in ("--part", "--folder"):
    parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.texts < TURNS:
    parser.error(f"--texts={options.texts} is less than one for each of the {TURNS} turns")
  options.folder = Path(options.folder)
  return options


if __name__ == "__main__":
  main()
