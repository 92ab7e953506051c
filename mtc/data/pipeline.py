"""Steps made ahead of time, in parallel, in order."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
import itertools
import os
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def make_input(
  make_step: Callable[[int], T], start: int, end: int, kind: str = "tf", workers: int = 0, prefetch: int = 2
) -> Generator[tuple[int, T], None, None]:
  """Yields `(n, make_step(n))` for n = start ... end - 1, while worker threads make the steps to come.

  The state of this iterator is the number of the step: to resume at n, start at n.

  Args:
    make_step: pure, safe to call from several threads. What it raises is raised here, in the turn of its step.
    start: the first step.
    end: one past the last step.
    kind: `tf` = tf.data; `threads` = a thread pool, without TensorFlow. Both yield the same.
    workers: threads; 0 = one for each CPU core.
    prefetch: steps that wait, besides those in the workers' hands.

  Raises:
    ValueError: the kind is unknown, or a number is negative.
  """
  for name, value in {"workers": workers, "prefetch": prefetch}.items():
    if value < 0:
      raise ValueError(f"{name}={value} is negative; use 0 or more")
  workers = workers or os.cpu_count() or 1
  if kind == "tf":
    return _tf(make_step, start, end, workers, prefetch)
  if kind == "threads":
    return _threads(make_step, start, end, workers, prefetch)
  raise ValueError(f"input={kind!r} is unknown; use tf or threads")


def _threads(
  make_step: Callable[[int], T], start: int, end: int, workers: int, prefetch: int
) -> Generator[tuple[int, T], None, None]:
  pool = ThreadPoolExecutor(workers, thread_name_prefix="input")
  numbers = iter(range(start, end))
  try:
    coming = deque((n, pool.submit(make_step, n)) for n in itertools.islice(numbers, workers + prefetch))
    while coming:
      number, future = coming.popleft()
      step = future.result()
      coming.extend((n, pool.submit(make_step, n)) for n in itertools.islice(numbers, 1))
      yield number, step
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _tf(
  make_step: Callable[[int], T], start: int, end: int, workers: int, prefetch: int
) -> Generator[tuple[int, T], None, None]:
  tf = _tensorflow()
  # tf.data decides when each step is made, and hands on its number. The step itself waits here: its arrays are not
  # copied into TensorFlow, tasks that a step does not hold need no stand-in, and an exception stays what it was.
  made: dict[int, Future[T]] = {}
  closed = False

  def make(number: np.ndarray) -> np.ndarray:
    if not closed:
      future = Future()
      try:
        future.set_result(make_step(int(number)))
      except BaseException as error:
        future.set_exception(error)
      made[int(number)] = future
    return number

  @tf.autograph.experimental.do_not_convert
  def ticket(number: Any) -> Any:
    return tf.numpy_function(make, [number], tf.int64)

  numbers = tf.data.Dataset.range(start, end).map(ticket, num_parallel_calls=workers, deterministic=True)
  options = tf.data.Options()
  options.threading.private_threadpool_size = workers
  try:
    for number in numbers.prefetch(prefetch).with_options(options).as_numpy_iterator():
      yield int(number), made.pop(int(number)).result()
  finally:
    closed = True


@cache
def _tensorflow() -> Any:
  """TensorFlow on the CPU, quiet: it must not take the accelerators' memory from JAX."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it announces itself at any log level
  import tensorflow as tf

  for kind in ("GPU", "TPU"):
    tf.config.set_visible_devices([], kind)
  return tf
