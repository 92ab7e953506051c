"""What every test stands on: eight CPU devices, no network, a tiny tokenizer and tiny data."""

from collections import Counter
from collections.abc import Iterable
import ipaddress
import json
import os
from pathlib import Path
import random
import socket
import sys

import pytest

# jax, transformers and TensorFlow read these when they are imported, and a test pays only for those that it uses.
os.environ.update(
  HF_HUB_OFFLINE="1",
  JAX_NUM_CPU_DEVICES="8",
  JAX_NUMPY_RANK_PROMOTION="raise",
  TF_CPP_MIN_LOG_LEVEL="3",
  TRANSFORMERS_VERBOSITY="error",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Every run of the trainer compiles the same few programs: compiled once, they are shared by tests and their processes.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

TOPICS = {
  "cooking": "soup bread oven recipe salt butter dinner spoon",
  "football": "goal match striker league referee stadium coach penalty",
  "law": "court judge contract appeal lawyer clause verdict trial",
  "music": "guitar song concert album drums melody band choir",
  "space": "rocket orbit moon telescope launch planet comet crew",
}
PLACES = ("Lisbon", "Nairobi", "Osaka", "Quito", "Riga", "Hanoi", "Accra", "Turin", "Perth", "Malmö")
OPENINGS = {"en": ("today we saw", "a note about", "nobody told of"), "de": ("heute sahen wir", "Notiz über", "neu:")}
SYLLABLES = ("ba", "do", "ki", "lu", "me", "ran", "sti", "vo")
ROWS = {"train": 200, "validation": 40, "test": 40}


@pytest.fixture(autouse=True)
def _compiled_programs_are_let_go():
  """Each has some hundred memory mappings; a process that passes Linux's usual limit of 65,530 crashes."""
  yield
  mappings = Path("/proc/self/maps")
  if (jax := sys.modules.get("jax")) and mappings.exists() and mappings.read_bytes().count(b"\n") > 20_000:
    jax.clear_caches()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A data directory with the four tasks of the reference experiment, 200 training rows each.

  Counting words solves them; the stories of validation and test are not those of training. Copy it to change it.
  """
  rng, folder = random.Random(0), tmp_path_factory.mktemp("data")
  for split, count in ROWS.items():
    interest, storyline, hashtag = [], [], []
    for i in range(count):
      topic, language = rng.choice(list(TOPICS)), rng.choice(list(OPENINGS))
      words = rng.sample(TOPICS[topic].split(), 3)
      story = f"{split}/{i % max(6, count // 10)}"
      row = {"text": _sentence(rng, language, words), "language": language}
      interest.append(row | {"id": f"{split}{i}", "labels": [topic]})
      storyline.append({"text": _sentence(rng, language, _names(story)), "language": language, "labels": [story]})
      hashtag.append(row | {"labels": [word for word in words if word > "c"] or ["daily"]})
    for task, rows in {"interest": interest, "storyline": storyline, "hashtag": hashtag}.items():
      _write_jsonl(folder / task / f"{split}.jsonl", rows)
  _write_search(rng, folder / "search_tweets")
  return folder


@pytest.fixture(scope="session")
def texts(data_dir: Path) -> list[str]:
  """Every text of `data_dir`, sorted, each once."""
  found = set()
  for path in data_dir.rglob("*.jsonl"):
    found.update(json.loads(line)["text"] for line in path.read_text("utf-8").splitlines())
  return sorted(found)


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]):
  """A `tokenizers.Tokenizer` of about 170 WordPieces, as BERT's: `[CLS] text [SEP]`, no padding, no truncation."""
  from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

  normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
  words = Counter(word for t in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(t)))
  characters = sorted(set("".join(words)))
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  # Not by the library's trainer, which gives other ids in every process. The made-up names are several pieces each.
  pieces = [*special, *characters, *SYLLABLES, *(f"##{x}" for x in (*characters, *SYLLABLES))]
  pieces += sorted(word for word, count in words.items() if count > 10)
  vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
  made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
  made.normalizer, made.pre_tokenizer, made.decoder = normalizer, splitter, decoders.WordPiece()
  made.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
  made.add_special_tokens(special)
  return made


@pytest.fixture(scope="session")
def tokenizer_dir(tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
  """`tokenizer` as a Hugging Face directory, which `transformers.AutoTokenizer` loads."""
  folder = tmp_path_factory.mktemp("tokenizer")
  tokenizer.save(str(folder / "tokenizer.json"))
  names = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
  config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
  config |= {f"{name}_token": token for name, token in names.items()}
  (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
  return folder


@pytest.fixture(scope="session")
def make_embedder(tokenizer):
  """A function from a seed to a small embedder with weights large enough to tell texts apart."""
  import jax

  from mtc import models
  from mtc.embedder.embedder import Embedder

  def make(seed: int = 0) -> Embedder:
    spec = models.ModelSpec(
      layers=1, width=16, heads=2, mlp_width=32, positions=160, dim=8, dropout=0.0, dtype="float32"
    )
    config = models.scratch_config(spec, 0) | {"vocab_size": tokenizer.get_vocab_size()}
    encoder = models.build(config, spec)
    params = jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, encoder.init(jax.random.key(seed)))
    return Embedder(encoder, params, config, spec, tokenizer, {"query": "find: ", "document": ""}, max_length=150)

  return make


@pytest.fixture(scope="session")
def static_dir(tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A StaticEmbedding as sentence-transformers saves it, in float16."""
  import jax

  from mtc import data, models
  from mtc.embedder import save
  from mtc.embedder.embedder import Embedder

  config = {"model_type": "static", "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32}
  spec = models.ModelSpec(architecture="static", width=32, dim=0, dropout=0.0, dtype="float32", pooling="mean")
  encoder = models.build(config, spec)
  params, words = encoder.init(jax.random.key(0)), data.tokenizer.bare(tokenizer)
  embedder = Embedder(encoder, params, config, spec, words, {"query": "", "document": ""}, max_length=8192)
  directory = tmp_path_factory.mktemp("static") / "model"
  save.write(embedder, directory, dtype="float16")
  return directory


@pytest.fixture(autouse=True, scope="session")
def no_network():
  """Any connection beyond this machine fails at once and says so."""
  connect = socket.socket.connect

  def local_only(self: socket.socket, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
      raise OSError(f"a test tried to connect to {address}; tests use no network")
    return connect(self, address)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(socket.socket, "connect", local_only)
    yield


def _is_loopback(host: str) -> bool:
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == "localhost"


def _sentence(rng: random.Random, language: str, words: Iterable[str]) -> str:
  place = f", {rng.choice(PLACES)}" if rng.random() < 0.5 else ""
  return f"{rng.choice(OPENINGS[language])} {' '.join(words)}{place}"


def _names(key: str, count: int = 2) -> list[str]:
  """Made-up names that belong to this key."""
  rng = random.Random(key)
  return ["".join(rng.choices(SYLLABLES, k=3)) for _ in range(count)]


def _write_search(rng: random.Random, folder: Path) -> None:
  corpus, queries, start = [], [], 0
  for split, count in ROWS.items():
    pairs = ["query-id\tcorpus-id\tscore\n"]
    for i in range(start, start := start + count):
      language, topic = rng.choice(list(OPENINGS)), rng.choice(list(TOPICS))
      words, names = rng.sample(TOPICS[topic].split(), 2), _names(f"post {i}", 3)
      post = _sentence(rng, language, names + words)
      corpus.append({"_id": f"d{i}", "title": "", "text": post, "language": language})
      queries.append({"_id": f"q{i}", "text": f"who wrote about {words[0]} {names[0]} {names[1]}?", "language": "en"})
      pairs.append(f"q{i}\td{i}\t1\n")
    path = folder / "qrels" / f"{split}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(pairs), "utf-8")
  _write_jsonl(folder / "corpus.jsonl", corpus)
  _write_jsonl(folder / "queries.jsonl", queries)


def _write_jsonl(path: Path, rows: list[dict]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory):
  """Runs of a tiny experiment that can be killed, see killable.py."""
  from killable import Runs

  made = Runs(data_dir, tmp_path_factory.mktemp("runs"))
  yield made
  made.close()
