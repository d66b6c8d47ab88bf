// The search for a dataset among the files of a directory.

#include <algorithm>
#include <set>

#include "kanbench/error.h"
#include "kanbench/io.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

struct Found {
  std::string dataset;
  fs::path path;
  /// Its row in the table.
  std::size_t format = 0;
};

bool describes(const Found& header, const Found& raw) {
  return header.path.extension() != raw.path.extension() && header.path.stem() == raw.path.stem();
}

// A raw file, and a header of another format, are left out where a header of the same name, which
// stands before them in the table, has the same voxels.
void drop_described(std::vector<Found>& volumes) {
  const auto by_data = [](const Found& v) {
    const std::string ending = v.path.extension().string();
    return ending == ".nhdr" || ending == ".mhd" || ending == ".raw";
  };
  std::erase_if(volumes, [&, all = volumes](const Found& one) {
    return by_data(one) && std::any_of(all.begin(), all.end(), [&](const Found& other) {
             return by_data(other) && other.format < one.format && describes(other, one);
           });
  });
}

std::vector<Found> list_volumes(const fs::path& directory) {
  std::error_code failure;
  fs::directory_iterator entry(directory, failure);
  if (failure)
    throw Error("data directory " + directory.string() + ": cannot be read: " + failure.message());
  std::vector<Found> volumes;
  for (; entry != fs::directory_iterator(); entry.increment(failure)) {
    if (failure) break;
    if (!entry->is_regular_file(failure)) continue;
    const std::span<const Format> all = formats();
    for (std::size_t f = 0; f < all.size(); ++f) {
      if (!is_of(all[f], entry->path())) continue;
      const std::string dataset = dataset_name(entry->path());
      // A raw file whose name says nothing of it is some header's.
      const bool unnamed =
          all[f].endings[0] == std::string_view(".raw") && dataset == entry->path().stem().string();
      if (!unnamed) volumes.push_back({dataset, entry->path(), f});
      break;
    }
  }
  if (failure)
    throw Error("data directory " + directory.string() + ": cannot be read: " + failure.message());
  drop_described(volumes);
  std::sort(volumes.begin(), volumes.end(),
            [](const Found& a, const Found& b) { return a.path < b.path; });
  return volumes;
}

std::vector<std::string> names_of(const std::vector<Found>& volumes) {
  std::set<std::string> names;
  for (const Found& volume : volumes) names.insert(volume.dataset);
  return {names.begin(), names.end()};
}

bool is_volume_file(const fs::path& path) {
  const fs::path file = split_volume_path(path).file;
  std::error_code ignored;
  return fs::is_regular_file(file, ignored) &&
         (file.has_parent_path() ||
          std::any_of(formats().begin(), formats().end(),
                      [&](const Format& format) { return is_of(format, file); }));
}

}  // namespace

fs::path find_volume_file(const fs::path& directory, const std::string& name) {
  // A file that happens to be called like a dataset is not meant.
  if (is_volume_file(name)) return name;
  const std::span<const Format> all = formats();
  const fs::path file = split_volume_path(directory / name).file;
  const bool known =
      std::any_of(all.begin(), all.end(), [&](const Format& f) { return is_of(f, file); });
  return known && is_volume_file(directory / name) ? directory / name : fs::path();
}

fs::path find_dataset(const fs::path& directory, const std::string& name) {
  if (const fs::path path = find_volume_file(directory, name); !path.empty()) return path;
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
              (names.empty() ? ": it has no volumes, like name_XxYxZ_dtype.raw or *.nrrd"
                             : " (there: " + join(names) + ")"));
}

std::vector<std::string> list_datasets(const fs::path& directory) {
  return names_of(list_volumes(directory));
}

}  // namespace kanbench
