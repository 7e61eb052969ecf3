#!/usr/bin/env bash
# Builds, on a machine that needs no GPU, all that tests/gpu/run.sh runs on one without Rust: the GPU's tests, each
# benchmark and the three programs, stripped, with golden files, a quickstart, a few images and the peers' scripts.
#
# usage: tests/gpu/pack.sh FOLDER, which makes FOLDER.tar.xz too
#   PROFILE=dev      another cargo profile than release
#   FLASHKAT=FOLDER  a checkout of https://github.com/OSU-STARLAB/FlashKAT to time beside ours
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
flashkat=${FLASHKAT:+$(cd "$FLASHKAT" && pwd)}
profile=${PROFILE:-release}
cd "$(dirname "$0")/../.."
. .ci/cuda_env.sh

# Cargo names the programs it built in its messages.
keep() { # cargo's arguments …
    cargo "$@" --profile "$profile" --message-format=json | grep -o '"executable":"[^"]*"' | cut -d'"' -f4 |
        while read -r program; do
            name=$(basename "$program")
            strip -o "$folder/${name%-????????????????}" "$program"
        done
}
keep test --no-run -p kat-backbone --features cuda --test cuda_parity --test nccl
keep test --no-run -p kat-tests --features cuda --test golden_ops --test golden_dense_ops --test golden_model
keep build -p kat-backbone --features cuda --example cuda_bench
keep build -p kat-apps --features cuda --bins

cp tests/gpu/run.sh tests/gpu/one.sh tests/gpu/peers.py "$folder"
rm -rf "$folder/golden" "$folder/images" "$folder/FlashKAT" "$folder/timm"
cp -r tests/golden "$folder/golden"
for program in classify detect segment; do cp "configs/$program/quickstart.toml" "$folder/$program.toml"; done
env LD_LIBRARY_PATH="$cuda_host" "$folder/classify" data make-shapes "$folder/images" --images 20
target/cuda/bin/pip download --quiet --disable-pip-version-check --no-deps -d "$folder/timm" timm==1.0.15
python3 -m zipfile -e "$folder"/timm/*.whl "$folder/timm"
rm "$folder"/timm/*.whl
if [ -n "$flashkat" ]; then
    mkdir "$folder/FlashKAT"
    cp -r "$flashkat/katransformer.py" "$flashkat/rational_kat" "$folder/FlashKAT"
fi
tar -C "$(dirname "$folder")" -cJf "$folder.tar.xz" "$(basename "$folder")"
du -sh "$folder" "$folder.tar.xz"
