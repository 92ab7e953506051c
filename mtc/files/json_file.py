"""JSON files that are written atomically."""

import json
from pathlib import Path
from typing import Any

from mtc.files import atomic


def write_json(path: Path, value: Any) -> None:
  """Writes a whole file or none: a kill leaves the old one."""
  with atomic.file(path) as partial:
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
