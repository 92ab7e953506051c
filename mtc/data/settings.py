"""The types of settings: what a field of a dataclass says that it holds is checked before anything is read."""

from collections.abc import Mapping, Sequence
import dataclasses
from functools import cache
from numbers import Integral, Real
import os
import reprlib
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from mtc.data.fields import a_kind


class Settings:
  """A dataclass whose fields are checked when it is made. Paths in them become strings, and lists tuples."""

  def __post_init__(self) -> None:
    fields = [field.name for field in dataclasses.fields(self)]  # type: ignore
    for field in fields:
      setattr(self, field, _with_strings(getattr(self, field)))
    self.validate()
    for field in fields:
      setattr(self, field, _with_tuples(getattr(self, field)))

  def validate(self) -> None:
    """Raises ValueError for the first field that cannot be right."""
    check_types(self)


def paths_to_strings(settings: Any) -> None:
  """Replaces each field of a dataclass that is a path by a string, which can be written as JSON."""
  for field in dataclasses.fields(settings):
    if isinstance(value := getattr(settings, field.name), os.PathLike):
      setattr(settings, field.name, os.fspath(value))


def check_types(settings: Any, name: str = "") -> None:
  """Raises ValueError for the first field of a dataclass, or of one within it, that holds another type than it says.

  Args:
    settings: the dataclass.
    name: what leads to it in the config, as in `tasks.search.source`; "" = say its type instead.
  """
  for field, hint in _hints(type(settings)).items():
    value = getattr(settings, field)
    shown = f"{name}.{field}" if name else field
    if not _fits(value, hint):
      shown, value, hint = _misfit(value, hint, shown)
      owner = "" if name else f" of {type(settings).__name__}"
      remedy = f"; write {value.__name__}(...)" if isinstance(value, type) else ""
      raise ValueError(f"{shown}={reprlib.repr(value)}{owner} is {a_kind(value)}, expected {_words(hint)}{remedy}")
    _check_within(value, shown)


def _check_within(value: Any, name: str) -> None:
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    check_types(value, name)
  elif isinstance(value, Mapping):
    for key, part in value.items():
      _check_within(part, f"{name}.{key}")
  elif isinstance(value, list | tuple) and value and dataclasses.is_dataclass(value[0]):  # not the rows of InMemory
    for number, part in enumerate(value):
      _check_within(part, f"{name}[{number}]")


@cache
def _hints(kind: type) -> dict[str, Any]:
  try:
    hints = get_type_hints(kind)
  except NameError:  # of a user's class, whose types have names that only its own function knows
    return {}
  return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
  origin, args = get_origin(hint), get_args(hint)
  if origin in (Union, UnionType):
    return any(_fits(value, arg) for arg in args)
  if origin in (dict, Mapping):
    pairs = value.items() if isinstance(value, Mapping) else ()
    return isinstance(value, Mapping) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in pairs)
  if origin in (list, tuple, Sequence):
    if not isinstance(value, list | tuple):
      return False
    if origin is tuple and args[-1] is not ...:
      return len(value) == len(args) and all(map(_fits, value, args))
    return args[0] is Any or all(_fits(each, args[0]) for each in value)
  if hint in (int, float):
    return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
  if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
    return True  # Python cannot tell
  if isinstance(hint, type) and hint is not Any:
    return isinstance(value, hint) and not isinstance(value, type)
  return True


def _misfit(value: Any, hint: Any, name: str) -> tuple[str, Any, Any]:
  """Name, value and hint of the innermost part that does not fit, of a value that does not."""
  for one in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
    origin, args = get_origin(one), get_args(one)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
      for key, part in value.items():
        if not _fits(key, args[0]):
          return f"a key of {name}", key, args[0]
        if not _fits(part, args[1]):
          return _misfit(part, args[1], f"{name}.{key}")
    elif origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
      if origin is tuple and args[-1] is not ... and len(value) != len(args):
        continue
      hints = args if origin is tuple and args[-1] is not ... else args[:1] * len(value)
      for number, (part, each) in enumerate(zip(value, hints, strict=True)):
        if not _fits(part, each):
          return _misfit(part, each, f"{name}[{number}]")
  return name, value, hint


def _words(hint: Any) -> str:
  """What a hint allows, in words."""
  origin, args = get_origin(hint), get_args(hint)
  if origin in (Union, UnionType):
    return " or ".join(dict.fromkeys(map(_words, args)))
  if origin in (dict, Mapping):
    return f"a dict of {_MANY.get(args[0], 'keys')}, each with {_words(args[1])}"
  if origin in (list, tuple, Sequence):
    many = _MANY.get(args[0]) or getattr(args[0], "__name__", "values")
    return f"{len(args)} {many}" if origin is tuple and args[-1] is not ... else f"a list of {many}"
  name = getattr(hint, "__name__", str(hint))
  return _ONE.get(hint) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _with_strings(value: Any) -> Any:
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if type(value) in (list, tuple):
    return type(value)(map(_with_strings, value))
  if type(value) is dict:
    return {key: _with_strings(item) for key, item in value.items()}
  return value


def _with_tuples(value: Any) -> Any:
  if isinstance(value, list | tuple):
    return tuple(map(_with_tuples, value))
  if isinstance(value, dict):
    return {key: _with_tuples(item) for key, item in value.items()}
  return value


_ONE = {str: "a string", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}
_MANY = {Any: "values", str: "strings", int: "whole numbers", float: "numbers"}
