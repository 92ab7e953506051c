"""Batches are as large as they may be, hold everything in order, and are never empty."""

from hypothesis import given, strategies as st

from mtc.data import batches


def test_the_example_of_the_docstring():
  assert list(batches(["ab", "c", "def"], 2, 3)) == [["ab", "c"], ["def"]]


@given(st.lists(st.text(max_size=9)), st.integers(1, 5), st.integers(1, 12))
def test_the_laws(texts, most, letters):
  found = list(batches(iter(texts), most, letters))
  assert [text for batch in found for text in batch] == texts
  for batch, following in zip(found, [*found[1:], None]):
    assert 1 <= len(batch) <= most and (len(batch) == 1 or sum(map(len, batch)) <= letters)
    # Of what comes next not one more would have had room.
    assert following is None or len(batch) == most or sum(map(len, batch)) + len(following[0]) > letters
