#pragma once
// The table of subcommands. A new one is a file and a row.

#include <span>

namespace CLI {
class App;
}

namespace kanbench {

/// `attach` gives the subcommand's app its options and the callback that runs it. Of processes that
/// were started together all do one that is `parallel`; the first alone does another.
struct Command {
  const char* name;
  const char* description;
  void (*attach)(CLI::App& app);
  bool parallel = false;
};
std::span<const Command> commands();

void attach_bench(CLI::App& app);
void attach_reconstruct(CLI::App& app);
void attach_evaluate(CLI::App& app);
void attach_compress(CLI::App& app);
void attach_info(CLI::App& app);
void attach_convert(CLI::App& app);
void attach_synth(CLI::App& app);
void attach_perf(CLI::App& app);
void attach_submit(CLI::App& app);
void attach_status(CLI::App& app);
void attach_collect(CLI::App& app);
void attach_completion(CLI::App& app);

}  // namespace kanbench
