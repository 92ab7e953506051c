"""Every bad input of the table is answered with an error that says what is wrong; odd but good ones with a result."""

from hostile_table import TABLE, Bad
import pytest


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # which ml_collections calls
@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_a_bad_input_is_answered(bad: Bad, tmp_path, capfd):
  bad.make(tmp_path)
  said = ""
  with pytest.raises((ValueError, OSError, SystemExit)) as caught:
    bad.door(tmp_path)
  said = str(caught.value)
  if isinstance(caught.value, SystemExit):  # the command line has printed it
    assert caught.value.code == 2
    said = capfd.readouterr().err
  assert bad.words in said
  assert "Traceback" not in said


def test_the_table_is_long_and_its_names_are_its_own():
  names = [bad.name for bad in TABLE]
  assert len(names) >= 200 and len(set(names)) == len(names)
