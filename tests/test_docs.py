"""The documentation: its examples run, its config reference is complete, and the files that it names exist."""

import importlib.util
from pathlib import Path
import re

import jax
import numpy as np
import pytest

from mtc.evaluators import Graded
from mtc.models import architecture
from mtc.training import contrastive
from mtc.types import Embeddings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING = re.findall(r"## ([^\n]+)\n.*?```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)


def example(title: str) -> dict:
  """The names that the example of a section defines."""
  scope: dict = {"__name__": title}
  exec(compile(dict(EXTENDING)[title], title, "exec"), scope)
  return scope


@pytest.fixture(scope="module")
def generator():
  spec = importlib.util.spec_from_file_location("generator", ROOT / "docs" / "make_config_reference.py")
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_config_reference_is_that_of_the_code(generator):
  page = generator.page()
  assert generator.PAGE.read_text("utf-8") == page, "run: python docs/make_config_reference.py"
  assert "|  |\n" not in page, "a field has no meaning; give it a comment or an entry under Attributes"


def test_the_readme_is_short():
  assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_and_file_of_a_page_exists(path):
  text = path.read_text("utf-8")
  links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
  named = re.findall(r"`((?:mtc|configs|launch|tests|benchmarks|docs|experiments)/[\w/.]*\.\w+)`", text)
  missing = [link for link in links if not (path.parent / link).exists()]
  missing += [name for name in named if not (ROOT / name).exists()]
  assert not missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_module_of_a_page_exists(path):
  """`python -m mtc.X`, `from mtc.X import Y` and `mtc.X.Y` name what is there."""
  for module, names in re.findall(r"from (mtc[\w.]*) import ([\w, ]+)", path.read_text("utf-8")):
    found = importlib.import_module(module)
    for name in names.split(","):
      assert hasattr(found, name.strip()) or importlib.util.find_spec(f"{module}.{name.strip()}"), (module, name)
  for command in set(re.findall(r"python -m (mtc\.\w+)", path.read_text("utf-8"))):
    assert importlib.util.find_spec(command), command


def test_the_example_of_a_task_trains_with_that_of_a_loss(tmp_path):
  from mtc.config import Experiment
  from mtc.models import ModelSpec

  task = example("A task with its own source")["task"]
  task.loss = example("A loss")["TripletMargin"]()
  experiment = Experiment(
    tasks={"mine": task},
    model=ModelSpec(layers=1, width=16, heads=2, mlp_width=32, vocab_size=300, positions=32, dim=0, dtype="float32"),
    cache_dir=str(tmp_path / "cache"),
    steps=2,
    diagnose_every=0,
    input="threads",
  )
  task.max_length = 16
  assert contrastive.train(experiment, tmp_path / "run") == 0
  assert (tmp_path / "run" / "export" / "model.safetensors").exists()


def test_the_example_of_a_loss_by_hand():
  loss = example("A loss")["TripletMargin"]()
  rng = np.random.default_rng(0)
  anchor, positive = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
  anchor, positive = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (anchor, positive))
  keys, weight = np.full((5, 1), -1, np.int32), np.array([1, 1, 1, 1, 0], np.float32)
  examples = Embeddings(
    anchor=anchor,
    positive=positive,
    negatives=None,
    negative_mask=None,
    keys=keys,
    negative_keys=None,
    score=None,
    weight=weight,
  )
  found = loss({}, jax.tree.map(lambda x: x[1:3], examples), examples, 1)
  cosines = anchor @ positive.T
  expected = [max(max(cosines[i, j] for j in range(4) if j != i) - cosines[i, i] + 0.2, 0) for i in (1, 2)]
  np.testing.assert_allclose(found, expected, atol=1e-6)
  with pytest.raises(ValueError, match="margin=3"):
    example("A loss")["TripletMargin"](margin=3).validate(4)


def test_the_example_of_an_evaluator():
  axes = np.eye(2, dtype=np.float32)
  table = Graded(a=["x", "y"], b=["x", "y"], scores=[1.0, 2.0], languages=["en", "en"])
  encode = lambda texts, role="document": axes[["xy".index(text) for text in texts]]
  assert example("An evaluator")["Margin"]()(encode, table)["margin"] == 1


def test_the_example_of_a_model_names_each_weight_of_a_bert(monkeypatch):
  family = example("A model")["FAMILY"]
  monkeypatch.setattr(architecture, "FAMILIES", (*architecture.FAMILIES, family))
  config = {"model_type": "mybert", "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2}
  config |= {"num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 12}
  assert architecture.positions(config) == 12
  bert = architecture.family({**config, "model_type": "bert"})
  assert set(family.table(config).values()) == set(bert.table({**config, "model_type": "bert"}).values())
