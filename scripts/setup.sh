#!/usr/bin/env bash
# Installs what the build and the report need, with --tests also what the tests do, on Debian and
# its relatives; does nothing where all is there. Runs as root or with sudo.
set -euo pipefail

packages=(g++ cmake ninja-build libcli11-dev libspdlog-dev nlohmann-json3-dev libpng-dev libzfp-dev
  libzstd-dev zlib1g-dev libexpat1-dev libnetcdf-dev libhdf5-dev libopenmpi-dev openmpi-bin python3
  python3-pandas python3-matplotlib python3-jinja2)
if [ "${1:-}" = --tests ]; then
  packages+=(libgtest-dev clang-format clang libclang-rt-dev chromium slurm-wlm)
fi

if ! command -v dpkg-query >/dev/null; then
  echo "setup: no dpkg here. Needed are the equivalents of these Debian packages: ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is there"
  exit 0
fi
echo "setup: installing by apt-get: ${missing[*]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "setup: neither root nor sudo: run as root: apt-get install ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi
apt=("${as_root[@]}" timeout 900 env DEBIAN_FRONTEND=noninteractive apt-get
  -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=300)
"${apt[@]}" update -q </dev/null
"${apt[@]}" install -y -q --no-install-recommends "${missing[@]}" </dev/null
