"""Makes `decoder_references/`: tiny checkpoints of the decoders, with the hidden states that PyTorch computes.

Run it where torch 2.13 and transformers 5.23 are installed (the extra mtc[torch]), from the repository's root:
  python tests/models/make_decoder_references.py
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import save_file
import torch
import transformers

_ROOT = pathlib.Path(__file__).parent / "decoder_references"
_LENGTHS = (5, 9, 3, 7, 1, 4)  # tokens of the texts
_SIZES = {
  "vocab_size": 40,
  "hidden_size": 16,
  "intermediate_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "max_position_embeddings": 32,
  "pad_token_id": 0,
}
_YARN = {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 8}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 50.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_GEMMA = {"num_key_value_heads": 2, "head_dim": 6, "query_pre_attn_scalar": 10}
# Names that end in _old get the config.json that transformers 4 wrote.
_MODELS = {
  "llama_old": transformers.LlamaConfig(**_SIZES),
  "llama_llama3": transformers.LlamaConfig(
    **_SIZES,
    num_key_value_heads=2,
    head_dim=8,
    attention_bias=True,
    mlp_bias=True,
    rope_parameters=_LLAMA3 | {"original_max_position_embeddings": 16},
  ),
  "llama_both_ways": transformers.LlamaConfig(
    **_SIZES, num_key_value_heads=1, is_causal=False, rope_parameters={"rope_type": "linear", "factor": 2.5}
  ),
  "mistral_window_old": transformers.MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=3),
  "mistral_yarn": transformers.MistralConfig(
    **_SIZES, num_key_value_heads=4, head_dim=6, sliding_window=None, rope_parameters=_YARN, rms_norm_eps=1e-3
  ),
  "mistral_both_ways": transformers.MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=2, is_causal=False),
  "qwen2_old": transformers.Qwen2Config(
    **_SIZES, num_key_value_heads=2, use_sliding_window=True, sliding_window=3, max_window_layers=1
  ),
  "qwen2_yarn": transformers.Qwen2Config(
    **_SIZES,
    num_key_value_heads=4,
    head_dim=12,
    rope_parameters=_YARN
    | {"original_max_position_embeddings": 32, "mscale": 2.0, "mscale_all_dim": 0.5, "truncate": False},
  ),
  "qwen3_old": transformers.Qwen3Config(
    **_SIZES, num_key_value_heads=2, head_dim=6, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
  ),
  "qwen3_both_ways": transformers.Qwen3Config(
    **_SIZES,
    num_key_value_heads=1,
    head_dim=8,
    attention_bias=True,
    hidden_act="gelu",
    use_sliding_window=True,
    sliding_window=2,
    layer_types=["sliding_attention", "full_attention"],
    is_causal=False,
  ),
  "gemma_linear": transformers.Gemma3TextConfig(
    **_SIZES,
    **_GEMMA,
    sliding_window=3,
    layer_types=["full_attention", "sliding_attention"],
    rope_parameters={
      "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 300.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    },
  ),
  "gemma_both_ways_old": transformers.Gemma3TextConfig(
    **_SIZES,
    **_GEMMA,
    sliding_window=4,
    sliding_window_pattern=2,
    attention_bias=True,
    use_bidirectional_attention=True,
    rope_parameters={
      "full_attention": {"rope_type": "default", "rope_theta": 500.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
    },
  ),
}


def main() -> None:
  for seed, (name, config) in enumerate(_MODELS.items()):
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
      for parameter in model.parameters():
        # Biases and norms start as zeros and ones, which would hide a mistake in them.
        parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(_ROOT / name)
    if name.endswith("_old"):
      _write_old_config(_ROOT / name / "config.json")
    generator = np.random.default_rng(seed)
    ids = np.zeros((len(_LENGTHS), max(_LENGTHS)), np.int64)
    for row, length in enumerate(_LENGTHS):
      ids[row, :length] = generator.integers(5, config.vocab_size, length)
    mask = np.arange(ids.shape[1]) < np.array(_LENGTHS)[:, None]
    layers, hidden = _states(model, torch.tensor(ids), torch.tensor(mask).long())
    expected = {"ids": ids.astype(np.int32), "mask": mask.astype(np.int32), "layers": layers, "hidden": hidden}
    save_file(expected, _ROOT / name / "expected.safetensors")


def _states(model: torch.nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
  """What every layer gives, and the model."""
  layers: list[np.ndarray] = []
  for layer in model.layers:
    layer.register_forward_hook(lambda module, inputs, output: layers.append(output.numpy()))
  with torch.no_grad():
    hidden = model(ids, attention_mask=mask).last_hidden_state.numpy()
  return np.stack(layers), hidden


def _write_old_config(path: pathlib.Path) -> None:
  config = json.loads(path.read_text())
  rope = config.pop("rope_parameters")
  for new in ("layer_types", "dtype"):
    config.pop(new, None)
  if "full_attention" in rope:
    config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    config["sliding_window_pattern"] = 2
    rope = rope["full_attention"]
  config |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": "float32"}
  if config["model_type"] == "llama":
    for added in ("num_key_value_heads", "head_dim", "attention_bias", "mlp_bias"):
      del config[added]
  path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
  main()
