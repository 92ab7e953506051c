"""A small encoder for 46 languages, its first half: masked language modelling. See docs/pretraining.md.

python -m mtc.pretrain --config configs/mini_pretrain.py --workdir runs/mini_pretrain --config.data_dir=DIR

DIR holds `pretrain/english_books`, `pretrain/common_voice` and `posts/`.
"""

from mtc.config import Corpus, Pretraining
from mtc.data import Folder, Pairs, SameLabel, Text
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Pretraining:
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
    model=ModelSpec(
      architecture="modernbert", layers=6, width=256, heads=4, mlp_width=512, vocab_size=12288, dropout=0.0
    ),
    optim=OptimSpec(learning_rate=2e-3, b2=0.98),
    exponent=0.75,
    max_alphabet=4000,
    rows=512,
    steps=10_000,
    checkpoint_every=1000,
  )
