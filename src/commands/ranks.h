#pragma once
// The processes of one command: what the command line says of them, and one device each.

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "commands/options.h"
#include "kanbench/communicator.h"

namespace kanbench {

/// --communicator and --timeout.
class RanksOptions {
 public:
  void attach(CLI::App& app, const std::string& group = "");
  /// Opens the communicator that was asked for, and this rank's device; `said` as in
  /// open_backend(). The backend is made first and ends last.
  std::unique_ptr<Communicator> open(const DeviceOptions& device, std::unique_ptr<Backend>& backend,
                                     std::string* said = nullptr) const;

 private:
  std::string communicator_ = "auto";
  double timeout_ = 600;
};

}  // namespace kanbench
