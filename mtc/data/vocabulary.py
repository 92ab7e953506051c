"""Smaller vocabularies: which tokens to keep, and the tokenizer that has only these.

A text whose tokens are all kept has the same tokens as before:

- WordPiece takes the longest token that fits. The longest of all, where it is kept, is the longest of those kept.
- Unigram takes the path with the best sum of scores. Scores stay as they are, so the best path of all, where its tokens
  are kept, is the best of those kept. Of equal paths it takes the first that it meets, and their order stays. A
  character without a token gets the lowest score of all less 10, so the token with the lowest score is kept.
- BPE applies the merge of the lowest rank again and again. A token is kept with all tokens that its merges pass
  through, so the merges of a kept token are all there, in their order, and there are no new ones.

The exception is a word that WordPiece did not know although its characters have tokens: it may become known.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

from mtc.data import tokenizer as tokenizers_

_KINDS = ("Unigram", "WordPiece", "BPE", "WordLevel")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))  # the tokens of byte_fallback
_NAMES = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_SETTINGS = ("model_max_length", "padding_side", "truncation_side")  # of tokenizer_config.json, kept as they are


class Vocabulary:
  """The tokens of a tokenizer, and which of them depend on each other.

  Attributes:
    tokenizer: without padding and truncation.
    ids: token -> id, of those that have a row in the token table.
    unknown: the id of the token for what the others do not cover; -1 = there is no such token.
  """

  def __init__(self, tokenizer: Tokenizer, rows: int):
    """Reads a tokenizer for a token table of `rows` rows; raises ValueError for a kind that cannot be trimmed."""
    self.tokenizer, self.rows = tokenizer, rows
    self.ids = {token: index for token, index in tokenizer.get_vocab().items() if index < rows}
    self._settings = json.loads(tokenizer.to_str())
    self._model: dict[str, Any] = self._settings["model"]
    kind = self._model["type"]
    if kind not in _KINDS:
      raise ValueError(f"a tokenizer of the type {kind} cannot be trimmed; known are {', '.join(_KINDS)}")
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
      if kind == "BPE" and self._model.get(name):
        raise ValueError(f"a BPE tokenizer with {name}={self._model[name]!r} cannot be trimmed; use one without")
    pieces = self._model["vocab"]
    if kind == "Unigram":  # a list of [token, score]
      pieces = {entry[0]: index for index, entry in enumerate(pieces)}
    self._own = {piece: index for piece, index in pieces.items() if index < rows}
    self._added = {token["content"] for token in self._settings["added_tokens"]}
    unknown = self._model.get("unk_id") if kind == "Unigram" else self.ids.get(self._model.get("unk_token") or "")
    self.unknown = -1 if unknown is None else unknown
    merges: list[list[str]] = self._model.get("merges") or []
    self._ranks = {(a, b): rank for rank, (a, b) in enumerate(merges)}

  def required(self) -> set[int]:
    """The tokens that texts need whatever they hold: added and special ones, unk, bytes, the lowest of Unigram."""
    needed = self.ids_of(self._added)
    needed |= set(tokenizers_.special_ids(self.tokenizer).values()) | set(_processed(self._settings["post_processor"]))
    if self.unknown >= 0:
      needed.add(self.unknown)
    if self._model["type"] == "Unigram":
      needed.add(int(np.argmin([score for _, score in self._model["vocab"]])))
    if self._model.get("byte_fallback"):
      needed |= self.ids_of(_BYTES)
    if _has([self._settings["normalizer"], self._settings["pre_tokenizer"]], "ByteLevel"):
      needed |= self.ids_of(pre_tokenizers.ByteLevel.alphabet())
    return {index for index in needed if index < self.rows}

  def ids_of(self, tokens: Iterable[str]) -> set[int]:
    """The ids of those of the tokens that there are."""
    return {self.ids[token] for token in tokens if token in self.ids}

  def characters(self, counts: np.ndarray) -> Counter[int]:
    """How often the character of each token of a single character stands in the texts, within any token.

    Of WordPiece the first characters of words and those inside of words have their own tokens.

    Args:
      counts: i64[ids], of each token.
    """
    prefix = self._model.get("continuing_subword_prefix") or ""
    names = self._added | (set(_BYTES) if self._model.get("byte_fallback") else set())  # not made of characters
    found: Counter[str] = Counter()
    if self._model["type"] == "WordLevel":
      return Counter()
    for piece, index in self._own.items():
      if not (count := int(counts[index])) or piece in names or index == self.unknown:
        continue
      inside = bool(prefix) and piece.startswith(prefix)
      for place, character in enumerate(piece.removeprefix(prefix) if inside else piece):
        found[prefix + character if inside or (prefix and place) else character] += count
    return Counter({self._own[piece]: count for piece, count in found.items() if piece in self._own})

  def parts(self, index: int) -> set[int]:
    """The token, and of BPE all tokens that its merges pass through.

    Example: "low", which l + o and lo + w make, has the parts l, o, w, lo and low.
    """
    token = self.tokenizer.id_to_token(index)
    if not self._ranks or token is None or token in self._added:
      return {index}
    symbols, passed, never = list(token), set(token), len(self._ranks)
    while len(symbols) > 1:
      pairs = zip(symbols, symbols[1:])
      rank, place = min((self._ranks.get(pair, never), number) for number, pair in enumerate(pairs))
      if rank == never:
        return {index}  # no merge makes it: a text has it only as a whole word
      symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
      passed.add(symbols[place])
    return self.ids_of(passed) | {index}

  def needed(self, size: int, more: Iterable[int] = ()) -> set[int]:
    """What `required` says, more ids, and all parts of both: what a vocabulary of this size must have.

    Raises:
      ValueError: there are fewer tokens than `size`, or more that must be kept.
    """
    if size > len(self.ids):
      raise ValueError(
        f"tokens={size} is more than the {len(self.ids)} tokens of this model; use fewer, or 0 to keep all"
      )
    kept: set[int] = set()
    kept = kept.union(*map(self.parts, self.required() | set(more)))
    if len(kept) > size:
      raise ValueError(f"tokens={size} is below the {len(kept)} special and other tokens that must be kept; use more")
    return kept

  def choose(
    self, counts: Mapping[str, np.ndarray], size: int, *, balance: float, least: int, required: Iterable[int] = ()
  ) -> list[int]:
    """The ids of the tokens to keep, in the order that they are numbered in from now on.

    They are what is needed, all characters that are frequent enough, and then the most frequent tokens. A token that no
    text has is not kept.

    Args:
      counts: group -> i64[ids], how often its texts have each token.
      size: how many tokens to keep at most.
      balance: a group with n tokens weighs n ** balance: 1 = every token alike, 0 = every group alike.
      least: how often a character must stand in the texts.
      required: more ids that must be kept.

    Raises:
      ValueError: as `needed`, or there is no room for the characters.
    """
    kept = self.needed(size, required)
    total = np.sum([count[: self.rows] for count in counts.values()], axis=0)
    frequent = [i for i, count in self.characters(total).items() if count >= least]
    kept = kept.union(*map(self.parts, frequent))
    if len(kept) > size:
      raise ValueError(
        f"tokens={size} has no room for {len(frequent)} characters that stand in the texts {least} times or more; use "
        f"{len(kept)} tokens or more, or a higher min_character_count"
      )
    weight = _weigh(counts, balance)[: self.rows]
    for index in np.lexsort((np.arange(len(weight)), -weight)).tolist():
      if len(kept) == size or not weight[index]:
        break
      more = self.parts(index) - kept
      if len(kept) + len(more) <= size:
        kept |= more
    return self.ordered(kept)

  def ordered(self, kept: Iterable[int]) -> list[int]:
    """Ids in their order, but added tokens that are not in the model's own vocabulary last, as the library has them."""
    own = set(self._own.values())
    last = {index for token, index in self.ids.items() if token in self._added and index not in own}
    return sorted(kept, key=lambda index: (index in last, index))

  def trimmed(self, kept: Sequence[int]) -> Tokenizer:
    """The tokenizer with these tokens only; the id of each is its place in `kept`.

    Raises:
      ValueError: the library gives a token another id.
    """
    place = {index: number for number, index in enumerate(kept)}
    settings = json.loads(json.dumps(self._settings))
    model, own = settings["model"], {piece: place[i] for piece, i in self._own.items() if i in place}
    if model["type"] == "Unigram":
      model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in place]
      if model["unk_id"] is not None:
        model["unk_id"] = place[model["unk_id"]]
    else:
      model["vocab"] = own
    if self._ranks:
      model["merges"] = [[a, b] for a, b in model["merges"] if a in own and b in own and a + b in own]
    settings["added_tokens"] = [
      token | {"id": place[token["id"]]} for token in settings["added_tokens"] if token["id"] in place
    ]
    _renumber(settings["post_processor"], place)
    made = tokenizers_.of_settings(settings)
    expected = {token: place[index] for token, index in self.ids.items() if index in place}
    if made.get_vocab() != expected:
      wrong = sorted(set(made.get_vocab().items()) ^ set(expected.items()))[:3]
      raise ValueError(f"this tokenizer cannot be trimmed: its library numbers tokens otherwise, such as {wrong}")
    return made


def named_tokens(directory: Path) -> dict[str, str]:
  """The special tokens that tokenizer_config.json and special_tokens_map.json name: "pad_token" -> "<pad>"."""
  found = {}
  for file in ("special_tokens_map.json", "tokenizer_config.json"):
    for name in _NAMES:
      value = _read(directory / file).get(name)
      value = value.get("content") if isinstance(value, dict) else value
      if isinstance(value, str):
        found[name] = value
  return found


def save_trimmed(tokenizer: Tokenizer, directory: Path, source: Path, max_length: int) -> None:
  """Writes a trimmed tokenizer, with the truncation, padding and special tokens that the files of its source name.

  Args:
    tokenizer: what is written.
    directory: where.
    source: the directory of the tokenizer that it was made from.
    max_length: of a text, in tokens, where the source names none.
  """
  settings, raw = json.loads(tokenizer.to_str()), _read(source / "tokenizer.json")
  padding = raw.get("padding")
  if padding and (pad := tokenizer.token_to_id(padding["pad_token"])) is not None:
    settings["padding"] = padding | {"pad_id": pad}
  settings["truncation"] = raw.get("truncation")
  made = tokenizers_.of_settings(settings)
  tokenizers_.save(made, directory, max_length=max_length)
  made.save(str(directory / "tokenizer.json"))  # with the truncation of its source, which `save` would drop
  path = directory / "tokenizer_config.json"
  known = {name: token for name, token in named_tokens(source).items() if tokenizer.token_to_id(token) is not None}
  kept = {name: value for name, value in _read(source / path.name).items() if name in _SETTINGS}
  config = json.loads(path.read_text("utf-8")) | kept | known
  path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _weigh(counts: Mapping[str, np.ndarray], balance: float) -> np.ndarray:
  """f64[ids]: the share of each token in all texts, groups balanced."""
  totals = {name: float(count.sum()) for name, count in counts.items()}
  weight = {name: total**balance for name, total in totals.items() if total}
  whole = sum(weight.values())
  return np.sum([share / whole * counts[name] / totals[name] for name, share in weight.items()], axis=0)


def _processed(processor: Any) -> list[int]:
  """The ids of a post-processor of tokenizer.json, which are at a few places of its kinds."""
  found = []
  for holder, key in _places(processor):
    found += [holder[key]] if isinstance(holder[key], int) else holder[key]
  return found


def _renumber(processor: Any, place: Mapping[int, int]) -> None:
  for holder, key in _places(processor):
    holder[key] = place[holder[key]] if isinstance(holder[key], int) else [place[i] for i in holder[key]]


def _places(processor: Any) -> list[tuple[Any, Any]]:
  """Where a post-processor has ids: (holder, key) pairs."""
  if not processor:
    return []
  if processor["type"] == "Sequence":
    return [entry for part in processor["processors"] for entry in _places(part)]
  if processor["type"] == "TemplateProcessing":
    return [(token, "ids") for token in processor["special_tokens"].values()]
  return [(processor[name], 1) for name in ("cls", "sep") if name in processor]  # of BERT and RoBERTa: [token, id]


def _has(part: Any, kind: str) -> bool:
  """Whether settings of a tokenizer hold a part of this type."""
  if isinstance(part, dict):
    return part.get("type") == kind or any(_has(value, kind) for value in part.values())
  return isinstance(part, list) and any(_has(value, kind) for value in part)


def _read(path: Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON ({error}); download the model again") from error
  return content if isinstance(content, dict) else {}
