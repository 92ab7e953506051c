"""Decoders beside PyTorch: transformers and sentence-transformers, to and fro (the extra mtc[torch])."""

import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models as pieces, pre_tokenizers, processors

import mtc
from mtc.embedder import save
from mtc.models import ModelSpec, build, load_backbone, read_config, save_backbone, with_attention

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).parent / "decoder_references"
NAMES = sorted(path.name for path in ROOT.iterdir())
SIZES = {
  "vocab_size": 300,
  "hidden_size": 48,
  "num_hidden_layers": 3,
  "num_attention_heads": 6,
  "num_key_value_heads": 2,
  "intermediate_size": 96,
  "max_position_embeddings": 256,
  "pad_token_id": 0,
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 10}
# Two of each architecture that share as little as they can.
CONFIGS = {
  "llama": {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": 64}, "head_dim": 16},
  "llama_other": {"num_key_value_heads": 6, "attention_bias": True, "mlp_bias": True, "is_causal": False},
  "mistral": {"sliding_window": 7},
  "mistral_other": {"sliding_window": None, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0}},
  "qwen2": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2},
  "qwen2_other": {
    "num_key_value_heads": 6,
    "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e6},
  },
  "qwen3": {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
  "qwen3_other": {"head_dim": 10, "attention_bias": True, "num_key_value_heads": 1, "is_causal": False},
  "gemma3_text": {**GEMMA, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
  "gemma3_text_other": {
    **GEMMA,
    "num_hidden_layers": 7,
    "use_bidirectional_attention": True,
    "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}},
  },
}


def _random(kind, head=False):
  """A model far enough from its start that every parameter counts."""
  model_type = "gemma3_text" if kind.startswith("gemma3") else kind.partition("_")[0]
  config = transformers.AutoConfig.for_model(model_type, **SIZES | CONFIGS[kind])
  torch.manual_seed(0)
  model = (transformers.AutoModelForCausalLM if head else transformers.AutoModel).from_config(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  return model


def _texts(vocab_size):
  rng = np.random.default_rng(0)
  return [rng.integers(5, vocab_size, length).tolist() for length in (9, 33, 1, 20, 64)]


def _ours(config, backbone, texts, grid):
  """The hidden states of each text, packed."""
  encoder = build(config, ModelSpec(dtype="float32", dim=0))
  tokens = grid([texts[:4], texts[4:]], length=64, slots=4)
  hidden = jax.jit(lambda params: encoder.apply(params, tokens, None))({"backbone": backbone})
  rows = [divmod(number, 4) for number in range(len(texts))]
  return [np.asarray(hidden).reshape(2, 64, -1)[row][tokens.segment[row] == slot + 1] for row, slot in rows]


def _theirs(model, texts):
  """The same from one batch, padded on the left."""
  longest = max(map(len, texts))
  ids, mask = (torch.zeros(len(texts), longest, dtype=torch.long) for _ in range(2))
  for row, text in enumerate(texts):
    ids[row, longest - len(text) :], mask[row, longest - len(text) :] = torch.tensor(text), 1
  with torch.no_grad():
    hidden = model(ids, attention_mask=mask).last_hidden_state.numpy()
  return [hidden[row, longest - len(text) :] for row, text in enumerate(texts)]


@pytest.mark.parametrize("shards", ["1GB", "100KB"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_with_its_head(kind, shards, tmp_path, grid):
  model = _random(kind, head=True)
  model.save_pretrained(tmp_path, max_shard_size=shards)
  assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards == "100KB")
  config, texts = read_config(tmp_path), _texts(300)
  found = _ours(config, load_backbone(tmp_path, config), texts, grid)
  for mine, padded, text in zip(found, _theirs(model.model, texts), texts):
    with torch.no_grad():
      alone = model.model(torch.tensor([text])).last_hidden_state[0].numpy()
    np.testing.assert_allclose(mine, alone, rtol=0, atol=5e-5)
    np.testing.assert_allclose(mine, padded, rtol=0, atol=5e-5)


@pytest.mark.parametrize("attention", ["", "causal", "bidirectional"])
@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_what_was_saved(name, attention, tmp_path, grid):
  config = with_attention(read_config(ROOT / name), attention)
  backbone = load_backbone(ROOT / name, config)
  save_backbone(tmp_path, backbone, config)
  model, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
  assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
  texts = [text[:30] for text in _texts(40)]
  for mine, theirs in zip(_ours(config, backbone, texts, grid), _theirs(model.eval(), texts), strict=True):
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=5e-5)


def test_the_stored_numbers_are_those_of_this_transformers():
  for name in NAMES:
    expected = load_file(ROOT / name / "expected.safetensors")
    model = transformers.AutoModel.from_pretrained(ROOT / name).eval()
    ids, mask = (torch.tensor(expected[key].astype(np.int64)) for key in ("ids", "mask"))
    with torch.no_grad():
      hidden = model(ids, attention_mask=mask).last_hidden_state.numpy()
    np.testing.assert_allclose(hidden[mask.bool()], expected["hidden"][mask.bool()], rtol=0, atol=1e-5)


def _save_tokenizer(directory, end):
  """Bytes as tokens, without one for padding; `end` follows every text if it is not empty."""
  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  tokenizer = Tokenizer(pieces.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
  if end:
    last = tokenizer.token_to_id(end)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, last)])
  tokenizer.save(str(directory / "tokenizer.json"))
  names = '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>", "padding_side": "left"}'
  (directory / "tokenizer_config.json").write_text(names)


@pytest.mark.parametrize(
  ("kind", "pooling", "end", "attention"),
  [
    ("qwen3", "lasttoken", "<|endoftext|>", ""),
    ("mistral", "lasttoken", "<|im_end|>", "bidirectional"),
    ("llama", "lasttoken", "", ""),
    ("qwen2", "mean", "", "bidirectional"),
    ("gemma3_text", "mean", "<|endoftext|>", "bidirectional"),
  ],
)
def test_sentence_transformers_there_and_back(kind, pooling, end, attention, tmp_path):
  sentence_transformers = pytest.importorskip("sentence_transformers")
  modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
  there, raw, back = tmp_path / "there", tmp_path / "raw", tmp_path / "back"
  raw.mkdir()
  _random(kind).save_pretrained(raw)
  _save_tokenizer(raw, end)
  transformer = modules.Transformer(str(raw), max_seq_length=40)
  layers = [transformer, modules.Pooling(48, pooling_mode=pooling)]
  for width, dim in ((48, 64), (64, 20)):
    layers.append(modules.Dense(width, dim, bias=False, activation_function=torch.nn.Identity()))
  model = sentence_transformers.SentenceTransformer(
    modules=[*layers, modules.Normalize()], prompts={"query": "Instruct: find\nQuery:", "document": ""}, device="cpu"
  )
  model.save(str(there))

  texts = ["a b c", "d", "zebra " * 20, "Ünïcode, longer than the others by far", "c c c c"]
  loaded = mtc.load(there)
  assert loaded.spec.pooling == {"lasttoken": "last"}.get(pooling, pooling)
  for role in ("query", "document"):
    found = loaded.encode(texts, role=role)
    np.testing.assert_allclose(found, model.encode(texts, prompt_name=role), rtol=0, atol=1e-5)

  loaded.config = with_attention(loaded.config, attention)
  loaded.encoder = build(loaded.config, loaded.spec)
  save.write(loaded, back)
  again, theirs = mtc.load(back), sentence_transformers.SentenceTransformer(str(back), device="cpu")
  for role in ("query", "document"):
    found = loaded.encode(texts, role=role)
    np.testing.assert_allclose(again.encode(texts, role=role), found, rtol=0, atol=1e-6)
    np.testing.assert_allclose(theirs.encode(texts, prompt_name=role), found, rtol=0, atol=1e-5)
  changed = np.abs(found - model.encode(texts, prompt_name=role)).max()
  assert (changed > 1e-3) == bool(attention)
