"""The tasks of the LiPost paper (arXiv 2405.11344) on public data, for python -m mtc.transfer: docs/transfer.md.

python -m mtc.transfer --config configs/lipost.py --workdir runs/lipost --config.data_dir=DIR

Seven tasks are trained, one of them in twelve languages; four are only measured, and one of tags never seen.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel, Scored
from mtc.evaluators import (
  KNN,
  STS,
  CrossLingualRetrieval,
  LabelRanking,
  Retrieval,
  SameLabelRetrieval,
  ZeroShot,
)
from mtc.losses import InfoNCE, Matryoshka
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  def labelled(name: str) -> Task:
    return Task(Folder(name), SameLabel(), nested(InfoNCE(temperature=0.05)), batch_size=48, max_length=64)

  def search(name: str) -> Task:
    loss = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
    return Task(Folder(name), Pairs(), nested(loss), batch_size=48, max_length=96)

  def nested(loss: InfoNCE) -> Matryoshka:
    return Matryoshka(loss, dims=(32, 50, 128, 256))

  return Experiment(
    tasks={
      "interest": labelled("interest"),
      "storyline": labelled("storyline"),
      "crisis_event": labelled("crisis_event"),
      "hashtag": labelled("hashtag"),
      "search_tweets": search("search_tweets"),
      "search_medical": search("search_medical"),
      "intent": labelled("intent"),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(reference_limit=6000), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), SameLabelRetrieval()),
      "crisis_event": Evaluation(Folder("crisis_event"), SameLabel(), SameLabelRetrieval(), validation=""),
      "hashtag": Evaluation(Folder("hashtag"), SameLabel(), LabelRanking(reference_limit=6000), reference="train"),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), Retrieval()),
      "search_medical": Evaluation(Folder("search_medical"), Pairs(), Retrieval()),
      "intent": Evaluation(Folder("intent"), SameLabel(), KNN(limit=12500, reference_limit=6000), reference="train"),
      "sts": Evaluation(Folder("sts"), Scored(), STS(), validation=""),
      "sib_topic": Evaluation(Folder("sib_topic"), SameLabel(), ZeroShot("a text about {}"), validation=""),
      "crosslingual_qa": Evaluation(Folder("crosslingual_qa"), Pairs(), CrossLingualRetrieval(), validation=""),
      "unseen_tags": Evaluation(
        Folder("hashtag"), SameLabel(), SameLabelRetrieval(), test="test_unseen_tags", validation=""
      ),
    },
    model=ModelSpec(
      architecture="modernbert",
      layers=1,
      width=256,
      heads=4,
      mlp_width=512,
      vocab_size=16384,
      positions=128,
      rarity=1e-3,
      dropout=0.0,
      dim=256,
      dtype="float32",
    ),
    optim=OptimSpec(learning_rate=5e-4),
    steps=300,
    checkpoint_every=100,
    diagnose_every=50,
  )
