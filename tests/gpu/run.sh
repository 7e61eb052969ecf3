#!/usr/bin/env bash
# Every GPU test on this machine's GPU, then compute-sanitizer and the benchmarks; the last thing printed is one table.
#
# usage: tests/gpu/run.sh [FOLDER]
#   Without FOLDER: builds (CUDA toolkit and Rust needed; README, "On a GPU"), and runs.
#   With FOLDER: runs the programs that `tests/gpu/pack.sh FOLDER` put there, on a machine without Rust.
# CUDA's libraries are taken from LD_LIBRARY_PATH, the toolkit, or NVIDIA's wheels in any site-packages.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export KAT_REQUIRE_CUDA=1

for lib in /usr/local/cuda/lib64 /usr/local/nvidia/lib64 \
    $(python3 -c 'import site; print(*[p + "/nvidia/*/lib" for p in site.getsitepackages()])' 2>/dev/null); do
    [ -d "$lib" ] && export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$lib
done

if [ $# -eq 0 ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    "$here/pack.sh" "$folder" || exit 1
else
    folder=$(cd "$1" && pwd)
fi
export KAT_GOLDEN_DIR=${KAT_GOLDEN_DIR:-$folder/golden}

table=() failed=0
note() { # name, status, seconds, remark
    table+=("$(printf '%-44s %-7s %6s s  %s' "$1" "$2" "$3" "$4")")
    [ "$2" = ok ] || failed=1
}
timed() { # name, command …
    local name=$1 start=$SECONDS log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        note "$name" ok $((SECONDS - start)) "$(grep -E '^test result|images/s|ERROR SUMMARY' "$log" | tail -1)"
    else
        note "$name" FAILED $((SECONDS - start)) "$(grep -E 'panicked|rror' "$log" | head -1)"
    fi
    cat "$log"
    rm -f "$log"
}

for test in cuda_parity golden_ops golden_dense_ops golden_model; do
    timed "$test" "$folder/$test" --nocapture --test-threads 1
done
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck; do
        timed "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$folder/cuda_parity" --test-threads 1
    done
else
    table+=("compute-sanitizer                            not here")
fi
timed "bench: rational, training" "$folder/cuda_bench"
# The peer on the same GPU, where FLASHKAT names its checkout.
if [ -n "${FLASHKAT:-}" ]; then
    timed "bench: FlashKAT" python3 "$here/flashkat.py" "$FLASHKAT"
fi
echo
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
printf '%s\n' "${table[@]}"
exit $failed
