#pragma once
// Options that several subcommands share, and checks whose messages say what would be right.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/communicator.h"
#include "kanbench/missing.h"
#include "kanbench/volume.h"

namespace kanbench {

/// Checks a whole number in [least, most].
CLI::Validator whole_number(std::int64_t least, std::int64_t most = INT64_MAX);

/// Checks a number in [least, most].
CLI::Validator number(double least, double most);

/// Checks a share, a number in (0, 1].
CLI::Validator share();

/// Checks that a word is one of `words`, naming the nearest otherwise.
CLI::Validator one_of(std::vector<std::string> words);

/// An option shown as `flags form`; completion offers the words of a form "a|b|c", files for FILE
/// and directories for DIR.
template <class T>
CLI::Option* add_option(CLI::App& app, const std::string& flags, T& value, const std::string& form,
                        const std::string& description) {
  return app.add_option(flags, value, description)->option_text(form);
}

/// --device, --threads and how the device computes.
class DeviceOptions {
 public:
  /// `group` is the heading they stand under; empty for none of their own.
  void attach(CLI::App& app, const std::string& group = "");
  /// Sets the thread count and opens the device; `said` as in open_backend(). Of several processes
  /// on a machine each takes a device of its own while there are any.
  std::unique_ptr<Backend> open(std::string* said = nullptr, int local_rank = 0,
                                int local_size = 1) const;
  /// Gives each process that runs on the same cores as others its share of them, where the thread
  /// count was not given. Called by all ranks.
  void share_cores(Communicator& communicator) const;
  /// How many CUDA devices the processes of this machine may spread over; 0: they use the CPU.
  int count_cuda() const;
  /// What stands beside the device's name in a row: ", deterministic, texture" on a CUDA device
  /// where those were asked for.
  std::string note(const Backend& backend) const;

 private:
  std::string device_ = "auto";
  int threads_ = 0;
  DeviceSettings settings_;
};

/// --precision of a command that opens a model, or those of an ensemble.
class PrecisionOption {
 public:
  void attach(CLI::App& app);
  /// Throws Error where `backend` lacks it for `spec`.
  Precision resolve(const ModelSpec& spec, const Backend& backend) const;
  const std::string& word() const { return word_; }

 private:
  std::string word_ = "auto";
};

/// --missing of a command that opens a volume.
class MissingOption {
 public:
  CLI::Option* attach(CLI::App& app);
  Missing resolve() const { return parse_missing(word_, "--missing"); }

 private:
  std::string word_ = "error";
};

/// The bytes that "1000", "512M" or "2G" names (K, M, G and T are powers of 1024); throws Error
/// naming `what` for another form.
std::size_t parse_bytes(const std::string& word, const std::string& what);

/// The box that "x0:x1,y0:y1,z0:z1" names within `shape`; an end left out is the volume's own.
/// Throws Error naming `what` for another form, or a box that is empty or reaches outside.
Box parse_box(const std::string& word, const Shape& shape, const std::string& what);

/// Throws Error naming `what` if writing the file `output` would destroy the file `input`.
void require_apart(const std::filesystem::path& output, const std::filesystem::path& input,
                   const std::string& what);

/// The dtype of that name; throws Error naming `what` and the nearest.
Dtype require_dtype(const std::string& word, const std::string& what);

}  // namespace kanbench
