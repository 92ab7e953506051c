"""Makes `references/`: tiny checkpoints of the encoders, with the hidden states that PyTorch computes.

Run it where torch 2.13 and transformers 5.23 are installed (the extra mtc[torch]), from the repository's root:
  python tests/models/make_references.py
"""

import pathlib

import numpy as np
from safetensors.numpy import save_file
import torch
import transformers

_ROOT = pathlib.Path(__file__).parent / "references"
_LENGTHS = (5, 9, 3, 7, 1, 4)  # tokens of the texts
_COMMON = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2}
_OTHER = {"vocab_size": 61, "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
_MODELS = {
  "bert_gelu": (
    transformers.BertModel,
    transformers.BertConfig(**_COMMON, intermediate_size=32, max_position_embeddings=16),
  ),
  "bert_gelu_new": (
    transformers.BertModel,
    transformers.BertConfig(
      **_OTHER,
      intermediate_size=40,
      max_position_embeddings=12,
      hidden_act="gelu_new",
      type_vocab_size=3,
      layer_norm_eps=1e-3,
      pad_token_id=4,
    ),
  ),
  "roberta_gelu": (
    transformers.RobertaModel,
    transformers.RobertaConfig(
      **_COMMON, intermediate_size=32, max_position_embeddings=18, type_vocab_size=1, layer_norm_eps=1e-5
    ),
  ),
  "roberta_relu": (
    transformers.RobertaModel,
    transformers.RobertaConfig(
      **_OTHER, intermediate_size=40, max_position_embeddings=16, hidden_act="relu", pad_token_id=3
    ),
  ),
  "xlm_roberta_gelu": (
    transformers.XLMRobertaModel,
    transformers.XLMRobertaConfig(
      **_COMMON, intermediate_size=32, max_position_embeddings=18, type_vocab_size=1, layer_norm_eps=1e-5
    ),
  ),
  "xlm_roberta_tanh": (
    transformers.XLMRobertaModel,
    transformers.XLMRobertaConfig(
      **_OTHER, intermediate_size=40, max_position_embeddings=14, hidden_act="gelu_pytorch_tanh"
    ),
  ),
  "distilbert_gelu": (
    transformers.DistilBertModel,
    transformers.DistilBertConfig(
      vocab_size=50, dim=16, n_heads=4, n_layers=2, hidden_dim=32, max_position_embeddings=16
    ),
  ),
  "distilbert_relu": (
    transformers.DistilBertModel,
    transformers.DistilBertConfig(
      vocab_size=61,
      dim=24,
      n_heads=2,
      n_layers=1,
      hidden_dim=40,
      max_position_embeddings=12,
      activation="relu",
      sinusoidal_pos_embds=True,
    ),
  ),
  "mpnet_gelu": (
    transformers.MPNetModel,
    transformers.MPNetConfig(**_COMMON, intermediate_size=32, max_position_embeddings=18, layer_norm_eps=1e-5),
  ),
  "mpnet_relu": (
    transformers.MPNetModel,
    transformers.MPNetConfig(**_OTHER, intermediate_size=40, max_position_embeddings=14, hidden_act="relu"),
  ),
  "modernbert_local": (
    transformers.ModernBertModel,
    transformers.ModernBertConfig(
      **_COMMON, intermediate_size=32, max_position_embeddings=16, local_attention=4, pad_token_id=0, norm_bias=True
    ),
  ),
  "modernbert_silu": (
    transformers.ModernBertModel,
    transformers.ModernBertConfig(
      **{**_OTHER, "num_hidden_layers": 3},
      intermediate_size=40,
      max_position_embeddings=12,
      layer_types=["sliding_attention", "full_attention", "sliding_attention"],
      local_attention=6,
      hidden_activation="silu",
      attention_bias=True,
      mlp_bias=True,
      pad_token_id=4,
    ),
  ),
}


def main() -> None:
  for seed, (name, (model_class, config)) in enumerate(_MODELS.items()):
    if (_ROOT / name).exists():
      continue  # to make it anew, remove it first
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
      for parameter in model.parameters():
        # Biases and LayerNorms start as zeros and ones, which would hide a mistake in them.
        parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(_ROOT / name)
    generator = np.random.default_rng(seed)
    ids = np.full((len(_LENGTHS), max(_LENGTHS)), config.pad_token_id)
    for row, length in enumerate(_LENGTHS):
      ids[row, :length] = generator.integers(5, config.vocab_size, length)
    mask = np.arange(ids.shape[1]) < np.array(_LENGTHS)[:, None]
    with torch.no_grad():
      hidden = model(torch.tensor(ids), attention_mask=torch.tensor(mask).long()).last_hidden_state.numpy()
    expected = {"ids": ids.astype(np.int32), "mask": mask.astype(np.int32), "hidden": hidden}
    save_file(expected, _ROOT / name / "expected.safetensors")


if __name__ == "__main__":
  main()
