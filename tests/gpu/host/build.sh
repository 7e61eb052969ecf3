#!/usr/bin/env bash
# Makes libraries that stand for NVIDIA's where there is no GPU: the suite's kernels, compiled by the host's C++
# compiler, run on the processor (fibers.cpp, driver.cpp, blas.cpp); what else cudarc declares answers "no device". And
# NCCL's, by which the processes of one machine work together (nccl.cpp).
# Programs of the feature cuda link against them and run with
#   LIBRARY_PATH=FOLDER LD_LIBRARY_PATH=FOLDER
# usage: build.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
sources=$(cd ../../../backbone/src && pwd)
cxx=${CXX:-c++}
# The stacks of fibers are none that longjmp's own check knows (_FORTIFY_SOURCE). Kernels read and write packs of values
# as wider types, as nvcc allows.
flags=(-std=c++17 -O2 -fopenmp -fPIC -ftls-model=initial-exec -march=native -ffp-contract=off
    -U_FORTIFY_SOURCE -fno-strict-aliasing -Wall -Wno-unknown-pragmas -Wno-sign-compare
    -I. -Iinclude -I"$sources/cuda/kernels" -include include/cuda_host.h)

jobs_failed() { echo "$1 does not compile for the host" >&2; exit 1; }
pids=() names=() objects=()
compile() { # object, source
    "$cxx" "${flags[@]}" -c -o "$1" "$2" &
    pids+=($!) names+=("$2") objects+=("$1")
}
rm -f "$out"/*.o "$out"/*.cpp
for source in "$sources"/cuda/kernels/*.cu "$sources"/ops/*/*.cu; do
    unit=$out/$(basename "$source" .cu).cpp
    kernels=$("$cxx" "${flags[@]}" -E -P -DKAT_LIST_KERNELS -x c++ "$source" | tr '\n' ' ' |
        grep -oE '__global__ void +__launch_bounds__\([^)]*\) +[A-Za-z0-9_]+' |
        sed -E 's/.*\((.*)\) +(.*)/KAT_REGISTER(\2, \1)/')
    printf '#include "registry.h"\n#include "%s"\n%s\n' "$source" "$kernels" >"$unit"
    compile "${unit%.cpp}.o" "$unit"
done
compile "$out/fibers.o" fibers.cpp
compile "$out/driver.o" driver.cpp
cuda_objects=("${objects[@]}")
compile "$out/blas.o" blas.cpp
compile "$out/blas_lt.o" blas_lt.cpp
compile "$out/nccl.o" nccl.cpp
for i in "${!pids[@]}"; do wait "${pids[$i]}" || jobs_failed "${names[$i]}"; done

cudarc=$(dirname "$(cargo metadata --format-version 1 --features kat-backbone/cuda \
    --manifest-path ../../../backbone/Cargo.toml 2>/dev/null |
    grep -o '"manifest_path":"[^"]*cudarc-[^"]*"' | head -1 | cut -d'"' -f4)")
library() { # name, soname, file of declarations, prefix, objects of ours …
    local name=$1 soname=$2 declarations=$3 prefix=$4 stubs=$out/$1.stubs.c
    shift 4
    comm -23 <(grep -oE "pub fn $prefix[A-Za-z0-9_]+" "$cudarc/src/$declarations" | awk '{ print $3 }' | sort -u) \
        <([ $# -eq 0 ] || nm --defined-only "$@" | awk '{ print $NF }' | sort -u) |
        awk '{ print "int " $1 "(void) { return 100; }" }' >"$stubs"
    cc -fPIC -w -c -o "$out/$name.stubs.o" "$stubs"
    "$cxx" -shared -fopenmp -Wl,-soname,"$soname" -o "$out/lib$name.so" "$out/$name.stubs.o" "$@"
    ln -sf "lib$name.so" "$out/$soname"
}
library cuda libcuda.so.1 driver/sys.rs cu "${cuda_objects[@]}"
library nvrtc libnvrtc.so.13 nvrtc/sys.rs nvrtc
library cublas libcublas.so.13 cublas/sys.rs cublas "$out/blas.o"
library cublasLt libcublasLt.so.13 cublaslt/sys.rs cublasLt "$out/blas_lt.o"
library curand libcurand.so.10 curand/sys.rs curand
"$cxx" -shared -Wl,-soname,libnccl.so.2 -o "$out/libnccl.so.2" "$out/nccl.o" -L"$out" -lcuda -lrt
