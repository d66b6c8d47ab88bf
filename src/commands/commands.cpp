#include "commands/commands.h"

#include <iterator>

namespace kanbench {
namespace {

constexpr Command kCommands[] = {
    {"bench", "Train, reconstruct and measure the runs of a parameter file (the default)",
     attach_bench, true},
    {"reconstruct", "Decode a model to a volume, at any resolution", attach_reconstruct, true},
    {"evaluate", "Measure a model against a volume", attach_evaluate, true},
    {"compress", "Store a model in fewer bytes", attach_compress},
    {"info", "Describe a model, a volume, or what this build offers", attach_info},
    {"convert", "Write a volume in another file format", attach_convert},
    {"synth", "Write an analytic volume", attach_synth},
    {"perf", "Time the stages of training and inference", attach_perf, true},
    {"submit", "Submit the runs of a parameter file to a cluster's scheduler", attach_submit},
    {"status", "Say how far submitted runs are", attach_status},
    {"collect", "Put result files together", attach_collect},
    {"completion", "Print a completion script for bash or zsh", attach_completion},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace kanbench
