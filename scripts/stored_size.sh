#!/usr/bin/env bash
# Trains the models of params/params.json and stores each in every form: bytes and losses, as in
# docs/stored_size.md. Takes the program and a directory that it empties, otherwise
# build/cpu/kanbench and results/stored_size.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-build/cpu/kanbench}
volume=demo_data/nucleon_41x41x41_uint8.raw
results=${2:-results/stored_size}
rm -rf "$results"
"$program" --params params/params.json --dataset nucleon --data-dir demo_data --store fp32 \
  --save-mode all --output-dir "$results" --quiet
for model in "$results"/models_saved/*.safetensors; do
  echo "$(basename "$model")"
  for store in fp16 int8 auto:0.01dB auto:0.1dB auto:1dB; do
    "$program" compress "$model" -o "$results/stored.safetensors" --store "$store" \
      --volume "$volume"
  done
done
