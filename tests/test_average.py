"""The average of several models' weights."""

from dataclasses import replace
import subprocess
import sys
import weakref

import jax
import numpy as np
import pytest

from mtc.embedder import save
from mtc.embedder.averaging import average
from mtc.embedder.embedder import load
from mtc.models import LoraSpec


def shifted(embedder, by):
  """The model, trained on: every weight is another one."""
  keys = iter(jax.random.split(jax.random.key(by), 100))
  return replace(
    embedder, params=jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), embedder.params)
  )


def test_every_weight_is_the_sum_of_its_shares(make_embedder):
  made = [make_embedder(), shifted(make_embedder(), 1), shifted(make_embedder(), 2)]
  found = average(iter(made), [0.5, 0.3, 0.2])
  leaves = [jax.tree.leaves(embedder.params) for embedder in made]
  for leaf, a, b, c in zip(jax.tree.leaves(found.params), *leaves, strict=True):
    np.testing.assert_allclose(leaf, 0.5 * a + 0.3 * b + 0.2 * c, atol=1e-6)
    assert leaf.dtype == np.float32
  assert found.prompts == made[0].prompts and found.max_length == made[0].max_length
  assert found.defaults == made[0].defaults


def test_what_the_first_model_says_is_kept_and_the_others_are_named(make_embedder, caplog):
  first = replace(make_embedder(), defaults={"default_prompt_name": "query"})
  found = average([first, replace(make_embedder(), max_length=20)], [0.5, 0.5])
  assert (found.max_length, found.defaults) == (150, {"default_prompt_name": "query"})
  assert "model 2 cuts texts at 20 tokens and the first at 150; the average cuts them at 150" in caplog.text
  assert "model 2 has other prompts or defaults than the first" in caplog.text


def test_all_of_one_model_is_that_model(make_embedder, texts):
  made = [make_embedder(), shifted(make_embedder(), 1)]
  found = average(made, [0, 1]).encode(texts[:20])
  np.testing.assert_array_equal(found, made[1].encode(texts[:20]))
  assert np.abs(found - made[0].encode(texts[:20])).max() > 0.01


@pytest.mark.parametrize(
  "shares, said",
  [
    ([1.0], "1 share of a model is no average"),
    ([0.5, 0.4], "0.5, 0.4 are not in [0, 1] or do not add up to 1 but to 0.9"),
    ([1.5, -0.5], "1.5, -0.5 are not in"),
    ([float("nan"), 1.0], "nan, 1 are not in"),
  ],
)
def test_shares_that_are_no_average_are_refused(make_embedder, shares, said):
  with pytest.raises(ValueError) as error:
    average([make_embedder()] * len(shares), shares)
  assert said in str(error.value)


def test_too_few_models_are_refused(make_embedder):
  for count in (0, 1):
    with pytest.raises(ValueError, match=f"{count} models have 2 shares"):
      average([make_embedder()] * count, [0.5, 0.5])


def test_adapters_are_refused_until_they_are_merged(make_embedder):
  embedder = make_embedder()
  with pytest.raises(ValueError, match="LoRA adapters beside its weights; average the exports"):
    average([embedder, replace(embedder, spec=replace(embedder.spec, lora=LoraSpec(rank=2)))], [0.5, 0.5])


def test_one_model_is_in_memory_beside_the_sum_however_many_are_averaged(make_embedder):
  alive = []

  def loaded():
    for seed in range(4):
      assert not any(ref() for ref in alive)
      params = jax.tree.map(np.array, make_embedder(seed).params)
      alive.append(weakref.ref(params["projection"]["kernel"]))
      yield replace(make_embedder(), params=params)
      del params

  average(loaded(), [0.25] * 4)
  assert len(alive) == 4


def changed(embedder, what):
  match what:
    case "pooling":
      return replace(embedder, spec=replace(embedder.spec, pooling="cls"))
    case "projection":
      return replace(embedder, spec=replace(embedder.spec, projection="tanh"))
    case "tokenizer":
      tokenizer = type(embedder.tokenizer).from_str(embedder.tokenizer.to_str())
      tokenizer.add_tokens(["aword"])
      return replace(embedder, tokenizer=tokenizer)
    case "architecture":
      return replace(embedder, config=embedder.config | {"num_attention_heads": 4})
    case "number of dimensions":
      return replace(embedder, spec=replace(embedder.spec, dim=4))
    case "set of weights":
      return replace(embedder, params={"backbone": embedder.params["backbone"]})


@pytest.mark.parametrize(
  "what", ["architecture", "pooling", "number of dimensions", "projection", "set of weights", "tokenizer"]
)
def test_another_model_is_refused(make_embedder, what):
  with pytest.raises(ValueError, match=f"model 2 has another {what} than the first"):
    average([make_embedder(), changed(make_embedder(), what)], [0.5, 0.5])


def test_the_command_writes_a_model_with_a_card(make_embedder, tmp_path):
  first, second = make_embedder(), shifted(make_embedder(), 1)
  save.write(first, tmp_path / "a", card="# trained on much\n")
  save.write(second, tmp_path / "b")
  run(tmp_path, "--models=a,b", "--shares=0.25,0.75", "--output=mean", code=0)
  found = load(tmp_path / "mean")
  np.testing.assert_allclose(
    found.params["projection"]["kernel"],
    0.25 * first.params["projection"]["kernel"] + 0.75 * second.params["projection"]["kernel"],
    atol=1e-6,
  )
  card = (tmp_path / "mean" / "README.md").read_text()
  assert "<code>a</code> | 0.25" in card and "0.75" in card and "trained on much" not in card
  assert found.prompts == first.prompts and card.startswith("---\nlibrary_name")
  run(tmp_path, "--models=a,b", "--output=half", "--dtype=float16", code=0)  # in equal shares
  half = load(tmp_path / "half").params["projection"]["kernel"]
  expected = (first.params["projection"]["kernel"] + second.params["projection"]["kernel"]) / 2
  np.testing.assert_array_equal(half, np.asarray(expected, np.float16))


def test_bad_arguments_end_with_code_2(make_embedder, tmp_path):
  save.write(make_embedder(), tmp_path / "a")
  (tmp_path / "there").mkdir()
  for arguments, said in (
    (["--models=a", "--output=b"], "name two models or more"),
    (["--models=a,./a", "--output=b"], "names one twice"),
    (["--models=a,", "--output=b"], "an empty directory"),
    (["--models=a,mtc-mini", "--output=there"], "exists already"),
    (["--models=a,mtc-mini", "--shares=much,little", "--output=b"], "are not numbers"),
    (["--models=a,mtc-mini", "--shares=1", "--output=b"], "2 models have 1 shares"),
    (["--models=a,mtc-mini", "--shares=0.2,0.3,0.5", "--output=b"], "2 models have 3 shares"),
    (["--models=a,mtc-mini", "--output=b"], "model 2 has another architecture"),
  ):
    ended = run(tmp_path, *arguments, code=2)
    assert said in ended.stderr and "Traceback" not in ended.stderr
  assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "there"]


def run(directory, *arguments, code):
  command = [sys.executable, "-m", "mtc.average", *arguments]
  ended = subprocess.run(command, cwd=directory, capture_output=True, text=True)
  assert ended.returncode == code, ended.stderr[-2000:]
  return ended
