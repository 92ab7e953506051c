"""The tasks of the LiPost paper (arXiv 2405.11344) on public data, for python -m mtc.transfer.

python -m mtc.transfer --config configs/lipost.py --workdir runs/lipost --config.data_dir=DIR --config.input=threads \
  --seeds=3 --learning_rates=2e-4,5e-4,1e-3

`configs/lipost.py:pcgrad` balances the tasks by another name of BALANCING.

Six tasks are trained, one of them in twelve languages; five evaluations are of no task: stories of another source,
tags never seen, and what nothing here is trained for. Two cores without an accelerator set the sizes: texts cut at 48
tokens, and tests of 110 to 1,500 rows. `crisis_event` is no task, for its validation split is
one event, so that no learning rate can be chosen on it. The tasks' weights are near the inverse of their losses: alike,
the many classes, whose losses are large, drown the others (experiments/2026-11_transfer_static.md).
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
from mtc.multitask.balancing import Fixed, GradNorm, PCGrad, Uncertainty
from mtc.optim import OptimSpec

BALANCING = {"fixed": Fixed(), "uncertainty": Uncertainty(), "gradnorm": GradNorm(), "pcgrad": PCGrad()}


def get_config(balancing: str = "fixed") -> Experiment:
  if balancing not in BALANCING:
    raise ValueError(f"the balancing {balancing!r} is unknown; use one of {', '.join(BALANCING)}")

  def labelled(name: str, weight: float) -> Task:
    return Task(Folder(name), SameLabel(), nested(InfoNCE(temperature=0.05)), 48, weight, max_length=48)

  def search(name: str, weight: float) -> Task:
    loss = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
    return Task(Folder(name), Pairs(), nested(loss), 48, weight, max_length=48)

  def nested(loss: InfoNCE) -> Matryoshka:
    return Matryoshka(loss, dims=(50, 384))

  # The most that are asked, known and searched, drawn by a seed: the report scores some fifty models.
  stories = SameLabelRetrieval(limit=1200)
  few = Retrieval(limit=800, document_limit=2000)
  return Experiment(
    tasks={
      "interest": labelled("interest", 0.5),
      "storyline": labelled("storyline", 2),
      "hashtag": labelled("hashtag", 0.5),
      "search_tweets": search("search_tweets", 1),
      "search_medical": search("search_medical", 3),
      "intent": labelled("intent", 0.5),
    },
    evaluations={
      "interest": Evaluation(Folder("interest"), SameLabel(), KNN(limit=1200, reference_limit=2000), reference="train"),
      "storyline": Evaluation(Folder("storyline"), SameLabel(), stories),
      "crisis_event": Evaluation(Folder("crisis_event"), SameLabel(), stories, validation=""),
      "hashtag": Evaluation(Folder("hashtag"), SameLabel(), LabelRanking(reference_limit=2000), reference="train"),
      "search_tweets": Evaluation(Folder("search_tweets"), Pairs(), few),
      "search_medical": Evaluation(Folder("search_medical"), Pairs(), few),
      "intent": Evaluation(Folder("intent"), SameLabel(), KNN(limit=1500, reference_limit=2000), reference="train"),
      "sts": Evaluation(Folder("sts"), Scored(), STS(limit=1100), validation=""),
      "sib_topic": Evaluation(Folder("sib_topic"), SameLabel(), ZeroShot("a text about {}", limit=840), validation=""),
      "crosslingual_qa": Evaluation(
        Folder("crosslingual_qa"), Pairs(), CrossLingualRetrieval(limit=110, document_limit=2000), validation=""
      ),
      "unseen_tags": Evaluation(Folder("hashtag"), SameLabel(), stories, test="test_unseen_tags", validation=""),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32"),
    balancing=BALANCING[balancing],
    optim=OptimSpec(learning_rate=5e-5),
    steps=600,
    checkpoint_every=1000,
    diagnose_every=60,
    on_leak="drop",
  )
