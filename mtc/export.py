"""Writes a model as a directory that `mtc.load`, sentence-transformers and mostly Hugging Face and PEFT read, or as
NumPy arrays.

A smaller copy of a model directory:
  python -m mtc.export --model runs/a/export --output small --dtype float16
The same in 4 bits where a model was quantised to 4 bits, as mtc-mini was (only mtc reads it):
  python -m mtc.export --model mtc-mini --output small --dtype q4_0
Its weights as flat NumPy arrays:
  python -m mtc.export --model runs/a/export --numpy weights.npz
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from mtc import cli, models
from mtc.embedder import save
from mtc.embedder.embedder import load


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if not f.model or bool(f.numpy) == bool(f.output) or (f.numpy and not f.numpy.endswith(".npz")):
      raise ValueError("name a model and what to write: --model=runs/a/export, and --output=DIR or --numpy=weights.npz")
    if f.numpy:
      cli.check_parent("numpy", f.numpy)
      names = save.write_numpy(load(f.model), Path(f.numpy))
      print(f"{len(names)} float32 arrays in {f.numpy}, from {names[0]} to {names[-1]}")
      return
    cli.check_output(f.output)
    card = models.directory_of(f.model) / "README.md"
    save.write(load(f.model), Path(f.output), card.read_text(encoding="utf-8") if card.is_file() else "", f.dtype)
    print(f"the model in {f.dtype}: {f.output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_string("output", "", "Directory to write the model to. It must not exist.")
  flags.DEFINE_enum(
    "dtype", "float32", save.DTYPES, "Number type of the weights in the output. q4_0 keeps 4-bit weights as they are."
  )
  flags.DEFINE_string("numpy", "", "File .npz to write the weights to, instead of a model directory.")
  app.run(_main, flags_parser=cli.parse_flags)
