"""The table of bad inputs: a row each. `test_hostile.py` brings every one to its door."""

from datetime import date
import json

from hostile_inputs import (
  FLOOD,
  MISSING,
  PAIR,
  TENSOR,
  Bad,
  adapter,
  beir,
  both,
  config_json,
  copied,
  cut,
  deep,
  delete,
  edit,
  encoded,
  header,
  jsonl,
  lines_folder,
  link,
  model,
  new_encoder,
  npy,
  npy_header,
  overridden,
  pair,
  parquet_folder,
  prepared,
  put,
  safetensors,
  scored,
  shrunk,
  small_adapter,
  small_model,
  system,
  table,
  teacher,
  texts_of,
  tokenizer,
  weights,
  zipped,
)
import ml_dtypes
import numpy as np
import pyarrow as pa

from mtc import data

PAIRS = data.Pairs(negatives="negatives")
LABELS = data.SameLabel()
SCORED = data.Scored()

# Rows of JSONL: name, kind, content, words.
_JSONL = [
  ("an empty file", PAIRS, "", "no row that can be used"),
  ("blank lines only", PAIRS, "\n\r\n  \n", "no row that can be used"),
  ("a BOM and nothing else", PAIRS, "\ufeff", "broken JSON"),
  ("no JSON", PAIRS, "hello\n", "train.jsonl:1: broken JSON"),
  ("half a row", PAIRS, PAIR + '{"anchor": "a', "train.jsonl:2: broken JSON"),
  ("two rows on a line", PAIRS, PAIR.strip() + PAIR, "Extra data"),
  ("rows that a lone CR parts", PAIRS, PAIR.strip() + "\r" + PAIR.strip(), "Extra data"),
  ("single quotes", PAIRS, "{'anchor': 'a', 'positive': 'b'}\n", "broken JSON"),
  ("a list", PAIRS, '["a", "b"]\n', "not an object (a list"),
  ("a string", PAIRS, '"a"\n', "not an object (a str"),
  ("a number", PAIRS, "7\n", "not an object (an int"),
  ("null", PAIRS, "null\n", "not an object (a NoneType"),
  ("NaN for a row", PAIRS, "NaN\n", "not an object (a float"),
  ("deep lists", PAIRS, deep(100_000) + "\n", "broken JSON"),
  ("deep objects", PAIRS, deep(100_000, '{"a":', "}") + "\n", "broken JSON"),
  ("lists that end too late", PAIRS, "[" * 10**6 + "\n", "broken JSON"),
  ("a deep anchor", PAIRS, '{"positive": "a", "anchor": ' + deep(900) + "}\n", "field 'anchor' is not a string"),
  ("a number of 5000 digits", PAIRS, '{"anchor": ' + "9" * 5000 + "}\n", "broken JSON"),
  ("Latin-1", PAIRS, '{"anchor": "é", "positive": "b"}\n'.encode("latin-1"), "not UTF-8 (byte 13"),
  ("UTF-16", PAIRS, PAIR.encode("utf-16"), "not UTF-8"),
  ("UTF-16 without a BOM", PAIRS, PAIR.encode("utf-16-le"), "broken JSON"),
  ("random bytes", PAIRS, np.random.default_rng(0).bytes(2000), "not UTF-8"),
  ("zeros", PAIRS, b"\0" * 2000, "broken JSON"),
  ("an ELF file", PAIRS, b"\x7fELF\x02\x01\x01" + b"\0" * 100, "broken JSON"),
  ("a gzip file under another name", PAIRS, zipped(PAIR.encode()), "not UTF-8"),
  ("a line of 32 MiB", PAIRS, FLOOD, "a line of more than 33,554,432 bytes"),
  ("a NUL on a line", PAIRS, '{"anchor": "a\0b", "positive": "b"}\n', "Invalid control character"),
  ("a NUL in a text", PAIRS, pair(anchor="a\0b"), "field 'anchor' has a NUL character (character 2)"),
  ("half a surrogate pair", PAIRS, pair(anchor="a\ud83d"), "field 'anchor' has half a surrogate pair (character 2)"),
  ("the other half first", PAIRS, pair(positive="\ude00\ud83d"), "field 'positive' has half a surrogate pair"),
  ("half a pair in a negative", PAIRS, pair(negatives=["ok", "\udfff"]), "'negatives' has half a surrogate pair"),
  ("half a pair in an id", PAIRS, pair(anchor_id="\ud800"), "field 'anchor_id' has half a surrogate pair"),
  ("a NUL in an id", PAIRS, pair(positive_id="a\0"), "field 'positive_id' has a NUL"),
  ("half a pair in the language", PAIRS, pair(language="\ud800"), "field 'language' is no name of a language"),
  ("a language that steers the terminal", PAIRS, pair(language="\x1b[2J"), "field 'language' is no name"),
  ("a language of a megabyte", PAIRS, pair(language="e" * 10**6), "field 'language' is no name"),
  (
    "a list for a language",
    PAIRS,
    pair(language=["en"]),
    "'language' is not a string or a whole number (got ['en'], a",
  ),
  ("true for a language", PAIRS, pair(language=True), "'language' is not a string or a whole number (got True, a bool"),
  ("a language of spaces", PAIRS, pair(language=" "), "field 'language' is no name of a language (got ' ', a str)"),
  ("a language turned around", PAIRS, pair(language="\u202een"), "field 'language' is no name"),
  ("no anchor", PAIRS, '{"positive": "b"}\n', "field 'anchor' is missing (the row has positive)"),
  ("null for a text", PAIRS, pair(anchor=None), "field 'anchor' is missing (got None)"),
  ("false for a text", PAIRS, pair(anchor=False), "field 'anchor' is not a string (got False, a bool)"),
  ("NaN for a text", PAIRS, pair(anchor=float("nan")), "field 'anchor' is missing (got nan, a float)"),
  ("an empty object", PAIRS, "{}\n", "the row has no field"),
  ("a thousand wrong fields", PAIRS, json.dumps({f"f{i}": 1 for i in range(1000)}) + "\n", "f19 ..."),
  ("a field name of a megabyte", PAIRS, json.dumps({"x" * 10**6: 1}) + "\n", "field 'anchor' is missing"),
  ("a number for a text", PAIRS, pair(anchor=5), "field 'anchor' is not a string (got 5, an int)"),
  ("a list for a text", PAIRS, pair(anchor=["a"]), "field 'anchor' is not a string"),
  ("an object for a text", PAIRS, pair(positive={"text": "a"}), "field 'positive' is not a string"),
  ("true for a text", PAIRS, pair(positive=True), "field 'positive' is not a string (got True, a bool)"),
  ("an empty text", PAIRS, pair(anchor=""), "field 'anchor' is empty"),
  ("a text of spaces", PAIRS, pair(anchor=" \t\n"), "field 'anchor' is empty"),
  ("a text of other spaces", PAIRS, pair(anchor="\u2003\u00a0\u3000"), "field 'anchor' is empty"),
  ("a number for negatives", PAIRS, pair(negatives=3), "field 'negatives' is not a list of strings"),
  ("an object for negatives", PAIRS, pair(negatives={"a": 1}), "field 'negatives' is not a list"),
  (
    "a number among negatives",
    PAIRS,
    pair(negatives=["a", 3]),
    "'negatives' is not a string (got 3, an int, entry 2 of the list)",
  ),
  ("null among negatives", PAIRS, pair(negatives=[None]), "is not a string (got None, entry 1 of the list)"),
  ("negatives in one of two fields", data.Pairs(negatives=["n1", "n2"]), pair(n1="a"), "negatives in the field 'n2'"),
  (
    "200 negatives in each of two fields",
    data.Pairs(negatives=["n1", "n2"]),
    pair(n1=["a"] * 200, n2=["b"] * 200),
    "more than 256 negatives (400 in ['n1', 'n2'])",
  ),
  ("100,000 negatives", PAIRS, pair(negatives=["a"] * 100_000), "more than 256 entries (100000 of them"),
  ("no negatives anywhere", PAIRS, PAIR, "has negatives in the field 'negatives'"),
  ("a grade as text", PAIRS, pair(score="1"), "field 'score' is not a number (got '1', a str)"),
  ("true for a grade", PAIRS, pair(score=True), "field 'score' is not a number (got True, a bool)"),
  ("a list for a grade", PAIRS, pair(score=[1]), "field 'score' is not a number (got [1], a list)"),
  ("an infinite grade", PAIRS, pair(score=float("-inf")), "field 'score' is not a finite number"),
  ("a grade of 400 digits", PAIRS, pair(score=10**400), "field 'score' is not a finite number"),
  ("a list for an id", PAIRS, pair(anchor_id=[1]), "field 'anchor_id' is not a string or a whole number"),
  ("a fraction for an id", PAIRS, pair(anchor_id=1.5), "field 'anchor_id' is not a string or a whole number"),
  (
    "an id past the whole numbers of a float",
    PAIRS,
    pair(anchor_id=2.0**53),
    "is not a string or a whole number (got 9",
  ),
  ("an id of 400 digits", PAIRS, pair(anchor_id=10**400), "'anchor_id' is not a string or a whole number (got 100"),
  ("true for an id", PAIRS, pair(positive_id=True), "field 'positive_id' is not a string or a whole number"),
  ("no labels", LABELS, '{"text": "a"}\n', "field 'labels' is missing"),
  ("an empty list of labels", LABELS, '{"text": "a", "labels": []}\n', "field 'labels' has no label"),
  ("an empty label", LABELS, '{"text": "a", "labels": [""]}\n', "field 'labels' is empty"),
  ("a label that is a fraction", LABELS, '{"text": "a", "labels": 0.5}\n', "field 'labels' is not a string"),
  ("a label that is a list", LABELS, '{"text": "a", "labels": [["x"]]}\n', "field 'labels' is not a string"),
  ("a label that is true", LABELS, '{"text": "a", "labels": true}\n', "field 'labels' is not a string"),
  ("half a pair in a label", LABELS, r'{"text": "a", "labels": "\udc00"}' + "\n", "'labels' has half a surrogate pair"),
  (
    "100,000 labels of one text",
    LABELS,
    json.dumps({"text": "a", "labels": [str(i) for i in range(100_000)]}) + "\n",
    "field 'labels' has more than 256 entries",
  ),
  ("a NaN score", SCORED, '{"text_a": "a", "text_b": "b", "score": NaN}\n', "outside 0.0..5.0 (got nan, a float"),
  ("an infinite score", SCORED, '{"text_a": "a", "text_b": "b", "score": Infinity}\n', "outside 0.0..5.0"),
  ("a score of 400 digits", SCORED, '{"text_a": "a", "text_b": "b", "score": 1%s}\n' % ("0" * 400), "outside 0.0..5.0"),
  ("a score that overflows", SCORED, '{"text_a": "a", "text_b": "b", "score": 1e999}\n', "outside 0.0..5.0"),
  ("a score below all", SCORED, '{"text_a": "a", "text_b": "b", "score": -1}\n', "outside 0.0..5.0"),
  ("a score as text", SCORED, '{"text_a": "a", "text_b": "b", "score": "3"}\n', "field 'score' is not a number"),
  ("true for a score", SCORED, '{"text_a": "a", "text_b": "b", "score": true}\n', "field 'score' is not a number"),
  ("no score", SCORED, '{"text_a": "a", "text_b": "b"}\n', "field 'score' is missing"),
  ("a text too short for two parts", data.Crops(), '{"text": "a b"}\n', "too short for two parts"),
  ("no id of a translation", data.Translations(), '{"text": "a", "language": "en"}\n', "field 'id' is missing"),
  ("no language of a translation", data.Translations(), '{"text": "a", "id": 1}\n', "field 'language' is missing"),
]
JSONL = [Bad(f"jsonl: {name}", put("train.jsonl", c), prepared(jsonl, kind), words) for name, kind, c, words in _JSONL]

_GZIP = [
  ("no gzip", b"hello", "not a whole gzip file"),
  ("an empty file", b"", "no row that can be used"),
  ("a file without its end", zipped(PAIR.encode() * 1000)[:-20], "not a whole gzip file after line"),
  ("a flipped byte", zipped(PAIR.encode())[:40] + b"\xff\xff" + zipped(PAIR.encode())[42:], "not a whole gzip"),
  ("rubbish at the end", zipped(PAIR.encode()) + b"rubbish", "not a whole gzip file"),
  ("32 MiB in a few kilobytes", zipped(FLOOD), "a line of more than 33,554,432 bytes"),
]
GZIP = [Bad(f"gzip: {name}", put("train.jsonl.gz", c), prepared(jsonl, PAIRS), words) for name, c, words in _GZIP]


def _folder(folder):
  return data.Folder(folder.name).resolve(str(folder.parent))


FILES = [
  Bad("files: an empty folder", lambda folder: None, prepared(jsonl, PAIRS), "is empty; make the file"),
  Bad(
    "files: no such folder", lambda folder: None, prepared(lambda f: data.Jsonl(str(f / "x")), PAIRS), "not a directory"
  ),
  Bad(
    "files: a split twice",
    both(put("train.jsonl", PAIR), put("train.jsonl.gz", b"")),
    prepared(jsonl, PAIRS),
    "is there twice",
  ),
  Bad("files: another split", put("test.jsonl", PAIR), prepared(jsonl, PAIRS), "there is test.jsonl"),
  Bad("files: a folder for a file", lambda f: (f / "train.jsonl").mkdir(), prepared(jsonl, PAIRS), "does not exist"),
  Bad(
    "files: a list with a file that is not there",
    put("a.jsonl", PAIR),
    prepared(lambda f: data.Jsonl(str(f), {"train": ["a.jsonl", "b-*.jsonl"]}), PAIRS),
    "b-*.jsonl does not exist; there is a.jsonl; correct files['train']",
  ),
  Bad(
    "files: a file twice in a list",
    put("a.jsonl", PAIR),
    prepared(lambda f: data.Jsonl(str(f), {"train": ["a.jsonl", "*.jsonl"]}), PAIRS),
    "a.jsonl is in files['train'] twice",
  ),
  Bad(
    "files: a file twice by a link",
    both(put("a.jsonl", PAIR), link("b.jsonl", "a.jsonl")),
    prepared(lambda f: data.Jsonl(str(f), {"train": "*.jsonl"}), PAIRS),
    "b.jsonl is in files['train'] twice",
  ),
  Bad(
    "files: an empty list",
    put("a.jsonl", PAIR),
    prepared(lambda f: data.Jsonl(str(f), {"train": []}), PAIRS),
    "files['train']=() of",
  ),
  Bad("files: a NUL in a path", lambda folder: None, prepared(lambda f: data.Jsonl("a\0b"), PAIRS), ""),
  Bad("files: a name of 5000 letters", lambda f: None, prepared(lambda f: data.Jsonl("a" * 5000), PAIRS), ""),
  Bad("files: a folder of nothing known", put("rows.csv", "a,b"), prepared(_folder, PAIRS), "holds no data"),
  Bad("files: unreadable as a data set", put("dataset_info.json", "{"), prepared(_folder, PAIRS), "dataset_info.json"),
]

CORPUS = '{"_id": "d", "title": "", "text": "the moon"}\n'
QUERIES = '{"_id": "q", "text": "a note"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq\td\t1\n"


def search(corpus: str | bytes = CORPUS, queries: str | bytes = QUERIES, qrels: str | bytes = QRELS):
  return both(put("corpus.jsonl", corpus), put("queries.jsonl", queries), put("qrels/train.tsv", qrels))


_BEIR = [
  ("no corpus", both(put("queries.jsonl", QUERIES), put("qrels/train.tsv", QRELS)), "corpus.jsonl does not exist"),
  ("no queries", both(put("corpus.jsonl", CORPUS), put("qrels/train.tsv", QRELS)), "queries.jsonl does not exist"),
  ("no judgements", both(put("corpus.jsonl", CORPUS), put("queries.jsonl", QUERIES)), "train.tsv does not exist"),
  ("empty judgements", search(qrels=""), "no row that can be used"),
  ("the header only", search(qrels="query-id\tcorpus-id\tscore\n"), "no row that can be used"),
  ("grades of 0 only", search(qrels="q\td\t0\n"), "no row that can be used"),
  ("spaces for tabs", search(qrels="q d 1\nq d 1\n"), "train.tsv:1: not three columns separated by tabs"),
  ("five columns", search(qrels="q\t0\td\t1\tx\n"), "not three columns separated by tabs"),
  ("a grade that is none", search(qrels=QRELS + "q\td\tgood\n"), "train.tsv:3: the grade is not a number ('good')"),
  ("a NaN grade", search(qrels=QRELS + "q\td\tnan\n"), "the grade is not a number ('nan')"),
  ("an infinite grade", search(qrels="q\td\tinf\n"), "the grade is not a number ('inf')"),
  ("a grade that overflows", search(qrels="q\td\t1e999\n"), "the grade is not a number ('1e999')"),
  ("judgements in Latin-1", search(qrels=QRELS.encode() + b"\xe9\td\t1\n"), "train.tsv:3: not UTF-8 (byte 1"),
  ("an unknown document", search(qrels=QRELS + "q\tx\t1\n"), "an id is not in corpus.jsonl ('x')"),
  ("an unknown query", search(qrels=QRELS + "x\td\t1\n"), "an id is not in queries.jsonl ('x')"),
  ("a document twice", search(corpus=CORPUS * 2), "corpus.jsonl:2: the '_id' is there twice"),
  ("a query twice", search(queries=QUERIES * 2), "queries.jsonl:2: the '_id' is there twice"),
  ("a document without an id", search(corpus='{"text": "a"}\n'), "field '_id' is missing (the row has text)"),
  ("null for an id", search(corpus='{"_id": null, "text": "a"}\n'), "field '_id' is missing (got None)"),
  ("an empty id", search(corpus='{"_id": "", "text": "a"}\n'), "field '_id' is missing (got '', a str)"),
  (
    "a list for an id",
    search(corpus=f'{{"_id": {deep(900)}, "text": "a"}}\n'),
    "field '_id' is not a string or a whole number",
  ),
  (
    "true for an id",
    search(corpus='{"_id": true, "text": "a"}\n'),
    "'_id' is not a string or a whole number (got True, a bool)",
  ),
  ("half a pair in an id", search(corpus='{"_id": "\\ud800", "text": "a"}\n'), "field '_id' has half a surrogate pair"),
  ("half a pair in a document", search(corpus='{"_id": "d", "text": "\\ud800"}\n'), "'text' has half a surrogate pair"),
  ("a NUL in a document", search(corpus='{"_id": "d", "text": "a\\u0000"}\n'), "field 'text' has a NUL"),
  ("a document without a text", search(corpus='{"_id": "d"}\n'), "field 'text' is missing (the row has _id)"),
  (
    "a number for a document",
    search(corpus='{"_id": "d", "text": 2012}\n'),
    "field 'text' is not a string (got 2012, an int",
  ),
  (
    "null for a document",
    search(corpus='{"_id": "d", "title": "a", "text": null}\n'),
    "field 'text' is missing (got None)",
  ),
  ("an empty document", search(corpus='{"_id": "d", "title": "", "text": " "}\n'), "field 'text' is empty"),
  (
    "a number for a title",
    search(corpus='{"_id": "d", "title": 5, "text": "a"}\n'),
    "field 'title' is not a string (got 5, an",
  ),
  (
    "false for a title",
    search(corpus='{"_id": "d", "title": false, "text": "a"}\n'),
    "field 'title' is not a string (got False, a bool)",
  ),
  (
    "an object for a title",
    search(corpus='{"_id": "d", "title": {"en": "a"}, "text": "a"}\n'),
    "field 'title' is not a string (got {'en': 'a'}, a dict)",
  ),
  (
    "a number for a query",
    search(queries='{"_id": "q", "text": 7}\n'),
    "queries.jsonl:1: field 'text' is not a string",
  ),
  ("commas for tabs", search(qrels="q,d,1\n"), "not three columns separated by tabs"),
  (
    "a quote that is not closed",
    search(qrels=QRELS + '"q\td\t1\n'),
    "train.tsv:3: broken quotes (",
  ),
  (
    "lines that a lone CR parts",
    search(qrels="q\td\t1\rq\td\t1\n"),
    "train.tsv:1: broken quotes",
  ),
  ("a first grade that is none", search(qrels="q\td\tgood\n"), "train.tsv:1: the grade is not a number ('good')"),
  ("a space after an id", search(qrels="q\td \t1\n"), "an id is not in corpus.jsonl ('d ')"),
  ("a space before an id", search(qrels=" q\td\t1\n"), "an id is not in queries.jsonl (' q')"),
  ("an empty id in a judgement", search(qrels="q\t\t1\n"), "an id is not in corpus.jsonl ('')"),
  ("TREC with an unknown document", search(qrels="q 0 x 1\n"), "train.tsv:1: an id is not in corpus.jsonl ('x')"),
  ("deep JSON in the corpus", search(corpus=deep(100_000) + "\n"), "corpus.jsonl:1: broken JSON"),
  ("a corpus that is not whole", search(corpus=CORPUS + '{"_id'), "corpus.jsonl:2: broken JSON"),
]
BEIR = [Bad(f"beir: {name}", make, prepared(beir, data.Pairs()), words) for name, make, words in _BEIR]

_EMPTY_DOCUMENT = '{"_id": "d", "title": "", "text": ""}\n'
_JUDGED = pair(anchor_id="q", positive_id="d")
# Tests of a search: name, files, source, on_bad_row, words.
_TEST = [
  ("a judged document that is empty", search(corpus=_EMPTY_DOCUMENT), beir, "stop", "field 'text' is empty"),
  ("a judged document that is missing", search(qrels=QRELS + "q\tx\t1\n"), beir, "stop", "corpus.jsonl ('x')"),
  (
    "the only judged document is empty",
    search(corpus=CORPUS.replace('"d"', '"e"') + _EMPTY_DOCUMENT),
    beir,
    "skip",
    "none of 1 relevant documents can be read; are the ids of the judgements those of the corpus?; split train: 1 doc",
  ),
  ("no document can be read", search(corpus=_EMPTY_DOCUMENT * 2), beir, "skip", "has no documents; is the"),
  (
    "no query can be read",
    search(queries='{"_id": "q", "text": null}\n'),
    beir,
    "skip",
    "(qrels); is the split empty?; split train: 1 query left out (field 'text' is missing)",
  ),
  (
    "pairs with an id that the corpus lacks",
    both(put("train.jsonl", _JUDGED), put("corpus.jsonl", '{"id": "e", "text": "the moon"}\n')),
    jsonl,
    "stop",
    "an id is not in the corpus ('d'); fix the row, or skip such rows",
  ),
  (
    "pairs of which no document has a text",
    put("train.jsonl", pair(positive="") + pair(positive=None)),
    jsonl,
    "skip",
    "the table has no documents; is the split empty?; split train: 1 document left out (field 'positive' is empty), 1",
  ),
]
TESTS = [
  Bad(f"test: {name}", make, scored(source, data.Pairs(), on_bad_row), words)
  for name, make, source, on_bad_row, words in _TEST
]
TESTS.append(
  Bad(
    "test: posts without a text",
    put("train.jsonl", '{"text": null, "labels": "a"}\n' * 3),
    scored(jsonl, LABELS, "skip"),
    "the table has no texts; is the split empty?; split train: 3 rows left out (field 'text' is missing)",
  )
)

_NO_UTF8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
_PARQUET = [
  ("an empty file", put("train.parquet", b""), "not a readable Parquet file after row 0"),
  ("JSON", put("train.parquet", PAIR), "not a readable Parquet file"),
  ("the magic number only", put("train.parquet", b"PAR1PAR1"), "not a readable Parquet file"),
  ("a footer of 4 GiB", put("train.parquet", b"PAR1" + b"\xff" * 4 + b"PAR1"), "not a readable Parquet file"),
  (
    "a file without its end",
    both(table(anchor=["a"] * 50, positive=["b"] * 50), cut("train.parquet", -9)),
    "not a readable",
  ),
  ("no row", table(anchor=pa.array([], pa.string()), positive=pa.array([], pa.string())), "no row that can be used"),
  ("another column", table(text=["a"]), "field 'anchor' is missing (the row has text)"),
  ("numbers for texts", table(anchor=[1], positive=[2]), "train.parquet:1: field 'anchor' is not a string"),
  (
    "bytes that are no text",
    table(anchor=[b"\xff"], positive=[b"b"]),
    "field 'anchor' is not UTF-8 (got b'\\xff', a bytes)",
  ),
  (
    "a date for an id",
    table(anchor=["a"], positive=["b"], anchor_id=[date(2024, 1, 2)]),
    "(got datetime.date(2024, 1, 2), a date",
  ),
  ("nulls", table(anchor=pa.array([None], pa.string()), positive=["b"]), "field 'anchor' is missing"),
  ("a list for a text", table(anchor=[["a"]], positive=["b"]), "field 'anchor' is not a string"),
  ("no UTF-8", table(anchor=_NO_UTF8, positive=["b"]), "after row 0"),
  (
    "an infinite grade",
    table(anchor=["a"], positive=["b"], score=[float("inf")]),
    "field 'score' is not a finite number",
  ),
  ("a NUL in a text", table(anchor=["a\0b"], positive=["b"]), "field 'anchor' has a NUL"),
  (
    "a time past all calendars",
    table(anchor=["a"], positive=["b"], when=pa.array([2**62], pa.timestamp("ms"))),
    "after row 0",
  ),
]
PARQUET = [
  Bad(f"parquet: {name}", make, prepared(parquet_folder, data.Pairs()), words) for name, make, words in _PARQUET
]

CROPS = prepared(lines_folder, data.Crops())
TEXTS = [
  Bad("text: no file", put("a.csv", "x"), CROPS, "has no .txt or .txt.gz"),
  Bad(
    "text: Latin-1",
    put("en.txt", "ab\né\n".encode("latin-1")),
    prepared(lines_folder, data.Crops(least=1)),
    "en.txt:2: not UTF-8",
  ),
  Bad("text: a line of 32 MiB", put("en.txt", FLOOD), CROPS, "a line of more than"),
  Bad("text: 32 MiB in a few kilobytes", put("en.txt.gz", zipped(FLOOD)), CROPS, "a line of more"),
  Bad("text: a NUL", put("en.txt", "a\0b c d e f g h\n"), CROPS, "field 'text' has a NUL"),
  Bad(
    "text: a language that is no name", put("\u202een.txt", "a b c d e f g h\n"), CROPS, "field 'language' is no name"
  ),
  Bad("embed: no such file", lambda folder: None, texts_of("a.jsonl"), "a.jsonl is not a file"),
  Bad("embed: an unknown kind", put("a.csv", "x"), texts_of("a.csv"), "of an unknown kind; use .jsonl"),
  Bad("embed: a folder", lambda folder: (folder / "a.txt").mkdir(), texts_of("a.txt"), "a.txt is not a file"),
  Bad("embed: lines in Latin-1", put("a.txt", b"ok\n\xe9\n"), texts_of("a.txt"), "a.txt:2 is not UTF-8"),
  Bad("embed: a line of 32 MiB", put("a.txt", FLOOD), texts_of("a.txt"), "a line of more than"),
  Bad(
    "embed: a number",
    put("a.jsonl", '{"text": 3}\n'),
    texts_of("a.jsonl"),
    "1: field 'text' is not a string (got 3, an int)",
  ),
  Bad(
    "embed: half a surrogate pair", put("a.jsonl", r'{"text": "\ud800"}'), texts_of("a.jsonl"), "half a surrogate pair"
  ),
  Bad("embed: deep JSON", put("a.jsonl", deep(100_000)), texts_of("a.jsonl"), "a.jsonl:1: broken JSON"),
  Bad("embed: no Parquet", put("a.parquet", "x"), texts_of("a.parquet"), "not a readable Parquet file"),
]


def _shape(shape, content=b"", kind="<f4"):
  return put("vectors.npy", npy_header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", content))


_SMALL = copied(small_model, lambda folder: None)
_ENCODED = [  # name, texts, arguments, words
  ("None among texts", ["a", None], {}, "texts[1] is None; expected a string"),
  ("NaN among texts", ["a", "b", float("nan")], {}, "texts[2] is nan (float); expected a string"),
  ("a number among texts", ["a", 3], {}, "texts[1] is 3 (int)"),
  ("bytes among texts", ["a", b"b"], {}, "texts[1] is b'b' (bytes); expected a string (decode it)"),
  ("a pair of texts", [["a", "b"]], {}, "texts[0] is ['a', 'b'] (list)"),
  ("half a surrogate pair in a text", ["a", "b\ud83d"], {}, "character 2 is half a surrogate pair"),
  ("one text", "a", {}, "texts is the str 'a'; expected a list of strings"),
  ("texts without an order", {"a", "b"}, {}, "texts is a set, which has no order"),
  ("texts by name", {"a": "b"}, {}, "texts is a dict"),
  ("no texts", None, {}, "texts is None; expected a list of strings"),
  ("texts of two dimensions", np.array([["a"]]), {}, "texts is a ndarray of 2 dimensions"),
  ("Arrow's null", pa.array(["a", None]), {}, "texts[1] is None"),
  ("no role", ["a"], {"role": None}, "role=None is unknown to this model"),
  ("true dimensions", ["a"], {"dim": True}, "dim=True is no whole number"),
  ("a fraction of dimensions", ["a"], {"dim": 2.0}, "dim=2.0 is no whole number"),
  ("dimensions in a string", ["a"], {"dim": "3"}, "dim='3' is no whole number"),
]
ENCODED = [Bad(f"encode: {name}", _SMALL, encoded(texts, **options), words) for name, texts, options, words in _ENCODED]

AB = '{"text": "a"}\n{"text": "b"}\n'
GOOD = np.eye(2, 3, dtype=np.float32)
_NPY = [  # name, vectors.npy, what the teacher answers, what the system answers
  ("no file", lambda folder: None, "vectors.npy does not exist", "vectors.npy"),
  ("an empty file", put("vectors.npy", b""), "is no array of numbers", "is no array of numbers"),
  ("text", put("vectors.npy", "1 2 3"), "is no array of numbers", "is no array of numbers"),
  ("a pickle", put("vectors.npy", b"\x80\x04cos\nsystem\n"), "is no array of numbers", "is no array of numbers"),
  ("objects, pickled", npy(np.array([[{}, 1], [2, 3]], object)), "is no array of numbers", "is no array of numbers"),
  (
    "a file without its end",
    both(npy(GOOD), cut("vectors.npy", -3)),
    "is no array of numbers",
    "is no array of numbers",
  ),
  ("a deep header", put("vectors.npy", npy_header(deep(5000))), "is no array of numbers", "is no array of numbers"),
  ("a header that is no Python", put("vectors.npy", npy_header("{'descr': ")), "is no array", "is no array"),
  ("a header that calls", put("vectors.npy", npy_header("__import__('os').abort()")), "is no array", "is no array"),
  ("a type that is none", _shape("(2, 3)", kind="<f9"), "is no array", "is no array"),
  ("2 ** 62 rows", _shape("(4611686018427387904, 3)"), "is no array", "is no array"),
  ("10 ** 30 rows", _shape(f"({10**30}, 3)"), "is no array", "is no array"),
  ("less than no rows", _shape("(-2, 3)", b"\0" * 24), "is no array", "is no array"),
  ("true for rows", _shape("(True, 3)", b"\0" * 24), "is no array", "is no array"),
  ("one vector", npy(GOOD[0]), "is float32 [3]; expected numbers [texts, dimensions]", "expected one row for each"),
  ("no dimension", npy(GOOD[:, :0]), "is float32 [2, 0]; expected numbers [texts", "expected [2, dim]"),
  ("three dimensions", npy(GOOD[None]), "is float32 [1, 2, 3]; expected numbers", "expected one row for each"),
  ("a row too many", npy(np.eye(3, dtype=np.float32)), "has 3 rows for the 2 texts", "expected one row for each"),
  ("NaN", npy(np.full((2, 3), np.nan, np.float32)), "row 0 of", "hold NaN or infinity"),
  ("infinity", npy(np.array([[1, 0], [np.inf, 0]], np.float32)), "row 1 of", "1 of 2 vectors hold NaN or infinity"),
]
_WITH_TEXTS = put("texts.jsonl", AB)
_BITS = np.packbits(np.eye(2, 16) > 0, axis=1)
_NOT_FLOATS = [  # name, vectors.npy, words of the remedy
  ("strings", np.array([["a", "b"]] * 2), "if the numbers are real"),
  ("bytes", np.array([[b"a", b"b"]] * 2), "if the numbers are real"),
  ("complex numbers", GOOD.astype(np.complex64), "if the numbers are real"),
  ("records", np.zeros((2, 1), [("a", "<f4")]), "if the numbers are real"),
  ("records of two bytes", np.zeros((2, 1), [("a", "<f2")]), "if the numbers are real"),
  ("long doubles", GOOD.astype(np.longdouble), "save a.astype(np.float32)"),
  ("dates", GOOD.astype("datetime64[s]"), "save a.astype(np.float32)"),
  ("packed bits (ubinary)", _BITS, "packed bits (ubinary) save 2.0 * np.unpackbits(a, axis=1) - 1"),
  ("packed bits (binary)", (_BITS.astype(np.int16) - 128).astype(np.int8), "np.unpackbits(a.view(np.uint8) ^ 128"),
  ("bits", GOOD > 0, "np.where(a, 1.0, -1.0)"),
  ("int16", GOOD.astype(np.int16), "as they were before they became integers"),
  ("big-endian uint32", GOOD.astype(">u4"), "as they were before they became integers"),
  ("int64", GOOD.astype(np.int64), "as they were before they became integers"),
  ("bfloat16", GOOD.astype(ml_dtypes.bfloat16), "NumPy stores bfloat16 as |V2"),
  ("float8", GOOD.astype(ml_dtypes.float8_e4m3fn), "save a.astype(np.float32)"),
]
VECTORS = (
  [
    Bad(f"{door.__name__}: {name}: {part}", both(_WITH_TEXTS, npy(array)), door, words)
    for name, array, remedy in _NOT_FLOATS
    for door in (teacher, system)
    for part, words in (("what was expected", "; expected float16, float32 or float64: "), ("the remedy", remedy))
  ]
  + [
    Bad(f"{door.__name__}: {name}", both(_WITH_TEXTS, make), door, words)
    for name, make, *answers in _NPY
    for door, words in zip((teacher, system), answers, strict=True)
  ]
  + [
    Bad("teacher: vectors of zeros", both(_WITH_TEXTS, npy(GOOD * 0)), teacher, "has no direction"),
    Bad(
      "teacher: another text",
      both(put("texts.jsonl", '{"text": "a"}\n{"text": "c"}\n'), npy(GOOD)),
      teacher,
      "have no vector",
    ),
    Bad("system: no texts", npy(GOOD), system, "texts.jsonl, the texts of"),
    Bad(
      "system: texts that are none", both(put("texts.jsonl", "a\nb\n"), npy(GOOD)), system, "texts.jsonl:1: b'a"
    ),
    Bad("system: deep JSON", both(put("texts.jsonl", deep(100_000)), npy(GOOD)), system, "texts.jsonl:1"),
    Bad(
      "system: a number for a text",
      both(put("texts.jsonl", '{"text": 1}'), npy(GOOD)),
      system,
      "field 'text' is not a string, got 1, an int",
    ),
    Bad(
      "system: another text",
      both(put("texts.jsonl", '{"text": "a"}\n{"text": "c"}\n'), npy(GOOD)),
      system,
      "lacks 1 of 2 texts",
    ),
  ]
)

TOKENIZER = {
  "version": "1.0",
  "truncation": None,
  "padding": None,
  "added_tokens": [],
  "normalizer": None,
  "pre_tokenizer": None,
  "post_processor": None,
  "decoder": None,
  "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
}


def _tokenizer(**changes):
  return put("tokenizer.json", json.dumps(TOKENIZER | changes))


def _settings(**settings):
  return both(put("tokenizer_config.json", json.dumps(settings)), put("vocab.txt", "[UNK]\na\n"))


def _beside(name="tokenizer_config.json", content="", **settings):
  return both(_tokenizer(), put(name, content or json.dumps(settings)))


_GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}
_REFUSED = "is no tokenizer that this version of tokenizers reads"
_TOKENIZER = [
  ("an empty folder", lambda folder: None, "has no tokenizer; there is nothing"),
  ("an empty file", put("tokenizer.json", b""), _REFUSED),
  ("no JSON", put("tokenizer.json", b"hello"), _REFUSED),
  ("random bytes", put("tokenizer.json", np.random.default_rng(1).bytes(999)), _REFUSED),
  ("a list", put("tokenizer.json", "[]"), _REFUSED),
  ("deep JSON", put("tokenizer.json", deep(100_000, '{"a":', "}")), _REFUSED),
  ("no model", _tokenizer(model=None), _REFUSED),
  ("an unknown model", _tokenizer(model={"type": "Python", "code": "1"}), _REFUSED),
  ("a number for a vocabulary", _tokenizer(model={"type": "WordLevel", "vocab": 3, "unk_token": "a"}), _REFUSED),
  ("a negative id", _tokenizer(model={"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}), _REFUSED),
  ("no unknown token", _tokenizer(model={"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "x"}), "cannot be used"),
  ("merges without their tokens", _tokenizer(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}), _REFUSED),
  ("an empty unigram", _tokenizer(model={"type": "Unigram", "vocab": [], "unk_id": 0}), _REFUSED),
  (
    "a pattern that is none",
    _tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}),
    _REFUSED,
  ),
  (
    "a pattern that never ends",
    _tokenizer(
      pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    ),
    "retry-limit",
  ),
  (
    "letters that multiply",
    _tokenizer(normalizer={"type": "Sequence", "normalizers": [_GROWING] * 9}),
    "more than 1000 letters",
  ),
  (
    "a table that panics",
    _tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}),
    "cannot be used",
  ),
  ("a broken table", _tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), _REFUSED),
  ("pieces of no length", _tokenizer(pre_tokenizer={"type": "FixedLength", "length": 0}), "cannot be used"),
  (
    "a template without its token",
    _tokenizer(
      post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
      }
    ),
    "cannot be used",
  ),
  (
    "a text 2000 times",
    _tokenizer(
      post_processor={
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2000,
        "pair": [],
        "special_tokens": {},
      }
    ),
    "letters or tokens of one",
  ),
  (
    "special tokens only",
    _tokenizer(
      post_processor={
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "a", "type_id": 0}}] * 50,
        "pair": [],
        "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}},
      }
    ),
    "max_length=16 has no room beside 50 special tokens",
  ),
  ("settings that are no JSON", put("tokenizer_config.json", "{"), "tokenizer_config.json is not JSON"),
  ("deep settings", put("tokenizer_config.json", deep(100_000)), "tokenizer_config.json is not JSON"),
  ("settings in a list", put("tokenizer_config.json", "[1]"), "has no tokenizer"),
  (
    "code to run",
    _settings(auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil"),
    "contains custom code",
  ),
  (
    "a vocabulary elsewhere",
    _settings(tokenizer_class="BertTokenizer", vocab_file="/etc/passwd"),
    "names vocab_file='/etc/passwd', a file outside",
  ),
  (
    "a vocabulary above",
    _settings(tokenizer_class="BertTokenizer", vocab_file="../" * 20 + "etc/passwd"),
    "a file outside its directory",
  ),
  ("a number for a class", _settings(tokenizer_class=5), "has no tokenizer"),
  ("a class of a number", _beside(tokenizer_class=5), "has tokenizer_class=5; expected the name of a class"),
  ("settings of a list beside it", _beside("tokenizer_config.json", "[1]"), "holds a list, expected an object"),
  ("deep settings beside it", _beside("tokenizer_config.json", deep(100_000)), "tokenizer_config.json is not JSON"),
  ("names in a list", _beside("special_tokens_map.json", "[]"), "special_tokens_map.json holds a list"),
  ("older tokens that are no JSON", _beside("added_tokens.json", "{"), "added_tokens.json is not JSON"),
  ("a text for a flag", _beside(do_lower_case="no"), 'do_lower_case="no"; expected true or false'),
  ("a number for a flag", _beside(add_eos_token=1.5), "add_eos_token=1.5; expected true or false"),
  ("lower case that nothing makes", _beside(do_lower_case=True), "makes no text lower case; remove the entry"),
  ("an end without an id", _beside(add_eos_token=True, eos_token="</s>"), "has no token '</s>'; remove the entry"),
  ("half a letter for an end", _beside(add_eos_token=True, eos_token="\ud800"), "eos_token='\\ud800'; expected a text"),
  ("half a letter for a token", _beside(extra_special_tokens=["\ud800"]), "expected its content, a text, and flags"),
  ("a number for a token", _beside(added_tokens_decoder={"0": {"content": 5}}), "expected its content, a text"),
  ("a flag of a token as text", _beside(added_tokens_decoder={"0": {"content": "a", "lstrip": "no"}}), "expected its"),
  ("another id of a token", _beside(added_tokens_decoder={"x": {"content": "a"}}), "the id x, and"),
  ("tokens in a list", _beside(added_tokens_decoder=[5]), "added_tokens_decoder of type list; expected an object"),
  ("a side that is none", _beside(truncation_side=["left"]), "truncation_side=['left']; expected 'left' or 'right'"),
  ("special tokens as text", _beside(split_special_tokens=True), "split_special_tokens=true, which is not supported"),
]


def _gap(last):
  return _tokenizer(model={"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1, "[PAD]": last}, "unk_token": "[UNK]"})


TOKENIZERS = [
  *(Bad(f"tokenizer: {name}", make, tokenizer, words) for name, make, words in _TOKENIZER),
  Bad("new encoder: no padding", _tokenizer(), new_encoder, "of the tokens for padding ([PAD] or <pad>) none"),
  Bad("new encoder: an id of 4,000,000", _gap(4_000_000), new_encoder, "3 tokens with ids up to 4000000"),
  Bad("tokenizer: an id of 4,000,000,000", _gap(4_000_000_000), tokenizer, "a token has the id 4000000000"),
]

BERT = {
  "model_type": "bert",
  "vocab_size": 60,
  "hidden_size": 8,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "intermediate_size": 8,
  "max_position_embeddings": 24,
}
LLAMA = BERT | {"model_type": "llama"}
_CONFIG = [  # of a config.json alone: name, content, words
  ("a list", [], "holds a list, expected an object"),
  ("nothing", {}, "model_type='' of config.json is unknown; known are bert"),
  ("an unknown model", BERT | {"model_type": "bert2"}, "model_type='bert2'"),
  ("a list for a model", BERT | {"model_type": ["bert"]}, "of another type or size"),
  ("no width", {k: v for k, v in BERT.items() if k != "hidden_size"}, "hidden_size=0"),
  ("a width as text", BERT | {"hidden_size": "8"}, "hidden_size='8'"),
  ("a width of NaN", BERT | {"hidden_size": float("nan")}, "hidden_size=nan"),
  ("a fraction for a width", BERT | {"hidden_size": 8.0}, "hidden_size=8.0"),
  ("true for a width", BERT | {"hidden_size": True}, "hidden_size=True"),
  ("null for a width", BERT | {"hidden_size": None}, "hidden_size=None"),
  ("a negative width", BERT | {"hidden_size": -8}, "hidden_size=-8"),
  ("a width of 10 ** 9", BERT | {"hidden_size": 10**9}, "hidden_size=1000000000 of config.json is over 262,144"),
  ("a width of 400 digits", BERT | {"hidden_size": 10**400}, "is over 262,144"),
  ("10 ** 9 layers", BERT | {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 of config.json is over 1,024"),
  ("no layers", BERT | {"num_hidden_layers": 0}, "num_hidden_layers=0"),
  ("10 ** 12 words", BERT | {"vocab_size": 10**12}, "vocab_size=1000000000000 of config.json is over"),
  ("10 ** 12 positions", BERT | {"max_position_embeddings": 10**12}, "max_position_embeddings=1000000000000"),
  ("a list of positions", BERT | {"max_position_embeddings": [24]}, "max_position_embeddings=[24]"),
  ("heads that do not divide", BERT | {"num_attention_heads": 3}, "does not divide into 3 heads"),
  ("more heads than width", BERT | {"num_attention_heads": 16}, "does not divide into 16 heads"),
  ("an unknown activation", BERT | {"hidden_act": "exec"}, "activation 'exec'"),
  ("a list for an activation", BERT | {"hidden_act": ["gelu"]}, "of another type or size"),
  ("an epsilon of NaN", BERT | {"layer_norm_eps": float("nan")}, "layer_norm_eps=nan"),
  ("an infinite epsilon", BERT | {"layer_norm_eps": float("inf")}, "layer_norm_eps=inf"),
  ("an epsilon of 0", BERT | {"layer_norm_eps": 0}, "layer_norm_eps=0"),
  ("an epsilon that float32 lacks", BERT | {"layer_norm_eps": 1e-300}, "layer_norm_eps=1e-300"),
  ("an epsilon of 400 digits", BERT | {"layer_norm_eps": 10**400}, "is not a positive number"),
  ("an epsilon as text", BERT | {"layer_norm_eps": "1e-12"}, "layer_norm_eps='1e-12'"),
  ("relative positions", BERT | {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
  ("a decoder", BERT | {"is_decoder": True}, "is_decoder=true"),
  ("padding past the positions", BERT | {"model_type": "roberta", "pad_token_id": 23}, "pad_token_id=23"),
  ("a negative padding", BERT | {"model_type": "roberta", "pad_token_id": -7}, "pad_token_id=-7"),
  ("a padding as text", BERT | {"model_type": "roberta", "pad_token_id": "1"}, "of another type or size"),
  ("a padding between two", BERT | {"model_type": "roberta", "pad_token_id": 0.5}, "pad_token_id=0.5"),
  (
    "10 ** 9 layers of DistilBERT",
    {"model_type": "distilbert", "vocab_size": 60, "dim": 8, "n_layers": 10**9},
    "n_layers",
  ),
  (
    "few distances",
    BERT | {"model_type": "mpnet", "relative_attention_num_buckets": 2},
    "relative_attention_num_buckets=2",
  ),
  ("10 ** 9 layers of ModernBERT", BERT | {"model_type": "modernbert", "num_hidden_layers": 10**9}, "is over 1,024"),
  ("layer types in a text", BERT | {"model_type": "modernbert", "layer_types": "f"}, "layer_types=f"),
  ("layer types that are numbers", BERT | {"model_type": "modernbert", "layer_types": 7}, "of another type or size"),
  ("layer types in lists", BERT | {"model_type": "modernbert", "layer_types": [[]]}, "of another type or size"),
  ("too few layer types", BERT | {"model_type": "modernbert", "layer_types": ["full_attention"] * 3}, "are not 1 of"),
  ("a theta of NaN", BERT | {"model_type": "modernbert", "global_rope_theta": float("nan")}, "rope_theta=nan"),
  ("rope parameters in a list", BERT | {"model_type": "modernbert", "rope_parameters": [1]}, "of another type or size"),
  ("a head of odd size", LLAMA | {"head_dim": 3}, "3 dimensions of a head are odd"),
  ("a head of 10 ** 9", LLAMA | {"head_dim": 10**9}, "head_dim=1000000000 of config.json is over"),
  ("a theta of 0", LLAMA | {"rope_theta": 0}, "rope_theta=0"),
  ("an infinite theta", LLAMA | {"rope_theta": float("inf")}, "rope_theta=inf"),
  ("a theta that float32 lacks", LLAMA | {"rope_theta": 1e-40}, "rope_theta=1e-40"),
  ("an unknown rope", LLAMA | {"rope_scaling": {"rope_type": "longrope"}}, "rope_type='longrope'"),
  ("rope in a list", LLAMA | {"rope_scaling": [1]}, "of another type or size"),
  ("a factor of NaN", LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": float("nan")}}, "factor=nan"),
  ("a factor as text", LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": "2"}}, "factor='2'"),
  ("a factor of 1e-300", LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 1e-300}}, "that are not finite"),
  ("no factor", LLAMA | {"rope_scaling": {"rope_type": "llama3"}}, "factor=None"),
  (
    "frequencies from nowhere to nowhere",
    LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 1e308, "attention_factor": float("inf")}},
    "not finite",
  ),
  (
    "a theta of 1 for yarn",
    LLAMA | {"rope_theta": 1, "rope_scaling": {"rope_type": "yarn", "factor": 2}},
    "of another type or size",
  ),
  (
    "heads of keys that do not divide",
    LLAMA | {"num_attention_heads": 4, "num_key_value_heads": 3},
    "num_key_value_heads",
  ),
  ("a window of nothing", LLAMA | {"model_type": "mistral", "sliding_window": 1}, "sliding_window=1"),
  ("a window of 10 ** 30", LLAMA | {"model_type": "mistral", "sliding_window": 10**30}, "sliding_window"),
  (
    "Gemma's pattern of 0",
    LLAMA | {"model_type": "gemma3_text", "sliding_window_pattern": 0},
    "sliding_window_pattern=0",
  ),
  (
    "Gemma's scale of NaN",
    LLAMA | {"model_type": "gemma3_text", "query_pre_attn_scalar": float("nan")},
    "query_pre_attn_scalar",
  ),
]
CONFIGS = [
  Bad(f"config.json: {name}", put("config.json", json.dumps(content)), config_json, words)
  for name, content, words in _CONFIG
] + [
  Bad("config.json: no file", lambda folder: None, config_json, "config.json is missing"),
  Bad("config.json: an empty file", put("config.json", ""), config_json, "config.json is not JSON"),
  Bad(
    "config.json: deep JSON", put("config.json", deep(100_000, '{"a":', "}")), config_json, "config.json is not JSON"
  ),
  Bad("config.json: Latin-1", put("config.json", b'{"a": "\xe9"}'), config_json, "config.json is not JSON"),
  Bad(
    "config.json: a number of 5000 digits",
    put("config.json", '{"vocab_size": %s}' % ("9" * 5000)),
    config_json,
    "is not JSON",
  ),
  Bad("config.json: a folder", lambda folder: (folder / "config.json").mkdir(), config_json, "config.json is missing"),
  Bad("config.json: 64 MiB of spaces", put("config.json", b" " * (2**26 + 1)), config_json, "has 67,108,865 bytes"),
]

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def _index(weight_map):
  return both(delete(WEIGHTS), put(INDEX, json.dumps({"weight_map": weight_map})))


def _drop(tensors):
  del tensors[TENSOR]


def _add(tensors):
  tensors["encoder.layer.7.output.dense.weight"] = np.zeros((8, 8), np.float32)


def _nan(tensors):
  tensors[TENSOR][3, 3] = np.nan


def _double(tensors):
  tensors[TENSOR] = np.full((8, 8), 1e300)


def _integers(tensors):
  tensors[TENSOR] = np.zeros((8, 8), np.int8)


def _turned(tensors):
  tensors["embeddings.word_embeddings.weight"] = np.zeros((3, 8), np.float32)


def _modules(change):
  def make(folder):
    modules = json.loads((folder / "modules.json").read_text())
    change(modules)
    (folder / "modules.json").write_text(json.dumps(modules))

  return make


_BROKEN = "is not a whole safetensors file"
_TENSOR = {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 256]}
_MODEL = [  # changes to a good directory
  (
    "no folder",
    lambda folder: [child.unlink() for child in folder.iterdir() if child.is_file()],
    "config.json is missing",
  ),
  ("no weights", delete(WEIGHTS), "no model.safetensors in"),
  (
    "a pickle for weights",
    both(delete(WEIGHTS), put("pytorch_model.bin", b"\x80\x04")),
    "is a pickle, which can run code",
  ),
  ("empty weights", put(WEIGHTS, b""), _BROKEN),
  ("weights without their end", cut(WEIGHTS, -1), _BROKEN),
  (
    "weights with more at the end",
    lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"x"),
    _BROKEN,
  ),
  ("a header of 2 ** 63 bytes", put(WEIGHTS, safetensors({}, size=2**63)), _BROKEN),
  ("a header of 200 MB", put(WEIGHTS, safetensors({}, size=2 * 10**8)), _BROKEN),
  ("a header that is no JSON", put(WEIGHTS, safetensors(b"hello   ")), _BROKEN),
  ("a deep header", put(WEIGHTS, safetensors(deep(100_000, '{"a":', "}").encode())), _BROKEN),
  ("a header in a list", put(WEIGHTS, safetensors([])), _BROKEN),
  ("a header of nothing", put(WEIGHTS, safetensors({})), "missing embeddings.LayerNorm.bias"),
  ("no shape", put(WEIGHTS, safetensors({"a": {"dtype": "F32"}})), _BROKEN),
  ("a type that is none", header(dtype="F33"), _BROKEN),
  ("a negative size", header(shape=[-8, -8]), _BROKEN),
  ("a fraction for a size", header(shape=[8.0, 8]), _BROKEN),
  ("a shape whose product overflows", header(shape=[2**33, 2**33]), _BROKEN),
  ("a shape of 10 ** 30", header(shape=[10**30]), _BROKEN),
  ("a shape as text", header(shape="88"), _BROKEN),
  ("a shape of other rows", header(shape=[4, 16]), "has shape [4, 16], expected [8, 8]"),
  ("a shape of one row more", header(shape=[9, 8]), _BROKEN),
  (
    "rows without an entry",
    put(WEIGHTS, safetensors({"a": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}})),
    "extra a",
  ),
  ("offsets past the end", header(data_offsets=[0, 2**40]), _BROKEN),
  ("offsets that overlap", header(data_offsets=[0, 256]), _BROKEN),
  ("offsets backwards", header(data_offsets=[256, 0]), _BROKEN),
  ("negative offsets", header(data_offsets=[-256, 0]), _BROKEN),
  (
    "a hole between tensors",
    put(WEIGHTS, safetensors({"a": _TENSOR | {"data_offsets": [8, 264]}}, b"\0" * 264)),
    _BROKEN,
  ),
  ("a tensor missing", weights(_drop), f"missing {TENSOR}"),
  ("a tensor too many", weights(_add), "extra encoder.layer.7.output.dense.weight"),
  ("NaN in a weight", weights(_nan), f"{TENSOR} in"),
  ("weights past float32", weights(_double), "holds NaN or infinity"),
  ("integers for weights", weights(_integers), "has dtype I8, expected a floating one"),
  ("fewer words than the config says", weights(_turned), "has shape [3, 8]"),
  ("one layer more than there is", edit("config.json", num_hidden_layers=2), "missing encoder.layer.1."),
  ("another width", edit("config.json", hidden_size=16), "takes 8 dimensions, and the encoder gives 16"),
  (
    "a vocabulary past the table",
    edit(
      "tokenizer.json",
      added_tokens=[
        {
          "id": 999,
          "content": "zz",
          "single_word": False,
          "lstrip": False,
          "rstrip": False,
          "normalized": False,
          "special": False,
        }
      ],
    ),
    "'zz' with the id 59, past the 59 rows",
  ),
  (
    "a template past the table",
    edit(
      "tokenizer.json", post_processor={"type": "BertProcessing", "sep": ["[SEP]", 4_000_000_000], "cls": ["[CLS]", 2]}
    ),
    "past the",
  ),
  ("an index that is no JSON", both(delete(WEIGHTS), put(INDEX, "{")), "index.json is not JSON"),
  ("an index in a list", both(delete(WEIGHTS), put(INDEX, "[]")), "expected an object"),
  ("an index of nothing", _index({}), "has no weight_map"),
  ("an index whose map is a list", _index([1]), "is a list"),
  ("an index of numbers", _index({"a": 5}), "names 5, a file outside"),
  ("an index that names /etc/passwd", _index({"a": "/etc/passwd"}), "names '/etc/passwd', a file outside"),
  ("an index that climbs", _index({"a": "x/../../secret.safetensors"}), "a file outside its directory"),
  ("an index of a missing file", _index({"a": "b.safetensors"}), "b.safetensors is missing"),
  ("an index of its own folder", _index({"a": "."}), "is missing"),
  ("an index with a NUL", _index({"a": "a\0b"}), ""),
  ("an index of a name of 5000 letters", _index({"a": "a" * 5000}), ""),
  (
    "an index that disagrees",
    both(lambda f: (f / WEIGHTS).rename(f / "b.safetensors"), put(INDEX, '{"weight_map": {"a": "b.safetensors"}}')),
    "disagree on",
  ),
  ("weights that are a link", link(WEIGHTS, "/etc/passwd"), "is a link to '/etc/passwd', outside of the model"),
  ("a config that is a link", link("config.json", "/dev/zero"), "is a link to '/dev/zero', outside"),
  ("a link that climbs", link("tokenizer.json", "../../elsewhere.json"), "outside of the model"),
  ("a folder that is a link", lambda folder: (folder / "3_More").symlink_to("/etc"), "is a link to '/etc'"),
  ("a circle of links", both(link("x", "y"), link("y", "x"), delete("config.json")), "config.json is missing"),
  ("a link to no file", link("config.json", "nowhere.json"), "config.json is missing"),
  ("modules that are no JSON", put("modules.json", "{"), "modules.json is not JSON"),
  ("deep modules", put("modules.json", deep(100_000)), "modules.json is not JSON"),
  ("modules in an object", put("modules.json", "{}"), "has the modules"),
  ("no modules", put("modules.json", "[]"), "has the modules"),
  ("modules that are numbers", put("modules.json", "[1, 2]"), "is not a list of modules"),
  ("modules without a path", put("modules.json", '[{"type": "a"}]'), "is not a list of modules"),
  ("a module of another type", _modules(lambda m: m[1].update(type=5)), "of another type than sentence-transformers"),
  ("a module of code", _modules(lambda m: m[2].update(type="evil.Evil")), "has the modules Transformer, Pooling, Evil"),
  ("a module above", _modules(lambda m: m[2].update(path="../2_Dense")), "a folder outside its directory"),
  ("a module from the root", _modules(lambda m: m[2].update(path="/etc")), "a folder outside its directory"),
  ("no pooling", delete("1_Pooling/config.json"), "config.json is missing"),
  ("an unknown pooling", edit("1_Pooling/config.json", pooling_mode="exec"), "has the pooling exec"),
  ("a number for a pooling", edit("1_Pooling/config.json", pooling_mode=5), "of another type"),
  ("two poolings", edit("1_Pooling/config.json", pooling_mode_cls_token=True), "cls + mean"),
  ("a Dense without weights", delete("2_Dense/model.safetensors"), "model.safetensors is missing"),
  ("a Dense without sizes", edit("2_Dense/config.json", in_features=MISSING), "of another type"),
  ("a Dense of other sizes", edit("2_Dense/config.json", out_features=5), "expected linear.weight [5, 8]"),
  ("a Dense of sizes as text", edit("2_Dense/config.json", out_features="4"), "expected linear.weight"),
  (
    "a Dense with an activation of code",
    edit("2_Dense/config.json", activation_function="os.system"),
    "has the activation os.system",
  ),
  (
    "a Dense of 2 ** 62 rows without an entry",
    both(
      edit("2_Dense/config.json", out_features=2**62, in_features=0, bias=False),
      put(
        "2_Dense/model.safetensors",
        safetensors({"linear.weight": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}}),
      ),
    ),
    "expected linear.weight",
  ),
  (
    "a Dense of integers",
    weights(lambda t: t.update({"linear.bias": np.zeros(4, np.int64)}), "2_Dense/model.safetensors"),
    "'linear.bias': 'I64 [4]'",
  ),
  (
    "a Dense for another width",
    both(
      edit("2_Dense/config.json", in_features=6),
      weights(lambda t: t.update({"linear.weight": np.zeros((4, 6), np.float32)}), "2_Dense/model.safetensors"),
    ),
    "takes 6 dimensions, and the encoder gives 8",
  ),
  (
    "NaN in a Dense",
    weights(lambda t: t.update({"linear.bias": np.full(4, np.nan, np.float32)}), "2_Dense/model.safetensors"),
    "linear.bias in",
  ),
  ("prompts that are numbers", edit("config_sentence_transformers.json", prompts={"query": 5}), "expected texts"),
  ("prompts in a list", edit("config_sentence_transformers.json", prompts=["a"]), "of another type"),
  (
    "half a surrogate pair in a prompt",
    edit("config_sentence_transformers.json", prompts={"query": "\ud800"}),
    "expected texts",
  ),
  ("a length as text", edit("sentence_bert_config.json", max_seq_length="24"), "of another type"),
  ("a length of 1", edit("sentence_bert_config.json", max_seq_length=1), "max_length=1 has no room"),
]
MODELS = [Bad(f"model: {name}", copied(small_model, change), model, words) for name, change, words in _MODEL]


def _shrunk(texts=None, change=None):
  """The small model, changed, and texts."""

  def make(folder):
    (folder / "model").mkdir()
    copied(small_model, change or (lambda model: None))(folder / "model")
    (folder / "texts").mkdir()
    (texts or put("en.txt", "a note\n"))(folder / "texts")

  return make


_FEW = {"tokens": 20}
_SHRINK = [  # name, texts, change of the model, what is wanted, words
  ("no texts", both(put("en.txt", "")), None, _FEW, "there is no token in the texts"),
  ("blank texts", put("en.txt", " \n\t\n"), None, _FEW, "there is no token in the texts"),
  ("a directory of nothing", put("a/b.csv", "x"), None, _FEW, "holds no texts; there is a; name a directory"),
  ("tests only", put("test.jsonl", '{"text": "a"}'), None, _FEW, "train.jsonl does not exist; there is test.jsonl"),
  ("another field", put("train.jsonl", '{"body": "a"}'), None, _FEW, "train.jsonl:1: no text in the fields text,"),
  ("numbers for texts", put("train.jsonl", '{"text": 1}'), None, _FEW, "train.jsonl:1: no text in the fields text,"),
  ("half a surrogate pair", put("train.jsonl", r'{"text": "\ud800"}'), None, _FEW, "half a surrogate pair"),
  ("lines in Latin-1", put("en.txt", b"ok\n\xe9\n"), None, _FEW, "en.txt:2: not UTF-8"),
  ("a line of 32 MiB", put("en.txt", FLOOD), None, _FEW, "a line of more than"),
  ("a gzip file without its end", put("en.txt.gz", zipped(b"a\n" * 999)[:-9]), None, _FEW, "not a whole gzip file"),
  (
    "300 languages",
    put("train.jsonl", "".join(f'{{"text": "a", "language": "l{i}"}}\n' for i in range(300))),
    None,
    _FEW,
    "more than 256 groups",
  ),
  ("a language that steers", put("\u202een.txt", "a\n"), None, _FEW, "field 'language' is no name"),
  ("10 ** 9 tokens", None, None, {"tokens": 10**9}, "tokens=1000000000 is more than the"),
  ("fewer tokens than none", None, None, {"tokens": -1}, "tokens=-1"),
  ("one token", None, None, {"tokens": 1}, "tokens=1 is below the"),
  (
    "no room for characters",
    put("en.txt", "a note about soup and bread\n"),
    None,
    {"tokens": 8, "min_character_count": 1},
    "tokens=8 has no room for",
  ),
  ("a balance of NaN", None, None, {"tokens": 20, "balance": float("nan")}, "balance=nan"),
  ("a layer past the last", None, None, {"layers": (1,)}, "1 is not a layer of this model; it has 0 to 0"),
  ("a layer of 400 digits", None, None, {"layers": (10**400,)}, "is not a layer of this model"),
  ("a layer before the first", None, None, {"layers": (-1,)}, "-1 is not a layer of this model"),
  ("a layer twice", None, None, {"layers": (0, 0)}, "layers=0,0 must name each layer once"),
  ("weights of NaN", None, weights(lambda tensors: _nan(tensors)), {"layers": (0,)}, "holds NaN or infinity"),
  ("no model", None, delete("model.safetensors"), _FEW, "no model.safetensors in"),
  ("no tokenizer", None, delete("tokenizer.json"), _FEW, "tokenizer"),
  ("settings that are no JSON", None, put("tokenizer_config.json", "{"), _FEW, "tokenizer_config.json is not JSON"),
  ("deep settings", None, put("special_tokens_map.json", deep(100_000)), _FEW, "special_tokens_map.json is not JSON"),
  ("a license elsewhere", None, link("LICENSE", "/etc/passwd"), {"layers": (0,)}, "outside of the model"),
  ("padding that is none", None, edit("tokenizer.json", padding={"pad_id": 0}), _FEW, "is no tokenizer that"),
]
SHRINK = [
  Bad(f"shrink: {name}", _shrunk(texts, change), shrunk(**wanted), words)
  for name, texts, change, wanted, words in _SHRINK
]

_ADAPTER = [
  ("no config", delete("adapter_config.json"), "adapter_config.json is missing"),
  ("deep JSON", put("adapter_config.json", deep(100_000)), "is not JSON"),
  ("another method", edit("adapter_config.json", peft_type="IA3"), "peft_type='IA3'; only plain LoRA"),
  ("no rank", edit("adapter_config.json", r=MISSING), "r=None"),
  ("a rank of 0", edit("adapter_config.json", r=0), "r=0"),
  ("true for a rank", edit("adapter_config.json", r=True), "r=True"),
  ("a rank as text", edit("adapter_config.json", r="2"), "r='2'"),
  ("a rank of 10 ** 12", edit("adapter_config.json", r=10**12), "expected floats"),
  ("an alpha of NaN", edit("adapter_config.json", lora_alpha=float("nan")), "lora_alpha=nan"),
  ("an infinite alpha", edit("adapter_config.json", lora_alpha=float("inf")), "lora_alpha=inf"),
  ("an alpha of 400 digits", edit("adapter_config.json", lora_alpha=10**400), "lora_alpha=1000"),
  ("a dropout of 1", edit("adapter_config.json", lora_dropout=1), "lora_dropout=1"),
  ("a dropout as text", edit("adapter_config.json", lora_dropout="0"), "lora_dropout='0'"),
  ("a number for a base", edit("adapter_config.json", base_model_name_or_path=5), "base_model_name_or_path=5"),
  ("code to run", edit("adapter_config.json", init_lora_weights="pissa"), "only plain LoRA is supported"),
  ("no tensors", delete("adapter_model.safetensors"), "adapter_model.safetensors is missing"),
  ("empty tensors", put("adapter_model.safetensors", safetensors({})), "it has no tensor for it"),
  (
    "tensors of another model",
    put("adapter_model.safetensors", safetensors({"x.lora_A.weight": _TENSOR}, b"\0" * 256)),
    "which the model has not",
  ),
  ("tensors without their end", cut("adapter_model.safetensors", -1), _BROKEN),
  ("tensors that are a link", link("adapter_model.safetensors", "/etc/passwd"), "outside of the model"),
  (
    "one matrix of two",
    weights(lambda t: t.pop(next(n for n in t if "lora_A" in n)), "adapter_model.safetensors"),
    "has one matrix of two",
  ),
  (
    "NaN",
    weights(lambda t: next(v for n, v in t.items() if "lora_A" in n).fill(np.nan), "adapter_model.safetensors"),
    "holds NaN",
  ),
]
ADAPTERS = [Bad(f"adapter: {name}", copied(small_adapter, change), adapter, words) for name, change, words in _ADAPTER]

_COMMAND = [  # arguments of python -m mtc.main
  ("a dict as a whole", ["--config.evaluations={}"], "is not a single value"),
  ("a part as a whole", ["--config.model", "bert"], "is not a single value"),
  ("an unknown field", ["--config.stepz=5"], "stepz"),
  ("an unknown task", ["--config.tasks.nope.weight=1"], "nope"),
  ("text for a number", ["--config.steps=many"], "many"),
  ("a fraction for a number", ["--config.steps=1.5"], "1.5"),
  ("steps of 0", ["--config.steps=0"], "steps=0 is not positive"),
  ("10 ** 30 steps", ["--config.steps=1" + "0" * 30], "steps is a number of 100 bits"),
  ("a seed below 0", ["--config.seed=-1"], "seed=-1 is negative"),
  ("a seed of 2 ** 64", [f"--config.seed={2**64}"], "seed is a number of 65 bits"),
  ("a weight of NaN", ["--config.tasks.interest.weight=nan"], "tasks.interest.weight=nan is not a finite number"),
  ("an infinite weight", ["--config.tasks.interest.weight=inf"], "tasks.interest.weight=inf"),
  ("a rate of NaN", ["--config.optim.learning_rate=nan"], "optim.learning_rate=nan"),
  ("an infinite rate", ["--config.optim.learning_rate=inf"], "optim.learning_rate=inf"),
  ("a clip of NaN", ["--config.optim.clip_norm=nan"], "optim.clip_norm=nan"),
  ("a temperature of NaN", ["--config.tasks.interest.loss.loss.temperature=nan"], "loss.temperature=nan"),
  ("a temperature of 0", ["--config.tasks.interest.loss.loss.temperature=0"], "temperature"),
  (
    "a batch of 10 ** 12",
    ["--config.tasks.interest.batch_size=1000000000000"],
    "tasks.interest.batch_size is a number of 40 bits",
  ),
  ("a batch of 1", ["--config.tasks.interest.batch_size=1"], "batch_size=1"),
  ("a negative length", ["--config.tasks.interest.max_length=-5"], "max_length=-5"),
  ("a width of 10 ** 12", ["--config.model.width=1000000000000"], "model.width is a number"),
  ("a negative width", ["--config.model.width=-192"], "model.width=-192"),
  ("a dropout of 1", ["--config.model.dropout=1"], "model.dropout=1.0"),
  ("an unknown type", ["--config.model.dtype=float8"], "model.dtype='float8'"),
  ("an unknown pooling", ["--config.model.pooling=sum"], "model.pooling='sum'"),
  ("code for a field", ["--config.steps=__import__('os').abort()"], ""),
  ("deep brackets for a field", [f"--config.steps={deep(5000, '(', ')')}"], ""),
  ("a number for a tuple", ["--config.optim.freeze=(1,2)"], "optim.freeze"),
  ("an override of the whole", ["--config.model=5"], ""),
  ("a word that is no flag", ["steps=5"], "'steps=5' is not a flag"),
  ("an unknown flag", ["--stepz=5"], "stepz"),
  ("a directory that is not UTF-8", ["--config.data_dir=caf\udce9"], r"--config.data_dir 'caf\udce9' holds bytes that"),
  ("its flag before it", ["--config.data_dir", "a\udcff/b"], r"--config.data_dir 'a\udcff/b' holds bytes that are not"),
  ("a word that is not UTF-8", ["caf\udce9"], r"argument 'caf\udce9' holds bytes that are not UTF-8; rename"),
]
COMMANDS = [
  Bad(f"command: {name}", lambda folder: None, overridden(*words_), words) for name, words_, words in _COMMAND
]
_CONFIG = """from mtc.config import Experiment, Task
from mtc.data import InMemory, Jsonl, Parquet


def get_config():
  return Experiment(tasks={"a": Task(%s)})
"""
_CONFIG_FILE = [
  ("no such file", lambda folder: None, "No such file"),
  ("no Python", put("c.py", "def"), ""),
  ("no get_config", put("c.py", "x = 1\n"), "get_config"),
  ("NUL bytes", put("c.py", b"\0\0"), ""),
  ("Latin-1", put("c.py", b"# \xe9\n"), ""),
  ("it returns a dict", put("c.py", "def get_config():\n  return {}\n"), "get_config() of --config returned"),
  ("it returns None", put("c.py", "def get_config():\n  return None\n"), ""),
  ("it raises", put("c.py", "def get_config():\n  return 1 / 0\n"), ""),
  (
    "it names a folder that is not UTF-8",
    put(
      "c.py",
      "from mtc import config, data\ndef get_config():\n"
      "  return config.Experiment(tasks={'a': config.Task(data.Folder('caf\\udce9'))})\n",
    ),
    r"tasks.a.source.name 'caf\udce9' holds bytes that are not UTF-8",
  ),
  ("a colon in its directory", put("a:b/c.py", ""), "a:b/c.py has a ':', which comes before the argument"),
  (
    "it gives a type another value",
    put("c.py", _CONFIG % 'Jsonl("x", files="a.jsonl")'),
    "c.py:6: files='a.jsonl' of Jsonl",
  ),
  (
    "it gives a path that is none",
    put("c.py", _CONFIG % "Parquet(None)"),
    "c.py:6: path=None of Parquet is a NoneType",
  ),
  ("it gives an unknown field", put("c.py", _CONFIG % 'Jsonl(p="x")'), "c.py:6: TypeError: Jsonl.__init__() got an"),
  ("it gives a class", put("c.py", _CONFIG % "Jsonl"), "tasks.a.source=<class"),
  (
    "it gives rows that are no list",
    put("c.py", _CONFIG % "InMemory({'train': 5})"),
    "c.py:6: rows_by_split['train'] of",
  ),
  ("it imports nothing there is", put("c.py", "import nothing_there_is\n"), "nothing_there_is"),
]
CONFIG_FILES = [
  Bad(f"config file: {name}", make, overridden(config="a:b/c.py" if "colon" in name else "c.py"), words)
  for name, make, words in _CONFIG_FILE
]

TABLE = [
  *(
    *JSONL,
    *GZIP,
    *FILES,
    *BEIR,
    *TESTS,
    *PARQUET,
    *TEXTS,
    *ENCODED,
    *VECTORS,
    *TOKENIZERS,
    *CONFIGS,
    *MODELS,
    *ADAPTERS,
    *COMMANDS,
  ),
  *CONFIG_FILES,
  *SHRINK,
]
