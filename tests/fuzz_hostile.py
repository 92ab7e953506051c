"""Looks for bad inputs that no test names: `python tests/fuzz_hostile.py --seconds 600 --seed 0`.

Every try takes one of the doors of `hostile_inputs`, damages a good input of it (bytes, or values of its JSON), and
brings it there. An answer is a result, ValueError or OSError within 20 seconds; whatever else is a finding: it is shown
with its traceback, its folder is kept, and the exit code is 1. The same seed makes the same tries, in the same order.
"""

import argparse
from collections import Counter
import contextlib
import json
import os
from pathlib import Path
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hostile_inputs as inputs
import hostile_table as table

from mtc import data

_SECONDS = 20  # that a door may take
_MEMORY = 24 * 2**30  # of addresses, most of them never used

ROW = {
  "anchor": "a note é \u200f\u202e\u200b",
  "positive": "the moon",
  "negatives": ["soup", "bread"],
  "anchor_id": "x",
  "positive_id": 7,
  "score": 1.5,
  "language": "en",
  "text": "a note about soup and the moon",
  "labels": ["l", 3],
  "id": "i",
  "text_a": "a",
  "text_b": "b",
}
KINDS = [
  data.Pairs(negatives="negatives"),
  data.SameLabel(),
  data.Crops(),
  data.Scored(),
  data.Translations(),
  data.Pairs(negatives="negatives", max_negatives=1),
]
JSONL = "\ufeff" + (json.dumps(ROW, ensure_ascii=False) + "\r\n") * 3
VALUES: list[Any] = [
  *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308),
  *(float("nan"), float("inf"), float("-inf"), "", " ", "\0", "\ud800", "\x1b[2J", "..", "/", "/etc/passwd"),
  *(
    "a" * 10**5,
    [],
    {},
    [[]],
    [{}],
    {"a": 1},
    [None],
    [1, 2],
    [0] * 1000,
    "bert",
    "llama",
    "gemma3_text",
    "modernbert",
  ),
  *("yarn", "linear", "mean", {"rope_type": "yarn", "factor": 2.0}, {"full_attention": 3}),
  *("Regex", {"Regex": "(a*)*$"}, {"String": ""}),
]
PIECES = [
  *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\xed\xa0\x80", b'"', b"{", b"}", b"[", b"]", b",", b":"),
  *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 5000, b"null", b"\\ud800", b"\\u0000", b"\t", b"[" * 10_000),
  *(b"\xf4\x90", b"\xff" * 8, b"\0" * 8, b"\xe2\x80\xae", b"\xe2\x80\x8b", b"\x7f" * 4),
]


def damaged(content: bytes, rng: random.Random) -> bytes:
  """The bytes with one to four changes."""
  made = bytearray(content)
  for _ in range(rng.choice((1, 1, 2, 4))):
    place = rng.randrange(len(made) + 1)
    match rng.randrange(7):
      case 0 if made:
        made[place % len(made)] ^= 1 << rng.randrange(8)
      case 1 if made:
        made[place % len(made)] = rng.randrange(256)
      case 2:
        made[place:place] = rng.choice(PIECES)
      case 3:
        del made[place : place + rng.choice((1, 2, 8, 100))]
      case 4:
        del made[place:]
      case 5:
        end = place + rng.choice((1, 10, 1000))
        made[place:place] = made[place:end] * rng.choice((1, 2, 50))
      case _:
        other = rng.randrange(len(made) + 1)
        made[place : place + 8] = made[other : other + 8]
  return bytes(made)


def changed(value: Any, rng: random.Random) -> Any:
  """The JSON value with one other value, or one entry more or less, somewhere in it."""
  if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, kept = rng.choice(keys), value.copy()
    if rng.random() < 0.1:
      del kept[key]
    else:
      kept[key] = changed(kept[key], rng)
    return kept
  return rng.choice(VALUES)


def damage_file(path: Path, rng: random.Random) -> None:
  """Changes a file: its values where it is JSON (half of the time), the header of weights, else its bytes."""
  content = path.read_bytes()
  if path.suffix == ".json" and rng.random() < 0.6:
    made = json.loads(content)
    for _ in range(rng.randint(1, 2)):
      made = changed(made, rng)
    path.write_text(json.dumps(made), "utf-8")
  elif path.suffix == ".safetensors" and rng.random() < 0.7:
    size = int.from_bytes(content[:8], "little")
    head, rest = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.5:
      path.write_bytes(inputs.safetensors(changed(json.loads(head), rng), rest))
    else:
      path.write_bytes(inputs.safetensors(damaged(head, rng), rest))
  else:
    path.write_bytes(damaged(content, rng))


def damage_folder(folder: Path, rng: random.Random) -> None:
  files = sorted(path for path in folder.rglob("*") if path.is_file())
  for path in rng.sample(files, min(len(files), rng.choice((1, 1, 1, 2)))):
    damage_file(path, rng)


def make_rows(folder: Path, rng: random.Random) -> None:
  if rng.random() < 0.5:
    rows = [json.dumps(changed(ROW, rng), ensure_ascii=rng.random() < 0.9) for _ in range(3)]
    (folder / "train.jsonl").write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
  else:
    (folder / "train.jsonl").write_bytes(damaged(JSONL.encode(), rng))


def make_gzip(folder: Path, rng: random.Random) -> None:
  (folder / "train.jsonl.gz").write_bytes(damaged(inputs.zipped(JSONL.encode() * 20), rng))


def make_beir(folder: Path, rng: random.Random) -> None:
  table.search()(folder)
  damage_folder(folder, rng)


def make_parquet(folder: Path, rng: random.Random) -> None:
  columns = {name: [value] * 40 for name, value in ROW.items() if name != "labels"} | {"labels": [["a", "b"]] * 40}
  inputs.table(**columns)(folder)
  damage_folder(folder, rng)


def make_texts(folder: Path, rng: random.Random) -> None:
  (folder / "en.txt").write_bytes(damaged("a note é about soup and the moon\r\nb\n".encode() * 3, rng))


def make_vectors(folder: Path, rng: random.Random) -> None:
  inputs.both(inputs.put("texts.jsonl", table.AB), inputs.npy(table.GOOD))(folder)
  damage_folder(folder, rng)


def make_tokenizer(folder: Path, rng: random.Random) -> None:
  source = rng.choice([json.loads(inputs.small_tokenizer().to_str()), table.TOKENIZER])
  (folder / "tokenizer.json").write_text(json.dumps(source), "utf-8")
  damage_folder(folder, rng)


def make_config(folder: Path, rng: random.Random) -> None:
  model_type = rng.choice("bert roberta mpnet modernbert llama mistral qwen2 qwen3 gemma3_text".split())
  more = {"rope_theta": 1e4, "rope_scaling": {"rope_type": rng.choice(["linear", "yarn", "llama3"]), "factor": 2.0}}
  more["rope_scaling"] |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
  more |= {"layer_types": ["full_attention"], "sliding_window": 8, "head_dim": 4, "layer_norm_eps": 1e-5}
  (folder / "config.json").write_text(json.dumps(table.BERT | {"model_type": model_type} | more), "utf-8")
  damage_folder(folder, rng)


def make_model(folder: Path, rng: random.Random) -> None:
  inputs.copied(inputs.small_model, lambda made: damage_folder(made, rng))(folder)


def make_adapter(folder: Path, rng: random.Random) -> None:
  inputs.copied(inputs.small_adapter, lambda made: damage_folder(made, rng))(folder)


def one(rng: random.Random) -> tuple[str, Any, inputs.Door]:
  """A name, a maker and a door."""
  kind = rng.choice(KINDS)
  skip = rng.choice(["stop", "skip"])
  return rng.choices(
    [
      ("jsonl", make_rows, inputs.prepared(inputs.jsonl, kind, on_bad_row=skip)),
      ("gzip", make_gzip, inputs.prepared(inputs.jsonl, kind, on_bad_row=skip)),
      ("beir", make_beir, inputs.prepared(inputs.beir, data.Pairs(), on_bad_row=skip)),
      ("parquet", make_parquet, inputs.prepared(inputs.parquet_folder, kind, on_bad_row=skip)),
      ("text", make_texts, inputs.prepared(inputs.lines_folder, data.Crops(least=1), on_bad_row=skip)),
      ("embed", make_texts, inputs.texts_of("en.txt")),
      ("npy", make_vectors, rng.choice([inputs.teacher, inputs.system])),
      ("tokenizer", make_tokenizer, inputs.tokenizer),
      ("config.json", make_config, inputs.config_json),
      ("model", make_model, inputs.model),
      ("adapter", make_adapter, inputs.adapter),
    ],
    weights=[4, 1, 2, 2, 1, 1, 2, 3, 4, 4, 2],
  )[0]


class Slow(BaseException):
  """A door took too long."""


def _too_slow(*unused) -> None:
  raise Slow(f"more than {_SECONDS} seconds")


def fuzz(seconds: float, seed: int, out: Any = sys.stdout) -> tuple[Counter[str], list[Path]]:
  """How many tries of each door there were, refused ones under `NAME refused`, and the folders of the findings."""
  signal.signal(signal.SIGALRM, _too_slow)
  for made in (inputs.small_model, inputs.small_adapter):  # before the clock starts
    made()
  counts, findings, end, number = Counter(), [], time.monotonic() + seconds, 0
  while time.monotonic() < end:
    rng = random.Random(f"{seed}/{number}")
    name, make, door = one(rng)
    folder = Path(tempfile.mkdtemp(prefix="mtc-fuzz-"))
    make(folder, rng)
    counts[name] += 1
    signal.alarm(_SECONDS)
    try:
      door(folder)
    except (ValueError, OSError):
      counts[f"{name} refused"] += 1
    except KeyboardInterrupt:
      raise
    except BaseException:
      signal.alarm(0)
      print(f"{name}, seed {seed}, try {number}, {folder}:\n{traceback.format_exc()[-3000:]}", file=out, flush=True)
      findings.append(folder)
    signal.alarm(0)
    number += 1
    if folder not in findings:
      shutil.rmtree(folder)
  return counts, findings


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--seconds", type=float, default=600)
  parser.add_argument("--seed", type=int, default=0)
  given = parser.parse_args()
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))  # more is a MemoryError, which is a finding
  counts, findings = fuzz(given.seconds, given.seed)
  for name in sorted(name for name in counts if not name.endswith(" refused")):
    print(f"{counts[name]:9,} {name}, of which {counts[f'{name} refused']:,} were refused")
  tries = sum(number for name, number in counts.items() if not name.endswith(" refused"))
  print(f"{tries:9,} tries in {given.seconds:.0f} s with seed {given.seed}: {len(findings)} findings")
  return int(bool(findings))


if __name__ == "__main__":
  sys.exit(main())
