#!/bin/sh
# Builds every fuzzer and runs each for a while, two at a time; fails on a crash, whose input it keeps.
# Usage: scripts/fuzz.sh [SECONDS] (15 by default); KANBENCH_FUZZ_BUILD names the build directory.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-15}
build=${KANBENCH_FUZZ_BUILD:-build/fuzz}
compiler=${CXX:-clang++}
if ! command -v "$compiler" >/dev/null; then
  echo "scripts/fuzz.sh: no $compiler here: install clang (Debian: apt install clang)" >&2
  exit 1
fi

cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DKANBENCH_CUDA=OFF -DKANBENCH_FUZZ=ON >/dev/null
cmake --build "$build" --target fuzzers -j "$(nproc)"

# Golden volumes are what their readers start from; other fuzzers write what they start from.
seeds_of() {
  case $1 in
    fuzz_params) echo params/*.json ;;
    fuzz_nrrd) echo tests/golden/volumes/*.nrrd tests/golden/volumes/*.nhdr ;;
    fuzz_metaimage) echo tests/golden/volumes/*.mh[ad] ;;
    fuzz_nifti) echo tests/golden/volumes/*.nii tests/golden/volumes/*.nii.gz ;;
    fuzz_vti) echo tests/golden/volumes/*.vti ;;
    fuzz_netcdf) echo tests/golden/volumes/classic.nc tests/golden/volumes/offset64.nc ;;
  esac
}

run() {
  fuzzer=$1
  corpus=$build/corpus/$fuzzer
  mkdir -p "$corpus"
  for seed in $(seeds_of "$fuzzer"); do
    if [ -f "$seed" ]; then cp "$seed" "$corpus"; fi
  done
  log=$build/$fuzzer.log
  if ! KANBENCH_FUZZ_CORPUS=$corpus "$build/tests/$fuzzer" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$build/$fuzzer-" \
    "$corpus" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "scripts/fuzz.sh: $fuzzer failed; its input is $build/$fuzzer-*" >&2
    return 1
  fi
  echo "$fuzzer: $seconds s, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
}

# Two at a time.
failed=0
other=
for source in tests/fuzz_*.cpp; do
  run "$(basename "$source" .cpp)" &
  if [ -z "$other" ]; then
    other=$!
  else
    wait "$other" || failed=1
    wait "$!" || failed=1
    other=
  fi
done
if [ -n "$other" ]; then wait "$other" || failed=1; fi
exit "$failed"
