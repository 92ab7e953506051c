"""Where a run begins: the tokenizer, the encoder and its parameters, from a pretrained directory or from a seed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
import hashlib
from importlib import metadata
import json
from pathlib import Path
import shutil
from typing import Any

import jax
import numpy as np
from tokenizers import Tokenizer

from mtc import data, models
from mtc.config import Experiment, Task, check_loss
from mtc.embedder.embedder import Embedder, load, tokenizer_of

_FORMAT = 1  # of a new tokenizer; count it up where the same texts shall give another one


def start_model(experiment: Experiment, workdir: Path, untrained: Path | None = None) -> Embedder:
  """The untrained embedder of an experiment: the same for the same config and data, however often a run is resumed.

  A sentence-transformers directory brings its pooling, projection, prompts and length for what the config leaves empty.
  Without `model.pretrained` the encoder starts from `seed`, with a tokenizer trained on the tasks' training texts,
  which is kept in the workdir; or with `untrained` as the model of this directory, which began so before.

  Raises:
    ValueError: the model cannot be read, a task's max_length is over its own, or its loss wants more dimensions.
  """
  spec = experiment.model
  prompts, loaded = dict(experiment.prompts), None
  if untrained or spec.pretrained:
    loaded = load(untrained or models.resolve(spec.pretrained))
    config, tokenizer, spec = loaded.config, loaded.tokenizer, _adopt(spec, loaded.spec)
    prompts |= {role: prompt for role, prompt in loaded.prompts.items() if not prompts.get(role)}
  else:
    config, tokenizer = from_seed(spec, _tokenizer(experiment, workdir / "tokenizer"))
    spec = replace(spec, pooling=spec.pooling or "mean", projection=spec.projection or "identity")
  config = models.with_attention(config, spec.attention)  # so that an export says it too
  longest = max(task.max_length for task in experiment.tasks.values())
  max_length = choose_length(spec, config, loaded.max_length if loaded else longest, bool(loaded))
  positions = models.positions(config)
  for name, task in experiment.tasks.items():
    if task.max_length > positions:
      raise ValueError(
        f"max_length={task.max_length} of task {name!r} is over the {positions} positions of this model; "
        f"use {positions} or less"
      )
    if task.max_length > max_length:
      raise ValueError(
        f"max_length={task.max_length} of task {name!r} is over the {max_length} tokens at which the model cuts texts; "
        f"use {max_length} or less, or model.max_length={task.max_length}"
      )
    check_loss(name, task, spec.dim or models.width(config))
  encoder = models.build(config, spec)
  # Compiled, so that the random backbone that a pretrained one replaces is never made.
  params = jax.jit(
    lambda key: {name: part for name, part in encoder.init(key).items() if not loaded or name != "backbone"}
  )(jax.random.key(experiment.seed))
  if loaded:
    params["backbone"] = loaded.params["backbone"]
    if loaded.spec.dim and spec.dim:
      params["projection"] = _reduce(loaded.params["projection"], spec.dim, experiment.seed)
  if spec.adapter:
    params = models.start_from_adapter(params, spec, config)
  made = Embedder(encoder, params, config, spec, tokenizer, prompts=prompts, max_length=max_length)
  return replace(made, defaults=_kept(loaded, made.width)) if loaded else made


def choose_length(spec: models.ModelSpec, config: dict[str, Any], usual: int, pretrained: bool) -> int:
  """Tokens at which the model cuts a text: `model.max_length`, where it is set; prints it where it changes a model.

  Args:
    spec: of the model.
    config: of its encoder.
    usual: what is taken where `model.max_length` is 0.
    pretrained: whether `usual` is the length of a pretrained model.

  Raises:
    ValueError: it is over the positions.
  """
  if spec.max_length > models.positions(config):
    raise ValueError(
      f"model.max_length={spec.max_length} is over the {models.positions(config)} positions of this model; "
      f"use {models.positions(config)} or less"
    )
  if pretrained and spec.max_length not in (0, usual):
    print(
      f"model.max_length={spec.max_length}: evaluations and the export cut texts there; {spec.pretrained} cuts them at "
      f"{usual} tokens",
      flush=True,
    )
  return spec.max_length or usual


def _kept(loaded: Embedder, width: int) -> dict[str, Any]:
  """What the pretrained model says for sentence-transformers, as far as it is right for this many dimensions."""
  return {name: value for name, value in loaded.defaults.items() if name != "truncate_dim" or width == loaded.width}


def model_and_data(
  experiment: Experiment, workdir: Path, leaks: Mapping[str, data.Leaks], untrained: Path | None = None
) -> tuple[Embedder, dict[str, data.Prepared]]:
  """The untrained model of an experiment, and the training examples of each task in its tokens.

  Args:
    experiment: what to do.
    workdir: of the run.
    leaks: of each task, whose rows are left out where `on_leak` says so.
    untrained: the directory of a model that was made so before, words weighed and all, to begin with; None = make it.

  Raises:
    ValueError, OSError: the model or the data cannot be used; says what would.
  """
  model = start_model(experiment, workdir, untrained)
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
      without=leaks[name].leaking if experiment.on_leak == "drop" else (),
    )
  if experiment.model.rarity and not untrained:
    # A task counts by its part in the steps, not by how many texts it has.
    rows = len(model.params["backbone"]["embeddings"]["word"]["embedding"])
    mix = make_sampler(experiment, prepared).mix(experiment.steps)
    counts = [
      mix[name].examples * np.bincount(p.tokens, minlength=rows) / len(p.tokens) for name, p in prepared.items()
    ]
    key = jax.random.key(experiment.seed)
    weighed = models.weigh_words(model.params, np.sum(counts, axis=0), experiment.model.rarity, key)
    model = replace(model, params=weighed)
  return model, prepared


def make_sampler(experiment: Experiment, prepared: Mapping[str, data.Prepared]) -> data.Sampler:
  """What draws the examples of each step."""
  return data.Sampler(
    prepared,
    {name: task.batch_size for name, task in experiment.tasks.items()},
    experiment.seed,
    experiment.mixing,
    {name: task.label_exponent for name, task in experiment.tasks.items()},
  )


def from_seed(spec: models.ModelSpec, tokenizer: Tokenizer) -> tuple[dict[str, Any], Tokenizer]:
  """The config of an encoder that starts from a seed with this tokenizer, and the tokenizer as that encoder uses it."""
  table = data.tokenizer.new_table(tokenizer, padded=spec.architecture != "static")
  config = models.scratch_config(spec, table["pad"]) | {"vocab_size": table["rows"]}
  return config, tokenizer_of(config, tokenizer)


def _adopt(spec: models.ModelSpec, theirs: models.ModelSpec) -> models.ModelSpec:
  """The spec with the pooling and projection of the pretrained model where it names none."""
  if theirs.dim and theirs.dim != spec.dim:
    instead = "a random rotation reduces it" if spec.dim else "the embedding has the encoder's width"
    print(f"{spec.pretrained} projects to {theirs.dim} dimensions, model.dim={spec.dim}: {instead}", flush=True)
  projection = theirs.projection if theirs.dim == spec.dim else "identity"
  return replace(spec, pooling=spec.pooling or theirs.pooling, projection=spec.projection or projection)


def _reduce(projection: dict[str, np.ndarray], dim: int, seed: int) -> dict[str, np.ndarray]:
  """A projection to `dim` dimensions: itself where it has as many, else followed by a random part of a rotation."""
  size = projection["kernel"].shape[1]
  if dim == size:
    return projection
  square = np.random.default_rng(seed).normal(size=(max(size, dim), max(size, dim)))
  turn = np.linalg.qr(square)[0][:size, :dim].astype(np.float32)
  return {name: values @ turn for name, values in projection.items()}


def _tokenizer(experiment: Experiment, directory: Path) -> Tokenizer:
  spec = experiment.model
  if spec.tokenizer:
    models.check_links(spec.tokenizer)
    return data.tokenizer.load(spec.tokenizer)
  return trained_tokenizer(
    directory,
    Path(experiment.cache_dir or data.user_cache()) / "tokenizers",
    _texts(experiment),
    {name: _content(experiment, task) for name, task in experiment.tasks.items()},
    spec.vocab_size,
    positions=spec.positions,
    max_alphabet=4000,
    strip_accents=True,
  )


def _content(experiment: Experiment, task: Task) -> list[str]:
  """What decides the texts of a task."""
  source = task.source.resolve(experiment.data_dir)
  return [source.fingerprint("train"), repr(task.examples), experiment.on_bad_row]


def trained_tokenizer(
  directory: Path,
  cache: Path,
  texts: Iterable[str],
  content: Mapping[str, Any],
  vocab_size: int,
  *,
  positions: int,
  max_alphabet: int,
  strip_accents: bool,
) -> Tokenizer:
  """The tokenizer in the directory: if there is none yet, that of the cache, or else a new one.

  Args:
    directory: of the run, which keeps its own.
    cache: holds a tokenizer for each fingerprint of content and settings.
    texts: what to train it on; see `data.tokenizer.train`. Read only where that must be done.
    content: decides the texts, as JSON.
    vocab_size, max_alphabet, strip_accents: as of `data.tokenizer.train`.
    positions: the greatest number of tokens of a text.
  """
  settings = [vocab_size, positions, max_alphabet, strip_accents, metadata.version("tokenizers"), _FORMAT]
  name = hashlib.sha256(json.dumps([content, settings], sort_keys=True).encode()).hexdigest()[:32]

  def find(path: Path) -> Tokenizer | None:
    return data.tokenizer.load(str(path)) if path.exists() else None

  def make(path: Path) -> None:
    tokenizer = data.tokenizer.train(texts, vocab_size, max_alphabet=max_alphabet, strip_accents=strip_accents)
    data.tokenizer.save(tokenizer, path, max_length=positions)

  def copy(path: Path) -> None:
    data.find_or_make(cache / name, find, make)
    shutil.copytree(cache / name, path, dirs_exist_ok=True)

  return data.find_or_make(directory, find, copy)


def _texts(experiment: Experiment) -> Iterator[str]:
  for task in experiment.tasks.values():
    source = task.source.resolve(experiment.data_dir)
    for example in data.read(source, "train", task.examples, experiment.on_bad_row):
      yield example["anchor"]
      if example["positive"] is not None:
        yield example["positive"]
      yield from example["negatives"]


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
