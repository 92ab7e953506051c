"""InfoNCE: find one's own positive among the texts of all devices."""

from collections.abc import Callable
from dataclasses import dataclass
import math

import jax
import jax.numpy as jnp

from mtc.losses import columns as cols
from mtc.losses.base import Loss
from mtc.losses.fields import require_block, require_positive
from mtc.types import Array, Embeddings, PyTree

DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
PARTITIONS = ("joint", "per_direction")
GUIDES = ("", "absolute", "relative")

# A logit of "not here", far below any real one. Finite: infinity minus itself, in a sum over nothing, would be NaN.
_ABSENT = -1e30
_MAX_LOG_SCALE = math.log(100)


@dataclass
class InfoNCE(Loss):
  """The negative log-likelihood of the own positive in a softmax over the texts of all devices.

  Row `i` with anchor `q_i` and positive `d_i` has the loss `log sum_c exp(s_c) - s(q_i, d_i)`, where `s` is the cosine
  over the temperature. The columns `c` are, for each direction,

  - query_to_doc: `q_i` with all positives and all hard negatives, those of other rows included;
  - query_to_query: `q_i` with the other anchors;
  - doc_to_query: `d_i` with all anchors;
  - doc_to_doc: `d_i` with the positives and hard negatives of the other rows.

  Partition "joint" is one softmax over the columns of all directions; "per_direction" is a softmax for each, and their
  mean. The names and the numbers are those of MultipleNegativesRankingLoss of sentence-transformers 6.2.

  A column that shares a key with the row is not a negative: it is left out or, with `multi_positive`, it is one more
  positive, and the loss is `log sum_c exp(s_c) - mean_p s_p`.

  Two orthogonal pairs at temperature 1, `q = d = [[1, 0], [0, 1]]`, have the loss `log(e + 1) - 1 = 0.3133` each; with
  a key in common both are alone, and it is 0; with `multi_positive` also, it is `log(e + 1) - 1/2 = 0.8133`.

  With a `guide` a column is left out when a teacher finds it more similar to the row's text than a threshold: its
  cosine `t` of the row's anchor and positive, less `guide_margin` ("absolute") or `guide_margin |t|` ("relative"). So
  a text that belongs to the row without anyone having said so is no negative. Columns that share a key stay as above.

  Reference: arXiv 1807.03748 eq. 4; with all directions jointly arXiv 2308.03281 eq. 3; multi_positive is L_out of
  arXiv 2004.11362 eq. 2; the learnable temperature is that of arXiv 2103.00020 section 2.5; the guide is that of
  GISTEmbed, arXiv 2402.16829 section 3, with the margins and the numbers of GISTEmbedLoss of sentence-transformers 6.2.
  """

  temperature: float = 0.05  # divides the cosines
  learn_temperature: bool = False  # it starts at `temperature`, and stays at 0.01 or above
  directions: tuple[str, ...] = ("query_to_doc",)  # which texts are compared; see above
  partition: str = "joint"  # joint | per_direction
  multi_positive: bool = False  # columns that share a key: True = positives, False = left out
  block: int = 0  # columns of the logit matrix that are in memory at a time; 0 = all
  guide: str = ""  # absolute | relative: how far below the positive the margin begins, for a teacher; "" = no guide
  guide_margin: float = 0.0  # how far below the positive's cosine a column must be, to the teacher

  def validate(self, dim: int) -> None:
    """Raises ValueError for a field that cannot be right."""
    require_positive("InfoNCE", "temperature", self.temperature)
    require_block("InfoNCE", self.block)
    if self.learn_temperature and self.temperature < 0.01:
      raise ValueError(
        f"temperature={self.temperature} of InfoNCE is below 0.01, where a learnable one is held; start it higher"
      )
    if isinstance(self.directions, str):
      raise ValueError(f"directions={self.directions!r} of InfoNCE is a string; use a tuple, ({self.directions!r},)")
    for direction in self.directions:
      if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r} of InfoNCE is unknown; known: {', '.join(DIRECTIONS)}")
    if len(set(self.directions)) < len(self.directions):
      raise ValueError(f"directions={self.directions} of InfoNCE has one twice; name each once")
    if "query_to_doc" not in self.directions:
      raise ValueError(f"directions={self.directions} of InfoNCE lacks 'query_to_doc', where the positive is; add it")
    if self.partition not in PARTITIONS:
      raise ValueError(f"partition={self.partition!r} of InfoNCE is unknown; use {' or '.join(PARTITIONS)}")
    alone = [d for d in self.directions if d in ("query_to_query", "doc_to_doc")]
    if self.partition == "per_direction" and alone:
      raise ValueError(f"partition='per_direction' of InfoNCE finds no positive in {', '.join(alone)}; use 'joint'")
    if self.guide not in GUIDES:
      raise ValueError(f"guide={self.guide!r} of InfoNCE is unknown; use absolute, relative, or '' for none")
    if not 0 <= self.guide_margin < 1:
      raise ValueError(f"guide_margin={self.guide_margin} of InfoNCE is not in [0, 1); 0.05 leaves out a little more")
    if self.guide_margin and not self.guide:
      raise ValueError(f"guide_margin={self.guide_margin} of InfoNCE has no guide; use guide='absolute' or 'relative'")

  def teacher_dim(self, dim: int) -> int:
    """A guide may have any number of dimensions."""
    return int(bool(self.guide))

  def init(self) -> dict[str, Array]:
    """`log_scale = log(1 / temperature)` when the temperature is learned."""
    return {"log_scale": jnp.asarray(-math.log(self.temperature), jnp.float32)} if self.learn_temperature else {}

  def __call__(self, scalars: dict[str, Array], local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """f32[examples]; see `Loss`. Raises ValueError for a guide and examples without a teacher's vectors."""
    scale = self._scale(scalars)

    def summary(rows: cols.Rows, columns: cols.Columns, positive: Array, negative: Array) -> tuple[Array, Array, Array]:
      """Each `[rows]`: the log-sum-exp of the logits, the sum of the positives' logits, and their number."""
      logits = scale * cols.cosines(rows, columns)
      log_z = jax.nn.logsumexp(jnp.where(positive | negative, logits, _ABSENT), axis=1)
      return log_z, jnp.sum(jnp.where(positive, logits, 0), axis=1), jnp.sum(positive, axis=1)

    parts = [self._summarised(direction, summary, local, everyone, offset) for direction in self.directions]
    if self.partition == "joint":
      parts = [tuple(jnp.concatenate(leaves) for leaves in zip(*parts, strict=True))]
    losses = [jax.nn.logsumexp(log_z, axis=0) - total.sum(0) / count.sum(0) for log_z, total, count in parts]
    return sum(losses[1:], losses[0]) / len(losses)

  def negatives(self, local: Embeddings, everyone: Embeddings, offset: Array | int) -> Array:
    """i32[examples], over all directions; columns that share a key or that the guide leaves out do not count."""

    def summary(rows: cols.Rows, columns: cols.Columns, positive: Array, negative: Array) -> Array:
      return jnp.sum(negative & ~positive, axis=1)

    parts = [self._summarised(direction, summary, local, everyone, offset) for direction in self.directions]
    return jnp.sum(jnp.concatenate(parts), axis=0)

  def products(self, examples: int, hard: int, dim: int) -> int:
    """Those with the columns of each direction."""
    columns = {"query": examples, "doc": examples * (1 + hard)}
    return dim * sum(columns[direction.split("_to_")[1]] for direction in self.directions)

  @property
  def without_negatives(self) -> str:
    """As for any loss, or the guide leaves out too much."""
    cause = super().without_negatives
    if self.guide:
      cause += f", or lower guide_margin ({self.guide_margin}): the guide leaves out what its teacher finds similar"
    return cause

  def _scale(self, scalars: dict[str, Array]) -> Array | float:
    if not self.learn_temperature:
      return 1 / self.temperature
    log_scale = scalars["log_scale"]
    # The gradient passes the clamp: one step too far must not freeze the temperature for the rest of the run.
    return jnp.exp(log_scale - jax.lax.stop_gradient(jnp.maximum(log_scale - _MAX_LOG_SCALE, 0)))

  def _summarised(
    self, direction: str, summary: Callable[..., PyTree], local: Embeddings, everyone: Embeddings, offset: Array | int
  ) -> PyTree:
    """Applies `summary` to the rows and columns of a direction, a block at a time, and stacks its results.

    Args:
      direction: one of DIRECTIONS.
      summary: of the rows, some columns, and which of them are positives and negatives: bool[rows, columns] each.
      local, everyone, offset: see `Loss`.

    Returns:
      What `summary` returns, with a leading axis for the parts.
    """
    if self.guide and everyone.teacher is None:
      raise ValueError("InfoNCE has a guide and got examples without a teacher's vectors; set `teacher` of the task")
    row_side, column_side = direction.split("_to_")
    rows = cols.local_rows(local.anchor if row_side == "query" else cols.positives(local), local, offset)

    def summarise(columns: cols.Columns, hard: bool) -> PyTree:
      mine, same = cols.own(rows, columns), cols.share_key(rows, columns)
      real = jnp.broadcast_to(columns.real[None, :], mine.shape)
      if row_side == column_side:
        real &= ~mine  # a text with itself, or a positive with its own hard negatives
      # The own positive is there even in a filler row, whose loss would otherwise have no finite value.
      partner = mine if row_side != column_side and not hard else jnp.zeros_like(mine)
      positive = partner | (real & same) if self.multi_positive else partner
      negative = real & ~same
      if self.guide:
        negative &= ~self._alike(local, row_side, columns)
      return summary(rows, columns, positive, negative)

    sides = [(cols.queries(everyone) if column_side == "query" else cols.documents(everyone), False)]
    negatives = cols.hard_negatives(everyone)
    if column_side == "doc" and negatives is not None:
      sides.append((negatives, True))
    parts = [cols.summarised(lambda c, hard=hard: summarise(c, hard), columns, self.block) for columns, hard in sides]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

  def _alike(self, local: Embeddings, row_side: str, columns: cols.Columns) -> Array:
    """bool[rows, columns]: to the teacher the column is too similar to the row to be its negative."""
    assert local.teacher is not None
    anchor, positive = local.teacher[:, 0], local.teacher[:, 1]
    threshold = jnp.sum(anchor * positive, axis=-1)
    threshold -= self.guide_margin * (jnp.abs(threshold) if self.guide == "relative" else 1)
    return cols.teacher_cosines(anchor if row_side == "query" else positive, columns) > threshold[:, None]
