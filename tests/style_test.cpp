// The rules of the house: who may include whom, what files look like, and that code for newer
// processors stays where it is.

#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <regex>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "support.h"

namespace kanbench::test {
namespace {

namespace fs = std::filesystem;

struct Source {
  /// From the project's root, with '/'.
  std::string path;
  std::vector<std::string> lines;
  bool in(const std::string& directory) const { return path.rfind(directory + "/", 0) == 0; }
};

const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    const std::set<std::string> kinds = {".h", ".cpp", ".cu", ".cuh"};
    std::vector<Source> found;
    for (const char* room : {"include", "src", "kernels", "tests"}) {
      if (!fs::exists(source_directory() / room)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(source_directory() / room)) {
        if (!kinds.contains(entry.path().extension().string())) continue;
        Source source{fs::relative(entry.path(), source_directory()).generic_string(), {}};
        std::ifstream in(entry.path());
        for (std::string line; std::getline(in, line);) source.lines.push_back(line);
        found.push_back(std::move(source));
      }
    }
    return found;
  }();
  return all;
}

bool matches(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex(pattern));
}

struct Include {
  std::string name;
  bool angled = false;
};

std::vector<Include> includes_of(const Source& source) {
  static const std::regex form(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
  std::vector<Include> found;
  for (const std::string& line : source.lines) {
    std::smatch parts;
    if (std::regex_search(line, parts, form)) found.push_back({parts[2], parts[1] == "<"});
  }
  return found;
}

// Libraries, and how the only files begin that stand before them.
constexpr std::pair<const char*, const char*> kLibraries[] = {
    {"zlib.h", "src/io/inflate.cpp"},  {"expat.h", "src/io/vti_header.cpp"},
    {"netcdf.h", "src/io/netcdf.cpp"}, {"hdf5.h", "src/io/hdf5.cpp"},
    {"zfp.h", "src/io/zfp"},           {"zstd.h", "src/io/zstd.cpp"},
    {"png.h", "src/io/png.cpp"}};

// What is wrong with `source` including this; empty if nothing is.
std::string wrong(const Source& source, const Include& include) {
  const std::string& name = include.name;
  const bool of_standard = include.angled && name.find_first_of("./") == std::string::npos;
  if (source.in("include/kanbench/math"))
    return of_standard || matches(name, "^kanbench/math/") ? "" : "math sees math alone";
  if (source.in("include"))
    return of_standard || (!include.angled && matches(name, "^kanbench/"))
               ? ""
               : "public headers see the standard library and each other";
  const bool commands = source.in("src/commands") || source.path == "src/main.cpp";
  if (matches(name, "^(CLI|spdlog)/") && !commands) return "only the commands may see it";
  if (matches(name, "^commands/") && !commands && !source.in("tests"))
    return "the library does not see the commands";
  const bool inside_kernels =
      source.in("kernels") || matches(source.path, "^tests/(cuda|device|emulator)_[a-z_0-9]*[.]");
  const bool is_nccl = source.path == "src/comm/nccl.cpp";
  const bool of_cuda = matches(name, "^(cuda|cublas|curand|nvrtc|nvtx|mma)");
  if (of_cuda && !inside_kernels && !source.in("tests/emulator") && !is_nccl)
    return "only kernels/ and the emulator see CUDA";
  if (name.rfind("kernels/", 0) == 0 && !inside_kernels && !is_nccl)
    return "only kernels/ and the tests of them see kernels/";
  for (const auto& [library, file] : kLibraries)
    if (name == library && !source.path.starts_with(file) && source.in("src"))
      return "only " + std::string(file) + " may see it";
  if (matches(name, "\\.\\./")) return "rooms do not reach into each other";
  if (source.in("kernels") && !of_standard && !of_cuda && name != "dlfcn.h" &&
      (include.angled || !matches(name, "^(kanbench|kernels)/")))
    return "kernels see the public headers, CUDA and themselves";
  if (source.in("tests/emulator") && matches(name, "^(cpu|io|comm|commands|kernels|nlohmann)/"))
    return "the emulator sees the public headers and itself";
  if (source.in("src/cpu") && !include.angled && !matches(name, "^(kanbench|cpu)/"))
    return "the CPU backend sees the public headers and itself";
  if (matches(name, "^cpu/") && source.in("src") && !source.in("src/cpu"))
    return "only the CPU backend sees its insides";
  return "";
}

TEST(Style, FindsTheSources) {
  EXPECT_GT(sources().size(), 60u);
  EXPECT_TRUE(std::any_of(sources().begin(), sources().end(),
                          [](const Source& s) { return s.path == "src/main.cpp"; }));
}

TEST(Style, RoomsIncludeOnlyWhatTheyMay) {
  for (const Source& source : sources())
    for (const Include& include : includes_of(source))
      EXPECT_EQ(wrong(source, include), "") << source.path << " includes " << include.name;
}

TEST(Style, TheRulesRefuseWhatTheyShould) {
  const auto refused = [](const std::string& path, const std::string& name, bool angled = false) {
    return !wrong({path, {}}, {name, angled}).empty();
  };
  EXPECT_TRUE(refused("include/kanbench/math/dual.h", "kanbench/error.h"));
  EXPECT_TRUE(refused("include/kanbench/run.h", "nlohmann/json.hpp", true));
  EXPECT_TRUE(refused("src/model.cpp", "CLI/CLI.hpp", true));
  EXPECT_TRUE(refused("src/model.cpp", "commands/options.h"));
  EXPECT_TRUE(refused("src/model.cpp", "cuda_runtime.h", true));
  EXPECT_TRUE(refused("src/io/raw.cpp", "cpu/kernels.h"));
  EXPECT_TRUE(refused("src/io/nifti.cpp", "zlib.h", true));
  EXPECT_TRUE(refused("src/cpu/backend.cpp", "io/raw.h"));
  EXPECT_TRUE(refused("src/cpu/backend.cpp", "kernels/runtime.h"));
  EXPECT_TRUE(refused("kernels/encode.cu", "cpu/kernels.h"));
  EXPECT_TRUE(refused("src/model.cpp", "kernels/device.h"));
  EXPECT_TRUE(refused("src/comm/mpi.cpp", "kernels/device.h"));
  EXPECT_FALSE(refused("src/comm/nccl.cpp", "kernels/wire.h"));
  EXPECT_FALSE(refused("kernels/encode.cu", "kernels/device.h"));
  EXPECT_TRUE(refused("kernels/encode.cu", "hash.h"));
  EXPECT_TRUE(refused("kernels/encode.cu", "nlohmann/json.hpp", true));
  EXPECT_TRUE(refused("tests/backend_test.cpp", "kernels/runtime.h"));
  EXPECT_TRUE(refused("tests/backend_test.cpp", "cuda_runtime.h", true));
  EXPECT_TRUE(refused("tests/emulator/emulator.cpp", "kernels/device.h"));
  EXPECT_FALSE(refused("tests/cuda_update_test.cpp", "kernels/update.h"));
  EXPECT_FALSE(refused("tests/emulator/cuda_fp16.h", "cuda_runtime.h", true));
  EXPECT_FALSE(refused("kernels/encode.cu", "cuda_runtime.h", true));
  EXPECT_FALSE(refused("kernels/encode.cu", "kernels/device.h"));
  EXPECT_FALSE(refused("src/commands/bench.cpp", "CLI/CLI.hpp", true));
  EXPECT_FALSE(refused("src/io/raw.cpp", "kanbench/io.h"));
}

TEST(Style, FilesAreShortAndNarrow) {
  for (const Source& source : sources()) {
    EXPECT_LE(source.lines.size(), 400u) << source.path;
    for (std::size_t i = 0; i < source.lines.size(); ++i)
      EXPECT_LE(source.lines[i].size(), 100u) << source.path << ":" << i + 1;
  }
}

TEST(Style, TheLibraryDoesNotPrint) {
  const char* prints = R"(std::(cout|cerr|clog)|[^a-z_](printf|fprintf|puts|fputs|putchar)\()";
  for (const Source& source : sources()) {
    if (source.in("tests") || source.in("src/commands") || source.path == "src/main.cpp") continue;
    for (std::size_t i = 0; i < source.lines.size(); ++i)
      EXPECT_FALSE(matches(source.lines[i], prints)) << source.path << ":" << i + 1;
  }
}

TEST(Style, ThePreprocessorDecidesInFewPlaces) {
  const char* allowed =
      "^(include/kanbench/math/platform\\.h|src/cpu/isa/pack\\.h|kernels/device(_[a-z]+)?\\.h|"
      "tests/emulator/.*|tests/source_location_clang14\\.h)$";
  for (const Source& source : sources()) {
    if (matches(source.path, allowed)) continue;
    for (std::size_t i = 0; i < source.lines.size(); ++i)
      EXPECT_FALSE(matches(source.lines[i], R"(^\s*#\s*(if|ifdef|ifndef|elif)\b)"))
          << source.path << ":" << i + 1;
  }
}

// Status of a shell command, its output in `output`.
int shell(const std::string& command, std::string& output) {
  output.clear();
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return -1;
  char block[4096];
  for (std::size_t n; (n = fread(block, 1, sizeof block, pipe)) > 0;) output.append(block, n);
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string in_quotes(const fs::path& path) { return "'" + path.string() + "'"; }

TEST(Style, SourcesAreFormatted) {
  std::string output;
  if (shell("command -v clang-format", output) != 0) GTEST_SKIP() << "clang-format is missing";
  std::string command =
      "cd " + in_quotes(source_directory()) + " && clang-format --dry-run -Werror";
  for (const Source& source : sources()) command += " " + source.path;
  EXPECT_EQ(shell(command, output), 0) << output.substr(0, 3000);
}

TEST(Style, EveryPublicHeaderCompilesAlone) {
  std::vector<std::string> headers;
  for (const Source& source : sources())
    if (source.in("include")) headers.push_back(source.path);
  std::vector<std::string> failures(headers.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < headers.size(); i = next++) {
      std::string output;
      const std::string name = headers[i].substr(std::string("include/").size());
      const std::string command = "echo '#include \"" + name +
                                  "\"' | " KANBENCH_COMPILER
                                  " -std=c++20 -Wall -Wextra -Werror -fsyntax-only -x c++ -I " +
                                  in_quotes(source_directory() / "include") + " -";
      if (shell(command, output) != 0) failures[i] = headers[i] + ":\n" + output;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(headers.size(), 20u);
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

// The linker keeps one copy of a weak symbol: one made with wide instructions would run on
// processors that lack them.
TEST(Style, KernelsOfWiderInstructionSetsDefineNothingWeak) {
  const std::string listed = KANBENCH_WIDE_OBJECTS;
  if (listed.empty()) GTEST_SKIP() << "no such kernels in this build";
  std::istringstream objects(listed);
  int seen = 0;
  for (std::string object; std::getline(objects, object, '|'); ++seen) {
    std::string symbols;
    ASSERT_EQ(shell(KANBENCH_NM " -C " + in_quotes(object), symbols), 0) << symbols;
    EXPECT_NE(symbols.find("::table"), std::string::npos) << "not a kernel object: " << object;
    std::istringstream lines(symbols);
    for (std::string line; std::getline(lines, line);)
      EXPECT_FALSE(matches(line, "^[0-9a-f]+ [WVu] ")) << object << ": " << line;
  }
  EXPECT_GE(seen, 2);
}

}  // namespace
}  // namespace kanbench::test
