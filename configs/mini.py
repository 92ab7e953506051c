"""A small encoder for 46 languages, its second half: the two parts of a text are a pair. See docs/pretraining.md.

python -m mtc.main --config configs/mini.py --workdir runs/mini --config.data_dir=DIR \
  --config.model.pretrained=runs/mini_pretrain/export

DIR holds `pretrain/english_books`, `pretrain/common_voice` and `posts/`; the first half is configs/mini_pretrain.py.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Crops, Folder, Pairs, SameLabel, Scored, Text
from mtc.evaluators import KNN, STS, Retrieval, SameLabelRetrieval
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  def parts(source, batch_size: int, text: str = "text") -> Task:
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
    evaluations={
      "storyline": Evaluation(Folder("posts/storyline"), SameLabel(), SameLabelRetrieval()),
      "search_tweets": Evaluation(Folder("posts/search_tweets"), Pairs(), Retrieval()),
      "search_medical": Evaluation(Folder("posts/search_medical"), Pairs(), Retrieval()),
      "interest": Evaluation(Folder("posts/interest"), SameLabel(), KNN(reference_limit=10000), reference="train"),
      "sts": Evaluation(Folder("posts/sts"), Scored(), STS()),
    },
    model=ModelSpec(pretrained="runs/mini_pretrain/export", dim=0, dropout=0.0),
    optim=OptimSpec(learning_rate=5e-4),
    on_bad_row="skip",
    steps=1500,
    checkpoint_every=500,
    evaluate_every=1500,
  )
