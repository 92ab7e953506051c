"""An experiment, whole: plain dataclasses, so that an editor finds each field and the command line overrides it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
import math
from typing import Any

from mtc import data, evaluators, losses
from mtc.files import paths
from mtc.models import ModelSpec
from mtc.multitask.balancing import Balancing, Fixed
from mtc.optim import OptimSpec

# Fields that only steer a run: they may differ when a workdir is resumed.
STEERING = (
  "stop_after",
  "log_every",
  "checkpoint_every",
  "evaluate_every",
  "input",
  "cache_dir",
  "data_dir",
  "on_nonfinite",
  "nonfinite_limit",
  "grad_norm_limit",
  "on_leak",
  "evaluations",
  "best_metric",
  "diagnose_every",
  "examples_shown",
  "card_samples",
  "profile_at",
)


@dataclass
class Task:
  """One labelling task: where its rows are, how they become pairs, and how the pairs are scored."""

  source: data.Source  # where its rows are
  examples: data.Kind = field(default_factory=data.Pairs)  # how its rows become examples
  loss: losses.Loss = field(default_factory=losses.InfoNCE)  # how its examples are scored
  batch_size: int = 64  # anchors of a step, over all devices
  weight: float = 1.0  # of its mean loss in the total
  max_length: int = 128  # tokens, special ones included; longer texts are cut and counted
  label_exponent: float = 1.0  # 1: every anchor once an epoch; below 1: labels by size ** exponent; 0: all labels alike
  anchor_role: str = ""  # the name of its prompt in Experiment.prompts; "" = query for Pairs, else document
  positive_role: str = "document"  # the name of the prompt of positives and negatives in Experiment.prompts
  teacher: tuple[data.Vectors, ...] = ()  # a vector of each of its texts, for losses that learn from a teacher
  teacher_dim: int = 0  # principal axes of the teacher's vectors to learn from; 0 = the vectors as they are

  def roles(self) -> tuple[str, str]:
    """The roles of anchor and positive (and negatives)."""
    return self.anchor_role or ("query" if isinstance(self.examples, data.Pairs) else "document"), self.positive_role


@dataclass
class Evaluation:
  """What to measure, and on what: the test split at the end, the validation split at checkpoints."""

  source: data.Source  # where its rows are
  examples: data.Kind  # how its rows become a table
  evaluator: evaluators.Evaluator  # which scores are computed
  test: str = "test"  # the split scored at the end
  validation: str = "validation"  # "" = not measured during training
  reference: str = ""  # the split whose labels are known, for evaluators that classify


@dataclass(kw_only=True)
class Run:
  """What every training run is told, whatever it learns."""

  model: ModelSpec = field(default_factory=ModelSpec)  # the encoder, pretrained or from a seed
  optim: OptimSpec = field(default_factory=OptimSpec)  # AdamW, its schedule, and what is frozen
  data_dir: str = ""  # a folder for each task or corpus; "" = the built-in data
  cache_dir: str = ""  # of tokens and built-in data; "" = the user's cache directory
  steps: int = 1000  # of training, over all tasks
  stop_after: int = 0  # save at this step and end, as if interrupted; 0 = go to the end
  seed: int = 0  # of sampling, dropout and new parameters
  input: str = "tf"  # tf = tf.data | threads = the same batches without TensorFlow
  log_every: int = 10  # steps between lines of metrics.jsonl
  profile_at: int = 0  # trace this step and the two after it, into WORKDIR/profile; 0 = none
  checkpoint_every: int = 200  # steps between checkpoints
  on_nonfinite: str = "stop"  # stop | skip: what a loss or gradient that is not finite does
  nonfinite_limit: int = 10  # skipped updates in a run before it stops after all
  grad_norm_limit: float = 0.0  # a gradient of a greater norm, before clipping, is taken as not finite; 0 = no limit
  on_bad_row: str = "stop"  # stop | skip: what a row that cannot be used does

  def __post_init__(self) -> None:
    for settings in (self, self.model):
      if is_dataclass(settings):  # else `validate` says so
        data.paths_to_strings(settings)

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right, with its value and what to use instead."""
    data.check_types(self)
    _check_values("", self)
    at_least(self, 1, "log_every", "checkpoint_every")
    at_least(self, 0, "stop_after", "seed", "nonfinite_limit", "grad_norm_limit", "profile_at")
    for name, known in {
      "input": ("tf", "threads"),
      "on_nonfinite": ("stop", "skip"),
      "on_bad_row": ("stop", "skip"),
    }.items():
      if getattr(self, name) not in known:
        raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use {' or '.join(known)}")
    for spec in (self.model, self.optim):
      spec.validate()


@dataclass(kw_only=True)
class Experiment(Run):
  """A contrastive run: all that decides its outcome, and a few fields that steer it."""

  tasks: dict[str, Task]  # name -> task; the names appear in metrics and flags
  evaluations: dict[str, Evaluation] = field(default_factory=dict)  # by name, with which scores begin
  mixing: data.Mixing = field(default_factory=data.Mixing)  # which tasks a step holds
  prompts: dict[str, str] = field(default_factory=lambda: {"query": "", "document": ""})  # role -> what precedes a text
  balancing: Balancing = field(default_factory=Fixed)  # how tasks share a step: Fixed | Uncertainty | GradNorm | PCGrad
  chunks: int = 1  # GradCache: number of parts in which a step is encoded, to save memory
  evaluate_every: int = 0  # steps from one validation to the next, at a checkpoint; 0 = at the end only
  diagnose_every: int = 100  # steps between measurements of the tasks' gradients and the embeddings' geometry; 0 = none
  on_leak: str = "warn"  # warn | drop | stop: what training rows do that hold a text of a test, or nearly one
  best_metric: str = ""  # of validation: its best checkpoint is kept; "" = the mean of each evaluation's first metric
  examples_shown: int = 3  # nearest neighbours printed at the end
  card_samples: int = 3  # rows of each task that the model card shows; 0 = none, where data are private

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right, with its value and what to use instead."""
    if not self.tasks:
      raise ValueError("tasks is empty; an experiment trains on at least one Task")
    super().validate()
    at_least(self, 1, "steps", "chunks")
    at_least(self, 0, "evaluate_every", "diagnose_every", "examples_shown", "card_samples")
    if self.on_leak not in ("warn", "drop", "stop"):
      raise ValueError(f"on_leak={self.on_leak!r} is unknown; use warn, drop or stop")
    self.mixing.validate(self.tasks)
    self.balancing.validate()
    if self.balancing.every_task and self.mixing.kind != "all":
      raise ValueError(
        f"balancing={type(self.balancing).__name__} compares the tasks of a step, and with mixing.kind="
        f"{self.mixing.kind!r} it has one; use mixing.kind='all', or Fixed or Uncertainty"
      )
    for name, task in self.tasks.items():
      self._validate_task(name, task)
    for name, evaluation in self.evaluations.items():
      check_data(f"evaluation {name!r}", evaluation.source, evaluation.examples)
      if evaluation.examples.single:
        raise ValueError(
          f"examples of evaluation {name!r} are single texts, about which there is nothing to score; use SameLabel, "
          "Pairs, Scored or Translations"
        )
      if not name or "/" in name:
        raise ValueError(
          f"the evaluation name {name!r} is empty or has a '/', which comes after it in the scores' names; use '_'"
        )

  def _validate_task(self, name: str, task: Task) -> None:
    if not name.isidentifier():
      raise ValueError(
        f"the task name {name!r} is not an identifier; use letters, digits and _, so that flags can name it"
      )
    check_data(f"task {name!r}", task.source, task.examples, *task.teacher)
    if task.batch_size < 2:
      raise ValueError(f"batch_size={task.batch_size} of task {name!r} leaves no negatives; use 2 or more")
    if not task.weight > 0:
      raise ValueError(f"weight={task.weight} of task {name!r} is not positive; remove the task to train without it")
    if task.max_length < 3:
      raise ValueError(
        f"max_length={task.max_length} of task {name!r} leaves no room between the special tokens; use 3 or more"
      )
    if not 0 <= task.label_exponent <= 1:
      raise ValueError(
        f"label_exponent={task.label_exponent} of task {name!r} is not in [0, 1]; 1 draws every post alike"
      )
    for role in task.roles():
      if role not in self.prompts:
        raise ValueError(f"role {role!r} of task {name!r} has no prompt; known roles: {', '.join(self.prompts)}")
    check_loss(name, task, self.model.dim or (0 if self.model.pretrained else self.model.width))
    if task.teacher_dim < 0 or (task.teacher_dim and not task.teacher):
      raise ValueError(
        f"teacher_dim={task.teacher_dim} of task {name!r} is negative or has no teacher; 0 takes all dimensions"
      )
    if task.examples.single and not task.loss.single:
      raise ValueError(
        f"loss {type(task.loss).__name__} of task {name!r} compares texts with their positives, and "
        f"{type(task.examples).__name__} has none; use EmbeddingDistillation or SimilarityDistillation, or give the "
        "task pairs, as Crops makes them of texts without labels"
      )
    needed = task.loss.teacher_dim(self.model.dim or 1) > 0
    if needed and not task.teacher:
      raise ValueError(
        f"loss of task {name!r} learns from a teacher, and the task has none; name a vector of each text, "
        'as in teacher=(Vectors("posts.jsonl"),)'
      )
    if task.teacher and not needed:
      raise ValueError(f"teacher of task {name!r} is of no use to its loss; use a distillation or InfoNCE(guide=...)")


@dataclass
class Corpus:
  """Texts to learn from without labels: all that the training examples of a source hold."""

  source: data.Source  # where its texts are
  examples: data.Kind = field(default_factory=lambda: data.SameLabel(labels="language"))  # the fields of a row
  split: str = "train"  # the split to train on


@dataclass(kw_only=True)
class Pretraining(Run):
  """Masked language modelling: from a seed, or on from `model.pretrained`.

  With `steps=0` and `model.rarity` nothing is trained but the tokenizer: an encoder of words by their rarity.
  """

  corpora: dict[str, Corpus]  # name -> corpus
  rows: int = 64  # of the grid of tokens of a step, over all devices
  length: int = 128  # tokens of a row; longer texts give random parts
  mask_rate: float = 0.3  # of the tokens, whole words at a time
  exponent: float = 0.5  # how groups (languages of corpora) share the steps: 1 = by their tokens, 0 = all alike
  tokenizer_texts: int = 500_000  # that a new tokenizer is trained on, at most
  max_alphabet: int = 4000  # characters of a new tokenizer, at most; with the others, words are unknown

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right, with its value and what to use instead."""
    if not self.corpora:
      raise ValueError("corpora is empty; pretraining learns from at least one Corpus")
    super().validate()
    for name, corpus in self.corpora.items():
      check_data(f"corpus {name!r}", corpus.source, corpus.examples)
    at_least(self, 1, "rows", "tokenizer_texts", "max_alphabet")
    at_least(self, 0 if self.model.rarity else 1, "steps")
    at_least(self, 8, "length")
    if not 0 < self.mask_rate < 1:
      raise ValueError(f"mask_rate={self.mask_rate} is not in (0, 1); 0.15 to 0.4 are usual")
    if not 0 <= self.exponent <= 1:
      raise ValueError(f"exponent={self.exponent} is not in [0, 1]; 1 draws every token alike, 0 every language")


def check_loss(name: str, task: Task, dim: int) -> None:
  """Raises ValueError where the task's loss cannot be right for embeddings of `dim` dimensions; 0 = not yet known."""
  try:
    task.loss.validate(dim)
  except ValueError as error:
    raise ValueError(f"loss of task {name!r}: {error}") from None


def check_data(owner: str, *settings: Any) -> None:
  """Raises ValueError where a source, a kind of task or a teacher's vectors have a field that cannot be right."""
  for part in settings:
    if isinstance(part, data.Settings):
      try:
        part.validate()
      except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def at_least(settings: Any, least: int, *names: str) -> None:
  """Raises ValueError for the first of these fields that is below `least`."""
  for name in names:
    if getattr(settings, name) < least:
      wrong = {0: "negative", 1: "not positive"}.get(least, f"below {least}")
      raise ValueError(f"{name}={getattr(settings, name)} is {wrong}; use {least} or more")


def _check_values(name: str, value: Any) -> None:
  """Raises ValueError for a number that is NaN, infinite or past the 32 bits of a step, and for text without UTF-8."""
  if isinstance(value, data.InMemory):
    return  # rows, which are checked when they are read
  if is_dataclass(value):
    value = {f.name: getattr(value, f.name) for f in fields(value)}
  elif isinstance(value, (list, tuple)):
    value = dict(enumerate(value))
  if isinstance(value, dict):
    for key, part in value.items():
      _check_values(f"{name}.{key}" if name else str(key), part)
  elif isinstance(value, int) and abs(value) > 2**31 - 1:
    raise ValueError(f"{name} is a number of {value.bit_length()} bits; use one up to {2**31 - 1:,}")
  elif isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f"{name}={value} is not a finite number; use one that is")
  elif isinstance(value, str):
    paths.check_text(name, value)


def to_dict(value: Any) -> Any:
  """Plain JSON values; every dataclass carries its type's name, so that a run can be read years later."""
  if is_dataclass(value) and not isinstance(value, type):
    return {"type": type(value).__name__} | {f.name: to_dict(getattr(value, f.name)) for f in fields(value)}
  value = data.plain(value)  # of a row in memory, which may hold anything
  if isinstance(value, Mapping):
    return {str(data.plain(k)): to_dict(v) for k, v in value.items()}
  if isinstance(value, list):
    return [to_dict(v) for v in value]
  if isinstance(value, float) and math.isnan(value):
    return None  # else no config would equal itself
  return value if isinstance(value, str | int | float | None) else repr(value)


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
  """The fields in which two resolved configs differ, as `name: old -> new`, without those that only steer a run."""
  found = []
  for name in sorted(old.keys() | new.keys()):
    if not prefix and name in STEERING:
      continue
    a, b = old.get(name, "absent"), new.get(name, "absent")
    if isinstance(a, dict) and isinstance(b, dict):
      found += differences(a, b, f"{prefix}{name}.")
    elif a != b:
      found.append(f"{prefix}{name}: {a} -> {b}")
  return found
