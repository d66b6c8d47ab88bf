#pragma once
// The tensor "coded" of a model's file: Zstandard frames, one after the other, whose content is an
// index and the coded numbers of all tensors that it lists.
//
// The index is text, a line a tensor and an empty line at its end: name, rows, columns (0: a
// vector), form, rows of a block (0: all of them). The form is f32, f16, q8 or q16. Then, tensor
// after tensor: of q8 and q16 a float32 scale for each block, then a float32 offset for each; then
// the numbers, first the lowest byte of all of them, then the next.

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kanbench/coding.h"
#include "kanbench/model.h"

namespace kanbench {

/// A tensor and its numbers.
struct CodedTensor {
  const Slice* slice;
  Coded coded;
};

/// What the block of these tensors would hold, and the block, cut into frames where that is
/// smaller.
struct CodedBlock {
  std::size_t content = 0;
  std::vector<std::byte> bytes;
};
CodedBlock write_coded(std::span<const CodedTensor> tensors);

/// The numbers of such a block. Every size is proved before memory is taken for it.
class CodedReader {
 public:
  /// `bytes` whose content has `content` bytes, the tensors of `slices`. Throws Error naming
  /// `source` for anything else.
  CodedReader(std::span<const std::byte> bytes, std::size_t content, std::vector<Slice> slices,
              std::string source);
  /// The next of the slices, in their order.
  Coded next();
  /// Its name, for messages.
  const Slice& slice() const { return slices_[next_]; }

 private:
  struct Entry {
    Coding::Kind kind = Coding::Kind::floats;
    int bytes = 4;
    std::int64_t block_rows = 0;
  };
  void read_index();
  Entry read_entry(const std::string& line, const Slice& slice) const;
  std::string at(const Slice& slice) const;

  std::string source_;
  std::vector<Slice> slices_;
  std::vector<Entry> entries_;
  std::vector<std::byte> content_;
  std::size_t next_ = 0, cursor_ = 0;
};

/// The form of `coded` in the index: "q8".
const char* form_of(const Coded& coded);

}  // namespace kanbench
