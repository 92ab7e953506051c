"""A trained model as directories that Hugging Face, sentence-transformers, PEFT and `mtc.load` read."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil

from absl import logging

from mtc import data, models, parallel
from mtc.embed import Embedder


def write(embedder: Embedder, directory: Path) -> None:
  """Writes config, weights, tokenizer and modules; the directory appears whole or not at all."""
  if embedder.config.get("is_causal") is False:
    logging.warning(
      "%s is a decoder with bidirectional attention (is_causal=false in its config.json): transformers before 5.2, and "
      "tools that pass over this entry, read it as causal and give other vectors",
      directory,
    )
  with _whole(directory) as partial:
    models.save_backbone(partial, parallel.to_host(embedder.params["backbone"]), embedder.config)
    _write_around(embedder, partial)


def write_adapter(embedder: Embedder, directory: Path) -> None:
  """Writes what LoRA has learned as an adapter of `model.pretrained`, which PEFT and sentence-transformers read.

  Args:
    embedder: with its adapters, not merged.
  """
  spec, params = embedder.spec, parallel.to_host(embedder.params)
  base = Path(spec.pretrained).expanduser()
  if base.is_dir():
    inner = models.load_sentence_transformer(base).backbone if models.is_sentence_transformer(base) else base
    name = str(inner.absolute())
  else:
    name = spec.pretrained
  with _whole(directory) as partial:
    models.save_adapter(partial, params, spec.lora, embedder.config, name)
    _write_around(embedder, partial)


def _write_around(embedder: Embedder, directory: Path) -> None:
  """The tokenizer, and the modules that follow the backbone."""
  data.tokenizer.save(embedder.tokenizer, directory, max_length=embedder.max_length)
  models.save_sentence_transformer(
    directory,
    pooling=embedder.spec.pooling or "mean",
    width=models.width(embedder.config),
    projection=parallel.to_host(embedder.params.get("projection", {})),
    prompts=dict(embedder.prompts),
    max_length=embedder.max_length,
    activation=embedder.spec.projection or "identity",
  )


@contextlib.contextmanager
def _whole(directory: Path) -> Iterator[Path]:
  """A new directory beside this one, which takes its place when the block has filled it."""
  partial = directory.with_name(directory.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  yield partial
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(partial, directory)
