"""A model directory as mteb's encoder, on mteb's own mock tasks."""

import sys
import types

import numpy as np
import pytest

from mtc.embedder import save
from mtc.embedder.embedder import load
from mtc.evaluation.mteb_encoder import MtcEncoder


@pytest.fixture(scope="module")
def directory(make_embedder, tmp_path_factory):
  path = tmp_path_factory.mktemp("runs") / "small" / "export"
  path.parent.mkdir()
  save.write(make_embedder(), path)
  return path


def task(name="NFCorpus", kind="Retrieval"):
  return types.SimpleNamespace(name=name, type=kind)


@pytest.fixture
def without_mteb(monkeypatch):
  """An `mteb` that only knows what a model's meta looks like."""
  monkeypatch.setitem(sys.modules, "mteb", types.ModuleType("mteb"))
  monkeypatch.setitem(sys.modules, "mteb.models", types.ModuleType("mteb.models"))
  module = types.ModuleType("mteb.models.model_meta")
  module.__dict__["ModelMeta"] = types.SimpleNamespace
  monkeypatch.setitem(sys.modules, "mteb.models.model_meta", module)


def test_texts_get_the_prompt_of_their_role(directory, without_mteb):
  encoder, model = MtcEncoder(directory), load(directory)
  batches = [{"text": ["the moon", "a goal"]}, {"text": ["soup"]}]
  texts = ["the moon", "a goal", "soup"]
  assert model.prompts["query"] != model.prompts["document"]
  for prompt_type, role in (("query", "query"), ("document", "document"), (None, "document")):
    kind = types.SimpleNamespace(value=prompt_type) if prompt_type else None
    found = encoder.encode(
      batches, task_metadata=task(), prompt_type=kind, hf_split="test", hf_subset="x", batch_size=2
    )
    np.testing.assert_allclose(found, model.encode(texts, role=role), atol=1e-6)
  cut = MtcEncoder(directory, dim=4).encode(batches, task_metadata=task())
  np.testing.assert_allclose(cut, model.encode(texts, dim=4), atol=1e-6)


def test_roles_are_looked_up_from_the_special_to_the_general(directory, without_mteb):
  roles = {"STS": "query", "Arguments": "document", "Retrieval-document": "query"}
  role = MtcEncoder(directory, roles=roles).role
  assert role(task("STS12", "STS")) == "query"
  assert role(task("Arguments"), "query") == "document"
  assert role(task(), "document") == "query" and role(task(), "query") == "query"
  assert role(task("Banking", "Classification")) == "document"


def test_the_meta_names_the_run_and_changes_with_all_that_decides_the_vectors(directory, without_mteb):
  meta = MtcEncoder(directory).mteb_model_meta
  vocabulary = load(directory).config["vocab_size"]
  assert meta.n_embedding_parameters == vocabulary * 16 < meta.n_parameters
  assert meta.name == "mtc/small" and meta.embed_dim == 8 and meta.max_tokens == 150 and meta.use_instructions
  assert MtcEncoder(directory, name="mine").mteb_model_meta.name == "mtc/mine"
  again = MtcEncoder(directory).mteb_model_meta
  others = [MtcEncoder(directory, dim=4), MtcEncoder(directory, roles={"STS": "query"})]
  assert meta.revision == again.revision
  assert len({meta.revision, *(other.mteb_model_meta.revision for other in others)}) == 3


def test_bad_input(directory, without_mteb, monkeypatch):
  with pytest.raises(ValueError, match=r"role 'ask' of 'STS' is unknown to .*; it has prompts for query, document"):
    MtcEncoder(directory, roles={"STS": "ask"})
  with pytest.raises(ValueError, match=r"dim=9 is not in 1\.\.8"):
    MtcEncoder(directory, dim=9)
  for dim in (True, 2.0, "3"):
    with pytest.raises(ValueError, match=f"dim={dim!r} is no whole number"):
      MtcEncoder(directory, dim=dim)
  encoder = MtcEncoder(directory)
  with pytest.raises(ValueError, match=r"inputs\[1\]\['text'\]\[2\] is None; expected a string"):
    encoder.encode([{"text": ["a"]}, {"text": ["a", "b", None]}], task_metadata=task())
  with pytest.raises(ValueError, match=r"inputs\[0\]\['text'\] is the str 'a text'; expected a list"):
    encoder.encode([{"text": "a text"}], task_metadata=task())
  for precision in ("ubinary", "binary", "int8", "float16"):
    with pytest.raises(ValueError, match=f"precision='{precision}' cannot be asked for; expected 'float32'"):
      encoder.encode([{"text": ["a"]}], task_metadata=task(), precision=precision)
  assert encoder.encode([{"text": ["a"]}], task_metadata=task(), precision="float32").dtype == np.float32
  monkeypatch.setitem(sys.modules, "mteb.models.model_meta", None)
  with pytest.raises(ImportError, match=r"pip install '\.\[mteb\]'"):
    MtcEncoder(directory)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of mteb and scikit-learn, about tasks of two texts
def test_mock_run_passes(directory, tmp_path, monkeypatch):
  mteb = pytest.importorskip("mteb")
  encoder = MtcEncoder(directory)
  assert isinstance(encoder, mteb.EncoderProtocol)
  results = mteb.mock_run(encoder)
  failed = {name: found.exception for name, found in results.items() if type(found).__name__ == "TaskError"}
  assert not failed
  ran = [name for name, found in results.items() if found is not None]
  assert len(ran) > 15 and any("Retrieval" in name for name in ran)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_evaluate_asks_for_queries_and_documents(directory):
  mteb = pytest.importorskip("mteb")
  from mteb.mocks.mock_tasks import retrieval

  encoder, asked = MtcEncoder(directory), []
  role = encoder.role
  encoder.role = lambda task, kind=None: asked.append(role(task, kind)) or asked[-1]
  found = mteb.evaluate(encoder, [retrieval.MockRetrievalTask()], cache=None)
  assert set(asked) == {"query", "document"}
  assert found.task_results[0].get_score() >= 0
