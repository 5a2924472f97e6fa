#!/bin/bash
# Trains on a TPU pod slice, a process a host; goes on by itself when the slice
# is preempted and made again.
#
#   CONFIG=paper DATASET=/shared/dataset WORKDIR=/shared/run \
#     TPU=slice ZONE=us-central2-b TYPE=v4-64 bash launch/tpu_pod.sh
#
# Every host must have this repository, installed with the extra `tpu`, under
# CODE, and the two shared paths. DRY_RUN=1 shows the commands and runs nothing.
set -u

command="cd ${CODE:-disentangle3d} && .venv/bin/python -m experiments.train\
 --config=${CONFIG:-paper}\
 --config.examples.path=${DATASET:?where the dataset is, on a shared path}\
 --workdir=${WORKDIR:?where checkpoints go, on a shared path}\
 --coordinator=auto --stopped_status=75 $*"
slice=(gcloud compute tpus tpu-vm)
where=("${TPU:?the name of the slice}" --zone="${ZONE:?its zone}")

run() {
  if [[ -n "${DRY_RUN:-}" ]]; then
    echo "$@"
  else
    "$@"
  fi
}

train() {
  run "${slice[@]}" ssh "${where[@]}" --worker=all --command="$command"
}

# Status 0 is a finished training. A slice that was preempted is made again.
until train; do
  state=$("${slice[@]}" describe "${where[@]}" --format='value(state)')
  if [[ "$state" != READY ]]; then
    run "${slice[@]}" delete "${where[@]}" --quiet
    run "${slice[@]}" create "${where[@]}" \
      --accelerator-type="${TYPE:?the type of the slice}" \
      --version="${VERSION:-tpu-ubuntu2204-base}" --spot
    [[ -z "${PREPARE:-}" ]] || run bash "$PREPARE"
  fi
  sleep "${AGAIN_S:-60}"
done
