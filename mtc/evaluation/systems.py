"""What can be scored side by side: a model, vectors in a file, counted words, an endpoint. `parse` reads its name.

[NAME=]DIR_OR_HUB_NAME[,dim=N]     an mtc export, a sentence-transformers or a Hugging Face directory, in JAX
[NAME=]FILE.npy                    vectors of any other tool, a row for each text of a JSONL file
[NAME=]tfidf, [NAME=]bm25          words counted; BM25 where there are queries and documents
[NAME=]st=DIR_OR_HUB_NAME          through the library sentence-transformers (the extra mtc[torch])
[NAME=]api=URL#MODEL[,dimensions=N]    an OpenAI-compatible /v1/embeddings endpoint
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import functools
import importlib
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
from scipy import sparse

from mtc import data, models
from mtc.data.fields import got
from mtc.embedder.embedder import load
from mtc.evaluation.api import Api
from mtc.evaluators import BM25, Graded, Labelled, Parallel, Search, Table, TextEncoder, TfIdf
from mtc.files.npy import open_npy

_KINDS = ("api", "st")


@dataclass
class Cost:
  """What a system's vectors take.

  Attributes:
    dimensions: of a vector; of words, how many there are.
    bytes_per_text: of a vector as it comes; of words, those of its entries that are not 0.
    milliseconds_per_text: of embedding, with what comes before it: a model's compilation, the counting of words, the
      waits for an endpoint; None = nothing was embedded.
  """

  dimensions: int
  bytes_per_text: float
  milliseconds_per_text: float | None


class System:
  """A name, and an encoder for each table."""

  def __init__(self, name: str, fit: Callable[[Table], TextEncoder | None], clock: Callable[[], Any] | None = None):
    """Names something that can be scored.

    Args:
      name: of the column.
      fit: the encoder of a table; None = it cannot be scored on such a table.
      clock: has `texts` embedded and the `seconds` they took, where that is not the time of all calls.
    """
    self.name, self._fit, self._clock = name, fit, clock or (lambda: self)
    self.texts, self.seconds = 0, 0.0
    self._rows, self._bytes, self._dimensions = 0, 0, 0

  def encoder(self, table: Table) -> TextEncoder | None:
    """An encoder that counts what it does; None = there are no vectors for such a table."""
    began = time.perf_counter()
    fitted = self._fit(table)
    self.seconds += time.perf_counter() - began
    if fitted is None:
      return None

    def encode(texts: Sequence[str], role: str = "document") -> Any:
      texts = data.as_texts(texts)
      began = time.perf_counter()
      rows: Any = fitted(texts, role=role)
      self.seconds, self.texts = self.seconds + time.perf_counter() - began, self.texts + len(texts)
      self._rows, self._dimensions = self._rows + len(texts), max(self._dimensions, rows.shape[-1])
      self._bytes += rows.data.nbytes + rows.indices.nbytes if sparse.issparse(rows) else rows.nbytes
      return rows

    return encode

  def cost(self) -> Cost:
    """Of all that was embedded so far."""
    clock = self._clock()
    return Cost(
      self._dimensions,
      self._bytes / max(self._rows, 1),
      1000 * clock.seconds / clock.texts if clock and clock.texts else None,
    )


def documents(table: Table) -> list[str]:
  """The texts of a table that words are counted in: all but its queries."""
  match table:
    case Search():
      return list(table.corpus.values())
    case Labelled():
      return [*table.texts, *table.reference_texts]
    case Graded():
      return [*table.a, *table.b]
    case Parallel():
      return list(table.texts)


def parse(given: Sequence[str], texts: str, endpoint: Callable[..., Api]) -> list[System]:
  """The systems of the command line, opened; see the top of this file.

  Args:
    given: what the user typed for each.
    texts: the JSONL file with the texts of every .npy; "" = beside each, `b.jsonl` for `b.npy`.
    endpoint: an Api of url, model and dimensions.

  Raises:
    ValueError, OSError: one cannot be understood or opened, or two have one name.
  """
  names: dict[str, str] = {}
  for one in given:
    head, mark, tail = one.partition("=")
    named = mark and head not in _KINDS and not head.endswith(",dim") and not Path(one).exists()
    name, spec = (head, tail) if named else (_usual_name(one), one)
    if not name or not spec:
      raise ValueError(f"the system {one!r} has no {'name' if spec else 'directory, file or kind'}; {_EXPECTED}")
    if name in names:
      raise ValueError(
        f"the systems {names[name]!r} and {spec!r} are both named {name!r}; name them: a={names[name]} b={spec}"
      )
    names[name] = spec
  return [_open(name, spec, texts, endpoint) for name, spec in names.items()]


_EXPECTED = "expected [NAME=] and a model directory, a FILE.npy, tfidf, bm25, st=DIR or api=URL#MODEL"


def _usual_name(spec: str) -> str:
  kind, mark, rest = spec.partition("=")
  if mark and kind == "api":
    return rest.partition("#")[2]
  model, cut, dim = (rest if mark and kind == "st" else spec).partition(",dim=")
  path = Path(model)
  return (path.absolute().parent.name if path.name == "export" else path.name) + (f"@{dim}" if cut else "")


def _open(name: str, spec: str, texts: str, endpoint: Callable[..., Api]) -> System:
  kind, mark, rest = spec.partition("=")
  if spec == "tfidf":
    return System(name, lambda table: TfIdf("word").fit(documents(table)))
  if spec == "bm25":
    return System(name, lambda table: BM25().fit(documents(table)) if isinstance(table, Search) else None)
  if mark and kind == "st":
    encode = _sentence_transformer(rest)
  elif mark and kind == "api":
    url, _, model = rest.partition("#")
    model, mark, dimensions = model.partition(",dimensions=")
    if mark and not dimensions.isdecimal():
      raise ValueError(f"dimensions={dimensions} of the system {spec!r} is not a whole number")
    api = endpoint(url=url, model=model, dimensions=int(dimensions or 0))
    return System(name, lambda table: api, lambda: api)
  elif spec.endswith(".npy"):
    encode = lookup(Path(texts) if texts else Path(spec).with_suffix(".jsonl"), Path(spec))
    return System(name, lambda table: encode, lambda: None)
  else:
    encode = _model(spec)
  return System(name, lambda table: encode)


def _model(spec: str) -> TextEncoder:
  directory, cut, dim = spec.partition(",dim=")
  if "/" not in directory and not models.directory_of(directory).is_dir():
    raise ValueError(f"the system {spec!r} is not there; {_EXPECTED}")
  model = load(directory)
  if cut and not (dim.isdecimal() and 1 <= int(dim) <= model.width):
    raise ValueError(f"dim={dim} of the system {spec!r} is not in 1..{model.width}, the dimensions of this model")
  return functools.partial(model.encode, dim=int(dim) if cut else None)


def lookup(texts_path: Path, vectors_path: Path) -> TextEncoder:
  """Vectors from a file as an encoder: each text, with its role, is looked up.

  Raises:
    ValueError, OSError: the files are not there, or not what they should be, or do not fit together.
  """
  if not texts_path.is_file():
    raise FileNotFoundError(
      f"{texts_path}, the texts of {vectors_path}, is not there; name it with --texts=FILE.jsonl "
      "(--list_texts=FILE.jsonl writes the texts that are asked for)"
    )
  vectors = open_npy(vectors_path)
  listed = _listed(texts_path)
  if vectors.ndim != 2 or len(vectors) != len(listed):
    raise ValueError(
      f"{vectors_path} has shape {vectors.shape}, but {texts_path} has {len(listed)} texts; expected one row for each"
    )
  rows = {key: i for i, key in enumerate(listed)}

  def encode(texts: Sequence[str], role: str = "document") -> np.ndarray:
    missing = [text for text in texts if (text, role) not in rows]
    if missing:
      raise ValueError(
        f"{texts_path} lacks {len(missing)} of {len(texts)} texts of role {role!r}, {missing[0][:80]!r} first; "
        "see --list_texts"
      )
    return vectors[[rows[text, role] for text in texts]]

  return encode


def _listed(path: Path) -> list[tuple[str, str]]:
  """Text and role of each line of a file as --list_texts writes it."""
  listed = []
  with open(path, "rb") as lines:
    for number, line in enumerate(lines, 1):
      try:
        row = json.loads(line)
        text, role = row["text"], row.get("role", "document")
        for name, value in ("text", text), ("role", role):
          if not isinstance(value, str):
            raise TypeError(f"field {name!r} is not a string, {got(value)}")
      except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
          f'{path}:{number}: {line[:60]!r} is no {{"text": "...", "role": "query" or "document"}} ({error}); '
          "--list_texts=FILE.jsonl writes such a file"
        ) from error
      listed.append((text, role))
  return listed


def _sentence_transformer(name: str) -> TextEncoder:
  """Encodes with the library; queries and documents with the prompts that the model has for them."""
  try:
    library = importlib.import_module("sentence_transformers")
  except ImportError as error:
    raise ValueError(
      f"st={name} needs the library sentence-transformers ({error}); install mtc[torch] (in the checkout: pip install "
      "'.[torch]'), or give the directory without st= to encode in JAX"
    ) from error
  directory = models.directory_of(name)
  # Some files would be computed in as they are: a float16 static embedding gives NaN for a text without a word.
  model = library.SentenceTransformer(str(directory) if directory.is_dir() else name).float()

  def encode(texts: Sequence[str], role: str = "document") -> np.ndarray:
    encode = model.encode_query if role == "query" else model.encode_document
    return np.asarray(encode(list(texts), normalize_embeddings=True, show_progress_bar=False))

  return encode
