"""The first step of mtc-mini, the small encoder that mtc brings, and a deeper one to be trained. docs/pretraining.md.

python -m mtc.pretrain --config configs/mini.py --workdir runs/mini --config.data_dir=DIR
python -m mtc.pretrain --config configs/mini.py:masked --workdir runs/masked --config.data_dir=DIR

The first is words by their rarity and takes no step (configs/crops.py is what follows); the second is masked language
modelling, for a GPU. DIR holds `pretrain/english_books`, `pretrain/common_voice` and `posts/`.
"""

from dataclasses import replace

from mtc.config import Corpus, Pretraining
from mtc.data import Folder, Pairs, SameLabel, Text
from mtc.models import ModelSpec
from mtc.optim import OptimSpec

STARTS = {
  "words": ModelSpec(architecture="static", width=640, rarity=1e-3),
  "masked": ModelSpec(architecture="modernbert", layers=6, width=256, heads=4, mlp_width=512),
}


def get_config(start: str = "words") -> Pretraining:
  if start not in STARTS:
    raise ValueError(f"the start {start!r} is unknown; use one of {', '.join(STARTS)}")

  def by_language(name: str, text: str = "text") -> Corpus:
    return Corpus(Folder(f"posts/{name}"), SameLabel(text, labels="language"))

  return Pretraining(
    corpora={
      "books": Corpus(Text("pretrain/english_books", language="en")),
      "voice": Corpus(Text("pretrain/common_voice")),
      "interest": by_language("interest"),
      "storyline": by_language("storyline"),
      "hashtag": by_language("hashtag"),
      "intent": by_language("intent"),
      "sts_a": by_language("sts", "text_a"),
      "sts_b": by_language("sts", "text_b"),
      "crisis_event": Corpus(Folder("posts/crisis_event"), SameLabel()),
      "search_tweets": Corpus(Folder("posts/search_tweets"), Pairs()),
      "search_medical": Corpus(Folder("posts/search_medical"), Pairs()),
      "search_ja": Corpus(Folder("posts/search_ja"), Pairs()),
    },
    model=replace(STARTS[start], vocab_size=12288, dropout=0.0),
    optim=OptimSpec(learning_rate=2e-3, b2=0.98),
    exponent=0.75,
    max_alphabet=4000,
    rows=512,
    steps=0 if start == "words" else 10_000,
    checkpoint_every=1000,
  )
