"""The spec says what is wrong with it."""

import pytest

from mtc.models import ModelSpec, architecture, positions, scratch_config


def test_the_default_is_valid():
  ModelSpec().validate()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"layers": 0}, "model.layers=0 is below 1"),
    ({"width": 100, "heads": 3}, "model.width=100 does not divide into model.heads=3"),
    ({"dim": -1}, "model.dim=-1 is negative"),
    ({"dropout": 1.0}, r"model.dropout=1.0 is outside \[0, 1\)"),
    ({"dropout": -0.1}, "model.dropout=-0.1"),
    ({"pooling": "sum"}, "model.pooling='sum' is unknown; use one of mean, cls, max, last"),
    ({"architecture": "t5"}, "model.architecture='t5' is unknown; use one of bert, modernbert"),
    ({"projection": "relu"}, "model.projection='relu' is unknown; use one of identity, tanh"),
    ({"dtype": "float16"}, "model.dtype='float16' is unknown; use one of float32, bfloat16"),
  ],
)
def test_what_is_out_of_range(change, message):
  with pytest.raises(ValueError, match=message):
    ModelSpec(**change).validate()


def test_sizes_are_not_checked_together_beside_a_pretrained_model():
  ModelSpec(pretrained="somewhere", width=100, heads=3).validate()


def test_a_table_of_words_has_no_heads():
  ModelSpec(architecture="static", width=50).validate()


def test_a_seeded_encoder_has_the_sizes_of_the_spec():
  spec = ModelSpec(layers=3, width=24, heads=2, mlp_width=40, vocab_size=99, positions=33)
  config = scratch_config(spec, pad_id=7)
  sizes = architecture.sizes(config)
  assert (sizes.layers, sizes.width, sizes.heads, sizes.mlp_width, sizes.vocab_size) == (3, 24, 2, 40, 99)
  assert (positions(config), config["pad_token_id"]) == (33, 7)
