#!/usr/bin/env bash
# Trains with several processes on this machine: to use each of its GPUs, or to try a distributed run without a cluster.
#
#   launch/local.sh --processes 2 --cpu-devices 4 -- --config configs/multitask.py --workdir runs/a
#   launch/local.sh --processes 8 --gpus -- --config configs/multitask.py --workdir runs/a
#
#   --processes N     how many processes
#   --gpus            process I uses GPU I alone
#   --cpu-devices D   each process uses D virtual devices of the CPU (the default, with D = 1)
#   --port P          where process 0 listens on the loopback interface (12355)
#   --dry-run         print the commands, run nothing
#   PYTHON            the Python to use (.venv/bin/python)
#
# Costs nothing but this machine. When a process fails the others are stopped and its exit code is returned; run the same
# command again to go on. SIGINT and SIGTERM are passed on, so that the run saves a checkpoint before it ends.
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1=$2 is not a positive number"; }

processes="" gpus="" cpu_devices="" port=12355 dry_run=""
while (($#)); do
  case $1 in
    --processes | --cpu-devices | --port)
      [[ ${2:---} != --* ]] || die "$1 needs a value"
      number "$1" "$2"
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2
      ;;
    --gpus) gpus=1; shift ;;
    --dry-run) dry_run=1; shift ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; the arguments of mtc.main come after --" ;;
  esac
done
[[ $processes ]] || die "--processes is missing; say how many, for example --processes 2"
[[ ! $gpus || ! $cpu_devices ]] || die "--gpus and --cpu-devices exclude each other"
((port < 65536)) || die "--port=$port is not a port; use 1024 to 65535"
for flag in --config --workdir; do
  [[ " $* " == *" $flag"[\ =]* ]] || die "$flag is missing after --; see --help"
done
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[[ $dry_run ]] || command -v "$python" > /dev/null || die "there is no $python; run 'make venv', or set PYTHON"

set -m # Each process gets its own process group: a Ctrl-C reaches it once, through this script.
pids=()
# shellcheck disable=SC2317  # Called by the traps.
stop() {
  ((${#pids[@]})) && kill "-$1" "${pids[@]}" 2> /dev/null
  wait
  exit "$2"
}
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM

for ((i = 0; i < processes; i++)); do
  environment=(JAX_PLATFORMS=cpu "JAX_NUM_CPU_DEVICES=${cpu_devices:-1}")
  [[ $gpus ]] && environment=("CUDA_VISIBLE_DEVICES=$i")
  command=(env "${environment[@]}" "$python" -m mtc.main
    "--coordinator=localhost:$port" "--process_id=$i" "--process_count=$processes" "$@")
  if [[ $dry_run ]]; then
    printf '%q ' "${command[@]}"
    echo
  elif ((i == 0)); then
    "${command[@]}" & # With the terminal to itself, for its progress line.
    pids+=($!)
  else
    "${command[@]}" > >(awk -v i="$i" '{ print "[" i "] " $0; fflush() }') 2>&1 &
    pids+=($!)
  fi
done

while ((${#pids[@]})); do
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2> /dev/null; then
      running+=("$pid")
    elif ! { wait "$pid" && code=0 || { code=$?; false; }; }; then
      echo "error: a process ended with code $code; stopping the others" >&2
      kill -TERM "${pids[@]}" 2> /dev/null || true
      wait
      exit "$code"
    fi
  done
  pids=(${running[@]+"${running[@]}"})
  ((${#pids[@]} == 0)) || sleep 0.5
done
