"""Five tasks at once on public data (docs/data.md), scored on their tests, from mtc-mini: the README's table.

python -m mtc.main --config configs/posts.py --workdir runs/posts --config.data_dir=DIR --config.input=threads

Five evaluations are of no task: stories of another source, hashtags never seen, graded pairs and topics by their
names in many languages, and a search in Japanese. (mtc-mini has seen training texts of all but the topics, and learnt
no label.) The tasks' weights are near the inverse of their losses at the start: docs/transfer.md says what that is
worth.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel, Scored
from mtc.evaluators import KNN, STS, LabelRanking, Retrieval, SameLabelRetrieval, ZeroShot
from mtc.losses import InfoNCE
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  def labelled(name: str, weight: float) -> Task:
    return Task(Folder(name), SameLabel(), InfoNCE(temperature=0.05), 64, weight)

  def search(name: str, batch_size: int, weight: float) -> Task:
    loss = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
    return Task(Folder(name), Pairs(), loss, batch_size, weight, max_length=64)

  return Experiment(
    tasks={
      "interest": labelled("interest", 0.5),
      "storyline": labelled("storyline", 2),
      "hashtag": labelled("hashtag", 0.5),
      "search_tweets": search("search_tweets", 64, 1),
      "search_medical": search("search_medical", 32, 3),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(reference_limit=10000), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), SameLabelRetrieval()),
      "hashtag": Evaluation(Folder("hashtag"), SameLabel(), LabelRanking(reference_limit=10000), reference="train"),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval()),
      "search_medical": Evaluation(Folder("search_medical"), Pairs(), Retrieval()),
      "search_ja": Evaluation(Folder("search_ja"), Pairs(), Retrieval(), validation=""),
      "sts": Evaluation(Folder("sts"), Scored(), STS(), validation=""),
      "crisis_event": Evaluation(Folder("crisis_event"), SameLabel(), SameLabelRetrieval(), validation=""),
      "unseen_tags": Evaluation(
        Folder("hashtag"), SameLabel(), SameLabelRetrieval(), test="test_unseen_tags", validation=""
      ),
      "sib_topic": Evaluation(Folder("sib_topic"), SameLabel(), ZeroShot("a text about {}"), validation=""),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32"),
    optim=OptimSpec(learning_rate=5e-4),  # for a table of words; transformers want 2e-5 to 1e-4
    steps=600,
    checkpoint_every=200,
    evaluate_every=0,
  )
