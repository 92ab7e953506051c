"""What a model directory says of its tokenizer beside tokenizer.json: applied to the tokenizer, or refused.

transformers lets `tokenizer_config.json` change what `tokenizer.json` does, in another way for each class and version.
`apply` follows the setting where a version of transformers does, and raises where none does and the two files disagree.
Where transformers 5 differs: it ignores `add_bos_token` and `add_eos_token` beside a tokenizer.json, which version 4
applied for Llama and Gemma; and `add_prefix_space` for classes that do not build their tokenizer themselves.
Without an effect on the tokens of a text are `padding_side`, `clean_up_tokenization_spaces`, `legacy`, `pad_token`,
`use_default_system_prompt`, `chat_template`, `trim_offsets` and `errors`. `model_max_length` is not
applied here; the caller cuts texts.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import logging
from tokenizers import AddedToken, Tokenizer

_CONFIG, _MAP = "tokenizer_config.json", "special_tokens_map.json"
_MOST = 2**26  # bytes of a JSON file of settings
_UNCUT = 2**62  # tokens: a truncation that cuts no text and only says from which side one would be cut
_BERT = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer")
_LLAMA = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")
_AROUND = (*_BERT, "RobertaTokenizer", "XLMRobertaTokenizer")  # classes that put cls_token and sep_token around a text
# By the model_type of config.json, where no file names the class.
_CLASSES = {
  "bert": "BertTokenizer",
  "distilbert": "DistilBertTokenizer",
  "mpnet": "MPNetTokenizer",
  "roberta": "RobertaTokenizer",
}
# What a class takes for a setting that is not stated, in transformers 4 and 5, whatever tokenizer.json says.
_DEFAULTS: dict[str, dict[str, Any]] = {
  **{name: {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True} for name in _BERT},
  "RobertaTokenizer": {"add_prefix_space": False},
  "GPT2Tokenizer": {"add_prefix_space": False},
}
# Settings of which only these values are supported.
_ONLY: dict[str, tuple[Any, ...]] = {
  "split_special_tokens": (False, None),
  "do_basic_tokenize": (True, None),
  "never_split": (None, []),
  "sp_model_kwargs": (None, {}),
  "fix_mistral_regex": (False, None),
  "keep_accents": (False, None),
  "remove_space": (True, None),
}
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")


def apply(tokenizer: Tokenizer, directory: Path) -> Tokenizer:
  """The tokenizer with the settings of its directory, without padding.

  It cuts no text. Where texts shall be cut at their beginning, `from_left` says so.

  Args:
    tokenizer: of tokenizer.json, as it was read.
    directory: the files of settings may all be missing.

  Raises:
    ValueError: a setting contradicts tokenizer.json in a way that cannot be applied; names both files and the setting.
  """
  stated = _Settings(directory)
  side = stated.value("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
  if side not in ("left", "right"):
    raise ValueError(f"{stated.path} has truncation_side={side!r}; expected 'left' or 'right'")
  tokenizer.no_padding()
  for name, known in _ONLY.items():
    if stated.value(name) not in known:
      raise ValueError(
        f"{stated.path} has {name}={json.dumps(stated.value(name))}, which is not supported beside {stated.file}; "
        "remove the entry if the tokenizer works without it"
      )
  tokenizer = _with_rules(tokenizer, stated)
  _add_tokens(tokenizer, stated)
  return cutting(tokenizer, side == "left")


def cutting(tokenizer: Tokenizer, left: bool) -> Tokenizer:
  """The tokenizer itself, made to say whether texts lose their beginning (left) or their end; it cuts none."""
  if left:
    tokenizer.enable_truncation(_UNCUT, direction="left")
  else:
    tokenizer.no_truncation()
  return tokenizer


def from_left(tokenizer: Tokenizer) -> bool:
  """Whether a text that is too long loses its beginning instead of its end."""
  return (tokenizer.truncation or {}).get("direction") == "left"


class _Settings:
  """The settings of a directory, with the file that each comes from for messages."""

  def __init__(self, directory: Path):
    self.path, self.file, self.map = directory / _CONFIG, directory / "tokenizer.json", directory / _MAP
    self.config = _read(self.path)
    # As transformers does: the older files count where the newer entry is not there.
    older = "added_tokens_decoder" not in self.config
    self.names = _read(self.map) if older else {}
    self.added = _read(directory / "added_tokens.json") if older else {}
    model = _read(directory / "config.json")
    kind = self.config.get("tokenizer_class") or model.get("tokenizer_class") or ""
    if not isinstance(kind, str):
      raise ValueError(f"{self.path} has tokenizer_class={kind!r}; expected the name of a class")
    # "" = not known: any class may be meant
    self.kind = kind.removesuffix("Fast") or _CLASSES.get(str(model.get("model_type")), "")
    lower = _read(directory / "sentence_bert_config.json").get("do_lower_case")
    if lower not in (True, False, None) or isinstance(lower, int | float) and not isinstance(lower, bool):
      raise ValueError(f"{directory / 'sentence_bert_config.json'} has do_lower_case={lower!r}; expected true or false")
    self.lower_first = lower is True

  def value(self, name: str) -> Any:
    return self.config.get(name)

  def token(self, name: str) -> str | None:
    """The text of a special token, `eos_token` for example."""
    value = self.names.get(name, self.config.get(name))
    value = value.get("content") if isinstance(value, dict) else value
    if value is not None and not _is_text(value):
      raise ValueError(f"{self.source(name)} has {name}={value!r}; expected a text")
    return value or None

  def source(self, name: str) -> Path:
    return self.map if name in self.names else self.path


def _is_text(value: Any) -> bool:
  """JSON can hold half a surrogate pair, which no tokenizer takes."""
  return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _read(path: Path) -> dict[str, Any]:
  """The JSON object in the file, {} if the file is missing."""
  if not path.is_file():
    return {}
  if path.stat().st_size > _MOST:
    raise ValueError(f"{path} has {path.stat().st_size:,} bytes, and no file of this kind has {_MOST:,}")
  try:
    content = json.loads(path.read_text("utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON ({error})") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
  return content


@dataclasses.dataclass
class _Draft:
  """The content of tokenizer.json, which the rules change in place."""

  parts: dict[str, Any]
  stated: _Settings
  tokenizer: Tokenizer

  def text(self) -> str:
    """All but the vocabulary, which no rule changes."""
    return json.dumps({name: part for name, part in self.parts.items() if name != "model"})

  def of(self, where: str, *kinds: str) -> list[dict[str, Any]]:
    """The parts of these kinds in the normalizer, pre_tokenizer or post_processor."""
    return [part for part in _walk(self.parts[where]) if part.get("type") in kinds]

  def applies(self, *kinds: str) -> bool:
    """Whether the tokenizer's class is one of these, or not known."""
    return self.stated.kind in ("", *kinds)


def _with_rules(tokenizer: Tokenizer, stated: _Settings) -> Tokenizer:
  draft = _Draft(json.loads(tokenizer.to_str()), stated, tokenizer)
  before = draft.text()
  # A class changes only a normalizer of the same kind.
  alone = (draft.parts["normalizer"] or {}).get("type") in (None, "BertNormalizer")
  defaults = _DEFAULTS.get(stated.kind, {}) if alone else {}
  left_over = _left_over(draft)
  if left_over:
    logging.warning(
      "%s has %s, which are settings of BERT's tokenizer; %s is of another kind and is used as it is",
      stated.path,
      ", ".join(left_over),
      stated.file,
    )
  for name, rule in _RULES.items():
    if name in left_over:
      continue
    value = stated.config.get(name, defaults.get(name, _ABSENT))
    if name.endswith("_token") and not name.startswith("add_"):
      value = stated.token(name)
    elif value is _ABSENT or (value is None and name != "strip_accents"):
      continue
    elif not isinstance(value, bool | None):
      raise ValueError(f"{stated.path} has {name}={json.dumps(value)}; expected true or false")
    problem = rule(draft, value)
    if problem and (name in stated.config or name in stated.names):
      raise ValueError(
        f"{stated.source(name)} has {name}={json.dumps(value)}, but {stated.file} {problem}; remove the entry if "
        "tokenizer.json is right, else change tokenizer.json"
      )
  if stated.lower_first and not _lowers(draft):
    # Texts are made lower case before anything else, as sentence-transformers does.
    old = draft.parts["normalizer"]
    parts = old["normalizers"] if old and old["type"] == "Sequence" else [old] if old else []
    draft.parts["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *parts]}
  return tokenizer if draft.text() == before else Tokenizer.from_str(json.dumps(draft.parts))


def _left_over(draft: _Draft) -> list[str]:
  """The settings of a BertTokenizer where a tokenizer of another kind took its place, as in multilingual MiniLM.

  All of them are there with their defaults. No version of transformers applies them then.
  """
  config = draft.stated.config
  usual = {name: value for name, value in _DEFAULTS["BertTokenizer"].items() if value is not None}
  if draft.parts["model"]["type"] == "WordPiece" or draft.applies(*_BERT):
    return []
  return [*usual] if all(config.get(name) is value for name, value in usual.items()) else []


_ABSENT = object()


def _walk(part: Any) -> Iterator[dict[str, Any]]:
  """The part of a tokenizer and what a Sequence holds."""
  if isinstance(part, dict):
    yield part
    for key in ("normalizers", "pretokenizers", "processors"):
      for inner in part.get(key, ()):
        yield from _walk(inner)


def _lowers(draft: _Draft) -> bool:
  bert = draft.of("normalizer", "BertNormalizer")
  return bool(draft.of("normalizer", "Lowercase")) or any(part["lowercase"] for part in bert)


def _lower_case(draft: _Draft, value: bool) -> str:
  if _lowers(draft) == value:
    return ""
  bert = draft.of("normalizer", "BertNormalizer")
  if not bert or draft.of("normalizer", "Lowercase") or not draft.applies(*_BERT):
    return "makes no text lower case" if value else "makes texts lower case"
  for part in bert:
    part["lowercase"] = value
  return ""


def _strip_accents(draft: _Draft, value: bool | None) -> str:
  bert = draft.of("normalizer", "BertNormalizer")
  if bert and draft.applies(*_BERT):
    for part in bert:
      part["strip_accents"] = value
    return ""
  strips = bool(draft.of("normalizer", "StripAccents")) or any(
    part["lowercase"] if part["strip_accents"] is None else part["strip_accents"] for part in bert
  )
  if value in (None, strips):
    return ""
  return "keeps accents" if value else "strips accents"


def _chinese(draft: _Draft, value: bool) -> str:
  bert = draft.of("normalizer", "BertNormalizer")
  if bert and draft.applies(*_BERT):
    for part in bert:
      part["handle_chinese_chars"] = value
    return ""
  if any(part["handle_chinese_chars"] for part in bert) == value:
    return ""
  return "does not set Chinese characters apart" if value else "sets Chinese characters apart"


def _prefix_space(draft: _Draft, value: bool) -> str:
  """Whether a space comes before the first word: ByteLevel, Metaspace or a Prepend normalizer decides it."""
  first, normalizer = draft.parts["pre_tokenizer"] or {}, draft.parts["normalizer"] or {}
  prepends = draft.of("normalizer", "Prepend")
  found = [part["add_prefix_space"] for part in draft.of("pre_tokenizer", "ByteLevel")]
  found += [part["prepend_scheme"] != "never" for part in draft.of("pre_tokenizer", "Metaspace")]
  found += [True for _ in prepends]
  # Where nothing says it, no text gets a space; and words that are split at spaces would lose it again.
  if all(state == value for state in found) and (found or not value or draft.parts["model"]["type"] == "WordPiece"):
    return ""
  if first.get("type") == "ByteLevel" and not prepends:
    first["add_prefix_space"] = value
  elif first.get("type") == "Metaspace" and not prepends and draft.applies(*_LLAMA):
    scheme = "first" if draft.stated.value("legacy") is False else "always"
    first["prepend_scheme"] = scheme if value else "never"
  elif prepends and len(found) == 1 and normalizer["type"] == "Sequence" and draft.applies(*_LLAMA):
    normalizer["normalizers"] = [part for part in normalizer["normalizers"] if part["type"] != "Prepend"]
  else:
    return "puts no space before a text" if value else "puts a space before a text"
  return ""


def _end(role: str) -> Callable[[_Draft, bool], str]:
  """The rule of add_bos_token, or of add_eos_token."""
  first = role == "bos"

  def rule(draft: _Draft, value: bool) -> str:
    token = draft.stated.token(f"{role}_token")
    place = "beginning" if first else "end"
    template, fixed = _template(draft)
    pieces = _ends(template["single"], first)
    if value == (token is not None and token in pieces):
      return ""
    if fixed or (not value and not draft.applies(*_LLAMA)):
      return f"puts {', '.join(pieces) or 'no token'} at the {place} of a text"
    if not value:
      for key in ("single", "pair"):
        template[key] = [piece for piece in template[key] if piece.get("SpecialToken", {}).get("id") != token]
      return ""
    index = None if token is None else draft.tokenizer.token_to_id(token)
    if index is None:
      return f"has no token {token!r}" if token else f"puts no token at the {place}, and no {role}_token is named"
    piece = {"SpecialToken": {"id": token, "type_id": 0}}
    for key in ("single", "pair"):
      template[key] = [piece, *template[key]] if first else [*template[key], piece]
    template["special_tokens"][token] = {"id": token, "ids": [index], "tokens": [token]}
    _put(draft, template)
    return ""

  return rule


def _template(draft: _Draft) -> tuple[dict[str, Any], bool]:
  """The template of the post-processor, and whether its ends are fixed: BertProcessing and RobertaProcessing."""
  for part in draft.of("post_processor", "BertProcessing", "RobertaProcessing"):
    around = [{"SpecialToken": {"id": part[name][0]}} for name in ("cls", "sep")]
    return {"single": [around[0], {"Sequence": {"id": "A"}}, around[1]]}, True
  for part in draft.of("post_processor", "TemplateProcessing"):
    return part, False
  texts = [{"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB")]
  return {"type": "TemplateProcessing", "single": texts[:1], "pair": texts, "special_tokens": {}}, False


def _put(draft: _Draft, template: dict[str, Any]) -> None:
  """Adds the template to the post-processor if it is not part of it."""
  old = draft.parts["post_processor"]
  if any(part is template for part in _walk(old)):
    return
  if not old:
    draft.parts["post_processor"] = template
  elif old["type"] == "Sequence":
    old["processors"].append(template)
  else:
    draft.parts["post_processor"] = {"type": "Sequence", "processors": [old, template]}


def _ends(pieces: list[dict[str, Any]], first: bool) -> list[str]:
  """The special tokens before a text, or after it."""
  found: list[str] = []
  for piece in pieces if first else pieces[::-1]:
    if "SpecialToken" not in piece:
      break
    found.append(piece["SpecialToken"]["id"])
  return found


def _around(first: bool) -> Callable[[_Draft, str | None], str]:
  """The rule of cls_token, or of sep_token."""

  def rule(draft: _Draft, value: str | None) -> str:
    template, _ = _template(draft)
    begin, end = (_ends(template["single"], which) for which in (True, False))
    there = begin if first else end
    if value is None or not begin or not end or value in there or not draft.applies(*_AROUND):
      return ""
    return f"puts {there[0]!r} at the {'beginning' if first else 'end'} of a text"

  return rule


def _unknown(draft: _Draft, value: str | None) -> str:
  model = draft.parts["model"]
  token = model.get("unk_token")
  if model["type"] == "Unigram" and model.get("unk_id") is not None:
    token = model["vocab"][model["unk_id"]][0]
  if None in (value, token) or model.get("byte_fallback") or value == token:
    return ""
  return f"has {token!r} for what it does not know"


# Each changes the draft as the setting says, or returns what tokenizer.json does instead.
_RULES: dict[str, Callable[[_Draft, Any], str]] = {
  "do_lower_case": _lower_case,
  "strip_accents": _strip_accents,
  "tokenize_chinese_chars": _chinese,
  "add_prefix_space": _prefix_space,
  "unk_token": _unknown,
  "cls_token": _around(first=True),
  "sep_token": _around(first=False),
  "add_bos_token": _end("bos"),
  "add_eos_token": _end("eos"),
}


def _add_tokens(tokenizer: Tokenizer, stated: _Settings) -> None:
  """Adds the tokens that are named beside tokenizer.json, and gives those that are there the flags of their entry.

  They matter for texts that spell them.
  """
  named = list(_named_tokens(stated))
  special = {token.content for token in named}
  wanted: list[tuple[AddedToken, Any, Path]] = []
  decoder = stated.value("added_tokens_decoder") or {}
  if not isinstance(decoder, dict):
    raise ValueError(f"{stated.path} has added_tokens_decoder of type {type(decoder).__name__}; expected an object")
  for index, entry in decoder.items():
    wanted.append((_token(entry, stated.path, special), index, stated.path))
  for text, index in stated.added.items():
    path = stated.path.with_name("added_tokens.json")
    if tokenizer.token_to_id(text) not in tokenizer.get_added_tokens_decoder():
      entry = {"content": text, "special": text in special, "normalized": text not in special}
      wanted.append((_token(entry, path, special), index, path))
  there = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
  tokenizer.add_tokens([token for token, _, _ in wanted if repr(token) not in there])
  for token, index, path in wanted:
    if str(tokenizer.token_to_id(token.content)) != str(index):
      raise ValueError(
        f"{path} gives the token {token.content!r} the id {index}, and {stated.file} the id "
        f"{tokenizer.token_to_id(token.content)}; use the two files of one tokenizer"
      )
  contents = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
  tokenizer.add_tokens([token for token in named if token.content not in contents])


def _named_tokens(stated: _Settings) -> Iterator[AddedToken]:
  """The special tokens that the settings name, as transformers makes them of a text."""
  entries: Mapping[str, Any] = stated.config | stated.names
  for name, value in entries.items():
    if name in ("additional_special_tokens", "extra_special_tokens"):
      found = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    elif name.removesuffix("_token") in _ROLES or (name.endswith("_token") and isinstance(value, str)):
      found = [value]
    else:
      continue
    for entry in found:
      if entry not in (None, ""):
        text = entry if isinstance(entry, dict) else {"content": entry}
        yield _token(text | {"special": True}, stated.source(name), set())


def _token(entry: Any, path: Path, special: set[str]) -> AddedToken:
  """The token of an entry; those of the names in `special` are special."""
  flags = {name: entry[name] for name in _FLAGS if name in entry} if isinstance(entry, dict) else {}
  content = entry.get("content") if isinstance(entry, dict) else None
  if not _is_text(content) or not all(isinstance(flag, bool) for flag in flags.values()):
    raise ValueError(f"{path} has the token {entry!r}; expected its content, a text, and flags that are true or false")
  if content in special:
    flags["special"] = True
  return AddedToken(content, **flags)
