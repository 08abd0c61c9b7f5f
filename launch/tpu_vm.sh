#!/bin/bash
# Trains on a TPU slice of any number of hosts, from any machine that has gcloud, and deletes it in the end:
#
#   launch/tpu_vm.sh --name=mtl --zone=us-west4-a --type=v5litepod-16 --version=v2-alpha-tpuv5-lite --spot \
#     -- main --config=rooms --workdir=gs://BUCKET/rooms
#
# asks for the slice (a queued resource) and waits for it, copies what is committed in this checkout to all hosts,
# installs it, and runs the command on all of them. A slice that is taken away is asked for again, and the same command
# continues there. The same call goes on with a slice that is there already, and with the command where it still runs.
# Exits as the command does.
#
# --name, --zone, --type, --version   of the slice, as gcloud names them; --project, if it is not gcloud's own
# --spot               cheaper; may be taken away at any time
# --mount=HOST:/SHARE  an NFS share that all hosts mount as /shared, for a workdir below that
# --extras=tpu,gcs     what is installed with the package; by itself tpu, and gcs for a workdir in gs://
# --keep               leaves the slice when the command has ended, which costs money
# --delete             only deletes the slice
set -euo pipefail

fail() {
  echo "error: $1" >&2
  exit 2
}

name='' zone='' type='' version='' mount='' extras='' keep='' delete=''
where=() request=(--quiet)
while [ $# -gt 0 ]; do
  case $1 in
    --name=?*) name=${1#*=} ;;
    --zone=?*) zone=${1#*=} && where+=("$1") ;;
    --project=?*) where+=("$1") ;;
    --type=?*) type=${1#*=} ;;
    --version=?*) version=${1#*=} ;;
    --mount=?*:/?*) mount=${1#*=} ;;
    --extras=?*) extras=${1#*=} ;;
    --spot) request+=(--spot) ;;
    --keep) keep=yes ;;
    --delete) delete=yes ;;
    --)
      shift
      break
      ;;
    *) fail "$1 is no option of launch/tpu_vm.sh; its first lines name them, and the command comes after --." ;;
  esac
  shift
done
[[ $name =~ ^[a-z][a-z0-9-]*$ ]] || fail "--name is '$name'; give small letters, digits and dashes, such as --name=mtl."
[ -n "$zone" ] || fail '--zone is missing; such as --zone=us-west4-a.'
poll=${POLL_SECONDS:-30}

remove() {
  echo "Deleting $name." >&2
  gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

# A look may fail for a moment; three in a row are a failure.
look() {
  local i status=0
  for i in 1 2 3; do
    gcloud compute tpus "$@" "${where[@]}" && return
    status=$?
    [ "$i" -eq 3 ] || sleep "$poll"
  done
  return $status
}

# What has become of the request, or of its slice where that has ended by itself; nothing where there is none.
state() {
  local asked slice=''
  asked=$(look queued-resources list --filter="name ~ /queuedResources/$name\$" --format='value(state.state)') || return
  if [ "$asked" = ACTIVE ]; then
    slice=$(look tpu-vm list --filter="name ~ /nodes/$name\$" --format='value(state)') || return
  fi
  case $slice in
    PREEMPTED | TERMINATED) echo "$slice" ;;
    *) echo "$asked" ;;
  esac
}

if [ -n "$delete" ]; then
  remove
  exit
fi
[ -n "$type" ] || fail '--type is missing; such as --type=v5litepod-16.'
[ -n "$version" ] || fail '--version is missing; such as --version=v2-alpha-tpuv5-lite for v5e.'
case ${1:-} in
  main | reproduce) ;;
  *) fail "the command is '${1:-}'; give main or reproduce after --, such as -- main --config=rooms --workdir=..." ;;
esac
workdir=''
for argument in "$@"; do
  case $argument in --workdir=*) workdir=${argument#*=} ;; esac
done
case $workdir in
  gs://?*)
    [ "$1" = main ] || fail "--workdir=$workdir: $1 needs a folder; give /shared/... with --mount."
    extras=${extras:-tpu,gcs}
    ;;
  /shared/?*) [ -n "$mount" ] || fail "--workdir=$workdir: nothing is mounted there; give --mount=HOST:/SHARE." ;;
  *) fail "--workdir='$workdir': hosts and their disks come and go; give gs://..., or /shared/... with --mount." ;;
esac

extras=${extras:-tpu}

# Waits until the slice is there. Asks for it where nobody has, and again where it was taken away.
acquire() {
  local now failed=0
  while true; do
    now=$(state)
    case $now in
      ACTIVE) return ;;
      '')
        echo "Asking for $name ($type)." >&2
        gcloud compute tpus queued-resources create "$name" "${where[@]}" --node-id="$name" --accelerator-type="$type" \
          --runtime-version="$version" "${request[@]}"
        ;;
      FAILED | SUSPENDED | PREEMPTED | TERMINATED)
        failed=$((failed + 1))
        if [ $failed -gt 3 ]; then
          echo "error: $name could not be had, three times; gcloud compute tpus queued-resources describe says why." >&2
          exit 1
        fi
        remove
        ;;
      *) echo "$name: $now" >&2 ;;
    esac
    sleep "$poll"
  done
}

# Whether the slice is being taken away: the connection may end before the state says so.
lost() {
  local i
  for i in 1 2 3 4 5; do
    [ "$(state)" = ACTIVE ] || return 0
    [ "$i" -eq 5 ] || sleep "$poll"
  done
  return 1
}

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
archive=$(mktemp -d)/mtkd_jax.tar.gz
left='' agent=''
# shellcheck disable=SC2329
leave() {
  rm -rf "$(dirname "$archive")"
  [ -z "$agent" ] || ssh-agent -k > /dev/null
  [ -z "$left" ] || echo "$name is left as it is: the same call goes on, and --delete ends it." >&2
}
trap leave EXIT
trap 'exit 130' INT
# gcloud copies to several hosts only with a key that the agent holds.
key=$HOME/.ssh/google_compute_engine
if [ ! -f "$key" ]; then
  mkdir -p "$(dirname "$key")"
  chmod 700 "$(dirname "$key")"
  ssh-keygen -q -t rsa -N '' -f "$key"
fi
if [ -z "${SSH_AUTH_SOCK:-}" ]; then
  agent=$(ssh-agent -s)
  eval "$agent" > /dev/null
fi
ssh-add -q "$key"
git -C "$checkout" archive --format=tar.gz --output="$archive" HEAD
[ -z "$(git -C "$checkout" status --porcelain)" ] || echo 'Changes that are not committed are not copied.' >&2

share='true'
if [ -n "$mount" ]; then
  share="sudo mkdir -p /shared && { mountpoint -q /shared || { sudo apt-get -qq update && \
sudo apt-get -qq install -y nfs-common && sudo mount -t nfs $(printf '%q' "$mount") /shared; }; } && \
{ [ -w /shared ] || sudo chmod go+rwx /shared; }"
fi
# Nothing is changed under a command that still runs, because only its connection was lost. gcloud connects again by
# itself, too, and repeats this.
install="mkdir -p mtkd_jax && tar -xzf mtkd_jax.tar.gz -C mtkd_jax && $share && mtkd_jax/launch/install.sh \
$(printf '%q' "$extras")"
# shellcheck disable=SC2016
running='kill -0 "$(cat mtkd_jax/.run/pid 2> /dev/null)" 2> /dev/null'
attempt=$(date +%s)
command=$(printf ' %q' "$@")

work() {
  gcloud compute tpus tpu-vm scp "$archive" "$name:mtkd_jax.tar.gz" "${where[@]}" --worker=all --quiet &&
    gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --quiet \
      --command="{ $running || { $install; }; } && exec mtkd_jax/launch/detached.sh $attempt$command"
}

again=0
left=yes
while true; do
  acquire
  status=0
  work || status=$?
  [ "$status" -ne 0 ] || break
  echo "The command ended with status $status." >&2
  if lost; then
    echo "$name was taken away; the command continues on the next slice." >&2
    attempt=$attempt+
    continue
  fi
  # Stopped on request, it is started again; where the connection was lost, it is followed. The rest is its own failure.
  case $status in
    143) attempt=$attempt+ ;;
    255) ;;
    *) break ;;
  esac
  again=$((again + 1))
  [ $again -le 3 ] || break
done
if [ -z "$keep" ]; then
  remove
  left=''
fi
exit "$status"
