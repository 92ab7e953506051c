"""Fewer tokens and layers: the same hidden states, and a config that says what is there."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from mtc.models import (
  ModelSpec,
  build,
  fixed_tokens,
  keep_layers,
  keep_tokens,
  load_backbone,
  read_config,
  save_backbone,
  sizes,
)

ROOT = pathlib.Path(__file__).parent / "references"
NAMES = ["bert_gelu", "roberta_relu", "xlm_roberta_gelu", "distilbert_relu", "mpnet_relu", "modernbert_silu"]
DECODERS = pathlib.Path(__file__).parent / "decoder_references"


@pytest.fixture(params=NAMES)
def checkpoint(request):
  config = read_config(ROOT / request.param)
  return config, load_backbone(ROOT / request.param, config)


def hidden(config, backbone, tokens):
  spec = ModelSpec(dim=0, dropout=0.0, dtype="float32")
  return np.asarray(build(config, spec).apply({"backbone": backbone}, tokens, None))


def test_kept_tokens_have_the_same_hidden_states(checkpoint, grid):
  config, backbone = checkpoint
  rows = sizes(config).vocab_size
  kept = sorted(fixed_tokens(config) | set(range(5, rows, 3)))
  place = {row: index for index, row in enumerate(kept)}
  smaller, changed = keep_tokens(backbone, config, kept)
  assert changed["vocab_size"] == len(smaller["embeddings"]["word"]["embedding"]) == len(kept) < rows
  text = [row for row in kept if row >= 5][:6]
  before = hidden(config, backbone, grid([[text, text[:3]]], 16, 2))
  moved = [place[row] for row in text]
  after = hidden(changed, smaller, grid([[moved, moved[:3]]], 16, 2))
  filled = len(text) + 3  # past it is padding, whose states no text has
  np.testing.assert_array_equal(after[:filled], before[:filled])


def test_kept_layers_are_those(checkpoint, grid):
  config, backbone = checkpoint
  count = sizes(config).layers
  layers = [0, *range(2, count)] if count > 2 else [0]
  smaller, changed = keep_layers(backbone, config, layers)
  assert sizes(changed).layers == len(layers) == len([name for name in smaller if name.startswith("layer_")])
  for index, layer in enumerate(layers):
    assert smaller[f"layer_{index}"] is backbone[f"layer_{layer}"]
  assert np.isfinite(hidden(changed, smaller, grid([[[5, 6, 7]]], 8, 1))).all()
  same, unchanged = keep_layers(backbone, config, list(range(count)))
  assert unchanged == config and jax.tree.structure(same) == jax.tree.structure(backbone)


def test_a_smaller_checkpoint_is_saved_and_loaded(checkpoint, tmp_path):
  config, backbone = checkpoint
  smaller, changed = keep_layers(backbone, config, [0])
  smaller, changed = keep_tokens(smaller, changed, sorted(fixed_tokens(config) | {7, 9, 11}))
  save_backbone(tmp_path, smaller, changed)
  found = load_backbone(tmp_path, read_config(tmp_path))
  jax.tree.map(np.testing.assert_array_equal, found, smaller)


def test_special_ids_of_the_config_move_with_their_tokens():
  config = read_config(ROOT / "bert_gelu") | {
    "pad_token_id": 4,
    "eos_token_id": [9, 7],
    "bos_token_id": 10**6,
    "sep_token_id": None,
  }
  backbone = {"embeddings": {"word": {"embedding": np.arange(sizes(config).vocab_size)[:, None]}}}
  assert fixed_tokens(config) == {4, 7, 9}
  smaller, changed = keep_tokens(backbone, config, [2, 4, 7, 9])
  assert smaller["embeddings"]["word"]["embedding"].ravel().tolist() == [2, 4, 7, 9]
  named = {name: changed[name] for name in changed if name.endswith("_token_id")}
  assert named == {"pad_token_id": 1, "eos_token_id": [3, 2], "bos_token_id": None, "sep_token_id": None}
  assert config["pad_token_id"] == 4


def test_positions_depend_on_the_padding_of_some(grid):
  for name, pad, first in (
    ("roberta_relu", 3, 4),
    ("xlm_roberta_gelu", 1, 2),
    ("mpnet_relu", 1, 2),
    ("bert_gelu", 0, 0),
  ):
    config = read_config(ROOT / name) | {"pad_token_id": pad}
    assert set(range(first)) <= fixed_tokens(config)
    backbone = {"embeddings": {"word": {"embedding": np.zeros((sizes(config).vocab_size, 1))}}}
    _, changed = keep_tokens(backbone, config, [*range(first), 8])
    assert changed["pad_token_id"] == (pad if first else None) and sizes(changed).positions == sizes(config).positions
    if first:
      with pytest.raises(ValueError, match=f"so the first {first} tokens must stay the first; kept are"):
        keep_tokens(backbone, config, [*range(1, first), 8])


def test_a_modernbert_names_no_token_past_its_table():
  """Its class of transformers assumes ids of 50,281 and more, and refuses to pad with a row that there is not."""
  config = {name: value for name, value in read_config(ROOT / "modernbert_silu").items() if "token_id" not in name}
  backbone = {"embeddings": {"word": {"embedding": np.zeros((sizes(config).vocab_size, 1))}}}
  _, changed = keep_tokens(backbone, config, [1, 2])
  assert {name for name in changed if name.endswith("_token_id")} >= {"pad_token_id", "cls_token_id", "eos_token_id"}
  assert {changed[name] for name in changed if name.endswith("_token_id")} == {None}
  large = config | {"vocab_size": 50_368}
  assert fixed_tokens(large) == {50_281, 50_282, 50_283}


LOCAL = {
  "modernbert": {"num_hidden_layers": 6, "vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2},
  "gemma3_text": {"num_hidden_layers": 6, "vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2},
  "qwen2": {"num_hidden_layers": 6, "vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2},
  "mistral": {"num_hidden_layers": 6, "vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2},
}
MORE = {
  "modernbert": {},
  "gemma3_text": {"sliding_window": 6, "sliding_window_pattern": 3},
  "qwen2": {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 2},
  "mistral": {"sliding_window": 6},
}
FULL, NEAR = "full_attention", "sliding_attention"


@pytest.mark.parametrize(
  "model_type, layers, kinds",
  [
    ("modernbert", [0, 1, 2, 3], None),  # every third layer is global, as without the others
    ("modernbert", [0, 3], [FULL, FULL]),
    ("modernbert", [0, 2, 3, 5], [FULL, NEAR, FULL, NEAR]),
    ("gemma3_text", [0, 1, 2], None),
    ("gemma3_text", [2, 3, 5], [FULL, NEAR, FULL]),
    ("qwen2", [0, 1, 4], None),
    ("qwen2", [1, 4], [FULL, NEAR]),
    ("qwen2", [3, 4, 5], [NEAR] * 3),
    ("mistral", [1, 4], None),
  ],
)
def test_what_a_layer_sees_stays_with_it(model_type, layers, kinds):
  common = {"model_type": model_type, "intermediate_size": 8, "max_position_embeddings": 24}
  config = common | LOCAL[model_type] | MORE[model_type]
  spec = ModelSpec(dim=0, dropout=0.0, dtype="float32")
  shapes = jax.eval_shape(build(config, spec).init, jax.random.key(0))["backbone"]
  backbone = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
  _, changed = keep_layers(backbone, config, layers)
  assert changed.get("layer_types") == kinds
  was, now = sizes(config), sizes(changed)
  assert now.windows == tuple(was.windows[layer] for layer in layers)
  assert dataclasses.asdict(now).keys() == dataclasses.asdict(was).keys() and now.width == was.width
  named = config | {"layer_types": [NEAR if window else FULL for window in was.windows]}
  if model_type != "mistral":  # whose layers are all alike
    _, changed = keep_layers(backbone, named, layers)
    assert sizes(changed).windows == now.windows and len(changed["layer_types"]) == len(layers)


@pytest.mark.parametrize(
  "layers, said",
  [
    ([0, 3], "layers=0,3: 3 is not a layer of this model; it has 0 to 2"),
    ([-1, 0], "layers=-1,0: -1 is not a layer of this model"),
    ([0, 0], "layers=0,0 must name each layer once, in increasing order, from 0 to 2"),
    ([2, 0], "layers=2,0 must name each layer once"),
    ([], "must name each layer once"),
  ],
)
def test_layers_that_cannot_be_kept(layers, said):
  config = read_config(ROOT / "bert_gelu") | {"num_hidden_layers": 3}
  with pytest.raises(ValueError) as error:
    keep_layers({f"layer_{index}": {} for index in range(3)}, config, layers)
  assert said in str(error.value)


def test_a_modernbert_begins_with_its_first_layer():
  config = read_config(ROOT / "modernbert_silu")
  backbone = load_backbone(ROOT / "modernbert_silu", config)
  with pytest.raises(ValueError, match="layer 1 of this model cannot be its first: it has attention_norm, which the"):
    keep_layers(backbone, config, [1])


def test_a_static_embedding_has_no_layers():
  with pytest.raises(ValueError, match="a static embedding has no layers to keep"):
    keep_layers({}, {"model_type": "static", "vocab_size": 3, "hidden_size": 2}, [0])


def test_a_config_that_cannot_describe_the_layers_is_refused(monkeypatch):
  """As of an architecture whose layers differ by something that its config.json says by their number alone."""
  from mtc.models import shrinking

  config = read_config(ROOT / "bert_gelu") | {"num_hidden_layers": 3}
  real = shrinking.sizes

  @dataclasses.dataclass(frozen=True)
  class Uneven:
    layers: int
    vocab_size: int
    widths: tuple[int, ...]

  monkeypatch.setattr(shrinking, "sizes", lambda c: Uneven(real(c).layers, 3, tuple(range(real(c).layers))))
  with pytest.raises(ValueError, match="cannot describe the layers 0,2: their widths would change; keep others"):
    shrinking.keep_layers({}, config, [0, 2])
