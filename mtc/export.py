"""A trained model as a directory that Hugging Face, sentence-transformers and `mtc.load` read."""

import os
from pathlib import Path
import shutil

from mtc import data, models, parallel
from mtc.embed import Embedder


def write(embedder: Embedder, directory: Path) -> None:
  """Writes config, weights, tokenizer and modules; the directory appears whole or not at all."""
  partial = directory.with_name(directory.name + ".partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  params = parallel.to_host(embedder.params)
  models.save_backbone(partial, params["backbone"], embedder.config)
  data.tokenizer.save(embedder.tokenizer, partial, max_length=embedder.max_length)
  models.save_sentence_transformer(
    partial,
    pooling=embedder.spec.pooling or "mean",
    width=models.width(embedder.config),
    projection=params.get("projection", {}),
    prompts=dict(embedder.prompts),
    max_length=embedder.max_length,
    activation=embedder.spec.projection or "identity",
  )
  shutil.rmtree(directory, ignore_errors=True)
  os.replace(partial, directory)
