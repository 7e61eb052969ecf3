#!/usr/bin/env bash
# Compiles every CUDA kernel for sm_80 and sm_90, without a GPU, and prints registers and spills of each: a spill fails.
# Then checks the workspace with the feature cuda, and runs the GPU's tests on the kernels compiled for the processor
# (tests/gpu/host), with a block's threads in the usual order and in reverse.
set -euo pipefail
cd "$(dirname "$0")/.."

. .ci/cuda_env.sh

mkdir -p target/cubin
shared=backbone/src/cuda/kernels
for source in $shared/*.cu backbone/src/ops/*/*.cu; do
    for arch in sm_80 sm_90; do
        name=$(basename "$source" .cu)
        log=target/cubin/$name.$arch.log
        if ! "$nvcc" -arch=$arch -O3 -std=c++17 -I $shared -cubin -Xptxas -v -o "target/cubin/$name.$arch.cubin" "$source" 2>"$log"; then
            cat "$log" >&2
            exit 1
        fi
        echo "$source, $arch: registers, bytes spilt (stores, loads)"
        awk '/Compiling entry function/ { split($0, q, "\x27"); name = q[2] }
             /bytes spill stores/ { match($0, /[0-9]+ bytes spill stores/); stores = substr($0, RSTART) + 0
                                    match($0, /[0-9]+ bytes spill loads/); loads = substr($0, RSTART) + 0 }
             /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); used = substr($0, RSTART + 5) + 0
                                       printf "  %-32s %3d  %d %d\n", name, used, stores, loads
                                       if (stores + loads > 0) spilt = 1 }
             END { exit spilt }' "$log" || { echo "a kernel of $source spills registers on $arch" >&2; exit 1; }
    done
done

cargo check --workspace --all-targets --features kat-apps/cuda,kat-tests/cuda
# Waiting threads that spin would take the processor from those that work.
export LD_LIBRARY_PATH=$cuda_host KAT_REQUIRE_CUDA=1 OMP_WAIT_POLICY=passive
cargo test -p kat-backbone --features cuda --test cuda_parity
cargo test -p kat-backbone --features cuda --lib -- cuda:: collective::nccl
# Up to three processes with a GPU each, joined by the stand-in of NCCL.
KAT_HOST_GPU_COUNT=3 KAT_REQUIRE_NCCL=1 cargo test -p kat-backbone --features cuda --test nccl
KAT_HOST_GPU_ORDER=reverse cargo test -p kat-backbone --features cuda --test cuda_parity
cargo test -p kat-tests --features cuda --test golden_ops --test golden_dense_ops --test golden_model
KAT_HOST_GPU_COUNT=2 KAT_REQUIRE_NCCL=1 cargo test -p kat-tests --features cuda --test cuda_programs
