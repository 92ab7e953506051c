"""From the numbers of a step back to rows: the ids and texts of what it drew, for a person to look at."""

from collections.abc import Collection
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mtc.data.examples import Example
from mtc.data.prepared import Prepared
from mtc.data.sampling import Draw
from mtc.data.tokens import text_key


def find_texts(prepared: Prepared, wanted: Collection[int], tokenizer: Tokenizer) -> dict[int, dict[str, Any]]:
  """Text index -> {"id", "text"} of the first row that has it; the source is read once more.

  A row that is no longer there, or no longer the same, gives {"text"} from the tokens instead, as near as they are.

  Args:
    prepared: what was drawn from.
    wanted: text indices.
    tokenizer: made the tokens.
  """
  found: dict[int, dict[str, Any]] = {}
  missing = set(wanted)
  try:
    for row, example in zip(range(len(prepared.anchor)), prepared.origin.read() if prepared.origin else ()):
      for text, identity, words in _texts(prepared, row, example):
        if text in missing and text_key(words) == prepared.text_keys[text]:
          missing.remove(text)
          found[text] = ({"id": identity} if identity else {}) | {"text": words}
      if not missing:
        break
  except (OSError, ValueError):  # the source has gone or changed since; what is told must not end in another error
    pass
  for text in missing:
    tokens = prepared.tokens[prepared.offsets[text] : prepared.offsets[text + 1]]
    found[text] = {"text": tokenizer.decode(np.asarray(tokens).tolist())}
  return found


def examples_of(draw: Draw, prepared: Prepared, tokenizer: Tokenizer) -> list[dict[str, Any]]:
  """What a task gave to a step: anchor, positive and negatives of each example, as `find_texts` tells them."""
  every = [texts.reshape(-1) for texts in (draw.anchor, draw.positive, draw.negatives) if texts is not None]
  texts = find_texts(prepared, {text for text in np.concatenate(every).tolist() if text >= 0}, tokenizer)
  told = []
  for row, anchor in enumerate(draw.anchor.tolist()):
    one: dict[str, Any] = {"anchor": texts[anchor]}
    if draw.positive is not None:
      one["positive"] = texts[int(draw.positive[row])]
    if draw.negatives is not None:
      one["negatives"] = [texts[text] for text in draw.negatives[row].tolist() if text >= 0]
    if draw.score is not None:
      one["score"] = float(draw.score[row])
    told.append(one)
  return told


def _texts(prepared: Prepared, row: int, example: Example) -> list[tuple[int, str, str]]:
  """(text index, id, text) of each text of an example; negatives have no id."""
  told = [(int(prepared.anchor[row]), example["anchor_id"], example["anchor"])]
  if prepared.positive is not None:
    told.append((int(prepared.positive[row]), example["positive_id"], example["positive"] or ""))
  if example["negatives"]:
    told += [(int(i), "", text) for i, text in zip(prepared.negatives[row], example["negatives"])]
  return told
