"""The record of a run's environment, where parts of the environment are missing."""

from importlib import metadata
import subprocess

from mtc.workdir import records


def test_a_machine_without_git_has_no_revision(monkeypatch):
  def missing(*_, **__):
    raise FileNotFoundError("git")

  monkeypatch.setattr(subprocess, "run", missing)
  assert records.environment()["revision"] == ""


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
  version = metadata.version

  def without_tfds(name):
    if name == "tensorflow-datasets":
      raise metadata.PackageNotFoundError(name)
    return version(name)

  monkeypatch.setattr(metadata, "version", without_tfds)
  packages = records.environment()["packages"]
  assert "tensorflow-datasets" not in packages
  assert packages["jax"] == version("jax")
