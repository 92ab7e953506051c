"""How many negatives a row has: by hand, and what it means for the loss."""

import jax
import numpy as np
import pytest

from mtc.losses import (
  CoSENT,
  CosineRegression,
  EmbeddingDistillation,
  InfoNCE,
  Matryoshka,
  Sigmoid,
  SimilarityDistillation,
  Sum,
)

ALL = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
GUIDED = InfoNCE(directions=ALL, guide="absolute", guide_margin=0.1)


def shared(a, b) -> bool:
  return bool({int(key) for key in np.ravel(a) if key >= 0} & {int(key) for key in np.ravel(b) if key >= 0})


def by_hand(loss, e) -> list[int]:
  """The negatives of each row of InfoNCE: a loop over rows, directions and texts."""
  counts = []
  for i in range(len(e.weight)):
    count = 0
    for direction in loss.directions:
      row_side, column_side = direction.split("_to_")
      threshold = e.teacher[i, 0] @ e.teacher[i, 1] - loss.guide_margin

      def alike(vector, mine=e.teacher[i, 0 if row_side == "query" else 1], threshold=threshold):
        return bool(loss.guide) and mine @ vector > threshold

      for j in range(len(e.weight)):
        if i != j and e.weight[j] and not shared(e.keys[i], e.keys[j]):
          count += not alike(e.teacher[j, 0 if column_side == "query" else 1])
        for k in range(e.negatives.shape[1] if column_side == "doc" else 0):
          own = i == j and row_side == "doc"
          if e.negative_mask[j, k] and e.weight[j] and not own and not shared(e.keys[i], e.negative_keys[j, k]):
            count += not alike(e.teacher[j, 2 + k])
    counts.append(count)
  return counts


@pytest.mark.parametrize(
  "loss",
  [
    InfoNCE(),
    InfoNCE(directions=ALL),
    InfoNCE(directions=ALL, multi_positive=True, block=3),
    GUIDED,
    Matryoshka(InfoNCE(directions=ALL), dims=(4, 2)),
  ],
  ids=["one direction", "all", "several positives", "guided", "Matryoshka"],
)
def test_infonce_counts_what_a_loop_counts(draw, loss):
  e = draw(fillers=(2,))
  found = np.asarray(loss.negatives(e, e, 0))
  assert found.tolist() == by_hand(getattr(loss, "loss", loss), e)
  assert len(set(found.tolist())) > 1


def test_the_rows_of_one_device_count_the_texts_of_all(draw):
  e = draw(fillers=(2,))
  part = jax.tree.map(lambda x: x[3:6], e)
  np.testing.assert_array_equal(InfoNCE().negatives(part, e, 3), InfoNCE().negatives(e, e, 0)[3:6])


@pytest.mark.parametrize("multi_positive", [False, True])
def test_sigmoid_counts_as_infonce_in_one_direction(draw, multi_positive):
  e = draw(fillers=(2,))
  found = Sigmoid(multi_positive=multi_positive).negatives(e, e, 0)
  np.testing.assert_array_equal(found, InfoNCE().negatives(e, e, 0))


def test_cosent_counts_pairs_of_another_score(draw):
  e = draw(fillers=(2,))
  expected = [sum(bool(w) and s != mine for s, w in zip(e.score, e.weight)) for mine in e.score]
  assert CoSENT().negatives(e, e, 0).tolist() == expected


def test_distillation_of_similarities_counts_candidates(draw):
  e = draw(fillers=(2,))
  assert set(SimilarityDistillation().negatives(e, e, 0).tolist()) == {7 - 1 + int(e.negative_mask[e.weight > 0].sum())}


def test_a_single_text_is_compared_with_the_others(draw):
  e = draw(hard=0, fillers=(2,)).replace(positive=None)
  assert set(SimilarityDistillation().negatives(e, e, 0).tolist()) == {7 - 1 - 1}  # of one candidate the share is 1


def test_a_sum_has_as_few_negatives_as_the_loss_with_the_fewest(draw):
  e = draw()
  both = Sum((InfoNCE(directions=ALL), CosineRegression(), Sigmoid()))
  np.testing.assert_array_equal(both.negatives(e, e, 0), Sigmoid().negatives(e, e, 0))
  alone = e.replace(keys=np.full_like(e.keys, 7), negative_keys=np.full_like(e.negative_keys, 7))
  assert not np.any(Sum((SimilarityDistillation(), InfoNCE())).negatives(alone, alone, 0))
  assert Sum((CosineRegression(), EmbeddingDistillation())).negatives(e, e, 0) is None


@pytest.mark.parametrize("loss", [CosineRegression(), EmbeddingDistillation(), Matryoshka(EmbeddingDistillation())])
def test_a_loss_of_single_examples_has_no_count(draw, loss):
  e = draw()
  assert loss.negatives(e, e, 0) is None


def test_where_no_row_has_a_negative_the_loss_is_zero(draw):
  e = draw(hard=0)
  alone = e.replace(keys=np.full_like(e.keys, 7), score=np.zeros_like(e.score))
  for loss in (InfoNCE(), InfoNCE(directions=ALL[::2], partition="per_direction"), CoSENT()):
    assert not np.any(loss.negatives(alone, alone, 0))
    np.testing.assert_allclose(loss(loss.init(), alone, alone, 0), 0, atol=1e-6)
    assert np.any(loss.negatives(e, e, 0))
    assert np.any(np.asarray(loss(loss.init(), e, e, 0)) > 0.01)
