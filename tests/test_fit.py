"""Steps compiled ahead: nothing twice, what they need, and the answer where that is not there."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtc import optim, parallel
from mtc.training import compile_ahead, step as step_lib
from mtc.types import Step, Tokens


def batch(rows):
  grid = np.ones((parallel.device_count(), rows, 8), np.int32)
  return Step(Tokens(grid, grid, grid, slots=1), {})


def step(state, batch):
  """Reads the ids only: what is not read is not sent."""
  products = jnp.tanh(batch.tokens.ids.reshape(-1, 1) * state[None, :]) @ state[:, None]
  total = parallel.weighted_mean(products, jnp.ones_like(products))
  return state + total, {"loss": total}


@pytest.fixture
def compiled():
  """How many programs were compiled, or read from the cache of programs, since the test began."""
  found = []

  def listen(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
      found.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield found
  jax.monitoring.unregister_event_duration_listener(listen)


def test_each_shape_is_compiled_once_and_ahead(compiled):
  state = parallel.replicate(np.ones(100, np.float32))
  like = jax.ShapeDtypeStruct((100,), np.float32)
  compiled.clear()
  ahead = compile_ahead.Ahead(parallel.across_devices(step), like, [batch(4), batch(6)])
  assert len(compiled) == 2
  for rows in (4, 6, 4):
    state, metrics = ahead(state, batch(rows))
  jax.block_until_ready(state)
  assert len(compiled) == 2
  ahead(state, batch(5))
  assert len(compiled) == 3


def test_it_computes_what_the_step_computes():
  whole = parallel.across_devices(step)
  want, _ = whole(parallel.replicate(np.ones(100, np.float32)), batch(4))
  ahead = compile_ahead.Ahead(whole, jax.ShapeDtypeStruct((100,), np.float32), [batch(4)])
  found, _ = ahead(parallel.replicate(np.ones(100, np.float32)), batch(4))
  np.testing.assert_array_equal(found, want)


def test_a_step_on_cpu_copies_nothing_that_it_updates_in_place():
  optimizer = optim.make_optimizer(optim.OptimSpec(), 10)
  words = {"words": np.linspace(-1, 1, 10_000, dtype=np.float32)}

  def loss(params, batch, key):
    total = jnp.sum(jnp.square(params["encoder"]["words"][batch]))
    return parallel.weighted_mean(total, jnp.ones(())), {"loss": total}

  whole = step_lib.make_step(loss, optimizer, seed=0)
  ids = np.arange(5 * parallel.device_count(), dtype=np.int32).reshape(-1, 5)
  program = parallel.compiled(whole.lower(step_lib.init_state(words, {}, optimizer, shapes=True), ids))
  assert not re.findall(r"f32\[10000\]\S* copy\(", program.as_text())
  found, want = (parallel.replicate(step_lib.init_state(words, {}, optimizer)) for _ in range(2))
  for _ in range(3):
    found, want = program(found, ids)[0], whole(want, ids)[0]
  jax.tree.map(np.testing.assert_array_equal, found, want)
  assert not np.array_equal(found.params["encoder"]["words"], words["words"])


def test_what_it_needs():
  small, large = compile_ahead.Ahead(
    parallel.across_devices(step), jax.ShapeDtypeStruct((1000,), np.float32), [batch(4), batch(400)]
  ).needs
  assert (small.rows, small.length, large.rows) == (4, 8, 400)
  assert small.state == 4 * (1000 + 4 * 8) and large.state == 4 * (1000 + 400 * 8)
  assert large.work > small.work >= 0 and large.total == large.state + large.work


def test_what_fits_is_fine_and_what_nobody_knows_too():
  need = [compile_ahead.Need(10, 8, 2**20, 9 * 2**20)]
  compile_ahead.check(need, 10 * 2**20, "float32", [])
  compile_ahead.check(need, None, "float32", [])
  compile_ahead.check([], 0, "float32", [])


def test_what_does_not_fit_names_the_settings_that_would_help():
  needs = [compile_ahead.Need(10, 8, 2 * 2**20, 40 * 2**20), compile_ahead.Need(20, 8, 2 * 2**20, 80 * 2**20)]
  with pytest.raises(ValueError, match="20 rows of 8 tokens needs 82 MiB .*and 52 MiB are free") as error:
    compile_ahead.check(needs, 52 * 2**20, "float32", ["smaller rows", "optim.freeze"], chunks=3)
  for remedy in ("chunks=6", "smaller rows", "model.dtype=bfloat16", "optim.freeze"):
    assert remedy in str(error.value)
  with pytest.raises(ValueError, match="and 1 MiB are free") as error:  # the parameters alone are too many
    compile_ahead.check(needs, 2**20, "bfloat16", ["smaller rows"], chunks=3)
  assert "chunks" not in str(error.value) and "bfloat16" not in str(error.value)
  with pytest.raises(ValueError, match="help: smaller rows") as error:  # a kind of run that has no chunks
    compile_ahead.check(needs, 52 * 2**20, "bfloat16", ["smaller rows"])
  assert "chunks" not in str(error.value)


def test_the_memory_of_a_container(tmp_path, monkeypatch):
  free = compile_ahead._free_host_memory()
  assert free is None or free > 0
  (tmp_path / "memory.max").write_text("1000\n")
  (tmp_path / "memory.current").write_text("700\n")
  (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
  real = compile_ahead.Path
  monkeypatch.setattr(compile_ahead, "Path", lambda name: tmp_path if name == "/sys/fs/cgroup" else real(name))
  assert compile_ahead._free_host_memory() == 450
  (tmp_path / "memory.max").write_text("max\n")
  assert compile_ahead._free_host_memory() != 450


def test_the_message_is_of_one_line():
  with pytest.raises(ValueError) as error:
    compile_ahead.check([compile_ahead.Need(1, 8, 2**30, 2**30)], 2**30, "float32", ["smaller rows"])
  assert not re.search(r"\n", str(error.value))
