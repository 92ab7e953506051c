"""Smaller models beside PyTorch: the vectors of sentence-transformers stay, and layers go as when taken out by hand."""

import json
import shutil

import numpy as np
import pytest
from test_embed_torch import CONFIGS, PROMPTS, SIZES, WIDTH, written
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mtc.embedder.embedder import load
from mtc.embedder.shrinking import Shrinking, shrink

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

LAYERS = 4
SEEN = ["soup bread oven recipe", "goal match striker", "a note about the moon", "court judge verdict", "rocket orbit"]
OTHERS = ["bakiran stiluvo", "contract appeal lawyer telescope", "x \u00e9 heute"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture(scope="session")
def unigram(texts):
  """As XLM-RoBERTa's: pieces with scores, `<pad>` is 1, `<s> text </s>`."""
  from tokenizers import trainers

  made = Tokenizer(models.Unigram())
  made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
  made.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>"))
  made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
  return made


@pytest.fixture(scope="session")
def byte_level(texts):
  """As Qwen's: merges of bytes, and one special token, which ends a text."""
  from tokenizers import trainers

  made = Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  made.train_from_iterator(
    texts, trainers.BpeTrainer(vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=alphabet)
  )
  made.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 0)])
  return made


def save(tokenizer, folder, **named):
  tokenizer.save(str(folder / "tokenizer.json"))
  config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
  (folder / "tokenizer_config.json").write_text(json.dumps(config | named))


def made(model_type, rows, folder, **changes):
  sizes = SIZES | {"num_hidden_layers": LAYERS} | CONFIGS[model_type]
  if model_type == "distilbert":
    sizes = {name: value for name, value in SIZES.items() if name.startswith(("max", "pad"))} | CONFIGS[model_type]
    sizes["n_layers"] = LAYERS
  torch.manual_seed(0)
  config = transformers.AutoConfig.for_model(model_type, **sizes | {"vocab_size": rows} | changes)
  model = transformers.AutoModel.from_config(config)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  model.save_pretrained(folder)
  return model.eval()


KINDS = {"unigram": "xlm-roberta", "wordpiece": "bert", "byte_level": "qwen3", "distilbert": "distilbert"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_whose_tokens_are_kept_has_the_same_vector(kind, tokenizer, unigram, byte_level, tmp_path):
  used = {"unigram": unigram, "byte_level": byte_level}.get(kind, tokenizer)
  backbone = tmp_path / "backbone"
  backbone.mkdir()
  if kind == "unigram":
    made(KINDS[kind], used.get_vocab_size(), backbone, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    save(used, backbone, **{f"{n}_token": t for n, t in zip(("cls", "pad", "sep", "unk", "mask"), SPECIAL)})
  elif kind == "byte_level":
    made(KINDS[kind], used.get_vocab_size() + 7, backbone, pad_token_id=0)
    save(used, backbone, pad_token="<|end|>", padding_side="left")
  else:
    made(KINDS[kind], used.get_vocab_size(), backbone)
    save(used, backbone, **{f"{n}_token": f"[{n.upper()}]" for n in ("cls", "pad", "sep", "unk", "mask")})
  before = written(backbone, tmp_path / "large", "lasttoken" if kind == "byte_level" else "mean", torch.nn.Tanh())
  # After a prompt the first word of a text can have other tokens: bytes with a space before it.
  (tmp_path / "en.txt").write_text("\n".join([*SEEN, *(PROMPTS["query"] + text for text in SEEN)]))
  size = 380 if kind == "byte_level" else 90  # 256 of them are bytes
  report = shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(size, texts=(str(tmp_path / "en.txt"),)))
  assert report["coverage"]["en"]["texts_kept"] == 1 and report["tokens"]["after"] < report["tokens"]["before"]
  after = sentence_transformers.SentenceTransformer(str(tmp_path / "small"), device="cpu")
  assert [type(part).__name__ for part in after] == [type(part).__name__ for part in before]
  assert after.prompts == before.prompts and after.max_seq_length == before.max_seq_length == 40
  for encode in ("encode", "encode_query", "encode_document"):
    np.testing.assert_array_equal(getattr(after, encode)(SEEN), getattr(before, encode)(SEEN))
  assert np.isfinite(after.encode(OTHERS)).all()
  large, small = load(tmp_path / "large"), load(tmp_path / "small")
  for role in ("query", "document"):
    np.testing.assert_array_equal(small.encode(SEEN, role), large.encode(SEEN, role))
  np.testing.assert_allclose(small.encode(SEEN + OTHERS), after.encode(SEEN + OTHERS), atol=1e-4)


FAMILIES = {
  **{name: {} for name in CONFIGS},
  "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"] * 2},
  "qwen2": {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2},
  "modernbert": {"pad_token_id": 0},
}


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("layers", [(0, 2), (0, 1, 3)])
def test_the_kept_layers_are_those_of_torch(model_type, layers, tokenizer, tokenizer_dir, tmp_path):
  rows = tokenizer.get_vocab_size()
  model = made(model_type, rows, tmp_path / "large", **FAMILIES[model_type])
  for file in tokenizer_dir.iterdir():
    shutil.copy(file, tmp_path / "large")
  shrink(str(tmp_path / "large"), tmp_path / "small", Shrinking(layers=layers))
  ids = torch.tensor([[2, *range(20, 40), 3], [2, *range(60, 80), 3]])
  stack = next(m for n, m in model.named_modules() if n.split(".")[-1] in ("layer", "layers") and len(m) == LAYERS)

  def skip(index):
    # A layer that is left out gives what it was given.
    kept = stack[index].forward
    dropped = (lambda hidden: (hidden,)) if model_type == "mpnet" else (lambda hidden: hidden)
    return lambda hidden, *args, **named: kept(hidden, *args, **named) if index in layers else dropped(hidden)

  for index in range(LAYERS):
    stack[index].forward = skip(index)
  smaller = transformers.AutoModel.from_pretrained(tmp_path / "small").eval()
  with torch.no_grad():
    states = [m(input_ids=ids).last_hidden_state.numpy() for m in (model, smaller)]
  np.testing.assert_allclose(states[1], states[0], atol=1e-5)
  assert smaller.config.num_hidden_layers == len(layers)
  assert states[1].shape[-1] == WIDTH
