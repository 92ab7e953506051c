"""A model written as a directory that `mtc.load`, sentence-transformers and mostly Hugging Face and PEFT read, or as
NumPy arrays.
"""

from pathlib import Path

from absl import logging
import jax
import numpy as np

from mtc import data, models, parallel
from mtc.embedder.embedder import Embedder
from mtc.files import atomic

DTYPES = ("float32", "float16", "bfloat16", "q4_0")


def write(embedder: Embedder, directory: Path, card: str = "", dtype: str = "float32") -> None:
  """Writes config (not of a static embedding), weights, tokenizer, modules and a card; whole or not at all.

  Args:
    embedder: what to write.
    directory: where; what is there is replaced.
    card: the README.md; "" = none.
    dtype: of the files, one of DTYPES.
  """
  if embedder.config.get("is_causal") is False:
    logging.warning(
      "%s is a decoder with bidirectional attention (is_causal=false in its config.json): transformers before 5.2, and "
      "tools that pass over this entry, read it as causal and give other vectors",
      directory,
    )
  with atomic.folder(directory) as partial:
    params = parallel.to_host(embedder.params)
    models.save_backbone(partial, params["backbone"], embedder.config, params.get("masked_lm"), dtype)
    _write_around(embedder, partial, dtype)
    if card:
      (partial / "README.md").write_text(card, encoding="utf-8")


def write_like(embedder: Embedder, source: Path, directory: Path, dtype: str) -> Path:
  """Writes weights, config and tokenizer of a model that was made from another, with the other's modules and licence.

  Args:
    embedder: what to write; its tokenizer is a trimmed one, or that of the other.
    source: the directory of the other model, which is of the same width.
    directory: where; it exists.
    dtype: of the weights, one of DTYPES; "" = as those of the source.

  Returns:
    Where the backbone is: `directory`, or the folder that the source has for it.
  """
  inside = models.copy_around(source, directory, dtype) if models.is_sentence_transformer(source) else directory
  backbone = Path(embedder.spec.pretrained)
  config = {name: value for name, value in embedder.config.items() if name != "auto_map"}  # its code stays behind
  models.save_backbone(inside, embedder.params["backbone"], config, dtype=dtype or models.stored_dtype(backbone))
  data.save_trimmed(embedder.tokenizer, inside, backbone, embedder.max_length)
  models.copy_licences(source, directory)
  return inside


def write_adapter(embedder: Embedder, directory: Path) -> None:
  """Writes what LoRA has learned as an adapter of `model.pretrained`, which PEFT and sentence-transformers read.

  Args:
    embedder: with its adapters, not merged.
  """
  spec, params = embedder.spec, parallel.to_host(embedder.params)
  base = models.directory_of(spec.pretrained)
  if base.is_dir():
    inner = models.load_sentence_transformer(base).backbone if models.is_sentence_transformer(base) else base
    name = str(inner.absolute())
  else:
    name = spec.pretrained
  with atomic.folder(directory) as partial:
    models.save_adapter(partial, params, spec.lora, embedder.config, name)
    _write_around(embedder, partial)


def write_numpy(embedder: Embedder, path: Path) -> list[str]:
  """Writes every weight to one `.npz` by the name of its path, `projection/kernel` for example; returns the names."""
  flat = {
    jax.tree_util.keystr(place, simple=True, separator="/"): np.asarray(leaf, np.float32)
    for place, leaf in jax.tree_util.tree_leaves_with_path(parallel.to_host(embedder.params))
  }
  with atomic.file(path) as partial, open(partial, "wb") as file:
    np.savez(file, allow_pickle=False, **flat)
  return list(flat)


def _write_around(embedder: Embedder, directory: Path, dtype: str = "float32") -> None:
  """The tokenizer, and the modules that follow the backbone."""
  static = models.is_static(embedder.config)
  cut = static and embedder.max_length < models.positions(embedder.config)  # else it was read from one that cuts none
  data.tokenizer.save(embedder.tokenizer, directory, max_length=embedder.max_length, cut=cut)
  models.save_sentence_transformer(
    directory,
    pooling=embedder.spec.pooling or "mean",
    width=models.width(embedder.config),
    projection=parallel.to_host(embedder.params.get("projection", {})),
    prompts=dict(embedder.prompts),
    max_length=embedder.max_length,
    activation=embedder.spec.projection or "identity",
    dtype=dtype,
    static=static,
    defaults=embedder.defaults,
  )
