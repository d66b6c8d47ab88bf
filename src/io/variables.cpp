#include "io/variables.h"

#include <algorithm>
#include <cstring>

#include "io/body.h"
#include "io/quote.h"
#include "io/words.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

std::string extents_text(const Candidate& candidate) {
  std::string text;
  for (const std::int64_t extent : candidate.extents)
    text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

// "t (24x170x180), u (...)"; at most some.
std::string list(std::span<const Candidate> all) {
  constexpr std::size_t most = 40;
  std::vector<std::string> words;
  for (const Candidate& candidate : all.subspan(0, std::min(all.size(), most)))
    words.push_back(quote(candidate.name) + " (" + extents_text(candidate) + ")");
  return join(words) + (all.size() > most ? ", ..." : "");
}

std::size_t only_suitable(std::span<const Candidate> all, const std::string& source) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].suitable) found.push_back(i);
  if (found.size() == 1) return found[0];
  if (all.empty()) throw Error(source + ": it has no array of numbers with two or more axes");
  throw Error(source + ": " +
              (found.empty() ? "none of its arrays has three axes"
                             : std::to_string(found.size()) + " arrays could be meant") +
              ": name one, like " + source + ":" + all[found.empty() ? 0 : found[0]].name +
              " (there: " + list(all) + ")");
}

// By its name, with or without '/' before it, or by the last part of its name.
std::size_t find_named(const std::string& name, std::span<const Candidate> all,
                       const std::string& source) {
  const auto bare = [](const std::string& path) {
    return path.substr(!path.empty() && path[0] == '/' ? 1 : 0);
  };
  for (std::size_t i = 0; i < all.size(); ++i)
    if (bare(all[i].name) == bare(name)) return i;
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].name.substr(all[i].name.rfind('/') + 1) == name) found.push_back(i);
  if (found.size() == 1) return found[0];
  std::vector<std::string> names;
  for (const Candidate& candidate : all) names.push_back(candidate.name);
  if (found.size() > 1)
    throw Error(source + ": " + quote(name) + " could be any of several: " + list(all));
  throw Error(source + ": it has no array " + quote(name) + nearest(name, names) +
              (all.empty() ? "" : " (there: " + list(all) + ")"));
}

// "t[3,0]" into its name and numbers.
Chosen parse_one(const std::string& word, std::span<const Candidate> all,
                 const std::string& source) {
  Chosen chosen;
  const std::size_t bracket = word.rfind('[');
  const bool indexed = bracket != std::string::npos && word.back() == ']';
  const std::string name = indexed ? word.substr(0, bracket) : word;
  if (indexed) {
    Entry entry{source, "index of " + quote(name),
                word.substr(bracket + 1, word.size() - bracket - 2)};
    std::replace(entry.value.begin(), entry.value.end(), ',', ' ');
    chosen.index = entry.wholes();
  }
  chosen.candidate = name.empty() ? only_suitable(all, source) : find_named(name, all, source);
  return chosen;
}

// The commas that are not inside brackets.
std::vector<std::string> split(const std::string& words) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : words) {
    depth += (c == '[') - (c == ']');
    if (c == ',' && depth == 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

// Axes of one voxel need no number.
void settle_index(const Candidate& candidate, Chosen& chosen, const std::string& source) {
  const std::vector<std::int64_t>& extents = candidate.extents;
  const std::string what =
      source + ": " + quote(candidate.name) + " (" + extents_text(candidate) + ")";
  for (std::size_t a = chosen.index.size(); a + 3 < extents.size(); ++a) {
    if (!chosen.index.empty() || extents[a] != 1)
      throw Error(what + ": has " + std::to_string(extents.size()) +
                  " axes: choose a place along the leading " + std::to_string(extents.size() - 3) +
                  ", like " + source + ":" + candidate.name +
                  (extents.size() == 4 ? "[0]" : "[0,0]"));
  }
  if (chosen.index.empty() && extents.size() > 3) chosen.index.assign(extents.size() - 3, 0);
  if (extents.size() < chosen.index.size() + 2)
    throw Error(what + ": has " + std::to_string(extents.size()) + " axes, of which " +
                std::to_string(chosen.index.size()) +
                " are chosen: 2 or 3 must be left to make a volume");
  for (std::size_t a = 0; a < chosen.index.size(); ++a)
    if (chosen.index[a] < 0 || chosen.index[a] >= extents[a])
      throw Error(what + ": there is no place " + std::to_string(chosen.index[a]) +
                  " along an axis of " + std::to_string(extents[a]) + ": 0 to " +
                  std::to_string(extents[a] - 1) + " are");
}

}  // namespace

std::vector<Chosen> choose_variables(const std::string& words, std::span<const Candidate> all,
                                     const std::string& source) {
  std::vector<Chosen> chosen;
  const auto whole =
      std::find_if(all.begin(), all.end(), [&](const Candidate& c) { return c.name == words; });
  if (whole != all.end())
    chosen.push_back({static_cast<std::size_t>(whole - all.begin()), {}});
  else if (words.empty())
    chosen.push_back({only_suitable(all, source), {}});
  else
    for (const std::string& word : split(words)) chosen.push_back(parse_one(word, all, source));
  for (Chosen& one : chosen) settle_index(all[one.candidate], one, source);
  return chosen;
}

Shape shape_of(const Candidate& candidate, const Chosen& chosen, const std::string& source) {
  std::vector<std::int64_t> axes(
      candidate.extents.begin() + static_cast<std::ptrdiff_t>(chosen.index.size()),
      candidate.extents.end());
  std::reverse(axes.begin(), axes.end());
  return require_shape(axes, source + ": " + quote(candidate.name));
}

StoredVolume join_components(std::vector<StoredVolume> parts, std::span<const std::string> what) {
  check(!parts.empty() && parts.size() == what.size(), "no volume to join");
  if (parts.size() == 1) return std::move(parts[0]);
  StoredVolume all = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const VolumeHeader& part = parts[i].header;
    const auto form = [](const VolumeHeader& h) { return text(h.shape) + " " + name(h.dtype); };
    if (!(part.shape == all.header.shape) || part.dtype != all.header.dtype)
      throw Error(what[i] + ": is " + form(part) + ", " + what[0] + " is " + form(all.header) +
                  ": components of one volume have one shape and type");
    if (parts[i].fills != all.fills)
      throw Error(what[i] + ": its value for what is missing is another than that of " + what[0] +
                  ": components of one volume have one");
    all.header.components += part.components;
  }
  set_components(all.header, all.header.components, what[0]);
  const std::shared_ptr<std::byte[]> memory = allocate_voxels(bytes_of(all.header), what[0]);
  std::uint64_t at = 0;
  for (const StoredVolume& part : parts) {
    std::memcpy(memory.get() + at, part.voxels.get(), bytes_of(part.header));
    at += bytes_of(part.header);
  }
  all.voxels = {memory, memory.get()};
  return all;
}

void unpack(StoredVolume& volume, const Packing& packing, const std::string& source) {
  if (!packing.stated) return;
  VolumeHeader& h = volume.header;
  const bool wide =
      packing.wide || size_of(h.dtype) > 4 || h.dtype == Dtype::int32 || h.dtype == Dtype::uint32;
  const Dtype to = wide ? Dtype::float64 : Dtype::float32;
  volume.voxels = scaled(volume.voxels.get(), h.shape.count() * h.components, h.dtype, to,
                         packing.scale, packing.offset, volume.fills, source);
  volume.fills.clear();
  h.dtype = to;
}

}  // namespace kanbench
