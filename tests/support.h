#pragma once
// What several tests need.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace kanbench::test {

/// A directory of its own, gone with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kanbench-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::filesystem::path source_directory() { return KANBENCH_SOURCE_DIR; }

/// Where real volumes lie: KANBENCH_SHARED_DATA, else ../shared/data beside the project. A test
/// that wants one skips where it is absent.
inline std::filesystem::path shared_data() {
  const char* set = std::getenv("KANBENCH_SHARED_DATA");
  return set ? std::filesystem::path(set) : source_directory() / ".." / "shared" / "data";
}

/// The message of the Error that `body` throws; fails the test if it throws none.
template <class Exception, class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

}  // namespace kanbench::test
