"""The loop of a run: restore, step, log, save, stop at a signal. It knows no loss, no model and no task."""

import abc
from collections.abc import Callable, Iterator, Mapping
import contextlib
from dataclasses import dataclass
import math
from pathlib import Path
import signal
import sys
import time
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from mtc import config, data, optim, parallel
from mtc.data.origin import Origin
from mtc.files import json_file
from mtc.progress import Bar
from mtc.types import TrainState
from mtc.workdir import bucket, records
from mtc.workdir.checkpoints import Checkpoints, check_finite, mend_scores

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
_PROFILED = 3  # steps of a profile


class Speed(NamedTuple):
  """What the speed of a run is measured by.

  Attributes:
    flops: a batch of this process -> the operations that it takes.
    peak: operations a second of all devices, at most.
  """

  flops: Callable[[Any], float]
  peak: float


class Ended(NamedTuple):
  """How a run ended."""

  state: TrainState
  finished: bool  # all its steps are taken
  code: int  # of the process
  best_step: int | None  # of the best checkpoint; None = nothing was measured


class Job(abc.ABC):
  """What the loop trains. Contrastive training and masked language modelling each implement it.

  Attributes:
    settings: steps, intervals and limits of the run.
    origins: files of the training data, by task or corpus; checked whenever a checkpoint is saved.
    speed: None = the share of the peak is not measured.
  """

  settings: config.Run
  origins: Mapping[str, Origin] = MappingProxyType({})
  speed: Speed | None = None

  @abc.abstractmethod
  def state(self) -> TrainState:
    """Makes the state before the first step; a checkpoint replaces it."""

  @abc.abstractmethod
  def step(self, state: TrainState, batch: Any) -> tuple[TrainState, dict]:
    """Takes one step, as `training.step.make_step` makes it; the state that goes in is donated."""

  @abc.abstractmethod
  def batch(self, number: int) -> Any:
    """Makes the batch of a step from its number alone."""

  @abc.abstractmethod
  def start(self, first: int) -> None:
    """Prints what will be trained, before the step of number `first`."""

  @abc.abstractmethod
  def validate(self, state: TrainState, taken: int, metrics: records.Metrics) -> float | None:
    """Writes validation scores where they are due; returns the one that chooses the best checkpoint, if any."""

  def diagnose(self, state: TrainState, batch: Any, number: int, metrics: records.Metrics) -> bool:
    """Measures more about a step before it is taken, counted from 1; returns whether it did."""
    return False

  def examples(self, number: int) -> Mapping[str, Any]:
    """The texts of a step by task, as JSON; they are written if its loss is not finite."""
    return {}


@dataclass(kw_only=True)
class _Open:
  """What a run holds open while it takes steps."""

  checkpoints: Checkpoints
  metrics: records.Metrics
  profile: "_Profile"
  watch: "_Watch"


def run(job: Job, workdir: Path) -> Ended:
  """Takes the remaining steps, to the end, to `stop_after` or to a signal.

  Args:
    job: what is trained.
    workdir: directory of checkpoints and metrics.

  Raises:
    FloatingPointError: a step was not finite, under the settings that stop there; names the file of its texts.
    ValueError: the training data changed, or `job.validate` failed; what was trained before is saved.
    OSError: the disk is full or cannot be written, or a checkpoint cannot be read back.
  """
  settings, speed, state = job.settings, job.speed, job.state()  # the peak is measured while the devices are empty
  if parallel.is_main_process():
    mend_scores(bucket.checkpoints(workdir))
  parallel.barrier("the checkpoints")
  with contextlib.closing(Checkpoints(bucket.checkpoints(workdir))) as checkpoints:
    state, first = checkpoints.restore(state) or (state, 0)
    state = parallel.replicate(state)
    job.start(first)
    parallel.barrier("the first step")
    with (
      contextlib.closing(records.Metrics(workdir, first, parallel.is_main_process())) as metrics,
      contextlib.closing(_Profile(settings.profile_at, workdir / "profile")) as profile,
    ):
      held = _Open(checkpoints=checkpoints, metrics=metrics, profile=profile, watch=_Watch(job, workdir, speed))
      state, reached, stopped = _steps(job, state, first, held)
    best = checkpoints.best_step()
  if stopped:
    name = signal.Signals(stopped).name
    print(f"{name}: saved at step {reached} of {settings.steps}; run the same command to resume")
    return Ended(state, False, STOPPED[signal.Signals(stopped)], best)
  if reached < settings.steps:
    print(f"stopped at step {reached} of {settings.steps} as stop_after asks; run the command without it to resume")
  return Ended(state, reached >= settings.steps, 0, best)


def _steps(job: Job, state: TrainState, first: int, held: _Open) -> tuple[TrainState, int, int]:
  """Takes the steps from `first` on; returns the state, the steps taken, and the signal that ended it or 0."""
  settings, checkpoints, watch = job.settings, held.checkpoints, held.watch
  end = max(min(settings.stop_after or settings.steps, settings.steps), first)
  schedule = optim.make_schedule(settings.optim, settings.steps)
  watch.restart()
  taken = saved = first
  bar = Bar(total=settings.steps, initial=first, unit="step", disable=not parallel.is_main_process(), mininterval=0.5)
  batches = data.make_input(job.batch, first, end, settings.input)
  stopped, agree = 0, parallel.Agreement()
  with _signals() as seen, contextlib.closing(batches), contextlib.closing(bar):
    while taken < end and not (stopped := agree(_first(seen))):
      waiting = time.perf_counter()
      _, batch = next(batches)
      waited = time.perf_counter() - waiting
      if job.diagnose(state, batch, taken + 1, held.metrics) | held.profile.turn(state, taken + 1):
        watch.restart()
        waited = 0.0  # the devices had the steps before to do, and then this
      watch.made(batch, waited)
      state, metrics = job.step(state, batch)
      if taken == first:
        bar.unpause()  # compiling says nothing about the time that is left
      taken += 1
      watch.sent(taken, metrics)
      bar.update()
      if taken % settings.log_every == 0 or taken == end:
        row = watch.row() | {"learning_rate": float(np.asarray(schedule(taken - 1)))}
        held.metrics.write(taken, row)
        bar.set_postfix_str(_postfix(row), refresh=False)
      if taken % settings.checkpoint_every == 0 or taken == end:
        watch.check()
        _check_mapped(job.origins)
        checkpoints.wait()  # here, where no host copy of the state is needed yet: what is read back is as large
        host = parallel.to_host(state)
        check_finite(host, taken)
        try:
          best = job.validate(state, taken, held.metrics)
        except (ValueError, OSError):
          checkpoints.save(host, taken)
          checkpoints.wait()
          raise
        checkpoints.save(host, taken, best)
        del host  # else a second copy of the state stays in memory until the next one
        saved = taken
        _check_unchanged(job.origins, checkpoints, taken)
        watch.restart()
    if saved < taken:  # a signal came between two checkpoints
      watch.check()
      _check_mapped(job.origins)
      checkpoints.wait()
      host = parallel.to_host(state)
      check_finite(host, taken)
      checkpoints.save(host, taken)
    checkpoints.wait()
    stopped = stopped or max(agree(_first(seen)), agree(_first(seen)))  # the second hears what came since
  return state, taken, stopped


def _check_mapped(origins: Mapping[str, Origin]) -> None:
  """Before a checkpoint: what was learned from changed bytes is not saved."""
  for origin in origins.values():
    origin.check_mapped()


def _check_unchanged(origins: Mapping[str, Origin], checkpoints: Checkpoints, taken: int) -> None:
  """After a checkpoint, whose tokens were made before: the run can go on from it with the old data, and no other."""
  changed = [name for name, origin in origins.items() if origin.changed()]
  if changed:
    checkpoints.wait()
    raise data.Changed(
      f"the training data of {', '.join(changed)} changed while the run was under way; it is saved at step {taken}. "
      "Put the old data back and run the same command to go on, or use another workdir for the new data"
    )


def _postfix(row: dict[str, float]) -> str:
  mfu = [f"MFU {row['mfu']:.1%}"] if "mfu" in row else []
  speed = [f"loss {row['loss']:.3f}", f"{row['tokens_per_second']:,.0f} tokens/s", *mfu]
  return ", ".join([*speed, f"padding {row['padding']:.1%}", f"input wait {row['input_wait']:.1%}"])


def _first(seen: list[int]) -> int:
  return seen[0] if seen else 0


class _Watch:
  """What the loop has seen since the last logged line, and whether the steps stay finite."""

  def __init__(self, job: Job, workdir: Path, speed: Speed | None):
    self._settings, self._workdir, self._held, self._speed = job.settings, workdir, job.examples, speed
    self._sent: list[tuple[int, dict]] = []  # steps whose metrics were not read yet: one, or two for a moment
    self._skipped = 0
    self.restart()

  def restart(self) -> None:
    """Begins to count again: what was evaluated or saved meanwhile is no part of the step's speed."""
    self._began = time.perf_counter()
    self._waited = 0.0
    self._real = self._grid = self._examples = self._steps = 0
    self._flops = 0.0

  def made(self, batch: Any, waited: float) -> None:
    """A batch has come from the input, `waited` seconds after it was asked for.

    They count as waiting only if the devices had nothing left to do when it came; at most, then: they may have become
    idle meanwhile.
    """
    if not self._sent or self._sent[-1][1]["loss"].is_ready():
      self._waited += waited
    self._real += int(np.count_nonzero(batch.tokens.segment))
    self._grid += batch.tokens.segment.size
    self._examples += batch.examples()
    self._steps += 1
    if self._speed:
      self._flops += self._speed.flops(batch)

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
    if self._speed:
      row["mfu"] = self._flops * whole / seconds / self._speed.peak
    self.restart()
    return row

  def _check(self, sent: list[tuple[int, dict]]) -> None:
    for step, metrics in sent:
      values = {name: float(value) for name, value in parallel.to_host(metrics).items()}
      applied, wrong = values.pop("finite") == 1, self._wrong(values)
      if applied and not wrong:
        continue
      what = f"{wrong or 'an update failed'} at step {step}"
      if applied:
        raise FloatingPointError(
          f"{what}, and its update was applied{self._kept(step, values)}. A device may be broken; the "
          "same command goes on from the last checkpoint"
        )
      message = f"{what}; its update was not applied{self._kept(step, values)}"
      self._skipped += 1
      if self._settings.on_nonfinite == "stop":
        raise FloatingPointError(
          f"{message}. Lower optim.learning_rate, or pass over such steps with on_nonfinite=skip"
        )
      if self._skipped > (limit := self._settings.nonfinite_limit):
        raise FloatingPointError(
          f"{message}, and nonfinite_limit={limit} such steps were skipped before. Lower optim.learning_rate"
        )
      print(f"warning: {message} ({self._skipped} of at most {self._settings.nonfinite_limit})", file=sys.stderr)

  def _wrong(self, values: Mapping[str, float]) -> str:
    """What is not as it should be in a step's metrics; "" = nothing."""
    bad = [name.removesuffix("/loss") for name in values if name.endswith("/loss") and not math.isfinite(values[name])]
    if bad:
      return f"the loss of {' and '.join(bad)} is not finite"
    if not math.isfinite(values["loss"]):
      return "the loss is not finite"
    if not math.isfinite(values["grad_norm"]):
      return "the gradient is not finite"
    limit = self._settings.grad_norm_limit
    if limit and values["grad_norm"] > limit:
      return f"the gradient's norm {values['grad_norm']:.3g} is over grad_norm_limit={limit:g}"
    return ""

  def _kept(self, step: int, values: Mapping[str, float]) -> str:
    """Writes what a step that failed has measured and which texts it held; returns where that is, for a message."""
    if not parallel.is_main_process():
      return ""
    path = self._workdir / "nonfinite" / f"step_{step}.json"
    path.parent.mkdir(exist_ok=True)
    measured = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    json_file.write_json(path, {"step": step, "measured": measured, "examples": self._held(step - 1)})
    return f"; the texts of its batch are in {bucket.shown(path)}"


class _Profile:
  """A trace of a few steps, for TensorBoard and Perfetto. It changes nothing of what they compute."""

  def __init__(self, first: int, folder: Path):
    """`first`: the step with which the trace begins, counted from 1; 0 = none."""
    self._first, self._folder, self._on = first, folder, False

  def turn(self, state: TrainState, step: int) -> bool:
    """Begins or ends the trace before this step, if it is the one to; says whether it did."""
    if step != self._first + (_PROFILED if self._on else 0):
      return False
    jax.block_until_ready(state)  # what was sent before is not in the trace, and what was sent within it is
    if self._on:
      self.close()
    else:
      jax.profiler.start_trace(self._folder)
      self._on = True
    return True

  def close(self) -> None:
    """Ends the trace, if there is one."""
    if self._on:
      self._on = False
      jax.profiler.stop_trace()
      print(f"the trace: {self._folder}, for tensorboard --logdir or, *.trace.json.gz, ui.perfetto.dev", flush=True)


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
