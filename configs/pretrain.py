"""Masked language modelling on the built-in posts; `corpora` is what to change for texts of one's own.

python -m mtc.pretrain --config configs/pretrain.py --workdir runs/pretrain [--config.model.pretrained=DIR]
python -m mtc.main --config configs/multitask.py --workdir runs/a --config.model.pretrained=runs/pretrain/export
"""

from mtc.config import Corpus, Pretraining
from mtc.data import Folder, Pairs
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Pretraining:
  return Pretraining(
    corpora={
      "interest": Corpus(Folder("interest")),
      "storyline": Corpus(Folder("storyline")),
      "hashtag": Corpus(Folder("hashtag")),
      "search_tweets": Corpus(Folder("search_tweets"), Pairs()),
    },
    model=ModelSpec(
      architecture="modernbert", layers=2, width=128, heads=2, mlp_width=256, vocab_size=8192, dtype="float32"
    ),
    optim=OptimSpec(learning_rate=3e-3, b2=0.98),
    rows=32,
    steps=300,
    checkpoint_every=100,
  )
