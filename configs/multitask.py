"""The reference: four tasks at once, on the built-in data or on a directory of your own.

python -m mtc.main --config configs/multitask.py --workdir runs/a [--config.data_dir=DIR] [--config.steps=2000]

It fine-tunes the upper four layers of mtc-mini, the multilingual transformer that comes with the package. Embeddings
have 384 dimensions, and their first 50 are trained to be embeddings too (`mtc.embed --dim 50`). All sizes are for two
CPU cores and five minutes. With an accelerator and your own data, train all layers (`--config.optim.freeze="()"
--config.optim.learning_rate=5e-5`), raise batch_size, steps and the limits of the evaluations, and use a larger model.
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
  stories = SameLabelRetrieval(limit=200)
  return Experiment(
    tasks={
      "interest": Task(Folder("interest"), SameLabel(), same_label, batch_size=12, max_length=64),
      "storyline": Task(Folder("storyline"), SameLabel(), same_label, batch_size=12, max_length=64),
      "hashtag": Task(Folder("hashtag"), SameLabel(), same_label, batch_size=12, max_length=64),
      "search_tweets": Task(Folder("search_tweets"), Pairs(), search, batch_size=12, max_length=64),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(limit=200, reference_limit=300), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), stories),
      "hashtag": Evaluation(
        Folder("hashtag"), SameLabel(), LabelRanking(limit=200, reference_limit=300), reference="train"
      ),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval(limit=100, document_limit=300)),
      "unseen_tags": Evaluation(Folder("hashtag"), SameLabel(), stories, test="test_unseen_tags", validation=""),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32"),
    optim=OptimSpec(learning_rate=2e-4, freeze=("backbone/embeddings", "backbone/layer_[0-7]")),
    steps=24,
    checkpoint_every=24,
  )
