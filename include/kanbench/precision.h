#pragma once
// The arithmetic of a decoder's products and of the table's working copy; parameters, sums and
// Adam's moments are float32 in all of them.

#include <string>
#include <vector>

namespace kanbench {

/// fp32: everything in float32. tf32: products of numbers with 10-bit mantissas. fp16, bf16: both
/// factors in that type, sums in float32, and a copy of the table in it.
enum class Precision { fp32, tf32, fp16, bf16 };

/// "fp32", "tf32", "fp16", "bf16".
const char* name(Precision precision);

/// The precision of that name; throws Error naming `what` for any other word.
Precision parse_precision(const std::string& word, const std::string& what);

}  // namespace kanbench
