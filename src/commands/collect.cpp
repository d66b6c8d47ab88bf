// kanbench collect: result files put together.

#include <algorithm>
#include <iostream>

#include "commands/commands.h"
#include "commands/options.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/result.h"
#include "kanbench/run_state.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct CollectOptions {
  std::string output_directory = "results", output;
  std::vector<std::string> parts;
  bool remove = false;
};

// The CSV files of a directory, or the file itself.
void add_part(const fs::path& path, std::vector<fs::path>& parts) {
  std::error_code absent;
  if (fs::is_directory(path, absent)) {
    std::vector<fs::path> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".csv") found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    if (found.empty()) throw Error(path.string() + ": there is no .csv in this directory");
    parts.insert(parts.end(), found.begin(), found.end());
    return;
  }
  if (path.extension() != ".csv" || !fs::exists(path, absent))
    throw Error(path.string() + ": " +
                (fs::exists(path, absent) ? "is no .csv file" : "there is no such file"));
  parts.push_back(path);
}

std::vector<fs::path> parts_of(const CollectOptions& options, const fs::path& into) {
  std::vector<fs::path> parts;
  for (const std::string& word : options.parts) add_part(word, parts);
  if (options.parts.empty()) {
    parts = result_files(options.output_directory);
    // The first is where they go, if no other place was named.
    if (std::error_code absent; !fs::exists(parts.front(), absent)) parts.erase(parts.begin());
  }
  std::erase_if(parts, [&](const fs::path& part) {
    std::error_code absent;
    return fs::equivalent(part, into, absent);
  });
  return parts;
}

void collect(const CollectOptions& options) {
  const fs::path directory = options.output_directory;
  const fs::path into =
      options.output.empty() ? directory / "results.csv" : fs::path(options.output);
  if (into.extension() != ".csv")
    throw Error("--output " + into.string() + ": give a file name that ends in .csv");
  std::error_code absent;
  if (options.parts.empty() && !fs::is_directory(directory, absent))
    throw Error("--output-dir " + directory.string() + ": there is no such directory");
  const std::vector<fs::path> parts = parts_of(options, into);
  require_writable(into.has_parent_path() ? into.parent_path() : ".", "--output");
  const ResultMerge merge = merge_results(into, parts);
  std::cout << into.string() << ": " << merge.rows << " rows, " << merge.added << " new and "
            << merge.replaced << " replaced from " << parts.size()
            << (parts.size() == 1 ? " part\n" : " parts\n");
  if (!options.remove) return;
  int removed = 0, kept = 0;
  for (const fs::path& part : parts) {
    // The directory's own results are no part of it.
    if (fs::equivalent(part, directory / "results.csv", absent)) continue;
    ++(remove_merged(into, part) ? removed : kept);
  }
  std::cout << removed << " parts removed";
  if (kept > 0) std::cout << ", " << kept << " kept: a row was added to them meanwhile";
  std::cout << "\n";
}

constexpr const char* kFooter =
    "A run that several files have gets one row: a finished one before any other, then the one\n"
    "started last. Rows that are there already stay where they are. Parts are kept: collecting\n"
    "again changes nothing. Histories in .jsonl are put together alike.\n"
    "\n"
    "Examples:\n"
    "  kanbench collect -o out\n"
    "  kanbench collect -o out --remove-parts\n"
    "  kanbench collect --output all.csv first/results.csv second/results.csv";

}  // namespace

void attach_collect(CLI::App& app) {
  const auto options = std::make_shared<CollectOptions>();
  add_option(app, "parts", options->parts, "PARTS...",
             "CSV files, or directories of them, each with its .jsonl beside it (default:\n"
             "OUTPUT_DIR/parts)");
  add_option(app, "-o,--output-dir", options->output_directory, "DIR",
             "Where the runs were submitted for (default results)");
  add_option(app, "--output", options->output, "FILE",
             "The CSV file that they go to (default OUTPUT_DIR/results.csv)");
  app.add_flag("--remove-parts", options->remove,
               "Remove parts once the merged files that have all their rows are on disk");
  app.footer(kFooter);
  app.callback([options] { collect(*options); });
}

}  // namespace kanbench
