#!/usr/bin/env bash
# Everything that only a CUDA device can show, in one call and without a network:
#   gpu_suite.sh [--emulated] [--built] [--budget SECONDS] [--parts NAME,NAME...] [OUT]
# Builds (what the machine lacks comes from third_party/, see scripts/bundle_deps.sh; --built takes
# what is in build/gpu as it is), runs the tests of backends on the device, its microbenchmarks and
# the speed table, quality against the CPU, every network against the CPU, every basis fused and
# not, one rank by NCCL and two by MPI, 1024^3 voxels resident and streamed, PyTorch beside it, and
# compute-sanitizer. A part that fails does not stop the others. The table comes last; OUT (default
# build/gpu_suite) then holds table.txt, summary.json, perf.json, bases_*.json, peers.json, log.txt.
# --emulated does the same at toy sizes on tests/emulator, to try the script itself.
set -uo pipefail
cd "$(dirname "$0")/.."

emulated=0
built=0
budget=530
wanted=
out=build/gpu_suite
while [ $# -gt 0 ]; do
  case $1 in
    --emulated) emulated=1 ;;
    --built) built=1 ;;
    --parts)
      wanted=${2:?gpu_suite.sh: --parts needs names}
      shift
      ;;
    --budget)
      budget=${2:?gpu_suite.sh: --budget needs seconds}
      shift
      ;;
    -h | --help)
      sed -n '2,10s/^# //p' "$0"
      exit 0
      ;;
    -*)
      echo "gpu_suite.sh: unknown option $1; --help names those there are" >&2
      exit 2
      ;;
    *) out=$1 ;;
  esac
  shift
done

build=${KANBENCH_GPU_BUILD:-build/gpu}
work=$build/suite
jobs=$(nproc)
configs=benchmarks/h200
if [ "$emulated" = 1 ]; then
  suffix=_tiny program=$build/kanbench_emulated volume=16x16x16 large=24x24x400 batch=128
  seconds=0.02 brief=0.01 limit=220K
else
  suffix='' program=$build/kanbench volume=256x256x256 large=1024x1024x1024 batch=262144
  seconds=0.5 brief=0.1 limit=1G
fi
mkdir -p "$out" && rm -rf "$work" && mkdir -p "$work" || exit 1
parts=$work/parts.tsv
log=$out/log.txt
: >"$log"
rm -f "$out"/{table.txt,summary.json,perf.json,peers.json,bases_auto.json,bases_tf32.json}

# part NAME SECONDS COMMAND...: runs it within so many seconds and what is left of the budget.
# Status 77 means that there was nothing to run on.
part() {
  local name=$1 most=$2 began=$SECONDS status=0
  shift 2
  case ,${wanted:-$name}, in *,"$name",*) ;; *) return ;; esac
  local left=$((budget - SECONDS))
  if [ "$left" -lt 5 ]; then
    printf '%s\tno time left\t0\n' "$name" >>"$parts"
    return
  fi
  [ "$most" -lt "$left" ] || most=$left
  echo "== $name (at most $most s)"
  printf '\n== %s\n' "$name" >>"$log"
  run_part "$most" "$@" >>"$log" 2>&1 || status=$?
  case $status in
    0) status=passed ;;
    77) status=skipped ;;
    124 | 137) status='out of time' ;;
    *) status="failed ($status)" ;;
  esac
  printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - began))" >>"$parts"
  echo "== $name: $status, $((SECONDS - began)) s"
  case $status in failed* | 'out of time') tail -n 12 "$log" ;; esac
}

# Functions of this script cannot be handed to `timeout`: another shell has them from here.
run_part() {
  local most=$1
  shift
  timeout -k 5 "$most" bash -c "$(declare -f); $(settings); $*"
}
settings() { declare -p emulated built build work jobs configs suffix program volume large batch \
  seconds brief limit out; }

build_all() {
  if [ "$built" = 1 ]; then
    "$program" --version
    return
  fi
  local options=(-DCMAKE_BUILD_TYPE=Release -DKANBENCH_CUDA=ON) capability
  if command -v ninja >/dev/null; then options+=(-G Ninja); fi
  if [ "$emulated" = 1 ]; then
    options+=(-DKANBENCH_CUDA=OFF)
  else
    # Code for this device alone, and no PTX: the build is part of the time.
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    if [ -n "$capability" ]; then options+=("-DKANBENCH_CUDA_ARCHITECTURES=$capability-real"); fi
  fi
  cmake -S . -B "$build" "${options[@]}" || return
  if [ "$emulated" = 1 ]; then
    cmake --build "$build" -j "$jobs" --target kanbench_emulated cuda_microbench_test
  else
    cmake --build "$build" -j "$jobs" --target kanbench device_tests
  fi
}

show_devices() {
  nvidia-smi
  "$program" info --devices
  "$program" info --devices | grep -q cuda
}

# Whole programs: a process a test would spend most of its time on starting the device. In eight
# shares at once, as plain loops on the CPU take the longest.
run_tests() {
  if [ "$emulated" = 1 ]; then
    ctest --test-dir "$build" -R CudaMicrobench --output-on-failure --timeout 120
    return
  fi
  export GTEST_TOTAL_SHARDS=8 GTEST_BRIEF=1
  local test share
  while read -r test; do
    for share in 0 1 2 3 4 5 6 7; do echo "GTEST_SHARD_INDEX=$share $build/tests/$test"; done
  done <"$build/device_tests.txt" | xargs -P 8 -L 1 timeout 100 env
}

make_volumes() {
  "$program" synth turbulence --size "$volume" -o "$work/data" &&
    cp demo_data/nucleon_* "$work/data/" &&
    "$program" synth turbulence --size "$large" -o "$work/large"
}

measure_speed() {
  "$program" perf --device cuda --params "$configs/speed$suffix.json" --data-dir "$work/data" \
    --batch-size "$batch" --seconds "$seconds" --tuning-file "$work/tuning.json" \
    --json "$out/perf.json"
}

# train NAME PARAMS DIRECTORY OPTIONS...: one sweep, its rows in WORK/NAME/results.csv.
train() {
  local name=$1 params=$2 directory=$3
  shift 3
  "$program" bench --params "$params" --data-dir "$directory" --output-dir "$work/$name" \
    --no-resume --tuning-file "$work/tuning.json" "$@"
}

train_quality() {
  local params=$configs/quality$suffix.json status=0 precision
  train cpu "$params" "$work/data" --device cpu --batch-size 1024 --save-mode none || return
  for precision in auto fp32; do
    train "quality_$precision" "$params" "$work/data" --device cuda --batch-size 1024 \
      --precision "$precision" --save-mode none || status=$?
  done
  local again
  for again in 1 2; do
    train "deterministic_$again" "$params" "$work/data" --device cuda --batch-size 1024 \
      --deterministic --save-mode all --run-index 0 || status=$?
  done
  cmp "$work"/deterministic_1/models_saved/* "$work"/deterministic_2/models_saved/* || status=$?
  return "$status"
}

# Means of three seeds; docs/comparison.csv has the CPU's.
train_zoo() {
  local options=(--repeats 3 --match-parameters 20000)
  if [ "$emulated" = 1 ]; then options=(--test-epoch --run-index 0); fi
  train zoo params/zoo.json demo_data --device cuda --save-mode none "${options[@]}"
}

measure_bases() {
  local precision
  for precision in auto tf32; do
    "$program" perf --device cuda --params "$configs/bases$suffix.json" --data-dir "$work/data" \
      --batch-size "$batch" --seconds "$brief" --precision "$precision" \
      --json "$out/bases_$precision.json" || return
  done
}

train_large() {
  local params=$configs/large$suffix.json
  train resident "$params" "$work/large" --device cuda --batch-size "$batch" --save-mode none &&
    train streamed "$params" "$work/large" --device cuda --batch-size "$batch" --save-mode none \
      --device-memory-limit "$limit"
}

# ranks COMMUNICATOR LAUNCHER...: quality's first run again, on many ranks.
ranks() {
  local communicator=$1 said=$work/ranks_$1.txt status=0
  shift
  "$@" "$program" bench --params "$configs/quality$suffix.json" --data-dir "$work/data" \
    --run-index 0 --device cuda --communicator "$communicator" --timeout 30 --batch-size 1024 \
    --save-mode none --no-resume --tuning-file "$work/tuning.json" \
    --output-dir "$work/quality_$communicator" >"$said" 2>&1 || status=$?
  cat "$said"
  if grep -qE 'NCCL was not found|is not NCCL|has no MPI|MPI was not found' "$said"; then
    return 77
  fi
  return "$status"
}

# One rank is all that one device can have under NCCL.
train_nccl() {
  ranks nccl env RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 \
    MASTER_PORT=29517
}

# Two ranks share the device, staged through the host.
train_mpi() {
  command -v mpirun || return 77
  ranks mpi mpirun --allow-run-as-root --oversubscribe -n 2
}

time_peers() {
  local python=${KANBENCH_TORCH_PYTHON:-python3} options=()
  "$python" -c 'import torch' || return 77
  if [ "$emulated" = 1 ]; then
    options=(--params "$configs/peers_tiny.json" --torch-device cpu --batch-size 128)
    options+=(--seconds 0.02 --rounds 1 --runs 1)
  else
    "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || return 77
    options=(--batch-size "$batch" --seconds 1 --rounds 1 --runs 0 1 --psnr 40)
  fi
  "$python" benchmarks/peers/compare.py --program "$program" --device cuda --json \
    "$out/peers.json" "${options[@]}"
}

sanitize() {
  command -v compute-sanitizer || return 77
  [ "$emulated" = 0 ] || return 77
  local tool status=0
  for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$program" bench \
      --params params/debug.json --data-dir "$work/data" --dataset nucleon --device cuda \
      --batch-size 4096 --epochs 1 --output-dir "$work/sanitized" --save-mode none --no-resume \
      2>&1 | tee "$work/$tool.txt"
    status=$((status | PIPESTATUS[0]))
    if grep -q 'Device not supported' "$work/$tool.txt"; then return 77; fi
  done
  return "$status"
}

part build 280 build_all
part devices 20 show_devices
part volumes 60 make_volumes
part tests 150 run_tests
part speed 120 measure_speed
part quality 90 train_quality
part zoo 120 train_zoo
part bases 150 measure_bases
part nccl 40 train_nccl
part mpi 60 train_mpi
part large 90 train_large
part peers 120 time_peers
part sanitizer 90 sanitize

python3 scripts/gpu_suite_table.py --work "$work" --out "$out" --targets "$configs/targets.json" \
  --comparison docs/comparison.csv \
  --emulated "$emulated" | tee "$out/table.txt"
if [ "${PIPESTATUS[0]}" -ne 0 ]; then cat "$parts"; fi
! grep -qE 'failed|out of time|no time' "$parts"
