"""How often texts have each token, by group, and what of them a smaller vocabulary keeps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses

import numpy as np
from tokenizers import Tokenizer

from mtc.data import tokenizer as tokenizers_
from mtc.data.batches import batches
from mtc.data.vocabulary import Vocabulary
from mtc.progress import Bar

GroupedTexts = Iterable[tuple[str, str]]  # (group, text)
_BLOCK = 8192  # texts tokenised at a time,
_LETTERS = 2**23  # or fewer, where they are long
_GROUPS = 256  # each holds a count of every token


@dataclasses.dataclass
class Coverage:
  """What a smaller vocabulary keeps of the texts of a group.

  Attributes:
    texts, tokens: how many there are, without special tokens.
    tokens_kept: those whose token is kept.
    texts_kept: those whose tokens are all kept.
    unknown: tokens that stand for what the larger vocabulary does not know.
    tokens_after, unknown_after: the same texts by the smaller vocabulary.
  """

  texts: int = 0
  tokens: int = 0
  tokens_kept: int = 0
  texts_kept: int = 0
  unknown: int = 0
  tokens_after: int = 0
  unknown_after: int = 0

  def __add__(self, other: "Coverage") -> "Coverage":
    return Coverage(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

  def report(self) -> dict[str, float]:
    """The numbers of texts and tokens, and the others as shares of them."""
    tokens, after = max(self.tokens, 1), max(self.tokens_after, 1)
    return {
      "texts": self.texts,
      "tokens": self.tokens,
      "tokens_kept": self.tokens_kept / tokens,
      "texts_kept": self.texts_kept / max(self.texts, 1),
      "unknown_before": self.unknown / tokens,
      "unknown_after": self.unknown_after / after,
      "tokens_after": self.tokens_after / tokens,
    }


def fewer(
  larger: Vocabulary,
  texts: Callable[[], GroupedTexts],
  size: int,
  *,
  balance: float,
  least: int,
  required: Iterable[int],
) -> tuple[list[int], Tokenizer, dict[str, Coverage]]:
  """The tokens that the texts need most, as their ids, a tokenizer with them, and what they cover of each group.

  Args:
    larger: the vocabulary of which some tokens are kept.
    texts: gives them, twice; the second time to measure, see `cover`.
    size, balance, least, required: see `Vocabulary.choose`.
  """
  larger.needed(size, required)  # before the texts are read
  counts = count(larger.tokenizer, texts(), max(larger.tokenizer.get_vocab().values()) + 1, progress=True)
  kept = larger.choose(counts, size, balance=balance, least=least, required=required)
  smaller = larger.trimmed(kept)
  found = cover(larger, smaller, kept, texts(), progress=True)
  return kept, smaller, {"all": sum(found.values(), Coverage())} | dict(sorted(found.items()))


def count(tokenizer: Tokenizer, texts: GroupedTexts, rows: int, progress: bool = False) -> dict[str, np.ndarray]:
  """Group -> i64[rows]: how often its texts have each token, without special tokens.

  Args:
    tokenizer: its ids are below `rows`.
    texts: read once, a few megabytes at a time.
    rows: of the token table.
    progress: show it.

  Raises:
    ValueError: there is no token in any text, or there are too many groups.
  """
  found: dict[str, np.ndarray] = {}
  for groups, block in _blocks(texts, "count tokens", progress):
    ids, lengths = tokenizers_.flat(tokenizer, block)
    for group, number in _numbers(groups):
      if group not in found:
        if len(found) == _GROUPS:
          raise ValueError(f"the texts have more than {_GROUPS} groups, such as {group!r}; is it a language?")
        found[group] = np.zeros(rows, np.int64)
      np.add.at(found[group], ids[np.repeat(number, lengths)], 1)
  if not any(counts.any() for counts in found.values()):
    raise ValueError("there is no token in the texts; name files that hold texts")
  return found


def cover(
  larger: Vocabulary, smaller: Tokenizer, kept: Sequence[int], texts: GroupedTexts, progress: bool = False
) -> dict[str, Coverage]:
  """What the smaller vocabulary keeps of the texts of each group.

  Args:
    larger: the vocabulary before.
    smaller: what `larger.trimmed(kept)` gave.
    kept: ids of the larger vocabulary.
    texts: read once.
    progress: show it.

  Raises:
    ValueError: a text whose tokens are all kept, and known, has other tokens in the smaller vocabulary.
  """
  place = np.full(max(*larger.ids.values(), *kept) + 1, -1, np.int64)
  place[np.asarray(kept)] = np.arange(len(kept))
  unknown_after = place[larger.unknown] if larger.unknown >= 0 else -1
  found: dict[str, Coverage] = {}
  for groups, block in _blocks(texts, "measure what is kept", progress):
    ids, lengths = tokenizers_.flat(larger.tokenizer, block)
    after, lengths_after = tokenizers_.flat(smaller, block)
    dropped = _sums(place[ids] < 0, lengths)
    missing, missing_after = _sums(ids == larger.unknown, lengths), _sums(after == unknown_after, lengths_after)
    same = (dropped == 0) & (missing == 0)
    _check_same(block, same, (place[ids], lengths), (after, lengths_after))
    for group, number in _numbers(groups):
      found[group] = found.get(group, Coverage()) + Coverage(
        texts=int(number.sum()),
        tokens=int(lengths[number].sum()),
        tokens_kept=int((lengths - dropped)[number].sum()),
        texts_kept=int((dropped[number] == 0).sum()),
        unknown=int(missing[number].sum()),
        tokens_after=int(lengths_after[number].sum()),
        unknown_after=int(missing_after[number].sum()),
      )
  return found


def _blocks(texts: GroupedTexts, title: str, progress: bool) -> Iterator[tuple[np.ndarray, list[str]]]:
  """(groups, texts) of a few megabytes."""
  with Bar(desc=title, unit=" texts", disable=not progress, leave=False) as bar:
    for block in batches(texts, _BLOCK, _LETTERS, size=lambda item: len(item[1])):
      yield np.array([group for group, _ in block], object), [text for _, text in block]
      bar.update(len(block))


def _numbers(groups: np.ndarray) -> list[tuple[str, np.ndarray]]:
  """Each group of a block, and which texts are its own."""
  return [(group, groups == group) for group in dict.fromkeys(groups.tolist())]


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
  """The sum of the values of each text; 0 of a text without a token."""
  total = np.concatenate([[0], np.cumsum(values)])
  ends = np.cumsum(lengths)
  return total[ends] - total[ends - lengths]


def _check_same(
  texts: Sequence[str],
  same: np.ndarray,
  before: tuple[np.ndarray, np.ndarray],
  after: tuple[np.ndarray, np.ndarray],
) -> None:
  """Raises ValueError where one of the texts that must be the same is not."""
  (ids, lengths), (ids_after, lengths_after) = before, after
  wrong = same & (lengths != lengths_after)
  if not wrong.any():
    differs = ids[np.repeat(same, lengths)] != ids_after[np.repeat(same, lengths_after)]
    wrong[same] = _sums(differs, lengths[same]) > 0
  if wrong.any():
    raise ValueError(
      f"this tokenizer cannot be trimmed: the text {texts[int(np.argmax(wrong))][:80]!r}, whose tokens are all kept, "
      "would have others"
    )
