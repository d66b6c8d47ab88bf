#pragma once
// How a model's numbers are to be stored: as they are, rounded to fewer bits, or as few as a loss
// in PSNR allows.

#include <string>

namespace kanbench {

/// What --store and the key "store" say.
struct Storage {
  enum class Kind { fp32, fp16, int8, zfp, automatic };
  Kind kind = Kind::fp32;
  /// The tolerance of zfp, the decibels that automatic may lose.
  double number = 0;
};

/// Reads "fp32", "fp16", "int8", "zfp:TOLERANCE" or "auto:LOSS", whose loss may end in dB; throws
/// Error naming `what` for anything else.
Storage parse_storage(const std::string& word, const std::string& what);
/// The one text for it: "auto:0.1dB".
std::string text(const Storage& storage);
/// What may be given, for messages.
const char* storage_forms();

/// Throws Error, with what to do, unless this build has what the storage takes.
void require_storage(const Storage& storage);

}  // namespace kanbench
