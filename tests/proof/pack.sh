#!/usr/bin/env bash
# Packs what run.sh needs for the figures of docs/results.md, in two folders of at most 60 MiB.
#
# usage: tests/proof/pack.sh PROGRAMS DATA WEIGHTS TO
#   PROGRAMS  the folder of tests/gpu/pack.sh: classify, detect and segment with CUDA
#   DATA      sign_digits, clothing (short side at most 128), nuclei (COCO), nuclei_seg (three_classes.py)
#   WEIGHTS   vit_small_patch14_dinov2.safetensors
set -euo pipefail
[ $# -eq 4 ] || { echo "usage: $0 PROGRAMS DATA WEIGHTS TO" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
programs=$(cd "$1" && pwd) data=$(cd "$2" && pwd) weights=$(realpath "$3") to=$4
for list in a b; do
    mkdir -p "$to/call_$list"
    echo $list >"$to/call_$list/LIST"
    cp "$here"/{run.sh,run_jobs.py,repatch.py} "$to/call_$list"
    stage=$(mktemp -d)
    mkdir "$stage/data" "$stage/weights"
    python3 "$here/jobs.py" "$stage"
    cp -r "$here/../../configs" "$stage/configs"
    if [ $list = a ]; then
        cp "$programs"/{classify,detect,segment} "$stage"
        cp -r "$data"/{sign_digits,clothing} "$stage/data"
    else
        cp -rl "$data"/{nuclei,nuclei_seg} "$stage/data"
        cp "$weights" "$stage/weights"
    fi
    rm -rf "$stage"/data/*/.kat-index
    tar -C "$stage" -c . | xz -3 >"$to/call_$list/files.tar.xz"
    rm -rf "$stage"
done
du -sh "$to"/call_?
