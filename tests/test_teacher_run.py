"""A run with a teacher: its space comes into the student, and a teacher that cannot be used is refused at the door."""

import functools
import json

import numpy as np
import pytest

import mtc
from mtc import data
from mtc.config import Evaluation, Experiment, Task
from mtc.data import Folder, SameLabel, Texts, Vectors
from mtc.embedder.start import make_sampler, model_and_data, start_model
from mtc.evaluators import Clustering
from mtc.losses import EmbeddingDistillation, InfoNCE, SimilarityDistillation, Sum
from mtc.models import ModelSpec
from mtc.optim import OptimSpec
from mtc.training import contrastive

WORDS = "rocket orbit moon bread oven salt judge court trial goal match coach".split()


@pytest.fixture
def taught(tmp_path):
  """Texts of three words, of which the last 20 are no task's, and a teacher's vectors: the means of random ones."""
  rng, of_words = np.random.default_rng(0), np.random.default_rng(1).normal(size=(len(WORDS), 24))
  chosen = np.array([rng.choice(len(WORDS), 3, replace=False) for _ in range(100)])
  texts = [" ".join(WORDS[i] for i in row) for row in chosen]
  (tmp_path / "posts").mkdir()
  rows = [{"text": text, "labels": [text.split()[0]]} for text in texts[:80]]
  (tmp_path / "posts" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  vectors = np.float32(of_words[chosen].mean(1))
  np.save(tmp_path / "posts" / "train.npy", vectors[:80])
  return texts, vectors


@pytest.fixture
def experiment(taught, tmp_path, tmp_path_factory):
  """A guided task, and two of single texts that learn a teacher's space of 24 dimensions in 8."""
  source, teacher = Folder("posts"), (Vectors("posts/train.jsonl"),)
  distil = functools.partial(Task, source, Texts(), batch_size=32, anchor_role="document", teacher=teacher)
  return Experiment(
    tasks={
      "guided": Task(source, SameLabel(), InfoNCE(guide="relative", guide_margin=0.05), 16, 0.1, teacher=teacher),
      "similarities": distil(loss=SimilarityDistillation()),
      "embeddings": distil(loss=Sum((EmbeddingDistillation(), SimilarityDistillation())), teacher_dim=8),
    },
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=400, positions=128, dim=8, dtype="float32"),
    optim=OptimSpec(learning_rate=1e-2),
    data_dir=str(tmp_path),
    cache_dir=str(tmp_path_factory.getbasetemp() / "cache"),
    steps=150,
    input="threads",
    checkpoint_every=150,
  )


def likeness(vectors, teacher) -> float:
  """The correlation of the cosines of all pairs of texts with the teacher's."""
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, teacher)]
  pairs = np.triu_indices(len(teacher), 1)
  return float(np.corrcoef(*((x @ x.T)[pairs] for x in unit))[0, 1])


def test_the_student_learns_the_teachers_space_of_other_texts_too(experiment, taught, tmp_path):
  texts, teacher = taught
  untrained = start_model(experiment, tmp_path / "start")
  assert contrastive.prepare(experiment, tmp_path / "run")() == 0
  trained = mtc.load(tmp_path / "run" / "export")
  before, after = (likeness(model.encode(texts[80:]), teacher[80:]) for model in (untrained, trained))
  assert before < 0.5 and after > 0.75


def test_another_teacher_is_another_run(experiment, taught, tmp_path):
  contrastive.prepare(experiment, tmp_path / "run")
  np.save(tmp_path / "posts" / "train.npy", taught[1][:80] + 1)
  with pytest.raises(ValueError, match="training data of guided, similarities, embeddings changed"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_teacher_of_too_few_dimensions(experiment, tmp_path):
  experiment.tasks["embeddings"].teacher_dim = 7
  with pytest.raises(ValueError, match="teacher of task 'embeddings' has 7 dimensions, and its loss needs 8 or more"):
    contrastive.prepare(experiment, tmp_path / "run")


def test_a_loss_and_a_teacher_need_each_other(experiment):
  experiment.validate()
  experiment.tasks["guided"].teacher = ()
  with pytest.raises(ValueError, match="loss of task 'guided' learns from a teacher, and the task has none"):
    experiment.validate()
  experiment.tasks = {"topic": Task(data.Folder("topic"), SameLabel(), teacher=(Vectors("posts.jsonl"),))}
  with pytest.raises(ValueError, match="teacher of task 'topic' is of no use to its loss"):
    experiment.validate()


def test_single_texts_need_a_loss_that_takes_them(experiment):
  experiment.tasks["guided"].examples = Texts()
  with pytest.raises(ValueError, match="loss InfoNCE of task 'guided' compares texts with their positives, and Texts"):
    experiment.validate()
  experiment.tasks["guided"].loss = Sum((EmbeddingDistillation(), InfoNCE()))
  with pytest.raises(ValueError, match="loss Sum of task 'guided' compares texts with their positives"):
    experiment.validate()


def test_there_is_nothing_to_score_about_single_texts(experiment):
  experiment.evaluations = {"posts": Evaluation(Folder("posts"), Texts(), Clustering())}
  with pytest.raises(ValueError, match="examples of evaluation 'posts' are single texts"):
    experiment.validate()


def test_single_texts_are_encoded_once(experiment, tmp_path):
  """The grid holds each text of a draw once, and what is shown of a step names each once."""
  leaks = dict.fromkeys(experiment.tasks, data.Leaks(80, [], {}, {}))
  model, prepared = model_and_data(experiment, tmp_path, leaks)
  sampler = make_sampler(experiment, prepared)
  step = data.Packer(prepared, sampler, 1).step(0)
  draws = sampler.sample(0)
  lengths = {name: np.diff(task.offsets) for name, task in prepared.items()}
  expected = sum(lengths[name][draw.texts()].sum() for name, draw in draws.items())
  assert np.count_nonzero(step.tokens.segment) == expected and draws["similarities"].texts().shape == (32, 1)
  shown = data.examples_of(draws["similarities"], prepared["similarities"], model.tokenizer)
  assert len(shown) == 32 and all(set(example) == {"anchor"} for example in shown)
