"""Time and memory of scoring vectors: a search of many documents, exactly, on made vectors.

python benchmarks/evaluate.py [--documents 100000] [--queries 10000] [--dim 256] [--threads 2]

Prints one JSON line. The vectors exist before the clock starts; the memory is the peak of the whole process, with them.
"""

import argparse
import json
import os
import sys
import time

from peak import peak_bytes


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--documents", type=int, default=100_000)
  parser.add_argument("--queries", type=int, default=10_000)
  parser.add_argument("--dim", type=int, default=256)
  parser.add_argument("--threads", type=int, default=2, help="cores to use")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  for name in ("documents", "queries", "dim", "threads"):
    if getattr(options, name) < 1:
      parser.error(f"--{name}={getattr(options, name)} is not positive; use 1 or more")

  # BLAS reads these when NumPy is imported.
  os.environ.update({f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "OPENBLAS", "MKL")})
  import numpy as np

  from mtc.evaluators import Retrieval, Search

  if sys.platform == "linux":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
  rng = np.random.default_rng(options.seed)
  rows = {
    "document": rng.standard_normal((options.documents, options.dim), np.float32),
    "query": rng.standard_normal((options.queries, options.dim), np.float32),
  }
  answers = rng.integers(0, options.documents, options.queries)
  rows["query"] += 0.3 * rows["document"][answers]  # so that answers are found, and not always first
  table = Search(
    {str(i): str(i) for i in range(options.queries)},
    {str(i): str(i) for i in range(options.documents)},
    {str(i): {str(answer): 1} for i, answer in enumerate(answers)},
  )

  began = time.perf_counter()
  scores = Retrieval()(lambda texts, role="document": rows[role][[int(text) for text in texts]], table)
  seconds = time.perf_counter() - began
  peak = peak_bytes()
  print(
    json.dumps(vars(options) | {"seconds": round(seconds, 2), "peak_gib": round(peak / 2**30, 2), "scores": scores})
  )


if __name__ == "__main__":
  main()
