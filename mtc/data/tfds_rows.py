"""TensorFlow datasets as plain rows. TFDS is imported where it is used; TensorFlow only for datasets that need it."""

from collections.abc import Iterator
import difflib
import functools
import os
from pathlib import Path
from typing import Any

from mtc.data import network
from mtc.data.fields import all_plain
from mtc.files import paths

_PUBLIC_DATA = "https://storage.googleapis.com/tfds-data"


@functools.cache
def open_builder(name: str, data_dir: str) -> Any:
  """The builder of a prepared dataset, which is downloaded and prepared first if it is not.

  Raises:
    ValueError: no such dataset, or its format loses rows.
    FileNotFoundError: the dataset must be downloaded, and there is no network.
  """
  tfds = _tfds()
  if (Path(name) / "dataset_info.json").is_file():
    try:
      return _checked(paths.open_plain(tfds.builder_from_directory, Path(name)))
    except Exception as error:  # of any kind: it believes what the files say
      raise ValueError(f"{name} holds no whole TFDS dataset, beside its dataset_info.json ({error})") from error
  try:
    builder = _named(name, data_dir)
  except (tfds.core.DatasetNotFoundError, ModuleNotFoundError) as error:
    close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), 3)
    hint = f" (close: {', '.join(close)})" if close else ""
    raise ValueError(
      f"TFDS has no dataset {name!r}{hint} under "
      f"{data_dir or 'its own directory'}; use a public name, a directory with a dataset_info.json, or set data_dir"
    ) from error
  if builder.is_prepared():
    return _checked(builder)
  public = type(builder).__module__.startswith("tensorflow_datasets.")
  if public and not network.reachable(_PUBLIC_DATA):
    raise FileNotFoundError(
      f"TFDS dataset {name!r} is not prepared under {data_dir or builder.data_dir}, and there is no network to "
      "download it; prepare it on a machine with a network and copy it, or set data_dir to where it is"
    )
  if data_dir:
    Path(data_dir).mkdir(parents=True, exist_ok=True)
  builder = _named(name, data_dir, file_format="array_record")
  builder.download_and_prepare()
  return _checked(builder)


@functools.cache
def builtin_builder(name: str, data_dir: str) -> Any:
  """The builder of the built-in posts for one task, generated if they are not yet.

  Raises ValueError if there is no such task.
  """
  from mtc.data import builtin

  return builtin.builder(name, data_dir)


def splits(builder: Any) -> list[str]:
  """The names of the splits of a dataset."""
  return list(builder.info.splits)


def files(builder: Any, split: str) -> list[Path]:
  """The files that hold a split, which may be written as TFDS does: `train[:10%]`."""
  return sorted({Path(os.path.realpath(file)) for file in _split_info(builder, split).filepaths})  # for messages


def read(builder: Any, split: str) -> Iterator[dict[str, Any]]:
  """Yields the rows of a split in a fixed order, as Python's own types."""
  _split_info(builder, split)
  if builder.info.file_format.value == "array_record":
    rows = builder.as_data_source(split=split)
    for index in range(len(rows)):
      yield all_plain(rows[index])
  else:
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # TensorFlow would take the accelerator's memory
    read_config = _tfds().ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=read_config)
    for row in dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
      yield all_plain(row)


def _named(name: str, data_dir: str, **options: Any) -> Any:
  make = functools.partial(_tfds().builder, name, **options)
  if not data_dir or not Path(data_dir).is_dir():
    return make(data_dir=data_dir or None)
  return paths.open_plain(lambda plain: make(data_dir=plain), Path(data_dir))


def _tfds() -> Any:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import tensorflow_datasets as tfds

  return tfds


def _checked(builder: Any) -> Any:
  if builder.info.file_format.value == "parquet":  # TFDS 4.9.10 reads 400 of 1000 rows back, without an error
    raise ValueError(
      f"TFDS dataset {builder.info.full_name} is stored as parquet, which TFDS reads incompletely; "
      "prepare it with file_format='array_record', or read the files with Parquet(...)"
    )
  return builder


def _split_info(builder: Any, split: str) -> Any:
  try:
    return builder.info.splits[split]
  except (KeyError, ValueError) as error:
    raise ValueError(
      f"TFDS dataset {builder.info.full_name} has no split {split!r}; it has {', '.join(splits(builder))}; "
      "sub-splits are written train[:10%]"
    ) from error
