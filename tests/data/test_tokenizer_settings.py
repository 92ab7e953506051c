"""Settings beside tokenizer.json that change tokens: applied, or refused with both files named; for each kind of model.

The ids are by hand. Those of the slow tokenizers (transformers 4.57) are the same where they have the setting.
"""

import json

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from mtc.data import tokenizer as tk

TEXTS = {"wordpiece": "The Café 東京", "unigram": "The sea", "llama": "a b", "roberta": "a b"}


def wordpiece() -> Tokenizer:
  words = "[PAD] [UNK] [CLS] [SEP] [MASK] the The cafe café Café 東 京 ##京"
  made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words.split())}, unk_token="[UNK]"))
  made.normalizer = normalizers.BertNormalizer(lowercase=True)
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.post_processor = around("[CLS]", 2, "[SEP]", 3)
  made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
  return made


def unigram() -> Tokenizer:
  pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁the", "▁The", "▁sea", "<mask>", "▁"]
  made = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3))
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  made.post_processor = around("<s>", 0, "</s>", 2)
  made.add_special_tokens(pieces[:4])
  return made


def llama() -> Tokenizer:
  words = {word: i for i, word in enumerate("<unk> <s> </s> ▁ a b ▁a ▁b".split())}
  made = Tokenizer(models.BPE(words, [("▁", "a"), ("▁", "b")], unk_token="<unk>", fuse_unk=True))
  made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
  made.post_processor = processors.TemplateProcessing(
    single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
  )
  made.add_special_tokens(["<unk>", "<s>", "</s>"])
  return made


def roberta() -> Tokenizer:
  words = {word: i for i, word in enumerate("<s> <pad> </s> <unk> a b Ġ Ġa Ġb".split())}
  made = Tokenizer(models.BPE(words, [("Ġ", "a"), ("Ġ", "b")]))
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
  made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
  return made


def around(begin: str, first: int, end: str, last: int) -> processors.TemplateProcessing:
  pair = f"{begin} $A {end} $B {end}"
  return processors.TemplateProcessing(
    single=f"{begin} $A {end}", pair=pair, special_tokens=[(begin, first), (end, last)]
  )


MAKERS = {"wordpiece": wordpiece, "unigram": unigram, "llama": llama, "roberta": roberta}
BERT = {"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
XLMR = {"tokenizer_class": "XLMRobertaTokenizer", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
ROBERTA = XLMR | {"tokenizer_class": "RobertaTokenizer"}
PLAIN = {"wordpiece": BERT, "unigram": XLMR, "llama": LLAMA, "roberta": ROBERTA}
CASED = {"normalizer": {"lowercase": False}}
MASK = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
SPECIAL = {"rstrip": False, "normalized": False, "single_word": False, "special": True}
PREFIX = {"pre_tokenizer": {"add_prefix_space": True}}
NEVER = {"pre_tokenizer": {"prepend_scheme": "never"}}
BOTH = {
  "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
  "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}
ENDED = {
  "post_processor": {
    "single": [*BOTH["single"], {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "special_tokens": BOTH["special_tokens"] | {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
  }
}
EMPTY = {"post_processor": None}
BYTES = {"post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}
METASPACE = {
  "normalizer": None,
  "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False},
}

# kind of model, settings (None = not stated), changes of tokenizer.json, ids of the text; "differs" = from those of
# transformers 5. A file name among the settings holds settings itself.
APPLIED = {
  "bert, alike": ("wordpiece", {"do_lower_case": True}, {}, [2, 5, 7, 10, 11, 3]),
  "bert, cased": ("wordpiece", {"do_lower_case": False}, {}, [2, 6, 9, 10, 11, 3]),
  "bert, lower": ("wordpiece", {"do_lower_case": True}, CASED, [2, 5, 7, 10, 11, 3]),
  "bert, cased and stripped": (
    "wordpiece",
    {"do_lower_case": False, "strip_accents": True},
    {},
    [2, 6, 1, 10, 11, 3],
  ),
  "bert, accents": ("wordpiece", {"strip_accents": False}, {}, [2, 5, 8, 10, 11, 3]),
  "bert, no accents": (
    "wordpiece",
    {"strip_accents": True},
    {"normalizer": {"strip_accents": False}},
    [2, 5, 7, 10, 11, 3],
  ),
  "bert, chinese words": ("wordpiece", {"tokenize_chinese_chars": False}, {}, [2, 5, 7, 10, 12, 3]),
  "bert, the class's default": ("wordpiece", {}, CASED, [2, 5, 7, 10, 11, 3]),
  "bert, the model's class": (
    "wordpiece",
    {"tokenizer_class": None, "config.json": {"model_type": "bert"}},
    CASED,
    [2, 5, 7, 10, 11, 3],
  ),
  "bert, a generic class": ("wordpiece", {"tokenizer_class": "PreTrainedTokenizerFast"}, CASED, [2, 6, 9, 10, 11, 3]),
  "bert, lower case before": (
    "wordpiece",
    {"do_lower_case": False, "sentence_bert_config.json": {"do_lower_case": True}},
    {},
    [2, 5, 8, 10, 11, 3],
    "differs",
  ),
  "unigram, alike": ("unigram", {"do_lower_case": False, "sp_model_kwargs": {}}, {}, [0, 5, 6, 2]),
  "unigram, lower case before": (
    "unigram",
    {"sentence_bert_config.json": {"do_lower_case": True}},
    {},
    [0, 4, 6, 2],
    "differs",
  ),
  "llama, end": ("llama", {"add_eos_token": True}, {}, [1, 6, 7, 2], "differs"),
  "llama, no beginning": ("llama", {"add_bos_token": False}, {}, [6, 7], "differs"),
  "llama, end alone": ("llama", {"add_bos_token": False, "add_eos_token": True}, {}, [6, 7, 2], "differs"),
  "llama, no end": ("llama", {"add_eos_token": False}, ENDED, [1, 6, 7], "differs"),
  "llama, alike": ("llama", {"add_bos_token": True, "add_eos_token": True}, ENDED, [1, 6, 7, 2]),
  "llama, from nothing": ("llama", {"add_bos_token": True, "add_eos_token": True}, EMPTY, [1, 6, 7, 2], "differs"),
  "llama, beside bytes": ("llama", {"add_eos_token": True}, BYTES, [6, 7, 2], "differs"),
  "llama, end of another class": (
    "llama",
    {"tokenizer_class": "Qwen2Tokenizer", "add_eos_token": True},
    {},
    [1, 6, 7, 2],
    "differs",
  ),
  "llama, another end": (
    "llama",
    {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "bos_token": None},
    {},
    [1, 6, 7],
  ),
  "llama, the end of the older file": (
    "llama",
    {"eos_token": None, "add_eos_token": True, "special_tokens_map.json": {"eos_token": {"content": "</s>"}}},
    {},
    [1, 6, 7, 2],
    "differs",
  ),
  "llama, no space": ("llama", {"add_prefix_space": False}, {}, [1, 4, 7]),
  "llama, a space": ("llama", {"add_prefix_space": True}, {}, [1, 6, 7]),
  "llama, no Metaspace": ("llama", {"add_prefix_space": False}, METASPACE, [1, 4, 7]),
  "roberta, a space": ("roberta", {"add_prefix_space": True}, {}, [0, 7, 8, 2]),
  "roberta, no space": ("roberta", {"add_prefix_space": False}, PREFIX, [0, 4, 8, 2]),
  "roberta, the class's default": ("roberta", {}, PREFIX, [0, 4, 8, 2]),
}


def directory(folder, kind, settings, changes):
  parts = json.loads(MAKERS[kind]().to_str())
  for name, change in changes.items():
    parts[name] = {**(parts[name] or {}), **change} if change else None
  (folder / "tokenizer.json").write_text(json.dumps(parts))
  stated = PLAIN[kind] | {name: value for name, value in settings.items() if not name.endswith(".json")}
  for name, value in settings.items():
    if name.endswith(".json"):
      (folder / name).write_text(json.dumps(value))
  (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in stated.items() if v is not None}))
  return str(folder)


@pytest.mark.parametrize("name", APPLIED)
def test_a_setting_is_applied_and_stays_in_what_is_written(tmp_path, name):
  from transformers import AutoTokenizer

  kind, settings, changes, ids, *differs = APPLIED[name]
  path = directory(tmp_path, kind, settings, changes)
  found = tk.load(path)
  assert found.encode(TEXTS[kind]).ids == ids
  assert (AutoTokenizer.from_pretrained(path)(TEXTS[kind])["input_ids"] != ids) == bool(differs)
  tk.save(found, tmp_path / "out", max_length=16)
  assert tk.load(str(tmp_path / "out")).encode(TEXTS[kind]).ids == ids
  assert AutoTokenizer.from_pretrained(str(tmp_path / "out"))(TEXTS[kind])["input_ids"] == ids


# kind of model, settings, changes of tokenizer.json, the setting of the message, what tokenizer.json does instead
REFUSED = {
  "lower case of a generic class": (
    "wordpiece",
    {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False},
    {},
    "do_lower_case=false",
    "makes texts lower case",
  ),
  "lower case of a unigram": ("unigram", {"do_lower_case": True}, {}, "do_lower_case=true", "makes no text lower case"),
  "lower case of a BPE": ("roberta", {"do_lower_case": True}, {}, "do_lower_case=true", "makes no text lower case"),
  "no lower case of another normalizer": (
    "wordpiece",
    {"do_lower_case": False},
    {"normalizer": {"type": "Lowercase"}},
    "do_lower_case=false",
    "makes texts lower case",
  ),
  "accents of a unigram": ("unigram", {"strip_accents": True}, {}, "strip_accents=true", "keeps accents"),
  "Chinese of a BPE": (
    "llama",
    {"tokenize_chinese_chars": True},
    {},
    "tokenize_chinese_chars=true",
    "does not set Chinese",
  ),
  "a space of a unigram": ("unigram", {"add_prefix_space": False}, {}, "add_prefix_space=false", "puts a space before"),
  "no space of a unigram": (
    "unigram",
    {"add_prefix_space": True},
    NEVER,
    "add_prefix_space=true",
    "puts no space before",
  ),
  "an end of fixed ends": (
    "roberta",
    {"add_eos_token": True, "eos_token": "<pad>"},
    {},
    "add_eos_token=true",
    "puts </s> at the end",
  ),
  "no end of another class": (
    "llama",
    {"tokenizer_class": "Qwen2Tokenizer", "add_eos_token": False},
    ENDED,
    "add_eos_token=false",
    "puts </s> at the end",
  ),
  "an end without a name": (
    "llama",
    {"add_eos_token": True, "eos_token": None},
    {},
    "add_eos_token=true",
    "no eos_token is named",
  ),
  "an end without an id": (
    "llama",
    {"add_eos_token": True, "eos_token": "<end>"},
    {},
    "add_eos_token=true",
    "has no token '<end>'",
  ),
  "another beginning": (
    "wordpiece",
    {"cls_token": "[MASK]"},
    {},
    'cls_token="\\[MASK\\]"',
    "puts '\\[CLS\\]' at the beginning",
  ),
  "another end": ("unigram", {"sep_token": "<unk>"}, {}, 'sep_token="<unk>"', "puts '</s>' at the end"),
  "another unknown": (
    "unigram",
    {"unk_token": "<pad>"},
    {},
    'unk_token="<pad>"',
    "has '<unk>' for what it does not know",
  ),
  "special tokens as text": (
    "unigram",
    {"split_special_tokens": True},
    {},
    "split_special_tokens=true",
    "is not supported beside",
  ),
  "no words first": (
    "wordpiece",
    {"do_basic_tokenize": False},
    {},
    "do_basic_tokenize=false",
    "is not supported beside",
  ),
  "words kept": ("wordpiece", {"never_split": ["Café"]}, {}, 'never_split=\\["Caf', "is not supported beside"),
  "sampling": (
    "unigram",
    {"sp_model_kwargs": {"enable_sampling": True}},
    {},
    "sp_model_kwargs=",
    "is not supported beside",
  ),
  "another pattern": ("roberta", {"fix_mistral_regex": True}, {}, "fix_mistral_regex=true", "is not supported beside"),
  "a text for a flag": ("wordpiece", {"do_lower_case": "no"}, {}, 'do_lower_case="no"', "expected true or false"),
  "a third side": ("llama", {"truncation_side": "both"}, {}, "truncation_side='both'", "expected 'left' or 'right'"),
  "another id": (
    "unigram",
    {"added_tokens_decoder": {"5": MASK}},
    {},
    "gives the token '<mask>' the id 5",
    "and .* the id 7",
  ),
  "a number for a token": (
    "unigram",
    {"added_tokens_decoder": {"5": {"content": 7}}},
    {},
    "has the token",
    "expected its content",
  ),
  "a list of tokens": (
    "unigram",
    {"added_tokens_decoder": [MASK]},
    {},
    "has added_tokens_decoder of type list",
    "expected an object",
  ),
  "a number for a class": (
    "unigram",
    {"tokenizer_class": 5},
    {},
    "has tokenizer_class=5",
    "expected the name of a class",
  ),
  "a number for a name": ("unigram", {"cls_token": 5}, {}, "has cls_token=5", "expected a text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_cannot_be_applied_is_named_with_its_file(tmp_path, name):
  kind, settings, changes, setting, problem = REFUSED[name]
  with pytest.raises(ValueError, match=rf"tokenizer_config\.json (has )?{setting}.*{problem}") as error:
    tk.load(directory(tmp_path, kind, settings, changes))
  if "remove the entry" in str(error.value):
    assert "tokenizer.json" in str(error.value)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_settings_that_are_none(tmp_path, content):
  path = directory(tmp_path, "llama", {}, {})
  (tmp_path / "tokenizer_config.json").write_text(content)
  with pytest.raises(ValueError, match=r"tokenizer_config\.json (is not JSON|holds a list)"):
    tk.load(path)


# kind of model, settings, a text that spells a token, its ids without the entry and with it
TOKENS = {
  "flags": ("unigram", {"added_tokens_decoder": {"7": MASK}}, "the <mask>", [0, 4, 8, 7, 2], [0, 4, 7, 2]),
  "a name": ("unigram", {"mask_token": "<mask>"}, "the<mask>", [0, 4, 7, 2], [0, 4, 7, 2]),
  "a new name": ("roberta", {"mask_token": "<x>"}, "a<x>b", [0, 4, 5, 2], [0, 4, 9, 5, 2]),
  "more special tokens": (
    "roberta",
    {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<x>", "<y>"]},
    "a<y>b",
    [0, 4, 5, 2],
    [0, 4, 10, 5, 2],
  ),
  "named ones": (
    "roberta",
    {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": {"image_token": "<x>"}},
    "a<x>b",
    [0, 4, 5, 2],
    [0, 4, 9, 5, 2],
  ),
  "the older file": ("roberta", {"added_tokens.json": {"<x>": 9}}, "a<x>b", [0, 4, 5, 2], [0, 4, 9, 5, 2]),
  "the older file of names": (
    "roberta",
    {"special_tokens_map.json": {"mask_token": {"content": "<x>", "lstrip": True, **SPECIAL}}},
    "a <x>b",
    [0, 4, 6, 5, 2],
    [0, 4, 9, 5, 2],
  ),
  "a word": (
    "wordpiece",
    {"added_tokens_decoder": {"13": {"content": "sea food", "normalized": True}}},
    "the SEA food",
    [2, 5, 1, 1, 3],
    [2, 5, 13, 3],
  ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_tokenizer_json_lacks(tmp_path, name):
  from transformers import AutoTokenizer

  kind, settings, text, before, ids = TOKENS[name]
  assert MAKERS[kind]().encode(text).ids == before
  path = directory(tmp_path, kind, settings, {})
  found = tk.load(path)
  assert found.encode(text).ids == ids == AutoTokenizer.from_pretrained(path)(text)["input_ids"]
  tk.save(found, tmp_path / "out", max_length=16)
  assert AutoTokenizer.from_pretrained(str(tmp_path / "out"))(text)["input_ids"] == ids


LONG = {
  "wordpiece": ("the cafe The the 東", {"do_lower_case": False}, [2, 5, 10, 3], [2, 5, 7, 3]),
  "unigram": ("sea the The sea", {}, [0, 5, 6, 2], [0, 6, 4, 2]),
  "llama": ("a b b a b a", {"add_eos_token": True}, [1, 7, 6, 2], [1, 6, 7, 2]),
  "roberta": ("a b b b a b", {}, [0, 7, 8, 2], [0, 4, 8, 2]),
}


@pytest.mark.parametrize("said", ["tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", LONG)
def test_a_text_is_cut_at_its_beginning(tmp_path, kind, said):
  from transformers import AutoTokenizer

  text, settings, left, right = LONG[kind]
  truncation = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
  stated = {"truncation_side": "left"} if said == "tokenizer_config.json" else {}
  path = directory(tmp_path, kind, settings | stated, {} if stated else {"truncation": truncation})
  found = tk.load(path)
  assert tk.from_left(found)
  assert tk.encode(found, [text, text], 4) == ([left, left], 2)
  whole, cut = tk.encode(found, [text], 16)
  assert cut == 0 and whole == [found.encode(text).ids] and len(whole[0]) > 5
  tk.save(found, tmp_path / "out", max_length=4)
  again = tk.load(str(tmp_path / "out"))
  assert tk.fingerprint(again) == tk.fingerprint(found)
  theirs = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
  assert theirs(text, truncation=True)["input_ids"] == left
  assert tk.encode(tk.within(tk.bare(found), 10**6), [text], 2)[0] == [left[1:-1]]
  # The setting has the last word.
  path = directory(tmp_path, kind, settings | {"truncation_side": "right"}, {"truncation": truncation})
  plain = tk.load(path)
  assert tk.encode(plain, [text], 4) == ([right], 1) and tk.fingerprint(plain) != tk.fingerprint(found)


def test_what_is_written_makes_no_token_of_a_piece(tmp_path):
  from transformers import AutoTokenizer

  tk.save(unigram(), tmp_path, max_length=16)
  ids = [0, 4, 8, 7, 2]
  assert unigram().encode("the <mask>").ids == ids == tk.load(str(tmp_path)).encode("the <mask>").ids
  assert AutoTokenizer.from_pretrained(str(tmp_path))("the <mask>")["input_ids"] == ids


def test_settings_of_bert_beside_a_unigram_are_left_over(tmp_path, caplog):
  settings = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True, "tokenize_chinese_chars": True}
  path = directory(tmp_path, "unigram", settings | {"strip_accents": None}, {})
  assert tk.load(path).encode("The sea").ids == [0, 5, 6, 2]
  assert "do_lower_case, tokenize_chinese_chars, which are settings of BERT's tokenizer" in caplog.text


def test_the_tokenizer_of_a_static_embedding_has_no_settings(tmp_path):
  path = directory(tmp_path, "wordpiece", {"do_lower_case": False, "truncation_side": "left"}, {})
  found = tk.load_alone(path)
  assert found.encode("The").ids == [2, 5, 3] and not tk.from_left(found)


@pytest.mark.parametrize(
  ("normalizer", "written"),
  [
    (None, [{"type": "Lowercase"}]),
    ({"type": "NFC"}, [{"type": "Lowercase"}, {"type": "NFC"}]),
    ({"type": "Sequence", "normalizers": [{"type": "NFC"}]}, [{"type": "Lowercase"}, {"type": "NFC"}]),
    ({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}, None),
    ({"type": "Lowercase"}, None),
  ],
)
def test_lower_case_of_sentence_transformers_is_the_work_of_the_tokenizer(tmp_path, normalizer, written):
  settings = {"sentence_bert_config.json": {"do_lower_case": True}}
  path = directory(tmp_path, "unigram", settings, {"normalizer": normalizer})
  found = json.loads(tk.load(path).to_str())["normalizer"]
  assert found == ({"type": "Sequence", "normalizers": written} if written else normalizer)
