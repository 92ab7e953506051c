"""Before the first step: how many negatives the examples of a task have, and that a task without any is refused."""

import logging

import numpy as np
import pytest

from mtc import data
from mtc.config import Experiment, Task
from mtc.data.teacher import TextVectors
from mtc.losses import CoSENT, CosineRegression, InfoNCE, Matryoshka, Sigmoid, SimilarityDistillation, Sum
from mtc.models import ModelSpec
from mtc.training import contrastive, negatives

TEXTS = [f"{a} {b}" for a in "soup bread oven recipe salt".split() for b in "goal match striker league".split()]
PAIRS, LABELS, SCORED = data.Pairs(negatives="negatives"), data.SameLabel(), data.Scored()


def labelled(label) -> list[dict]:
  return [{"text": text, "labels": label(i)} for i, text in enumerate(TEXTS)]


def pairs(positive, **fields) -> list[dict]:
  return [{"anchor": text, "positive": positive(i)} | fields for i, text in enumerate(TEXTS)]


def scored(score) -> list[dict]:
  return [{"text_a": text, "text_b": f"{text} again", "score": score(i)} for i, text in enumerate(TEXTS)]


@pytest.fixture
def count(tokenizer, tmp_path):
  """A function from a task's rows to its count."""

  def count(rows, kind, loss=None, batch_size=8, steps=20, change=lambda prepared: prepared):
    prepared = data.prepare(
      data.InMemory({"train": rows}),
      "train",
      kind,
      tokenizer,
      max_length=16,
      prompts={},
      cache_dir=tmp_path,
      progress=False,
    )
    prepared = change(prepared)
    tasks = {"it": Task(data.InMemory({}), kind, loss or InfoNCE(), batch_size=batch_size)}
    sampler = data.Sampler({"it": prepared}, {"it": batch_size}, seed=0)
    return negatives.count(tasks, {"it": prepared}, sampler, steps)["it"]

  return count


NONE = {
  "one label": (labelled(lambda i: "a"), LABELS, InfoNCE(), 8, "share a label"),
  "one label beside others": (labelled(lambda i: ["all", f"{i % 3}"]), LABELS, InfoNCE(), 8, "share a label"),
  "one positive": (pairs(lambda i: "yes"), data.Pairs(), InfoNCE(), 8, "positives that differ"),
  "one positive in other letters": (pairs(lambda i: "yes"), data.Pairs(), Sigmoid(), 8, "positives that differ"),
  "one positive by id": (
    pairs(lambda i: f"answer {i}", positive_id="d1"),
    data.Pairs(),
    Matryoshka(InfoNCE(), dims=(4,)),
    8,
    "share a label, an id",
  ),
  "one question": (pairs(lambda i: f"answer {i}", anchor_id="q1"), data.Pairs(), InfoNCE(), 8, "share a label, an id"),
  "one example": (pairs(lambda i: f"answer {i}"), data.Pairs(), InfoNCE(), 1, "batch_size=1"),
  "hard negatives that are the positive": (
    pairs(lambda i: "yes", negatives=["yes"]),
    PAIRS,
    InfoNCE(),
    8,
    "positives that differ",
  ),
  "one score": (scored(lambda i: 3), SCORED, CoSENT(), 8, "all scores of a batch are equal"),
}


def taught(prepared):
  """The same examples with random vectors of a teacher."""
  texts = len(prepared.text_keys)
  return prepared._replace(
    teacher=TextVectors([np.random.default_rng(0).normal(size=(texts, 4))], np.arange(texts), None)
  )


def test_two_single_texts_leave_nothing_to_compare(count):
  """A row has one candidate, whose share is 1 whatever the teacher says."""
  rows = [{"text": text} for text in TEXTS]
  with pytest.raises(ValueError, match="task 'it': no example has a negative for SimilarityDistillation.*batch_size=2"):
    count(rows, data.Texts(), SimilarityDistillation(), 2, change=taught)
  assert count(rows, data.Texts(), SimilarityDistillation(), 4, change=taught).mean == 2


def test_a_sum_is_refused_for_the_loss_that_has_none(count):
  rows = pairs(lambda i: "yes")
  loss = Sum((SimilarityDistillation(), InfoNCE()))
  with pytest.raises(ValueError, match="no example has a negative for InfoNCE.*positives that differ"):
    count(rows, data.Pairs(), loss, 8, change=taught)
  with pytest.raises(ValueError, match="no example has a negative for CoSENT.*all scores of a batch are equal"):
    count(scored(lambda i: 3), SCORED, Sum((CosineRegression(), CoSENT())))
  with pytest.raises(ValueError, match="task 'it': CoSENT got examples without a score"):
    count(rows, data.Pairs(), CoSENT())


@pytest.mark.parametrize("name", NONE)
def test_a_task_without_a_negative_is_refused(count, name):
  rows, kind, loss, batch_size, words = NONE[name]
  with pytest.raises(ValueError, match=f"task 'it': no example has a negative.*{words}"):
    count(rows, kind, loss, batch_size)


def test_the_count_is_what_masking_leaves(count):
  # Four labels of five texts: of the 7 other examples of a batch of 8, those with the same label do not count.
  found = count(labelled(lambda i: f"{i % 4}"), LABELS)
  assert 7 * 0.6 < found.mean < 7 * 0.9 and found.without == 0 and found.batches == 8
  # 20 rows are five whole batches of 4: no batch holds a row twice.
  assert count(pairs(lambda i: f"answer {i}"), data.Pairs(), batch_size=4).mean == 3
  assert count(pairs(lambda i: f"answer {i}", negatives=["no"]), PAIRS, batch_size=4).mean == 3 + 4
  assert count(scored(lambda i: i % 2), SCORED, CoSENT()).mean == pytest.approx(4, abs=0.5)


def test_hard_negatives_alone_are_enough(count):
  assert count(pairs(lambda i: f"answer {i}", negatives=["no"]), PAIRS, batch_size=1) == (1.0, 0.0, 8)


def test_losses_that_contrast_nothing_have_no_count(count):
  assert count(scored(lambda i: 3), SCORED, CosineRegression()) is None


def test_a_rare_negative_is_found_and_warned_about(count, caplog):
  rows = labelled(lambda i: "a" if i < 18 else "b")
  with caplog.at_level(logging.WARNING):
    found = count(rows, LABELS, batch_size=4, steps=200)
  assert 0 < found.mean < 2 and found.without > 0.5
  assert "of the examples of task 'it' have no negative" in caplog.text


def test_a_large_batch_is_counted_in_part(tokenizer, tmp_path):
  rows = [{"anchor": f"soup {i}", "positive": f"bread {i}"} for i in range(2000)]
  prepared = data.prepare(
    data.InMemory({"train": rows}), "train", data.Pairs(), tokenizer, max_length=16, prompts={}, cache_dir=tmp_path
  )
  sampler = data.Sampler({"it": prepared}, {"it": 1500}, seed=0)
  task = Task(data.InMemory({}), data.Pairs(), SimilarityDistillation(), batch_size=1500)
  assert negatives.count({"it": task}, {"it": prepared}, sampler, 3)["it"] == (1499.0, 0.0, 3)


def test_a_task_that_no_step_holds_is_not_counted(tokenizer, tmp_path):
  made = {}
  for name, rows in {"often": pairs(lambda i: f"answer {i}"), "never": pairs(lambda i: "yes")}.items():
    made[name] = data.prepare(
      data.InMemory({"train": rows}), "train", data.Pairs(), tokenizer, max_length=16, prompts={}, cache_dir=tmp_path
    )
  mixing = data.Mixing(kind="weights", weights={"often": 999.0, "never": 1.0})
  sampler = data.Sampler(made, dict.fromkeys(made, 4), 0, mixing)
  first = next(step for step in range(1000) if "never" in sampler.cursors(step))
  tasks = {name: Task(data.InMemory({}), data.Pairs(), InfoNCE(), batch_size=4) for name in made}
  assert first > 0 and negatives.count(tasks, made, sampler, first)["never"] is None
  with pytest.raises(ValueError, match="task 'never': no example has a negative"):
    negatives.count(tasks, made, sampler, first + 1)


def test_a_run_is_refused_before_its_first_step(tmp_path):
  rows = [{"text": f"post {i} about {word}", "labels": "a"} for i, word in enumerate(TEXTS)]
  experiment = Experiment(
    tasks={"it": Task(data.InMemory({"train": rows}), data.SameLabel(), batch_size=8, max_length=16)},
    evaluations={},
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=16, dtype="float32"),
    cache_dir=str(tmp_path / "cache"),
    steps=3,
  )
  with pytest.raises(ValueError, match="task 'it': no example has a negative for InfoNCE in the first 3 batches of 8"):
    contrastive.prepare(experiment, tmp_path / "run")
  assert not np.any([path.name in ("config.json", "checkpoints") for path in (tmp_path / "run").iterdir()])
