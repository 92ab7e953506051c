"""GGUF files that hold float16 weights of a quantised model in a quarter of the size, without loss.

In Q4_0, 32 weights share a float16 scale and have 4 bits each. A model that was quantised so, then written as float16,
lost no information, and `write` finds its 4 bits again. Tensors keep their Hugging Face names, so `mtc` reads such a
file, and transformers and llama.cpp do not.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import pathlib

import gguf
import numpy as np

from mtc.models.tensors import Stored

_BLOCKED = gguf.GGMLQuantizationType.Q4_0
_DTYPES = {_BLOCKED: "Q4_0", gguf.GGMLQuantizationType.F16: "F16"}
_BLOCK = 32  # weights that share a scale


@dataclasses.dataclass(frozen=True)
class Blocks(Stored):
  """A tensor of a GGUF file.

  Attributes:
    dtype: Q4_0 or F16; another one cannot be read.
    packed: the bytes of the file, memory-mapped.
  """

  packed: np.ndarray

  @property
  def floating(self) -> bool:
    """True if it can be read."""
    return self.dtype in _DTYPES.values()

  def read(self, transposed: bool = False) -> np.ndarray:
    """The tensor in float32, contiguous. Every number is a float16 number.

    Raises:
      ValueError: a number is NaN or infinite.
    """
    value = (_unpacked(self.packed) if self.dtype == "Q4_0" else self.packed).astype(np.float32).reshape(self.shape)
    if not np.isfinite(value).all():
      raise ValueError(f"{self.name} in {self.file} holds NaN or infinity; download the model again")
    return np.ascontiguousarray(value.T) if transposed else value


def stored(path: pathlib.Path) -> Iterator[Blocks]:
  """The tensors of a file, by name; raises ValueError where it is broken."""
  try:
    tensors = gguf.GGUFReader(path).tensors
  except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
    raise ValueError(f"{path} is not a whole GGUF file ({error!r}); download the model again") from error
  for tensor in sorted(tensors, key=lambda tensor: tensor.name):
    shape = tuple(int(size) for size in reversed(tensor.shape))
    dtype = _DTYPES.get(tensor.tensor_type, tensor.tensor_type.name)
    yield Blocks(path, tensor.name, dtype, shape, int(tensor.data_offset), tensor.data)


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes float16 weights; a matrix of 4-bit blocks takes 0.5625 bytes a weight, any other tensor 2.

  Args:
    path: of the file.
    tensors: by name; numbers of float16.

  Raises:
    ValueError: no matrix consists of 4-bit blocks, or a number is not a float16 number.
  """
  writer, blocked = gguf.GGUFWriter(path, "bert"), 0
  for name, value in tensors.items():
    with np.errstate(over="ignore"):
      half = np.ascontiguousarray(value, np.float16)
    if not np.array_equal(half, value):
      raise ValueError(f"{name} holds numbers that float16 does not have; use another dtype")
    packed = _packed(half)
    if packed is None:
      writer.add_tensor(name, half)
    else:
      writer.add_tensor(name, packed, raw_dtype=_BLOCKED)
      blocked += 1
  if not blocked:
    raise ValueError("no matrix of this model consists of 4-bit blocks, so q4_0 would save nothing; use float16")
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


def _packed(value: np.ndarray) -> np.ndarray | None:
  """The 4-bit blocks that a float16 matrix consists of; None if it does not."""
  if value.ndim != 2 or value.shape[1] % _BLOCK:
    return None
  packed = gguf.quantize(value.astype(np.float32), _BLOCKED)
  return packed if np.array_equal(_unpacked(packed).reshape(value.shape), value) else None


def _unpacked(packed: np.ndarray) -> np.ndarray:
  with np.errstate(over="ignore"):  # of a broken file; `read` refuses what is infinite
    return gguf.dequantize(packed, _BLOCKED).astype(np.float16)
