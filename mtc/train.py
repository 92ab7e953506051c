"""When things happen in a run: restore, step, log, evaluate, save, export. Knows no loss and no model."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import math
import os
from pathlib import Path
import signal
import sys
import time

import jax
import numpy as np
import tqdm

from mtc import data, evaluate, export, optim, parallel, records, step as step_lib
from mtc.checkpoint import Checkpoints
from mtc.config import Experiment
from mtc.embed import Embedder
from mtc.start import start_model
from mtc.types import Step, TrainState

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


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
  workdir = workdir.absolute()
  if workdir.exists() and not workdir.is_dir():
    raise ValueError(f"--workdir {workdir} is a file; name a folder")
  workdir.mkdir(parents=True, exist_ok=True)
  records.check_config(workdir, experiment)
  if (workdir / "evaluation.json").exists() and (workdir / "export").exists():
    return lambda: _already_done(workdir)

  tables = {which: evaluate.read_tables(experiment, which) for which in ("test", "validation")}
  if experiment.best_metric and experiment.best_metric.split("/")[0] not in tables["validation"]:
    raise ValueError(
      f"best_metric={experiment.best_metric!r} names no evaluation with validation; "
      f"there is {', '.join(tables['validation'])}"
    )
  model = start_model(experiment, workdir)
  prepared = {}
  for name, task in experiment.tasks.items():
    anchor, positive = task.roles()
    prepared[name] = data.prepare(
      task.source.resolve(experiment.data_dir),
      "train",
      task.examples,
      model.tokenizer,
      max_length=task.max_length,
      prompts={"anchor": model.prompts[anchor], "positive": model.prompts[positive]},
      cache_dir=Path(experiment.cache_dir or data.user_cache()) / "tokens",
      on_bad_row=experiment.on_bad_row,
      teacher=_teacher(experiment, name, model.width),
    )
  sampler = data.Sampler(
    prepared,
    {name: task.batch_size for name, task in experiment.tasks.items()},
    experiment.seed,
    experiment.mixing,
    {name: task.label_exponent for name, task in experiment.tasks.items()},
  )
  packer = data.Packer(prepared, sampler, parallel.device_count(), parallel.local_devices(), experiment.chunks)
  reports = {name: p.report for name, p in prepared.items()}
  records.check_data(workdir, reports)
  if parallel.is_main_process():
    records.write_run(workdir, experiment, reports, command)
  return _Run(experiment, workdir, model, reports, sampler, packer, tables["test"], tables["validation"])


@dataclass
class _Run:
  experiment: Experiment
  workdir: Path
  model: Embedder  # untrained
  reports: dict[str, dict]
  sampler: data.Sampler
  packer: data.Packer
  tables: evaluate.Tables
  validation: evaluate.Tables

  def __call__(self) -> int:
    """Trains to the end, or to `stop_after`, or to a signal; returns the exit code."""
    experiment, workdir = self.experiment, self.workdir
    optimizer = optim.make_optimizer(experiment.optim, experiment.steps)
    state, first = step_lib.init_state(self.model.params, experiment.tasks, optimizer), 0
    with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
      restored = checkpoints.restore(state)
      if restored is not None:
        state, first = restored
      state = parallel.replicate(state)
      print(self._introduction(first), flush=True)
      untrained = self.model.inference(self.model.params)
      before = evaluate.before(workdir / "before.json", untrained.encode, self.tables, experiment.evaluations)
      with contextlib.closing(records.Metrics(workdir, first, parallel.is_main_process())) as writer:
        state, reached, stopped = self._steps(state, first, optimizer, checkpoints, writer)
      if stopped:
        print(
          f"{signal.Signals(stopped).name}: saved at step {reached} of {experiment.steps}; "
          "the same command goes on from there"
        )
        return STOPPED[signal.Signals(stopped)]
      if reached < experiment.steps:
        print(
          f"stopped at step {reached} of {experiment.steps}, as stop_after says; the same command without it goes on"
        )
        return 0
      if parallel.is_main_process():
        self._finish(state, checkpoints, before)
      return 0

  def _introduction(self, first: int) -> str:
    lines = [
      f"{'task':18} {'examples':>9} {'texts':>9} {'tokens/text':>11} {'cut':>6} {'skipped':>7} "
      f"{'batch':>6} {'epochs':>7}"
    ]
    mix = self.sampler.mix(self.experiment.steps)
    for name, report in self.reports.items():
      skipped, task = sum(report["skipped"].values()), self.experiment.tasks[name]
      lines.append(
        f"{name:18} {report['examples']:9,} {report['texts']:9,} {report['mean_length']:11.1f} "
        f"{report['truncated']:6,} {skipped:7,} {task.batch_size:6} {mix[name].epochs:7.2f}"
      )
    count = sum(leaf.size for leaf in jax.tree.leaves(self.model.params))
    lines.append(f"{count / 1e6:.2f} M parameters on {parallel.describe()}; a device's grids:")
    for names, plan in self.packer.plans.items():
      lines.append(
        f"  {', '.join(names)}: {' or '.join(map(str, plan.rows))} rows of {plan.length} tokens, "
        f"up to {plan.slots} texts each"
      )
    if first:
      lines.append(f"going on from step {first} of {self.experiment.steps}")
    return "\n".join(lines)

  def _steps(
    self, state, first: int, optimizer, checkpoints: Checkpoints, writer: records.Metrics
  ) -> tuple[TrainState, int, int]:
    """Runs the steps from `first` on; returns the state, the steps taken, and the signal that ended it or 0."""
    experiment = self.experiment
    end = max(min(experiment.stop_after or experiment.steps, experiment.steps), first)
    train_step = step_lib.make_train_step(
      self.model.encoder, experiment.tasks, optimizer, experiment.seed, self.packer.rows_per_chunk
    )
    schedule = optim.make_schedule(experiment.optim, experiment.steps)
    watch = _Watch(experiment)
    taken = saved = first
    bar = tqdm.tqdm(
      total=experiment.steps, initial=first, unit="step", disable=not parallel.is_main_process(), mininterval=0.5
    )
    steps = data.make_input(self.packer.step, first, end, experiment.input)
    with _signals() as stopped, contextlib.closing(steps), contextlib.closing(bar):
      while taken < end and not stopped:
        waiting = time.perf_counter()
        _, batch = next(steps)
        watch.made(batch, time.perf_counter() - waiting)
        state, metrics = train_step(state, batch)
        taken += 1
        watch.sent(taken, metrics)
        bar.update()
        if taken % experiment.log_every == 0 or taken == end:
          row = watch.row() | {"learning_rate": float(np.asarray(schedule(taken - 1)))}
          writer.write(taken, row)
          bar.set_postfix_str(f"loss {row['loss']:.3f}, {row['tokens_per_second']:,.0f} tokens/s", refresh=False)
        if taken % experiment.checkpoint_every == 0 or taken == end:
          watch.check()
          checkpoints.save(parallel.to_host(state), taken, self._validate(state, taken, saved, writer))
          saved = taken
          watch.restart()
      if saved < taken:  # a signal came between two checkpoints
        watch.check()
        checkpoints.save(parallel.to_host(state), taken)
      checkpoints.wait()
    return state, taken, stopped[0] if stopped else 0

  def _validate(self, state: TrainState, taken: int, saved: int, writer: records.Metrics) -> float | None:
    """Scores the validation splits where one is due; returns what the best checkpoint is chosen by."""
    experiment = self.experiment
    every = experiment.evaluate_every or experiment.steps
    if not self.validation or (taken // every == saved // every and taken < experiment.steps):
      return None
    embedder = self.model.inference(parallel.to_host(state.params["encoder"]))
    scores = evaluate.score(embedder.encode, self.validation, experiment.evaluations)
    writer.write(taken, {f"validation/{name}": value for name, value in scores.items()})
    if not experiment.best_metric:
      return float(np.mean(list(evaluate.first_metrics(scores).values())))
    if experiment.best_metric not in scores:
      raise ValueError(f"best_metric={experiment.best_metric!r} was not measured; there is {', '.join(scores)}")
    return scores[experiment.best_metric]

  def _finish(self, state: TrainState, checkpoints: Checkpoints, before: dict) -> None:
    """Exports the last weights, scores exactly these, and says where everything is."""
    workdir = self.workdir
    embedder = self.model.inference(parallel.to_host(state.params["encoder"]))
    scores = evaluate.score(embedder.encode, self.tables, self.experiment.evaluations)
    export.write(embedder, workdir / "export")
    records.write_json(workdir / "evaluation.json", {"scores": scores})  # last: with it the run is finished
    print(evaluate.report({"TF-IDF": before["tfidf"], "before": before["untrained"], "after": scores}))
    print(evaluate.neighbours(embedder.encode, self.tables, self.experiment.examples_shown))
    best = checkpoints.best_step()
    print(_where(workdir) + ("" if best is None else f"\n  best on validation: the checkpoint of step {best}"))


class _Watch:
  """What the loop has seen since the last logged line, and whether the steps stay finite."""

  def __init__(self, experiment: Experiment):
    self._experiment = experiment
    self._sent: list[tuple[int, dict]] = []  # steps whose metrics were not read yet: one, or two for a moment
    self._skipped = 0
    self.restart()

  def restart(self) -> None:
    """Begins to count anew: what was evaluated or saved meanwhile is no part of the step's speed."""
    self._began = time.perf_counter()
    self._waited = 0.0
    self._real = self._grid = self._examples = self._steps = 0

  def made(self, batch: Step, waited: float) -> None:
    """A batch has come from the input, after so many seconds.

    They count as waiting only if the devices had nothing left to do when it came; at most, then: they may have become
    idle meanwhile.
    """
    if not self._sent or self._sent[-1][1]["loss"].is_ready():
      self._waited += waited
    self._real += int(np.count_nonzero(batch.tokens.segment))
    self._grid += batch.tokens.segment.size
    self._examples += sum(int(task.weight.sum()) for task in batch.tasks.values())
    self._steps += 1

  def sent(self, step: int, metrics: dict) -> None:
    """A step was sent to the devices; the one before it is checked meanwhile, so that they never wait for the host."""
    before, self._sent = self._sent, [(step, metrics)]
    self._check(before)

  def check(self) -> None:
    """Waits for the last step and checks it."""
    before, self._sent = self._sent, []
    self._check(before)

  def row(self) -> dict[str, float]:
    """The line of metrics.jsonl for the last step. Waits for it: the time is that of whole steps."""
    metrics = {name: float(value) for name, value in parallel.to_host(self._sent[-1][1]).items() if name != "finite"}
    self.check()
    seconds = time.perf_counter() - self._began
    whole = parallel.device_count() / len(parallel.local_devices())
    row = metrics | {
      "tokens_per_second": self._real * whole / seconds,
      "examples_per_second": self._examples * whole / seconds,
      "seconds_per_step": seconds / self._steps,
      "padding": 1 - self._real / self._grid,
      "input_wait": self._waited / seconds,
    }
    self.restart()
    return row

  def _check(self, sent: list[tuple[int, dict]]) -> None:
    for step, metrics in sent:
      if float(parallel.to_host(metrics["finite"])):
        continue
      losses = {
        name.removesuffix("/loss"): float(value)
        for name, value in parallel.to_host(metrics).items()
        if name.endswith("/loss")
      }
      bad = [name for name, value in losses.items() if not math.isfinite(value)]
      what = f"the loss of {' and '.join(bad)}" if bad else "the gradient"
      message = f"{what} is not finite at step {step}; its update was not applied"
      self._skipped += 1
      if self._experiment.on_nonfinite == "stop":
        raise FloatingPointError(
          f"{message}. Lower optim.learning_rate, or pass over such steps with on_nonfinite=skip"
        )
      if self._skipped > (limit := self._experiment.nonfinite_limit):
        raise FloatingPointError(
          f"{message}, and nonfinite_limit={limit} such steps were skipped before. Lower optim.learning_rate"
        )
      print(f"warning: {message} ({self._skipped} of at most {self._experiment.nonfinite_limit})", file=sys.stderr)


def _teacher(experiment: Experiment, name: str, width: int) -> data.Teacher | None:
  """The teacher of a task; raises ValueError for one of too few dimensions."""
  task = experiment.tasks[name]
  if not task.teacher:
    return None
  teacher = data.Teacher([vectors.resolve(experiment.data_dir) for vectors in task.teacher], task.teacher_dim)
  if teacher.dim < (least := task.loss.teacher_dim(width)):
    raise ValueError(
      f"the teacher of task {name!r} has {teacher.dim} dimensions, and its loss needs {least} or more; "
      "use SimilarityDistillation, or a smaller model.dim"
    )
  return teacher


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Collects the first SIGINT or SIGTERM; a second one ends the process at once."""
  seen: list[int] = []

  def note(number: int, _: object) -> None:
    seen.append(number)
    signal.signal(number, signal.SIG_DFL)

  old = {number: signal.signal(number, note) for number in STOPPED}
  try:
    yield seen
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)


def _already_done(workdir: Path) -> int:
  print(f"this run is finished; nothing to do\n{_where(workdir)}")
  return 0


def _where(workdir: Path) -> str:
  shown = os.path.relpath(workdir)
  return "\n".join(
    [
      f"where everything is: {shown}/",
      "  export/          the model: mtc.load, or sentence_transformers.SentenceTransformer",
      "  evaluation.json  the scores; before.json those of the untrained model and of TF-IDF",
      "  metrics.jsonl    a line for each logged step; tensorboard --logdir shows the same",
      "  checkpoints/     the run's state; config.json, data.json, environment.json: how to repeat it",
    ]
  )
