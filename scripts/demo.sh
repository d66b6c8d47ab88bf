#!/usr/bin/env bash
# Builds kanbench and trains both decoders on the demo volume. Further words go to kanbench, e.g.
#   scripts/demo.sh --network-types mlp --repeats 3
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
preset=cpu
if command -v nvcc >/dev/null; then
  preset=cuda
elif [ -x /usr/local/cuda/bin/nvcc ]; then
  preset=cuda
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
echo "demo: building build/$preset"
cmake --preset "$preset" -DKANBENCH_TESTS=OFF >/dev/null
cmake --build --preset "$preset" --target kanbench

# Rows of an older version may have other columns.
rm -f results/demo/results.csv results/demo/results.jsonl
echo "demo: training on demo_data/nucleon_41x41x41_uint8.raw"
"build/$preset/kanbench" bench --params params/params.json --dataset nucleon \
  --data-dir demo_data --output-dir results/demo --slices results/demo/slices --baselines zfp,zstd \
  --no-resume "$@"
scripts/report.py results/demo -o results/demo/report.html --data-dir demo_data
