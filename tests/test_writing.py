"""The words of the project: what a user or a reader sees uses the terms of the field."""

import ast
import io
from pathlib import Path
import re
import tokenize

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted([*(ROOT / "mtc").rglob("*.py"), *(ROOT / "configs").glob("*.py")])
WORDS = "whoever|somebody|at hand|of its own|all the same|so many|table of words|anew|contenders?|mend(ed|s)?"
AVOIDED = re.compile(rf"\b({WORDS})\b", re.IGNORECASE)


def found(texts: list[tuple[int, str]]) -> list[str]:
  """The avoided words of numbered texts, with the line."""
  return [f"{line}: {match[0]}" for line, text in texts for match in AVOIDED.finditer(" ".join(text.split()))]


def texts_of(source: str) -> list[tuple[int, str]]:
  """The strings, docstrings and comments of a module."""
  nodes = ast.walk(ast.parse(source))
  constants = [node for node in nodes if isinstance(node, ast.Constant)]
  texts = [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  return texts + [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def test_pages_avoid_the_words():
  wrong = {path.name: found(list(enumerate(path.read_text("utf-8").splitlines(), 1))) for path in PAGES}
  assert {name: words for name, words in wrong.items() if words} == {}


def test_modules_avoid_the_words():
  wrong = {str(path.relative_to(ROOT)): found(texts_of(path.read_text("utf-8"))) for path in MODULES}
  assert {name: words for name, words in wrong.items() if words} == {}


@pytest.mark.parametrize("source", ['"""Made anew."""', "x = 1  # so many", "raise ValueError('mend\\n it')"])
def test_a_word_is_found_in_docstrings_comments_and_messages(source):
  assert found(texts_of(source))
