"""--help of every command lists each flag that a user may set, with its default and what it does."""

import ast
from collections.abc import Iterator
from pathlib import Path
import runpy
import subprocess
import sys

from absl import flags
import pytest

from mtc import cli

PACKAGE = Path(__file__).parent.parent / "mtc"
COMMANDS = ("main", "embed", "evaluate", "export", "mine", "average", "transfer", "pretrain", "shrink")


def script_of(command: str) -> Path:
  """The file that `python -m mtc.COMMAND` runs."""
  package = PACKAGE / command / "__main__.py"
  return package if package.exists() else PACKAGE / f"{command}.py"


class Helped:
  """What a command prints in this process when it is asked for help, and the flags that its code defines."""

  def __init__(self, command: str, asked: str, monkeypatch, capsys):
    script = script_of(command)
    monkeypatch.setattr(sys, "argv", [str(script), asked])
    monkeypatch.setattr(cli, "set_up", lambda: None)  # it changes this process's handlers of signals
    names = {*defined_by(script), *(defined_by(PACKAGE / "cli.py") if "define_run_flags" in script.read_text() else ())}
    before = set(flags.FLAGS)
    try:
      with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
      self.flags = {name: flags.FLAGS[name] for name in names}
    finally:
      for name in names - before:
        delattr(flags.FLAGS, name)
    self.code, self.text = ended.value.code, capsys.readouterr().out

  def lists(self, flag: flags.Flag) -> bool:
    """Whether a flag is there with its default and all words of its help."""
    form = f"--[no]{flag.name} (default: " if flag.boolean else f"--{flag.name}="
    entries = [" ".join(entry.split()) for entry in self.text.split("\n\n") if entry.strip().startswith(form)]
    return any(words(flag) in entry and f"(default: {default(flag)})" in entry for entry in entries)


def words(flag: flags.Flag) -> str:
  """What its definition says, to which absl adds the choices of an enumeration and that a flag can be repeated."""
  assert flag.help
  text = " ".join(flag.help.split())
  return text.removesuffix("; repeat this option to specify a list of values").split(">: ")[-1]


def default(flag: flags.Flag) -> str:
  if flag.default is None or flag.default == "" or flag.default == []:
    return "none"
  return str(flag.default).lower() if flag.boolean else str(flag.default)


@pytest.fixture
def helped(request, monkeypatch, capsys) -> Helped:
  command, asked = request.param
  return Helped(command, asked, monkeypatch, capsys)


@pytest.mark.parametrize("helped", [(command, "--help") for command in COMMANDS], indirect=True, ids=COMMANDS)
def test_help_lists_every_flag_of_the_command(helped, request):
  command = request.node.callspec.id
  assert helped.code == 0
  missing = [name for name, flag in helped.flags.items() if not helped.lists(flag)]
  assert not missing, f"--help of mtc.{command} lacks {missing} or their help:\n{helped.text}"
  assert f"python -m mtc.{command} --" in helped.text, "no example"
  listed = {line.split("=")[0].split()[0].lstrip("-") for line in helped.text.splitlines() if line.startswith("  --")}
  names = {f"[no]{flag.name}" if flag.boolean else name for name, flag in helped.flags.items()}
  assert listed == names, "flags of absl, jax or other libraries are noise here"


@pytest.mark.parametrize("helped", [("main", "--help"), ("pretrain", "--help")], indirect=True)
def test_help_of_a_training_run_lists_the_workdir_and_the_processes(helped):
  for name in ("config", "workdir", "coordinator", "process_id", "process_count"):
    assert f"  --{name}=" in helped.text
  assert "  --[no]distributed (default: false)" in helped.text


@pytest.mark.parametrize("helped", [("export", asked) for asked in ("-h", "--helpshort", "-?")], indirect=True)
def test_other_names_of_help_print_the_same(helped):
  assert helped.code == 0 and "--numpy=TEXT (default: none)\n" in helped.text and "--verbosity" not in helped.text


@pytest.mark.parametrize("helped", [("export", "--helpfull")], indirect=True)
def test_helpfull_lists_the_flags_of_libraries_too(helped):
  assert helped.code == 0 and "--numpy" in helped.text and "--verbosity" in helped.text


def test_a_flag_that_is_not_listed_is_found(monkeypatch, capsys):
  listed = cli._described
  monkeypatch.setattr(cli, "_described", lambda flag: "" if flag.name == "dim" else listed(flag))
  helped = Helped("embed", "--help", monkeypatch, capsys)
  assert [name for name, flag in helped.flags.items() if not helped.lists(flag)] == ["dim"]


def test_no_other_module_defines_flags():
  """`python -m mtc.X --help` lists flags of mtc modules; those of a module that no command imports would be lost."""
  found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if list(defined_by(path))}
  assert found == {"cli.py", *(script_of(command).relative_to(PACKAGE).as_posix() for command in COMMANDS)}


def defined_by(path: Path) -> Iterator[str]:
  """The names of the flags that a file defines."""
  for node in ast.walk(ast.parse(path.read_text("utf-8"))):
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("DEFINE_"):
      yield ast.literal_eval(node.args[0])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_process(command):
  done = subprocess.run([sys.executable, "-m", f"mtc.{command}", "--help"], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert "  --" in done.stdout and f"python -m mtc.{command} --" in done.stdout and "--logtostderr" not in done.stdout
