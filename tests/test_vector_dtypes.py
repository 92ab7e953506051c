"""Only floating-point numbers are vectors, and the conversions that the messages name give vectors back."""

import ml_dtypes
import numpy as np
import pytest

from mtc.files.npy import check_dtype, open_npy

SIGNS = np.sign(np.random.default_rng(0).normal(size=(4, 24)))


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_three_dtypes_are_vectors_in_either_byte_order(dtype, tmp_path):
  np.save(tmp_path / "a.npy", SIGNS.astype(dtype))
  np.testing.assert_array_equal(open_npy(tmp_path / "a.npy"), SIGNS)


def quantize(low, high):
  return np.clip(np.floor((SIGNS - low) / ((high - low) / 255)), 0, 255)


LOW, HIGH = np.full(24, -2.0), np.full(24, 3.0)
UBINARY = np.packbits(SIGNS > 0, axis=1)
REMEDIES = {  # array as quantize_embeddings makes it, conversion as in the message, result, error
  "ubinary": (UBINARY, "2.0 * np.unpackbits(a, axis=1) - 1", SIGNS, 0),
  "binary": (
    (UBINARY.astype(np.int16) - 128).astype(np.int8),
    "2.0 * np.unpackbits(a.view(np.uint8) ^ 128, axis=1) - 1",
    SIGNS,
    0,
  ),
  "uint8": (quantize(LOW, HIGH).astype(np.uint8), "a * (high - low) / 255 + low", SIGNS, 5 / 255),
  "int8": ((quantize(LOW, HIGH) - 128).astype(np.int8), "(a + 128.0) * (high - low) / 255 + low", SIGNS, 5 / 255),
  "bool": (SIGNS > 0, "np.where(a, 1.0, -1.0)", SIGNS, 0),
  "bfloat16": (SIGNS.astype(ml_dtypes.bfloat16), "a.astype(np.float32)", SIGNS, 0),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_the_remedy_gives_vectors(name, tmp_path):
  array, conversion, expected, error = REMEDIES[name]
  path = tmp_path / "a.npy"
  np.save(path, array)
  with pytest.raises(ValueError, match=r"a\.npy has the dtype .*; expected float16, float32 or float64: ") as refused:
    open_npy(path)
  assert conversion in str(refused.value)
  np.save(path, eval(conversion, {"np": np, "a": array, "low": LOW, "high": HIGH}))
  np.testing.assert_allclose(open_npy(path), expected, atol=error)


OTHERS = ["i2", ">u4", "i8", "c8", "O", "U3", "S3", "M8[s]", "V3", [("a", "f2")], np.longdouble]


@pytest.mark.parametrize("dtype", OTHERS)
def test_nothing_else_is_a_vector(dtype):
  with pytest.raises(ValueError, match="what came has the dtype .*; expected float16, float32 or float64: save "):
    check_dtype("what came", np.dtype(dtype))
