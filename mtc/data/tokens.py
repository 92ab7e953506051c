"""Rows to tokens on disk, once: flat int32 and offsets, in a directory named by a fingerprint of what made them."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mtc.data import tokenizer as tokenizers_
from mtc.data.examples import Kind, read
from mtc.data.fields import optional
from mtc.data.files import hash_file
from mtc.data.origin import Changed, Origin
from mtc.data.prepared import Prepared
from mtc.data.sources import Rows
from mtc.data.teacher import Teacher
from mtc.files import cache
from mtc.progress import Bar

_FORMAT = 3  # raise it whenever the same input would give other files
_BLOCK = 8192  # texts tokenised at a time: the most that is held as text,
_LETTERS = 2**25  # or fewer, where they are long
_ARRAYS = tuple(name for name in Prepared._fields if name not in ("report", "teacher", "origin"))


def prepare(
  source: Rows,
  split: str,
  examples: Kind,
  tokenizer: Tokenizer,
  *,
  max_length: int,
  prompts: Mapping[str, str],
  cache_dir: str | Path,
  on_bad_row: str = "stop",
  teacher: Teacher | None = None,
  without: Sequence[int] = (),
  progress: bool = True,
) -> Prepared:
  """The tokenised examples of a split: made if they are not in `cache_dir` yet, and opened memory-mapped.

  Args:
    source: where the rows are.
    split: which of them.
    examples: the kind of task.
    tokenizer: makes the tokens.
    max_length: tokens that a text may have, special ones included; longer texts are cut and counted.
    prompts: what is put before the texts of each role: `anchor`, and `positive` (for negatives too).
    cache_dir: holds one directory per fingerprint of content, tokenizer and everything above.
    on_bad_row: "stop" or "skip", see `read`.
    teacher: has a vector of each text; None = there is no teacher.
    without: numbers of examples, as `read` gives them, that are left out as if they were not there.
    progress: show a line while tokenising.

  Raises:
    BadRow: a row that cannot be used, unless they are skipped.
    ValueError: no row, negatives that no row has, prompts that do not fit the kind of task, or texts without a
      teacher's vector.
    Changed: the source changed while it was read.
  """
  unknown = set(prompts) - {"anchor", "positive"}
  if unknown:
    raise ValueError(f"prompts has the role {sorted(unknown)[0]!r}; the roles are 'anchor' and 'positive'")
  if examples.grouped and prompts.get("anchor", "") != prompts.get("positive", ""):
    raise ValueError(
      f"{type(examples).__name__} draws anchor and positive from the same texts, so their prompts must be equal; "
      f"got {dict(prompts)!r}"
    )
  origin = Origin(source, split, examples, on_bad_row, without)
  what = {
    "format": _FORMAT,
    "content": origin.content,
    "split": split,
    "tokenizer": tokenizers_.fingerprint(tokenizer),
    "max_length": max_length,
    "prompts": [prompts.get("anchor", ""), prompts.get("positive", "")],
    "kind": [type(examples).__name__, _fields(examples)],
    "on_bad_row": on_bad_row,
  }
  if teacher is not None:
    what["teacher"] = teacher.fingerprint()
  if without:
    what["without"] = list(without)
  name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]

  def make(directory: Path) -> None:
    writer = _Writer(directory, tokenizer, max_length, prompts, examples, teacher)
    bar = Bar(desc=f"tokens of {split}", unit=" texts", disable=not progress, leave=False)
    skipped: Counter[str] = Counter()
    left_out = frozenset(without)
    with bar, open(directory / "tokens.npy", "wb") as file:
      _write_header(file, 0)
      for number, example in enumerate(read(source, split, examples, on_bad_row, skipped)):
        if number in left_out:
          skipped["a test has its text"] += 1
          continue
        writer.add(example)
        if len(writer.waiting) >= _BLOCK or writer.letters >= _LETTERS:
          bar.update(writer.tokenize(file))
      bar.update(writer.tokenize(file))
      _write_header(file, writer.offsets[-1])
    writer.finish(f"{source!r:.200} split {split!r}", skipped, what)
    _check_negatives(source, split, examples)
    if origin.changed():  # else what was read would be kept under the name of what was there before
      raise Changed(f"{source!r:.200} split {split!r} changed while it was read; run again when nobody writes to it")

  directory = Path(cache_dir) / name
  prepared = cache.find_or_make(directory, _open, make)
  origin.keep([*directory.iterdir(), *(teacher.mapped if teacher else ())])
  return prepared._replace(origin=origin, teacher=teacher.of(directory) if teacher else None)


class _Writer:
  """Collects the examples of a split; what grows with them is numbers, never text."""

  def __init__(
    self,
    directory: Path,
    tokenizer: Tokenizer,
    max_length: int,
    prompts: Mapping[str, str],
    kind: Kind,
    teacher: Teacher | None,
  ):
    self.teacher, self.teacher_rows = teacher, array("q")
    self.directory, self.tokenizer, self.max_length, self.kind = directory, tokenizer, max_length, kind
    self.prompts = {role: (prompts.get(role, ""), _hash("prompt", prompts.get(role, ""))) for role in _ROLES}
    self.waiting: list[str] = []  # texts with prompts that have an index and no tokens yet
    self.letters = 0  # of these
    self.index: dict[int, int] = {}  # hash of prompt and text -> index of the text
    self.label_index: dict[int, int] = {}
    self.text_keys, self.label_keys = array("i"), array("i")
    self.offsets, self.label_offsets = array("q", [0]), array("q", [0])
    self.anchor, self.positive, self.labels = array("i"), array("i"), array("i")
    self.negatives, self.negative_counts = array("i"), array("i")
    self.score = array("f")
    self.ids = array("i")  # two per example: the key of the anchor's id and of the positive's
    self.truncated = 0
    self.languages: Counter[str] = Counter()

  def add(self, example: Any) -> None:
    self.anchor.append(self._text("anchor", example["anchor"]))
    if example["positive"] is not None:
      self.positive.append(self._text("positive", example["positive"]))
    self.negatives.extend(self._text("positive", text) for text in example["negatives"])
    self.negative_counts.append(len(example["negatives"]))
    if self.kind.scored:
      self.score.append(example["score"])
    for label in example["labels"]:
      self.labels.append(self._label(label))
    self.label_offsets.append(len(self.labels))
    for role in _ROLES:
      identity = example[f"{role}_id"]
      self.ids.append(_key(_hash(f"{role}_id", identity)) if identity else -1)
    self.languages[example["language"]] += 1

  def tokenize(self, file) -> int:
    """Tokenises what is waiting, and appends it to the file; returns how many texts that were."""
    ids, cut = tokenizers_.encode(self.tokenizer, self.waiting, self.max_length)
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    self.offsets.extend((self.offsets[-1] + np.cumsum(lengths)).tolist())
    file.write(np.fromiter((token for row in ids for token in row), np.int32, int(lengths.sum())).tobytes())
    self.truncated += cut
    self.waiting.clear()
    self.letters = 0
    return len(ids)

  def finish(self, name: str, skipped: Counter[str], what: dict[str, Any]) -> None:
    count = len(self.anchor)
    told = f"; {sum(skipped.values())} rows were skipped: {dict(skipped)}" if skipped else ""
    if not count:
      raise ValueError(f"{name} has no row that can be used{told}; check the file and the names of its fields")
    names = getattr(self.kind, "negative_fields", [])
    if names and not self.negatives:
      named = ", ".join(map(repr, names))
      raise ValueError(f'no row of {name} has negatives in the field {named}; correct the name, or use negatives=""')
    if not self.offsets[-1]:
      raise ValueError(
        f"no text of {name} has a token of this model's tokenizer{told}; check the texts, or use another model"
      )
    negatives = _ragged(np.asarray(self.negatives), np.asarray(self.negative_counts))
    label_offsets, labels = np.asarray(self.label_offsets), np.asarray(self.labels)
    text_keys = np.asarray(self.text_keys)
    anchor, positive = np.asarray(self.anchor), np.asarray(self.positive)
    columns = [text_keys[anchor][:, None], np.asarray(self.ids).reshape(count, 2)]
    if len(positive):
      columns.append(text_keys[positive][:, None])
    columns.append(_ragged(np.asarray(self.label_keys)[labels], np.diff(label_offsets)))
    keys = np.concatenate(columns, axis=1)
    arrays = {
      "offsets": np.asarray(self.offsets),
      "anchor": anchor,
      "negatives": negatives,
      "labels": labels,
      "label_offsets": label_offsets,
      "keys": keys[:, (keys >= 0).any(axis=0)],
      "text_keys": text_keys,
    }
    if len(positive):
      arrays["positive"] = positive
    if self.kind.scored:
      arrays["score"] = np.asarray(self.score)
    for array_name, values in arrays.items():
      np.save(self.directory / f"{array_name}.npy", values)
    if self.teacher is not None:
      self.teacher.write(self.directory, self.teacher_rows)
    report = {
      "rows": count + sum(skipped.values()),
      "examples": count,
      "skipped": dict(skipped),
      "texts": len(text_keys),
      "truncated": self.truncated,
      "tokens": self.offsets[-1],
      "mean_length": self.offsets[-1] / len(text_keys),
      "longest": int(np.diff(arrays["offsets"]).max()),
      "labels": len(self.label_keys),
      "languages": {language: number for language, number in sorted(self.languages.items()) if language},
    }
    digests = {file.name: hash_file(file) for file in sorted(self.directory.glob("*.npy"))}
    about = {"report": report, "sha256": digests, "made_of": what}
    (self.directory / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")

  def _text(self, role: str, text: str) -> int:
    prompt, salt = self.prompts[role]
    hashed = _hash("text", text)
    index = self.index.setdefault(hashed ^ salt, len(self.index))
    if index == len(self.text_keys):
      self.text_keys.append(_key(hashed))
      self.waiting.append(prompt + text)
      self.letters += len(text)
      if self.teacher is not None:
        self.teacher_rows.append(self.teacher.row(text))
    return index

  def _label(self, label: str) -> int:
    hashed = _hash("label", label)
    index = self.label_index.setdefault(hashed, len(self.label_index))
    if index == len(self.label_keys):
      self.label_keys.append(_key(hashed))
    return index


_ROLES = ("anchor", "positive")


def _check_negatives(source: Rows, split: str, examples: Kind) -> None:
  """Raises ValueError where one of several fields of negatives is in no row: its name must be wrong."""
  unseen = dict.fromkeys(getattr(examples, "negative_fields", []))
  if len(unseen) < 2:
    return  # of one field that is nowhere, the writer misses the negatives
  for _, row in source.rows(split, lambda bad: None):
    for field in [field for field in unseen if optional(row, field) is not None]:
      del unseen[field]
    if not unseen:
      return
  raise ValueError(
    f"no row of {source!r:.200} split {split!r} has negatives in the field {', '.join(map(repr, unseen))}; correct "
    "the name, or leave it out of negatives="
  )


def _open(directory: Path) -> Prepared | None:
  """The arrays of a directory, or None if there is none or it is damaged: files missing, cut or with other bytes."""
  try:
    about = json.loads((directory / "about.json").read_text("utf-8"))
    if any(hash_file(directory / name) != digest for name, digest in about["sha256"].items()):
      return None
    loaded: dict[str, Any] = {
      name: np.load(directory / f"{name}.npy", mmap_mode="r") if f"{name}.npy" in about["sha256"] else None
      for name in _ARRAYS
    }
    prepared = Prepared(report=about["report"] | {"fingerprint": directory.name}, **loaded)
    whole = (
      prepared.offsets[-1] == len(prepared.tokens)
      and len(prepared.offsets) == len(prepared.text_keys) + 1
      and len(prepared.label_offsets) == len(prepared.anchor) + 1
      and prepared.label_offsets[-1] == len(prepared.labels)
    )
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None
  return prepared if whole else None


def _write_header(file, total: int) -> None:
  """The header of tokens.npy, again at the end when the total is known: NumPy leaves room for a number that grows."""
  file.seek(0)
  np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (total,)})


def _fields(examples: Kind) -> Any:
  return dataclasses.asdict(examples) if dataclasses.is_dataclass(examples) else repr(examples)


def _ragged(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """[1, 2, 3] with counts [2, 0, 1] is [[1, 2], [-1, -1], [3, -1]]."""
  result = np.full((len(counts), int(counts.max(initial=0))), -1, np.int32)
  result[np.arange(result.shape[1]) < counts[:, None]] = values
  return result


def _hash(space: str, text: str) -> int:
  """64 bits; the same word as a text, an id and a label has three hashes."""
  digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=space.encode())
  return int.from_bytes(digest.digest(), "little")


def text_key(text: str) -> int:
  """What stands in `Prepared.text_keys` for a text."""
  return _key(_hash("text", text))


def _key(hashed: int) -> int:
  return hashed & 0x7FFFFFFF
