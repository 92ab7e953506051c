"""The runs of a transfer report: multi-task and single-task training from one untrained model, scored on every test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import copy
from dataclasses import asdict, dataclass, replace
import hashlib
import json
from pathlib import Path
import shlex
import signal
import statistics
import time
from typing import Any, NamedTuple

import numpy as np

from mtc import cli, data, pages, parallel
from mtc.config import Experiment, to_dict
from mtc.embedder import save, start
from mtc.embedder.embedder import Embedder, load
from mtc.evaluation import scoring
from mtc.evaluation.tables import Tables, read_tables
from mtc.evaluators import Measured
from mtc.files import atomic, json_file
from mtc.losses import Matryoshka
from mtc.multitask import balancing
from mtc.training import contrastive, loop
from mtc.transfer import tables as transfer_tables
from mtc.transfer.tables import START, TOGETHER
from mtc.workdir import bucket, records

_BUDGETS = {"examples": ("examples",), "steps": ("steps",), "both": ("examples", "steps")}
_WRITTEN = ("transfer.json", "transfer.md", "transfer.html")


@dataclass
class Options:
  """How much is trained.

  Attributes:
    seeds: how many, from `Experiment.seed` on.
    budget: of a task alone. examples: as many examples of it as together has; steps: as many tokens as together has of
      all tasks, in more steps of the same batch, for equal compute; both: the better of these is compared with.
    leave_one_out: also train all tasks but one, with as many examples of each other task as together has.
    learning_rates: to choose from, on validation, for together and for each task alone; () = the config's.
  """

  seeds: int = 1
  budget: str = "both"
  leave_one_out: bool = False
  learning_rates: tuple[float, ...] = ()

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right."""
    if self.seeds < 1:
      raise ValueError(f"seeds={self.seeds} is not positive; use 1 or more")
    if self.budget not in _BUDGETS:
      raise ValueError(f"budget={self.budget!r} is unknown; use {', '.join(_BUDGETS)}")
    if not all(0 < rate < float("inf") for rate in self.learning_rates):
      raise ValueError(f"learning_rates={self.learning_rates} are not all positive; 1e-4 and 1e-3 for example")
    if len(set(self.learning_rates)) < len(self.learning_rates):
      raise ValueError(f"learning_rates={self.learning_rates} has one twice; name each once")


class Way(NamedTuple):
  """One way to train: what a seed and a learning rate make a run of."""

  kind: str  # together | alone | without
  task: str = ""
  budget: str = ""  # of alone

  @property
  def name(self) -> str:
    """As the report calls it."""
    spent = {"examples": " (equal examples)", "steps": " (equal compute)"}.get(self.budget, "")
    return f"{self.kind} {self.task}".strip() + spent

  def folder(self, seed: int, learning_rate: float) -> str:
    """The name of the workdir of a run."""
    return "-".join(part for part in (*self, f"lr{learning_rate:g}", f"seed{seed}") if part)


def prepare(
  experiment: Experiment, workdir: Path, options: Options, config: str = "", command: Sequence[str] = ()
) -> Callable[[], int]:
  """Checks everything that can be wrong before the first run, and returns the whole report to be made.

  Args:
    experiment: all tasks together.
    workdir: the folder of the report; made where it is missing, gone on with where it is not.
    options: what else is trained.
    config: the name of the config's file, for the record.
    command: what the user typed, for the record.

  Returns:
    A function that trains, evaluates and writes, and returns the exit code.

  Raises:
    ValueError, OSError: the options, the config, the data, the model or the workdir cannot be used; says what would.
  """
  options.validate()
  experiment.validate()
  if len(experiment.tasks) < 2:
    raise ValueError(f"the config has one task, {next(iter(experiment.tasks))!r}; transfer takes two or more")
  workdir = records.open_workdir(workdir, experiment)
  asked = asdict(options) | {"learning_rates": list(options.learning_rates), "experiment": _digest(experiment)}
  written = all((workdir / name).exists() for name in _WRITTEN)
  if written and json.loads((workdir / "transfer.json").read_text())["options"] == asked:
    return lambda: _already_done(workdir)
  skipped: data.SkippedRows = {}
  tables = {which: read_tables(experiment, which, skipped) for which in ("test", "validation")}
  if not tables["test"]:
    raise ValueError("no evaluation of the config has a test split here; transfer compares scores on tests")
  missing = [name for name in experiment.tasks if name not in tables["validation"]]
  if missing and len(options.learning_rates) > 1:
    raise ValueError(
      f"learning_rates are chosen on validation, and there is none for {', '.join(missing)}; give each task an "
      "evaluation of its name with a validation split, or name one learning rate"
    )
  leaks = contrastive.find_leaks(experiment, tables)
  _, prepared = start.model_and_data(experiment, workdir / "start", leaks)
  reports = {name: task.report for name, task in prepared.items()}
  records.check_data(workdir, reports)
  records.write_run(workdir, experiment, reports, command)
  sampler = start.make_sampler(experiment, prepared)
  seen = {language for report in reports.values() for language in report["languages"] if language}
  tokens = {name: _tokens_per_example(task) for name, task in prepared.items()}
  budgets = _Budgets(experiment, {name: mix.steps for name, mix in sampler.mix(experiment.steps).items()}, tokens)
  about = {"config": config, "command": f"python -m mtc.transfer {shlex.join(command[1:])}", "options": asked}
  about["skipped"] = skipped  # of the tests and validation; data.json says it of the training rows
  return _Report(experiment, workdir, options, tables, leaks, budgets, seen, command, about)


class _Budgets:
  """How long each way trains, so that it is comparable with together."""

  def __init__(self, experiment: Experiment, steps: Mapping[str, int], tokens: Mapping[str, float]):
    """`steps`: of together that hold each task; `tokens`: of an example of each task, the mean."""
    self._experiment, self._held = experiment, steps
    self._step = {name: task.batch_size * tokens[name] for name, task in experiment.tasks.items()}  # tokens

  def steps(self, way: Way) -> int:
    experiment = self._experiment
    if way.kind == "together" or (way.kind == "without" and experiment.mixing.kind == "all"):
      return experiment.steps
    if way.kind == "without":
      return max(experiment.steps - self._held[way.task], 1)
    if way.budget == "examples":
      return max(self._held[way.task], 1)
    return max(round(self.tokens(Way("together")) / self._step[way.task]), 1)

  def examples(self, way: Way) -> dict[str, int]:
    """Anchors of each task; with one task a step, of the shares that the schedule gives to the first seed."""
    held = {way.task: self.steps(way)} if way.kind == "alone" else dict(self._held)
    if way.kind == "without":
      del held[way.task]
    return {name: steps * self._experiment.tasks[name].batch_size for name, steps in held.items()}

  def tokens(self, way: Way) -> float:
    """What it is expected to encode."""
    return sum(n / self._experiment.tasks[name].batch_size * self._step[name] for name, n in self.examples(way).items())


class _Progress:
  """Says which run of how many this is, and how long the others will take at the speed of those before it."""

  def __init__(self, tokens: Sequence[float]):
    """`tokens`: what each run is expected to encode."""
    self._runs, self._left, self._number = len(tokens), sum(tokens), 0
    self._spent = self._done = 0.0

  @contextlib.contextmanager
  def run(self, name: str, tokens: float) -> Iterator[None]:
    """The next run, while it is trained and evaluated."""
    began, self._number = time.perf_counter(), self._number + 1
    rest = f", about {self._spent / self._done * self._left / 60:.1f} minutes left" if self._done else ""
    print(f"\n=== run {self._number} of {self._runs}: {name}{rest}", flush=True)
    yield
    self._spent += time.perf_counter() - began
    self._done += tokens
    self._left -= tokens

  def skip(self, tokens: float) -> None:
    """The next run is finished already."""
    self._number += 1
    self._left -= tokens


@dataclass
class _Report:
  experiment: Experiment
  workdir: Path
  options: Options
  tables: Mapping[str, Tables]  # by "test" and "validation"
  leaks: Mapping[str, data.Leaks]
  budgets: _Budgets
  seen: set[str]
  command: Sequence[str]
  about: dict[str, Any]

  def __post_init__(self):
    tasks, options = list(self.experiment.tasks), self.options
    self.seeds = [self.experiment.seed + i for i in range(options.seeds)]
    self.rates = options.learning_rates or (self.experiment.optim.learning_rate,)
    self.ways = [Way(TOGETHER), *(Way("alone", task, budget) for task in tasks for budget in _BUDGETS[options.budget])]
    self.left_out = [Way("without", task) for task in tasks] if options.leave_one_out else []
    self._embedder: Embedder | None = None

  def __call__(self) -> int:
    """Trains what is not trained yet, evaluates and writes; returns the exit code, of a run that was stopped if any."""
    # Whichever learning rate is chosen, the numbers of runs and of their tokens are the same.
    planned = self.ways * (len(self.rates) + len(self.seeds) - 1) + self.left_out * len(self.seeds)
    self.progress = _Progress([self.budgets.tokens(way) for way in planned])
    with _stopping():
      for seed in self.seeds:
        self._start(seed)
      for way in self.ways:
        for rate in self.rates:
          if code := self._train(way, self.seeds[0], rate):
            return code
      tuning = self._tune()
      chosen = {Way(row["kind"], row["task"], row["budget"]): row["learning_rate"] for row in tuning if row["chosen"]}
      chosen |= dict.fromkeys(self.left_out, chosen[Way(TOGETHER)])
      for way in chosen:
        for seed in self.seeds if way in self.left_out else self.seeds[1:]:
          if code := self._train(way, seed, chosen[way]):
            return code
      found = self._found(chosen, tuning)
      text = transfer_tables.markdown(found)
      for name, content in {"transfer.md": text, "transfer.html": pages.transfer(found)}.items():
        with atomic.file(self.workdir / name) as partial:
          partial.write_text(content, encoding="utf-8")
      json_file.write_json(self.workdir / "transfer.json", found)  # last: with it the report is finished
    print(f"\n{text}")
    return _already_done(self.workdir, "the report is finished")

  def _start(self, seed: int) -> Path:
    """The untrained model of a seed as a directory; all runs have one tokenizer and begin with one and the same."""
    directory = self.workdir / "start" / f"seed{seed}"
    if not directory.exists():
      model, _ = start.model_and_data(replace(self.experiment, seed=seed), self.workdir / "start", self.leaks)
      save.write(model.inference(model.params), directory)
    return directory

  def _experiment_of(self, way: Way, seed: int, rate: float) -> Experiment:
    run = copy.deepcopy(self.experiment)
    run.seed, run.steps, run.stop_after, run.optim.learning_rate = seed, self.budgets.steps(way), 0, rate
    if way.kind == "alone":
      run.tasks, run.mixing, run.balancing = {way.task: run.tasks[way.task]}, data.Mixing(), balancing.Fixed()
    elif way.kind == "without":
      del run.tasks[way.task]
      run.mixing.weights.pop(way.task, None)
    diagnosed = way.kind == TOGETHER and seed == self.seeds[0]
    run.diagnose_every = min(run.diagnose_every, max(run.steps // 10, 1)) if diagnosed else 0
    return run

  def _train(self, way: Way, seed: int, rate: float) -> int:
    """Trains one run to its end, or until a signal; returns the exit code."""
    folder, tokens = self.workdir / "runs" / way.folder(seed, rate), self.budgets.tokens(way)
    if records.finished(folder):
      self.progress.skip(tokens)
      return 0
    name = f"{way.name}, seed {seed}, learning rate {rate:g}, {self.budgets.steps(way):,} steps"
    with self.progress.run(name, tokens):
      run = self._experiment_of(way, seed, rate)
      leaks = {task: self.leaks[task] for task in run.tasks}
      with cli.mistakes():
        # Beside the config, which is kept: the folder of a report may move.
        untrained = None if run.model.pretrained else self._start(seed)
        go = contrastive.prepare_unscored(run, folder, leaks, self.command, untrained)
      code = go()
      del go
      parallel.release_programs()
      if code:
        print("the same command goes on with this report")
        return code
      bucket.remove_checkpoints(folder)  # many runs of a large model would fill the disk
      if len(self.rates) == 1:
        self._measured(folder, self.tables["test"])
    return 0

  def _tune(self) -> list[dict[str, Any]]:
    """Every way with every learning rate, its score on validation, and whether it is chosen."""
    if len(self.rates) == 1:
      alike = {"learning_rate": self.rates[0], "validation": 0.0, "chosen": True}
      return [way._asdict() | {"way": way.name} | alike for way in self.ways]
    rows = []
    for way in self.ways:
      tasks = [way.task] if way.task else list(self.experiment.tasks)
      tables = {task: self.tables["validation"][task] for task in tasks}
      scores = []
      for rate in self.rates:
        measured = self._measured(self.workdir / "runs" / way.folder(self.seeds[0], rate), tables)
        scores.append(float(np.mean([next(iter(m.scores().values())) for m in measured.values()])))
      best = int(np.argmax(scores))
      for at, rate in enumerate(self.rates):
        row = way._asdict() | {"way": way.name, "learning_rate": rate, "validation": scores[at], "chosen": at == best}
        rows.append(row)
    return rows

  def _measured(self, folder: Path, tables: Tables, dim: int | None = None) -> dict[str, Measured]:
    """What each evaluation finds of a run or of an untrained model, with its first `dim` dimensions."""
    model, kept = folder / "export", folder / "vectors"  # which go with the run
    if not model.exists():
      model, kept = folder, self.workdir / "vectors" / folder.name

    def encode(texts: Sequence[str], role: str = "document") -> np.ndarray:
      digest = hashlib.blake2b("\0".join([role, *texts]).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
      path = kept / f"{digest}.npy"
      if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        with atomic.file(path) as partial, open(partial, "wb") as file:
          np.save(file, self._load(model).encode(texts, role))
      return np.load(path)[:, :dim]

    return scoring.measure(encode, tables, self.experiment.evaluations)

  def _load(self, model: Path) -> Embedder:
    """The embedder of a directory; all differ in their parameters only, so that one compiled program serves them.

    Texts are cut where the untrained model of all tasks cuts them.
    """
    if self._embedder is None:
      self._embedder = load(self._start(self.seeds[0]))
    return replace(self._embedder, params=load(model).params)

  def _found(self, chosen: Mapping[Way, float], tuning: list[dict[str, Any]]) -> dict[str, Any]:
    """transfer.json."""
    print("\n=== evaluating", flush=True)
    starts = {seed: self._measured(self._start(seed), self.tables["test"]) for seed in self.seeds}
    by, runs = {START: list(starts.values())}, [_run(START, "start", s, starts[s]) for s in self.seeds]
    for way, rate in chosen.items():
      by[way.name] = []
      for seed in self.seeds:
        folder = self.workdir / "runs" / way.folder(seed, rate)
        measured = self._measured(folder, self.tables["test"])
        by[way.name].append(measured)
        run = _run(way.name, way.kind, seed, measured) | {"task": way.task, "budget": way.budget, "learning_rate": rate}
        run |= {"steps": self.budgets.steps(way), "examples": self.budgets.examples(way)} | _cost(folder)
        runs.append(run)
        _keep_scores(folder, {"scores": run["scores"], "skipped": self.about["skipped"]})
    folders = [self.workdir / "runs" / Way(TOGETHER).folder(seed, chosen[Way(TOGETHER)]) for seed in self.seeds]
    truncated = {dim: [self._measured(f, self.tables["test"], dim) for f in folders] for dim in self._dims(folders[0])}
    trained = [f for f in sorted((self.workdir / "runs").iterdir()) if records.finished(f)]
    costs = [_cost(folder) for folder in trained]
    environment = records.environment()
    return {
      **self.about,
      "versions": environment["packages"] | {"mtc": environment["revision"]},
      "seeds": self.seeds,
      "steps": self.experiment.steps,
      "tasks": list(self.experiment.tasks),
      "leakage": {"on_leak": self.experiment.on_leak}
      | {"rows": {task: len(found.leaking) for task, found in self.leaks.items()}},
      **transfer_tables.tables(by, truncated, list(self.experiment.tasks), self.seen),
      "runs": runs,
      "tuning": tuning if len(self.rates) > 1 else [],
      "cost": {
        "runs": len(trained),
        "seconds": sum(cost["seconds"] for cost in costs),
        "tokens": sum(cost["tokens"] for cost in costs),
      },
      **_diagnoses(folders[0]),
    }

  def _dims(self, model: Path) -> list[int]:
    """Powers of two, those that a Matryoshka loss names, and the whole."""
    width = self._load(model / "export").width
    named = {dim for t in self.experiment.tasks.values() if isinstance(t.loss, Matryoshka) for dim in t.loss.dims}
    return sorted({2**i for i in range(1, 16) if 2**i < width} | {dim for dim in named if dim < width} | {width})


def _digest(experiment: Experiment) -> str:
  return hashlib.sha256(json.dumps(to_dict(experiment), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _tokens_per_example(task: data.Prepared) -> float:
  """Mean tokens of an anchor with its positive, if it has one, and its negatives; a drawn positive is any text."""
  lengths = np.diff(task.offsets)
  anchors = lengths[task.anchor].mean()
  drawn = anchors if len(task.labels) else 0.0
  positives = drawn if task.positive is None else lengths[task.positive].mean()
  negatives = lengths[task.negatives[task.negatives >= 0]].sum() / len(task.anchor)
  return float(anchors + positives + negatives)


def _already_done(workdir: Path, what: str = "this report is finished; nothing to do") -> int:
  print(f"{what}: {', '.join(bucket.shown(workdir / name) for name in _WRITTEN)}")
  return 0


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
  """Ends the process with the signal's exit code between runs too; during a run the loop saves first."""

  def stop(number: int, _: object) -> None:
    print("stopped; the same command goes on with this report", flush=True)
    raise SystemExit(loop.STOPPED[signal.Signals(number)])

  old = {number: signal.signal(number, stop) for number in loop.STOPPED}
  try:
    yield
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)


def _run(name: str, kind: str, seed: int, measured: Mapping[str, Measured]) -> dict[str, Any]:
  scores = {f"{e}/{metric}": float(value) for e, m in measured.items() for metric, value in m.scores().items()}
  nothing = {"task": "", "budget": "", "learning_rate": 0.0, "steps": 0, "examples": {}, "tokens": 0, "seconds": 0.0}
  return {"name": name, "kind": kind, "seed": seed} | nothing | {"scores": scores}


def _keep_scores(folder: Path, scored: Mapping[str, Any]) -> None:
  """The run's own evaluation.json holds the scores of its export, as that of any run."""
  if json.loads((folder / "evaluation.json").read_text()) != scored:
    json_file.write_json(folder / "evaluation.json", scored)


def _lines(folder: Path) -> list[dict[str, float]]:
  return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _cost(folder: Path) -> dict[str, float]:
  """Tokens and seconds of the training steps of a run, however often it was interrupted."""
  rows, taken, tokens = [row for row in _lines(folder) if "seconds_per_step" in row], 0, 0.0
  for row in rows:
    tokens += row["tokens_per_second"] * row["seconds_per_step"] * (row["step"] - taken)
    taken = row["step"]
  return {"tokens": round(tokens), "seconds": statistics.median(row["seconds_per_step"] for row in rows) * taken}


def _diagnoses(folder: Path) -> dict[str, Any]:
  """The curves of gradients and geometry of a run; {} for what was not logged, null at steps without the task."""
  found: dict[str, Any] = {"gradients": {}, "geometry": {}}
  for group, room in (("gradients", "gradient/"), ("geometry", "geometry/")):
    rows = [row for row in _lines(folder) if any(name.startswith(room) for name in row)]
    if rows:
      found[group]["steps"] = [row["step"] for row in rows]
    for name in sorted({key for row in rows for key in row if key.startswith(room)}):
      first, _, rest = name.removeprefix(room).partition("/")
      values = [row.get(name) for row in rows]
      if group == "gradients":
        found[group].setdefault(first, {})[rest] = values
      else:
        found[group][f"{rest}/{first}" if rest else first] = values
  return found
