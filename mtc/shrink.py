"""Makes a smaller model out of a larger one: fewer tokens, chosen by texts, and fewer layers. Nothing is trained.

python -m mtc.shrink --model intfloat/multilingual-e5-small --texts posts,en=books --tokens 16000 --output small
python -m mtc.shrink --model runs/a/export --layers 0,3,7,11 --output runs/a_four
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from mtc import cli
from mtc.embedder import save
from mtc.embedder.shrinking import Shrinking, shrink, summary


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if not f.model or not f.output:
      raise ValueError("name a model and the directory to write: --model=DIR --output=DIR")
    try:
      layers = tuple(int(layer) for layer in f.layers)
    except ValueError:
      raise ValueError(f"--layers {','.join(f.layers)} are not numbers of layers; write --layers=0,3,7,11") from None
    shrinking = Shrinking(f.tokens, layers, tuple(f.texts), tuple(f.field), f.balance, f.min_character_count)
    cli.check_output(f.output)
    report = shrink(f.model, Path(f.output), shrinking, f.dtype or "")
    print(f"{summary(report)}\nthe smaller model: {f.output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_string("output", "", "Directory to write the smaller model to. It must not exist.")
  flags.DEFINE_integer("tokens", 0, "Highest number of tokens to keep; 0 keeps all.")
  flags.DEFINE_list(
    "layers", [], "Numbers of the layers to keep, from 0, in increasing order. By default all are kept."
  )
  flags.DEFINE_list(
    "texts",
    [],
    "Files or directories of texts that choose the tokens: .txt, .jsonl, .parquet, task folders, or GROUP=PATH.",
  )
  flags.DEFINE_list("field", list(Shrinking.field), "Fields of rows that hold texts. A row needs one of them or more.")
  flags.DEFINE_float("balance", Shrinking.balance, "Exponent that balances groups: n tokens weigh n to this power.")
  flags.DEFINE_integer(
    "min_character_count", Shrinking.min_character_count, "Number of occurrences from which a character is kept."
  )
  flags.DEFINE_enum(
    "dtype",
    None,
    save.DTYPES,
    "Number type of the weights in the output, by default as in the model. q4_0 keeps 4-bit weights as they are.",
  )
  app.run(_main, flags_parser=cli.parse_flags)
