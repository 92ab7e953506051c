"""Multi-task contrastive training of text embedders in JAX: `mtc.load(directory).encode(texts)`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mtc.embedder.embedder import load
  from mtc.training.contrastive import train

__all__ = ["load", "train"]


def __getattr__(name: str):
  # Imported only here, so that `import mtc` costs nothing.
  if name == "load":
    from mtc.embedder.embedder import load

    return load
  if name == "train":
    from mtc.training.contrastive import train

    return train
  raise AttributeError(f"module 'mtc' has no attribute {name!r}")
