#!/bin/sh
# Builds every fuzzer and runs each for a while; fails on the first crash, whose input it keeps.
# Usage: scripts/fuzz.sh [SECONDS] (30 by default); KANBENCH_FUZZ_BUILD names the build directory.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-30}
build=${KANBENCH_FUZZ_BUILD:-build/fuzz}
compiler=${CXX:-clang++}
if ! command -v "$compiler" >/dev/null; then
  echo "scripts/fuzz.sh: no $compiler here: install clang (Debian: apt install clang)" >&2
  exit 1
fi

cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DKANBENCH_CUDA=OFF -DKANBENCH_FUZZ=ON >/dev/null
cmake --build "$build" --target fuzzers -j "$(nproc)"

for source in tests/fuzz_*.cpp; do
  fuzzer=$(basename "$source" .cpp)
  corpus=$build/corpus/$fuzzer
  mkdir -p "$corpus"
  # Parameter files there are already; models are written by their fuzzer itself.
  seeds=
  if [ "$fuzzer" = fuzz_params ] && [ -n "$(ls params 2>/dev/null)" ]; then seeds=params; fi
  log=$build/$fuzzer.log
  if ! KANBENCH_FUZZ_CORPUS=$corpus "$build/tests/$fuzzer" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$build/$fuzzer-" \
    "$corpus" $seeds >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "scripts/fuzz.sh: $fuzzer failed; its input is $build/$fuzzer-*" >&2
    exit 1
  fi
  echo "$fuzzer: $seconds s, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
done
