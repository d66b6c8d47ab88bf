#!/usr/bin/env bash
# Everything that has to hold: the CUDA half compiled where nvcc is found, the tests (those of CUDA
# kernels on the emulator, and on a device where one answers), the unit tests under AddressSanitizer
# and UndefinedBehaviorSanitizer, and a short fuzz of the parsers. The last line is ctest's own
# summary. Status 0 only if all of it passed.
set -uo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()

part() {
  local name=$1
  shift
  echo "== $name"
  local began=$SECONDS
  if ! "$@"; then
    failed+=("$name")
    echo "== $name FAILED"
  fi
  echo "== $name took $((SECONDS - began)) s"
}

# Where nvcc is missing the same build has the stand-in, and everything but the CUDA half is tested.
configure() {
  cmake --preset cuda -DKANBENCH_TESTS=ON | grep -E '^-- (PNG|ZFP|ZSTD|ZLIB|EXPAT|NETCDF|HDF5|CUDA):'
  return "${PIPESTATUS[0]}"
}

has_cuda() { grep -q '^KANBENCH_HAS_CUDA:INTERNAL=1' build/cuda/CMakeCache.txt 2>/dev/null; }

build_cuda() {
  if has_cuda; then
    cmake --build --preset cuda -j "$jobs" --target kanbench_cuda
  else
    echo "NOT TESTED: the CUDA half was not compiled, as the line above says why. Its kernels run on" \
      "the emulator all the same."
  fi
}

build_tests() { cmake --build --preset cuda -j "$jobs"; }

run_tests() {
  ctest --preset cuda -j "$jobs" --output-on-failure --timeout 300 2>&1 | tee "$log"
  return "${PIPESTATUS[0]}"
}

# The program's and the style tests say nothing more under a sanitizer, and take their time.
unit_tests() {
  cmake --build build/dev --target help | sed -n 's/^\([a-z_]*_test\(_emulated\)\{0,1\}\): phony$/\1/p' |
    grep -vE '^(program_.*|style_test|resources_test)$'
}

# -O1 finds the same faults and compiles in half the time.
build_dev() {
  cmake --preset dev "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1" >/dev/null || return
  # shellcheck disable=SC2046
  cmake --build --preset dev -j "$jobs" --target $(unit_tests)
}

# Their plain loops and trainings take minutes here, through kernels that others go through, too.
long_ones='^Emulated\.(Part/BackendPart\.GradientAgrees|CudaGeneral\.TrainsAs|All/CudaTraining\.ReachesWhat)'
run_dev() {
  ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --preset dev -j "$jobs" --output-on-failure --timeout 600 \
    -E '^(Emulated\.)?(Program|Style|Resources|program_|style_test|resources_test)|'"$long_ones"
}

part "setup" scripts/setup.sh --tests
part "configuration" configure
part "CUDA build" build_cuda
part "build" build_tests
part "tests" run_tests
part "sanitizer build" build_dev
part "sanitizer tests" run_dev
part "fuzz" scripts/fuzz.sh 15

echo
grep -A 100 "The following tests FAILED" "$log" | grep -v '^Errors' || true
if [ ${#failed[@]} -ne 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
fi
grep "tests passed" "$log" || echo "0% tests passed, the tests did not run"
[ ${#failed[@]} -eq 0 ]
