"""A model with all that it takes to use it: `load(directory).encode(texts)`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tokenizers import Tokenizer

from mtc import data, models, parallel
from mtc.embedder import grids
from mtc.multitask.forward import embed as embed_tokens
from mtc.progress import Bar
from mtc.types import PyTree, Tokens

BLOCK = 2**15  # texts that are sorted by length, packed and written together
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
      dim: number of first dimensions to keep (and bring to unit length); None = all.
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
