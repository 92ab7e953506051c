"""Mines hard negatives: documents near a query that are no answers to it, written next to the pairs.

python -m mtc.mine --model runs/a/export --config configs/multitask.py --task search_tweets --output hard.jsonl
python -m mtc.mine --model DIR --input pairs.jsonl [--corpus more.txt] --output hard.jsonl --relative_margin 0.05
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags
import numpy as np

from mtc import cli, data
from mtc.embedder import mining
from mtc.embedder.embedder import load
from mtc.evaluators.encoder import vectors


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    settings = mining.Mining(**{name: getattr(f, name) for name in mining.Mining.__dataclass_fields__})
    settings.validate()
    if not f.model or not f.output or bool(f.config) == bool(f.input):
      raise ValueError(
        "name a model, pairs and where to write: --model=DIR --config=CONFIG --task=NAME --output=hard.jsonl, "
        "or --input=pairs.jsonl instead of config and task"
      )
    output = Path(f.output)
    if output.suffix != ".jsonl" or not output.absolute().parent.is_dir():
      raise ValueError(f"--output {output} is not a .jsonl in a directory that exists")
    if f.config:
      experiment = cli.experiment(f.config, argv)
      on_bad_row, (source, examples, roles) = experiment.on_bad_row, mining.of_task(experiment, f.task)
    else:
      on_bad_row, source, roles = "stop", mining.of_path(Path(f.input), f.split), ("query", "document")
      examples = data.Pairs(f.anchor, f.positive)
    more = list(data.read_texts(Path(f.corpus), f.field)) if f.corpus else []
    skipped = data.Skipped(on_bad_row)
    rows, texts = mining.read_task(source, f.split, examples, skipped, more)
    if counts := skipped.counts():
      print(f"split {f.split!r}: {data.in_words(counts)}", flush=True)
    model = load(f.model)

    def encode(texts: Sequence[str], role: str = "document") -> np.ndarray:
      return model.encode(texts, role, f.dim or None, progress=True)

    queries = vectors(encode, texts.queries, roles[0])
    documents = vectors(encode, texts.documents, roles[1])
    chosen, became = mining.choose(queries, documents, texts, settings, progress=True)
    print(mining.report(output, texts, mining.write(output, rows, texts, chosen), became))


if __name__ == "__main__":
  cli.set_up()
  config_flags.DEFINE_config_file(
    "config", None, "Python file whose get_config() returns the mtc.config.Experiment with the task."
  )
  flags.DEFINE_string("task", "", "Name of the task of the config to mine negatives for; its examples must be pairs.")
  flags.DEFINE_string("input", "", "Pairs to use instead of a task: .jsonl, .jsonl.gz, .parquet or a data folder.")
  flags.DEFINE_string("anchor", "anchor", "Field of the query in the rows of --input.")
  flags.DEFINE_string("positive", "positive", "Field of the answer in the rows of --input.")
  flags.DEFINE_string("split", "train", "Split of the pairs to read.")
  flags.DEFINE_string("corpus", "", "File of further documents to choose from: .jsonl, .jsonl.gz, .parquet or .txt.")
  flags.DEFINE_string("field", "text", "Field that holds the text in --corpus.")
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_integer("dim", 0, "Number of leading dimensions to compare; 0 compares all.", lower_bound=0)
  flags.DEFINE_string("output", "", "File .jsonl to write the pairs with their negatives to.")
  flags.DEFINE_integer("num_negatives", 3, "Highest number of negatives per query.")
  flags.DEFINE_integer("range_min", 0, "Number of nearest documents to skip.")
  flags.DEFINE_integer("range_max", 0, "Number of nearest documents to consider; 0 is range_min + 10 * num_negatives.")
  flags.DEFINE_float(
    "absolute_margin", None, "Least difference between the cosine of the positive and that of a negative."
  )
  flags.DEFINE_float(
    "relative_margin", None, "Least difference between both cosines as a share of that of the positive; 0.05 is usual."
  )
  flags.DEFINE_float("max_score", None, "Highest cosine that a negative may have.")
  flags.DEFINE_float("min_score", None, "Lowest cosine that a negative may have.")
  flags.DEFINE_enum("sampling", "top", ["top", "random"], "Take the nearest of the documents left, or random ones.")
  flags.DEFINE_integer("seed", 0, "Seed of --sampling=random.")
  app.run(_main, flags_parser=cli.parse_flags)
