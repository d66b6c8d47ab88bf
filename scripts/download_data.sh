#!/usr/bin/env bash
# Fetches a volume of the Open SciVis data sets: download_data.sh NAME [DIRECTORY]
set -euo pipefail

site=${KANBENCH_DATA_URL:-https://klacansky.com/open-scivis-datasets}

# name, voxels an axis, voxel type
volumes='
aneurism 256x256x256 uint8
beechnut 1024x1024x1546 uint16
blunt_fin 256x128x64 uint8
bonsai 256x256x256 uint8
boston_teapot 256x256x178 uint8
carp 256x256x512 uint16
chameleon 1024x1024x1080 uint16
csafe_heptane 302x302x302 uint8
duct 193x194x1000 float32
engine 256x256x128 uint8
foot 256x256x256 uint8
frog 256x256x44 uint8
fuel 64x64x64 uint8
hydrogen_atom 128x128x128 uint8
lobster 301x324x56 uint8
magnetic_reconnection 512x512x512 float32
marschner_lobb 41x41x41 uint8
miranda 1024x1024x1024 float32
mri_ventricles 256x256x124 uint8
mrt_angio 416x512x112 uint16
neghip 64x64x64 uint8
nucleon 41x41x41 uint8
pawpawsaurus 958x646x1088 uint16
richtmyer_meshkov 2048x2048x1920 uint8
shockwave 64x64x512 uint8
silicium 98x34x34 uint8
skull 256x256x256 uint8
stag_beetle 832x832x494 uint16
statue_leg 341x341x93 uint8
stent 512x512x174 uint16
tacc_turbulence 256x256x256 float32
tooth 103x94x161 uint8
vertebra 512x512x512 uint16
zeiss 680x680x680 uint8
'

fail() {
  echo "download_data.sh: $1" >&2
  exit "${2:-2}"
}

names() { awk 'NF { printf "%s%s", separator, $1; separator = ", " }' <<<"$volumes"; }

usage() {
  echo "usage: download_data.sh NAME [DIRECTORY]"
  echo "Fetches the volume NAME into DIRECTORY (data beside the scripts if not given)."
  echo "NAME is one of: $(names)."
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  '') usage >&2; exit 2 ;;
esac
[ $# -le 2 ] || fail "takes NAME and DIRECTORY, got $# words"

name=$1
directory=${2:-$(cd "$(dirname "$0")/.." && pwd)/data}
read -r _ shape type < <(awk -v name="$name" '$1 == name' <<<"$volumes") ||
  fail "unknown volume '$name'; known: $(names)"
command -v curl >/dev/null || fail "curl is not installed" 1

case $type in
  uint8) voxel=1 ;;
  uint16) voxel=2 ;;
  float32) voxel=4 ;;
esac
wanted=$((${shape//x/*} * voxel))
file=$directory/${name}_${shape}_${type}.raw

# Linux and macOS name the size differently.
size_of() { wc -c <"$1" | tr -d ' '; }

if [ -e "$file" ]; then
  [ "$(size_of "$file")" = "$wanted" ] ||
    fail "$file has $(size_of "$file") bytes, must have $wanted; remove it and try again"
  echo "$file is already there"
  exit 0
fi

mkdir -p "$directory" || fail "cannot make the directory $directory"
echo "fetching $name, $((wanted / 1000000)) MB, into $directory"
# A partial file is taken up where it ended; one that is too long already is of something else.
part=$file.part
[ -e "$part" ] && [ "$(size_of "$part")" -ge "$wanted" ] && rm -f "$part"
url=$site/$name/${name}_${shape}_${type}.raw
curl --fail --location --show-error --progress-bar --connect-timeout 20 --retry 2 \
  --continue-at - --output "$part" "$url" ||
  fail "cannot fetch $url: are you online?$([ ! -e "$part" ] || echo " what came is kept in $part")" 1
found=$(size_of "$part")
if [ "$found" != "$wanted" ]; then
  rm -f "$part"
  fail "$url gave $found bytes, must be $wanted" 1
fi
mv "$part" "$file"
echo "$file"
