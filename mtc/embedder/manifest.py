"""`NAME.npy.json` beside each finished `.npy` of vectors: the model, texts and settings that it was made from."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mtc.files import json_file


def path(npy: Path) -> Path:
  """The manifest of a file of vectors."""
  return npy.with_name(npy.name + ".json")


def write(npy: Path, stamp: Mapping[str, Any], content: Path) -> None:
  """Writes the manifest of a file of vectors.

  Args:
    npy: the file of vectors.
    stamp: model, texts and settings, as JSON.
    content: where the vectors are now. A manifest that is written before `npy` has its name is never missing.
  """
  rows, width = np.load(content, mmap_mode="r").shape
  json_file.write_json(path(npy), {"stamp": dict(stamp), "rows": rows, "width": width, "sha256": digest(content)})


def read(npy: Path) -> dict[str, Any] | None:
  """The manifest of a file of vectors; None where the file or its manifest is missing or cannot be read."""
  try:
    found = json.loads(path(npy).read_text("utf-8"))
  except (OSError, ValueError, RecursionError):
    return None
  whole = isinstance(found, dict) and isinstance(found.get("stamp"), dict) and npy.exists()
  return found if whole else None


def digest(content: Path) -> str:
  """The SHA-256 of a file, or of the names and contents of all files in a directory."""
  if content.is_file():
    with open(content, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  parts = [f"{p.relative_to(content)}:{digest(p)}" for p in sorted(content.rglob("*")) if p.is_file()]
  return hashlib.sha256("\n".join(parts).encode()).hexdigest()
