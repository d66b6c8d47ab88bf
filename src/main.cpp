// The program: the command line from the table of subcommands, and the one place that catches.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <thread>

#include "commands/commands.h"
#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kanbench/interruption.h"

namespace kanbench {
namespace {

constexpr int kUsersFault = 2, kOtherFault = 1;

constexpr const char* kFooter =
    "Without a command: bench. `kanbench COMMAND --help` says more of each.\n"
    "\n"
    "Examples:\n"
    "  kanbench --params params/params.json --dataset nucleon\n"
    "  kanbench evaluate results/models_saved/NAME.safetensors demo_data/NAME.raw\n"
    "  kanbench reconstruct NAME.safetensors -o NAME.raw --size 256x256x256\n"
    "\n"
    "Exit status: 0 done; 1 a run or the machine failed; 2 the command line, a parameter file or\n"
    "another input was wrong: one line says what, where, and what would be right.\n"
    "\n"
    "Environment: PBS_ARRAY_INDEX, SLURM_ARRAY_TASK_ID (the run to do, as --run-index)";

void build(CLI::App& app) {
  app.name("kanbench");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("kanbench ") + KANBENCH_VERSION);
  app.get_formatter()->column_width(34);
  app.footer(kFooter);
  for (const Command& command : commands())
    command.attach(*app.add_subcommand(command.name, command.description));
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  return names;
}

// The words after the program's name, with `bench` put first where no command is.
std::vector<std::string> words_of(int count, char** values) {
  std::vector<std::string> words(values + 1, values + count);
  if (words.empty()) words.emplace_back("--help");
  const std::string first = words.front();
  if (first[0] == '-' && first != "--help" && first != "-h" && first != "--version")
    words.insert(words.begin(), "bench");
  return words;
}

// The first word as a command that is not in the table, with the nearest; empty if it is there.
std::string explain_command(const std::string& word) {
  const std::vector<std::string> names = command_names();
  if (word[0] == '-' || std::find(names.begin(), names.end(), word) != names.end()) return "";
  const std::string near = nearest(word, names);
  return "unknown command '" + word + "'" + (near.empty() ? ":" : near) + " use one of " +
         join(names);
}

// What was not understood of the words after the subcommand, with the nearest option; else empty.
std::string explain_extra(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(true);
  if (extras.empty()) return "";
  const std::string& word = extras.front();
  const std::string help = "; see kanbench " + app.get_name() + " --help";
  if (word.empty() || word[0] != '-') return "unexpected argument '" + word + "'" + help;
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  const std::string option = word.substr(0, word.find('='));
  const std::string near = nearest(option, known);
  return "unknown option '" + option + "'" + (near.empty() ? help : near);
}

// A command line that does not parse, in one line with a remedy.
std::string explain(const CLI::App& root, const CLI::ParseError& error) {
  const std::string what = error.what();
  if (root.get_subcommands().empty()) return what + "; see kanbench --help";
  const CLI::App& app = *root.get_subcommands().front();
  if (const std::string extra = explain_extra(app); !extra.empty()) return extra;
  const std::string help = "; see kanbench " + app.get_name() + " --help";
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error)) {
    const bool several = what.find("received") != what.npos;
    return what.substr(0, what.find(':')) + (several ? " takes one value" : " needs a value") +
           help;
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error)) return what + help;
  return what;
}

// This process among those that were started together; variables that contradict each other are
// for the command to complain of.
int rank_of_process() {
  try {
    return read_launch().rank;
  } catch (const Error&) {
    return 0;
  }
}

// Whether another process does what these words ask for.
bool is_done_elsewhere(const std::vector<std::string>& words) {
  const auto same = [&](const Command& command) { return words.front() == command.name; };
  const auto found = std::find_if(commands().begin(), commands().end(), same);
  const bool list = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "-l" || word == "--list" || word == "-h" || word == "--help";
  });
  const bool parallel = found == commands().end() ? words.front()[0] != '-' : found->parallel;
  return (!parallel || list) && rank_of_process() > 0;
}

// Of processes that were started together the first speaks for all where all end alike; the others
// give it time for that, as a launcher that sees one of them end ends it too. Another that has
// something of its own to say waits longer: a launcher ends it when the first has ended for the
// same reason, mpirun with SIGTERM after a second and SIGKILL after two.
bool speaks() {
  if (rank_of_process() == 0) return true;
  const bool alike = failed_together();
  std::this_thread::sleep_for(std::chrono::milliseconds(alike ? 700 : 3000));
  return !alike;
}

int complain(const std::string& message, int status) {
  if (!speaks()) return status;
  std::string line = message;
  for (char& c : line)
    if (c == '\n') c = ' ';
  std::fprintf(stderr, "kanbench: %s\n", line.c_str());
  return status;
}

int run(int count, char** values) {
  CLI::App app("Neural representations of scalar volumes: train, reconstruct, measure");
  build(app);
  std::vector<std::string> words = words_of(count, values);
  try {
    if (const std::string unknown = explain_command(words.front()); !unknown.empty())
      return complain(unknown, kUsersFault);
    if (is_done_elsewhere(words)) return 0;
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    std::cout.flush();
    if (!std::cout) throw SystemError("writing to standard output failed");
    return 0;
  } catch (const CLI::RuntimeError& failed) {
    return failed.get_exit_code();
  } catch (const CLI::Success& wanted) {
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    return complain(explain(app, error), kUsersFault);
  } catch (const Error& error) {
    return complain(error.what(), kUsersFault);
  } catch (const Interrupted& wish) {
    complain(wish.what(), 0);
    return 0;
  } catch (const std::bad_alloc&) {
    return complain("out of memory", kOtherFault);
  } catch (const std::exception& error) {
    return complain(error.what(), kOtherFault);
  }
}

}  // namespace
}  // namespace kanbench

int main(int count, char** values) { return kanbench::run(count, values); }
