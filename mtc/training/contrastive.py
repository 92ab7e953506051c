"""The contrastive run: what is prepared before the first step, measured on the way and left behind at the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
import functools
import json
from pathlib import Path

import jax
import numpy as np

from mtc import data, models, optim, parallel
from mtc.config import Experiment
from mtc.data.origin import Origin
from mtc.embedder import card, save
from mtc.embedder.embedder import Embedder
from mtc.embedder.start import make_sampler, model_and_data
from mtc.evaluation import comparing, scoring, tables as tables_lib
from mtc.evaluation.tables import asked_texts
from mtc.files import json_file
from mtc.training import compile_ahead, diagnose, flops, loop, negatives, step as step_lib
from mtc.types import Array, PyTree, Step, TrainState
from mtc.workdir import bucket, records


def prepare(experiment: Experiment, workdir: Path, command: Sequence[str] = ()) -> Callable[[], int]:
  """Checks everything that can be wrong before the first step, and returns the run itself.

  Args:
    experiment: what to do.
    workdir: the folder of the run; made where it is missing, gone on with where it is not.
    command: what the user typed, for the record.

  Returns:
    A function that trains to the end and returns the exit code.

  Raises:
    ValueError, OSError: the config, the data, the model or the workdir cannot be used; says what would.
  """
  experiment.validate()
  workdir = records.open_workdir(workdir, experiment)
  if records.finished(workdir):
    return lambda: _already_done(workdir)
  skipped: data.SkippedRows = {}
  tables = {which: tables_lib.read_tables(experiment, which, skipped) for which in ("test", "validation")}
  # As on the tests, see `start`: an evaluator that cannot score its validation says so now, not at a checkpoint.
  measured = scoring.tfidf_scores(tables["validation"], experiment.evaluations)
  if experiment.best_metric and experiment.best_metric not in measured:
    raise ValueError(
      f"best_metric={experiment.best_metric!r} is not measured on validation; "
      f"use one of {', '.join(measured) or 'none: no evaluation has such a split here'}"
    )
  return _ready(experiment, workdir, command, find_leaks(experiment, tables), _Scored(**tables, skipped=skipped))


def train(experiment: Experiment, workdir: str | Path) -> int:
  """Trains an experiment in a workdir, or resumes it there.

  Args:
    experiment: tasks, evaluations, model and optimizer.
    workdir: directory of the run, made if it is missing, or gs://BUCKET/PATH. Its export/ holds the model at the end.

  Returns:
    The exit code: 0 if the run finished.

  Raises:
    ValueError, OSError: the config, the data, the model or the workdir cannot be used.
  """
  with bucket.workdir(str(workdir)) as folder:
    return prepare(experiment, folder)()


def prepare_unscored(
  experiment: Experiment,
  workdir: Path,
  leaks: Mapping[str, data.Leaks],
  command: Sequence[str] = (),
  untrained: Path | None = None,
) -> Callable[[], int]:
  """As `prepare`, for callers that evaluate the export: the run measures nothing and chooses no best checkpoint.

  Args:
    experiment: what to do.
    workdir: the folder of the run.
    leaks: of `find_leaks`.
    command: what the user typed, for the record.
    untrained: as of `start.model_and_data`.

  Raises:
    ValueError, OSError: the config, the data, the model or the workdir cannot be used; says what would.
  """
  experiment.validate()
  workdir = records.open_workdir(workdir, experiment)
  if records.finished(workdir):
    return lambda: _already_done(workdir)
  return _ready(experiment, workdir, command, leaks, _Scored({}, {}, {}), untrained)


@dataclass
class _Scored:
  """What a run is scored on: its tables, and how many rows of them were skipped."""

  test: tables_lib.Tables
  validation: tables_lib.Tables
  skipped: data.SkippedRows


def _ready(
  experiment: Experiment,
  workdir: Path,
  command: Sequence[str],
  leaks: Mapping[str, data.Leaks],
  scored: _Scored,
  untrained: Path | None = None,
) -> Callable[[], int]:
  model, prepared = model_and_data(experiment, workdir, leaks, untrained)
  counts = optim.count(step_lib.init_params(model.params, experiment.tasks), experiment.optim.freeze)
  sampler = make_sampler(experiment, prepared)
  contrasted = negatives.count(experiment.tasks, prepared, sampler, experiment.steps)
  packer = data.Packer(prepared, sampler, parallel.device_count(), parallel.local_devices(), experiment.chunks)
  reports = {name: p.report for name, p in prepared.items()}
  records.check_data(workdir, reports)
  train_step, free = _compiled(experiment, model, packer), compile_ahead.free_memory()
  fewer = "optim.freeze" if models.is_static(model.config) else "model.lora.rank=8, or optim.freeze"
  remedies = [
    "smaller tasks.NAME.batch_size",
    "smaller tasks.NAME.max_length",
    f"fewer parameters that are trained ({fewer})",
    "a smaller model or model.dim",
  ]
  compile_ahead.check(train_step.needs, free, experiment.model.dtype, remedies, experiment.chunks)
  if parallel.is_main_process():
    records.write_run(workdir, experiment, reports, command)
    json_file.write_json(workdir / "leakage.json", _leakage(experiment.on_leak, leaks))
  return Contrastive(
    settings=experiment,
    workdir=workdir,
    model=model,
    counts=counts,
    prepared=prepared,
    leaks=leaks,
    contrasted=contrasted,
    sampler=sampler,
    packer=packer,
    scored=scored,
    train_step=train_step,
    free=free,
  )


def _compiled(experiment: Experiment, model: Embedder, packer: data.Packer) -> compile_ahead.Ahead:
  """The training step, compiled for the shapes of the run before anything is put on the devices."""
  optimizer = optim.make_optimizer(experiment.optim, experiment.steps)
  freeze, balancing = experiment.optim.freeze, experiment.balancing
  state = step_lib.init_state(model.params, experiment.tasks, optimizer, freeze, balancing, shapes=True)
  step = step_lib.make_train_step(
    model.encoder,
    experiment.tasks,
    optimizer,
    experiment.seed,
    packer.rows_per_chunk,
    freeze,
    balancing,
    experiment.grad_norm_limit,
  )
  return compile_ahead.Ahead(step, state, packer.shapes())


@dataclass(kw_only=True)
class Contrastive(loop.Job):
  """The job of `mtc.main`: several labelling tasks, one encoder.

  Attributes:
    settings: the experiment.
    workdir: directory of the run.
    model: the model before training.
    counts: of its parameters.
    prepared: the tokens of each task.
    leaks: training rows with test texts, by task.
    contrasted: how many negatives a row of each task has; None for a loss without negatives.
    sampler: chooses the examples of a step.
    packer: packs their tokens.
    scored: the tables that the run is scored on.
    train_step: compiled for the shapes of the packer.
    free: bytes of each device before the run, if known.
    diagnosed: whether there is memory to compare the tasks' gradients.
  """

  settings: Experiment
  workdir: Path
  model: Embedder
  counts: optim.Counts
  prepared: Mapping[str, data.Prepared]
  leaks: Mapping[str, data.Leaks]
  contrasted: Mapping[str, negatives.Negatives | None]
  sampler: data.Sampler
  packer: data.Packer
  scored: _Scored
  train_step: compile_ahead.Ahead
  free: int | None
  diagnosed: bool = True

  def __call__(self) -> int:
    """Trains to the end, or to `stop_after`, or to a signal; returns the exit code."""
    ended = loop.run(self, self.workdir)
    if ended.finished and parallel.is_main_process():
      self._finish(ended)
    return ended.code

  def state(self) -> TrainState:
    """Makes the state before the first step."""
    settings = self.settings
    optimizer = optim.make_optimizer(settings.optim, settings.steps)
    return step_lib.init_state(
      self.model.params, settings.tasks, optimizer, settings.optim.freeze, settings.balancing
    )

  def step(self, state: TrainState, batch: Step) -> tuple[TrainState, dict]:
    """Takes one step."""
    return self.train_step(state, batch)

  def batch(self, number: int) -> Step:
    """Packs the examples of a step."""
    return self.packer.step(number)

  @functools.cached_property
  def speed(self) -> loop.Speed | None:
    """None for a static embedding: its few products say nothing about how well the devices are used."""
    if models.is_static(self.model.config):
      return None
    return loop.Speed(self._flops, flops.matrix_peak(self.settings.model.dtype))

  @functools.cached_property
  def origins(self) -> Mapping[str, Origin]:
    """The files of each task."""
    return {name: each.origin for name, each in self.prepared.items() if each.origin}

  @functools.cached_property
  def _reports(self) -> dict[str, dict]:
    return {name: each.report for name, each in self.prepared.items()}

  def examples(self, number: int) -> dict[str, list[dict]]:
    """The examples of each task in a step."""
    draws = self.sampler.sample(number)
    return {name: data.examples_of(draw, self.prepared[name], self.model.tokenizer) for name, draw in draws.items()}

  @functools.cached_property
  def _flops(self) -> Callable[[Step], float]:
    params = step_lib.init_params(self.model.params, self.settings.tasks)
    trained, _ = optim.split(params, self.settings.optim.freeze)
    work = models.training_work(self.model.config, self.model.params, trained["encoder"])
    return flops.step_flops(work, self.settings.tasks, self.model.width)

  @functools.cached_property
  def _inference(self) -> Embedder:
    """Without parameters; a new one would be compiled again at each validation."""
    return self.model.inference({})

  def _with(self, params: PyTree) -> Embedder:
    """The embedder with these parameters of the encoder, as it will be loaded from the export."""
    return replace(self._inference, params=models.merge_lora(params, self.model.spec.lora))

  def start(self, first: int) -> None:
    """Prints what is trained, and scores TF-IDF."""
    print(self._introduction(self.speed.peak if self.speed else None, first), flush=True)
    if parallel.is_main_process():
      # Counting words goes through every evaluator, so that one that cannot score its test says so now. The untrained
      # model is scored at the end: nobody waits for it before the first step.
      scoring.before(self.workdir / "before.json", self.scored.test, self.settings.evaluations)

  def _introduction(self, peak: float | None, first: int) -> str:
    """What is trained and on what; `peak` is None where the encoder is a static embedding."""
    experiment = self.settings
    batch = self.packer.step(first)
    lines = [
      f"{'task':18} {'examples':>9} {'texts':>9} {'tokens/text':>11} {'cut':>6} {'skipped':>7} "
      f"{'batch':>6} {'negatives':>9} {'epochs':>7}"
    ]
    mix = self.sampler.mix(experiment.steps)
    for name, report in self._reports.items():
      skipped, task = sum(report["skipped"].values()), experiment.tasks[name]
      contrasted = self.contrasted[name]
      others = f"{contrasted.mean:,.1f}" if contrasted else "-"
      lines.append(
        f"{name:18} {report['examples']:9,} {report['texts']:9,} {report['mean_length']:11.1f} "
        f"{report['truncated']:6,} {skipped:7,} {task.batch_size:6} {others:>9} {mix[name].epochs:7.2f}"
      )
    for name, report in self._reports.items():
      if report["skipped"]:
        lines.append(f"  {name}: {data.in_words(report['skipped'])}")
    lines.append(data.leakage_table(self.leaks))
    if experiment.on_leak == "drop":
      lines[-1] += "; they are left out"
    counts, whole = self.counts, parallel.device_count() / len(parallel.local_devices())
    tokens = np.count_nonzero(batch.tokens.segment) * whole
    lines.append(
      f"{counts.total / 1e6:.2f} M parameters ({counts.trained / 1e6:.2f} M trained) on {parallel.describe()}"
    )
    work = "; a static embedding has no matrix products"
    if peak is not None:
      work = (
        f", {self._flops(batch) * whole / 1e12:,.3g} TFLOP; {experiment.model.dtype} matrices are multiplied at "
        f"{peak / 1e12:,.3g} TFLOP/s here"
      )
    lines.append(f"one step: {tokens:,.0f} tokens{work}")
    lines.append(
      f"evaluations and the export truncate texts at {self.model.max_length} tokens; training truncates them at the "
      "max_length of their task"
    )
    lines.append(self._memory())
    for names, plan in self.packer.plans.items():
      lines.append(
        f"grid for {', '.join(names)}: {' or '.join(map(str, plan.rows))} rows of {plan.length} tokens, "
        f"up to {plan.slots} texts each"
      )
    if first:
      lines.append(f"resuming from step {first} of {experiment.steps}")
    return "\n".join(lines)

  def _memory(self) -> str:
    """What a step needs on each device: XLA's own count where there is one, else an estimate."""
    free = "" if self.free is None else f"; {self.free / 2**20:,.0f} MiB are free"
    if self.train_step.needs:
      needs = ", ".join(map(str, self.train_step.needs))
      return (
        f"memory per device: {needs}, with {self.counts.state_bytes / 2**20:,.0f} MiB of parameters and optimizer{free}"
      )
    longest = max(plan.length for plan in self.packer.plans.values())
    kept = models.training_bytes(self.model.config, self.model.spec, self.packer.tokens_per_chunk, longest).activations
    state = self.counts.state_bytes
    return f"memory per device: about {(state + kept) / 2**20:,.0f} MiB{free}"

  def validate(self, state: TrainState, taken: int, metrics: records.Metrics) -> float | None:
    """Scores the validation splits where one is due; returns what the best checkpoint is chosen by."""
    experiment = self.settings
    every, apart = experiment.evaluate_every or experiment.steps, experiment.checkpoint_every
    # The first of the regular checkpoints after `every` steps: where a run was interrupted changes nothing.
    due = taken == experiment.steps or (taken % apart == 0 and taken % every < apart)
    if not self.scored.validation or not due:
      return None
    embedder = self._with(parallel.to_host(state.params["encoder"]))
    scores = scoring.score(embedder.encode, self.scored.validation, experiment.evaluations)
    metrics.write(taken, {f"validation/{name}": value for name, value in scores.items()})
    if not experiment.best_metric:
      return float(np.mean(list(scoring.primary_metrics(scores).values())))
    return scores[experiment.best_metric]

  @functools.cached_property
  def _diagnosis(self) -> Callable[[TrainState, Step], dict[str, Array]]:
    experiment = self.settings
    return diagnose.make_diagnosis(
      self.model.encoder,
      experiment.tasks,
      experiment.balancing,
      experiment.seed,
      self.packer.rows_per_chunk,
      experiment.optim.freeze,
    )

  @functools.cached_property
  def _collapse(self) -> diagnose.Collapse:
    batches = [task.batch_size for task in self.settings.tasks.values()]
    texts = 2 * (sum(batches) if self.settings.mixing.kind == "all" else min(batches))
    return diagnose.Collapse(self.model.width, texts)

  def diagnose(self, state: TrainState, batch: Step, number: int, metrics: records.Metrics) -> bool:
    """Measures gradients and geometry where they are due; says whether they were."""
    every = self.settings.diagnose_every
    if not every or number % every or not self.diagnosed:
      return False
    try:
      found = {name: float(value) for name, value in parallel.to_host(self._diagnosis(state, batch)).items()}
    except jax.errors.JaxRuntimeError as error:  # it holds a gradient for each task; the state is as it was
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      self.diagnosed = False
      print(f"step {number}: no memory to compare the tasks' gradients, so this is left out; see diagnose_every")
      return True
    metrics.write(number, found)
    if parallel.is_main_process():
      self._collapse.see(number, found)
    return True

  def _finish(self, ended: loop.Ended) -> None:
    """Exports the last weights, scores exactly these, and says where everything is."""
    experiment, workdir = self.settings, self.workdir
    untrained = self._with(self.model.params)
    before = scoring.before(workdir / "before.json", self.scored.test, experiment.evaluations, untrained.encode)
    params = parallel.to_host(ended.state.params["encoder"])
    embedder = self._with(params)
    scores = scoring.score(embedder.encode, self.scored.test, experiment.evaluations)
    environment = json.loads((workdir / "environment.json").read_text())
    skipped = self.scored.skipped
    page = card.text(experiment, embedder, self._reports, environment, before, scores, skipped)
    save.write(embedder, workdir / "export", page)
    if "lora" in params and self._keeps_backbone():
      save.write_adapter(replace(self.model, params=params), workdir / "adapter")
    # Last: with it the run is finished.
    json_file.write_json(workdir / "evaluation.json", {"scores": scores, "skipped": skipped})
    print(comparing.report({"TF-IDF": before["tfidf"], "before": before["untrained"], "after": scores}))
    print(comparing.neighbours(embedder.encode, self.scored.test, experiment.examples_shown))
    best = "" if ended.best_step is None else f"\n  best on validation: the checkpoint of step {ended.best_step}"
    print(_where(workdir) + best)

  def _keeps_backbone(self) -> bool:
    """Whether all of the backbone is frozen: else an adapter of the base would not be the model that was trained."""
    params = step_lib.init_params(self.model.params, self.settings.tasks)
    trained, _ = optim.split(params, self.settings.optim.freeze)
    return not jax.tree.leaves(trained["encoder"]["backbone"])


def find_leaks(experiment: Experiment, tables: Mapping[str, tables_lib.Tables]) -> dict[str, data.Leaks]:
  """What the training rows of each task hold of the texts that the evaluations ask.

  Args:
    experiment: for its tasks, data_dir, cache_dir and what is done about bad rows and leaks.
    tables: of `evaluation.tables.read_tables`, by "test" and "validation".

  Raises:
    ValueError: there are such rows, and `on_leak` says stop.
  """
  held_out = data.HeldOut(
    {f"{name}/{which}": asked_texts(table) for which, own in tables.items() for name, table in own.items()}
  )
  leaks = {
    name: data.find_leaks(
      held_out,
      task.source.resolve(experiment.data_dir),
      "train",
      task.examples,
      cache_dir=Path(experiment.cache_dir or data.user_cache()) / "leakage",
      on_bad_row=experiment.on_bad_row,
    )
    for name, task in experiment.tasks.items()
  }
  if experiment.on_leak == "stop" and any(found.leaking for found in leaks.values()):
    raise ValueError(f"on_leak='stop':\n{data.leakage_table(leaks)}\nuse on_leak='drop' to train without these rows")
  return leaks


def _leakage(on_leak: str, leaks: Mapping[str, data.Leaks]) -> dict:
  """As JSON, without the numbers of the rows."""
  tasks = {
    name: {"rows": found.rows, "leaking": len(found.leaking), "tests": found.tests, "examples": found.examples}
    for name, found in leaks.items()
  }
  return {"on_leak": on_leak, "tasks": tasks}


def _already_done(workdir: Path) -> int:
  print(f"this run is finished; nothing to do\n{_where(workdir)}")
  return 0


def _where(workdir: Path) -> str:
  adapter = ["  adapter/         the LoRA adapter alone: peft.PeftModel.from_pretrained(base, DIR)"]
  return "\n".join(
    [
      f"written to {bucket.shown(workdir)}/:",
      "  export/          the model: mtc.load, or sentence_transformers.SentenceTransformer",
      *(adapter if (workdir / "adapter").exists() else ()),
      "  leakage.json     which test texts the training data hold",
      "  evaluation.json  the scores, and rows skipped; before.json the scores of the untrained model and of TF-IDF",
      "  metrics.jsonl    a line for each logged step; tensorboard --logdir shows the same",
      "  checkpoints/     the run's state; config.json, data.json, environment.json: how to repeat it",
    ]
  )
