"""The model card: how to use an export, its scores, its training data, and how to train it again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import itertools
import json
from pathlib import Path
import re
import shlex
from typing import Any
import unicodedata

import jax
import yaml

from mtc import data, models
from mtc.config import Experiment, to_dict
from mtc.embedder.embedder import Embedder

_MOST_COLUMNS = 12  # languages that are columns of a table
_LONGEST = 200  # characters of a sample's text
_LONGEST_CARD = 100_000  # characters of another model's card
_CARRIED = ("license", "license_name", "license_link", "language")  # from a card to that of a model made from it
# Punctuation that may begin something in Markdown or HTML within a line; _ does not between letters or digits.
_MARKUP = re.compile(r"[&<>`*\[\]\\|~#@:$]|(?<![^\W_])_|_(?![^\W_])")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_POOLED = {
  "mean": "(hidden * mask).sum(1) / mask.sum(1)",
  "cls": "hidden[:, 0]",
  "max": "hidden.masked_fill(mask == 0, -1e9).max(1).values",
  "last": "hidden[range(len(texts)), mask[..., 0].cumsum(1).argmax(1)]  # the last token that is no padding",
}


def text(
  experiment: Experiment,
  embedder: Embedder,
  reports: Mapping[str, Mapping[str, Any]],
  environment: Mapping[str, Any],
  before: Mapping[str, Any],
  scores: Mapping[str, float],
  skipped: data.SkippedRows | None = None,
) -> str:
  """The README.md of an export. It holds nothing that another run of the same command would change.

  Args:
    experiment: what was run.
    embedder: what came out of it.
    reports: of each task's data, as in data.json.
    environment: versions, devices and the command, as in environment.json.
    before: scores of TF-IDF and of the untrained model, as in before.json.
    scores: of the trained model.
    skipped: of each evaluation and split, how many rows were left out, by reason.
  """
  tasks = ", ".join(experiment.tasks)
  languages = sorted({language for report in reports.values() for language in report["languages"]})
  parts = [
    _front_matter(experiment, languages),
    f"# Text embeddings of {embedder.width} dimensions",
    f"Trained with `mtc` on {len(experiment.tasks)} labelling tasks ({_safe(tasks)}), starting from "
    f"{_start(experiment)}. {_sizes(embedder)}",
    *_loading(embedder),
    _prompts(embedder),
    *_scores(experiment, before, scores),
    *_skipped(experiment, skipped or {}),
    "## Training data",
    _table(
      ["task", "kind", "examples", "texts", "tokens per text", "languages"],
      [_task(experiment, name, reports[name]) for name in experiment.tasks],
    ),
    *(part for name in experiment.tasks for part in _samples(experiment, name)),
    "## Training",
    _table(
      ["task", "loss", "batch", "weight", "fingerprint of the data"],
      [
        [_safe(name), _code(repr(t.loss)), str(t.batch_size), f"{t.weight:g}", _code(reports[name]["fingerprint"][:12])]
        for name, t in experiment.tasks.items()
      ],
    ),
    _table(
      ["", ""],
      [
        ["steps", f"{experiment.steps:,}, seed {experiment.seed}"],
        *([[name, _code(repr(getattr(experiment, name)))] for name in ("optim", "mixing", "balancing", "model")]),
      ],
    ),
    "This command started it. The same versions on as many of the same devices give the same weights.",
    _fenced(_command(environment.get("command", ())), "sh"),
    _details("The resolved config", json.dumps(_without_rows(to_dict(experiment)), indent=2, ensure_ascii=False)),
    "## Versions",
    _table(
      ["", ""],
      [
        ["code", _code(environment.get("revision") or "not known")],
        ["Python", _safe(environment.get("python", ""))],
        ["devices", _safe(environment.get("devices", ""))],
        *([_safe(name), _safe(version)] for name, version in environment.get("packages", {}).items()),
      ],
    ),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def of_average(embedder: Embedder, shares: Mapping[str, float]) -> str:
  """The README.md of the average of several models' weights.

  Args:
    embedder: what came out of it.
    shares: of each model, by its name or directory.
  """
  parts = [
    _yaml({}),
    f"# Text embeddings of {embedder.width} dimensions",
    "The average of the weights of several models that `mtc` was given; their own cards say how they were trained. "
    + _sizes(embedder),
    _table(["model", "share"], [[_code(name), f"{share:g}"] for name, share in shares.items()]),
    *_loading(embedder),
    _prompts(embedder),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def of_shrunk(embedder: Embedder, report: Mapping[str, Any], teacher: str = "") -> str:
  """The README.md of a model that `mtc.shrink` made out of a larger one.

  Args:
    embedder: what came out of it.
    report: as in shrink.json.
    teacher: the README.md of the larger model; its licence becomes that of this card, and its text stands at the end.
  """
  fields, body = _parsed(teacher)
  tokens, layers, coverage = report["tokens"], report["layers"], report["coverage"]
  done = [f"{tokens['after']:,} of {tokens['before']:,} tokens" if coverage else "all tokens"]
  if len(layers["kept"]) < layers["before"]:
    done.append(f"the layers {', '.join(map(str, layers['kept']))} of {layers['before']} (from 0)")
  base = {"base_model": report["model"]} if _is_hub_name(report["model"]) else {}
  parts = [
    _yaml(fields | base),
    f"# Text embeddings of {embedder.width} dimensions",
    f"A smaller {_code(report['model'])}: `mtc.shrink` kept {' and '.join(done)}, with their weights; it "
    f"trained nothing. {_sizes(embedder)}",
    _table(
      ["", "before", "after"],
      [
        ["parameters", *(f"{report['parameters'][when]:,}" for when in ("before", "after"))],
        ["bytes of weights and tokenizer", *(f"{report['bytes'][when]:,}" for when in ("before", "after"))],
      ],
    ),
    *(_loading(embedder)[:3] + [_OTHER_TOOLS] if report["dtype"] == "q4_0" else _loading(embedder)[:5]),
    _prompts(embedder),
    *_coverage(report),
    *_carried(body),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


_OTHER_TOOLS = (
  "Only `mtc` reads weights of 4 bits. For other tools, write a directory that they read: "
  "`python -m mtc.export --model . --output DIR --dtype float16`"
)


def _carried(body: str) -> Iterator[str]:
  if body:
    yield "## The model that it was made from"
    yield "Its card, with its licence notice. The scores and sizes in it are not those of this smaller model."
    yield _details("The card", body, "markdown")


def _coverage(report: Mapping[str, Any]) -> Iterator[str]:
  if not report["coverage"]:
    return
  yield "## What the tokens cover"
  yield (
    "Measured on the texts by which the tokens were chosen: the share of tokens that are kept, and of texts whose "
    "tokens are all kept. Where no layer was left out, these texts have the vectors of the larger model."
  )
  names = ("tokens_kept", "texts_kept", "unknown_before", "unknown_after")
  yield _table(
    ["group", "texts", "tokens kept", "whole texts", "unknown before", "unknown after"],
    [
      [_safe(group), f"{row['texts']:,}", *(f"{row[name]:.4f}" for name in names)]
      for group, row in report["coverage"].items()
    ],
  )


def _parsed(teacher: str) -> tuple[dict[str, Any], str]:
  """What a card says of its licence and languages, as the hub reads it, and its text."""
  found = re.match(r"\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", teacher, re.DOTALL)
  if not found:
    return {}, _shortened(teacher.strip())
  try:
    content = yaml.safe_load(found[1])
  except (yaml.YAMLError, ValueError, RecursionError):
    content = {}
  fields = {name: content.get(name) for name in _CARRIED} if isinstance(content, dict) else {}
  return {name: value for name, value in fields.items() if _is_plain(value)}, _shortened(teacher[found.end() :].strip())


def _is_plain(value: Any) -> bool:
  """Whether a value of a front matter is a name, or a list of names."""
  values = value if isinstance(value, list) else [value]
  return 0 < len(values) < 300 and all(isinstance(name, str) and 0 < len(name) < 300 for name in values)


def _shortened(content: str) -> str:
  return content if len(content) <= _LONGEST_CARD else f"{content[:_LONGEST_CARD]}\n... (shortened)"


def _sizes(embedder: Embedder) -> str:
  count = sum(leaf.size for leaf in jax.tree.leaves(embedder.params))
  return (
    f"{count / 1e6:.2f} M parameters, texts of up to {embedder.max_length} tokens (longer ones are cut), "
    f"{embedder.spec.pooling or 'mean'} pooling, vectors of unit length: compare them by dot product."
  )


def _front_matter(experiment: Experiment, languages: Iterable[str]) -> str:
  """What the Hugging Face hub reads."""
  known = [language for language in languages if _LANGUAGE.fullmatch(language)]
  fields: dict[str, Any] = {"language": known} if known else {}
  base = experiment.model.pretrained
  if _is_hub_name(base):
    fields["base_model"] = base
  return _yaml(fields)


def _is_hub_name(model: str) -> bool:
  """Whether a model is named as the hub wants it in a card, which takes no path."""
  return bool(_HUB_NAME.fullmatch(model)) and not Path(model).exists()


def _yaml(fields: Mapping[str, Any]) -> str:
  from huggingface_hub import ModelCardData  # 0.3 s to import

  tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", "mtc"]
  about = {"library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity", "tags": tags}
  return f"---\n{ModelCardData(**about, **fields).to_yaml()}\n---"


def _start(experiment: Experiment) -> str:
  return f"the model {_code(experiment.model.pretrained)}" if experiment.model.pretrained else "a random start"


def _prompts(embedder: Embedder) -> str:
  prompts = {role: prompt for role, prompt in embedder.prompts.items() if prompt}
  if not prompts:
    return ""
  each = ", ".join(f"{_code(p)} for the role {_safe(r)}" for r, p in prompts.items())
  return f"The code above puts a prompt before each text: {each}."


def _cells(name: str, before: Mapping[str, Any], scores: Mapping[str, float]) -> list[str]:
  columns = before.get("tfidf", {}), before.get("untrained", {}), scores
  return [f"{column[name]:.3f}" if name in column else "" for column in columns]


def _scores(experiment: Experiment, before: Mapping[str, Any], scores: Mapping[str, float]) -> Iterator[str]:
  """The first metric of each evaluation, then by language, then all scores folded away."""
  firsts: dict[str, str] = {}  # evaluation -> its first metric
  for name in scores:
    evaluation, metric = name.split("/")[:2]
    firsts.setdefault(evaluation, metric)
  if not firsts:
    return
  yield "## Scores"
  yield (
    "The first metric of each evaluation on its test split. TF-IDF counts words; *before* is the model that training "
    "started from."
  )
  named = {f"{evaluation}/{metric}": (evaluation, metric) for evaluation, metric in firsts.items()}
  yield _table(
    ["evaluation", "metric", "TF-IDF", "before", "after"],
    [[_safe(e), _metric(metric), *_cells(name, before, scores)] for name, (e, metric) in named.items()],
  )
  parts = [name.rsplit("/", 1) for name in scores if name.count("/") == 2]
  languages = sorted({language for name, language in parts if name in named})
  if languages:
    yield "The same after training, by language:"
    rows = [[scores.get(f"{name}/{one}") for one in languages] for name in named]
    cells = [["" if value is None else f"{value:.3f}" for value in row] for row in rows]
    if len(languages) > _MOST_COLUMNS:
      yield _table(["", *map(_safe, firsts)], [[_safe(one), *c] for one, *c in zip(languages, *cells, strict=True)])
    else:
      yield _table(["", *map(_safe, languages)], [[_safe(e), *c] for e, c in zip(firsts, cells, strict=True) if any(c)])
  measured = {name: repr(e.evaluator) for name, e in experiment.evaluations.items() if name in firsts}
  columns = {"tfidf": before.get("tfidf", {}), "before": before.get("untrained", {}), "after": scores}
  everything = {"evaluators": measured, "scores": {title: dict(column) for title, column in columns.items()}}
  yield _details("All scores, and how they were measured", json.dumps(everything, indent=2, ensure_ascii=False))


def _metric(name: str) -> str:
  """The name of a metric as code, in which @ addresses nobody."""
  return f"`{name}`" if re.fullmatch(r"[\w@.-]+", name) else _code(name)


def _skipped(experiment: Experiment, skipped: data.SkippedRows) -> Iterator[str]:
  """What the tests lack because it cannot be read; of the splits that the scores of the card are of."""
  tests = {name: {evaluation.test, evaluation.reference} for name, evaluation in experiment.evaluations.items()}
  rows = [list(map(_safe, row)) for row in data.each_in_words(skipped) if row[1] in tests[row[0]]]
  if rows:
    yield "Rows of the tests that could not be read:"
    yield _table(["evaluation", "split", "left out"], rows)


def _loading(embedder: Embedder) -> list[str]:
  return [
    "## How to load it",
    "With `mtc`, in JAX:",
    _fenced(_with_mtc(embedder), "python"),
    "With sentence-transformers:",
    _fenced(_with_sentence_transformers(), "python"),
    *_with_transformers(embedder),
    "As NumPy arrays: `python -m mtc.export --model . --numpy weights.npz`",
  ]


def _with_mtc(embedder: Embedder) -> str:
  return f"""import mtc

model = mtc.load(".")  # the directory of this file
documents = model.encode(["a text", "another one"])  # f32[2, {embedder.width}]
queries = model.encode(["what is asked"], role="query")
print(queries @ documents.T)"""


def _with_sentence_transformers() -> str:
  return """from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")  # the directory of this file
documents = model.encode_document(["a text", "another one"])
queries = model.encode_query(["what is asked"])
print(model.similarity(queries, documents))"""


def _with_transformers(embedder: Embedder) -> list[str]:
  """Pooling, projection and prompts are no part of AutoModel: they stand in the code. It knows no static embeddings."""
  if models.is_static(embedder.config):
    return []
  projection = "projection" in embedder.params
  lines = [
    "from safetensors.torch import load_file" if projection else "",
    "import torch",
    "from transformers import AutoModel, AutoTokenizer",
    "",
    'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".").eval()',
    'dense = load_file("2_Dense/model.safetensors")' if projection else "",
    f"prompts = {dict(embedder.prompts)!r}",
    "",
    "",
    "@torch.no_grad()",
    'def encode(texts, role="document"):',
    "  texts = [prompts[role] + text for text in texts]",
    f"  lengths = dict(padding=True, truncation=True, max_length={embedder.max_length})",
    '  tokens = tokenizer(texts, return_tensors="pt", **lengths)',
    "  hidden = model(**tokens).last_hidden_state",
    '  mask = tokens["attention_mask"][..., None]',
    f"  pooled = {_POOLED[embedder.spec.pooling or 'mean']}",
  ]
  if projection:
    lines.append('  pooled = pooled @ dense["linear.weight"].T + dense["linear.bias"]')
    if embedder.spec.projection == "tanh":
      lines.append("  pooled = pooled.tanh()")
  lines += ["  return torch.nn.functional.normalize(pooled)", "", ""]
  lines.append('print(encode(["what is asked"], "query") @ encode(["a text", "another one"]).T)')
  code = re.sub(r"\n{3,}", "\n\n\n", "\n".join(lines)).strip()
  return [f"With transformers alone{_caution(embedder)}:", _fenced(code, "python")]


def _caution(embedder: Embedder) -> str:
  if embedder.config.get("is_causal") is not False:
    return ""
  return ", 5.2 or later (a decoder with bidirectional attention, which earlier versions read as causal)"


def _task(experiment: Experiment, name: str, report: Mapping[str, Any]) -> list[str]:
  task = experiment.tasks[name]
  spoken = ", ".join(f"{language} {number:,}" for language, number in report["languages"].items())
  return [
    _safe(name),
    _code(repr(task.examples)),
    f"{report['examples']:,}",
    f"{report['texts']:,}",
    f"{report['mean_length']:.1f}",
    _safe(spoken),
  ]


def _samples(experiment: Experiment, name: str) -> Iterator[str]:
  """The first rows of a task, a column for each thing that they hold; nothing where none are wanted."""
  if not experiment.card_samples:
    return
  task = experiment.tasks[name]
  rows = data.read(task.source.resolve(experiment.data_dir), "train", task.examples, experiment.on_bad_row)
  examples = list(itertools.islice(rows, experiment.card_samples))
  columns = {
    "text": [e["anchor"] for e in examples],
    "positive": [e["positive"] or "" for e in examples],
    "hard negative": [next(iter(e["negatives"]), "") for e in examples],
    "labels": [", ".join(e["labels"]) for e in examples],
    "score": ["" if e["score"] is None else f"{e['score']:.3g}" for e in examples],
    "language": [e["language"] for e in examples],
  }
  held = {title: [_safe(_cut(cell)) for cell in cells] for title, cells in columns.items() if any(cells)}
  yield f"Rows of {_safe(name)}:"
  yield _table(list(held), list(zip(*held.values(), strict=True)))


def _command(command: Sequence[str]) -> str:
  if not command:
    return "# from Python: mtc.train(experiment, workdir)"
  script = Path(command[0])
  name = script.parent.name if script.stem == "__main__" else script.stem
  return shlex.join(["python", "-m", f"mtc.{name}", *command[1:]])


def _without_rows(config: Any) -> Any:
  """A resolved config in which `InMemory` sources tell how many rows they hold, and not which."""
  if isinstance(config, dict):
    if config.get("type") == "InMemory":
      return config | {"rows_by_split": {split: len(rows) for split, rows in config["rows_by_split"].items()}}
    return {name: _without_rows(value) for name, value in config.items()}
  return config


def _details(summary: str, content: str, language: str = "json") -> str:
  return f"<details><summary>{summary}</summary>\n\n{_fenced(content, language)}\n\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _fenced(content: str, language: str) -> str:
  """A block of code behind a fence that is longer than any within it."""
  fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
  return f"{fence}{language}\n{content}\n{fence}"


def _code(content: str) -> str:
  return f"<code>{_safe(content)}</code>"


def _cut(content: str) -> str:
  content = " ".join(content.split())
  return content if len(content) <= _LONGEST else content[: _LONGEST - 3] + "..."


def _safe(content: str) -> str:
  """One line in which nothing is Markdown or HTML: punctuation as numbers, no characters that only steer."""
  content = "".join(character for character in " ".join(content.split()) if not _steers(character))
  return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", content)


def _steers(character: str) -> bool:
  """Control characters, and those that turn the direction of the text around them."""
  return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in (
    "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
  )  # fmt: skip
