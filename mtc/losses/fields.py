"""Checks of the fields that several losses share."""

import math


def require_positive(owner: str, name: str, value: float) -> None:
  """Raises ValueError unless the value is a positive, finite number."""
  if not (value > 0 and math.isfinite(value)):
    raise ValueError(f"{name}={value} of {owner} is not a positive number; use one above 0")


def require_block(owner: str, block: int) -> None:
  """Raises ValueError unless the value is a number of columns, or 0 for all."""
  if block < 0:
    raise ValueError(f"block={block} of {owner} is negative; use a number of columns, or 0 for all at once")
