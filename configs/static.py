"""The tasks of configs/multitask.py from a static embedding: about 100,000 tokens a second on a CPU, and lower scores.

python -m mtc.main --config configs/static.py --workdir runs/static [--config.data_dir=DIR]

A text is the mean of its tokens' vectors, without any layer. By default the vectors start from a seed, weighted by the
rarity of the tokens. `--config.model.pretrained=DIR` starts from a StaticEmbedding of sentence-transformers instead.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel
from mtc.evaluators import KNN, LabelRanking, Retrieval, SameLabelRetrieval
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  loss = InfoNCE(temperature=0.05)
  search = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
  return Experiment(
    tasks={
      "interest": Task(Folder("interest"), SameLabel(), loss, batch_size=64),
      "storyline": Task(Folder("storyline"), SameLabel(), loss, batch_size=64),
      "hashtag": Task(Folder("hashtag"), SameLabel(), loss, batch_size=64),
      "search_tweets": Task(Folder("search_tweets"), Pairs(), search, batch_size=64),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(reference_limit=10000), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), SameLabelRetrieval()),
      "hashtag": Evaluation(Folder("hashtag"), SameLabel(), LabelRanking(reference_limit=10000), reference="train"),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval()),
    },
    model=ModelSpec(
      architecture="static", width=640, vocab_size=12288, rarity=1e-3, dim=0, dropout=0.0, dtype="float32"
    ),
    optim=OptimSpec(learning_rate=1e-3),
    steps=600,
    checkpoint_every=200,
  )
