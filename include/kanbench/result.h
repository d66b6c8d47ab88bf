#pragma once
// Results: one CSV row and one JSON line a run, appended so that neither is ever torn or doubled.

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kanbench/metrics.h"
#include "kanbench/run.h"
#include "kanbench/trainer.h"

namespace kanbench {

/// What one training of a run gave.
struct Trial {
  std::uint64_t seed = 0;
  History history;
  /// mean_of() the components'.
  Metrics metrics;
  std::vector<Metrics> components = {};
  std::int64_t inr_bytes = 0;
  /// What its numbers take in words, where they were rounded.
  std::string stored;
  double reconstruct_seconds = 0;
};

/// What a run gave: its trials and what they share.
struct Result {
  Run run;
  std::string run_id;
  /// "finished", "failed", "interrupted": to be gone on with, or "elsewhere": another process, of
  /// those that share an ensemble, has the row.
  std::string status = "finished";
  std::string failure;
  std::vector<Trial> trials;
  /// The chosen batch size.
  std::int64_t batch_size = 0;
  /// Bytes of the volume in its own type.
  std::int64_t data_bytes = 0;
  std::int64_t n_parameters = 0;
  std::string precision, device, hostname, started_at, ssim_variant, model_file,
      reconstruction_file;
  int ranks = 1;
  /// "none", or how bricks and ranks lay: "ensemble 2x2x2 ghost 1".
  std::string decomposition = "none";
  std::int64_t peak_device_bytes = 0, peak_host_bytes = 0;
};

/// The CSV's columns, in order.
const std::vector<std::string>& csv_columns();

/// A pair of files: FILE.csv and FILE.jsonl beside it. A run counts as done once its JSON line is
/// whole; opening repairs what a killed process left (a torn last line is dropped, a JSON line
/// without its CSV row gets the row).
class ResultFile {
 public:
  /// Opens or will create FILE.csv. Throws Error if it has other columns than ours, naming the
  /// first that differs.
  explicit ResultFile(std::filesystem::path csv);

  /// Whether a run with this id has a row, read anew under the lock; its status, else "".
  std::string status(const std::string& run_id) const;
  /// Appends under an exclusive lock, one write a file. A row with the same id is replaced (both
  /// files are rewritten atomically).
  void append(const Result& result);
  /// The same of a row that is no run's; `json_line` begins as json_line() does.
  void append(const std::string& run_id, const std::string& status, const std::string& csv_row,
              const std::string& json_line);
  /// The rows, each by column.
  std::vector<std::map<std::string, std::string>> rows() const;

  const std::filesystem::path& csv() const { return csv_; }
  std::filesystem::path json_lines() const;

 private:
  std::filesystem::path csv_;
};

/// What a pair of files says of a run.
struct ResultRow {
  std::string run_id, status, dataset, network_type, started_at, failure;
  std::int64_t run_index = 0;
};

/// The runs that FILE.csv's JSON lines have, each as its last line says; none where there is no
/// file. Takes no lock: a line that is being written is not there yet.
std::vector<ResultRow> read_result_rows(const std::filesystem::path& csv);

/// What a merge did: rows there now, those that are new, and those that took an older one's place.
struct ResultMerge {
  std::int64_t rows = 0, added = 0, replaced = 0;
};

/// Brings the rows of `parts` into `csv` and its JSON lines, one a run: a finished one before any
/// other, then the one that was started last. New ones are appended by run index. Throws Error for
/// a part that is not ours, or whose JSON lines lack a row of its CSV, before anything is written.
ResultMerge merge_results(const std::filesystem::path& csv,
                          const std::vector<std::filesystem::path>& parts);

/// Removes a part (both files) if `csv` has all its rows, or newer ones; says whether it did.
bool remove_merged(const std::filesystem::path& csv, const std::filesystem::path& part);

/// One CSV row, quoted where needed, without the line's end; and the JSON line.
std::string csv_row(const Result& result);
std::string json_line(const Result& result);

}  // namespace kanbench
