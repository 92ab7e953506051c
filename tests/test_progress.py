"""A bar that is drawn over itself on a terminal, and is a line a minute in a log."""

import sys

import pytest

from mtc import progress


class Terminal:
  """What a bar writes to."""

  encoding = "utf-8"

  def __init__(self, is_terminal):
    self.is_terminal, self.text = is_terminal, ""

  def isatty(self):
    return self.is_terminal

  def write(self, text):
    self.text += text

  def flush(self):
    pass


@pytest.fixture
def opened(monkeypatch):
  """A function that opens a bar whose updates take a number of seconds each."""

  def open_bar(is_terminal, seconds, updates=0, **options):
    stderr = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.Bar(total=100, unit="text", **options) as bar:
      now = bar.start_t
      bar._time = lambda: now
      for _ in range(updates):
        now += seconds
        bar.update(1)
    return stderr.text

  return open_bar


def test_a_log_gets_a_line_a_minute_and_one_at_the_end(opened):
  text = opened(False, 7, 30)  # 210 seconds
  assert "\r" not in text and text.endswith("\n")
  lines = text.splitlines()
  assert [line.split("/")[0].split()[-1] for line in lines] == ["9", "18", "27", "30"]
  assert "[03:30<08:10," in lines[-1] and all("text" in line for line in lines)


@pytest.mark.parametrize("seconds, counts", [(0.01, ["30"]), (90, [*map(str, range(1, 31)), "30"])])
def test_work_that_is_fast_or_slow(opened, seconds, counts):
  lines = opened(False, seconds, 30).splitlines()
  assert [line.split("/")[0].split()[-1] for line in lines] == counts


def test_a_bar_that_does_not_stay_has_no_last_line(opened):
  assert opened(False, 1, 30, leave=False) == ""
  assert len(opened(False, 7, 30, leave=False).splitlines()) == 3


def test_a_terminal_gets_the_bar_of_tqdm(opened):
  text = opened(True, 0.2, 30)
  assert text.count("\r") > 20 and text.count("\n") == 1


def test_a_bar_that_is_off_prints_nothing(opened):
  with progress.Bar(total=3, disable=True) as bar:
    bar.skip(1)
    bar.update(2)
  assert bar.n == 0


def test_what_was_done_before_does_not_count_for_the_rate(opened, monkeypatch):
  monkeypatch.setattr(sys, "stderr", stderr := Terminal(False))
  with progress.Bar(total=100, unit="text") as bar:
    now = bar.start_t
    bar._time = lambda: now
    bar.skip(50)
    now += 10
    bar.update(10)
  assert " 60/100 [00:10<00:40,  1.00text/s]" in stderr.text


def test_an_iterable_is_counted(monkeypatch):
  monkeypatch.setattr(sys, "stderr", stderr := Terminal(False))
  assert list(progress.Bar(range(7), desc="rows", unit=" rows")) == list(range(7))
  assert stderr.text.count("\n") == 1 and "rows: 100%" in stderr.text and " 7/7 " in stderr.text
