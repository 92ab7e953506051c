"""safetensors files, read and written a tensor at a time."""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import json
import pathlib

import ml_dtypes
import numpy as np
import safetensors

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
_NAMES = {np.dtype(dtype): name for name, dtype in _FLOATS.items()}
_BLOCK = 2**24  # bytes that are read at a time


@dataclasses.dataclass(frozen=True)
class Stored:
  """A tensor in a file.

  Attributes:
    dtype: as the file says it: F32, F16, BF16, I64, ...
    offset: of its first byte in the file.
  """

  file: pathlib.Path
  name: str
  dtype: str
  shape: tuple[int, ...]
  offset: int

  @property
  def floating(self) -> bool:
    """Whether it can be read."""
    return self.dtype in _FLOATS

  def read(self, transposed: bool = False) -> np.ndarray:
    """The tensor in float32, contiguous; beside it, only a few megabytes are held at a time.

    Raises:
      ValueError: a number is NaN, infinite, or past float32.
    """
    # Not through safetensors, whose memory map keeps what was read in memory while the file is open.
    shape, dtype = self.shape or (1,), np.dtype(_FLOATS[self.dtype])
    value = np.empty(shape[::-1] if transposed else shape, np.float32)
    rows = value.T if transposed else value
    width = int(np.prod(shape[1:])) * dtype.itemsize
    step = max(_BLOCK // max(width, 1), 1)
    with open(self.file, "rb") as file:
      file.seek(self.offset)
      for start in range(0, len(rows), step):
        block = rows[start : start + step]
        with np.errstate(over="ignore"):
          block[...] = np.fromfile(file, np.uint8, len(block) * width).view(dtype).reshape(block.shape)
        if not np.isfinite(block).all():
          raise ValueError(f"{self.name} in {self.file} holds NaN or infinity; take a checkpoint from before")
    return value.reshape(self.shape) if not self.shape else value


def stored(path: pathlib.Path) -> Iterator[Stored]:
  """The tensors of a file, by name; raises ValueError where it is missing or broken."""
  if not path.is_file():
    raise ValueError(f"{path} is missing; download the model again")
  try:
    with safetensors.safe_open(path, framework="numpy"):
      pass  # it has checked that the header and the size of the file are right
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is not a whole safetensors file ({error}); download the model again") from error
  with open(path, "rb") as file:
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
  header.pop("__metadata__", None)
  for name, entry in sorted(header.items()):
    yield Stored(path, name, entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])


def common_dtype(tensors: Iterable[Stored]) -> str:
  """The dtype that holds all of the floating tensors without loss, of those that `write` knows."""
  kinds = {tensor.dtype for tensor in tensors if tensor.floating}
  return {"F16": "float16", "BF16": "bfloat16"}.get(kinds.pop(), "float32") if len(kinds) == 1 else "float32"


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray], dtype: str = "float32") -> None:
  """Writes the tensors, which may be views, in the form that transformers reads.

  Args:
    dtype: float32, float16 or bfloat16.

  Raises:
    ValueError: a weight is past what the dtype can hold.
  """
  # Not by safetensors, which wants contiguous copies of all, and makes a file that only its owner can read.
  kind, offset = np.dtype(dtype), 0
  header: dict[str, object] = {"__metadata__": {"format": "pt"}}
  for name, value in tensors.items():
    end = offset + value.size * kind.itemsize
    header[name] = {"dtype": _NAMES[kind], "shape": value.shape, "data_offsets": (offset, end)}
    offset = end
  head = json.dumps(header).encode()
  head += b" " * (-len(head) % 8)
  with open(path, "wb") as file:
    file.write(len(head).to_bytes(8, "little") + head)
    for name, value in tensors.items():
      with np.errstate(over="ignore"):
        stored_value = np.ascontiguousarray(value, kind)
      if not np.isfinite(stored_value).all():
        raise ValueError(f"{name} holds a number that {dtype} cannot hold, NaN or infinity; use bfloat16 or float32")
      file.write(stored_value.reshape(-1).view(np.uint8).data)
