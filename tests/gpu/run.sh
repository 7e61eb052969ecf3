#!/usr/bin/env bash
# The suite on this machine's GPU, the most telling first; nothing already known is lost to a limit.
#
# usage: tests/gpu/run.sh FOLDER [a|b|all]
#   FOLDER  made by tests/gpu/pack.sh; needs the driver, cuBLAS of CUDA 13 and, for the peers, PyTorch; no Rust
#   a       device, every test in a process of its own, throughput, peers, a quickstart: at most 400 s
#   b       time of each kernel, compute-sanitizer: at most 250 s
# Results go to $OUT (FOLDER/out) as they come; the last thing printed is a table of them.
# CUDA's libraries are taken from $KAT_CUDA_LIBRARIES, the toolkit, or NVIDIA's wheels in any site-packages. On the stand-in
# of tests/gpu/host, which is slow: KAT_CUDA_LIBRARIES=target/cuda/host BENCH='train kat_tiny_patch16_224 bf16 1 1'.
set -uo pipefail
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [a|b|all]" >&2; exit 2; }
cd "$1" || exit 2
part=${2:-all}
chmod +x ./* 2>/dev/null
mkdir -p "${OUT:=$PWD/out}/logs"
OUT=$(cd "$OUT" && pwd)
export OUT

# For our own programs only: the path would hide PyTorch's own libraries from it.
libraries=${KAT_CUDA_LIBRARIES:-}
for folder in /usr/local/nvidia/lib64 /usr/local/cuda/lib64 \
    $(python3 -c 'import site; print(*[p + "/nvidia/*/lib" for p in site.getsitepackages()])' 2>/dev/null); do
    [ -d "$folder" ] && libraries=${libraries:+$libraries:}$folder
done
export OURS="env LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} KAT_REQUIRE_CUDA=1 KAT_GOLDEN_DIR=$PWD/golden"
# NCCL is loaded at run time: where there is one, its tests have to run.
ldconfig -p 2>/dev/null | grep -q 'libnccl\.so\.2' || ls ${libraries//:/ } 2>/dev/null | grep -qx 'libnccl\.so\.2' &&
    OURS+=" KAT_REQUIRE_NCCL=1"
failed=0

# Seconds from the start; a step is left out when its part's time is up.
SECONDS=0
step() { # name, most seconds, part's seconds, file, command …
    local name=$1 limit=$2 until=$3 file=$OUT/$4 start=$SECONDS rc
    shift 4
    if [ $((until - SECONDS)) -lt 5 ]; then
        echo "LEFT OUT  $name: time is up" | tee -a "$OUT/steps.txt"
        return
    fi
    [ $((until - SECONDS)) -lt "$limit" ] && limit=$((until - SECONDS))
    timeout -k5 "$limit" "$@" >"$file" 2>&1
    rc=$?
    [ $rc -eq 0 ] || failed=1
    printf '%-8s %4d s  %s\n' "$([ $rc -eq 0 ] && echo ok || echo "rc=$rc")" $((SECONDS - start)) "$name" |
        tee -a "$OUT/steps.txt"
}

device() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>/dev/null
    local program missing=0
    for program in classify cuda_bench cuda_parity; do
        $OURS ldd "./$program" | grep 'not found' && missing=1
    done
    return $missing
}
tests() {
    local program
    for program in cuda_parity nccl golden_ops golden_dense_ops golden_model; do
        $OURS "./$program" --list --format terse 2>/dev/null | sed -n "s/: test$//;T;s/^/$program /p"
    done | xargs -P"${JOBS:-4}" -L1 ./one.sh
}
quickstart() { # program, more arguments of train
    local program=$1
    shift
    rm -rf "q_$program" &&
        $OURS "./$program" train --config "$program.toml" --device cuda:0 --amp bf16 --set "output.dir=q_$program" "$@"
}
throughput() { # what model precision batch, each a line
    while read -r line; do
        # shellcheck disable=SC2086
        $OURS ./cuda_bench $line || echo "FAILED $line"
    done
}
first_lines=${BENCH:-'train kat_small_patch16_224 bf16 128
forward kat_small_patch16_224 bf16 128
train kat_small_patch16_224 bf16 8
rational bf16
rational f32
train kat_small_patch16_224 tf32 128
train kat_small_patch16_224 f32 128'}
more_lines=$(
    [ -z "${BENCH:-}" ] && for precision in bf16 tf32 f32; do
        for model in kat_small_patch16_224 kat_tiny_patch16_224 kat_base_patch16_224; do
            for batch in 256 128; do
                for what in train forward; do echo "$what $model $precision $batch"; done
            done
        done
    done | grep -vxF "$first_lines"
)
export -f device tests quickstart throughput

if [ "$part" = a ] || [ "$part" = all ]; then
    end=$((SECONDS + 400))
    step "device, driver, libraries" 20 $end device.txt bash -c device
    cat "$OUT/device.txt"
    step "tests" 120 $end tests.txt bash -c tests
    sort "$OUT/tests.txt" | cut -d' ' -f1 | uniq -c
    grep -v '^ok' "$OUT/tests.txt" && failed=1
    step "throughput: KAT-S, rational" 60 $end bench.txt bash -c throughput <<<"$first_lines"
    step "peers: PyTorch's ViT, FlashKAT" 100 $end peers.txt \
        env PYTHONPATH="$PWD/timm" python3 peers.py $([ -d FlashKAT ] && echo FlashKAT)
    for program in classify segment detect; do
        # shellcheck disable=SC2086
        step "quickstart of $program, bf16" 60 $end "quickstart_$program.txt" \
            bash -c 'quickstart "$@"' quickstart $program ${QUICKSTART:-}
    done
    [ -z "$more_lines" ] || step "throughput: T, S, B" 190 $end bench_more.txt bash -c throughput <<<"$more_lines"
fi
if [ "$part" = b ] || [ "$part" = all ]; then
    end=$((SECONDS + 250))
    # One step after a warm-up of one, its kernels as they run in a stream.
    for mode in train forward; do
        step "kernel times, $mode" 90 $end "kernels_$mode.csv" $OURS ncu --clock-control none --cache-control none \
            --metrics gpu__time_duration.sum,dram__bytes.sum --csv ./cuda_bench $mode kat_small_patch16_224 bf16 128 1
    done
    for test in steps::a_training_step_in_mixed_precision attention::attention_in_mixed_precision; do
        for tool in memcheck racecheck initcheck; do
            # initcheck does not see what cuBLAS writes
            [ $tool = initcheck ] && [ $test = steps::a_training_step_in_mixed_precision ] && continue
            step "$tool: $test" 60 $end "${tool}_${test//:/_}.txt" \
                $OURS compute-sanitizer --tool $tool --error-exitcode 1 ./cuda_parity --exact $test
        done
    done
fi

echo
cat "$OUT/device.txt" "$OUT/bench.txt" "$OUT/bench_more.txt" "$OUT/peers.txt" 2>/dev/null |
    grep -E 'images/s|rational|copy|NVIDIA|Torch|FAILED'
for program in classify segment detect; do
    grep -h '^val/' "$OUT/quickstart_$program.txt" 2>/dev/null | sed "s/^/quickstart of $program: /"
done
cat "$OUT/steps.txt"
exit $failed
