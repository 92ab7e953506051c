"""sentence-transformers on a model directory before and after `mtc` has read and written it (the extra mtc[torch])."""

from dataclasses import replace
import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, processors
from tokenizers.models import BPE

from mtc import data, models
from mtc.config import Experiment, Task
from mtc.embedder import save
from mtc.embedder.embedder import load
from mtc.embedder.start import start_model

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = [
  "a note about the moon and the rocket",
  "Goal",
  "today we saw soup bread oven recipe salt butter dinner spoon " * 8 + "judge contract",
  "judge contract appeal lawyer " * 5,
  "東京 guitar SONG",
  "",
]
PROMPTS = {"query": "who wrote about ", "document": "", "topic": "recipe: "}


@pytest.fixture(scope="module")
def backbone(tokenizer, tokenizer_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp("backbone")
  config = transformers.BertConfig(
    vocab_size=tokenizer.get_vocab_size(),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=64,
  )
  torch.manual_seed(0)
  model = transformers.BertModel(config)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  model.save_pretrained(folder)
  for file in tokenizer_dir.iterdir():
    shutil.copy(file, folder)
  return folder


def written(backbone, out, length=40, **settings):
  """A model as sentence-transformers saves it."""
  parts = sentence_transformers.sentence_transformer.modules
  modules = [parts.Transformer(str(backbone), max_seq_length=length), parts.Pooling(32), parts.Normalize()]
  model = sentence_transformers.SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu", **settings)
  model.save(str(out))
  return read(out)


def read(folder):
  return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def untrained(folder, out, tmp_path, **spec):
  """The export of a run that took no step, whose only task has shorter texts than the model takes."""
  task = Task(source=data.Jsonl(str(tmp_path), {"train": "none.jsonl"}), max_length=8)
  model = models.ModelSpec(pretrained=str(folder), dtype="float32", **{"dim": 0, **spec})
  started = start_model(Experiment(tasks={"a": task}, model=model), tmp_path)
  save.write(started.inference(started.params), out)
  return started


@pytest.mark.parametrize(
  ("default", "settings"),
  [
    (None, {"truncate_dim": 8}),
    ("topic", {"similarity_fn_name": "dot"}),
    ("query", {"similarity_fn_name": "euclidean"}),
    ("document", {}),
  ],
)
def test_an_untrained_export_gives_the_vectors_and_scores_of_its_base(backbone, tmp_path, default, settings):
  before = written(backbone, tmp_path / "base", default_prompt_name=default, **settings)
  started = untrained(tmp_path / "base", tmp_path / "export", tmp_path)
  after = read(tmp_path / "export")
  assert (after.max_seq_length, after.default_prompt_name) == (40, default)
  for encode in ("encode", "encode_query", "encode_document"):
    ours, theirs = getattr(after, encode)(TEXTS), getattr(before, encode)(TEXTS)
    assert ours.shape == theirs.shape == (len(TEXTS), settings.get("truncate_dim", 32))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
  topics = after.encode(TEXTS, prompt_name="topic")
  np.testing.assert_allclose(topics, before.encode(TEXTS, prompt_name="topic"), rtol=0, atol=1e-5)
  scores = [model.similarity(model.encode(TEXTS), model.encode(TEXTS)) for model in (after, before)]
  np.testing.assert_allclose(*scores, rtol=0, atol=1e-4)
  if default in ("topic", "query"):
    assert np.abs(before.encode(TEXTS) - before.encode(TEXTS, prompt="")).max() > 1e-3
  # mtc itself encodes documents as before.
  again = load(tmp_path / "export")
  for role in ("document", "query", "topic"):
    vectors = load(tmp_path / "base").encode(TEXTS, role)
    np.testing.assert_allclose(again.encode(TEXTS, role), vectors, rtol=0, atol=1e-5)
    np.testing.assert_allclose(started.encode(TEXTS, role), vectors, rtol=0, atol=1e-5)


def test_a_prompt_that_stands_for_all_others(backbone, tmp_path):
  before = written(backbone, tmp_path / "base", default_prompt_name="topic")
  path = tmp_path / "base" / "config_sentence_transformers.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"topic": "recipe: "}}))
  before = read(tmp_path / "base")
  untrained(tmp_path / "base", tmp_path / "export", tmp_path)
  after = read(tmp_path / "export")
  np.testing.assert_allclose(after.encode(TEXTS), before.encode(TEXTS), rtol=0, atol=1e-5)
  documents = load(tmp_path / "base").encode(TEXTS)
  np.testing.assert_allclose(documents, before.encode(TEXTS), rtol=0, atol=1e-5)
  np.testing.assert_allclose(load(tmp_path / "export").encode(TEXTS), documents, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("length", "read_length"), [(40, 40), (64, 64), (None, 64)])
def test_long_texts_are_cut_where_the_base_cut_them(backbone, tmp_path, length, read_length):
  before = written(backbone, tmp_path / "base", length)
  untrained(tmp_path / "base", tmp_path / "export", tmp_path)
  after = read(tmp_path / "export")
  assert after.max_seq_length == before.max_seq_length == load(tmp_path / "export").max_length == read_length
  np.testing.assert_allclose(after.encode(TEXTS), before.encode(TEXTS), rtol=0, atol=1e-5)
  # A shorter length is the user's choice.
  untrained(tmp_path / "base", tmp_path / "shorter", tmp_path, max_length=12)
  shorter = read(tmp_path / "shorter")
  assert shorter.max_seq_length == 12
  before.max_seq_length = 12
  np.testing.assert_allclose(shorter.encode(TEXTS), before.encode(TEXTS), rtol=0, atol=1e-5)


def test_a_plain_directory_is_cut_as_sentence_transformers_cuts_it(backbone, tmp_path):
  folder = shutil.copytree(backbone, tmp_path / "plain")
  settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 12}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  theirs = read(folder)
  assert theirs.max_seq_length == load(folder).max_length == 12
  vectors = theirs.encode(TEXTS, normalize_embeddings=True)
  np.testing.assert_allclose(load(folder).encode(TEXTS), vectors, rtol=0, atol=1e-5)


SETTINGS = {  # of tokenizer_config.json, which transformers 5 applies too; then of sentence_bert_config.json
  "capitals": ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, {}),
  "the beginning": ({"truncation_side": "left"}, {}),
  "Chinese": ({"tokenizer_class": "BertTokenizer", "tokenize_chinese_chars": False}, {}),
  "a token": ({"additional_special_tokens": ["moon"]}, {}),
  "no capitals": (
    {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "truncation_side": "left"},
    {"do_lower_case": True},
  ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_of_the_tokenizer_survive_training_and_export(backbone, tmp_path, case):
  plain = written(backbone, tmp_path / "base")
  for name, change in zip(("tokenizer_config.json", "sentence_bert_config.json"), SETTINGS[case], strict=True):
    path = tmp_path / "base" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
  before = read(tmp_path / "base")
  theirs = before.encode(TEXTS)
  if case != "Chinese":  # which are all unknown to this vocabulary
    assert case == "a token" or np.abs(theirs - plain.encode(TEXTS)).max() > 1e-3
  np.testing.assert_allclose(load(tmp_path / "base").encode(TEXTS), theirs, rtol=0, atol=1e-5)
  untrained(tmp_path / "base", tmp_path / "export", tmp_path)
  np.testing.assert_allclose(load(tmp_path / "export").encode(TEXTS), theirs, rtol=0, atol=1e-5)
  after = read(tmp_path / "export")
  np.testing.assert_allclose(after.encode(TEXTS), theirs, rtol=0, atol=1e-5)
  ids = [before.tokenizer(text, truncation=True, max_length=40)["input_ids"] for text in TEXTS]
  assert [after.tokenizer(text, truncation=True, max_length=40)["input_ids"] for text in TEXTS] == ids


@pytest.mark.parametrize("truncation", [None, {"max_length": 5, "direction": "left"}, {"max_length": 5}])
def test_a_static_embedding_is_cut_as_before(tokenizer, tmp_path, truncation):
  parts = sentence_transformers.sentence_transformer.modules
  torch.manual_seed(0)
  words = type(tokenizer).from_str(tokenizer.to_str())
  if truncation:
    words.enable_truncation(**truncation)
  modules = [parts.StaticEmbedding(words, embedding_dim=16), parts.Normalize()]
  sentence_transformers.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "base"))
  path = tmp_path / "base" / "tokenizer.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": json.loads(words.to_str())["truncation"]}))
  before = read(tmp_path / "base")
  texts = [*TEXTS[:5], "moon rocket soup " * 3000 + "judge " * 500]
  theirs, ours = before.encode(texts), load(tmp_path / "base")
  save.write(ours, tmp_path / "export")
  np.testing.assert_allclose(read(tmp_path / "export").encode(texts), theirs, rtol=0, atol=1e-5)
  short = texts if truncation else texts[:-1]  # beyond 8,192 tokens mtc cuts a text
  np.testing.assert_allclose(ours.encode(short), theirs[: len(short)], rtol=0, atol=1e-5)
  np.testing.assert_allclose(load(tmp_path / "export").encode(short), theirs[: len(short)], rtol=0, atol=1e-5)


def _write_llama(folder):
  """`<s> text`, and a setting that wants `</s>` at the end."""
  words = {word: i for i, word in enumerate("<unk> <s> </s> ▁ a b ▁a ▁b".split())}
  made = Tokenizer(BPE(words, [("▁", "a"), ("▁", "b")], unk_token="<unk>", fuse_unk=True))
  made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
  made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
  made.add_special_tokens(["<unk>", "<s>", "</s>"])
  made.save(str(folder / "tokenizer.json"))
  settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
  settings |= {"add_bos_token": True, "add_eos_token": True}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_the_end_of_a_decoder_survives_an_export(tmp_path):
  """Tests E5-Mistral, whose tokenizer.json has no `</s>`: transformers 5 adds it to what mtc writes."""
  folder = tmp_path / "base"
  sizes = {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 64}
  config = transformers.MistralConfig(
    vocab_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, sliding_window=None, **sizes
  )
  torch.manual_seed(0)
  transformers.MistralModel(config).save_pretrained(folder)
  _write_llama(folder)
  ours = load(folder)
  ours = replace(ours, spec=replace(ours.spec, pooling="last"))
  ours.encoder = models.build(ours.config, ours.spec)
  assert ours.tokenizer.encode("a b").ids == [1, 6, 7, 2]
  save.write(ours, tmp_path / "export")
  theirs = read(tmp_path / "export")
  texts = ["a b", "b", "a a b " * 60]
  np.testing.assert_allclose(theirs.encode(texts), ours.encode(texts), rtol=0, atol=1e-4)
  model = transformers.AutoModel.from_pretrained(folder).eval()
  with torch.no_grad():
    hidden = model(torch.tensor([[1, 6, 7, 2]])).last_hidden_state[0, -1].numpy()
  np.testing.assert_allclose(ours.encode(["a b"])[0], hidden / np.linalg.norm(hidden), rtol=0, atol=1e-4)
