"""Encodes texts as vectors: python -m mtc.embed for files, `mtc.load(directory).encode(texts)` in Python.

The vectors of one file of texts:

  python -m mtc.embed --model runs/a/export --input posts.jsonl --output posts.npy [--role query] [--dim 50]

The vectors of all files that the teachers of a config name, for distillation:

  python -m mtc.embed --model TEACHER --config CONFIG [--config.data_dir=DIR]

Row i of a .npy is the vector of text i. The same command continues after an interruption. With --config it skips
finished files, and refuses a .npy that was made from other texts or by another model. A NAME.npy.json beside each .npy
holds what it was made from.

To use N machines for one file, add --shard I/N on each, with I from 0 to N - 1. Then run --output posts.npy --merge N
where all the files are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
from dataclasses import dataclass, field, replace
import functools
import itertools
from pathlib import Path
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags
import numpy as np
from tokenizers import Tokenizer

from mtc import cli, data, grids, lock, manifest, models, parallel, shards, teacher_vectors
from mtc.config import Experiment
from mtc.data import read_texts
from mtc.partial import PartialNpy
from mtc.progress import Bar
from mtc.step import embed as embed_tokens
from mtc.types import PyTree, Tokens

BLOCK = 2**15  # texts that are sorted by length, packed and written together
_LETTERS = 2**27  # of them together, or fewer of them
_AT_A_TIME = 2  # grids: while one of them waits for the host, or on a CPU for a single core, the other goes on


@dataclass
class Embedder:
  """An encoder with all that it takes to use it.

  Attributes:
    encoder: the pure functions.
    params: its parameters.
    config: the content of its Hugging Face `config.json`.
    spec: pooling, dim and the dtype of the computation.
    tokenizer: without padding and truncation.
    prompts: what precedes a text of each role.
    max_length: tokens of a text, prompt and special ones included; the rest is cut.
    defaults: what sentence-transformers takes where a call names nothing else, for example `default_prompt_name`; here
      it decides nothing, and is written into exports.
  """

  encoder: models.Encoder
  params: PyTree
  config: dict[str, Any]
  spec: models.ModelSpec
  tokenizer: Tokenizer
  prompts: Mapping[str, str]
  max_length: int
  defaults: Mapping[str, Any] = field(default_factory=dict)

  @property
  def width(self) -> int:
    """Dimensions of a vector."""
    return self.spec.dim or models.width(self.config)

  def inference(self, params: PyTree) -> "Embedder":
    """The same embedder with other parameters, computing in float32 and without LoRA, as a loaded one does."""
    spec = replace(self.spec, dtype="float32", lora=models.LoraSpec())
    params = models.merge_lora(params, self.spec.lora)
    return replace(self, params=params, spec=spec, encoder=models.build(self.config, spec))

  def width_of(self, dim: int | None) -> int:
    """Dimensions of a vector of which the first `dim` are kept, None = all; raises ValueError for a wrong number."""
    if dim is None:
      return self.width
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
      raise ValueError(f"dim={dim!r} is no whole number; expected one in 1..{self.width}, or None for all dimensions")
    if not 1 <= dim <= self.width:
      raise ValueError(f"dim={dim} is not in 1..{self.width}, the dimensions of this model")
    return int(dim)

  def encode(
    self, texts: Iterable[str], role: str = "document", dim: int | None = None, progress: bool = False
  ) -> np.ndarray:
    """Unit vectors of texts; a text's vector does not depend on the others.

    Args:
      texts: any number of strings in their order: a list, an array, a column of a table, a generator.
      role: whose prompt precedes them: "query" or "document".
      dim: keep the first so many dimensions (and bring them to unit length); None = all.
      progress: show it.

    Returns:
      f32[texts, dim].

    Raises:
      ValueError: something else than strings, an unknown role, more dimensions than there are, or a vector that is not
        finite.
    """
    width = self.width_of(dim)
    self._prompt(role)  # raises before any work
    texts = data.as_texts(texts)
    vectors = np.zeros((len(texts), width), np.float32)
    with Bar(total=len(texts), unit="text", disable=not progress) as bar:
      for first in range(0, len(texts), BLOCK):
        for chosen, found in self.vectors(self.block(texts[first : first + BLOCK], role, first), dim):
          vectors[first + chosen] = found
          bar.update(len(chosen))
    return vectors

  def _prompt(self, role: str) -> str:
    if not isinstance(role, str) or role not in self.prompts:
      raise ValueError(f"role={role!r} is unknown to this model; use one of {', '.join(self.prompts)}")
    return self.prompts[role]

  def block(self, texts: Sequence[str], role: str = "document", first: int = 0) -> grids.Block:
    """Tokenizes texts, at least one, sorts them by length and packs them into grids.

    Args:
      texts: strings, all checked.
      role: whose prompt precedes them.
      first: the number of the first one, for messages.
    """
    prompt = self._prompt(role)
    ids, _ = data.tokenizer.encode(self.tokenizer, [prompt + text for text in texts], self.max_length)
    return grids.pack(texts, first, ids, self.max_length)

  def vectors(
    self, block: grids.Block, dim: int | None = None, skip: int = 0
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Encodes a block grid by grid.

    Args:
      block: made by `block`.
      dim: as in `encode`.
      skip: number of first grids that are not encoded.

    Yields:
      For each grid the texts that it holds, as indexes of the block, and their unit vectors f32[texts, dim].

    Raises:
      ValueError: a vector is not finite.
    """
    width = self.width_of(dim)
    for part in block.parts:
      for chosen, found in self._encode(part, skip):
        bad = chosen[~np.isfinite(found).all(axis=1)]
        if bad.size:
          raise ValueError(
            f"the vector of text {block.first + bad.min()} holds NaN or infinity: {block.texts[bad.min()][:80]!r}; "
            "check the model's weights, and its loss if it was just trained"
          )
        if width < self.width:
          found = found[:, :width] / np.maximum(np.linalg.norm(found[:, :width], axis=1, keepdims=True), 1e-6)
        yield chosen, found
      skip = max(skip - len(part.rows), 0)

  def _encode(self, part: grids.Part, skip: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What `vectors` yields, before the cut, for the grids of a part that come after the first `skip`."""
    left = range(skip, len(part.rows))
    if not left:
      return
    length, slots, devices = part.length, part.slots, len(parallel.local_devices())
    flat = np.repeat(part.row * length + part.start, part.lengths) + grids.counts(part.lengths)
    tokens = {name: np.zeros(devices * sum(part.rows) * length, np.int32) for name in ("ids", "segment", "position")}
    tokens["ids"][flat] = np.concatenate([np.asarray(i, np.int32) for i in part.ids])
    tokens["segment"][flat] = np.repeat(part.segment, part.lengths)
    tokens["position"][flat] = grids.counts(part.lengths)
    ends = np.cumsum([0, *part.rows]) * devices
    function, params = _compiled(self.encoder), self._placed()

    def encode(number: int) -> tuple[np.ndarray, np.ndarray]:
      first, held = ends[number], slice(part.bounds[number], part.bounds[number + 1])
      chosen = slice(first * length, ends[number + 1] * length)
      ids, segment, position = (values[chosen].reshape(devices, -1, length) for values in tokens.values())
      grid = Tokens(ids=ids, segment=segment, position=position, slots=slots)
      found = np.asarray(function(params, grid)).reshape(ids.shape[0] * ids.shape[1] * slots, -1)
      return part.texts[held], found[(part.row[held] - first) * slots + part.segment[held] - 1]

    yield encode(left[0])  # alone, or two threads would compile the same
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
      try:
        yield from pool.map(encode, left[1:])
      finally:
        pool.shutdown(cancel_futures=True)  # the waiting grids are not needed if this ends early

  def _placed(self) -> PyTree:
    """The parameters on the devices; put there once."""
    if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(self.params)):
      self.params = parallel.replicate(self.params, everywhere=False)
    return self.params


@functools.lru_cache(maxsize=4)
def _compiled(encoder: models.Encoder) -> Callable[[PyTree, Tokens], jax.Array]:
  return parallel.map_over_devices(lambda params, tokens: embed_tokens(encoder, params, tokens, None))


def load(directory: str | Path, dtype: str = "float32") -> Embedder:
  """Loads an mtc export, a sentence-transformers directory, or a plain Hugging Face directory (mean pooling).

  Args:
    directory: of the model, its name on the Hugging Face hub, or "mtc-mini".
    dtype: what the encoder computes in, and holds the weights of its dense layers in: float32 or bfloat16. The vectors
      are float32 either way.

  Raises:
    ValueError: it is none of these, or its parts do not fit together; says which.
  """
  root = models.resolve(str(directory), f"the model {directory}")
  layout = models.load_sentence_transformer(root) if models.is_sentence_transformer(root) else None
  backbone = layout.backbone if layout else root
  static = layout is not None and layout.static
  config = models.static_config(backbone) if static else models.read_config(backbone)
  read_tokenizer = data.tokenizer.load_alone if static else data.tokenizer.load
  tokenizer = tokenizer_of(config, read_tokenizer(str(backbone)))
  _check_vocabulary(tokenizer, config, backbone)
  projection = layout.projection if layout else {}
  if projection and len(projection["kernel"]) != models.width(config):
    raise ValueError(
      f"the projection in {root} takes {len(projection['kernel'])} dimensions, and the encoder gives "
      f"{models.width(config)}; its modules are not of one model"
    )
  spec = models.ModelSpec(
    pretrained=str(backbone),
    dropout=0.0,
    dtype=dtype,
    pooling=layout.pooling if layout else "mean",
    dim=projection["kernel"].shape[1] if projection else 0,
    projection=layout.activation if layout else "identity",
  )
  encoder = models.build(config, spec)
  params = {"backbone": models.load_backbone(backbone, config, kernels=dtype)}  # no call has to round them then
  if projection:
    params["projection"] = projection
  positions = models.positions(config)
  max_length = layout.max_length if layout else models.read_max_length(root)
  return Embedder(
    encoder,
    params,
    config,
    spec,
    data.tokenizer.within(tokenizer, config["vocab_size"]),
    prompts={"query": "", "document": ""} | (layout.prompts if layout else {}),
    max_length=min(max_length or positions, positions),
    defaults=layout.defaults if layout else {},
  )


def tokenizer_of(config: dict[str, Any], tokenizer: Tokenizer) -> Tokenizer:
  """The tokenizer as a model of this config uses it: a static embedding has no special tokens."""
  return data.tokenizer.bare(tokenizer) if models.is_static(config) else tokenizer


def _check_vocabulary(tokenizer: Tokenizer, config: Mapping[str, Any], directory: Path) -> None:
  """Raises ValueError where a text could have a token without a row in the embedding table."""
  # Some tokenizers hold a special token for another kind of input (the images of Gemma 3), past the table of texts.
  apart = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
  usable = {token: i for token, i in tokenizer.get_vocab().items() if i not in apart}
  usable |= {str(tokenizer.id_to_token(i)): i for i in tokenizer.encode("").ids}
  if not usable:
    raise ValueError(f"the tokenizer in {directory} has no token; use the tokenizer that belongs to this model")
  last, rows = max(usable, key=lambda token: usable[token]), config["vocab_size"]
  if usable[last] >= rows:
    raise ValueError(
      f"the tokenizer in {directory} has the token {last!r} with the id {usable[last]}, past the {rows} rows of the "
      "embedding table; use the tokenizer that belongs to this model"
    )


def embed_file(
  model: Embedder,
  source: Path,
  output: Path,
  *,
  field_name: str,
  role: str,
  dim: int,
  dtype: str,
  stamp: Mapping[str, Any],
  shard: tuple[int, int] = (0, 1),
) -> int:
  """Embeds the texts of a file, or this shard (index, of how many) of them, into a `.npy` of the same order.

  It is written beside the output first, at least about once a minute, and renamed at the end. It goes on where an
  earlier call of the same work (`stamp`) was interrupted, to the same bits on the same number of devices. A manifest
  with the stamp is written beside it. Returns how many vectors there are.
  """
  count = data.count_texts(source, field_name)  # also finds a row that cannot be used before any work
  width = model.width_of(dim or None)
  mine = shards.split(count, shard, BLOCK)
  work = {**stamp, "rows": count, "width": width, "shard": list(shard)}
  with PartialNpy(output, (len(mine), width), dtype, work) as file, Bar(total=len(mine), unit="text") as bar:
    left = file.state
    done = left.get("done", 0)
    bar.skip(done)
    start = 0
    for texts in data.batches(itertools.islice(read_texts(source, field_name), mine.start, mine.stop), BLOCK, _LETTERS):
      if start + len(texts) > done:
        block = model.block(texts, role, mine.start + start)
        # Other devices would have packed it in another way; it is then encoded again from its start.
        skip = left.get("grids", 0) if left.get("plan") == block.digest() else 0
        bar.skip(block.count(skip))
        vectors, new = np.empty((len(texts), width), dtype), np.zeros(len(texts), bool)
        for encoded, (chosen, found) in enumerate(model.vectors(block, dim or None, skip), skip + 1):
          vectors[chosen], new[chosen] = found, True
          bar.update(len(chosen))
          if encoded < block.grids and file.due():
            file.save(start, vectors, new, {"done": start, "grids": encoded, "plan": block.digest()})
        file.save(start, vectors, new, {"done": start + len(texts)})
      start += len(texts)
    manifest.write(output, {**stamp, "shards": shard[1]}, file.path)
    file.finish()
  return len(mine)


def embed_teachers(
  experiment: Experiment, directory: str, *, role: str, dim: int, dtype: str, compute: str, overwrite: bool = False
) -> None:
  """Embeds the texts of all `Vectors` that the tasks of an experiment name, each file once.

  Finished files are skipped, and an interrupted one goes on; see `embed_file`.

  Args:
    experiment: its tasks name the files.
    directory: of the model, as of `load`.
    role: for the `Vectors` that name none.
    dim, dtype: as of `embed_file`.
    compute: what the encoder computes in.
    overwrite: replace files that were made in another way.

  Raises:
    ValueError: before any text is encoded, where a file or an argument cannot be used; see `teacher_vectors.plan`.
  """
  settings = _settings(directory, role, dim, dtype, compute)
  jobs = teacher_vectors.plan(experiment, settings, overwrite)
  for job in jobs:
    if job.finished:
      print(f"{job.npy} is finished: skipped", flush=True)
  left = [job for job in jobs if not job.finished]
  if not left:
    return
  model = load(directory, compute)
  for job in left:
    model._prompt(job.role)  # raises for an unknown role before any work
  for job in left:
    with _locked(job.npy):
      count = embed_file(
        model, job.texts, job.npy, field_name=job.field, role=job.role, dim=dim, dtype=dtype, stamp=job.stamp
      )
    print(f"{count:,} vectors in {job.npy}", flush=True)


def _settings(directory: str, role: str, dim: int, dtype: str, compute: str) -> dict[str, Any]:
  """What decides the vectors of a text, for a stamp."""
  model = manifest.digest(models.directory_of(directory))
  return {"model": model, "role": role, "dim": dim, "dtype": dtype, "compute": compute}


def _locked(output: Path) -> contextlib.AbstractContextManager[None]:
  return lock.held(output.with_name(output.name + ".lock"), str(output))


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
    if f.config is not None:
      _embed_config(argv)
      return
    for name in ("output",) if f.merge else ("model", "input", "output"):
      if not getattr(f, name):
        raise ValueError(
          f"--{name} is missing; for example --model runs/a/export --input posts.jsonl --output posts.npy"
        )
    source, output, shard = Path(f.input), Path(f.output), shards.parse(f.shard or "0/1")
    if output.suffix != ".npy":
      raise ValueError(f"--output {output} does not end in .npy")
    cli.check_parent("output", output)
    if f.merge:
      with _locked(output):
        count = shards.merge(output, f.merge)
      print(f"{count:,} vectors in {output}")
      return
    if f.shard:
      output = shards.path(output, shard)
    model = load(f.model, f.compute)
    stamp = _settings(f.model, f.role, f.dim, f.dtype, f.compute)
    stamp |= {"input": manifest.digest(source), "field": f.field}
    with _locked(output):
      count = embed_file(
        model, source, output, field_name=f.field, role=f.role, dim=f.dim, dtype=f.dtype, stamp=stamp, shard=shard
      )
  print(f"{count:,} vectors in {output}")


def _embed_config(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  for name in ("input", "output", "field", "shard", "merge"):
    if f[name].present:
      raise ValueError(f"--{name} is for one file, and the Vectors of --config name theirs; leave out one of the two")
  if not f.model:
    raise ValueError("--model is missing; for example --model runs/a/export --config configs/multitask.py")
  experiment = cli.experiment(f.config, argv)
  embed_teachers(experiment, f.model, role=f.role, dim=f.dim, dtype=f.dtype, compute=f.compute, overwrite=f.overwrite)


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_string(
    "input",
    "",
    "File of the texts: .jsonl, .parquet, or .txt with one text per line; .jsonl and .txt may have .gz too.",
  )
  flags.DEFINE_string("field", "text", "Field that holds the text in JSONL and Parquet.")
  flags.DEFINE_string("output", "", "File .npy to write. Row i is the vector of text i of the input.")
  config_flags.DEFINE_config_file(
    "config",
    None,
    "Python file whose get_config() returns an mtc.config.Experiment. The texts of all Vectors that its tasks name are"
    " embedded, instead of --input.",
  )
  flags.DEFINE_bool("overwrite", False, "With --config: replace each .npy that was made in another way.")
  flags.DEFINE_string(
    "role",
    "document",
    "Role whose prompt is put before each text: query or document. Vectors(..., role=...) in --config comes first.",
  )
  flags.DEFINE_integer("dim", 0, "Number of leading dimensions to keep; 0 keeps all.", lower_bound=0)
  flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Number type of the vectors in the output.")
  flags.DEFINE_string(
    "shard", "", "Part of the input to embed, as I/N with I from 0 to N - 1; it is written to OUTPUT.I-of-N.npy."
  )
  flags.DEFINE_integer(
    "merge", 0, "Number of shards whose files are joined to the output, without embedding; 0 embeds.", lower_bound=0
  )
  flags.DEFINE_enum("compute", "float32", ["float32", "bfloat16"], "Number type in which the encoder computes.")
  app.run(_main, flags_parser=cli.parse_flags)
