"""The reference: four tasks at once, on the built-in data or on a directory of your own.

python -m mtc.main --config configs/multitask.py --workdir runs/a [--config.data_dir=DIR] [--config.steps=2000]
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel
from mtc.evaluators import KNN, LabelRanking, Retrieval, SameLabelRetrieval
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  return Experiment(
    tasks={
      "interest": Task(Folder("interest"), SameLabel(), InfoNCE(temperature=0.05), batch_size=64),
      "storyline": Task(Folder("storyline"), SameLabel(), InfoNCE(temperature=0.05), batch_size=64),
      "hashtag": Task(Folder("hashtag"), SameLabel(), InfoNCE(temperature=0.05), batch_size=64),
      "search_tweets": Task(
        Folder("search_tweets"),
        Pairs(),
        InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query")),
        batch_size=64,
      ),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(reference_limit=10000), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), SameLabelRetrieval()),
      "hashtag": Evaluation(Folder("hashtag"), SameLabel(), LabelRanking(reference_limit=10000), reference="train"),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval()),
      "unseen_tags": Evaluation(
        Folder("hashtag"), SameLabel(), SameLabelRetrieval(), test="test_unseen_tags", validation=""
      ),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-3),  # for a table of words; transformers want 2e-5 to 1e-4
    steps=600,
    checkpoint_every=200,
  )
