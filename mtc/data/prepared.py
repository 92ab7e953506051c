"""What the sampler and the packer read: one task's examples of one split as flat arrays."""

from typing import Any, NamedTuple

import numpy as np

from mtc.data.origin import Origin
from mtc.data.teacher import TextVectors


class Prepared(NamedTuple):
  """One task's tokenised examples of one split; the arrays are memory-mapped and read-only.

  `T` counts the distinct (role prompt, text) pairs, `N` the examples.

  Attributes:
    tokens: i32[total], the ids of every text end to end, special tokens included.
    offsets: i64[T + 1]; text `t` is `tokens[offsets[t]:offsets[t + 1]]`.
    anchor: i32[N], text indices.
    positive: i32[N], text indices; None for the grouped kinds, whose positive is drawn among the examples that share
      a label, and for single texts, which have neither positive nor labels.
    negatives: i32[N, n], text indices with -1 = none; n may be 0.
    score: f32[N] in 0..1, or None for the kinds without one.
    labels: i32[L], the label ids of every example end to end; empty for the kinds without labels.
    label_offsets: i64[N + 1]; example `i` has `labels[label_offsets[i]:label_offsets[i + 1]]`.
    keys: i32[N, m], hashes >= 0 of what must not be two different examples of one batch (texts, ids, labels),
      -1 = none. For a grouped kind they are those of the example alone: the sampler unites anchor's and positive's.
    text_keys: i32[T], hash >= 0 of each text without its prompt: a text has one key whatever its role.
    teacher: a teacher's vectors of the T texts, or None.
    origin: where they come from, or None.
    report: what was read: rows, skipped rows by reason, truncated texts, tokens, mean length.
  """

  tokens: np.ndarray
  offsets: np.ndarray
  anchor: np.ndarray
  positive: np.ndarray | None
  negatives: np.ndarray
  score: np.ndarray | None
  labels: np.ndarray
  label_offsets: np.ndarray
  keys: np.ndarray
  text_keys: np.ndarray
  report: dict[str, Any]
  teacher: TextVectors | None = None
  origin: Origin | None = None
