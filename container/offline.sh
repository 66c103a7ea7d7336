#!/bin/sh
# Build the image without a registry of images: a base made by debootstrap, and a folder of wheels.
# usage: offline.sh FOLDER IMAGE     (root, with podman and debootstrap; PIP names the pip that fetches wheels)
set -eu
folder=$1 image=$2 base=localhost/medseg-base:bookworm
export CONTAINERS_CONF="${CONTAINERS_CONF:-$folder/containers.conf}"
mkdir -p "$folder/wheels"

# runc and the cgroup files work inside virtual machines and other containers, too.
cat > "$folder/containers.conf" <<'CONF'
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=512:512"]
CONF

if ! podman image exists "$base"; then
    debootstrap --variant=minbase --include=python3,python3-venv,binutils bookworm "$folder/rootfs"
    rm -rf "$folder"/rootfs/var/cache/apt "$folder"/rootfs/var/lib/apt/lists "$folder"/rootfs/var/log
    tar -C "$folder/rootfs" --sort=name -c . | podman import - "$base"
    rm -rf "$folder/rootfs"
fi

torch=$(sed -n 's/^torch==//p' constraints.txt)
${PIP:-pip} wheel --quiet -w "$folder/wheels" -c constraints.txt "torch==$torch+cpu" '.[dicom]'
${PIP:-pip} download --quiet -d "$folder/wheels" -r container/build-requirements.txt

podman build --pull=never --network=none --build-context "wheels=$folder/wheels" --build-arg PIP_NO_INDEX=1 \
    --build-arg "BUILDER=$base" --build-arg "BASE=$base" --tag "$image" .
