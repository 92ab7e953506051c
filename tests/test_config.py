"""A config that cannot be right is answered with the field, its value and what to use instead."""

import importlib.util
from pathlib import Path

import pytest

from mtc import data
from mtc.config import Evaluation, Experiment, Task, differences, to_dict
from mtc.evaluators import Retrieval
from mtc.losses import InfoNCE, Matryoshka
from mtc.multitask.balancing import Fixed, PCGrad


def experiment(**fields) -> Experiment:
  return Experiment(tasks={"search": Task(data.InMemory({}), data.Pairs())}, **fields)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"steps": -3}, "steps=-3 is not positive"),
    ({"chunks": 0}, "chunks=0"),
    ({"stop_after": -1}, "stop_after=-1 is negative"),
    ({"input": "torch"}, "input='torch' is unknown; use tf or threads"),
    ({"on_nonfinite": "pray"}, "on_nonfinite='pray'.*stop or skip"),
    ({"on_bad_row": "keep"}, "on_bad_row='keep'"),
    ({"prompts": {"document": ""}}, "role 'query' of task 'search' has no prompt; known roles: document"),
    ({"mixing": data.Mixing(kind="weights", weights={"serch": 1.0})}, "'serch'.*search"),
  ],
)
def test_experiment(fields, message):
  with pytest.raises(ValueError, match=message):
    experiment(**fields).validate()


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"batch_size": 1}, "batch_size=1 of task 'search'"),
    ({"weight": 0.0}, "weight=0.0 of task 'search'"),
    ({"max_length": 2}, "max_length=2"),
    ({"label_exponent": 2.0}, "label_exponent=2.0"),
    ({"loss": InfoNCE(temperature=-1.0)}, "loss of task 'search': .*-1"),
    ({"loss": Matryoshka(InfoNCE(), dims=(80,))}, "loss of task 'search': .*80"),
    ({"teacher": data.Vectors("a.jsonl")}, r"tasks.search.teacher=Vectors\(.* is a Vectors, expected a list"),
    ({"teacher": ("a.jsonl",)}, r"tasks.search.teacher\[0\]='a.jsonl' is a str, expected a Vectors"),
    ({"teacher_dim": 5}, "teacher_dim=5 of task 'search' is negative or has no teacher"),
  ],
)
def test_task(fields, message):
  with pytest.raises(ValueError, match=message):
    Experiment(tasks={"search": Task(data.InMemory({}), data.Pairs(), **fields)}).validate()


def test_no_tasks_and_a_name_that_no_flag_can_say():
  with pytest.raises(ValueError, match="tasks is empty"):
    Experiment(tasks={}).validate()
  with pytest.raises(ValueError, match="'my task' is not an identifier"):
    Experiment(tasks={"my task": Task(data.InMemory({}), data.Pairs())}).validate()


@pytest.mark.parametrize("name", ["", "search/de"])
def test_an_evaluation_whose_scores_could_not_be_told_apart(name):
  evaluation = Evaluation(data.InMemory({}), data.Pairs(), Retrieval())
  with pytest.raises(ValueError, match=f"the evaluation name '{name}' is empty or has a '/'.*use '_'"):
    experiment(evaluations={name: evaluation}).validate()


def test_roles():
  assert Task(data.InMemory({}), data.Pairs()).roles() == ("query", "document")
  assert Task(data.InMemory({}), data.SameLabel()).roles() == ("document", "document")
  assert Task(data.InMemory({}), data.Pairs(), anchor_role="title").roles() == ("title", "document")


def test_differences_name_the_fields_but_not_those_that_steer():
  a, b = experiment(), experiment(steps=5, stop_after=3, log_every=1, data_dir="elsewhere")
  b.tasks["search"].loss = InfoNCE(temperature=0.5)
  assert differences(to_dict(a), to_dict(b)) == ["steps: 1000 -> 5", "tasks.search.loss.temperature: 0.05 -> 0.5"]
  b = experiment()
  b.tasks["more"] = b.tasks["search"]
  assert [d.split(":")[0] for d in differences(to_dict(a), to_dict(b))] == ["tasks.more"]


def load(path: Path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_is_valid_and_says_its_command(path):
  module = load(path)
  module.get_config().validate()
  assert f"--config configs/{path.name}" in module.__doc__


def test_lipost_balances_by_name():
  module = load(Path(__file__).parent.parent / "configs" / "lipost.py")
  assert module.get_config("pcgrad").balancing == PCGrad()
  assert module.get_config().balancing == Fixed()
  with pytest.raises(ValueError, match="'pc' is unknown; use one of fixed, uncertainty, gradnorm, pcgrad"):
    module.get_config("pc")
