"""Tokenizers: loaded from a model directory, or trained on the task texts; saved so that AutoTokenizer loads them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mtc.data import network, tokenizer_settings
from mtc.data.batches import batches
from mtc.data.tokenizer_settings import cutting, from_left

# The names that the families of encoders give to the same five tokens.
_SPECIAL = {
  "pad": ("[PAD]", "<pad>"),
  "unk": ("[UNK]", "<unk>"),
  "cls": ("[CLS]", "<s>"),
  "sep": ("[SEP]", "</s>"),
  "mask": ("[MASK]", "<mask>"),
}
_WORDS_PER_LINE = 1000
_MOST = 2**29  # bytes of a tokenizer.json; the largest have some 30 MB
_GROWTH = 1000  # letters that a normaliser may make of one; those that are used make 1 or 2
_IDS = 2**24  # that a tokenizer may have; the largest have 300,000
_LETTERS = 2**23  # that are tokenised at a time, for a token takes a hundred times its letters
_BERT_TEMPLATE = processors.TemplateProcessing(
  single="[CLS] $A [SEP]",
  pair="[CLS] $A [SEP] $B:1 [SEP]:1",
  special_tokens=[(names[0], index) for index, names in enumerate(_SPECIAL.values()) if names[0] in ("[CLS]", "[SEP]")],
)


def load(name: str) -> Tokenizer:
  """The tokenizer of a model directory, or of a model of the hub, without padding; it cuts no text.

  What `tokenizer_config.json` and the other files beside tokenizer.json say is applied, see `tokenizer_settings`;
  `from_left` says which end of a long text `encode` keeps.

  Raises:
    ValueError: the tokenizer.json of the directory is broken, or contradicts the settings beside it.
    FileNotFoundError: the directory has no tokenizer, or the hub's one is not on this machine and cannot be had.
  """
  tokenizer, directory = _read(name)
  _check_ids(tokenizer, name)  # first: whatever writes the tokenizer out counts up to the highest id
  if directory:
    with _refusing(f"the tokenizer of {name} cannot be used", passing=ValueError):
      tokenizer = tokenizer_settings.apply(tokenizer, directory)
  return _checked(tokenizer, name)


def load_alone(name: str) -> Tokenizer:
  """The tokenizer of tokenizer.json alone, as a StaticEmbedding reads it: no other file counts. Else as `load`."""
  tokenizer, _ = _read(name)
  _check_ids(tokenizer, name)
  return _checked(tokenizer, name)


def _read(name: str) -> tuple[Tokenizer, Path | None]:
  """The tokenizer of a directory or of the hub, and the directory of the settings beside it."""
  directory = Path(name) if Path(name).is_dir() else None
  if not directory or not (directory / "tokenizer.json").is_file():
    tokenizer = _from_transformers(name)
    directory = directory or _cached(name)
    if not directory or not (directory / "tokenizer.json").is_file():
      return tokenizer, directory
  path = directory / "tokenizer.json"
  if path.stat().st_size > _MOST:
    raise ValueError(f"{path} has {path.stat().st_size:,} bytes, and no tokenizer has {_MOST:,}")
  with _refusing(f"{path} is no tokenizer that this version of tokenizers reads"):
    return Tokenizer.from_file(str(path)), directory


def _cached(name: str) -> Path | None:
  """The directory of a model of the hub that was downloaded."""
  from huggingface_hub import try_to_load_from_cache

  found = [try_to_load_from_cache(name, file) for file in ("tokenizer_config.json", "tokenizer.json")]
  return next((Path(path).parent for path in found if isinstance(path, str)), None)


def _check_ids(tokenizer: Tokenizer, name: str) -> None:
  """Raises ValueError where an id is past any table of embeddings."""
  highest = max(tokenizer.get_vocab().values(), default=0)
  if highest >= _IDS:
    raise ValueError(
      f"the tokenizer of {name} cannot be used (a token has the id {highest}, and no table of embeddings has {_IDS:,} "
      "rows)"
    )


def _checked(tokenizer: Tokenizer, name: str) -> Tokenizer:
  with _refusing(f"the tokenizer of {name} cannot be used"):
    # Real files pad and cut to 128 tokens; lengths are decided elsewhere.
    tokenizer.no_padding()
    cutting(tokenizer, from_left(tokenizer))
    _check_growth(json.loads(tokenizer.to_str()))
    tokenizer.encode("a")
  return tokenizer


def new_table(tokenizer: Tokenizer, padded: bool = True) -> dict[str, int]:
  """Of a table for its tokens, `rows`, and which of them is `pad`; raises ValueError where it cannot have one.

  Args:
    padded: whether one of the tokens must be for padding; else `pad` is 0 where none is.
  """
  rows, special = max(tokenizer.get_vocab().values(), default=-1) + 1, special_ids(tokenizer)
  if (padded and "pad" not in special) or not 0 < rows <= 2 * tokenizer.get_vocab_size() + 1000:
    raise ValueError(
      f"the tokenizer has {tokenizer.get_vocab_size()} tokens with ids up to {rows - 1}, and of the tokens for padding "
      f"({' or '.join(_SPECIAL['pad'])}) {'one' if 'pad' in special else 'none'}; use one with "
      f"{'padding and ' if padded else ''}few gaps"
    )
  return {"rows": rows, "pad": special.get("pad", 0)}


def within(tokenizer: Tokenizer, rows: int) -> Tokenizer:
  """The tokenizer without the added tokens past a table of `rows` rows: a text that spells one of them is text."""
  settings = json.loads(tokenizer.to_str())
  kept = [token for token in settings["added_tokens"] if token["id"] < rows]
  if len(kept) == len(settings["added_tokens"]):
    return tokenizer
  return Tokenizer.from_str(json.dumps(settings | {"added_tokens": kept}))


def bare(tokenizer: Tokenizer) -> Tokenizer:
  """The tokenizer that adds no special tokens to a text."""
  settings = json.loads(tokenizer.to_str())
  return Tokenizer.from_str(json.dumps(settings | {"post_processor": None}))


@contextlib.contextmanager
def _refusing(problem: str, passing: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
  """Raises ValueError for whatever the library raises: it has no own class, and where it panics no Exception."""
  try:
    yield
  except passing:
    raise
  except BaseException as error:
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
      raise
    raise ValueError(f"{problem} ({error})") from error


def _check_growth(settings: Any) -> None:
  """Raises ValueError where a few letters would become a text that fills the memory."""
  growth, waiting = 1, [settings["normalizer"], settings["pre_tokenizer"], settings["post_processor"]]
  while waiting:
    part = waiting.pop()
    if isinstance(part, dict):
      made = part.get("content") if part.get("type") == "Replace" else part.get("single")
      growth *= max(len(made or ""), 1)
      waiting += part.values()
    elif isinstance(part, list):
      waiting += part
  if growth > _GROWTH:
    raise ValueError(f"it can make more than {_GROWTH} letters or tokens of one")


def train(texts: Iterable[str], vocab_size: int, *, max_alphabet: int = 4000, strip_accents: bool = True) -> Tokenizer:
  """A WordPiece tokenizer like BERT's: lower case, CJK characters apart, [PAD] = 0.

  The same texts give the same tokenizer, which the trainer alone does not: it numbers the characters inside words in
  the order of a hash table, and breaks ties of frequency by these numbers.

  Args:
    texts: read once; only their distinct words are held.
    vocab_size: how many tokens at most.
    max_alphabet: how many characters at most, the most frequent ones; words with others become [UNK].
    strip_accents: drop the marks that combine with letters, as BERT does. In some scripts these are the vowels; kept,
      they are characters of their own (NFKD), which also makes a few dozen of the thousands of Korean syllables.
  """
  result = Tokenizer(models.WordPiece(unk_token="[UNK]"))
  bert = normalizers.BertNormalizer(strip_accents=strip_accents)
  result.normalizer = bert if strip_accents else normalizers.Sequence([normalizers.NFKD(), bert])
  result.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  words: Counter[str] = Counter()
  for text in texts:
    normal = result.normalizer.normalize_str(text)
    words.update(word for word, _ in result.pre_tokenizer.pre_tokenize_str(normal))
  if not words:
    raise ValueError("there is no text to train a tokenizer on; check the sources of the tasks")

  counts: Counter[str] = Counter()
  inside: set[str] = set()
  for word, count in words.items():
    for character in word:
      counts[character] += count
    inside.update(word[1:])
  special = [names[0] for names in _SPECIAL.values()]
  # A half of the vocabulary for characters: each may be there twice, at the start and inside of a word.
  ranked = sorted(counts, key=lambda character: (-counts[character], character))
  alphabet = sorted(ranked[: min(max_alphabet, (vocab_size - len(special)) // 4)])
  if not alphabet:
    raise ValueError(f"vocab_size={vocab_size} leaves no room for characters; use 1000 or more")
  # Announced as special tokens, all characters get their numbers before the first hash table is walked.
  fixed = special + alphabet + [f"##{character}" for character in alphabet if character in inside]
  trainer = trainers.WordPieceTrainer(
    vocab_size=vocab_size,
    special_tokens=fixed,
    initial_alphabet=alphabet,
    limit_alphabet=len(alphabet),
    show_progress=False,
  )
  pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
  pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  pieces.train_from_iterator(_lines(words), trainer)

  result.model = models.WordPiece(pieces.get_vocab(with_added_tokens=False), unk_token="[UNK]")
  result.add_special_tokens(special)
  result.decoder = decoders.WordPiece()
  result.post_processor = _BERT_TEMPLATE
  return result


def word_starts(tokenizer: Tokenizer) -> np.ndarray:
  """bool[largest id + 1]: which tokens begin a word; WordPiece (##), Metaspace (▁) and byte-level BPE (Ġ) show it."""
  pieces = [tokenizer.id_to_token(index) or "" for index in range(max(tokenizer.get_vocab().values()) + 1)]
  if any(piece.startswith("##") for piece in pieces):
    return np.array([not piece.startswith("##") for piece in pieces])
  mark = next((mark for mark in "▁Ġ" if any(piece.startswith(mark) for piece in pieces)), "")
  return np.array([piece.startswith(mark) for piece in pieces])


def save(tokenizer: Tokenizer, directory: str | Path, *, max_length: int, cut: bool = False) -> None:
  """Writes tokenizer.json and tokenizer_config.json, which `transformers.AutoTokenizer` loads.

  Args:
    max_length: of a text, in tokens.
    cut: whether tokenizer.json itself cuts texts to it, for tools that read no other file.
  """
  directory = Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  left = from_left(tokenizer)
  if cut or left:
    tokenizer = Tokenizer.from_str(tokenizer.to_str())  # a copy: the caller's stays as it is
    tokenizer.no_truncation()
  if cut:
    tokenizer.enable_truncation(max_length, direction="left" if left else "right")
  tokenizer.save(str(directory / "tokenizer.json"))
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": max_length,
    "clean_up_tokenization_spaces": False,
    "model_input_names": ["input_ids", "attention_mask"],  # DistilBERT takes no token types; for BERT they are all 0
  }
  if left:
    config["truncation_side"] = "left"
  splitter = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
  if "add_prefix_space" in splitter:  # else transformers 4.45 to 4.57 take it for false
    config["add_prefix_space"] = splitter["add_prefix_space"]
  # A name makes a special token of any piece of the vocabulary, so that texts that spell it get other ids.
  others = [index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special]
  special = special_ids(tokenizer)
  named = {role: index for role, index in special.items() if index in others}
  if "pad" not in named and ("pad" in special or others):
    # Many decoders have no token for padding. Another does as well, for the attention mask hides it.
    named["pad"] = min(others, default=special.get("pad", 0))
  for role, index in named.items():
    config[f"{role}_token"] = tokenizer.id_to_token(index)
  (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def fingerprint(tokenizer: Tokenizer) -> str:
  """A hash of everything that decides what the tokenizer does."""
  return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
  """The ids of those of pad, unk, cls, sep and mask that the tokenizer has."""
  found = {}
  for role, names in _SPECIAL.items():
    ids = [index for name in names if (index := tokenizer.token_to_id(name)) is not None]
    if ids:
      found[role] = ids[0]
  return found


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> tuple[list[list[int]], int]:
  """Token ids with special tokens, at most `max_length` of them, and how many texts were cut; uses all cores.

  A text is cut before the special tokens at its end: [CLS] a b c [SEP] of max_length 3 is [CLS] a [SEP]. Where the
  tokenizer cuts `from_left`, after those at its beginning: [CLS] c [SEP].
  """
  with _refusing("the tokenizer cannot be used"):
    mask = tokenizer.encode("a").special_tokens_mask
  before, after = (len(mask) if all(mask) else side.index(0) for side in (mask, mask[::-1]))
  left = from_left(tokenizer)
  if max_length <= sum(mask):
    raise ValueError(f"max_length={max_length} has no room beside {sum(mask)} special tokens; use 8 or more")
  ids, cut = [], 0
  for batch in batches(texts, len(texts), _LETTERS):
    with _refusing(f"the tokenizer cannot take the texts from {batch[0][:80]!r} on"):
      encodings = tokenizer.encode_batch_fast(batch)
    for encoding in encodings:
      row = encoding.ids
      if len(row) > max_length:
        first = before if left else max_length - after
        row = row[:first] + row[len(row) - (max_length - first) :]
        cut += 1
      ids.append(row)
  return ids, cut


def of_settings(settings: Mapping[str, Any]) -> Tokenizer:
  """The tokenizer of the content of a tokenizer.json; raises ValueError where the library does not read it."""
  with _refusing("the tokenizer cannot be changed so"):
    return Tokenizer.from_str(json.dumps(settings))


def flat(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """Token ids without special tokens, i64[tokens], and how many each text has, i64[texts]; uses all cores."""
  with _refusing(f"the tokenizer cannot take the texts from {next(iter(texts), '')[:80]!r} on"):
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
  rows = [encoding.ids for encoding in encodings]
  ids = np.fromiter(itertools.chain.from_iterable(rows), np.int64)
  return ids, np.array([len(row) for row in rows], np.int64)


def _lines(words: Counter[str]) -> Iterable[str]:
  line: list[str] = []
  for word in sorted(words):
    for _ in range(words[word]):
      line.append(word)
      if len(line) == _WORDS_PER_LINE:
        yield " ".join(line)
        line = []
  yield " ".join(line)


def _from_transformers(name: str) -> Tokenizer:
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it reports the absence of PyTorch
  from huggingface_hub import constants
  from transformers import AutoTokenizer

  def attempt(local: bool) -> Tokenizer:
    # Without the last one, transformers asks on the terminal whether it may run the code that a directory brings.
    try:
      loaded = AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except OSError:
      raise
    except Exception as error:  # of any kind: it believes what the files say
      raise ValueError(f"the tokenizer of {name} cannot be read ({error})") from error
    if not hasattr(loaded, "backend_tokenizer"):
      raise ValueError(f"the tokenizer of {name} has no tokenizer.json form; convert it to one first")
    return loaded.backend_tokenizer

  if Path(name).is_dir():
    _check_named_files(Path(name))
    try:
      return attempt(local=True)
    except (OSError, ValueError) as error:
      there = ", ".join(sorted(entry.name for entry in Path(name).iterdir())) or "nothing"
      raise FileNotFoundError(
        f"{name} has no tokenizer; there is {there}; add tokenizer.json, or vocab.txt and tokenizer_config.json "
        f"({str(error)[:500]})"
      ) from error
  try:
    return attempt(local=True)  # a name of the hub whose files are on this machine needs no network
  except OSError as error:
    if constants.HF_HUB_OFFLINE or not network.reachable(constants.ENDPOINT):
      raise FileNotFoundError(
        f"{name!r} is no directory, and no model of the hub that is on this machine, and there is no network "
        "(or HF_HUB_OFFLINE is set); give a directory, or download the model first"
      ) from error
  return attempt(local=False)


def _check_named_files(directory: Path) -> None:
  """Raises ValueError where the settings name a file elsewhere, which transformers would read."""
  path = directory / "tokenizer_config.json"
  try:
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON ({error})") from error
  for key, value in settings.items() if isinstance(settings, dict) else ():
    if key.endswith("_file") and isinstance(value, str):
      real, home = Path(os.path.realpath(directory / value)), os.path.realpath(directory)
      # Many name a file of their author's machine; that is not here, and does no harm.
      if real.exists() and not real.is_relative_to(home):
        raise ValueError(f"{path} names {key}={value!r}, a file outside its directory; remove the entry")
