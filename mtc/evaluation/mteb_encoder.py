"""A model directory on mteb's tasks, with the extra mtc[mteb]: `mteb.evaluate(MtcEncoder("runs/a/export"), tasks)`."""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtc.data import as_texts
from mtc.embedder.embedder import load


class MtcEncoder:
  """What mteb calls an encoder. Each text gets the prompt of the role that it plays in the task.

  Attributes:
    roles: from what mteb says of a text to a role of the model's prompts. The first of these that is there counts: the
      task's name with the prompt type ("NFCorpus-query"), its name, its type with the prompt type ("Retrieval-query"),
      its type ("STS"), the prompt type. Texts without any are documents.
    mteb_model_meta: what mteb files the results under. The revision is a hash of all that decides the vectors.
  """

  def __init__(self, directory: str | Path, dim: int = 0, roles: Mapping[str, str] | None = None, name: str = ""):
    """Loads a model directory.

    Args:
      directory: an mtc export, a sentence-transformers or a Hugging Face directory.
      dim: number of first dimensions to keep; 0 = all.
      roles: on top of `{"query": "query", "document": "document"}`.
      name: of the model in mteb's results; "" = that of its directory, or of its run.

    Raises:
      ValueError: not a model directory, an unknown role, or more dimensions than there are.
      ImportError: mteb is not installed.
    """
    self.model, self.dim = load(directory), dim
    self.roles = {"query": "query", "document": "document"} | dict(roles or {})
    for key, role in self.roles.items():
      if role not in self.model.prompts:
        raise ValueError(
          f"role {role!r} of {key!r} is unknown to {directory}; it has prompts for {', '.join(self.model.prompts)}"
        )
    if dim != 0:
      self.model.width_of(dim)
    path = Path(directory).absolute()
    self.mteb_model_meta = self._meta(name or (path.parent.name if path.name == "export" else path.name))

  def encode(
    self,
    inputs: Iterable[Mapping[str, Any]],
    *,
    task_metadata: Any,
    hf_split: str = "",
    hf_subset: str = "",
    prompt_type: Any = None,
    precision: Any = "float32",
    **unused: Any,
  ) -> np.ndarray:
    """Unit vectors f32[texts, dim] of the texts of all batches; mteb's batch size plays no part.

    Raises:
      ValueError: another precision than float32, under which mteb would file the scores, or something else than texts.
    """
    if precision not in (None, "float32"):
      raise ValueError(f"precision={precision!r} cannot be asked for; expected 'float32', the only one of this encoder")
    texts = []
    for number, batch in enumerate(inputs):
      texts += as_texts(batch["text"], f"inputs[{number}]['text']")
    return self.model.encode(texts, role=self.role(task_metadata, prompt_type), dim=self.dim or None)

  def role(self, task: Any, prompt_type: Any = None) -> str:
    """The role of a text in a task, an `mteb.TaskMetadata`, by `roles`."""
    kind = getattr(prompt_type, "value", prompt_type)
    for name in (f"{task.name}-{kind}", task.name, f"{task.type}-{kind}", task.type, kind):
      if name in self.roles:
        return self.roles[name]
    return "document"

  def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
    """Cosines of all rows with all rows, a tensor [n, m]."""
    return _import("mteb.similarity_functions").cos_sim(embeddings1, embeddings2)

  def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
    """Cosines of each row with the same row of the other, a tensor [n]."""
    return _import("mteb.similarity_functions").pairwise_cos_sim(embeddings1, embeddings2)

  def _meta(self, name: str) -> Any:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.model.params)]
    settings = (self.dim, sorted(self.roles.items()), sorted(self.model.prompts.items()), self.model.max_length)
    spec = dataclasses.replace(self.model.spec, pretrained="")  # the same model in another place is the same
    digest = hashlib.sha256(f"{settings} {spec} {self.model.tokenizer.to_str()}".encode())
    for leaf in leaves:
      digest.update(np.ascontiguousarray(leaf))
    return _import("mteb.models.model_meta").ModelMeta(
      loader=None,
      name=f"mtc/{name}",
      revision=digest.hexdigest()[:40],
      release_date=None,
      languages=None,
      n_parameters=sum(leaf.size for leaf in leaves),
      n_embedding_parameters=sum(leaf.size for leaf in leaves if leaf.shape[:1] == (self.model.config["vocab_size"],)),
      memory_usage_mb=sum(leaf.nbytes for leaf in leaves) / 2**20,
      max_tokens=self.model.max_length,
      embed_dim=self.dim or self.model.width,
      license=None,
      open_weights=None,
      public_training_code=None,
      public_training_data=None,
      framework=["JAX"],
      similarity_fn_name="cosine",
      use_instructions=any(self.model.prompts.values()),
      training_datasets=None,
    )


def _import(module: str) -> Any:
  try:
    return importlib.import_module(module)  # by name: mteb needs PyTorch, and is there only for those who ask for it
  except ImportError as error:
    raise ImportError(f"mteb cannot be imported ({error}); pip install '.[mteb]' in the checkout") from error
