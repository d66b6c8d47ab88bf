#!/usr/bin/env bash
# Everything that has to hold: the tests, the unit tests under AddressSanitizer and
# UndefinedBehaviorSanitizer, and a short fuzz of the parsers. The last line is ctest's own summary.
# Status 0 only if all of it passed.
set -uo pipefail
cd "$(dirname "$0")/.."

jobs=$(nproc)
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
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

build_cpu() {
  cmake --preset cpu -DKANBENCH_TESTS=ON >/dev/null && cmake --build --preset cpu -j "$jobs"
}

run_cpu() {
  ctest --preset cpu --output-on-failure --timeout 300 2>&1 | tee "$log"
  return "${PIPESTATUS[0]}"
}

# The program's and the style tests say nothing more under a sanitizer, and take their time.
unit_tests() {
  local file
  for file in tests/*_test.cpp; do
    case $(basename "$file" .cpp) in
      program_* | style_test) ;;
      *) basename "$file" .cpp ;;
    esac
  done
}

# -O1 finds the same faults and compiles in half the time.
build_dev() {
  cmake --preset dev "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1" >/dev/null || return
  # shellcheck disable=SC2046
  cmake --build --preset dev -j "$jobs" --target $(unit_tests)
}

run_dev() {
  ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --preset dev -E '^(Program|Style|program_|style_test)' --output-on-failure --timeout 600
}

part "setup" scripts/setup.sh
part "build" build_cpu
part "tests" run_cpu
part "sanitizer build" build_dev
part "sanitizer tests" run_dev
part "fuzz" scripts/fuzz.sh 30

echo
grep -A 100 "The following tests FAILED" "$log" | grep -v '^Errors' || true
if [ ${#failed[@]} -ne 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
fi
grep "tests passed" "$log" || echo "0% tests passed, the tests did not run"
[ ${#failed[@]} -eq 0 ]
