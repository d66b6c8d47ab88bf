#!/usr/bin/env bash
# Gathers the libraries that kanbench is built with, from this machine's packages into third_party/,
# for building where neither they nor a network are: bundle_deps.sh [DIRECTORY]
# CMake takes them from there when it finds no package of the system's. libpng, libzfp, libzstd,
# zlib, expat, libnetcdf, libhdf5 and MPI are not headers alone and stay out: a build without them
# says so, and does without.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-third_party}
roots=(/usr/include /usr/local/include)
if [ -n "${CONDA_PREFIX:-}" ]; then roots+=("$CONDA_PREFIX/include"); fi

fail() {
  echo "bundle_deps.sh: $1" >&2
  exit 1
}

if [ -e "$target" ] && [ ! -d "$target/CLI11" ]; then
  fail "$target is there and is not a bundle: name another directory"
fi

# find_header NAME PACKAGE: the include directory that has it.
find_header() {
  local root
  for root in "${roots[@]}"; do
    if [ -e "$root/$1" ]; then
      echo "$root"
      return
    fi
  done
  fail "$1 was not found in ${roots[*]} (Debian: $2); run scripts/setup.sh first"
}

# bundle PACKAGE DIRECTORY... : the directories of headers, beneath third_party/PACKAGE/include.
bundle() {
  local package=$1 root=$2
  shift 2
  mkdir -p "$part/$package/include"
  local directory
  for directory in "$@"; do cp -RL "$root/$directory" "$part/$package/include/"; done
  echo "$package: from $root"
}

part=$target.partial-$$
trap 'rm -rf "$part"' EXIT
mkdir -p "$part"

root=$(find_header CLI/CLI.hpp libcli11-dev)
bundle CLI11 "$root" CLI
root=$(find_header nlohmann/json.hpp nlohmann-json3-dev)
bundle nlohmann_json "$root" nlohmann
root=$(find_header spdlog/spdlog.h libspdlog-dev)
bundle spdlog "$root" spdlog
# Some packages of spdlog leave out the fmt that it brings, and use the system's.
if [ ! -e "$root/spdlog/fmt/bundled/core.h" ]; then
  root=$(find_header fmt/core.h libfmt-dev)
  bundle spdlog "$root" fmt
fi

googletest=
for place in /usr/src/googletest/googletest /usr/src/gtest; do
  if [ -e "$place/src/gtest-all.cc" ]; then googletest=$place && break; fi
done
[ -n "$googletest" ] || fail "GoogleTest's sources were not found in /usr/src (Debian: googletest)"
mkdir -p "$part/GTest"
cp -RL "$googletest/src" "$part/GTest/"
if [ -d "$googletest/include" ]; then
  cp -RL "$googletest/include" "$part/GTest/"
else
  root=$(find_header gtest/gtest.h libgtest-dev)
  bundle GTest "$root" gtest
fi
echo "GTest: from $googletest"

rm -rf "$target"
mv "$part" "$target"
echo "bundled in $target, $(du -sh "$target" | cut -f 1)"
