"""The tokenizer: the same in every process, back through AutoTokenizer, cut where it should be."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, models, processors

from mtc.data import tokenizer as tk

TEXTS = [
  "The café opens at seven; coffee is free on Mondays.",
  "Die Züge fahren wieder pünktlich, sagt die Bahn.",
  "東京の朝は早い。北京的早晨很安静。",
  "Новости дня: рынки растут, курс падает.",
  "Running runners run; the opening of openings.",
] * 3


@pytest.fixture(scope="module")
def tokenizer():
  return tk.train(TEXTS, 300)


def test_it_is_like_berts(tokenizer):
  assert [tokenizer.id_to_token(index) for index in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  assert tk.special_ids(tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
  assert tokenizer.get_vocab_size() <= 300
  assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))
  assert tokenizer.encode("Café 東京").tokens == ["[CLS]", *tokenizer.encode("cafe").tokens[1:-1], "東", "京", "[SEP]"]
  assert "[UNK]" not in [token for text in TEXTS for token in tokenizer.encode(text).tokens]
  assert tokenizer.encode("run").tokens == ["[CLS]", "run", "[SEP]"]  # frequent pieces were merged
  assert tokenizer.encode("ω").tokens == ["[CLS]", "[UNK]", "[SEP]"]
  assert tokenizer.decode(tokenizer.encode("the opening").ids) == "the opening"
  pair = tokenizer.encode("the", "free")
  assert pair.ids == [2, *tokenizer.encode("the").ids[1:-1], 3, *tokenizer.encode("free").ids[1:-1], 3]


def test_every_process_trains_the_same(tokenizer, tmp_path):
  # The trainer's hash tables are seeded anew in each process.
  (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
  program = (
    "import json, sys; from mtc.data import tokenizer as tk; "
    "print(tk.fingerprint(tk.train(json.load(open(sys.argv[1])), 300)))"
  )
  command = [sys.executable, "-c", program, str(tmp_path / "texts.json")]
  found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}
  assert found == {tk.fingerprint(tokenizer)}
  # Order does not matter: only counts do.
  assert tk.fingerprint(tk.train(iter(TEXTS[::-1]), 300)) in found
  assert tk.fingerprint(tk.train(TEXTS[1:], 300)) not in found
  assert tk.fingerprint(tk.train(TEXTS, 120)) not in found


def test_a_small_vocabulary_keeps_the_most_frequent_characters():
  tokenizer = tk.train(["abcab"] * 5 + ["z"], 17)
  assert tokenizer.get_vocab_size() <= 17
  assert tokenizer.token_to_id("a") is not None
  assert tokenizer.encode("z").ids == [2, 1, 3]
  with pytest.raises(ValueError, match="vocab_size=6 leaves no room"):
    tk.train(["abc"], 6)
  with pytest.raises(ValueError, match="no text to train a tokenizer on"):
    tk.train([], 100)


def test_it_comes_back_through_transformers(tokenizer, tmp_path):
  from transformers import AutoTokenizer

  tk.save(tokenizer, tmp_path, max_length=48)
  loaded = AutoTokenizer.from_pretrained(str(tmp_path))
  assert loaded.model_max_length == 48
  assert (loaded.pad_token_id, loaded.unk_token_id, loaded.cls_token_id) == (0, 1, 2)
  assert (loaded.sep_token_id, loaded.mask_token_id) == (3, 4)
  for text in TEXTS[:5]:
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
  batch = loaded(TEXTS[:2], padding=True, truncation=True, max_length=8)
  assert set(batch) == {"input_ids", "attention_mask"}
  assert [len(ids) for ids in batch["input_ids"]] == [8, 8]
  assert batch["input_ids"] == tk.encode(tokenizer, TEXTS[:2], 8)[0]
  assert tk.fingerprint(tk.load(str(tmp_path))) == tk.fingerprint(tokenizer)


def test_padding_and_truncation_of_a_file_are_undone(tokenizer, tmp_path):
  stored = Tokenizer.from_str(tokenizer.to_str())
  stored.enable_padding(length=128)
  stored.enable_truncation(6)
  stored.save(str(tmp_path / "tokenizer.json"))
  assert tk.load(str(tmp_path)).encode(TEXTS[0]).ids == tokenizer.encode(TEXTS[0]).ids


def test_a_directory_with_only_a_vocabulary(tmp_path):
  words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "sea", "##s"]
  (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
  (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
  (tmp_path / "config.json").write_text('{"model_type": "bert"}')
  tokenizer = tk.load(str(tmp_path))
  assert tokenizer.encode("The seas").ids == [2, 5, 6, 7, 3]
  assert tk.special_ids(tokenizer)["mask"] == 4


def test_where_there_is_no_tokenizer(tmp_path):
  (tmp_path / "weights.bin").write_text("")
  with pytest.raises(FileNotFoundError, match=r"has no tokenizer; there is weights\.bin; add tokenizer"):
    tk.load(str(tmp_path))
  with pytest.raises(FileNotFoundError, match="'someone/nothing' is no directory, and no model of the hub that is on"):
    tk.load("someone/nothing")


def test_a_broken_tokenizer_is_named(tmp_path):
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer that this version of tokenizers reads"):
    tk.load(str(tmp_path))


def test_encode_cuts_before_the_last_special_token(tokenizer):
  whole = tokenizer.encode(TEXTS[0]).ids
  assert len(whole) > 6
  ids, cut = tk.encode(tokenizer, [TEXTS[0], "run", TEXTS[0]], 6)
  assert ids == [[*whole[:5], 3], [2, tokenizer.token_to_id("run"), 3], [*whole[:5], 3]]
  assert cut == 2
  assert tk.encode(tokenizer, [TEXTS[0]], len(whole)) == ([whole], 0)
  assert tk.encode(tokenizer, [], 6) == ([], 0)
  with pytest.raises(ValueError, match="max_length=2 has no room beside 2 special tokens"):
    tk.encode(tokenizer, ["run"], 2)


def test_encode_without_special_tokens(tokenizer):
  plain = Tokenizer(tokenizer.model)
  plain.pre_tokenizer = tokenizer.pre_tokenizer
  assert tk.encode(plain, ["run run run"], 2) == ([[tokenizer.token_to_id("run")] * 2], 1)


def test_a_tokenizer_without_padding_is_saved_with_another_token_for_it(tokenizer, tmp_path):
  from transformers import AutoTokenizer

  plain = Tokenizer(models.WordLevel({"sea": 0, "sky": 1, "?": 2}, unk_token="?"))
  plain.pre_tokenizer = tokenizer.pre_tokenizer
  plain.add_special_tokens(["<|end|>", "<|other|>"])
  plain.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 3)])
  tk.save(plain, tmp_path, max_length=8)
  loaded = AutoTokenizer.from_pretrained(str(tmp_path))
  batch = loaded(["sea", "sky sea sky"], padding=True)
  assert batch["input_ids"] == [[0, 3, 3, 3], [1, 0, 1, 3]]
  assert batch["attention_mask"] == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_a_table_alone_needs_no_padding():
  plain = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
  with pytest.raises(ValueError, match="and of the tokens for padding .* none; use one with padding and few gaps"):
    tk.new_table(plain)
  assert tk.new_table(plain, padded=False) == {"rows": 2, "pad": 0}
  with pytest.raises(ValueError, match="0 tokens with ids up to -1"):
    tk.new_table(Tokenizer(models.WordLevel({}, unk_token="a")), padded=False)


def test_marks_that_combine_with_letters_are_kept(tmp_path):
  from transformers import AutoTokenizer

  texts = ["कुताब केताब", "été ete", "한국어 한국"] * 5
  bert, marks = tk.train(texts, 400), tk.train(texts, 400, strip_accents=False)
  for one, other in (("कुताब", "केताब"), ("été", "ete")):
    assert bert.encode(one).ids == bert.encode(other).ids
    assert marks.encode(one).ids != marks.encode(other).ids
  for text in (*texts, "Été", "한어"):
    assert marks.token_to_id("[UNK]") not in marks.encode(text).ids
  # Whether a letter was written as one character or as two makes no difference.
  assert marks.encode("\u00e9t\u00e9").ids == marks.encode("e\u0301te\u0301").ids == marks.encode("ÉTÉ").ids
  assert tk.fingerprint(tk.train(texts, 400, strip_accents=False)) == tk.fingerprint(marks)
  tk.save(marks, tmp_path, max_length=48)
  assert tk.fingerprint(tk.load(str(tmp_path))) == tk.fingerprint(marks)
  assert AutoTokenizer.from_pretrained(str(tmp_path))(texts)["input_ids"] == [marks.encode(text).ids for text in texts]


def test_an_alphabet_has_the_most_frequent_characters():
  texts = ["aaa bbb ab", "東"]
  assert "[UNK]" not in tk.train(texts, 100).encode("東 ab").tokens
  few = tk.train(texts, 100, max_alphabet=2)
  assert few.encode("東 ab").tokens == ["[CLS]", "[UNK]", "ab", "[SEP]"]
  assert not set(few.get_vocab()) & {"東", "##東"}


def test_which_tokens_begin_a_word(tokenizer):
  starts = tk.word_starts(tokenizer)
  assert len(starts) == tokenizer.get_vocab_size()
  for index, start in enumerate(starts):
    assert start != tokenizer.id_to_token(index).startswith("##")
  for mark in "▁Ġ":
    bpe = Tokenizer(models.BPE({"<mask>": 0, f"{mark}a": 1, "b": 2, mark: 3, "c": 7}, []))  # no tokens 4, 5, 6
    np.testing.assert_array_equal(tk.word_starts(bpe), [False, True, False, True, *[False] * 4])
  assert tk.word_starts(Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))).all()
