"""A small encoder from a seed, on texts without labels, in 46 languages: what was measured is in docs/pretraining.md.

python -m mtc.main --config configs/mini.py --workdir runs/mini --config.data_dir=DIR --config.model.tokenizer=TOKENIZER

DIR holds `pretrain/english_books`, `pretrain/common_voice` and `posts/`; TOKENIZER is the folder
`tokenizer` of a run of mtc.pretrain on the same texts. The two parts of each text are a pair (`Crops`).
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
      "books": parts(Text("pretrain/english_books", language="en"), 64),
      "voice": parts(Text("pretrain/common_voice"), 64),
      "interest": parts(Folder("posts/interest"), 48),
      "storyline": parts(Folder("posts/storyline"), 48),
      "hashtag": parts(Folder("posts/hashtag"), 48),
      "intent": parts(Folder("posts/intent"), 48),
      "sts": parts(Folder("posts/sts"), 48, "text_a"),
      "tweets": parts(Folder("posts/search_tweets"), 48, "positive"),
      "medical": parts(Folder("posts/search_medical"), 32, "positive"),
      "japanese": parts(Folder("posts/search_ja"), 32, "positive"),
    },
    evaluations={
      "storyline": Evaluation(Folder("posts/storyline"), SameLabel(), SameLabelRetrieval()),
      "search_tweets": Evaluation(Folder("posts/search_tweets"), Pairs(), Retrieval()),
      "search_medical": Evaluation(Folder("posts/search_medical"), Pairs(), Retrieval()),
      "interest": Evaluation(Folder("posts/interest"), SameLabel(), KNN(reference_limit=10000), reference="train"),
      "sts": Evaluation(Folder("posts/sts"), Scored(), STS()),
    },
    model=ModelSpec(
      architecture="modernbert",
      layers=1,
      width=512,
      heads=8,
      mlp_width=192,
      vocab_size=12288,
      rarity=1e-3,
      dropout=0.0,
      dim=512,
      dtype="float32",
    ),
    optim=OptimSpec(learning_rate=1e-3, freeze=("backbone/embeddings",)),
    on_bad_row="skip",
    steps=150,
    checkpoint_every=50,
    evaluate_every=150,
  )
