"""Vectors from an OpenAI-compatible /v1/embeddings endpoint: asked for in batches, kept on disk, paid for once."""

import base64
from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
import hashlib
import json
import os
from pathlib import Path
import random
import sqlite3
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mtc.progress import Bar

BATCH = 128  # texts of a request
_LETTERS = 200_000  # of a request: endpoints limit its tokens too
_PATIENCE = 300  # seconds that an endpoint may ask to wait; longer, and it is better to come back later
_LARGEST = 1e6  # no text embedding has such numbers; random bits that are read as float32 do
_PASSING = (408, 409, 425, 429)  # statuses worth another attempt; 500 and above are too


@dataclass
class Api:
  """A text encoder that asks an endpoint.

  Every vector is written to the cache as soon as it is there, so that what a killed run has paid for is not paid again.

  Attributes:
    url: of the endpoint, with /embeddings at its end or without.
    model: by the name that the endpoint gives it.
    dimensions: to ask for; 0 = as many as the model has.
    cache: an SQLite file, made where it is missing; several runs may share it.
    key_variable: the environment variable with the key; where it is not set, none is sent.
    per_second: requests at most.
    attempts: of one request, before it fails.
    timeout: seconds to wait for an answer.
    sleep: waits for a number of seconds.
    texts, seconds: how many were asked for and answered, in how long, waits included; not those of the cache.
  """

  url: str
  model: str
  cache: Path
  dimensions: int = 0
  key_variable: str = "OPENAI_API_KEY"
  per_second: float = 5.0
  attempts: int = 8
  timeout: float = 120.0
  sleep: Callable[[float], None] = time.sleep
  texts: int = field(default=0, init=False)
  seconds: float = field(default=0.0, init=False)
  _width: int = field(default=0, init=False)  # dimensions of the first vector; all have as many
  _next: float = field(default=0.0, init=False)  # the moment before which no request is sent

  def __post_init__(self):
    if urlsplit(self.url).scheme not in ("http", "https") or not self.model:
      raise ValueError(
        f"the endpoint {self.url!r} with the model {self.model!r} is not URL#MODEL; "
        "as in api=https://api.openai.com/v1#text-embedding-3-small"
      )
    if self.dimensions < 0 or not self.per_second > 0:
      raise ValueError(f"dimensions={self.dimensions} or {self.per_second} requests per second cannot be asked for")
    self.url = self.url.rstrip("/")
    self.url += "" if self.url.endswith("/embeddings") else "/embeddings"

  def __call__(self, texts: Sequence[str], role: str = "document") -> np.ndarray:
    """Vectors f32[texts, dim], as the endpoint or the cache gives them; the role makes no difference to it.

    Raises:
      ValueError: the endpoint refuses, or goes on failing, or its answers cannot be used; or the cache cannot.
    """
    del role
    keys = {text: self._cache_key(text) for text in texts}
    try:
      self.cache.parent.mkdir(parents=True, exist_ok=True)
      with contextlib.closing(sqlite3.connect(self.cache, timeout=60)) as cache:
        cache.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
        found = self._cached(cache, keys)
        self._width = self._width or self.dimensions or next((vector.size for vector in found.values()), 0)
        self._ask(cache, found, [text for text in keys if text not in found], keys)
    except sqlite3.DatabaseError as error:
      raise ValueError(f"the cache {self.cache} cannot be used ({error}); remove it, or name another") from error
    if others := {vector.size for vector in found.values()} - {self._width}:
      raise ValueError(
        f"the cache {self.cache} has vectors of {self._name} with {others.pop()} dimensions, and others have "
        f"{self._width}: it gives other vectors than before; remove the cache, or name another"
      )
    vectors = np.stack([found[text] for text in texts]) if texts else np.zeros((0, self._width), np.float32)
    _check_numbers(vectors, f"the cache {self.cache} (remove it, or name another)")  # which an older version filled
    return vectors

  @property
  def _name(self) -> str:
    return f"{self.url}#{self.model}"

  def _cache_key(self, text: str) -> bytes:
    return hashlib.sha256("\0".join([self.url, self.model, str(self.dimensions), text]).encode()).digest()

  def _cached(self, cache: sqlite3.Connection, keys: dict[str, bytes]) -> dict[str, np.ndarray]:
    select = "SELECT vector FROM vectors WHERE key = ?"
    rows = ((text, cache.execute(select, (key,)).fetchone()) for text, key in keys.items())
    return {text: np.frombuffer(row[0], "<f4") for text, row in rows if row}

  def _ask(
    self, cache: sqlite3.Connection, found: dict[str, np.ndarray], missing: Sequence[str], keys: dict[str, bytes]
  ) -> None:
    """Adds the vectors of the missing texts to `found` and to the cache, batch by batch."""
    with Bar(total=len(missing), unit="text", desc=self.model, disable=not missing) as bar:
      for batch in _batches(missing):
        began = time.perf_counter()
        vectors = _vectors(self._post(batch), len(batch), self._width, self._name)
        self.seconds, self.texts = self.seconds + time.perf_counter() - began, self.texts + len(batch)
        self._width = vectors.shape[1]
        with cache:  # one transaction: all of the batch is kept, or nothing
          cache.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            [(keys[text], row.astype("<f4").tobytes()) for text, row in zip(batch, vectors, strict=True)],
          )
        found.update(zip(batch, vectors, strict=True))
        bar.update(len(batch))

  def _post(self, batch: Sequence[str]) -> Any:
    """The endpoint's answer, after as many attempts as it takes."""
    import requests  # 0.1 s, and nothing else needs it

    body = {"model": self.model, "input": list(batch)} | ({"dimensions": self.dimensions} if self.dimensions else {})
    for attempt in range(1, self.attempts + 1):
      self.sleep(max(self._next - time.monotonic(), 0))
      self._next = time.monotonic() + 1 / self.per_second
      asked_wait = None
      try:
        # A redirect would carry the key to where nobody has sent it.
        answer = requests.post(self.url, json=body, auth=self._sign, timeout=self.timeout, allow_redirects=False)
      except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        problem = self._without_key(str(error))[:300]
      except requests.RequestException as error:
        raise ValueError(f"{self._name} cannot be asked: {self._without_key(str(error))[:300]}") from None
      else:
        if answer.status_code == 200:
          try:
            return json.loads(answer.content)
          except ValueError as error:
            problem = f"its answer is not JSON ({error})"
        else:
          problem = f"status {answer.status_code}: {self._without_key(answer.text)[:300]}"
          if answer.status_code not in _PASSING and answer.status_code < 500:
            hint = f"; is {self.key_variable} the right key?" if answer.status_code in (401, 403) else ""
            raise ValueError(f"{self._name} refuses, {problem}{hint}")
          asked_wait = _seconds(answer.headers.get("Retry-After"))
      # A random part keeps several runs from coming back together.
      wait = min(2.0 ** (attempt - 1), 60) * random.uniform(0.5, 1) if asked_wait is None else asked_wait
      if wait > _PATIENCE:
        raise ValueError(f"{self._name} asks to wait {wait:.0f} s ({problem}); run it again then: what is done is kept")
      if attempt < self.attempts:
        print(f"{self._name}: {problem}; again in {wait:.1f} s", file=sys.stderr)
        self.sleep(wait)
    raise ValueError(f"{self._name} failed {self.attempts} times, at last: {problem}; what is done is kept")

  def _secret(self) -> str:
    key = os.environ.get(self.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):  # it would be shown in an error about the header
      raise ValueError(f"the environment variable {self.key_variable} holds characters that no key has; set it again")
    return key

  def _sign(self, request: Any) -> Any:
    # As `auth`, not as a header, which the passwords of a .netrc would replace.
    if key := self._secret():
      request.headers["Authorization"] = f"Bearer {key}"
    return request

  def _without_key(self, text: str) -> str:
    key = self._secret()
    return text.replace(key, "***") if key else text


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
  batch, letters = [], 0
  for text in texts:
    if batch and (len(batch) == BATCH or letters + len(text) > _LETTERS):
      yield batch
      batch, letters = [], 0
    batch.append(text)
    letters += len(text)
  if batch:
    yield batch


def _vectors(answer: Any, count: int, width: int, name: str) -> np.ndarray:
  """The vectors of an answer in the order of what was asked: f32[count, width]; width 0 = any."""
  try:
    rows = {entry["index"]: _decoded(entry["embedding"]) for entry in answer["data"]}
    sizes = {row.shape for row in rows.values()}
    given = len(answer["data"])
  except (KeyError, OverflowError, TypeError, ValueError) as error:
    raise ValueError(
      f"{name} answers {str(answer)[:200]!r}, which is no list of embeddings with indexes ({error!r}); "
      "is it an OpenAI-compatible /v1/embeddings?"
    ) from error
  if given != count or rows.keys() != set(range(count)):
    raise ValueError(f"{name} gives {given} vectors with {len(rows)} indexes for {count} texts; expected one of each")
  if len(sizes) > 1 or (width and sizes != {(width,)}) or sizes == {(0,)}:
    raise ValueError(
      f"{name} gives vectors of {' and '.join(str(size[0]) for size in sorted(sizes))} dimensions"
      + (f"; expected {width}" if width else "; expected one number of them")
    )
  vectors = np.stack([rows[index] for index in range(count)])
  if not np.isfinite(vectors).all():
    raise ValueError(f"{name} gives vectors with NaN or infinity; its model is broken, or its precision too low")
  _check_numbers(vectors, name)
  return vectors


def _check_numbers(vectors: np.ndarray, source: str) -> None:
  """Raises ValueError for what JSON and base64 pass off as coordinates: bits, integers, other numbers than float32."""
  largest = float(np.abs(vectors).max(initial=0))
  if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
    raise ValueError(
      f"{source} gives vectors whose largest number is {largest:.3g}; expected float32 in JSON or base64, and this is "
      "what bits, integers or float16 look like when they are read as float32"
    )
  if largest > 1 and (vectors == np.rint(vectors)).all():
    raise ValueError(
      f"{source} gives vectors of whole numbers up to {largest:.0f}, which are packed bits or quantized vectors; "
      "expected float32: ask for it at the endpoint"
    )


def _decoded(embedding: Any) -> np.ndarray:
  """A list of numbers, or their little-endian float32 in base64."""
  if isinstance(embedding, str):
    return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
  if not all(type(number) in (int, float) for number in embedding):
    raise ValueError("an embedding of something else than numbers")
  with np.errstate(over="ignore"):  # what float32 cannot hold is infinity, and reported later
    return np.asarray(embedding, np.float32)


def _seconds(retry_after: str | None) -> float | None:
  """What a Retry-After header says: seconds, or a date; None where it says nothing that can be understood."""
  if retry_after is None:
    return None
  with contextlib.suppress(ValueError):
    return max(0.0, float(retry_after))
  with contextlib.suppress(ValueError, TypeError):
    return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
  return None
