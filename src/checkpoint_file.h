#pragma once
// A checkpoint's bytes: a safetensors header, the models' blocks of floats, and a hash of all
// before it as the last tensor. Nothing in a file that is read is trusted: its header must be the
// very one that would be written for these models.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kanbench/range.h"
#include "kanbench/trainer.h"

namespace kanbench {

/// The state as one line of JSON, and back; every double survives, infinities and NaN too.
/// Throws Error, without a source, where `text` is no such state.
std::string encode_state(const TrainingState& state);
TrainingState decode_state(const std::string& text);

/// Where everything is in a checkpoint of models of these sizes, in floats.
class CheckpointLayout {
 public:
  enum Block { parameters, first_moment, second_moment };

  /// `training` names what is trained; `state` is encode_state()'s.
  CheckpointLayout(const std::string& training, const std::string& state,
                   std::vector<std::int64_t> sizes);

  /// The length of the header and the header, padded to a multiple of 64 bytes.
  const std::string& header() const { return header_; }
  /// Of float `index` of a model's block, from the beginning of the file.
  std::int64_t offset(std::int64_t model, Block block, std::int64_t index) const;
  std::int64_t hash_offset() const;
  std::int64_t bytes() const { return hash_offset() + 8; }

 private:
  std::vector<std::int64_t> sizes_, begins_;
  std::string header_;
};

/// What the 8-byte words at `offset` (a multiple of 8) and on add to a file's hash: a sum over
/// words, each mixed with its place (the finaliser of SplitMix64, Steele, Lea and Flood 2014), so
/// that it does not matter who hashes which. `bytes` is a multiple of 8.
std::uint64_t hash_part(const void* data, std::size_t bytes, std::int64_t offset);

/// A file that is read where asked.
class CheckpointReader {
 public:
  /// Throws Error where it cannot be read.
  explicit CheckpointReader(std::filesystem::path path);
  ~CheckpointReader();
  CheckpointReader(const CheckpointReader&) = delete;

  std::int64_t bytes() const { return bytes_; }
  void read(std::int64_t offset, void* data, std::size_t bytes) const;

  /// The state of a checkpoint of `training` whose models have these sizes; throws Error, without
  /// the path, saying why it is none.
  std::string read_state(const std::string& training, const std::vector<std::int64_t>& sizes) const;
  /// What `part` of the file's words before the hash, of as many parts, adds to the hash.
  std::uint64_t hash(std::int64_t part, std::int64_t parts, std::int64_t chunk) const;
  std::uint64_t stored_hash() const;

 private:
  std::string read_header() const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
};

}  // namespace kanbench
