#!/bin/bash
# Fuzzes readers one after another: fuzz/run.sh SECONDS [TARGET...]. Needs the nightly toolchain and cargo-fuzz. Starts from
# valid files of the tests, prints executions for each, and stops at the first crash.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
mkdir -p corpus
targets=("$@")
[ $# -gt 0 ] || targets=(image coco_instances coco_results rle label_png shard checkpoint)

# Copies files to a target's corpus, PREFIX before each.
seed() {
    local target=$1 prefix=$2 file
    shift 2
    mkdir -p "corpus/$target"
    for file in "$@"; do
        if [ -f "$file" ]; then
            { printf '%b' "$prefix"; cat "$file"; } > "corpus/$target/$(basename "$file")"
        fi
    done
}

seed image '\x10\x20\x80\x80' ../datasets/images/testdata/*.{jpg,png,webp} ../tests/golden/photo.jpg
seed label_png '' ../datasets/images/testdata/*.png
seed coco_instances '' seeds/coco_instances/*
seed coco_results '' seeds/coco_results/*
seed rle '' seeds/rle/*
seed checkpoint '' ../backbone/testdata/*
tar --format=ustar -cf corpus/shard.tar -C ../datasets/images/testdata cmyk.jpg palette.png
seed shard '' corpus/shard.tar
for target in "${targets[@]}"; do
    feature=()
    [ "$target" != checkpoint ] || feature=(--features checkpoint)
    echo "== $target"
    cargo +nightly fuzz run "${feature[@]}" "$target" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=65536 -print_final_stats=1 2>&1 | grep -E '^(stat::|SUMMARY|==|artifact|thread|assertion)|panicked|Test unit'
done
