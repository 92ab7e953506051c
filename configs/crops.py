"""The second step of mtc-mini: the first and the last part of each text are a pair. docs/pretraining.md.

python -m mtc.main --config configs/crops.py --workdir runs/crops --config.data_dir=DIR --config.input=threads

It begins from the export of configs/mini.py in runs/mini. No label is used. DIR holds `pretrain/english_books`,
`pretrain/common_voice` and `posts/`, as for configs/mini.py.
"""

from mtc.config import Experiment, Task
from mtc.data import Crops, Folder, Source, Text
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  def parts(source: Source, batch_size: int, text: str = "text") -> Task:
    loss = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
    return Task(source, Crops(text), loss, batch_size, max_length=64, anchor_role="document")

  return Experiment(
    tasks={
      "books": parts(Text("pretrain/english_books", language="en"), 512),
      "voice": parts(Text("pretrain/common_voice"), 512),
      "interest": parts(Folder("posts/interest"), 128),
      "storyline": parts(Folder("posts/storyline"), 128),
      "hashtag": parts(Folder("posts/hashtag"), 128),
      "intent": parts(Folder("posts/intent"), 128),
      "sts": parts(Folder("posts/sts"), 128, "text_a"),
      "tweets": parts(Folder("posts/search_tweets"), 128, "positive"),
      "medical": parts(Folder("posts/search_medical"), 128, "positive"),
      "japanese": parts(Folder("posts/search_ja"), 128, "positive"),
    },
    model=ModelSpec(pretrained="runs/mini/export", dim=0, dropout=0.0, dtype="float32"),
    optim=OptimSpec(learning_rate=3e-4),
    on_bad_row="skip",  # a text of one word has no two parts
    steps=1800,
    checkpoint_every=600,
    evaluate_every=0,
  )
