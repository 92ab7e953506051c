"""Masked language modelling, from random weights or from a pretrained model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import functools
import itertools
import json
from pathlib import Path
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tokenizers import Tokenizer

from mtc import data, models, optim, parallel
from mtc.config import Pretraining
from mtc.data.origin import Origin
from mtc.embedder import save
from mtc.embedder.embedder import Embedder, load
from mtc.embedder.start import choose_length, from_seed, trained_tokenizer
from mtc.files import json_file
from mtc.training import compile_ahead, flops, loop, step as step_lib
from mtc.types import Array, Masked, PyTree, TrainState
from mtc.workdir import bucket, records

_LONGEST = 2**16  # tokens that are kept of a text; rows take random parts of what is longer than they are
_HELD_OUT_STEPS = 4  # that a measurement takes
Loss = Callable[[PyTree, Masked, jax.Array | None], tuple[Array, dict[str, Array]]]


def prepare(settings: Pretraining, workdir: Path, command: Sequence[str] = ()) -> Callable[[], int]:
  """Checks everything that can be wrong before the first step, and returns the run itself.

  Args:
    settings: what to do.
    workdir: the folder of the run; made where it is missing, gone on with where it is not.
    command: what the user typed, for the record.

  Returns:
    A function that trains to the end and returns the exit code.

  Raises:
    ValueError, OSError: the config, the texts, the model or the workdir cannot be used; says what would.
  """
  settings.validate()
  if settings.model.lora.rank or settings.model.adapter:
    raise ValueError(
      "model.lora and model.adapter are not for pretraining; optim.freeze keeps parts of a model as it is"
    )
  workdir = records.open_workdir(workdir, settings)
  if records.finished(workdir):
    return lambda: _already_done(workdir)
  model, head = _start(settings, workdir)
  counts = optim.count(step_lib.init_params(model.params, {}), settings.optim.freeze)
  prepared = {
    name: data.prepare(
      corpus.source.resolve(settings.data_dir),
      corpus.split,
      corpus.examples,
      model.tokenizer,
      max_length=_LONGEST,
      prompts={},
      cache_dir=Path(settings.cache_dir or data.user_cache()) / "tokens",
      on_bad_row=settings.on_bad_row,
    )
    for name, corpus in settings.corpora.items()
  }
  reports = {name: p.report for name, p in prepared.items()}
  for name, report in reports.items():
    if report["skipped"]:
      print(f"corpus {name!r}, split {settings.corpora[name].split}: {data.in_words(report['skipped'])}", flush=True)
  records.check_data(workdir, reports)
  training, held_out = (
    data.Masker(
      prepared,
      model.tokenizer,
      rows=settings.rows,
      length=settings.length,
      rate=settings.mask_rate if settings.steps else 0.0,
      exponent=settings.exponent,
      seed=settings.seed,
      devices=parallel.device_count(),
      local_devices=parallel.local_devices(),
      held_out=held,
    )
    for held in (False, True)
  )
  if settings.model.rarity:
    key = jax.random.key(settings.seed)
    weighed = models.weigh_words(model.params, training.frequencies(), settings.model.rarity, key)
    model = replace(model, params=weighed)
  if head:
    loss = masked_lm_loss(model.encoder, head)
    step = _compiled(settings, model, loss, training)
    remedies = ["smaller rows", "smaller length", "fewer parameters that are trained (optim.freeze)", "a smaller model"]
    compile_ahead.check(step.needs, compile_ahead.free_memory(), settings.model.dtype, remedies)
    run = MaskedLM(
      settings=settings,
      workdir=workdir,
      model=model,
      counts=counts,
      loss=loss,
      train_step=step,
      prepared=prepared,
      training=training,
      held_out=held_out,
    )
  else:
    run = functools.partial(_finish, workdir, model, {})
  if parallel.is_main_process():
    records.write_run(workdir, settings, reports, command)
  return run


def masked_lm_loss(encoder: models.Encoder, head: models.Head) -> Loss:
  """The loss `(params, batch, key) -> (scalar, metrics)`: mean cross entropy of the words that are hidden, in nats.

  The metric `accuracy` is the share of them that is found.

  Reference: arXiv 1810.04805, section 3.1.
  """

  def loss(params: PyTree, batch: Masked, key: jax.Array | None) -> tuple[Array, dict[str, Array]]:
    rows, length = batch.tokens.ids.shape
    hidden = encoder.apply(params["encoder"], batch.tokens, key)
    place = (jnp.arange(rows)[:, None] * length + batch.place).reshape(-1)
    logits = head.apply(params["encoder"], hidden[place])
    target, weight = jnp.reshape(batch.target, -1), jnp.reshape(batch.weight, -1)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    mean = parallel.weighted_mean(losses, weight)
    found = parallel.weighted_mean((jnp.argmax(logits, -1) == target).astype(jnp.float32), weight)
    return mean, {"loss": mean, "accuracy": found}

  return loss


def _start(settings: Pretraining, workdir: Path) -> tuple[Embedder, models.Head | None]:
  """The model, and its head where a step is taken."""
  spec = replace(settings.model, dim=0, pooling=settings.model.pooling or "mean")
  loaded = load(models.resolve(spec.pretrained)) if spec.pretrained else None
  if settings.steps and (models.is_static(loaded.config) if loaded else spec.architecture == "static"):
    name = f"model.pretrained={spec.pretrained!r}" if loaded else "model.architecture='static'"
    raise ValueError(
      f"steps={settings.steps}: {name} is a static embedding, which has no head for masked language modelling; use "
      "steps=0 with model.rarity, or another architecture"
    )
  if loaded:
    config, tokenizer = loaded.config, loaded.tokenizer
    spec = replace(spec, pooling=settings.model.pooling or loaded.spec.pooling)
  else:
    if spec.tokenizer:
      models.check_links(spec.tokenizer)
    tokenizer = data.tokenizer.load(spec.tokenizer) if spec.tokenizer else _train_tokenizer(settings, workdir)
    config, tokenizer = from_seed(spec, tokenizer)
  if settings.length > models.positions(config):
    raise ValueError(
      f"length={settings.length} is over the {models.positions(config)} positions of this model; use less"
    )
  encoder, head = models.build(config, spec), models.build_head(config) if settings.steps else None
  backbone_key, head_key = jax.random.split(jax.random.key(settings.seed))
  params = encoder.init(backbone_key)
  if loaded:
    params["backbone"] = loaded.params["backbone"]
  if head:
    known = models.load_masked_lm(Path(loaded.spec.pretrained), config) if loaded else {}
    params["masked_lm"] = known or head.init(head_key)
  prompts = loaded.prompts if loaded else {"query": "", "document": ""}
  usual = loaded.max_length if loaded else models.positions(config)
  max_length = choose_length(settings.model, config, usual, bool(loaded))
  defaults = loaded.defaults if loaded else {}
  return Embedder(encoder, params, config, spec, tokenizer, prompts, max_length, defaults), head


def _train_tokenizer(settings: Pretraining, workdir: Path) -> Tokenizer:
  content = {
    name: [corpus.source.resolve(settings.data_dir).fingerprint(corpus.split), corpus.split, repr(corpus.examples)]
    for name, corpus in settings.corpora.items()
  }
  return trained_tokenizer(
    workdir / "tokenizer",
    Path(settings.cache_dir or data.user_cache()) / "tokenizers",
    _sample(settings),
    content | {"": [settings.on_bad_row, settings.exponent, settings.tokenizer_texts]},
    settings.model.vocab_size,
    positions=settings.model.positions,
    max_alphabet=settings.max_alphabet,
    strip_accents=False,
  )


def _sample(settings: Pretraining) -> Iterator[str]:
  """The texts that a tokenizer is trained on: of each language of a corpus by the exponent, chosen by their hash."""
  sizes: dict[tuple[str, str], int] = {}
  count = 0
  for group, text in _texts(settings):
    sizes[group] = sizes.get(group, 0) + len(text)
    count += 1
  shares = np.array(list(sizes.values()), float) ** settings.exponent
  # The characters that `tokenizer_texts` texts of the usual length have.
  wanted = shares / shares.sum() * sum(sizes.values()) * min(1, settings.tokenizer_texts / max(count, 1))
  keep = {group: wanted[number] / size for number, (group, size) in enumerate(sizes.items())}
  for group, text in _texts(settings):
    if zlib.crc32(text.encode()) < keep[group] * 2**32:
      yield text


def _texts(settings: Pretraining) -> Iterator[tuple[tuple[str, str], str]]:
  for name, corpus in settings.corpora.items():
    source = corpus.source.resolve(settings.data_dir)
    for example in data.read(source, corpus.split, corpus.examples, settings.on_bad_row):
      for text in (example["anchor"], example["positive"], *example["negatives"]):
        if text:
          yield (name, example["language"]), text


def _compiled(settings: Pretraining, model: Embedder, loss: Loss, training: data.Masker) -> compile_ahead.Ahead:
  """The step, compiled for the one shape of the run before anything is put on the devices."""
  optimizer, freeze = optim.make_optimizer(settings.optim, settings.steps), settings.optim.freeze
  step = step_lib.make_step(loss, optimizer, settings.seed, freeze, settings.grad_norm_limit)
  state = step_lib.init_state(model.params, {}, optimizer, freeze, shapes=True)
  return compile_ahead.Ahead(step, state, [training.step(0)])


@dataclass(kw_only=True)
class MaskedLM(loop.Job):
  """The job of `mtc.pretrain`.

  Attributes:
    settings: the config.
    workdir: directory of the run.
    model: the model before training.
    counts: of its parameters.
    loss: of `masked_lm_loss`.
    train_step: compiled for the one shape of the run.
    prepared: the tokens of each corpus.
    training: masks the texts of a step.
    held_out: masks the texts of a measurement.
  """

  settings: Pretraining
  workdir: Path
  model: Embedder
  counts: optim.Counts
  loss: Loss
  train_step: compile_ahead.Ahead
  prepared: Mapping[str, data.Prepared]
  training: data.Masker
  held_out: data.Masker

  def __call__(self) -> int:
    """Trains to the end, or to `stop_after`, or to a signal; returns the exit code."""
    ended = loop.run(self, self.workdir)
    if ended.finished and parallel.is_main_process():
      lines = [json.loads(line) for line in (self.workdir / "metrics.jsonl").read_text().splitlines()]
      last = next(line for line in reversed(lines) if "held_out/loss" in line)
      scores = {name: value for name, value in last.items() if name.startswith("held_out/")}
      trained = replace(self.model, params=parallel.to_host(ended.state.params["encoder"]))
      _finish(self.workdir, trained, scores)
    return ended.code

  def state(self) -> TrainState:
    """Makes the state before the first step."""
    optimizer = optim.make_optimizer(self.settings.optim, self.settings.steps)
    return step_lib.init_state(self.model.params, {}, optimizer, self.settings.optim.freeze)

  def step(self, state: TrainState, batch: Masked) -> tuple[TrainState, dict]:
    """Takes one step."""
    return self.train_step(state, batch)

  def batch(self, number: int) -> Masked:
    """Masks the texts of a step."""
    return self.training.step(number)

  def start(self, first: int) -> None:
    """Prints what is trained."""
    print(_introduction(self.settings, self.counts, self.training, first), flush=True)

  def validate(self, state: TrainState, taken: int, metrics: records.Metrics) -> float:
    """Measures the loss on texts that are held out; the lowest chooses the best checkpoint."""
    params = parallel.replicate(parallel.to_host(state.params))
    values = []
    for number in range(_HELD_OUT_STEPS):
      params, found = self._evaluation(params, self.held_out.step(number))
      values.append(parallel.to_host(found))
    scores = {f"held_out/{name}": float(np.mean([each[name] for each in values])) for name in values[0]}
    metrics.write(taken, scores)
    return -scores["held_out/loss"]

  @functools.cached_property
  def _evaluation(self) -> Callable[[PyTree, Masked], tuple[PyTree, dict]]:
    return parallel.across_devices(lambda params, batch: (params, self.loss(params, batch, None)[1]))

  def examples(self, number: int) -> dict[str, list[dict]]:
    """The texts of each corpus in a step."""
    drawn = {name: texts for name, texts in self.training.texts(number).items() if texts}
    return {
      name: list(data.find_texts(self.prepared[name], texts, self.model.tokenizer).values())
      for name, texts in drawn.items()
    }

  @functools.cached_property
  def origins(self) -> Mapping[str, Origin]:
    """The files of each corpus."""
    return {name: each.origin for name, each in self.prepared.items() if each.origin}

  @functools.cached_property
  def speed(self) -> loop.Speed:
    """What the speed is measured by."""
    return loop.Speed(_flops(self.settings, self.model), flops.matrix_peak(self.model.spec.dtype))


def _finish(workdir: Path, model: Embedder, scores: Mapping[str, float]) -> int:
  if parallel.is_main_process():
    save.write(model, workdir / "export")
    json_file.write_json(workdir / "evaluation.json", {"scores": scores})  # last: with it the run is finished
    print("".join(f"{name} {value:.4f}\n" for name, value in scores.items()), end="")
    print(f"the model: {bucket.shown(workdir / 'export')}")
  return 0


def _flops(settings: Pretraining, model: Embedder) -> Callable[[Masked], float]:
  """A function from a batch of this process to the operations of its matrix products; see `models.training_work`."""
  trained, _ = optim.split(step_lib.init_params(model.params, {}), settings.optim.freeze)
  work = models.training_work(model.config, model.params, trained["encoder"])
  words = model.params["backbone"]["embeddings"]["word"]["embedding"].shape
  head = 6 * (words[1] ** 2 + words[0] * words[1])  # for each word that is hidden: a dense layer, and all words
  return lambda batch: work.of(batch.tokens) + head * int(np.sum(batch.weight))


def _introduction(settings: Pretraining, counts: optim.Counts, training: data.Masker, first: int) -> str:
  largest = sorted(zip(training.shares, training.groups.items()), key=lambda each: -each[0])
  lines = [f"{'group':24} {'texts':>10} {'tokens':>13} {'share':>7}"]
  for share, (name, (texts, tokens)) in itertools.islice(largest, 12):
    lines.append(f"{name:24} {texts:10,} {tokens:13,} {share:7.3f}")
  if len(largest) > 12:
    lines.append(f"and {len(largest) - 12} more")
  lines.append(f"{counts.total / 1e6:.2f} M parameters ({counts.trained / 1e6:.2f} M trained) on {parallel.describe()}")
  if first:
    lines.append(f"resuming from step {first} of {settings.steps}")
  return "\n".join(lines)


def _already_done(workdir: Path) -> int:
  print(f"this run is finished; the model: {bucket.shown(workdir / 'export')}")
  return 0
