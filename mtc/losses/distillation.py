"""Distillation: the embeddings, or their similarities, should be a teacher's."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from mtc.losses import columns as cols
from mtc.losses.base import Loss
from mtc.losses.fields import require_block, require_positive
from mtc.types import Array, Embeddings

_ABSENT = -1e30  # finite: see InfoNCE


@dataclass
class EmbeddingDistillation(Loss):
  """One minus the cosine of a text's embedding and the teacher's vector of it: the mean over the texts of an example.

  Of a teacher with more dimensions, the first are taken and brought back to unit length. They must mean something
  alone: as those of a Matryoshka model do, and principal components (`Task.teacher_dim`).

  The embedding [1, 0] and the teacher's vector [0.6, 0.8] have the loss 0.4.

  Reference: arXiv 2301.12005 eq. 7. The numbers are those of EmbedDistillLoss of sentence-transformers 6.2, by the
  cosine; for unit vectors its squared error is `2 / dim` times that.
  """

  @property
  def single(self) -> bool:
    """A text is compared with what the teacher says of it."""
    return True

  def teacher_dim(self, dim: int) -> int:
    """As many dimensions as the embeddings have."""
    return dim

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`. Raises ValueError for no teacher's vectors, or ones of fewer dimensions."""
    teacher = _required(local, "EmbeddingDistillation")
    dim = local.anchor.shape[-1]
    if teacher.shape[-1] < dim:
      raise ValueError(
        f"EmbeddingDistillation got a teacher of {teacher.shape[-1]} dimensions for embeddings of {dim}; "
        "use SimilarityDistillation, or a smaller model.dim"
      )
    teacher = cols.unit(teacher[..., :dim])
    pair = [local.anchor] if local.positive is None else [local.anchor, local.positive]
    texts = jnp.stack(pair, axis=1)
    there = jnp.ones(texts.shape[:2], bool)
    if local.negatives is not None:
      mask = jnp.ones(local.negatives.shape[:2], bool) if local.negative_mask is None else local.negative_mask
      texts, there = jnp.concatenate([texts, local.negatives], axis=1), jnp.concatenate([there, mask], axis=1)
    distance = 1 - jnp.sum(cols.full_precision(texts) * teacher, axis=-1)
    return jnp.sum(jnp.where(there, distance, 0), axis=1) / jnp.sum(there, axis=1)


@dataclass
class SimilarityDistillation(Loss):
  """The divergence `sum_c p_c log(p_c / s_c)` of the similarities of a row from the teacher's.

  `s` is the softmax of the cosines of the row's anchor with the positives and hard negatives of all devices, over the
  temperature; `p` is the same of the teacher's vectors, which may have any number of dimensions. Were all of `p` on the
  own positive, it would be InfoNCE. Single texts (`Texts`) are compared with the other texts of all devices instead.
  Keys mean nothing here: the teacher knows what is alike.

  Two texts whose cosines with the anchor are [1, 0], and [0, 1] to the teacher, have at temperature 1 the loss
  `(e - 1) / (e + 1) = 0.4621`.

  Reference: arXiv 2010.11386 eq. 5. With the columns as candidates the numbers are those of DistillKLDivLoss of
  sentence-transformers 6.2 over `temperature ** 2`, a factor that would change the weight among other tasks.
  """

  temperature: float = 0.05  # divides the cosines
  teacher_temperature: float = 0.0  # 0 = as `temperature`
  block: int = 0  # columns of the logit matrix that are in memory at a time; 0 = all

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right."""
    require_positive("SimilarityDistillation", "temperature", self.temperature)
    if self.teacher_temperature:
      require_positive("SimilarityDistillation", "teacher_temperature", self.teacher_temperature)
    require_block("SimilarityDistillation", self.block)

  @property
  def single(self) -> bool:
    """A text is compared with what the teacher says of it."""
    return True

  def teacher_dim(self, dim: int) -> int:
    """Any number of dimensions will do."""
    return 1

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """i32[examples]: the candidates of a row but one, for a single candidate always has the share 1; keys do not count.

    A pair has its own positive among its candidates; a single text is not a candidate for itself.
    """
    own = cols.queries(everyone) if everyone.positive is None else cols.documents(everyone)
    kinds = [own, cols.hard_negatives(everyone)]
    candidates = sum((jnp.sum(columns.real) for columns in kinds if columns is not None), jnp.zeros((), jnp.int32))
    single = 1 if everyone.positive is None else 0
    return jnp.broadcast_to(jnp.maximum(candidates - 1 - single, 0), local.weight.shape)

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Those with the other examples."""
    return dim * examples

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`. Raises ValueError for examples without a teacher's vectors."""
    guide = _required(local, "SimilarityDistillation")[:, 0]
    rows = cols.local_rows(local.anchor, local, offset)

    def summarise(columns: cols.Columns) -> tuple[Array, Array, Array]:
      """Of a block, each `[rows]`: both log-sum-exps, and the mean difference of the logits as the teacher weighs."""
      real = jnp.broadcast_to(columns.real[None, :], (len(guide), columns.real.shape[0]))
      if local.positive is None:
        real &= ~cols.own(rows, columns)
      student = jnp.where(real, cols.cosines(rows, columns) / self.temperature, _ABSENT)
      likeness = cols.teacher_cosines(guide, columns) / (self.teacher_temperature or self.temperature)
      teacher = jnp.where(real, likeness, _ABSENT)
      weight = jax.nn.softmax(teacher, axis=1)
      difference = jnp.sum(weight * (teacher - student), axis=1)  # 0 where absent: both have the same logit
      return jax.nn.logsumexp(student, axis=1), jax.nn.logsumexp(teacher, axis=1), difference

    own = cols.queries(everyone) if local.positive is None else cols.documents(everyone)
    kinds = [own, cols.hard_negatives(everyone)]
    parts = [cols.summarised(summarise, columns, self.block) for columns in kinds if columns is not None]
    student, teacher, difference = (jnp.concatenate(leaves) for leaves in zip(*parts, strict=True))
    mean = jnp.sum(jax.nn.softmax(teacher, axis=0) * difference, axis=0)
    return mean - jax.nn.logsumexp(teacher, axis=0) + jax.nn.logsumexp(student, axis=0)


def _required(examples: Embeddings, loss: str) -> Array:
  if examples.teacher is None:
    raise ValueError(f"{loss} got examples without a teacher's vectors; set `teacher` of the task")
  return cols.full_precision(examples.teacher)
