// Which runs of a sweep keep their files, and volumes staged on a fast disk.

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>

#include "kanbench/benchmark.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

std::set<std::int64_t> runs_of_size(std::span<const Run> runs, const std::string& save_mode) {
  int wanted = -1;
  const char* end = save_mode.data() + save_mode.size();
  const auto [stop, error] = std::from_chars(save_mode.data(), end, wanted);
  if (error != std::errc{} || stop != end || wanted < 0)
    throw Error("--save-mode " + save_mode +
                ": unknown: use largest, smallest, all, none or a log2_hashmap_size");
  std::set<std::int64_t> kept;
  std::set<int> sizes;
  for (const Run& run : runs) {
    sizes.insert(run.log2_hashmap_size);
    if (run.log2_hashmap_size == wanted) kept.insert(run.index);
  }
  if (!kept.empty()) return kept;
  std::vector<std::string> words;
  for (const int size : sizes) words.push_back(std::to_string(size));
  throw Error("--save-mode " + save_mode + ": no run has this log2_hashmap_size; the runs have " +
              join(words));
}

}  // namespace

std::set<std::int64_t> runs_to_keep(std::span<const Run> runs, const std::string& save_mode) {
  if (save_mode == "none") return {};
  const bool all = save_mode == "all", largest = save_mode == "largest";
  if (!all && !largest && save_mode != "smallest") return runs_of_size(runs, save_mode);
  using Group = std::pair<std::string, std::string>;
  std::map<Group, int> extreme;
  for (const Run& run : runs) {
    const int size = run.log2_hashmap_size;
    auto [it, added] = extreme.emplace(Group{run.dataset, run.network_type}, size);
    it->second = largest ? std::max(it->second, size) : std::min(it->second, size);
  }
  std::set<std::int64_t> kept;
  for (const Run& run : runs)
    if (all || extreme.at({run.dataset, run.network_type}) == run.log2_hashmap_size)
      kept.insert(run.index);
  return kept;
}

fs::path stage_volume(const fs::path& path, const fs::path& directory) {
  const VolumePath volume = split_volume_path(path);
  for (const fs::path& data : data_files(path)) {
    const fs::path plain = data.lexically_normal();
    if (plain.has_parent_path())
      throw Error(path.string() + ": its voxels are in " + data.string() +
                  ": a volume is copied that has them beside its header");
    stage_file(volume.file.parent_path() / plain, directory);
  }
  fs::path staged = stage_file(volume.file, directory);
  if (!volume.variable.empty()) staged += ":" + volume.variable;
  return staged;
}

fs::path stage_file(const fs::path& file, const fs::path& directory) {
  const fs::path copy = directory / file.filename();
  std::error_code missing;
  if (fs::file_size(copy, missing) == fs::file_size(file) && !missing &&
      fs::last_write_time(copy) == fs::last_write_time(file))
    return copy;
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(file.string() + ": cannot be read");
  AtomicFile out(copy);
  std::vector<char> block(std::size_t{8} << 20);
  while (in) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    out.write(block.data(), static_cast<std::size_t>(in.gcount()));
  }
  if (in.bad()) throw SystemError(file.string() + ": reading failed");
  out.commit();
  // The time tells this file's copy from that of another file with the same name and size.
  fs::last_write_time(copy, fs::last_write_time(file), missing);
  return copy;
}

}  // namespace kanbench
