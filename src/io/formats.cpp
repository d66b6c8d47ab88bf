// The table of file formats, and the search for a dataset among files.

#include <algorithm>
#include <array>
#include <set>

#include "io/raw.h"
#include "kanbench/error.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

constexpr std::array<Format, 1> kFormats{{
    {"raw", "name_XxYxZ_dtype.raw", is_raw, raw_dataset, read_raw},
}};

const Format* find_format(const std::filesystem::path& path) {
  for (const Format& format : kFormats)
    if (format.matches(path)) return &format;
  return nullptr;
}

struct Found {
  std::string dataset;
  std::filesystem::path path;
};

// Every volume in the directory, by path.
std::vector<Found> list_volumes(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::directory_iterator entry(directory, failure);
  if (failure)
    throw Error("data directory " + directory.string() + ": cannot be read: " + failure.message());
  std::vector<Found> volumes;
  for (; entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    if (failure) break;
    if (!entry->is_regular_file(failure)) continue;
    const Format* format = find_format(entry->path());
    std::string dataset = format ? format->dataset(entry->path()) : "";
    if (!dataset.empty()) volumes.push_back({std::move(dataset), entry->path()});
  }
  if (failure)
    throw Error("data directory " + directory.string() + ": cannot be read: " + failure.message());
  std::sort(volumes.begin(), volumes.end(),
            [](const Found& a, const Found& b) { return a.path < b.path; });
  return volumes;
}

std::vector<std::string> names_of(const std::vector<Found>& volumes) {
  std::set<std::string> names;
  for (const Found& volume : volumes) names.insert(volume.dataset);
  return {names.begin(), names.end()};
}

}  // namespace

std::span<const Format> formats() { return kFormats; }

Volume open_volume(const std::filesystem::path& path, Communicator& communicator) {
  const Format* format = nullptr;
  together(communicator, [&] {
    const std::string source = path.string();
    std::error_code failure;
    if (!std::filesystem::exists(path, failure))
      throw Error(source + ": no such file" + (failure ? " (" + failure.message() + ")" : ""));
    if (!std::filesystem::is_regular_file(path, failure)) throw Error(source + ": not a file");
    format = find_format(path);
    if (format) return;
    std::vector<std::string> patterns;
    for (const Format& known : kFormats) patterns.push_back(known.pattern);
    throw Error(source + ": not a volume by its name: volumes are " + join(patterns));
  });
  return format->read(path, communicator);
}

Volume open_volume(const std::filesystem::path& path) { return open_volume(path, *open_single()); }

std::filesystem::path find_dataset(const std::filesystem::path& directory,
                                   const std::string& name) {
  // A file that happens to be called like a dataset is not meant.
  const std::filesystem::path path = name;
  if (std::error_code ignored; (path.has_parent_path() || find_format(path)) &&
                               std::filesystem::is_regular_file(path, ignored))
    return path;
  const std::vector<Found> volumes = list_volumes(directory);
  std::vector<std::string> files;
  const Found* found = nullptr;
  for (const Found& volume : volumes) {
    if (volume.dataset != name) continue;
    found = &volume;
    files.push_back(volume.path.filename().string());
  }
  if (files.size() > 1)
    throw Error("dataset '" + name + "': " + std::to_string(files.size()) + " files in " +
                directory.string() + " have that name: " + join(files) +
                ": name one by its path, or remove the others");
  if (found) return found->path;
  const std::vector<std::string> names = names_of(volumes);
  throw Error("dataset '" + name + "': not in " + directory.string() + nearest(name, names) +
              (names.empty() ? ": it has no files like " + std::string(kFormats[0].pattern)
                             : " (there: " + join(names) + ")"));
}

std::vector<std::string> list_datasets(const std::filesystem::path& directory) {
  return names_of(list_volumes(directory));
}

}  // namespace kanbench
