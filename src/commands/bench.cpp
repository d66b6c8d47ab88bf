// kanbench bench: the options, and what they start.

#include "commands/commands.h"
#include "commands/sweep.h"
#include "kanbench/checkpoint.h"

namespace kanbench {
namespace {

void attach_output(CLI::App& app, BenchOptions& options) {
  const std::string group = "Results";
  add_option(app, "-o,--output-dir", options.output_directory, "DIR",
             "Where everything is written (default results)")
      ->group(group);
  add_option(app, "--output", options.output, "FILE",
             "The CSV file (default OUTPUT_DIR/results.csv; histories beside it in .jsonl)")
      ->group(group);
  add_option(app, "--save-mode", options.save_mode, "largest|smallest|all|none|N",
             "Whose models and reconstructions are kept, by log2_hashmap_size within a\n"
             "volume and decoder (default largest; N: that size)")
      ->group(group);
  add_option(app, "--slices", options.slices, "FILE",
             "Picture of the middle slices: original, reconstruction, error. NAME.png holds\n"
             "the last run's; a directory holds one picture a run")
      ->group(group);
  add_option(app, "--baselines", options.baselines, "NAME",
             "Compressors to set beside the networks, at the ratios that those reached,\n"
             "separated by commas: zfp, zstd; and, where the program is in PATH, in the\n"
             "environment's KANBENCH_SZ3 or named as sz3=FILE: sz3, mgard, tthresh, sperr")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag_callback(
         "--resume", [&options] { options.resume = true; },
         "Skip runs that have a row already, go on from checkpoints (default)")
      ->group(group);
  app.add_flag_callback(
         "--no-resume", [&options] { options.resume = false; },
         "Do runs again that have a row, from the start; the new row replaces it")
      ->group(group);
  app.add_option_function<std::string>(
         "--checkpoint-every",
         [&options](const std::string& word) {
           options.checkpoint_every = parse_interval(word, "--checkpoint-every");
         },
         "Keep a checkpoint of each training this often, 10min or 5epochs; one is\n"
         "written in any case when SIGTERM or SIGUSR1 ends the command")
      ->option_text("MINUTES|EPOCHS")
      ->group(group);
  options.log.attach(app, group);
  app.add_flag("-l,--list", options.list, "Print the chosen runs as a table and stop")
      ->group(group);
  app.add_flag("--test-epoch", options.test_epoch,
               "Train each run for one epoch and print the time it took; nothing is written\n"
               "but OUTPUT_DIR/estimates.jsonl, which `submit` goes by")
      ->group(group);
  auto* quiet = app.add_flag("-q,--quiet", options.quiet, "Say nothing but warnings and errors");
  app.add_flag("-v,--verbose", options.verbose, "Say which choices were made")
      ->group(group)
      ->option_text(" ")
      ->excludes(quiet);
  quiet->group(group)->option_text(" ");
}

void attach_machine(CLI::App& app, BenchOptions& options) {
  const std::string group = "Machine";
  options.device.attach(app, group);
  add_option(app, "--safety-margin", options.safety_margin, "SHARE",
             "Share of the free memory that a batch may take (default 0.8)")
      ->check(share())
      ->group(group);
  add_option(app, "--ssd-dir", options.ssd_directory, "DIR",
             "A fast local disk: the volume is copied there once and read from there")
      ->group(group);
  options.ranks.attach(app, group);
}

constexpr const char* kFooter =
    "Runs are the cartesian product of a parameter file's lists and ranges. Each one trains a\n"
    "model, reconstructs the volume from it as it is stored, and appends a row to the CSV file.\n"
    "Stopped at any moment, the same command goes on where it was.\n"
    "\n"
    "Files: OUTPUT_DIR/results.csv, results.jsonl, models_saved/*.safetensors,\n"
    "reconstructions_saved/*.raw with .nhdr, logs/*.log\n"
    "\n"
    "Environment: PBS_ARRAY_INDEX, SLURM_ARRAY_TASK_ID stand in for --run-index; mpirun, srun and\n"
    "torchrun say in theirs which of several processes this is\n"
    "\n"
    "Examples:\n"
    "  kanbench --params params/params.json --dataset nucleon\n"
    "  kanbench --params params/params.json --list\n"
    "  kanbench --params sweep.json --network-types mlp --hashmap-size 12 --repeats 3\n"
    "  kanbench --params sweep.json --data-dir /scratch/volumes --ssd-dir /tmp -o out\n"
    "  mpirun -n 8 kanbench --params sweep.json --checkpoint-every 10min\n"
    "  srun kanbench --params sweep.json --decomposition ensemble --bricks 512";

}  // namespace

void attach_bench_options(CLI::App& app, BenchOptions& options) {
  options.selection.attach(app);
  options.selection.attach_length(app);
  options.selection.attach_decomposition(app);
  attach_output(app, options);
  attach_machine(app, options);
}

void attach_bench(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  attach_bench_options(app, *options);
  app.footer(kFooter);
  app.callback([options] {
    if (options->list) return list_runs(*options);
    Console console(options->quiet     ? Verbosity::quiet
                    : options->verbose ? Verbosity::verbose
                                       : Verbosity::normal);
    if (run_sweep(*options, console) > 0) throw CLI::RuntimeError(1);
  });
}

}  // namespace kanbench
