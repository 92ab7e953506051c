"""Rotary frequencies that a config stretches, for texts longer than those that the model was trained on."""

import math
from typing import Any

import numpy as np

from mtc.models.rope import frequencies

KINDS = ("default", "linear", "dynamic", "llama3", "yarn")


def stretched(depth: int, theta: float, parameters: dict[str, Any], positions: int) -> tuple[np.ndarray, float]:
  """The frequencies f32[depth / 2], in the precision of PyTorch's, and the scale of queries and keys.

  Args:
    depth: dimensions of a head.
    theta: the base of the frequencies.
    parameters: `rope_parameters` or `rope_scaling` of a config.json.
    positions: the greatest number of tokens of a text.

  Raises:
    ValueError: the type is not one of KINDS, or a number that it takes is missing or out of all proportion.
  """
  with np.errstate(all="ignore"):
    turns, scale = _stretched(depth, theta, parameters, positions)
  if not np.isfinite(turns).all() or not math.isfinite(scale):
    raise ValueError(f"the rope parameters {parameters!r} of config.json give frequencies that are not finite")
  return turns, scale


def _stretched(depth: int, theta: float, parameters: dict[str, Any], positions: int) -> tuple[np.ndarray, float]:
  kind = parameters.get("rope_type") or parameters.get("type") or "default"
  partial = parameters.get("partial_rotary_factor") or 1
  if kind not in KINDS or partial != 1:
    raise ValueError(
      f"rope_type={kind!r} of config.json (partial_rotary_factor={partial}) is not supported; "
      f"known are {', '.join(KINDS)}, over all dimensions of a head"
    )
  turns = frequencies(depth, theta)
  if kind == "linear":
    return turns / np.float32(_number(parameters, "factor")), 1.0
  if kind == "llama3":
    return _llama3(turns, parameters, positions), 1.0
  if kind == "yarn":
    return _yarn(turns, theta, parameters, positions)
  return turns, 1.0  # dynamic too: it differs for texts beyond `positions` only, and there are none


def _llama3(turns: np.ndarray, parameters: dict[str, Any], positions: int) -> np.ndarray:
  """Slow turns are divided by a factor, quick ones stay, and those between change over smoothly.

  Reference: arXiv 2407.21783, section 3.4.2, with the constants of its model's configs.
  """
  factor, low, high = (_number(parameters, name) for name in ("factor", "low_freq_factor", "high_freq_factor"))
  trained = _number(parameters, "original_max_position_embeddings", positions)
  wavelength = np.float32(2 * math.pi) / turns
  smooth = (np.float32(trained) / wavelength - np.float32(low)) / np.float32(high - low)
  between = (1 - smooth) * turns / np.float32(factor) + smooth * turns
  return np.where(
    wavelength > trained / low, turns / np.float32(factor), np.where(wavelength < trained / high, turns, between)
  )


def _yarn(turns: np.ndarray, theta: float, parameters: dict[str, Any], positions: int) -> tuple[np.ndarray, float]:
  """Dimensions that turn less than once in a text of training are divided by a factor, those above 32 times stay.

  Reference: arXiv 2309.00071, eqs. 17 to 23.
  """
  trained = _number(parameters, "original_max_position_embeddings", positions)
  factor = _number(parameters, "factor", positions / trained)
  depth = 2 * len(turns)

  def dimension(rotations: float) -> float:
    return depth * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(theta))

  low, high = dimension(_number(parameters, "beta_fast", 32)), dimension(_number(parameters, "beta_slow", 1))
  if parameters.get("truncate", True):
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, depth - 1)
  span = np.float32(high - low if high != low else 0.001)
  divided = np.clip((np.arange(len(turns), dtype=np.float32) - np.float32(low)) / span, 0, 1)
  scale = parameters.get("attention_factor")
  if scale is None:
    above, below = parameters.get("mscale") or 0.0, parameters.get("mscale_all_dim") or 0.0
    above, below = (above, below) if above and below else (1.0, 0.0)
    growth = 0.1 * math.log(factor) if factor > 1 else 0.0
    scale = (above * growth + 1) / (below * growth + 1)
  return turns / np.float32(factor) * divided + turns * (1 - divided), float(scale)


def _number(parameters: dict[str, Any], name: str, default: float = 0.0) -> float:
  value = parameters.get(name) or default
  if not isinstance(value, (int, float)) or not value > 0:
    raise ValueError(
      f"{name}={parameters.get(name)!r} among the rope parameters of config.json is not a positive number"
    )
  return float(value)
