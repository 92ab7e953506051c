"""Model directories come from strangers: what is read of them stays inside of them, and is of a size that can be."""

import json
import os
import pathlib
from typing import Any

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
_MOST = 2**26  # bytes of a JSON file; the index of the weights, the largest of them, has some 100 a tensor


def check_links(directory: str | pathlib.Path) -> None:
  """Raises ValueError where a link leads out of the directory; in the hub's cache, links to its own blobs do not."""
  root = pathlib.Path(os.path.realpath(directory))
  inside = [root, *(path.parent.parent / "blobs" for path in (root, *root.parents) if path.parent.name == "snapshots")]
  for path in root.rglob("*"):
    # Not path.resolve(), which raises RuntimeError for a circle of links in Python 3.11.
    if path.is_symlink() and not any(pathlib.Path(os.path.realpath(path)).is_relative_to(home) for home in inside):
      raise ValueError(f"{path} is a link to {os.readlink(path)!r}, outside of the model; put a copy there instead")


def copy_licences(source: str | pathlib.Path, directory: str | pathlib.Path) -> None:
  """Copies the files of a model directory that state the terms of its use."""
  for path in (path for pattern in _LICENCES for path in pathlib.Path(source).glob(pattern)):
    if path.is_file() and path.stat().st_size <= _MOST:
      (pathlib.Path(directory) / path.name).write_bytes(path.read_bytes())


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """The JSON object in the file; raises ValueError if there is no object."""
  content = read_any_json(path)
  if not isinstance(content, dict):
    raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
  return content


def read_any_json(path: pathlib.Path) -> Any:
  """What the JSON file holds; raises ValueError if there is no object."""
  if not path.is_file():
    raise ValueError(f"{path} is missing; use a directory in the Hugging Face layout")
  if path.stat().st_size > _MOST:
    raise ValueError(f"{path} has {path.stat().st_size:,} bytes, and no file of this kind has {_MOST:,}")
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON ({error})") from error
