"""The reference: four tasks at once, on the built-in data or on a directory of your own.

python -m mtc.main --config configs/multitask.py --workdir runs/a [--config.data_dir=DIR] [--config.steps=2000]

It fine-tunes mtc-mini, the multilingual transformer that comes with the package. Its embeddings have 384 dimensions, and
their first 50 are trained to be embeddings too (`mtc.embed --dim 50`). The sizes suit two CPU cores: five minutes from
start to end. With a GPU or a TPU and your own data, raise batch_size and steps, and take a larger model.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel
from mtc.evaluators import KNN, LabelRanking, Retrieval, SameLabelRetrieval
from mtc.losses import InfoNCE, Matryoshka
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  same_label = Matryoshka(InfoNCE(temperature=0.05), dims=(50, 384))
  search = Matryoshka(InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query")), dims=(50, 384))
  return Experiment(
    tasks={
      "interest": Task(Folder("interest"), SameLabel(), same_label, batch_size=16, max_length=64),
      "storyline": Task(Folder("storyline"), SameLabel(), same_label, batch_size=16, max_length=64),
      "hashtag": Task(Folder("hashtag"), SameLabel(), same_label, batch_size=16, max_length=64),
      "search_tweets": Task(Folder("search_tweets"), Pairs(), search, batch_size=16, max_length=64),
    },
    evaluations={
      "interest": Evaluation(
        Folder("interest"), SameLabel(), KNN(limit=400, reference_limit=800), reference="train"
      ),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), SameLabelRetrieval(limit=400)),
      "hashtag": Evaluation(
        Folder("hashtag"), SameLabel(), LabelRanking(limit=400, reference_limit=800), reference="train"
      ),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval(limit=200, document_limit=600)),
      "unseen_tags": Evaluation(
        Folder("hashtag"), SameLabel(), SameLabelRetrieval(limit=400), test="test_unseen_tags", validation=""
      ),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-4, layer_decay=0.9),
    steps=60,
    checkpoint_every=60,
  )
