"""The imports of mtc run one way, and only mtc/parallel.py uses the names of devices and collectives."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mtc"

# The modules and packages of mtc/, a level per line. Each may import those of the lines above its own, and no other.
ORDER = (
  {"types", "files", "progress"},
  {"parallel"},
  {"losses", "models", "optim", "evaluators", "data"},
  {"multitask", "pages"},
  {"config"},
  {"cli", "workdir"},
  {"embedder"},
  {"evaluation"},
  {"training"},
  {"pretrain", "transfer"},
  {"__init__", "main", "embed", "evaluate", "export", "mine", "average", "shrink"},
)
LEVEL = {part: level for level, names in enumerate(ORDER) for part in names}

# What a package must not import, on top of the order.
FORBIDDEN = {
  "losses": ("flax", "ml_collections", "optax"),
  "models": ("optax",),
  "evaluators": ("jax", "jaxlib", "flax", "optax", "mtc.types"),
}
TENSORFLOW = ("tensorflow", "tensorflow_datasets")
NEVER = ("configs", "tests", "benchmarks", "torch", "sentence_transformers", "flax.nnx")
DEVICE_WORDS = set(
  "pmap shard_map psum pmean pmax pmin all_gather all_to_all ppermute psum_scatter axis_index axis_size device_count"
  " local_device_count local_devices process_index process_count distributed".split()
)
JAX = {"jax", "lax", "jax.lax", "jax.distributed"}  # What they are words of: parallel.device_count() is fine.
MOST_LINES = 500
MOST_FILES = 16  # directly in mtc/


def violations(sources: Mapping[str, str]) -> list[str]:
  """What breaks the rules, a line each.

  Args:
    sources: path under mtc/, with slashes -> text of the file.
  """
  modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
  return [f"mtc/{path}:{line}" for path, text in sorted(sources.items()) for line in _of_file(path, text, modules)]


def _of_file(path: str, text: str, modules: set[str]) -> Iterator[str]:
  tree = ast.parse(text)
  part = path.split("/")[0].removesuffix(".py")
  if part not in LEVEL:
    yield f"1: {part} has no place in the order; give it one in {Path(__file__).name}"
    return
  if len(text.splitlines()) > MOST_LINES:
    yield f"{MOST_LINES + 1}: {len(text.splitlines())} lines; over {MOST_LINES} a file has two ideas in it"
  for name, line, inside in _imports(tree, path, modules):
    top = name.split(".")[0]
    if top == "mtc":
      other = name.split(".")[1] if "." in name else "__init__"
      if other != part and LEVEL.get(other, len(ORDER)) >= LEVEL[part]:
        yield f"{line}: {part} imports {name}, which is not before it in the order"
      if part == "__init__" and not inside:
        yield f"{line}: mtc/__init__.py imports {name} outside a function, so every import of mtc would"
    if any(_within(name, word) for word in (*FORBIDDEN.get(part, ()), *NEVER)):
      yield f"{line}: {part} imports {name}"
    if _within(name, "flax.linen") and part != "models":
      yield f"{line}: {part} imports {name}; only models does"
    if top in TENSORFLOW and not (part == "data" and inside):
      yield f"{line}: {name} is imported {'by ' + part if part != 'data' else 'outside a function'}"
  if part != "parallel":
    for name, line in _device_words(tree):
      yield f"{line}: {part} says {name}; only parallel does"


def _imports(tree: ast.Module, path: str, modules: set[str]) -> Iterator[tuple[str, int, bool]]:
  """(dotted name, line, whether it waits for a call or a type checker) of every import."""
  waiting = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or _is_for_types(node)]
  inside = {id(node) for parent in waiting for node in ast.walk(parent)}
  package = ["mtc", *path.split("/")[:-1]]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name, node.lineno, id(node) in inside
    elif isinstance(node, ast.ImportFrom):
      base = package[: len(package) - node.level + 1] if node.level else []
      module = ".".join([*base, *([node.module] if node.module else [])])
      for alias in node.names:
        # `from mtc import data` names a part, `from mtc import load` a function of mtc/__init__.py.
        whole = f"{module}.{alias.name}"
        known = module != "mtc" or alias.name in LEVEL or alias.name in modules
        yield whole if known else module, node.lineno, id(node) in inside


def _device_words(tree: ast.Module) -> Iterator[tuple[str, int]]:
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jax":
      yield from ((alias.name, node.lineno) for alias in node.names if alias.name in DEVICE_WORDS)
    elif isinstance(node, ast.Attribute) and node.attr in DEVICE_WORDS and ast.unparse(node.value) in JAX:
      yield ast.unparse(node), node.lineno


def _is_for_types(node: ast.AST) -> bool:
  return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _within(name: str, package: str) -> bool:
  return name == package or name.startswith(package + ".")


def test_mtc_keeps_the_rules():
  sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
  assert "types.py" in sources
  assert len([path for path in sources if "/" not in path]) <= MOST_FILES
  assert violations(sources) == []


BROKEN = {
  "a later package": ("data/sources.py", "from mtc.config import Task", "data imports mtc.config.Task"),
  "a later package, as a module": ("multitask/forward.py", "import mtc.training", "multitask imports mtc.training"),
  "a later module, by from mtc": ("config.py", "from mtc import embed", "config imports mtc.embed"),
  "a later module, relative": ("losses/infonce.py", "from ..config import Task", "losses imports mtc.config.Task"),
  "a later module, for types": ("optim.py", "if TYPE_CHECKING:\n  from mtc import cli", "optim imports mtc.cli"),
  "a later module, in a function": ("optim.py", "def f():\n  from mtc import cli", "optim imports mtc.cli"),
  "a neighbour": ("evaluators/knn.py", "from mtc.data import sources", "evaluators imports mtc.data.sources"),
  "a neighbour above": ("workdir/records.py", "from mtc import cli", "workdir imports mtc.cli"),
  "a command": ("training/loop.py", "from mtc import main", "training imports mtc.main"),
  "the package, from below": ("evaluation/scoring.py", "from mtc import load", "evaluation imports mtc,"),
  "no place": ("helpers.py", "", "helpers has no place in the order"),
  "flax in losses": ("losses/infonce.py", "from flax import struct", "losses imports flax.struct"),
  "config in losses": ("losses/infonce.py", "import ml_collections", "losses imports ml_collections"),
  "optax in models": ("models/bert.py", "import optax", "models imports optax"),
  "jax in evaluators": ("evaluators/sts.py", "import jax.numpy as jnp", "evaluators imports jax.numpy"),
  "types in evaluators": ("evaluators/sts.py", "from mtc.types import Array", "evaluators imports mtc.types"),
  "linen": ("training/step.py", "from flax import linen as nn", "training imports flax.linen; only models does"),
  "nnx": ("models/bert.py", "from flax import nnx", "models imports flax.nnx"),
  "tensorflow elsewhere": ("main.py", "def f():\n  import tensorflow as tf", "tensorflow is imported by main"),
  "tensorflow at the top": ("data/pipeline.py", "import tensorflow as tf", "tensorflow is imported outside a function"),
  "tfds at the top": ("data/public.py", "import tensorflow_datasets as tfds", "is imported outside a function"),
  "a collective": ("losses/cosent.py", "import jax\nf = lambda x: jax.lax.psum(x, 'i')", "losses says jax.lax.psum"),
  "an imported collective": ("training/step.py", "from jax.lax import all_gather", "training says all_gather"),
  "pmap": ("training/loop.py", "import jax\nf = jax.pmap(abs)", "training says jax.pmap"),
  "device counts": ("data/packing.py", "import jax\nn = jax.device_count()", "data says jax.device_count"),
  "configs": ("transfer/tables.py", "from configs import multitask", "transfer imports configs.multitask"),
  "torch": ("export.py", "def f():\n  import torch", "export imports torch"),
  "the package, heavy": ("__init__.py", "from mtc import embedder", "outside a function"),
  "501 lines": ("main.py", "x = 1\n" * 501, "501 lines"),
}


@pytest.mark.parametrize("path, text, message", BROKEN.values(), ids=BROKEN)
def test_a_violation_is_found(path, text, message):
  found = violations({path: text})
  assert len(found) == 1 and message in found[0], found


def test_what_is_allowed():
  allowed = {
    "data/pipeline.py": "def f():\n  import tensorflow as tf\n  return tf",
    "data/sources.py": "from mtc.data import tokens\nfrom .tokens import read",
    "models/bert.py": "from flax import linen as nn\nfrom mtc.types import Tokens",
    "parallel.py": "import jax\nn = jax.device_count()\nf = jax.pmap(abs)",
    "training/loop.py": "from mtc import parallel, config as c\nn = parallel.device_count()",
    "__init__.py": "if TYPE_CHECKING:\n  from mtc.embedder import load\ndef f():\n  from mtc.embedder import load",
    "embed.py": "from mtc.embedder.embedder import load",
  }
  assert violations(allowed) == []
