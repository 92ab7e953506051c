"""Masked language modelling: any step as a pure function of its number, drawn from balanced languages, words masked."""

from collections.abc import Iterator, Mapping

import numpy as np
from tokenizers import Tokenizer

from mtc.data import tokenizer as tokenizers_
from mtc.data.packing import best_fit
from mtc.data.prepared import Prepared
from mtc.types import Masked, Tokens

_FILL = 0.98  # of the grid's tokens that a step draws; what then does not fit is left out
_TEXT = 8  # tokens: tokens per text that a row holds at most
_HELD_OUT = 100  # one text in this number, by its hash, is for measuring
_BLOCK = 2**16  # texts whose tokens are counted at a time
_WORD = 6  # tokens: what is longer, as where no spaces are written, is masked token by token


class Masker:
  """Builds any step of a run; safe to share between threads.

  Texts are drawn independently: a group (a language of a corpus) in proportion to its tokens raised to an exponent, a
  text within it alike. A text that is longer than a row gives a random part of it, between its own special tokens.

  Of the tokens of each row, `rate` are chosen, whole words at a time; of these 80 % become the mask token, 10 % a
  random token, and 10 % stay.

  Reference: arXiv 1810.04805, section 3.1; the exponent: arXiv 1911.02116, section 3.1; the rate: arXiv 2202.08005.
  """

  def __init__(
    self,
    corpora: Mapping[str, Prepared],
    tokenizer: Tokenizer,
    *,
    rows: int,
    length: int,
    rate: float,
    exponent: float,
    seed: int,
    devices: int,
    local_devices: range,
    held_out: bool = False,
  ):
    """Groups the texts.

    Args:
      corpora: tokens; texts with labels are grouped by their first one.
      tokenizer: what made the tokens; it must have a mask token, unless nothing is hidden.
      rows: of all devices.
      length: tokens of a row.
      rate: share of the tokens to predict; 0 = none.
      exponent: 1 = every token alike, 0 = every group alike.
      seed: of the draws.
      devices: of all hosts.
      local_devices: those whose part of a step this host builds.
      held_out: draw from the hundredth part of the texts that is kept for measuring, instead of from the others.

    Raises:
      ValueError: the rows do not divide, there is no mask token, or no text.
    """
    special = tokenizers_.special_ids(tokenizer)
    if rate and "mask" not in special:
      raise ValueError("the tokenizer has no mask token; use a model that was pretrained by masking, or train one")
    if rows % devices:
      raise ValueError(f"rows={rows} do not divide among {devices} devices; use a multiple of {devices}")
    self._names, self._corpora = list(corpora), list(corpora.values())
    self._local = slice(local_devices.start, local_devices.stop)
    self._rows, self._length, self._rate, self._seed, self._devices = rows, length, rate, seed, devices
    self._mask, self._special = special.get("mask", 0), np.array(sorted(special.values()))
    self._starts = tokenizers_.word_starts(tokenizer)
    self._ordinary = np.setdiff1d(np.arange(len(self._starts)), self._special)
    self.groups: dict[str, tuple[int, int]] = {}  # name -> (texts, tokens)
    self._texts: list[tuple[int, np.ndarray]] = []  # corpus and texts of each group
    drawn = []  # of each group, how many tokens a row takes of a text
    for number, (name, corpus) in enumerate(corpora.items()):
      sizes = np.diff(corpus.offsets)
      for label, texts in _by_label(corpus):
        # A text without a token has nothing to give; in a group of such texts alone a row would take 0 tokens of each.
        texts = texts[((corpus.text_keys[texts] % _HELD_OUT == 0) == held_out) & (sizes[texts] > 0)]
        if not len(texts):
          continue
        self._texts.append((number, texts))
        drawn.append(np.minimum(sizes[texts], length).mean())
        self.groups[f"{name}/{label}" if label else name] = len(texts), int(sizes[texts].sum())
    if not self._texts:
      raise ValueError("there is no text to learn from or to measure with; give at least a few hundred texts")
    tokens = np.array([tokens for _, tokens in self.groups.values()], float)
    self.shares = tokens**exponent / np.sum(tokens**exponent)
    chance = self.shares / drawn
    self._chance, self._mean = np.cumsum(chance / chance.sum()), float(np.sum(chance / chance.sum() * drawn))

  def frequencies(self) -> np.ndarray:
    """f64[ids of the tokenizer]: the share of each token in all that is drawn, languages balanced as the steps are."""
    found = np.zeros(len(self._starts))
    for number, corpus in enumerate(self._corpora):
      sizes = np.diff(corpus.offsets)
      drawn = np.minimum(sizes, self._length)  # of each text, how many tokens a row takes
      weight = np.zeros(len(sizes))  # of each token of a text
      for share, (owner, texts) in zip(self.shares, self._texts, strict=True):
        if owner == number:  # a text may be in several groups
          weight[texts] += share / drawn[texts].sum() * drawn[texts] / sizes[texts]
      for first in range(0, len(sizes), _BLOCK):
        block = slice(first, first + _BLOCK)
        tokens = corpus.tokens[corpus.offsets[first] : corpus.offsets[first + len(sizes[block])]]
        found += np.bincount(tokens, np.repeat(weight[block], sizes[block]), minlength=len(found))
    return found

  def step(self, number: int) -> Masked:
    """The step of this number: leaves `[local_devices, rows, ...]`, plain NumPy."""
    rng = self._rng(number)
    ids, segment, position = self._grid(rng)
    masked, place, target, weight = self._hide(ids, segment, position, rng)
    slots = self._length // _TEXT

    def local(values: np.ndarray) -> np.ndarray:
      return values.reshape(self._devices, -1, values.shape[-1])[self._local]

    tokens = Tokens(local(masked), local(segment), local(position), slots=slots)
    return Masked(tokens=tokens, place=local(place), target=local(target), weight=local(weight))

  def texts(self, number: int) -> dict[str, list[int]]:
    """The texts that are drawn for the step of this number, by corpus."""
    found: dict[str, list[int]] = {name: [] for name in self._names}
    for corpus, text, _ in self._drawn(self._rng(number)):
      found[self._names[corpus]].append(text)
    return found

  def _rng(self, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[self._seed, number]))

  def _drawn(self, rng: np.random.Generator) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (number of the corpus, text, its tokens or as many of them as a row holds) until the grid is full."""
    length = self._length
    room = int(_FILL * self._rows * length)
    count = int(1.5 * room / self._mean) + 16
    groups = np.minimum(np.searchsorted(self._chance, rng.random(count), side="right"), len(self._texts) - 1)
    picks, starts = rng.random(count), rng.random(count)
    for group, pick, start in zip(groups.tolist(), picks.tolist(), starts.tolist()):
      number, members = self._texts[group]
      corpus, text = self._corpora[number], members[int(pick * len(members))]
      first, last = int(corpus.offsets[text]), int(corpus.offsets[text + 1])
      if last - first > length:
        part = first + int(start * (last - first - length + 1))
        tokens = np.array(corpus.tokens[part : part + length])
        tokens[0], tokens[-1] = corpus.tokens[first], corpus.tokens[last - 1]
      else:
        tokens = corpus.tokens[first:last]
      yield number, int(text), tokens  # also the last one, which may not fit: a grid of one row would else stay empty
      room -= len(tokens)
      if room <= 0:
        return

  def _grid(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, length = self._rows, self._length
    texts = [tokens for _, _, tokens in self._drawn(rng)]
    sizes = np.array([len(tokens) for tokens in texts])
    row, column, number = best_fit(sizes, length, length // _TEXT)
    ids, segment, position = np.zeros((3, rows, length), np.int32)
    for tokens, r, c, s in zip(texts, row.tolist(), column.tolist(), number.tolist()):
      if r < rows:
        there = slice(c, c + len(tokens))
        ids[r, there], segment[r, there], position[r, there] = tokens, s, np.arange(len(tokens))
    return ids, segment, position

  def _hide(
    self, ids: np.ndarray, segment: np.ndarray, position: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rows, length = ids.shape
    gaps = int(np.ceil(self._rate * length))
    candidate = (segment > 0) & ~np.isin(ids, self._special)
    new = self._starts[ids] | (position == 0) | ~candidate
    word = np.cumsum(new.ravel())  # no word crosses a row: each row begins with a text, or is empty
    long = np.bincount(word)[word] > _WORD
    word = np.cumsum(new.ravel() | long).reshape(rows, length)
    order_of_word = rng.permutation(int(word.max()) + 1)
    rank = np.where(candidate, order_of_word[word], len(order_of_word))
    order = np.argsort(rank, axis=1, kind="stable")  # the tokens of a word stay together
    ranked = np.take_along_axis(rank, order, 1)
    budget = np.floor(self._rate * np.count_nonzero(segment, axis=1))[:, None]
    # A word is chosen when its last token is within the budget: the next token belongs to another word.
    ends = np.concatenate([ranked[:, 1:] != ranked[:, :-1], np.ones((rows, 1), bool)], axis=1)
    within = (np.arange(1, length + 1) <= budget) & (ranked < len(order_of_word))
    last = np.where(ends & within, np.arange(1, length + 1), 0).max(1)
    place = order[:, :gaps].astype(np.int32)
    weight = (np.arange(gaps) < last[:, None]).astype(np.float32)
    target = np.where(weight > 0, np.take_along_axis(ids, place, 1), 0).astype(np.int32)
    draw = rng.random(place.shape)
    other = self._ordinary[rng.integers(0, len(self._ordinary), place.shape)]
    shown = np.where(draw < 0.8, self._mask, np.where(draw < 0.9, other, target))
    masked = ids.copy()
    row, gap = np.nonzero(weight)
    masked[row, place[row, gap]] = shown[row, gap]
    return masked, np.where(weight > 0, place, 0), target, weight


def _by_label(corpus: Prepared) -> list[tuple[str, np.ndarray]]:
  """The texts of each first label, or all of them as one group without a name."""
  if not len(corpus.labels):
    return [("", np.arange(len(corpus.offsets) - 1))]
  label = corpus.labels[np.minimum(corpus.label_offsets[:-1], len(corpus.labels) - 1)]
  order = np.argsort(label)
  names, starts = np.unique(label[order], return_index=True)
  return [(str(n), np.unique(texts)) for n, texts in zip(names, np.split(corpus.anchor[order], starts[1:]))]
