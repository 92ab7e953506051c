#!/usr/bin/env bash
# Trains on a Slurm cluster of GPU nodes, one process for each GPU, which find one another through Slurm.
#
#   launch/slurm.sh --nodes 2 --gpus 8 --time 24:00:00 -- --config configs/multitask.py --workdir /shared/runs/a
#
#   --nodes N         how many nodes
#   --gpus G          GPUs of each node
#   --time T          the job's limit, as Slurm writes it (24:00:00)
#   --partition P     the partition, if the default is not the one
#   --cpus C          CPU cores for each process (8): they tokenise and pack
#   --dry-run         print the command, run nothing
#   PYTHON            the Python to use, at the same path on every node (.venv/bin/python)
#
# Costs nodes x GPUs x hours of your allocation. Outside a job it submits one with sbatch and returns; inside one (salloc) it
# starts the processes with srun and waits. The workdir must be on a file system that all nodes share. A preempted job is
# queued again and goes on from its last checkpoint; two minutes before the time limit the run saves one and ends, and the
# same command continues it. Before the first run: make venv && .venv/bin/pip install -e '.[cuda]'
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1=$2 is not a positive number"; }

nodes="" gpus="" time=24:00:00 partition="" cpus=8 dry_run=""
while (($#)); do
  case $1 in
    --nodes | --gpus | --cpus | --time | --partition)
      [[ ${2:---} != --* ]] || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    --dry-run) dry_run=1; shift ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; the arguments of mtc.main come after --" ;;
  esac
done
[[ $nodes && $gpus ]] || die "--nodes and --gpus are needed; for example --nodes 2 --gpus 8"
number --nodes "$nodes"
number --gpus "$gpus"
number --cpus "$cpus"
[[ $time =~ ^([0-9]+-)?[0-9]+(:[0-9]+){0,2}$ ]] || die "--time=$time is not a time limit; for example 24:00:00 or 2-00:00:00"
for flag in --config --workdir; do
  [[ " $* " == *" $flag"[\ =]* ]] || die "$flag is missing after --; see --help"
done
cd "$(dirname "$0")/.."

# Every process sees all GPUs of its node and takes the one of its local rank, as jax expects under Slurm.
shape=("--nodes=$nodes" "--ntasks-per-node=$gpus" "--gpus-per-node=$gpus" "--cpus-per-task=$cpus")
step=(srun --kill-on-bad-exit=1 --gpu-bind=none --label "${shape[@]}"
  "${PYTHON:-.venv/bin/python}" -m mtc.main --distributed "$@")
if [[ ${SLURM_JOB_ID:-} ]]; then
  command=("${step[@]}")
else
  printf -v script '%q ' "${step[@]}"
  command=(sbatch --job-name=mtc "${shape[@]}" "--time=$time" --requeue --open-mode=append --signal=TERM@120
    ${partition:+"--partition=$partition"} "--wrap=exec $script")
fi
if [[ $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
else
  command -v "${command[0]}" > /dev/null || die "there is no ${command[0]} here; run this on a login node of the cluster"
  exec "${command[@]}"
fi
