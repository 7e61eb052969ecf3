#!/usr/bin/env bash
# Packs what run.sh needs for the figures of docs/results.md, in two folders of at most 60 MiB.
#
# usage: tests/proof/pack.sh PROGRAMS DATA WEIGHTS TO
#   PROGRAMS  the folder of tests/gpu/pack.sh: classify, detect and segment with CUDA
#   DATA      a folder named data with sign_digits, clothing (short side at most 128), nuclei (COCO), nuclei_seg (three_classes.py)
#   WEIGHTS   weights/vit_small_patch14_dinov2.safetensors
set -euo pipefail
[ $# -eq 4 ] || { echo "usage: $0 PROGRAMS DATA WEIGHTS TO" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
programs=$(cd "$1" && pwd) data=$(cd "$2" && pwd) weights=$(realpath "$3") to=$4
for list in a b; do
    mkdir -p "$to/call_$list"
    echo $list >"$to/call_$list/LIST"
    cp "$here"/{run.sh,run_jobs.py} "$to/call_$list"
    stage=$(mktemp -d)
    python3 "$here/jobs.py" "$stage"
    tar -C "$here/../.." -cf "$to/call_$list/lists.tar" configs -C "$stage" a.json b.json
    rm -rf "$stage"
    if [ $list = a ]; then
        tar -C "$programs" -c classify detect segment | xz -2 >"$to/call_a/programs.tar.xz"
        tar -C "$data/.." --exclude=.kat-index -c data/{sign_digits,clothing} | gzip -1 >"$to/call_a/data.tar.gz"
    else
        tar -C "$data/.." --exclude=.kat-index -c data/{nuclei,nuclei_seg} -C "$(dirname "$weights")/.." \
            "weights/$(basename "$weights")" | gzip -1 >"$to/call_b/data.tar.gz"
    fi
done
du -sh "$to"/call_?
