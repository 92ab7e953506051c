"""A smaller model out of a larger one: fewer tokens, chosen by texts, and fewer layers. Nothing is trained.

python -m mtc.shrink --model intfloat/multilingual-e5-small --texts posts,en=books --tokens 16000 --output small
python -m mtc.shrink --model runs/a/export --layers 0,3,7,11 --output runs/a_four
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import json
from pathlib import Path
import shutil
from typing import Any

from absl import app, flags
import jax

from mtc import card, cli, data, export, models, whole
from mtc.embed import Embedder, load

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")


@dataclass(frozen=True)
class Shrinking:
  """What is kept of a model.

  Attributes:
    tokens: at most so many tokens, chosen by the texts; 0 = all.
    layers: from 0, increasing; none = all.
    texts: files and directories, see `data.read_groups`.
    field: the fields of rows that hold texts.
    balance: a group of texts with n tokens weighs n ** balance.
    min_character_count: a character that stands so often in the texts has its token kept.
  """

  tokens: int = 0
  layers: tuple[int, ...] = ()
  texts: tuple[str, ...] = ()
  field: tuple[str, ...] = ("text", "text_a", "text_b", "anchor", "positive")
  balance: float = 0.5
  min_character_count: int = 10

  def validate(self) -> None:
    """Raises ValueError where nothing is left out, or fields do not go together or are out of range."""
    if not self.tokens and not self.layers:
      raise ValueError("name what to keep: --tokens=16000 with --texts=DIR, or --layers=0,3,7,11, or both")
    if bool(self.tokens) != bool(self.texts):
      given, lacking = ("tokens", "texts") if self.tokens else ("texts", "tokens")
      raise ValueError(f"--{given} is given without --{lacking}; the texts choose which tokens are kept")
    if self.tokens < 0 or not 0 <= self.balance <= 1 or self.min_character_count < 1 or not all(self.field):
      raise ValueError(
        f"tokens={self.tokens}, balance={self.balance}, min_character_count={self.min_character_count} and "
        f"field={','.join(self.field)} must be 0 or more, in [0, 1], 1 or more, and names"
      )


def shrink(model: str, output: Path, shrinking: Shrinking, dtype: str = "") -> dict[str, Any]:
  """Writes the smaller model, whole or not at all, and returns what its shrink.json holds.

  Args:
    model: a directory, a name on the Hugging Face hub, or "mtc-mini".
    output: the directory to write.
    shrinking: what is kept.
    dtype: of the weights, one of `export.DTYPES`; "" = as those of the model.

  Raises:
    ValueError: the model cannot be read or made smaller so, or the texts cannot be read.
  """
  shrinking.validate()
  root = models.resolve(model, f"the model {model}")
  large = load(root)
  source = Path(large.spec.pretrained)
  tokenizer = data.tokenizer.within(data.tokenizer.load(str(source)), large.config["vocab_size"])
  config = {name: value for name, value in large.config.items() if name != "auto_map"}  # its code stays behind
  backbone, coverage, count = large.params["backbone"], {}, tokenizer.get_vocab_size()
  before = models.sizes(config).layers
  if shrinking.layers:
    backbone, config = models.keep_layers(backbone, config, shrinking.layers)
  if shrinking.tokens:
    kept, tokenizer, coverage = _fewer_tokens(shrinking, large, source, data.Vocabulary(tokenizer, config["vocab_size"]))
    backbone, config = models.keep_tokens(backbone, config, kept)
  small = replace(large, params={**large.params, "backbone": backbone}, config=config, tokenizer=tokenizer)
  with whole.folder(output) as partial:
    inside = models.copy_around(root, partial, dtype) if models.is_sentence_transformer(root) else partial
    stored = dtype or models.stored_dtype(source)
    models.save_backbone(inside, backbone, config, dtype=stored)
    data.save_trimmed(tokenizer, inside, source, large.max_length)
    report = {
      "model": model,
      "dtype": stored,
      "tokens": {"before": count, "after": tokenizer.get_vocab_size()},
      "layers": {"before": before, "kept": list(shrinking.layers or range(before))},
      "parameters": {"before": _parameters(large), "after": _parameters(small)},
      "weight_bytes": {"before": models.weight_bytes(source), "after": models.weight_bytes(inside)},
      "tokenizer_bytes": {"before": _size(source), "after": _size(inside)},
      "coverage": coverage,
      "chosen_by": {name: getattr(shrinking, name) for name in ("texts", "field", "balance", "min_character_count")},
    }
    for path in (path for pattern in _LICENCES for path in root.glob(pattern) if path.is_file()):
      shutil.copyfile(path, partial / path.name)
    page = root / "README.md"
    teacher = page.read_text("utf-8", errors="replace") if page.is_file() else ""
    (partial / "README.md").write_text(card.of_shrunk(small, report, teacher), "utf-8")
    (partial / "shrink.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
  return report


def _fewer_tokens(
  shrinking: Shrinking, large: Embedder, source: Path, vocabulary: data.Vocabulary
) -> tuple[list[int], Any, dict[str, dict[str, float]]]:
  """The ids of the kept tokens, the tokenizer with them, and what they cover of the texts, by group."""

  def texts() -> Iterator[tuple[str, str]]:
    for text in shrinking.texts:
      yield from data.read_groups(text, shrinking.field)

  tokenizer = vocabulary.tokenizer
  required = models.fixed_tokens(large.config)
  required |= {vocabulary.ids[token] for token in data.named_tokens(source).values() if token in vocabulary.ids}
  for prompt in large.prompts.values():
    required |= set(tokenizer.encode(prompt, add_special_tokens=False).ids)
  counts = data.count(tokenizer, texts(), max(tokenizer.get_vocab().values()) + 1, progress=True)
  kept = vocabulary.choose(
    counts,
    shrinking.tokens,
    balance=shrinking.balance,
    least=shrinking.min_character_count,
    required=required,
  )
  smaller = vocabulary.trimmed(kept)
  found = data.cover(vocabulary, smaller, kept, texts(), progress=True)
  groups = {"all": sum(found.values(), data.Coverage())} | dict(sorted(found.items()))
  return kept, smaller, {name: {"texts": group.texts, "tokens": group.tokens, **group.shares()} for name, group in groups.items()}


def _parameters(embedder: Embedder) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(embedder.params))


def _size(directory: Path) -> int:
  path = directory / "tokenizer.json"
  return path.stat().st_size if path.is_file() else 0


def _told(report: Mapping[str, Any]) -> str:
  """What the command prints."""
  lines = [f"{'group':12} {'texts':>11} {'tokens kept':>12} {'whole texts':>12} {'unknown':>9} {'after':>9}"]
  for group, row in report["coverage"].items():
    lines.append(
      f"{group:12} {row['texts']:>11,} {row['tokens_kept']:>12.4f} {row['texts_kept']:>12.4f} "
      f"{row['unknown_before']:>9.5f} {row['unknown_after']:>9.5f}"
    )
  lines = lines if report["coverage"] else []
  lines.append(f"layers kept: {', '.join(map(str, report['layers']['kept']))} of {report['layers']['before']}")
  for name in ("tokens", "parameters", "weight_bytes", "tokenizer_bytes"):
    lines.append(f"{name.replace('_', ' ')}: {report[name]['before']:,} before, {report[name]['after']:,} after")
  return "\n".join(lines)


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
    export.check_output(f.output)
    print(f"{_told(shrink(f.model, Path(f.output), shrinking, f.dtype or ''))}\nthe smaller model: {f.output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string("model", "", "An mtc export, a sentence-transformers or a Hugging Face directory, or mtc-mini.")
  flags.DEFINE_string("output", "", "The model directory to write.")
  flags.DEFINE_integer("tokens", 0, "How many tokens to keep at most; 0 = all.")
  flags.DEFINE_list("layers", [], "The layers to keep, from 0, in increasing order; none = all.")
  flags.DEFINE_list("texts", [], "Files or directories (.txt, .jsonl, .parquet, task folders), or GROUP=PATH.")
  flags.DEFINE_list("field", list(Shrinking.field), "The fields of rows that hold texts; a row has one or more.")
  flags.DEFINE_float("balance", Shrinking.balance, "A group (language) of n tokens weighs n to this power.")
  flags.DEFINE_integer("min_character_count", Shrinking.min_character_count, "Keep characters that occur so often.")
  flags.DEFINE_enum("dtype", None, export.DTYPES, "Of the weights; none = as those of the model.")
  app.run(_main, flags_parser=cli.parse_flags)
