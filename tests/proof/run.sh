#!/usr/bin/env bash
# One call to a machine with a GPU: unpacks what stands beside this script, runs a list of jobs by run_jobs.py, packs results.
#
# usage: run.sh SECONDS, in a folder made by pack.sh
#   LIST      a or b [what the file LIST beside this holds]; b goes on where a has left /tmp/kat
#   WORKERS   jobs at a time [8 of list a, 4 of list b: detectors and segmentors fill a GPU sooner]
#   OUT       where results.tar.gz goes
# CUDA's libraries are found as by tests/gpu/run.sh; no Rust is needed.
set -uo pipefail
SECONDS=0
seconds=${1:?usage: run.sh SECONDS}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${OUT:=$PWD/out}"
OUT=$(cd "$OUT" && pwd)
list=${LIST:-$(cat "$here/LIST")}
home=${KAT_HOME:-/tmp/kat}

mkdir -p "$home" && cd "$home" || exit 2
python3 - "$here"/*.tar* <<'P' || exit 2
import sys, tarfile
for name in sys.argv[1:]:
    tarfile.open(name).extractall(".", filter="fully_trusted")
P
[ -x classify ] || { echo "no programs in $home: call a comes before call b, on the same machine"; exit 2; }

libraries=${KAT_CUDA_LIBRARIES:-}
for folder in /usr/local/nvidia/lib64 /usr/local/cuda/lib64 \
    $(python3 -c 'import site; print(*[p + "/nvidia/*/lib" for p in site.getsitepackages()])' 2>/dev/null); do
    [ -d "$folder" ] && libraries=${libraries:+$libraries:}$folder
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tee device.txt
echo "$(nproc) cores; libraries $libraries"
ldd ./classify | grep 'not found'

echo "prepared in $SECONDS s"
[ "$list" = a ] && workers=8 || workers=4
python3 "$here/run_jobs.py" "$list.json" $((seconds - SECONDS - 10)) "${WORKERS:-$workers}"

tar -czf "$OUT/results_$list.tar.gz" --exclude='*.safetensors' --exclude=tensorboard --exclude=report.html --exclude=plots runs logs times.jsonl sign.txt device.txt 2>/dev/null
for run in runs/sign/kat_s0 runs/nuclei/small_kat_s0; do # rational functions and masks can be drawn of these
    [ -e "$run/best.safetensors" ] && cp "$run/best.safetensors" "$OUT/$(echo "${run#runs/}" | tr / _).safetensors"
done
find "$OUT" -size +16M -delete -printf 'too large, left out: %p\n'
ls -la "$OUT"
echo "in all $SECONDS s"
for kind in $(sed 's/.*"kind": "\([^"]*\)".*/\1/' times.jsonl | tr ' ' _ | sort -u); do
    python3 - "$kind" <<'P'
import json, statistics, sys
found = [json.loads(line) for line in open("times.jsonl")]
took = [f["seconds"] for f in found if f["kind"].replace(" ", "_") == sys.argv[1] and f["code"] == 0]
bad = [f["name"] for f in found if f["kind"].replace(" ", "_") == sys.argv[1] and f["code"] != 0]
print(f"{sys.argv[1]:20s} {len(took):3d} ended, median {statistics.median(took or [0]):6.1f} s; failed: {' '.join(bad)}")
P
done
for name in $(grep -v '"code": 0' times.jsonl | sed 's/.*"name": "\([^"]*\)".*/\1/' | sort -u); do
    echo "== $name"
    tail -n 20 "logs/$name.txt" | cut -c1-300
done | head -100
exit 0
