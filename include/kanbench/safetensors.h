#pragma once
// The safetensors container: a header of names, types, shapes and offsets, then the numbers.

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace kanbench {

/// A tensor in a safetensors file, row-major. `dtype` is the format's word: "F32", "U8", ...
struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  /// In the order of their data.
  std::vector<Tensor> tensors;
  const Tensor* find(const std::string& name) const;
};

/// Bytes of one number of a safetensors dtype; 0 for an unknown word.
std::size_t safetensors_size_of(const std::string& dtype);

/// The file as bytes: header padded with spaces so that the data starts at a multiple of 8.
std::string serialise(const Safetensors& file);

/// Reads what `serialise` and any other writer of the format makes. Checks every length, offset,
/// overlap, hole, shape and duplicate with arithmetic that cannot overflow; throws Error naming
/// `source` and what is wrong.
Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& source);

Safetensors read_safetensors(const std::filesystem::path& path);
void write_safetensors(const std::filesystem::path& path, const Safetensors& file);

}  // namespace kanbench
