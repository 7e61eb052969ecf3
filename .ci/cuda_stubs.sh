#!/usr/bin/env bash
# Makes libraries that stand for NVIDIA's where there is no GPU: each exports what cudarc declares, and every call
# answers "no device". Programs link against them, start, and say that there is no GPU.
# usage: cuda_stubs.sh FOLDER
set -euo pipefail
out=$1
mkdir -p "$out"
cudarc=$(dirname "$(cargo metadata --format-version 1 --features kat-backbone/cuda --manifest-path backbone/Cargo.toml 2>/dev/null |
    grep -o '"manifest_path":"[^"]*cudarc-[^"]*"' | head -1 | cut -d'"' -f4)")
stub() { # name, soname, file of declarations, prefix
    local source=$out/$1.c
    { grep -oE "pub fn $4[A-Za-z0-9_]+" "$cudarc/src/$3" || true; } | awk '{ print "int " $3 "(void) { return 100; }" }' |
        grep -v cuGetError | sort -u >"$source"
    for what in Name String; do # which cudarc needs to word an error
        [ "$1" != cuda ] || echo "int cuGetError$what(int e, const char** s) { *s = \"no device (stub)\"; return 0; }"
    done >>"$source"
    cc -shared -fPIC -w -Wl,-soname,"$2" -o "$out/lib$1.so" "$source"
    ln -sf "lib$1.so" "$out/$2"
}
stub cuda libcuda.so.1 driver/sys.rs cu
stub nvrtc libnvrtc.so.13 nvrtc/sys.rs nvrtc
stub cublas libcublas.so.13 cublas/sys.rs cublas
stub cublasLt libcublasLt.so.13 cublaslt/sys.rs cublasLt
stub curand libcurand.so.10 curand/sys.rs curand
