"""Smaller vocabularies: a text whose tokens are all kept has the same tokens; what is kept; the files."""

import json

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from mtc.data.vocabulary import Vocabulary, named_tokens, save_trimmed

LETTERS = "abcd"
PIECES = st.text(LETTERS, min_size=1, max_size=4)
TEXTS = st.lists(st.text(LETTERS + " xé", max_size=12), min_size=1, max_size=20)  # é is not in any tokenizer here


def unigram(draw, **options):
  """Scores from a few values, so that many paths are equal."""
  pieces = draw(st.lists(st.text(LETTERS + "x", min_size=1, max_size=4), min_size=3, max_size=25, unique=True))
  scores = draw(st.lists(st.sampled_from([-1.0, -2.0, -30.0]), min_size=len(pieces), max_size=len(pieces)))
  scores[0] = -100.0
  made = Tokenizer(models.Unigram([("<unk>", 0.0), *zip(pieces, scores)], 0, **options))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return made


def wordpiece(draw):
  pieces = draw(st.lists(st.tuples(st.sampled_from(["", "##"]), PIECES).map("".join), max_size=25, unique=True))
  letters = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
  vocab = {piece: index for index, piece in enumerate(dict.fromkeys(["[UNK]", *letters, *pieces]))}
  made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return made


def _merged(draw, alphabet):
  """A vocabulary of these characters, and merges that each join two of the tokens before."""
  vocab, merges = list(alphabet), []
  for _ in range(draw(st.integers(0, 14))):
    start = [token for token in vocab if len(token) < 4]
    a, b = draw(st.sampled_from(start)), draw(st.sampled_from(start))
    if (a, b) not in merges:
      merges.append((a, b))
      vocab += [a + b] if a + b not in vocab else []
  return vocab, merges


def bpe(draw):
  vocab, merges = _merged(draw, LETTERS)
  vocab = ["<unk>", *vocab]
  made = Tokenizer(models.BPE({token: i for i, token in enumerate(vocab)}, merges, unk_token="<unk>"))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return made


def whole_words(draw):
  """As Llama 3: a word that is a token is this token, whatever the merges say."""
  vocab, merges = _merged(draw, LETTERS)
  vocab += [word for word in draw(st.lists(PIECES, max_size=5, unique=True)) if word not in vocab]
  made = Tokenizer(models.BPE({token: i for i, token in enumerate(vocab)}, merges, ignore_merges=True))
  made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return made


def byte_level(draw):
  alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
  _, merges = _merged(draw, "abĠ")
  vocab = [*alphabet, *dict.fromkeys(a + b for a, b in merges)]
  made = Tokenizer(models.BPE({token: i for i, token in enumerate(vocab)}, merges))
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  return made


def byte_fallback(draw):
  """As Gemma: a text is one word, and characters without a token are bytes."""
  vocab, merges = _merged(draw, LETTERS + "▁")
  vocab = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *vocab]
  model = models.BPE({token: i for i, token in enumerate(vocab)}, merges, unk_token="<unk>", byte_fallback=True)
  made = Tokenizer(model)
  made.normalizer = normalizers.Replace(" ", "▁")
  return made


KINDS = {
  "Unigram": unigram,
  "Unigram with bytes": lambda draw: unigram(draw, byte_fallback=True),
  "WordPiece": wordpiece,
  "BPE": bpe,
  "BPE of whole words": whole_words,
  "BPE of bytes": byte_level,
  "BPE with bytes": byte_fallback,
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_text_whose_tokens_are_all_kept_has_the_same_tokens(kind, data):
  tokenizer = KINDS[kind](data.draw)
  vocabulary = Vocabulary(tokenizer, tokenizer.get_vocab_size())
  others = sorted(set(vocabulary.ids.values()) - vocabulary.required())
  dropped = data.draw(st.sets(st.sampled_from(others), min_size=1)) if others else set()
  chosen = set().union(*map(vocabulary.parts, vocabulary.required() | (set(others) - dropped)))
  kept = vocabulary.ordered(chosen)
  smaller = vocabulary.trimmed(kept)
  assert smaller.get_vocab_size() == len(kept)
  for text in data.draw(TEXTS):
    before = tokenizer.encode(text).ids
    if set(before) <= chosen and (kind != "WordPiece" or vocabulary.unknown not in before):
      assert [kept[index] for index in smaller.encode(text).ids] == before


def test_the_lowest_score_decides_between_unknown_characters_and_rare_tokens():
  """x alone costs the lowest score less 10: -110 with z, but -40 without it; then ca and an unknown x are better."""
  pieces = [("<unk>", 0.0), ("c", -30.0), ("ax", -30.0), ("ca", -1.0), ("z", -100.0)]
  tokenizer = Tokenizer(models.Unigram(pieces, 0, False))
  vocabulary = Vocabulary(tokenizer, 5)
  assert 4 in vocabulary.required()
  assert tokenizer.encode("cax").tokens == vocabulary.trimmed([0, 1, 2, 3, 4]).encode("cax").tokens == ["c", "ax"]
  assert vocabulary.trimmed([0, 1, 2, 3]).encode("cax").tokens == ["ca", "x"]


def test_merges_go_with_their_tokens():
  vocab = {token: i for i, token in enumerate(["l", "o", "w", "e", "lo", "low", "we", "lowe"])}
  merges = [("l", "o"), ("lo", "w"), ("w", "e"), ("lo", "we")]
  vocabulary = Vocabulary(Tokenizer(models.BPE(vocab, merges)), 8)
  named = {index: token for token, index in vocab.items()}
  assert {named[i] for i in vocabulary.parts(vocab["low"])} == {"l", "o", "w", "lo", "low"}
  # Alone, "lowe" is lo, low, and then there is no merge for e: only "lo" + "we" makes it, which no text reaches.
  assert vocabulary.parts(vocab["lowe"]) == {vocab["lowe"]}
  smaller = vocabulary.trimmed(sorted(vocabulary.parts(vocab["low"])))
  assert json.loads(smaller.to_str())["model"]["merges"] == [["l", "o"], ["lo", "w"]]
  assert smaller.encode("lowlo").tokens == ["low", "lo"]


def words(*extra):
  """WordPiece of five special tokens and a few words, with a template and an added token past its vocabulary."""
  pieces = [
    "[PAD]",
    "[unused]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "sea",
    "##s",
    "a",
    "##a",
    "s",
    "##e",
    "sky",
  ]
  made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate([*pieces, *extra])}, unk_token="[UNK]"))
  made.normalizer, made.decoder = normalizers.Lowercase(), decoders.WordPiece()
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
  made.add_tokens([AddedToken("the sky", normalized=False)])
  made.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", made.token_to_id("[CLS]")), ("[SEP]", made.token_to_id("[SEP]"))]
  )
  return made


TEMPLATES = {
  "template": None,
  "bert": processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3)),
  "roberta": processors.RobertaProcessing(("[SEP]", 4), ("[CLS]", 3)),
  "sequence": processors.Sequence([processors.ByteLevel(), processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))]),
}


@pytest.mark.parametrize("processor", TEMPLATES)
def test_special_and_added_tokens_get_their_new_ids_everywhere(processor):
  tokenizer = words()
  if TEMPLATES[processor]:
    tokenizer.post_processor = TEMPLATES[processor]
  vocabulary = Vocabulary(tokenizer, 15)
  kept = vocabulary.ordered(vocabulary.required() | {7, 8})
  assert [tokenizer.id_to_token(i) for i in kept] == [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sea", "##s", "the sky")
  ]
  smaller = vocabulary.trimmed(kept)
  assert smaller.encode("seas the sky").tokens == tokenizer.encode("seas the sky").tokens
  assert smaller.encode("seas the sky").ids == [2, 5, 6, 7, 3]
  assert smaller.encode("[MASK] the").ids == [2, 4, 1, 3]
  assert vocabulary.unknown == 2 and tokenizer.encode("seas").ids == [3, 7, 8, 4]  # the larger one is as it was


def choose(counts, size, balance=1.0, least=2, required=()):
  vocabulary = Vocabulary(words(), 15)
  arrays = {}
  for group, by_token in counts.items():
    arrays[group] = np.zeros(15, np.int64)
    for token, count in by_token.items():
      arrays[group][vocabulary.ids[token]] = count
  kept = vocabulary.choose(arrays, size, balance=balance, least=least, required=required)
  return [words().id_to_token(index) for index in kept if index not in vocabulary.required()]


def test_the_most_frequent_tokens_are_kept_and_groups_are_balanced():
  counts = {"en": {"the": 99, "sea": 1}, "de": {"sky": 4}}
  assert choose(counts, 7, least=1000) == ["the"]
  assert choose(counts, 8, least=1000) == ["the", "sky"]
  # With 0.5 "the" weighs 99 of 100 of en's 10 and "sky" all of de's 2; with 0 each group weighs the same.
  assert choose({"en": {"the": 9, "sea": 7}, "de": {"sky": 4}}, 7, balance=0.5, least=1000) == ["the"]
  assert choose({"en": {"the": 9, "sea": 7}, "de": {"sky": 4}}, 7, balance=0.0, least=1000) == ["sky"]
  assert choose(counts, 14, least=1000) == ["the", "sea", "sky"]  # and no token that no text has
  assert choose({"en": {"the": 5, "sea": 5, "sky": 5}}, 8, least=1000) == ["the", "sea"]  # the first of equals
  assert choose(counts, 8, least=1000, required={1}) == ["[unused]", "the"]


def test_characters_are_kept_where_they_stand_in_a_word():
  # sea has s at its start, e and a inside; "##s" has an s inside, for which there is a token of one character too.
  counts = {"en": {"sea": 3, "##s": 1, "the": 50}}
  assert choose(counts, 9, least=3) == ["##a", "s", "##e"]
  assert choose(counts, 10, least=3) == ["the", "##a", "s", "##e"]
  assert choose(counts, 10, least=1) == ["##s", "##a", "s", "##e"]


def test_characters_of_other_kinds_of_tokenizers():
  pieces = [("<unk>", 0.0), ("▁", -1.0), ("▁de", -1.0), ("d", -9.0), ("e", -9.0), ("é", -9.0), ("<0x41>", -1.0)]
  vocabulary = Vocabulary(Tokenizer(models.Unigram(pieces, 0, True)), 7)
  assert vocabulary.characters(np.array([9, 1, 5, 0, 2, 0, 3])) == {1: 6, 3: 5, 4: 7}  # of unknown text and bytes none
  merged = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "aba": 3}, [("a", "b"), ("ab", "a")]))
  assert Vocabulary(merged, 4).characters(np.array([0, 1, 2, 4])) == {0: 10, 1: 7}
  whole = Tokenizer(models.WordLevel({"a": 0, "ab": 1, "[UNK]": 2}, unk_token="[UNK]"))
  assert Vocabulary(whole, 3).characters(np.array([5, 5, 5])) == {}
  assert Vocabulary(whole, 3).trimmed([0, 2]).encode("ab").tokens == ["[UNK]"]


@pytest.mark.parametrize(
  "size, least, said",
  [
    (16, 2, "tokens=16 is more than the 15 tokens of this model; use fewer, or 0 to keep all"),
    (5, 2, "tokens=5 is below the 6 special and other tokens that must be kept; use more"),
    (7, 1, "tokens=7 has no room for 3 characters that stand in the texts 1 times or more; use 9 tokens or more"),
  ],
)
def test_a_size_that_cannot_be(size, least, said):
  with pytest.raises(ValueError) as error:
    choose({"en": {"sea": 1}}, size, least=least)
  assert said in str(error.value)


@pytest.mark.parametrize(
  "model, said",
  [
    (models.BPE({"a": 0, "b</w>": 1}, [], end_of_word_suffix="</w>"), "end_of_word_suffix='</w>' cannot be trimmed"),
    (models.BPE({"a": 0, "##b": 1}, [], continuing_subword_prefix="##"), "continuing_subword_prefix='##' cannot"),
    (models.BPE({"a": 0, "b": 1}, [], dropout=0.5), "dropout=0.5 cannot be trimmed"),
  ],
)
def test_a_kind_that_cannot_be_trimmed(model, said):
  with pytest.raises(ValueError, match=said):
    Vocabulary(Tokenizer(model), 2)


def test_tokens_past_the_table_are_no_tokens():
  tokenizer = words("past")
  vocabulary = Vocabulary(tokenizer, 14)
  assert "past" not in vocabulary.ids and "the sky" not in vocabulary.ids
  smaller = vocabulary.trimmed(vocabulary.ordered(vocabulary.required() | {7}))
  assert smaller.encode("past the sky sea").tokens == ["[CLS]", *["[UNK]"] * 3, "sea", "[SEP]"]


def test_the_files_name_what_those_of_the_source_name(tmp_path):
  from transformers import AutoTokenizer

  source, out = tmp_path / "source", tmp_path / "out"
  source.mkdir()
  tokenizer = words()
  tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=7)
  tokenizer.enable_truncation(5)
  tokenizer.save(str(source / "tokenizer.json"))
  named = {"mask_token": {"content": "[MASK]", "lstrip": True}, "bos_token": "[CLS]", "eos_token": "[NONE]"}
  (source / "special_tokens_map.json").write_text(json.dumps(named))
  config = {"tokenizer_class": "BertTokenizer", "pad_token": "[MASK]", "padding_side": "left", "model_max_length": 77}
  (source / "tokenizer_config.json").write_text(json.dumps(config | {"auto_map": {"AutoTokenizer": ["x.X", None]}}))
  assert named_tokens(source) == {
    "mask_token": "[MASK]",
    "bos_token": "[CLS]",
    "eos_token": "[NONE]",
    "pad_token": "[MASK]",
  }
  vocabulary = Vocabulary(words(), 15)
  smaller = vocabulary.trimmed(vocabulary.ordered(vocabulary.required() | {7}))
  save_trimmed(smaller, out, source, 33)
  found = json.loads((out / "tokenizer.json").read_text())
  assert found["padding"]["pad_id"] == 0 and found["padding"]["strategy"] == {"Fixed": 7}
  assert found["truncation"]["max_length"] == 5
  loaded = AutoTokenizer.from_pretrained(str(out))
  assert (loaded.pad_token, loaded.padding_side, loaded.model_max_length) == ("[MASK]", "left", 77)
  assert (loaded.bos_token, loaded.eos_token, loaded.mask_token, loaded.unk_token) == ("[CLS]", None, "[MASK]", "[UNK]")
  assert len(loaded) == len(vocabulary.required()) + 1
  (source / "tokenizer_config.json").unlink()
  save_trimmed(smaller, out, source, 33)
  assert json.loads((out / "tokenizer_config.json").read_text())["model_max_length"] == 33
