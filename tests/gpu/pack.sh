#!/usr/bin/env bash
# Builds the GPU tests, stripped, and puts them with the golden files into a folder that tests/gpu/run.sh can run
# from on a machine without Rust.
# usage: tests/gpu/pack.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

# Cargo names the programs it built in its messages.
build() { # package, arguments …
    cargo test --no-run --message-format=json -p "$@" |
        grep -o '"executable":"[^"]*"' | cut -d'"' -f4
}
keep() {
    while read -r program; do
        name=$(basename "$program")
        strip -o "$folder/${name%-*}" "$program"
    done
}
build kat-backbone --features cuda --test cuda_parity | keep
build kat-tests --features cuda --test golden_ops --test golden_dense_ops --test golden_model | keep
cargo build --message-format=json -p kat-backbone --features cuda --example cuda_bench |
    grep -o '"executable":"[^"]*cuda_bench[^"]*"' | cut -d'"' -f4 | while read -r program; do
    strip -o "$folder/cuda_bench" "$program"
done
rm -rf "$folder/golden"
cp -r tests/golden "$folder/golden"
du -sh "$folder"
