"""Texts to vectors, at any scale: `mtc.load(directory).encode(texts)`, and python -m mtc.embed for files.

python -m mtc.embed --model runs/a/export --input posts.jsonl --field text --output posts.npy [--role query] [--dim 50]

On many machines, I of N: the same with --shard I/N on each, and at the end, on any that sees the files, --merge N.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
import functools
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

from absl import app, flags
import jax
import numpy as np
from tokenizers import Tokenizer
import tqdm

from mtc import cli, data, lock, models, parallel, records, shards
from mtc.data import read_texts
from mtc.step import embed as embed_tokens
from mtc.types import PyTree, Tokens

BLOCK = 2**15  # texts that are sorted by length, packed and written together
_LETTERS = 2**27  # of them together, or fewer of them
_TOKENS = 2**14  # of a grid that one device encodes at a time
_CPU_TOKENS = 2**11  # the same of a CPU: what is computed of so few stays in its caches
_AT_A_TIME = 2  # grids: while one of them waits for the host, or on a CPU for a single core, the other goes on
_SHORT = 128  # length of the rows for texts that fit into them; longer texts get rows for the longest
_SLOT = 8  # tokens of a row for each text that it may hold: shorter texts leave some of it empty


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

  def encode(
    self, texts: Sequence[str], role: str = "document", dim: int | None = None, progress: bool = False
  ) -> np.ndarray:
    """Unit vectors of texts; a text's vector does not depend on the others.

    Args:
      texts: any number of strings.
      role: whose prompt precedes them: "query" or "document".
      dim: keep the first so many dimensions (and bring them to unit length); None = all.
      progress: show it.

    Returns:
      f32[texts, dim].

    Raises:
      ValueError: an unknown role, more dimensions than there are, or a vector that is not finite.
    """
    if isinstance(texts, str):
      raise ValueError(f"texts is the string {texts[:40]!r}; expected a list of strings")
    if role not in self.prompts:
      raise ValueError(f"role={role!r} is unknown to this model; use one of {', '.join(self.prompts)}")
    width = self.width
    if dim is not None and not 1 <= dim <= width:
      raise ValueError(f"dim={dim} is not in 1..{width}, the dimensions of this model")
    vectors = np.zeros((len(texts), width), np.float32)
    bar = tqdm.tqdm(total=len(texts), unit="text", disable=not progress)
    for start in range(0, len(texts), BLOCK):
      block = texts[start : start + BLOCK]
      vectors[start : start + len(block)] = self._encode_block([self.prompts[role] + text for text in block])
      bar.update(len(block))
    bar.close()
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
      raise ValueError(
        f"{bad.size} of {len(texts)} vectors hold NaN or infinity, the first of text {bad[0]}: {texts[bad[0]][:80]!r}; "
        "check the model's weights, and its loss if it was just trained"
      )
    if dim is None or dim == width:
      return vectors
    cut = vectors[:, :dim]
    return cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-6)

  def _encode_block(self, texts: Sequence[str]) -> np.ndarray:
    ids, _ = data.tokenizer.encode(self.tokenizer, texts, self.max_length)
    lengths = np.array([len(i) for i in ids], np.int32)
    short = min(_SHORT, self.max_length)
    # No longer than the longest text wants, in powers of two: attention costs the square of a row, and some models
    # would take texts of 131,072 tokens.
    long = min(1 << (int(lengths.max()) - 1).bit_length(), self.max_length)
    out = np.empty((len(texts), 0), np.float32)
    for length, chosen in ((short, lengths <= short), (long, lengths > short)):
      index = np.flatnonzero(chosen)
      if not index.size:
        continue
      # Longest first: what a grid holds is then alike in length, and packing fills the rows.
      index = index[np.argsort(-lengths[index], kind="stable")]
      vectors = self._encode_rows([ids[i] for i in index], lengths[index], length)
      if not out.shape[1]:
        out = np.empty((len(texts), vectors.shape[1]), np.float32)
      out[index] = vectors
    return out

  def _encode_rows(self, ids: Sequence[Sequence[int]], lengths: np.ndarray, length: int) -> np.ndarray:
    """Packs texts that fit into rows of `length` and encodes the rows, grid by grid."""
    slots = max(length // _SLOT, 1)
    row, start, segment = data.best_fit(lengths, length, slots)
    # Pooling costs as many products as there are slots: no more than the fullest row needs, in powers of two, for few
    # shapes. Products with fewer slots than a short row has would round in another way.
    slots = min(slots, max(_SHORT // _SLOT, 1 << (int(segment.max()) - 1).bit_length()))
    devices = len(parallel.local_devices())
    needed = -(-(int(row.max()) + 1) // devices)
    most = max((_CPU_TOKENS if jax.default_backend() == "cpu" else _TOKENS) // length, 1)
    full, rest = divmod(needed, most)
    # The last grid holds what is left, in a power of two: so few shapes, and little that is computed for nothing.
    rows = [most] * full + ([min(1 << (rest - 1).bit_length(), most)] if rest else [])

    flat = np.repeat(row * length + start, lengths) + _counts(lengths)
    tokens = {name: np.zeros(devices * sum(rows) * length, np.int32) for name in ("ids", "segment", "position")}
    tokens["ids"][flat] = np.concatenate([np.asarray(i, np.int32) for i in ids])
    tokens["segment"][flat] = np.repeat(segment, lengths)
    tokens["position"][flat] = _counts(lengths)
    ends = np.cumsum(rows) * devices
    function, params = _compiled(self.encoder), self._placed()

    def encode(size: int, end: int) -> np.ndarray:
      chosen = slice((end - devices * size) * length, end * length)
      ids, segment, position = (values[chosen].reshape(devices, size, length) for values in tokens.values())
      grid = Tokens(ids=ids, segment=segment, position=position, slots=slots)
      return np.asarray(function(params, grid)).reshape(devices * size * slots, -1)

    vectors = [encode(rows[0], ends[0])]  # alone, or two threads would compile the same
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
      vectors += pool.map(encode, rows[1:], ends[1:])
    return np.concatenate(vectors)[row * slots + segment - 1]

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
  """The tokenizer as a model of this config uses it: a table of words has no special tokens."""
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


def _counts(lengths: np.ndarray) -> np.ndarray:
  """[2, 3] -> [0, 1, 0, 1, 2]"""
  ends = np.cumsum(lengths)
  return (np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)).astype(np.int32)


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

  It is written beside the output first and renamed at the end, and goes on where an earlier call of the same work
  (`stamp`) was interrupted. Returns how many vectors there are.
  """
  count = sum(1 for _ in read_texts(source, field_name))  # also finds a row that cannot be used before any work
  if not count:
    raise ValueError(f"{source} holds no text")
  partial, progress = output.with_name(output.name + ".partial"), output.with_name(output.name + ".progress.json")
  width = dim or model.width
  mine = shards.split(count, shard, BLOCK)
  stamp = {**stamp, "rows": count, "width": width, "shard": list(shard)}
  done = _resume(partial, progress, stamp)
  # Not through a map of the file: its pages would count as memory, and a full disk would kill the process.
  with open(partial, "r+b" if done else "w+b") as file, tqdm.tqdm(total=len(mine), initial=done, unit="text") as bar:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, header | {"shape": (len(mine), width)})
    file.seek(done * width * np.dtype(dtype).itemsize, os.SEEK_CUR)
    for start, texts in _blocks(itertools.islice(read_texts(source, field_name), mine.start, mine.stop)):
      if start < done:
        continue
      file.write(model.encode(texts, role=role, dim=dim or None).astype(dtype).data)
      file.flush()
      os.fsync(file.fileno())
      records.write_json(progress, {"stamp": stamp, "done": start + len(texts)})
      bar.update(len(texts))
  os.replace(partial, output)
  progress.unlink()
  return len(mine)


def _blocks(texts: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
  start = 0
  for block in data.batches(texts, BLOCK, _LETTERS):
    yield start, block
    start += len(block)


def _resume(partial: Path, progress: Path, stamp: Mapping[str, Any]) -> int:
  try:
    saved = json.loads(progress.read_text())
  except (OSError, ValueError):
    return 0
  return saved["done"] if partial.exists() and saved.get("stamp") == stamp else 0


def _digest(path: Path) -> str:
  if path.is_file():
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  parts = [f"{p.relative_to(path)}:{_digest(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _main(argv: Sequence[str]) -> None:
  f = flags.FLAGS
  with cli.mistakes():
    if len(argv) > 1:
      raise ValueError(f"{argv[1]!r} is not a flag; see --help")
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
      with lock.held(output.with_name(output.name + ".lock"), f"--output {output}"):
        count = shards.merge(output, f.merge)
      print(f"{count:,} vectors in {output}")
      return
    if f.shard:
      output = shards.path(output, shard)
    model = load(f.model, f.compute)
    stamp = {
      "model": _digest(models.directory_of(f.model)),
      "input": _digest(source),
      "field": f.field,
      "role": f.role,
      "dim": f.dim,
      "dtype": f.dtype,
      "compute": f.compute,
    }
    with lock.held(output.with_name(output.name + ".lock"), f"--output {output}"):
      count = embed_file(
        model, source, output, field_name=f.field, role=f.role, dim=f.dim, dtype=f.dtype, stamp=stamp, shard=shard
      )
      if f.shard:
        shards.describe(output, stamp | {"shards": shard[1]})
  print(f"{count:,} vectors in {output}")


if __name__ == "__main__":
  cli.set_up()
  flags.DEFINE_string(
    "model", "", "Directory of the model (an export of mtc, sentence-transformers or Hugging Face), or mtc-mini."
  )
  flags.DEFINE_string("input", "", "File of the texts: .jsonl, .jsonl.gz, .parquet, or .txt with one text per line.")
  flags.DEFINE_string("field", "text", "Field that holds the text in JSONL and Parquet.")
  flags.DEFINE_string("output", "", "File .npy to write. Row i is the vector of text i of the input.")
  flags.DEFINE_string("role", "document", "Role whose prompt is put before each text: query or document.")
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
