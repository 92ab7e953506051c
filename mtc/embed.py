"""Encodes texts as vectors: python -m mtc.embed for files, `mtc.load(directory).encode(texts)` in Python.

The vectors of one file of texts:

  python -m mtc.embed --model runs/a/export --input posts.jsonl --output posts.npy [--role query] [--dim 50]

The vectors of all files that the teachers of a config name, for distillation:

  python -m mtc.embed --model TEACHER --config CONFIG [--config.data_dir=DIR]

Row i of a .npy is the vector of text i. The same command continues after an interruption. With --config it skips
finished files, and refuses a .npy that was made from other texts or by another model. A NAME.npy.json beside each .npy
holds what it was made from.

To use N machines for one file, add --shard I/N on each, with I from 0 to N - 1. Then run --output posts.npy --merge N
where all the files are.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from mtc import cli
from mtc.embedder import manifest, shards, vector_files
from mtc.embedder.embedder import load


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if f.config is not None:
      _embed_config(argv)
      return
    for name in ("output",) if f.merge else ("model", "input", "output"):
      if not getattr(f, name):
        raise ValueError(
          f"--{name} is missing; for example --model runs/a/export --input posts.jsonl --output posts.npy"
        )
    source, output, shard = Path(f.input), Path(f.output), shards.parse(f.shard or "0/1")
    if output.suffix != ".npy":
      raise ValueError(f"--output {output} does not end in .npy")
    cli.check_parent("output", output)
    if f.merge:
      with vector_files.locked(output):
        count = shards.merge(output, f.merge)
      print(f"{count:,} vectors in {output}")
      return
    if f.shard:
      output = shards.path(output, shard)
    model = load(f.model, f.compute)
    stamp = vector_files.settings_of(f.model, f.role, f.dim, f.dtype, f.compute)
    stamp |= {"input": manifest.digest(source), "field": f.field}
    with vector_files.locked(output):
      count = vector_files.embed_file(
        model, source, output, field_name=f.field, role=f.role, dim=f.dim, dtype=f.dtype, stamp=stamp, shard=shard
      )
  print(f"{count:,} vectors in {output}")


def _embed_config(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  for name in ("input", "output", "field", "shard", "merge"):
    if f[name].present:
      raise ValueError(f"--{name} is for one file, and the Vectors of --config name theirs; leave out one of the two")
  if not f.model:
    raise ValueError("--model is missing; for example --model runs/a/export --config configs/multitask.py")
  experiment = cli.experiment(f.config, argv)
  vector_files.embed_teachers(
    experiment, f.model, role=f.role, dim=f.dim, dtype=f.dtype, compute=f.compute, overwrite=f.overwrite
  )


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_string(
    "input",
    "",
    "File of the texts: .jsonl, .parquet, or .txt with one text per line; .jsonl and .txt may have .gz too.",
  )
  flags.DEFINE_string("field", "text", "Field that holds the text in JSONL and Parquet.")
  flags.DEFINE_string("output", "", "File .npy to write. Row i is the vector of text i of the input.")
  config_flags.DEFINE_config_file(
    "config",
    None,
    "Python file whose get_config() returns an mtc.config.Experiment. The texts of all Vectors that its tasks name are"
    " embedded, instead of --input.",
  )
  flags.DEFINE_bool("overwrite", False, "With --config: replace each .npy that was made in another way.")
  flags.DEFINE_string(
    "role",
    "document",
    "Role whose prompt is put before each text: query or document. Vectors(..., role=...) in --config comes first.",
  )
  flags.DEFINE_integer("dim", 0, "Number of leading dimensions to keep; 0 keeps all.", lower_bound=0)
  flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Number type of the vectors in the output.")
  flags.DEFINE_string(
    "shard", "", "Part of the input to embed, as I/N with I from 0 to N - 1; it is written to OUTPUT.I-of-N.npy."
  )
  flags.DEFINE_integer(
    "merge", 0, "Number of shards whose files are joined to the output, without embedding; 0 embeds.", lower_bound=0
  )
  flags.DEFINE_enum("compute", "float32", ["float32", "bfloat16"], "Number type in which the encoder computes.")
  app.run(_main, flags_parser=cli.parse_flags)
