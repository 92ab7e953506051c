"""A smaller model out of a larger one: fewer tokens, chosen by texts, and fewer layers. Nothing is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import Any

import jax

from mtc import data, models
from mtc.embedder import card, save
from mtc.embedder.embedder import Embedder, load
from mtc.files import atomic


@dataclass(frozen=True)
class Shrinking:
  """What is kept of a model.

  Attributes:
    tokens: highest number of tokens, chosen by the texts; 0 = all.
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
  min_character_count: int = 5

  def validate(self) -> None:
    """Raises ValueError where nothing is left out, or fields do not go together or are out of range."""
    if not self.tokens and not self.layers:
      raise ValueError("name what to keep: --tokens=16000 with --texts=DIR, or --layers=0,3,7,11, or both")
    if bool(self.tokens) != bool(self.texts):
      given, lacking = ("tokens", "texts") if self.tokens else ("texts", "tokens")
      raise ValueError(f"--{given} is given without --{lacking}; the texts choose which tokens are kept")
    if self.tokens < 0 or not 0 <= self.balance <= 1 or self.min_character_count < 1:
      numbers = f"tokens={self.tokens}, balance={self.balance}, min_character_count={self.min_character_count}"
      raise ValueError(f"{numbers}: they must be 0 or more, in [0, 1], and 1 or more")


def shrink(model: str, output: Path, shrinking: Shrinking, dtype: str = "") -> dict[str, Any]:
  """Writes the smaller model, whole or not at all, and returns what its shrink.json holds.

  Args:
    model: a directory, a name on the Hugging Face hub, or "mtc-mini".
    output: the directory to write.
    shrinking: what is kept.
    dtype: of the weights, one of `save.DTYPES`; "" = as those of the model.

  Raises:
    ValueError: the model cannot be read or made smaller so, or the texts cannot be read.
  """
  shrinking.validate()
  root = models.resolve(model, f"the model {model}")
  large = load(root)
  small, coverage = _smaller(large, shrinking)
  layers = models.sizes(large.config).layers
  with atomic.folder(output) as partial:
    inside = save.write_like(small, root, partial, dtype)
    sizes = (("before", large, large.spec.pretrained), ("after", small, inside))
    report = {
      "model": model,
      **{name: getattr(shrinking, name) for name in ("texts", "field", "balance", "min_character_count")},
      "layers": {"before": layers, "kept": shrinking.layers or tuple(range(layers))},
      "tokens": {when: embedder.tokenizer.get_vocab_size() for when, embedder, _ in sizes},
      "parameters": {when: sum(x.size for x in jax.tree.leaves(embedder.params)) for when, embedder, _ in sizes},
      "dtype": models.stored_dtype(inside),
      "bytes": {when: models.stored_bytes(directory) for when, _, directory in sizes},
      "coverage": coverage,
    }
    page = root / "README.md"
    teacher = page.read_text("utf-8", errors="replace") if page.is_file() else ""
    (partial / "README.md").write_text(card.of_shrunk(small, report, teacher), "utf-8")
    (partial / "shrink.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
  return report


def _smaller(large: Embedder, shrinking: Shrinking) -> tuple[Embedder, dict[str, dict[str, float]]]:
  """The model with what is kept, and what its tokens cover of the texts, by group; {} where all are kept."""
  source, config, backbone = Path(large.spec.pretrained), large.config, large.params["backbone"]
  read = data.tokenizer.load_alone if models.is_static(config) else data.tokenizer.load
  tokenizer, covered = data.tokenizer.within(read(str(source)), config["vocab_size"]), {}
  if shrinking.layers:
    backbone, config = models.keep_layers(backbone, config, shrinking.layers)
  if shrinking.tokens:
    vocabulary = data.Vocabulary(tokenizer, config["vocab_size"])
    required = models.fixed_tokens(config) | vocabulary.ids_of(data.named_tokens(source).values())
    for prompt in large.prompts.values():
      required |= set(tokenizer.encode(prompt, add_special_tokens=False).ids)
    kept, tokenizer, covered = data.fewer(
      vocabulary,
      lambda: (text for path in shrinking.texts for text in data.read_groups(path, shrinking.field)),
      shrinking.tokens,
      balance=shrinking.balance,
      least=shrinking.min_character_count,
      required=required,
    )
    backbone, config = models.keep_tokens(backbone, config, kept)
  small = replace(large, params={**large.params, "backbone": backbone}, config=config, tokenizer=tokenizer)
  return small, {group: coverage.report() for group, coverage in covered.items()}


def summary(report: Mapping[str, Any]) -> str:
  """What the command prints."""
  names = ("texts", "tokens_kept", "texts_kept", "unknown_before", "unknown_after")
  lines = ["".join(f"{cell:<15}" for cell in ("group", *names))] if report["coverage"] else []
  for group, row in report["coverage"].items():
    lines.append(f"{group:<15}{row['texts']:<15,}" + "".join(f"{row[name]:<15.4f}" for name in names[1:]))
  lines.append(f"layers: {report['layers']['before']} -> {len(report['layers']['kept'])}")
  for name in ("tokens", "parameters", "bytes"):
    lines.append(f"{name}: {report[name]['before']:,} -> {report[name]['after']:,}")
  return "\n".join(lines)
