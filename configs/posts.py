"""Five tasks at once on public data (docs/data.md), scored on their tests, from mtc-mini: the README's table.

python -m mtc.main --config configs/posts.py --workdir runs/posts --config.data_dir=DIR --config.input=threads

It trains the upper four layers, with sizes for two CPU cores and about an hour. From a model of six layers, freeze two:
`--config.optim.freeze="('backbone/embeddings','backbone/layer_[01]')"`. Five evaluations have no task: stories of
another source, hashtags never seen, graded pairs and topics by their names in many languages, and a search in Japanese.
"""

from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, Pairs, SameLabel, Scored
from mtc.evaluators import KNN, STS, LabelRanking, Retrieval, SameLabelRetrieval, ZeroShot
from mtc.losses import InfoNCE, Matryoshka
from mtc.models import ModelSpec
from mtc.optim import OptimSpec


def get_config() -> Experiment:
  def labelled(name: str, weight: float) -> Task:
    loss = Matryoshka(InfoNCE(temperature=0.05), dims=(50, 384))
    return Task(Folder(name), SameLabel(), loss, 24, weight, max_length=64)

  def search(name: str, batch_size: int, weight: float) -> Task:
    loss = InfoNCE(temperature=0.05, directions=("query_to_doc", "doc_to_query"))
    return Task(Folder(name), Pairs(), Matryoshka(loss, dims=(50, 384)), batch_size, weight, max_length=96)

  def test(name: str, examples, evaluator, **options) -> Evaluation:
    return Evaluation(Folder(name), examples, evaluator, validation="", **options)

  posts = SameLabelRetrieval(limit=1000)
  few = Retrieval(limit=300, document_limit=1000)
  return Experiment(
    tasks={
      "interest": labelled("interest", 0.5),
      "storyline": labelled("storyline", 2),
      "hashtag": labelled("hashtag", 0.5),
      "search_tweets": search("search_tweets", 24, 1),
      "search_medical": search("search_medical", 12, 3),
    },
    evaluations={
      "interest": test("interest", SameLabel(), KNN(limit=1000, reference_limit=2000), reference="train"),
      "storyline": test("storyline", SameLabel(), posts),
      "hashtag": test("hashtag", SameLabel(), LabelRanking(limit=1000, reference_limit=2000), reference="train"),
      "search_tweets": test("search_tweets", Pairs(), Retrieval()),
      "search_medical": test("search_medical", Pairs(), few),
      "search_ja": test("search_ja", Pairs(), Retrieval(limit=200, document_limit=500)),
      "sts": test("sts", Scored(), STS(limit=1000)),
      "crisis_event": test("crisis_event", SameLabel(), posts),
      "unseen_tags": test("hashtag", SameLabel(), posts, test="test_unseen_tags"),
      "sib_topic": test("sib_topic", SameLabel(), ZeroShot("a text about {}", limit=1000)),
    },
    model=ModelSpec(pretrained="mtc-mini", dim=0, dropout=0.0, dtype="float32", max_length=128),
    optim=OptimSpec(learning_rate=2e-4, freeze=("backbone/embeddings", "backbone/layer_[0-7]")),
    steps=160,
    checkpoint_every=40,
    diagnose_every=0,
  )
