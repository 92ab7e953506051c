"""The client of /v1/embeddings against a real HTTP server on this machine, which answers well or badly."""

import base64
from collections.abc import Callable
import contextlib
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import sqlite3
import threading
import time

import numpy as np
import pytest

from mtc.evaluation import api
from mtc.evaluation.api import Api


def vector(text: str, width: int = 4) -> list[float]:
  """What the server's model makes of a text."""
  return [len(text) + 0.25, *(float(text.count(c)) for c in "abcdefgh"[: width - 1])]


def answer(texts, width=4):
  return {"data": [{"index": i, "embedding": vector(text, width)} for i, text in enumerate(texts)]}


class Endpoint:
  """A server that plays its `faults` one after another, each a function of the handler and its texts, then behaves."""

  def __init__(self):
    self.faults: list[Callable] = []
    self.asked: list[dict] = []  # bodies
    self.headers: list[dict] = []
    self.times: list[float] = []
    endpoint = self

    class Handler(BaseHTTPRequestHandler):
      def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        endpoint.asked.append(body | {"path": self.path})
        endpoint.headers.append(dict(self.headers))
        endpoint.times.append(time.monotonic())
        fault = endpoint.faults.pop(0) if endpoint.faults else send(answer)
        fault(self, body["input"])

      def log_message(self, *unused):
        pass

    self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
    self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def send(make: Callable, status: int = 200, **headers: str) -> Callable:
  """A fault: answers `make(texts)`, as JSON where it is no string."""

  def play(handler, texts):
    made = make(texts)
    data = (made if isinstance(made, str) else json.dumps(made)).encode()
    handler.send_response(status)
    for name, value in headers.items():
      handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)

  return play


def drop(handler, texts):
  handler.connection.shutdown(2)
  handler.close_connection = True


def cut(handler, texts):
  """Promises more bytes than come."""
  handler.send_response(200)
  handler.send_header("Content-Length", "5000")
  handler.end_headers()
  handler.wfile.write(b'{"data": [')
  drop(handler, texts)


@pytest.fixture
def endpoint():
  made = Endpoint()
  yield made
  made.server.shutdown()
  made.server.server_close()


@pytest.fixture
def client(endpoint, tmp_path, monkeypatch):
  monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
  waits = []
  made = Api(endpoint.url, "m", tmp_path / "cache.sqlite", per_second=1000, attempts=4, timeout=5, sleep=waits.append)
  made.waits = waits
  return made


TEXTS = ["a cab", "abba", "", "déjà", "a cab"]


def test_vectors_come_in_the_order_of_the_texts(endpoint, client):
  np.testing.assert_array_equal(client(TEXTS), [vector(text) for text in TEXTS])
  assert [body["input"] for body in endpoint.asked] == [["a cab", "abba", "", "déjà"]], "each text once"
  assert endpoint.asked[0]["model"] == "m" and endpoint.asked[0]["path"] == "/v1/embeddings"
  assert "dimensions" not in endpoint.asked[0]
  assert endpoint.headers[0]["Authorization"] == "Bearer sk-secret"
  assert (client.texts, client.seconds > 0) == (4, True)


def test_texts_go_in_batches_of_a_number_and_of_a_size(endpoint, client, monkeypatch):
  monkeypatch.setattr(api, "BATCH", 3)
  monkeypatch.setattr(api, "_LETTERS", 10)
  texts = ["a", "b", "c", "d", "eeeeeeeeee", "ff", "ggggggggggggg"]
  np.testing.assert_array_equal(client(texts), [vector(text) for text in texts])
  assert [body["input"] for body in endpoint.asked] == [["a", "b", "c"], ["d"], ["eeeeeeeeee"], ["ff"], [texts[-1]]]


def test_nothing_is_asked_twice_not_even_after_a_kill(endpoint, client, tmp_path, monkeypatch):
  monkeypatch.setattr(api, "BATCH", 2)
  endpoint.faults = [send(answer), send(lambda texts: "no", 400)]
  with pytest.raises(ValueError, match="refuses, status 400: no"):
    client(["a", "b", "c", "d"])
  again = Api(endpoint.url + "/embeddings/", "m", tmp_path / "cache.sqlite", per_second=1000)
  np.testing.assert_array_equal(again(["d", "c", "b", "a"]), [vector(text) for text in "dcba"])
  np.testing.assert_array_equal(again(["a", "b"]), [vector(text) for text in "ab"])
  assert [body["input"] for body in endpoint.asked] == [["a", "b"], ["c", "d"], ["d", "c"]]
  assert again.texts == 2, "those of the cache cost nothing"


def test_another_model_or_width_is_asked_for_anew(endpoint, client, tmp_path):
  client(["a"])
  Api(endpoint.url, "other", client.cache, per_second=1000)(["a"])
  endpoint.faults = [send(lambda texts: answer(texts, 2))]
  short = Api(endpoint.url, "m", client.cache, dimensions=2, per_second=1000)(["a"])
  assert short.shape == (1, 2) and endpoint.asked[2]["dimensions"] == 2
  assert [body["model"] for body in endpoint.asked] == ["m", "other", "m"]


def test_a_shuffled_answer_is_put_in_order_and_base64_is_read(endpoint, client):
  def shuffled(texts):
    rows = answer(texts)["data"][::-1]
    for row in rows[:2]:
      row["embedding"] = base64.b64encode(np.array(row["embedding"], "<f4").tobytes()).decode()
    return {"data": rows}

  endpoint.faults = [send(shuffled)]
  np.testing.assert_array_equal(client(TEXTS), [vector(text) for text in TEXTS])


FAULTS = {
  "too many requests": send(lambda texts: "slow down", 429, Retry_After="7"),
  "an error of the server": send(lambda texts: "oops", 500),
  "a gateway": send(lambda texts: "<html>", 503, Retry_After="soon"),
  "a dropped connection": drop,
  "an answer that is cut": cut,
  "cut JSON": send(lambda texts: '{"data": [{"index": 0'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again(fault, endpoint, client, capsys):
  endpoint.faults = [FAULTS[fault]] * 2
  np.testing.assert_array_equal(client(TEXTS), [vector(text) for text in TEXTS])
  assert len(endpoint.asked) == 3
  waits = [wait for wait in client.waits if wait > 0.01]
  if fault == "too many requests":
    assert waits == [7, 7]
  else:
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2, "backs off"
  said = capsys.readouterr()
  assert "again in" in said.err and "sk-secret" not in said.out + said.err


def test_a_slow_answer_is_given_up_and_asked_for_again(endpoint, client):
  endpoint.faults = [lambda handler, texts: time.sleep(0.5)]
  client.timeout = 0.2
  np.testing.assert_array_equal(client(TEXTS), [vector(text) for text in TEXTS])
  assert len(endpoint.asked) == 2


def test_it_gives_up_in_the_end_and_when_asked_to_wait_for_long(endpoint, client):
  endpoint.faults = [FAULTS["an error of the server"]] * 4
  with pytest.raises(ValueError, match="failed 4 times, at last: status 500: oops; what is done is kept"):
    client(["a"])
  assert len(endpoint.asked) == 4
  endpoint.faults = [send(lambda texts: "later", 429, Retry_After=formatdate(time.time() + 3600))]
  with pytest.raises(ValueError, match=r"asks to wait 3[56]\d\d s"):
    client(["a"])


def one(**changes):
  return lambda texts: {"data": [row | changes for row in answer(texts)["data"]]}


REFUSED = {
  "too few": (lambda texts: {"data": answer(texts)["data"][1:]}, "gives 1 vectors with 1 indexes for 2 texts"),
  "an index twice": (one(index=0), "gives 2 vectors with 1 indexes for 2 texts"),
  "other indexes": (
    lambda texts: {"data": [row | {"index": row["index"] + 1} for row in answer(texts)["data"]]}, "expected one of"),
  "dimensions that differ": (
    lambda texts: {"data": [answer(texts, 4)["data"][0], answer(texts, 3)["data"][1]]}, "3 and 4 dimensions"),
  "no dimensions": (one(embedding=[]), "0 dimensions"),
  "NaN": (one(embedding=[1.0, float("nan")]), "NaN or infinity"),
  "no numbers": (one(embedding=["x"]), "is no list of embeddings"),
  "numbers as strings": (one(embedding=["0.5", "1"]), "is no list of embeddings"),
  "booleans": (one(embedding=[True, False]), "is no list of embeddings"),
  "lists of numbers": (one(embedding=[[0.5], [0.5]]), "is no list of embeddings"),
  "an object": (one(embedding={"0": 0.5}), "is no list of embeddings"),
  "a number of 400 digits": (one(embedding=[10**400]), "is no list of embeddings"),
  "a number past float32": (one(embedding=[1e300]), "NaN or infinity"),
  "packed bits": (one(embedding=[200, 13, 0, 255]), "whole numbers up to 255, which are packed bits or quantized"),
  "packed bits as fractions": (one(embedding=[200.0, 13.0]), "whole numbers up to 200"),
  "calibrated int8": (one(embedding=[-120, 3, 77]), "whole numbers up to 120"),
  "float16 in base64": (
    one(embedding=base64.b64encode(np.full(8, 0.05, np.float16).tobytes()).decode()), "what bits, integers or float16"),
  "int8 in base64": (
    one(embedding=base64.b64encode(np.full(8, 105, np.int8).tobytes()).decode()), "what bits, integers or float16"),
  "no base64": (one(embedding="?"), "is no list of embeddings"),
  "another answer": (lambda texts: {"models": []}, "is no list of embeddings"),
  "a list": (lambda texts: [1], "is no list of embeddings"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_answer_that_cannot_be_right_is_refused_and_not_kept(what, endpoint, client):
  make, message = REFUSED[what]
  endpoint.faults = [send(make)]
  with pytest.raises(ValueError, match=message):
    client(["a", "b"])
  assert len(endpoint.asked) == 1
  assert client(["a", "b"]).shape == (2, 4)


def test_a_model_that_changes_its_width_is_refused(endpoint, client, tmp_path):
  client(["a"])
  endpoint.faults = [send(lambda texts: answer(texts, 3))]
  with pytest.raises(ValueError, match="3 dimensions; expected 4"):
    client(["a", "b"])
  endpoint.faults = [send(lambda texts: answer(texts, 3))]
  Api(endpoint.url, "m", client.cache, per_second=1000)(["c"])
  with pytest.raises(ValueError, match="other vectors than before; remove the cache"):
    Api(endpoint.url, "m", client.cache, per_second=1000)(["a", "c"])


def test_the_key_is_never_shown_and_goes_nowhere_else(endpoint, client, monkeypatch, capsys):
  endpoint.faults = [send(lambda texts: "Incorrect API key sk-secret", 401)]
  with pytest.raises(ValueError, match=r"key \*\*\*; is OPENAI_API_KEY the right key\?"):
    client(["a"])
  endpoint.faults = [send(lambda texts: "", 307, Location=endpoint.url + "/elsewhere")]
  with pytest.raises(ValueError, match="status 307"):
    client(["a"])
  assert len(endpoint.asked) == 2
  monkeypatch.setenv("OPENAI_API_KEY", "sk-two\nlines")
  with pytest.raises(ValueError, match="OPENAI_API_KEY holds characters") as told:
    client(["a"])
  assert "sk-two" not in str(told.value)
  monkeypatch.delenv("OPENAI_API_KEY")
  client(["a"])
  assert "Authorization" not in endpoint.headers[-1]
  client.key_variable = "OTHER_KEY"
  monkeypatch.setenv("OTHER_KEY", "k2\n")
  client(["b"])
  assert endpoint.headers[-1]["Authorization"] == "Bearer k2"
  assert b"sk-" not in client.cache.read_bytes()
  said = capsys.readouterr()
  assert "sk-" not in said.out + said.err


def test_requests_keep_their_distance(endpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(api, "BATCH", 1)
  Api(endpoint.url, "m", tmp_path / "c", per_second=20)(["a", "b", "c", "d"])
  assert endpoint.times[-1] - endpoint.times[0] > 0.12


def test_bad_settings_and_a_cache_that_is_none(endpoint, tmp_path):
  with pytest.raises(ValueError, match="'localhost:1' with the model 'm' is not URL#MODEL"):
    Api("localhost:1", "m", tmp_path / "c")
  with pytest.raises(ValueError, match="dimensions=-1"):
    Api(endpoint.url, "m", tmp_path / "c", dimensions=-1)
  (tmp_path / "text").write_text("this is no database, " * 100)
  with pytest.raises(ValueError, match="the cache .*text cannot be used"):
    Api(endpoint.url, "m", tmp_path / "text")(["a"])


def test_nobody_listens(tmp_path):
  with pytest.raises(ValueError, match="failed 2 times, at last: .*refused"):
    Api("http://127.0.0.1:9/v1", "m", tmp_path / "c", attempts=2, sleep=lambda seconds: None)(["a"])


@pytest.mark.parametrize("rows", [[[0, 0], [0, 0]], [[1, 0], [0, -1]], [[1, 0.5], [2, 3]], [[1, -1], [-1, 1]]])
def test_whole_numbers_that_a_float_vector_may_hold_are_read(rows, endpoint, client):
  """JavaScript writes 1.0 as 1, and an empty text may have a vector of zeros."""
  endpoint.faults = [send(lambda texts: {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})]
  np.testing.assert_array_equal(client(["a", "b"]), rows)


def test_packed_bits_that_an_older_version_kept_are_refused(client):
  client(["a", "b"])
  with contextlib.closing(sqlite3.connect(client.cache)) as cache, cache:
    cache.execute("UPDATE vectors SET vector = ?", (np.array([200, 13, 0, 255], "<f4").tobytes(),))
  with pytest.raises(ValueError, match=r"the cache .*cache\.sqlite \(remove it, or name another\) gives .* up to 255"):
    client(["a", "b"])


def test_no_text_is_no_request(endpoint, client):
  assert client([]).shape[0] == 0 and not endpoint.asked
