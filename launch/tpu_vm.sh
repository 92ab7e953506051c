#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice: creates or reuses it, copies the last commit, installs from the lock file, runs on
# all workers, streams their logs, and deletes it at the end.
#
#   launch/tpu_vm.sh --name mtc --zone us-west4-a --type v5litepod-16 --version v2-alpha-tpuv5-lite --spot \
#     -- --config configs/multitask.py --workdir gs://bucket/runs/a
#
#   --name NAME       of the TPU VM; one that exists is reused
#   --zone ZONE       where
#   --type TYPE       the accelerator, such as v5litepod-16
#   --version V       its runtime, such as v2-alpha-tpuv5-lite
#   --project P       of Google Cloud, if the default is not the one
#   --spot            cheaper, and may be taken away at any time
#   --keep            do not delete it at the end
#   --attempts N      how often to create it again after it was taken away (20)
#   --wait SECONDS    before looking at its state, or trying to create it again (60)
#   --delete          only delete it; needs --name and --zone
#   --dry-run         print the commands, run nothing
#
# Costs the type's hourly price from creation to deletion, used or not. After a preemption it is created again and the run
# goes on from its last checkpoint, so the workdir must outlive the VM: gs://..., or the absolute path of a disk that all
# workers mount. After an error of the run itself the VM is left for inspection, which costs: delete it with --delete.
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }
say() { echo "== $*" >&2; }
number() { [[ $2 =~ ^[0-9]+$ ]] || die "$1=$2 is not a number"; }

name="" zone="" type="" version="" project="" spot="" keep="" attempts=20 wait=60 delete="" dry_run=""
while (($#)); do
  case $1 in
    --name | --zone | --type | --version | --project | --attempts | --wait)
      [[ ${2:---} != --* ]] || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    --spot | --keep | --delete) printf -v "${1#--}" 1; shift ;;
    --dry-run) dry_run=1; shift ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; the arguments of mtc.main come after --" ;;
  esac
done
[[ $name && $zone ]] || die "--name and --zone are needed; see --help"
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || die "--name=$name is no name for a VM; use lower case, digits and hyphens"
number --attempts "$attempts"
number --wait "$wait"
if [[ ! $delete ]]; then
  [[ $type && $version ]] || die "--type and --version are needed; for example --type v5litepod-16 --version v2-alpha-tpuv5-lite"
  [[ " $* " == *" --config"[\ =]* ]] || die "--config is missing after --; see --help"
  [[ " $* " =~ \ --workdir[\ =](gs://|/) ]] ||
    die "--workdir is missing after --, or would vanish with the VM; use gs://... or the absolute path of a mounted disk"
fi
cd "$(dirname "$0")/.."
[[ $dry_run ]] || command -v gcloud > /dev/null || die "there is no gcloud here; install the Google Cloud CLI"

run() {
  [[ ! $dry_run ]] || { printf '%q ' "$@"; echo; return; }
  "$@"
}
where=("--zone=$zone" ${project:+"--project=$project"})
vm=(gcloud compute tpus tpu-vm)
on_all() { run "${vm[@]}" ssh "$name" "${where[@]}" --worker=all "--command=$1"; }
remove() { run "${vm[@]}" delete "$name" "${where[@]}" --quiet && billed=""; }
state() { # READY, PREEMPTED, ...; empty if there is none
  [[ $dry_run ]] || "${vm[@]}" describe "$name" "${where[@]}" '--format=value(state)' 2> /dev/null || true
}

if [[ $delete ]]; then
  remove
  exit
fi

archive=/tmp/mtc.tar.gz billed=""
[[ $dry_run ]] || archive=$(mktemp -t mtc.XXXXXX)
# shellcheck disable=SC2317,SC2329  # Called by the trap.
leave() {
  [[ $dry_run ]] || rm -f "$archive"
  [[ ! $billed ]] || say "$name may still exist, and costs until you delete it: launch/tpu_vm.sh --delete --name $name --zone $zone"
}
trap leave EXIT
run git archive --format=tar.gz "--output=$archive" HEAD
printf -v arguments '%q ' "$@"
install="mkdir -p mtc && tar -xzf mtc.tar.gz -C mtc && cd mtc && { make venv || { sudo apt-get update -q && \
sudo apt-get install -y -q make python3.11 python3.11-venv && make venv; }; } && .venv/bin/pip install -q -e '.[tpu]'"
# A process that a broken connection left behind would still hold the TPU.
train="pkill -f '[m]tc.main'; cd mtc && exec .venv/bin/python -m mtc.main --distributed $arguments"

for ((attempt = 0; attempt <= attempts; attempt++)); do
  found=$(state)
  if [[ $found && $found != READY ]]; then
    say "$name is $found: creating it again"
    remove || true
    found=""
  fi
  if [[ ! $found ]]; then
    if ! run "${vm[@]}" create "$name" "${where[@]}" "--accelerator-type=$type" "--version=$version" ${spot:+--spot}; then
      say "$name could not be created; trying again in $wait s"
      sleep "$wait"
      continue
    fi
  fi
  code=0
  [[ $dry_run ]] || billed=1
  run "${vm[@]}" scp "$archive" "$name:mtc.tar.gz" "${where[@]}" --worker=all && on_all "$install" && on_all "$train" || code=$?
  if ((code == 0)); then
    [[ $keep ]] || remove
    exit
  fi
  sleep "$wait" # A preemption shows a little after the connection broke.
  if [[ $(state) == READY ]]; then
    say "the run failed with code $code; $name is left for you to look at"
    exit "$code"
  fi
done
say "gave up after creating it again $attempts times; run the same command to go on"
exit 1
