"""The loop of a run: restore, step, log, save, stop at a signal. Knows no loss, no model and no task."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
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


def run(
  settings: config.Run,
  workdir: Path,
  state: TrainState,
  train_step: Callable[[TrainState, Any], tuple[TrainState, dict]],
  make_batch: Callable[[int], Any],
  begin: Callable[[int], None],
  measure: Callable[[TrainState, int, records.Metrics], float | None],
  diagnose: Callable[[TrainState, Any, int, records.Metrics], bool] = lambda state, batch, step, writer: False,
  examples: Callable[[int], Mapping[str, Any]] = lambda number: {},
  origins: Mapping[str, Origin] = MappingProxyType({}),
  speed: Speed | None = None,
) -> Ended:
  """Takes the steps that are left, to the end, to `stop_after` or to a signal.

  Args:
    settings: steps, and what steers them.
    workdir: where checkpoints and metrics are.
    state: before the first step; a checkpoint replaces it.
    train_step: of `step.make_step`.
    make_batch: the batch of a step, from its number alone.
    begin: is told the number of steps taken before, once they are known.
    measure: (state, step, writer) -> what the best checkpoint is chosen by, if anything.
    diagnose: (state before a step, its batch, its number from 1 on, writer) -> whether it did anything.
    examples: what the batch of a step holds, for people, as JSON by task; asked for where a step is not finite.
    origins: of the training data, by task or corpus; looked at when a checkpoint is saved.
    speed: None = the share of the peak is not measured.

  Raises:
    FloatingPointError: a step was not finite, as the settings say; names the file that says what it held.
    ValueError: the training data changed, or `measure` cannot; what was trained before is saved.
    OSError: the disk is full, or refuses, or a checkpoint cannot be read back.
  """
  if parallel.is_main_process():
    mend_scores(bucket.checkpoints(workdir))
  parallel.meet("the checkpoints")
  with contextlib.closing(Checkpoints(bucket.checkpoints(workdir))) as checkpoints:
    state, first = checkpoints.restore(state) or (state, 0)
    state = parallel.replicate(state)
    begin(first)
    parallel.meet("the first step")
    with contextlib.closing(records.Metrics(workdir, first, parallel.is_main_process())) as writer:

      def measured(now: TrainState, taken: int) -> float | None:
        return measure(now, taken, writer)

      def diagnosed(now: TrainState, batch: Any, step: int) -> bool:
        return diagnose(now, batch, step, writer)

      watch = _Watch(settings, workdir, examples, speed)
      with contextlib.closing(_Profile(settings.profile_at, workdir / "profile")) as profile:
        state, reached, stopped = _steps(
          settings,
          state,
          first,
          train_step,
          make_batch,
          checkpoints,
          writer,
          watch,
          measured,
          diagnosed,
          origins,
          profile,
        )
    best = checkpoints.best_step()
  if stopped:
    name = signal.Signals(stopped).name
    print(f"{name}: saved at step {reached} of {settings.steps}; the same command goes on from there")
    return Ended(state, False, STOPPED[signal.Signals(stopped)], best)
  if reached < settings.steps:
    print(f"stopped at step {reached} of {settings.steps}, as stop_after says; the same command without it goes on")
  return Ended(state, reached >= settings.steps, 0, best)


def _steps(
  settings: config.Run,
  state: TrainState,
  first: int,
  train_step: Callable[[TrainState, Any], tuple[TrainState, dict]],
  make_batch: Callable[[int], Any],
  checkpoints: Checkpoints,
  writer: records.Metrics,
  watch: "_Watch",
  measure: Callable[[TrainState, int], float | None],
  diagnose: Callable[[TrainState, Any, int], bool],
  origins: Mapping[str, Origin],
  profile: "_Profile",
) -> tuple[TrainState, int, int]:
  """Runs the steps from `first` on; returns the state, the steps taken, and the signal that ended it or 0."""
  end = max(min(settings.stop_after or settings.steps, settings.steps), first)
  schedule = optim.make_schedule(settings.optim, settings.steps)
  watch.restart()
  taken = saved = first
  bar = Bar(total=settings.steps, initial=first, unit="step", disable=not parallel.is_main_process(), mininterval=0.5)
  batches = data.make_input(make_batch, first, end, settings.input)
  stopped, agree = 0, parallel.Agreement()
  with _signals() as seen, contextlib.closing(batches), contextlib.closing(bar):
    while taken < end and not (stopped := agree(_first(seen))):
      waiting = time.perf_counter()
      _, batch = next(batches)
      waited = time.perf_counter() - waiting
      if diagnose(state, batch, taken + 1) | profile.turn(state, taken + 1):
        watch.restart()
        waited = 0.0  # the devices had the steps before to do, and then this
      watch.made(batch, waited)
      state, metrics = train_step(state, batch)
      if taken == first:
        bar.unpause()  # compiling says nothing about the time that is left
      taken += 1
      watch.sent(taken, metrics)
      bar.update()
      if taken % settings.log_every == 0 or taken == end:
        row = watch.row() | {"learning_rate": float(np.asarray(schedule(taken - 1)))}
        writer.write(taken, row)
        bar.set_postfix_str(_postfix(row), refresh=False)
      if taken % settings.checkpoint_every == 0 or taken == end:
        watch.check()
        _check_mapped(origins)
        checkpoints.wait()  # here, where no host copy of the state is needed yet: what is read back is as large
        host = parallel.to_host(state)
        check_finite(host, taken)
        try:
          best = measure(state, taken)
        except (ValueError, OSError):
          checkpoints.save(host, taken)
          checkpoints.wait()
          raise
        checkpoints.save(host, taken, best)
        del host  # else a second copy of the state stays in memory until the next one
        saved = taken
        _check_unchanged(origins, checkpoints, taken)
        watch.restart()
    if saved < taken:  # a signal came between two checkpoints
      watch.check()
      _check_mapped(origins)
      checkpoints.wait()
      host = parallel.to_host(state)
      check_finite(host, taken)
      checkpoints.save(host, taken)
    checkpoints.wait()
    stopped = stopped or max(agree(_first(seen)), agree(_first(seen)))  # the second hears what came since
  return state, taken, stopped


def _check_mapped(origins: Mapping[str, Origin]) -> None:
  """Before a checkpoint: what was learnt from bytes that somebody changed is not saved."""
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

  def __init__(
    self, settings: config.Run, workdir: Path, examples: Callable[[int], Mapping[str, Any]], speed: Speed | None
  ):
    self._settings, self._workdir, self._held, self._speed = settings, workdir, examples, speed
    self._sent: list[tuple[int, dict]] = []  # steps whose metrics were not read yet: one, or two for a moment
    self._skipped = 0
    self.restart()

  def restart(self) -> None:
    """Begins to count anew: what was evaluated or saved meanwhile is no part of the step's speed."""
    self._began = time.perf_counter()
    self._waited = 0.0
    self._real = self._grid = self._examples = self._steps = 0
    self._flops = 0.0

  def made(self, batch: Any, waited: float) -> None:
    """A batch has come from the input, after so many seconds.

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
          f"{what}, and its update was applied all the same{self._kept(step, values)}. A device may be broken; the "
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
