"""What a user says about the encoder."""

import dataclasses
from typing import Any

POOLINGS = ("mean", "cls", "max", "last")
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass
class ModelSpec:
  """An encoder: pretrained, or started from a seed with the sizes given here.

  Attributes:
    pretrained: a Hugging Face or sentence-transformers directory, or a name on the hub; "" starts from a seed.
    layers, width, heads, mlp_width, vocab_size, positions: sizes of an encoder that starts from a seed; else unused.
    dropout: the rate for hidden states and attention in training. It also replaces the rates of a pretrained config.
    dim: of the embedding, reached by a learned projection; 0 = no projection, the embedding has the encoder's width.
    pooling: how the tokens of a text become one vector: mean, cls (first token), max or last (last token).
    dtype: of the computation: float32 or bfloat16. Parameters are float32.
  """

  pretrained: str = ""
  layers: int = 4
  width: int = 256
  heads: int = 4
  mlp_width: int = 1024
  vocab_size: int = 8192
  positions: int = 512
  dropout: float = 0.1
  dim: int = 50
  pooling: str = "mean"
  dtype: str = "bfloat16"

  def validate(self) -> None:
    """Raises ValueError where a field is out of its range or two fields disagree."""
    for name in ("layers", "width", "heads", "mlp_width", "vocab_size", "positions"):
      if getattr(self, name) < 1:
        raise ValueError(f"model.{name}={getattr(self, name)} is below 1; use a positive number")
    if not self.pretrained and self.width % self.heads:
      raise ValueError(
        f"model.width={self.width} does not divide into model.heads={self.heads}; use a multiple of heads"
      )
    if self.dim < 0:
      raise ValueError(f"model.dim={self.dim} is negative; use the size of the embedding, or 0 for no projection")
    if not 0 <= self.dropout < 1:
      raise ValueError(f"model.dropout={self.dropout} is outside [0, 1); use 0 for no dropout")
    if self.pooling not in POOLINGS:
      raise ValueError(f"model.pooling={self.pooling!r} is unknown; use one of {', '.join(POOLINGS)}")
    if self.dtype not in DTYPES:
      raise ValueError(f"model.dtype={self.dtype!r} is unknown; use one of {', '.join(DTYPES)}")


def scratch_config(spec: ModelSpec, pad_id: int) -> dict[str, Any]:
  """The content of a Hugging Face `config.json` for an encoder of these sizes that starts from a seed."""
  return {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": spec.vocab_size,
    "hidden_size": spec.width,
    "num_hidden_layers": spec.layers,
    "num_attention_heads": spec.heads,
    "intermediate_size": spec.mlp_width,
    "hidden_act": "gelu",
    "hidden_dropout_prob": spec.dropout,
    "attention_probs_dropout_prob": spec.dropout,
    "max_position_embeddings": spec.positions,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": pad_id,
  }
