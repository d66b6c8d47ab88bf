#pragma once
// Which arrays of a file with several are meant: "u", "u,v,w", "t[3]", "/group/t[3,0]".

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/stored.h"

namespace kanbench {

/// An array that a file has; x is the last of its extents.
struct Candidate {
  std::string name;
  std::vector<std::int64_t> extents;
  /// Whether it is what is meant where no name is given and it is the only such.
  bool suitable = true;
};

/// One that was chosen, and its place along each of the leading axes before the last 2 or 3.
struct Chosen {
  std::size_t candidate = 0;
  std::vector<std::int64_t> index;
};

/// What `words` chooses, one or more. Throws Error naming `source` and what there is.
std::vector<Chosen> choose_variables(const std::string& words, std::span<const Candidate> all,
                                     const std::string& source);

/// x, y, z of one that was chosen.
Shape shape_of(const Candidate& candidate, const Chosen& chosen, const std::string& source);

/// Volumes of one shape and type as components of one; `what` names each of them.
StoredVolume join_components(std::vector<StoredVolume> parts, std::span<const std::string> what);

/// What `words` chooses of an open file, which has candidates() and read() of one that was chosen.
template <class File>
StoredVolume read_chosen(const File& file, const std::string& words, const std::string& source) {
  std::vector<StoredVolume> parts;
  std::vector<std::string> names;
  for (const Chosen& chosen : choose_variables(words, file.candidates(), source)) {
    parts.push_back(file.read(chosen));
    names.push_back(source + ":" + file.candidates()[chosen.candidate].name);
  }
  return join_components(std::move(parts), names);
}

/// Numbers that are stored as (number - offset) / scale.
struct Packing {
  double scale = 1, offset = 0;
  /// Whether the file says either, and whether as a double.
  bool stated = false, wide = false;
};

/// Unpacks the volume in place.
void unpack(StoredVolume& volume, const Packing& packing, const std::string& source);

}  // namespace kanbench
