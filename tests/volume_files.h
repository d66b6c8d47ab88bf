#pragma once
// Volumes of tests/golden/volumes, whose voxels are a function of their place.

#include <string>
#include <vector>

#include "kanbench/io.h"
#include "support.h"

namespace kanbench::test {

inline std::filesystem::path golden_volume(const std::string& name) {
  return source_directory() / "tests" / "golden" / "volumes" / name;
}

/// Voxels as numbers, one component after the other.
inline std::vector<double> numbers_of(const Volume& volume) {
  std::vector<double> numbers;
  visit(volume.dtype, [&](auto zero) {
    const auto* voxels = static_cast<const decltype(zero)*>(volume.data());
    const auto count = static_cast<std::size_t>(volume.shape.count() * volume.components);
    for (std::size_t i = 0; i < count; ++i) numbers.push_back(static_cast<double>(voxels[i]));
  });
  return numbers;
}

/// x + 10 y + 100 z + 1000 c, times `scale`, and `offset`.
inline std::vector<double> golden_numbers(int components = 1, double scale = 1, double offset = 0) {
  std::vector<double> numbers;
  for (int c = 0; c < components; ++c)
    for (int z = 0; z < 3; ++z)
      for (int y = 0; y < 4; ++y)
        for (int x = 0; x < 5; ++x)
          numbers.push_back((x + 10 * y + 100 * z + 1000 * c) * scale + offset);
  return numbers;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace kanbench::test
