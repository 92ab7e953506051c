#!/usr/bin/env bash
# Trains on Google Kubernetes Engine: builds and pushes the image, submits launch/gke_jobset.yaml, and streams the logs.
#
#   launch/gke.sh --name mtc --image REGISTRY/PROJECT/mtc:1 --workers 2 --gpu nvidia-h100-80gb --chips 8 \
#     -- --config configs/multitask.py --workdir gs://bucket/runs/a
#   launch/gke.sh --name mtc --image REGISTRY/PROJECT/mtc:1 --workers 4 --tpu tpu-v5-lite-podslice --topology 4x4 --chips 4 \
#     -- --config configs/multitask.py --workdir gs://bucket/runs/a
#
#   --name NAME       of the JobSet
#   --image IMAGE     where to push the image, and the nodes pull it from
#   --workers N       how many nodes, a process on each
#   --chips C         GPUs or TPU chips of each node
#   --gpu TYPE        the node label cloud.google.com/gke-accelerator
#   --tpu TYPE        the node label cloud.google.com/gke-tpu-accelerator; with --topology T
#   --wait SECONDS    before looking for the logs again (10)
#   --no-build        the image is there already
#   --delete          only delete the JobSet; needs --name
#   --dry-run         print the commands and the manifest, run nothing
#
# Costs the nodes' price while it runs; the cluster needs a pool of such nodes and the JobSet controller. When a node is lost
# the whole set starts again, up to 50 times, and goes on from the last checkpoint, so the workdir must be gs://... or a
# mounted disk. A mistake in the arguments or the data (exit code 2) is not tried again. A Ctrl-C ends the logs, not the run.
set -euo pipefail

die() { echo "error: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1=$2 is not a positive number"; }

name="" image="" workers="" chips="" gpu="" tpu="" topology="" wait=10 no_build="" delete="" dry_run=""
while (($#)); do
  case $1 in
    --name | --image | --workers | --chips | --gpu | --tpu | --topology | --wait)
      [[ ${2:---} != --* ]] || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    --no-build) no_build=1; shift ;;
    --delete) delete=1; shift ;;
    --dry-run) dry_run=1; shift ;;
    --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) die "unknown argument '$1'; the arguments of mtc.main come after --" ;;
  esac
done
[[ $name =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]] || die "--name=$name is no name for a JobSet; use lower case, digits and hyphens"
if [[ ! $delete ]]; then
  [[ $image ]] || die "--image is missing; see --help"
  [[ $workers && $chips ]] || die "--workers and --chips are needed; see --help"
  number --workers "$workers"
  number --chips "$chips"
  [[ $wait =~ ^[0-9]+$ ]] || die "--wait=$wait is not a number of seconds"
  [[ $gpu || $tpu ]] || die "--gpu or --tpu is needed; see --help"
  [[ ! $gpu || ! $tpu ]] || die "--gpu and --tpu exclude each other"
  [[ ! $tpu || $topology =~ ^[0-9]+x[0-9]+(x[0-9]+)?$ ]] || die "--topology=$topology is no shape of a TPU slice; for example 4x4"
  [[ " $* " == *" --config"[\ =]* ]] || die "--config is missing after --; see --help"
  [[ " $* " =~ \ --workdir[\ =](gs://|/) ]] ||
    die "--workdir is missing after --, or would vanish with the pod; use gs://... or the absolute path of a mounted disk"
fi
cd "$(dirname "$0")/.."

run() {
  [[ ! $dry_run ]] || { printf '%q ' "$@"; echo; return; }
  command -v "$1" > /dev/null || die "there is no $1 here; install it"
  "$@"
}

if [[ $delete ]]; then
  run kubectl delete jobset "$name"
  exit
fi

arguments=""
for argument in "$@"; do
  argument=${argument//\\/\\\\} # As YAML wants it,
  argument=${argument//\"/\\\"}
  arguments+=", \"${argument//\$(/\$\$(}\"" # and as Kubernetes does, which fills in $(NAME).
done
manifest=$(< launch/gke_jobset.yaml)
fill() { manifest=${manifest//"{$1}"/"$2"}; }
fill name "$name"
fill image "$image"
fill workers "$workers"
fill chips "$chips"
if [[ $gpu ]]; then
  extra=cuda
  fill resource nvidia.com/gpu
  fill selector "cloud.google.com/gke-accelerator: \"$gpu\""
else
  extra=tpu
  fill resource google.com/tpu
  fill selector "cloud.google.com/gke-tpu-accelerator: \"$tpu\", cloud.google.com/gke-tpu-topology: \"$topology\""
fi
fill arguments "$arguments"

if [[ ! $no_build ]]; then
  run docker build --file launch/Dockerfile --build-arg "EXTRA=$extra" --tag "$image" .
  run docker push "$image"
fi
[[ ! $dry_run ]] || echo "$manifest"
run kubectl apply --filename - <<< "$manifest"
pods="jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
while true; do # Once for each start of the set.
  if run kubectl wait --for=condition=Ready pod --timeout=60s "--selector=$pods"; then
    run kubectl logs --follow "--selector=$pods" || true
  fi
  [[ ! $dry_run ]] || exit 0
  end=$(kubectl get jobset "$name" '--output=jsonpath={.status.terminalState}')
  [[ $end != Completed ]] || exit 0
  [[ $end != Failed ]] || { echo "error: the JobSet failed; see kubectl describe jobset $name" >&2; exit 1; }
  sleep "$wait"
done
