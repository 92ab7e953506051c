"""The launch scripts, with stand-ins for the programs that they drive: what they call, when, and with which words."""

import os
from pathlib import Path
import shlex
import signal
import subprocess
import time

import pytest
import yaml

LAUNCH = Path(__file__).parent.parent / "launch"
SCRIPTS = {
  "local.sh": ["--processes", "2", "--cpu-devices", "4"],
  "slurm.sh": ["--nodes", "2", "--gpus", "8", "--time", "1:00:00"],
  "tpu_vm.sh": ["--name", "mtc", "--zone", "z", "--type", "v5litepod-16", "--version", "v2", "--wait", "0", "--spot"],
  "gke.sh": ["--name", "mtc", "--image", "r/mtc:1", "--workers", "2", "--gpu", "h100", "--chips", "8", "--wait", "0"],
}
# Every word that a shell, YAML or Kubernetes could trip over.
ARGUMENTS = ["--config", "configs/multitask.py", "--workdir", "gs://bucket/a b"]
ARGUMENTS += ['--config.x=("it\'s", r"\\d$(a)&{name}")']

# Each stand-in writes down its name and words. The next line of the file $ANSWERS/NAME.WORD, for the first of its words
# for which there is one, is what it prints, or with which code it ends.
STAND_IN = r"""#!/bin/bash
printf -v call '%s\x1f' "${0##*/}" "$@"; printf '%s\x1e' "$call" >> "$CALLS"  # one write: others write too
for word in "$@"; do
  answers="$ANSWERS/${0##*/}.${word##*/}"
  [[ -s $answers ]] || continue
  read -r answer < "$answers"
  sed -i 1d "$answers"
  [[ $answer =~ ^[0-9]+$ ]] && exit "$answer"
  echo "$answer"
done
[[ "$*" != *"--filename -"* ]] || cat > "$ANSWERS/manifest"
"""


class Stage:
  """A folder of stand-ins that comes first on PATH."""

  def __init__(self, folder: Path):
    self.folder, self.calls_file = folder, folder / "calls"
    (folder / "bin").mkdir()
    for name in ("sbatch", "srun", "gcloud", "kubectl", "docker", "git"):
      self.program(name, STAND_IN)
    self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    self.environment |= {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "CALLS": str(self.calls_file),
      "ANSWERS": str(folder),
      "PYTHON": self.program("python-stand-in", STAND_IN),
    }

  def program(self, name: str, text: str) -> str:
    path = self.folder / "bin" / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)

  def answers(self, name: str, *lines: object) -> None:
    (self.folder / name).write_text("".join(f"{line}\n" for line in lines))

  def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [str(LAUNCH / script), *arguments]
    return subprocess.run(command, env=self.environment | environment, capture_output=True, text=True, timeout=60)

  def train(self, script: str, *more: str, **environment: str) -> subprocess.CompletedProcess:
    return self.run(script, *SCRIPTS[script], *more, "--", *ARGUMENTS, **environment)

  @property
  def calls(self) -> list[list[str]]:
    text = self.calls_file.read_text() if self.calls_file.exists() else ""
    return [call.split("\x1f")[:-1] for call in text.split("\x1e")[:-1]]

  @property
  def verbs(self) -> list[str]:
    """Of every call to gcloud the verb: create, scp, ..."""
    return [call[4] for call in self.calls if call[0] == "gcloud"]


@pytest.fixture
def stage(tmp_path):
  return Stage(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_dry_run_prints_and_calls_nothing(stage, script):
  done = stage.train(script, "--dry-run")
  assert done.returncode == 0, done.stderr
  assert "configs/multitask.py" in done.stdout and "mtc" in done.stdout
  assert stage.calls == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_it_does_and_costs(stage, script):
  done = stage.run(script, "--help")
  assert done.returncode == 0
  assert done.stdout.startswith("Trains ") and "\nCosts " in done.stdout and "--dry-run" in done.stdout
  assert "set -euo" not in done.stdout


GKE = ["--name", "a", "--image", "i", "--workers", "2", "--chips", "8"]
MISTAKES = {
  "local.sh": [
    ([], "--processes is missing"),
    (["--processes", "0"], "--processes=0 is not a positive number"),
    (["--processes"], "--processes needs a value"),
    (["--processes", "2", "--gpus", "--cpu-devices", "2"], "exclude each other"),
    (["--processes", "2", "--port", "99999"], "--port=99999"),
    (["--prosesses", "2"], "unknown argument '--prosesses'"),
  ],
  "slurm.sh": [
    ([], "--nodes and --gpus are needed"),
    (["--nodes", "two", "--gpus", "8"], "--nodes=two"),
    (["--nodes", "2", "--gpus", "8", "--time", "soon"], "--time=soon"),
  ],
  "tpu_vm.sh": [
    ([], "--name and --zone are needed"),
    (["--name", "My VM", "--zone", "z"], "--name=My VM"),
    (["--name", "a", "--zone", "z"], "--type and --version are needed"),
    (["--name", "a", "--zone", "z", "--type", "t", "--version", "v", "--attempts", "x"], "--attempts=x"),
  ],
  "gke.sh": [
    ([], "--name= is no name"),
    (["--name", "a"], "--image is missing"),
    (["--name", "a", "--image", "i"], "--workers and --chips are needed"),
    ([*GKE], "--gpu or --tpu is needed"),
    ([*GKE, "--gpu", "g", "--tpu", "t"], "exclude each other"),
    ([*GKE, "--tpu", "t"], "--topology= is no shape"),
  ],
}


@pytest.mark.parametrize("script, arguments, message", [(s, *case) for s, cases in MISTAKES.items() for case in cases])
def test_a_mistake_is_answered(stage, script, arguments, message):
  done = stage.run(script, *arguments, "--", *ARGUMENTS)
  assert (done.returncode, done.stdout, stage.calls) == (2, "", [])
  assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_arguments_of_the_run_are_checked(stage, script):
  for arguments, missing in [(["--workdir=gs://b/a"], "--config"), (["--config", "c.py"], "--workdir")]:
    done = stage.run(script, *SCRIPTS[script], "--", *arguments)
    assert done.returncode == 2 and f"error: {missing} is missing" in done.stderr
  assert stage.calls == []


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gke.sh"])
def test_a_workdir_that_would_vanish_is_refused(stage, script):
  done = stage.run(script, *SCRIPTS[script], "--", "--config=c.py", "--workdir=runs/a")
  assert done.returncode == 2 and "would vanish" in done.stderr


def test_a_missing_program_is_named(stage):
  (stage.folder / "bin" / "sbatch").unlink()
  done = stage.train("slurm.sh")
  assert done.returncode == 2 and "there is no sbatch" in done.stderr


def test_local_starts_every_process_once(stage):
  text = STAND_IN.replace('"$@";', '"$@" "$JAX_PLATFORMS" "$JAX_NUM_CPU_DEVICES";')
  stage.program("python-stand-in", text + "echo hello\n")
  done = stage.train("local.sh", "--port", "4242")
  assert done.returncode == 0, done.stderr
  for i, call in enumerate(sorted(stage.calls)):
    where = ["--coordinator=localhost:4242", f"--process_id={i}", "--process_count=2"]
    assert call == ["python-stand-in", "-m", "mtc.main", *where, *ARGUMENTS, "cpu", "4"]
  assert len(stage.calls) == 2
  assert sorted(done.stdout.splitlines()) == ["[1] hello", "hello"]


def test_local_gives_each_process_a_gpu(stage):
  stage.program("python-stand-in", STAND_IN.replace('"$@";', '"$CUDA_VISIBLE_DEVICES" "$5";'))
  done = stage.run("local.sh", "--processes", "3", "--gpus", "--", *ARGUMENTS)
  assert done.returncode == 0, done.stderr
  assert sorted(call[1] for call in stage.calls) == ["0", "1", "2"]


def test_local_stops_the_others_when_one_fails(stage):
  stage.program("python-stand-in", '#!/bin/bash\n[[ "$*" == *--process_id=1* ]] && exit 3\nexec sleep 50\n')
  start = time.monotonic()
  done = stage.train("local.sh")
  assert done.returncode == 3 and "a process ended with code 3" in done.stderr
  assert time.monotonic() - start < 20


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143)])
def test_local_passes_a_signal_on_once(stage, name, code):
  program = f"""#!/bin/bash
trap 'echo saved >> "$CALLS"; ended=1' {name}
echo ready >> "$CALLS.ready"
for _ in {{1..150}}; do [[ $ended ]] && break; sleep 0.1; done  # an end, whatever happens
sleep 0.5
"""
  stage.program("python-stand-in", program)
  # Tests that run in the background are started with SIGINT ignored, which a shell script cannot undo for itself.
  default = ["/usr/bin/env", f"--default-signal={name}"]
  command = [*default, str(LAUNCH / "local.sh"), *SCRIPTS["local.sh"], "--", *ARGUMENTS]
  with subprocess.Popen(command, env=stage.environment, start_new_session=True) as process:
    ready = Path(f"{stage.calls_file}.ready")
    while not (ready.exists() and ready.read_text().count("ready") == 2):
      time.sleep(0.05)
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(20) == code
  assert stage.calls_file.read_text() == "saved\n" * 2


def test_slurm_submits_a_job_that_starts_the_processes(stage):
  done = stage.train("slurm.sh", "--partition", "gpu")
  assert done.returncode == 0, done.stderr
  [submitted] = stage.calls
  assert submitted[0] == "sbatch"
  expected = {"--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--time=1:00:00", "--partition=gpu", "--requeue"}
  assert expected <= set(submitted) and "--signal=TERM@120" in submitted
  script = submitted[-1].removeprefix("--wrap=")
  subprocess.run(["sh", "-c", script], env=stage.environment, check=True)
  started = stage.calls[1]
  assert started[0] == "srun" and "--ntasks-per-node=8" in started
  assert started[-len(ARGUMENTS) - 3 :] == ["-m", "mtc.main", "--distributed", *ARGUMENTS]


def test_slurm_inside_a_job_starts_the_processes_at_once(stage):
  stage.answers("srun.mtc.main", 7)
  done = stage.train("slurm.sh", SLURM_JOB_ID="5")
  assert done.returncode == 7
  assert [call[0] for call in stage.calls] == ["srun"]


def _trains(call: list[str]) -> bool:
  return "mtc.main" in call[-1]


def test_tpu_from_creation_to_deletion(stage):
  done = stage.train("tpu_vm.sh")
  assert done.returncode == 0, done.stderr
  assert stage.verbs == ["describe", "create", "scp", "ssh", "ssh", "delete"]
  archive, _, create, copy, install, train = stage.calls[:6]
  assert archive == ["git", "archive", "--format=tar.gz", f"--output={copy[5]}", "HEAD"]
  assert {"mtc", "--zone=z", "--accelerator-type=v5litepod-16", "--version=v2", "--spot"} <= set(create)
  assert copy[6] == "mtc:mtc.tar.gz" and "--worker=all" in copy
  assert "make venv" in install[-1] and "[tpu]" in install[-1] and "--worker=all" in install
  words = shlex.split(train[-1].removeprefix("--command="))
  assert words[-len(ARGUMENTS) - 3 :] == ["-m", "mtc.main", "--distributed", *ARGUMENTS]
  assert "--worker=all" in train and not Path(copy[5]).exists()
  assert "costs" not in done.stderr


def test_tpu_reuses_one_that_is_ready_and_keeps_it_if_told(stage):
  stage.answers("gcloud.describe", "READY")
  done = stage.train("tpu_vm.sh", "--keep")
  assert done.returncode == 0, done.stderr
  assert stage.verbs == ["describe", "scp", "ssh", "ssh"]
  assert "may still exist, and costs" in done.stderr


def test_tpu_taken_away_is_created_again_and_goes_on(stage):
  # Found ready; taken away during the run; found gone; and ready again.
  stage.answers("gcloud.describe", "READY", "PREEMPTED", "PREEMPTED")
  stage.answers("gcloud.ssh", 0, 255, 0, 0)
  done = stage.train("tpu_vm.sh")
  assert done.returncode == 0, done.stderr
  one_run = ["scp", "ssh", "ssh"]
  assert stage.verbs == ["describe", *one_run, "describe", "describe", "delete", "create", *one_run, "delete"]
  assert "mtc is PREEMPTED: creating it again" in done.stderr
  first, second = [call for call in stage.calls if _trains(call)]
  assert first == second


def test_tpu_left_after_an_error_of_the_run(stage):
  stage.answers("gcloud.describe", "READY", "READY")
  stage.answers("gcloud.ssh", 0, 2)
  done = stage.train("tpu_vm.sh")
  assert done.returncode == 2
  assert stage.verbs == ["describe", "scp", "ssh", "ssh", "describe"]
  assert "launch/tpu_vm.sh --delete --name mtc --zone z" in done.stderr


def test_tpu_gives_up(stage):
  stage.answers("gcloud.create", 1, 1, 1)
  done = stage.train("tpu_vm.sh", "--attempts", "2")
  assert done.returncode == 1 and "gave up" in done.stderr
  assert stage.verbs == ["describe", "create"] * 3


def test_tpu_is_deleted(stage):
  assert stage.run("tpu_vm.sh", "--name", "mtc", "--zone", "z", "--delete").returncode == 0
  assert stage.calls == [["gcloud", "compute", "tpus", "tpu-vm", "delete", "mtc", "--zone=z", "--quiet"]]


@pytest.mark.parametrize("chips", ["gpu", "tpu"])
def test_gke_submits_the_jobset_and_waits_for_its_end(stage, chips):
  stage.answers("kubectl.--output=jsonpath={.status.terminalState}", "", "Completed")
  arguments = list(SCRIPTS["gke.sh"])
  if chips == "tpu":
    at = arguments.index("--gpu")
    arguments[at : at + 2] = ["--tpu", "v5e", "--topology", "4x4"]
  done = stage.run("gke.sh", *arguments, "--", *ARGUMENTS)
  assert done.returncode == 0, done.stderr
  once = [["kubectl", "wait"], ["kubectl", "logs"], ["kubectl", "get"]]
  build = [["docker", "build"], ["docker", "push"], ["kubectl", "apply"]]
  assert [call[:2] for call in stage.calls] == [*build, *once, *once]
  assert f"EXTRA={'cuda' if chips == 'gpu' else 'tpu'}" in stage.calls[0]

  manifest = yaml.safe_load((stage.folder / "manifest").read_text())
  job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  container = pod["containers"][0]
  assert (job["completions"], job["parallelism"], container["image"]) == (2, 2, "r/mtc:1")
  assert container["resources"]["limits"] == {"nvidia.com/gpu" if chips == "gpu" else "google.com/tpu": 8}
  assert pod["nodeSelector"] == (
    {"cloud.google.com/gke-accelerator": "h100"}
    if chips == "gpu"
    else {"cloud.google.com/gke-tpu-accelerator": "v5e", "cloud.google.com/gke-tpu-topology": "4x4"}
  )
  where = ["--coordinator=mtc-train-0-0.mtc:12355", "--process_id=$(PROCESS_ID)", "--process_count=2"]
  assert container["args"] == where + [argument.replace("$(", "$$(") for argument in ARGUMENTS]


def test_gke_reports_a_failed_run(stage):
  stage.answers("kubectl.--output=jsonpath={.status.terminalState}", "Failed")
  done = stage.train("gke.sh", "--no-build")
  assert done.returncode == 1 and "the JobSet failed" in done.stderr
  assert "docker" not in {call[0] for call in stage.calls}


def test_gke_is_deleted(stage):
  assert stage.run("gke.sh", "--name", "mtc", "--delete").returncode == 0
  assert stage.calls == [["kubectl", "delete", "jobset", "mtc"]]
