import re

import numpy as np
import pytest

from mtc.losses import EmbeddingDistillation, Matryoshka, SimilarityDistillation
from mtc.types import Embeddings


def softmax(logits: list[float]) -> np.ndarray:
  weights = np.exp(np.array(logits) - np.max(logits))
  return weights / weights.sum()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("hard", [0, 2])
def test_embeddings_equal_loops(draw, hard):
  e, expected = draw(hard=hard), []
  for i in range(8):
    texts = [e.anchor[i], e.positive[i], *(e.negatives[i] if hard else ())]
    there = [True, True, *(e.negative_mask[i] if hard else ())]
    first = [t[:6] / np.linalg.norm(t[:6]) for t in e.teacher[i]]
    expected.append(np.mean([1 - a @ b for a, b, real in zip(texts, first, there, strict=True) if real]))
  np.testing.assert_allclose(EmbeddingDistillation()({}, e, e, 0), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("hard", [0, 2])
@pytest.mark.parametrize("teacher_temperature", [0.0, 0.5])
def test_similarities_equal_loops(draw, hard, teacher_temperature):
  e, expected = draw(hard=hard, fillers=(2, 7)), []
  for i in range(8):
    student, teacher = [], []
    for j in np.flatnonzero(e.weight):
      student.append(e.anchor[i] @ e.positive[j])
      teacher.append(e.teacher[i, 0] @ e.teacher[j, 1])
      for h in range(hard):
        if e.negative_mask[j, h]:
          student.append(e.anchor[i] @ e.negatives[j, h])
          teacher.append(e.teacher[i, 0] @ e.teacher[j, 2 + h])
    p, s = softmax(np.array(teacher) / (teacher_temperature or 0.2)), softmax(np.array(student) / 0.2)
    expected.append(np.sum(p * np.log(p / s)))
  loss = SimilarityDistillation(0.2, teacher_temperature)
  np.testing.assert_allclose(loss({}, e, e, 0), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("block", [0, 3])
def test_similarities_of_single_texts_equal_loops(draw, block):
  """Each text is compared with the other texts of the batch, and not with itself."""
  e, expected = draw(hard=0, fillers=(2, 7)), []
  e = e.replace(positive=None, teacher=e.teacher[:, :1])
  for i in range(8):
    others = [j for j in np.flatnonzero(e.weight) if j != i]
    p = softmax(np.array([e.teacher[i, 0] @ e.teacher[j, 0] for j in others]) / 0.5)
    s = softmax(np.array([e.anchor[i] @ e.anchor[j] for j in others]) / 0.2)
    expected.append(np.sum(p * np.log(p / s)))
  np.testing.assert_allclose(SimilarityDistillation(0.2, 0.5, block)({}, e, e, 0), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_embeddings_of_single_texts_equal_those_of_equal_pairs(draw):
  e = draw(hard=0)
  single = e.replace(positive=None, teacher=e.teacher[:, :1])
  twice = e.replace(positive=e.anchor, teacher=e.teacher[:, [0, 0]])
  for loss in (EmbeddingDistillation(), Matryoshka(EmbeddingDistillation(), dims=(5, 3))):
    np.testing.assert_allclose(loss({}, single, single, 0), loss({}, twice, twice, 0), rtol=1e-12)


def test_a_single_text_without_others_has_no_similarities(draw):
  e = draw(hard=0, examples=1, dtype=np.float32)
  e = e.replace(positive=None, teacher=e.teacher[:, :1])
  np.testing.assert_array_equal(SimilarityDistillation()({}, e, e, 0), 0)


def test_examples_of_the_docstrings():
  one = np.float32([[1, 0]])
  teacher = np.float32([[[0.6, 0.8], [0.6, 0.8]]])
  keys = np.zeros((1, 0), np.int32)
  e = Embeddings(one, one, None, None, keys, None, None, np.ones(1, np.float32), teacher)
  np.testing.assert_allclose(EmbeddingDistillation()({}, e, e, 0), [0.4], rtol=1e-6)

  anchor, positive = np.float32([[1, 0], [1, 0]]), np.float32([[1, 0], [0, 1]])
  teacher = np.stack([anchor, positive[::-1]], axis=1)
  keys = np.ones((2, 1), np.int32)
  e = Embeddings(anchor, positive, None, None, keys, None, None, np.ones(2, np.float32), teacher)
  np.testing.assert_allclose(SimilarityDistillation(1.0)({}, e, e, 0), [0.4621] * 2, atol=5e-5)


@pytest.mark.usefixtures("x64")
def test_the_teacher_itself_has_no_loss(draw):
  e = draw()
  e = e.replace(anchor=e.teacher[:, 0], positive=e.teacher[:, 1], negatives=e.teacher[:, 2:])
  np.testing.assert_allclose(EmbeddingDistillation()({}, e, e, 0), 0, atol=1e-12)
  np.testing.assert_allclose(Matryoshka(EmbeddingDistillation(), dims=(9, 4))({}, e, e, 0), 0, atol=1e-12)
  np.testing.assert_allclose(SimilarityDistillation()({}, e, e, 0), 0, atol=1e-12)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"temperature": 0.0}, "temperature=0.0 of SimilarityDistillation is not a positive number"),
    ({"teacher_temperature": -1.0}, "teacher_temperature=-1.0 of SimilarityDistillation is not a positive number"),
    ({"block": -1}, "block=-1 of SimilarityDistillation is negative"),
  ],
)
def test_bad_fields(fields, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    SimilarityDistillation(**fields).validate(50)


def test_bad_teachers(draw):
  e = draw(dim=10)
  with pytest.raises(ValueError, match="a teacher of 9 dimensions for embeddings of 10; use SimilarityDistillation"):
    EmbeddingDistillation()({}, e, e, 0)
  e = e.replace(teacher=None)
  for loss in (EmbeddingDistillation(), SimilarityDistillation()):
    with pytest.raises(ValueError, match=f"{type(loss).__name__} got examples without a teacher's vectors"):
      loss({}, e, e, 0)
