"""Multi-task contrastive training of text embedders in JAX: `mtc.load(directory).encode(texts)`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mtc.embed import load

__all__ = ["load"]


def __getattr__(name: str):
  if name == "load":
    from mtc.embed import load  # only now: `import mtc` costs nothing

    return load
  raise AttributeError(f"module 'mtc' has no attribute {name!r}")
