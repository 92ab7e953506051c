"""What a user says about the encoder."""

import dataclasses
from typing import Any

from mtc.models.lora import LoraSpec

POOLINGS = ("mean", "cls", "max", "last")
ARCHITECTURES = ("bert", "modernbert", "static")
PROJECTIONS = ("identity", "tanh")
DTYPES = ("float32", "bfloat16")
ATTENTIONS = ("causal", "bidirectional")


@dataclasses.dataclass
class ModelSpec:
  """An encoder: pretrained, or started from a seed with the sizes given here.

  Attributes:
    pretrained: a Hugging Face or sentence-transformers directory, a name on the hub, or "mtc-mini", which comes with
      the package; "" starts from a seed.
    architecture: of an encoder that starts from a seed: bert, modernbert (rotary positions, local attention), or static
      (a static embedding, which has no sizes but width and vocab_size).
    layers, width, heads, mlp_width, vocab_size, positions: sizes of an encoder that starts from a seed; else unused.
    tokenizer: a directory with the tokenizer of an encoder that starts from a seed; "" = trained on the tasks' texts.
    rarity: of an encoder that starts from a seed: words start with less weight the more frequent they are, see
      `weigh_words`; a share of all tokens, 1e-3 for example; 0 = all alike.
    dropout: the rate for hidden states and attention in training. It also replaces the rates of a pretrained config.
    dim: of the embedding, reached by a learned projection; 0 = no projection, the embedding has the encoder's width. A
      sentence-transformers directory brings its own projection, followed by a random rotation to another size.
    pooling: how the tokens of a text become one vector: mean, cls (first token), max or last (last token); "" = as the
      pretrained directory says, else mean.
    attention: of a decoder: causal or bidirectional; "" = as its config says.
    projection: what follows the projection: identity or tanh; "" = as the pretrained one, else identity.
    dtype: of the computation: float32 or bfloat16. Parameters are float32.
    max_length: tokens of a text in evaluations and in the export, prompt and special ones included; the rest is cut.
      0 = as the pretrained model has it; of an encoder from a seed: as the longest task.
    lora: what is trained instead of the backbone, if its rank is not 0.
    adapter: a PEFT adapter of `pretrained` to start from: trained further where `lora` says the same, merged into the
      backbone where there is no LoRA; "" = none.
  """

  pretrained: str = ""
  architecture: str = "bert"
  layers: int = 4
  width: int = 256
  heads: int = 4
  mlp_width: int = 1024
  vocab_size: int = 8192
  positions: int = 512
  tokenizer: str = ""
  rarity: float = 0.0
  dropout: float = 0.1
  dim: int = 50
  pooling: str = ""
  attention: str = ""
  projection: str = ""
  dtype: str = "bfloat16"
  max_length: int = 0
  lora: LoraSpec = dataclasses.field(default_factory=LoraSpec)
  adapter: str = ""

  def validate(self) -> None:
    """Raises ValueError where a field is out of its range or two fields disagree."""
    for name in ("layers", "width", "heads", "mlp_width", "vocab_size", "positions"):
      if getattr(self, name) < 1:
        raise ValueError(f"model.{name}={getattr(self, name)} is below 1; use a positive number")
    if self.architecture not in ARCHITECTURES:
      raise ValueError(f"model.architecture={self.architecture!r} is unknown; use one of {', '.join(ARCHITECTURES)}")
    if not self.pretrained and self.architecture != "static" and self.width % self.heads:
      raise ValueError(
        f"model.width={self.width} does not divide into model.heads={self.heads}; use a multiple of heads"
      )
    if self.dim < 0:
      raise ValueError(f"model.dim={self.dim} is negative; use the size of the embedding, or 0 for no projection")
    if self.max_length and self.max_length < 3:
      raise ValueError(
        f"model.max_length={self.max_length} leaves no room between the special tokens; use 3 or more, or 0 for what "
        "the pretrained model has"
      )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"model.dropout={self.dropout} is outside [0, 1); use 0 for no dropout")
    if self.pooling not in ("", *POOLINGS):
      raise ValueError(f"model.pooling={self.pooling!r} is unknown; use one of {', '.join(POOLINGS)}")
    if self.projection not in ("", *PROJECTIONS):
      raise ValueError(f"model.projection={self.projection!r} is unknown; use one of {', '.join(PROJECTIONS)}")
    if self.attention not in ("", *ATTENTIONS):
      raise ValueError(f"model.attention={self.attention!r} is unknown; use one of {', '.join(ATTENTIONS)}")
    if self.dtype not in DTYPES:
      raise ValueError(f"model.dtype={self.dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    if self.pretrained and self.tokenizer:
      raise ValueError(
        f"model.tokenizer={self.tokenizer!r} is for an encoder from a seed; {self.pretrained!r} brings its own"
      )
    if self.rarity and not self.pretrained and self.width < 4:
      raise ValueError(f"model.rarity={self.rarity} needs a width of 4 or more, and model.width={self.width}")
    if self.rarity < 0 or (self.pretrained and self.rarity):
      raise ValueError(
        f"model.rarity={self.rarity} must be 0 or, for an encoder from a seed, a small share such as 1e-3"
      )
    self.lora.validate()
    if not self.pretrained and (self.lora.rank or self.adapter):
      name, value = ("lora.rank", self.lora.rank) if self.lora.rank else ("adapter", repr(self.adapter))
      raise ValueError(f"model.{name}={value} has nothing to adapt: name a model with model.pretrained")


def scratch_config(spec: ModelSpec, pad_id: int) -> dict[str, Any]:
  """The content of a Hugging Face `config.json` for an encoder of these sizes that starts from a seed."""
  common = {
    "vocab_size": spec.vocab_size,
    "hidden_size": spec.width,
    "num_hidden_layers": spec.layers,
    "num_attention_heads": spec.heads,
    "intermediate_size": spec.mlp_width,
    "max_position_embeddings": spec.positions,
    "initializer_range": 0.02,
    "pad_token_id": pad_id,
  }
  if spec.architecture == "static":
    return {"model_type": "static", "vocab_size": spec.vocab_size, "hidden_size": spec.width}
  if spec.architecture == "bert":
    return common | {
      "model_type": "bert",
      "architectures": ["BertModel"],
      "hidden_act": "gelu",
      "hidden_dropout_prob": spec.dropout,
      "attention_probs_dropout_prob": spec.dropout,
      "type_vocab_size": 2,
      "layer_norm_eps": 1e-12,
    }
  return common | {
    "model_type": "modernbert",
    "architectures": ["ModernBertModel"],
    "hidden_activation": "gelu",
    "attention_dropout": spec.dropout,
    "embedding_dropout": spec.dropout,
    "mlp_dropout": spec.dropout,
    "norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    # By these names versions 4.48 to 5 of transformers read them.
    "global_attn_every_n_layers": 3,
    "local_attention": 128,
    "global_rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
    # Ids that its class would otherwise take from a vocabulary of 50,368 words.
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
  }
