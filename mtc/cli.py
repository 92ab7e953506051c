"""What every command shares: flags, exit codes, and answers instead of tracebacks for the user's own mistakes."""

import ast
from collections.abc import Callable, Iterator, Sequence
import contextlib
import errno
import logging as python_logging
import os
from pathlib import Path
import re
import signal
import sys
import textwrap
import traceback
from typing import Any, TypeVar

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from mtc import data, parallel
from mtc.config import Experiment, Run
from mtc.files import paths

R = TypeVar("R", bound=Run)
MISTAKE = 2  # the exit code for wrong arguments, configuration or data
_FAILED = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # what a disk says that takes no more
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
_LONGEST = 4000  # letters of a message
_FORM: dict[str, Any] = {  # of what a flag does, in --help
  "initial_indent": " " * 6,
  "subsequent_indent": " " * 6,
  "break_on_hyphens": False,
}
_PARTS = tuple(  # of a config, which have fields or entries of their own
  f"config.{name}"
  for name in ("tasks", "evaluations", "corpora", "model", "optim", "mixing", "balancing", "prompts", "model.lora")
)
_KINDS = {  # absl's names for kinds of values, in --help
  "string": "TEXT",
  "int": "INTEGER",
  "float": "NUMBER",
  "config object": "FILE",
  "multi string": "TEXT",
  "comma separated list of strings": "A,B,...",
}


@contextlib.contextmanager
def mistakes() -> Iterator[None]:
  """Ends the process with exit code 2 and the error's message, if the block raises for a mistake of the user.

  A disk that is full or broken is no mistake: its exit code is 1.
  """
  with _answered(MISTAKE):
    yield


def finish(run: Callable[[], int]) -> None:
  """Ends the process with the exit code of a run.

  It is 1 where its numbers are no longer finite, a checkpoint cannot be used or a disk not be written, and 2 where its
  data changed meanwhile or it may not write.
  """
  with failures():
    sys.exit(run())


@contextlib.contextmanager
def failures() -> Iterator[None]:
  """Ends the process with exit code 1 and the error's message, where the block cannot read or write what it must.

  Around what a command holds, such as a workdir in a bucket, it answers for letting go of it, after the run has said
  for itself how it ended.
  """
  with _answered(_FAILED):
    yield


@contextlib.contextmanager
def _answered(code: int) -> Iterator[None]:
  try:
    yield
  except KeyboardInterrupt:
    if not parallel.is_alone():
      raise  # the others may know of no signal, and are not waited for
    print("SIGINT: ended; the same command begins again, or goes on from what is saved", file=sys.stderr)
    raise SystemExit(128 + signal.SIGINT) from None
  except (ValueError, OSError, FloatingPointError) as error:
    if os.environ.get("MTC_TRACEBACK"):
      raise
    reason = error.errno if isinstance(error, OSError) else None
    if reason in _FULL or isinstance(error, FloatingPointError):
      code = _FAILED
    elif reason in _REFUSED or isinstance(error, data.Changed):
      code = MISTAKE
    remedy = "; make room there, and run the same command again" if reason in _FULL else ""
    print(f"error: {_shown(str(error))}{remedy}\n(MTC_TRACEBACK=1 shows where)", file=sys.stderr)
    raise SystemExit(code) from None


def _shown(message: str) -> str:
  """Without the letters that steer a terminal, for a message may quote a stranger's file, and not by the page."""
  clean = "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in message)
  return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]} ... ({len(clean) - _LONGEST:,} more letters)"


def check_parent(flag: str, path: str | Path) -> None:
  """Raises ValueError where there is no directory to write the path of a flag into."""
  if not Path(path).absolute().parent.is_dir():
    raise ValueError(f"--{flag} {path}: {Path(path).parent} is not a directory")


def check_output(output: str) -> None:
  """Raises ValueError for an --output that cannot be a new directory."""
  check_parent("output", output)
  if Path(output).exists():
    raise ValueError(f"--output {output} exists already; name a new directory")


def parse_flags(argv: list[str]) -> list[str]:
  """Parses absl flags; what is wrong with them, or with the config that they name, ends with exit code 2.

  A flag that asks for help ends with exit code 0; see `help_text`.
  """
  asked = set(argv[1 : argv.index("--") if "--" in argv else None])
  if asked & {"--help", "--helpshort", "-help", "-helpshort", "-h", "-?"}:
    print(help_text(), end="")
    sys.exit(0)
  if asked & {"--helpfull", "-helpfull"}:
    app.usage(writeto_stdout=True)
    sys.exit(0)
  with mistakes():
    _check_arguments(argv)
    try:
      rest = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, SyntaxError, ImportError) as error:
      raise ValueError(f"the arguments or the config cannot be used: {_without_frames(error)}") from error
    except (ValueError, OSError):
      raise
    except Exception as error:  # of any kind: the config is Python
      raise ValueError(f"the config raises {error!r}; fix it") from error
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)  # Orbax tells every step of every save
  return rest


def _check_arguments(argv: Sequence[str]) -> None:
  """Raises ValueError for an argument that is not text, and for a config file or a field that no flag can name."""
  for before, argument in zip(argv, argv[1:]):
    name, equals, value = argument.partition("=")
    if not equals:
      name, value = before if before.startswith("-") and "=" not in before else "argument", argument
    paths.check_text(name, value)
    if name.lstrip("-") == "config" and ":" in value and Path(value).is_file():
      raise ValueError(
        f"{name} {value} has a ':', which comes before the argument of get_config(); rename the file or directory"
      )
    if name.lstrip("-") in _PARTS:
      raise ValueError(
        f"{name} is not a single value, so a flag cannot set it; set one of its fields, for example "
        "--config.model.dim=50, or change the config file"
      )


def help_text() -> str:
  """What the command does, and its own flags with their defaults; those of absl, jax and TensorFlow are left out."""
  defined = flags.FLAGS.flags_by_module_dict()
  own = [flag for module in defined if module == sys.argv[0] or module.startswith("mtc.") for flag in defined[module]]
  parts = [str(sys.modules["__main__"].__doc__).strip(), "Flags:", *map(_described, own)]
  if any(flag.name == "config" for flag in own):
    parts.append(
      "Each field of the config is a flag as well, for example --config.steps=100 or --config.data_dir=DIR.\n"
      "The config file and the classes in mtc/config.py list the fields."
    )
  parts += [
    "--helpfull also lists the flags of absl and other libraries.",
    "Exit codes: 0 success, 1 failure, 2 wrong arguments, config or data, 130 after SIGINT, 143 after SIGTERM.",
  ]
  return "\n\n".join(parts) + "\n"


def _described(flag: flags.Flag) -> str:
  """The name of a flag, what its value is, its default and its help, without what absl adds to it."""
  says = re.sub(r"^<[^>]*>: |;\s+repeat this option to specify a list of values$", "", flag.help)
  if flag.boolean:
    name = f"--[no]{flag.name}"
  else:
    kind = flag.flag_type()
    choices = getattr(flag.parser, "enum_values", None)
    name = f"--{flag.name}={'|'.join(choices) if choices else _KINDS.get(kind, kind)}"
  default = "none" if flag.default in (None, "", []) else f"{flag.default}".lower() if flag.boolean else flag.default
  return f"  {name} (default: {default})\n{textwrap.fill(says, 100, **_FORM)}"


def _without_frames(error: BaseException) -> str:
  """The error as text; of one that a config file raises, place and message, without the frames of ml_collections."""
  wrapped: BaseException | None = error
  while wrapped is not None and not str(wrapped).startswith("Error whilst parsing config file"):
    wrapped = wrapped.__context__
  raised = wrapped.__context__ if wrapped is not None else None
  frames = traceback.extract_tb(raised.__traceback__)[1:] if raised is not None else []
  if not frames:
    return str(error)
  line = [frame.lineno for frame in frames if frame.filename == frames[0].filename][-1]
  kind = "" if type(raised) is ValueError else f"{type(raised).__name__}: "
  return f"{frames[0].filename}:{line}: {kind}{raised}"


def experiment(config: Any, argv: Sequence[str]) -> Experiment:
  """The experiment of --config, checked; see `checked`."""
  return checked(config, argv, Experiment)


def checked(config: Any, argv: Sequence[str], kind: type[R]) -> R:
  """What get_config() of --config returned, checked.

  Raises:
    ValueError: there is none, it is something else, or an argument is not a flag.
  """
  if len(argv) > 1:
    raise ValueError(f"{argv[1]!r} is not a flag; overrides are written --config.name=value")
  if config is None:
    raise ValueError("--config is missing; for example --config configs/multitask.py")
  if not isinstance(config, kind):
    getattr(config, "steps", None)  # a file that could not be loaded says here why
    wanted = f"mtc.config.{kind.__name__}"
    raise ValueError(f"get_config() of --config returned {type(config).__name__}; it must return {wanted}")
  config.validate()
  return config


class _Names(flags.ArgumentParser):
  """One name as it stands, or several: `--config.tasks.clicks.examples.negatives="('n1', 'n2')"`."""

  def parse(self, argument: str | list | tuple) -> str | list | tuple:
    if not isinstance(argument, str) or not argument.startswith(("(", "[")):
      return argument
    try:
      return ast.literal_eval(argument)
    except (ValueError, SyntaxError) as error:
      raise ValueError(f"{argument!r} is not a list of names ({error}); use for example ('n1', 'n2')") from error


config_flags.register_flag_parser_for_type(data.Names, _Names())


def define_run_flags() -> None:
  """The flags of a training run beside --config."""
  flags.DEFINE_string(
    "workdir", "", "Directory of this run, local or gs://BUCKET/PATH: config, metrics, checkpoints, scores, export/."
  )
  flags.DEFINE_string("coordinator", "", "Address HOST:PORT of process 0, if the run has several processes.")
  flags.DEFINE_integer("process_id", 0, "Number of this process, from 0 to process_count - 1.")
  flags.DEFINE_integer("process_count", 1, "Number of processes of the run.")
  flags.DEFINE_bool("distributed", False, "Find the other processes automatically: on TPU pods, Slurm and Open MPI.")


def set_up() -> None:
  """Silences what libraries say about themselves, keeps what XLA compiles for the next start, and minds SIGTERM.

  Call it before anything is compiled; `JAX_COMPILATION_CACHE_DIR` names another place for it.
  """
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  if not os.environ.get("MTC_TRACEBACK"):
    for name in ("absl", "concurrent.futures"):
      python_logging.getLogger(name).addFilter(_without_traceback)
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", str(data.user_cache() / "xla"))
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # a start compiles a hundred small programs
  signal.signal(signal.SIGTERM, _end)


def _without_traceback(record: python_logging.LogRecord) -> bool:
  """Orbax's threads log the traceback of what they raise as well, and so do futures that nobody waits for any more."""
  if record.name == "concurrent.futures" or "orbax" in record.pathname:
    record.exc_info = None
  return True


def _end(number: int, _: object) -> None:
  """Ends the process at SIGTERM as at an error: what is half written goes, and a bucket gets what was written."""
  signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
  if parallel.is_alone():
    raise SystemExit(128 + number)
  os.kill(os.getpid(), number)  # at its exit it would wait for the others, which may know of no signal
