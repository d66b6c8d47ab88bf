#pragma once
// A run's encoder in words: parts with the numbers given for them. In Run::encoder it stands as one
// text, "dense_grid(resolution=32,features=16)+frequency"; in columns as names and as numbers.

#include <string>
#include <utility>
#include <vector>

#include "kanbench/math/encoder.h"
#include "kanbench/run.h"

namespace kanbench {

/// Numbers of an encoder by the names of its fields; a flag is 0 or 1.
using EncoderNumbers = std::vector<std::pair<std::string, double>>;

struct PartChoice {
  std::string name;
  EncoderNumbers given;
  /// Only named: "hash_grid", not "hash_grid()".
  bool bare = true;
};
using EncoderChoice = std::vector<PartChoice>;

/// What a number may be, both bounds allowed.
struct EncoderLimit {
  double low, high;
};

/// Most parts of an encoder, and most numbers that it makes of a point.
inline constexpr std::size_t kMaxEncoderParts = 64;
inline constexpr int kMaxEncoderWidth = 4096;

/// Names of the encoders that are not made of others.
std::vector<std::string> part_names();
/// The names of the fields of `encoder`.
std::vector<std::string> field_names(const std::string& encoder);
/// The bounds of a field that the encoder has.
EncoderLimit encoder_limit(const std::string& encoder, const std::string& field);

/// The number with that name, else null.
const double* find_number(const EncoderNumbers& numbers, const std::string& name);
std::string to_text(const EncoderChoice& choice);
/// The reverse; `text` is what to_text() wrote.
EncoderChoice parse_choice(const std::string& text);

/// The part with the numbers given, by default what its encoder has.
EncoderPart make_part(const PartChoice& part);
/// The numbers of `part`, every one of them.
EncoderNumbers numbers_of(const EncoderPart& part);

/// Which of the run's own keys the choice cannot be without.
std::vector<std::string> required_keys(const EncoderChoice& choice,
                                       const EncoderNumbers& overrides);

/// Makes run.encoder final: every number of every part, from `overrides`, from what was given, from
/// the run's own keys, or by default. A hash grid alone has its numbers in the run's keys; without
/// a table it is identity. Throws Error, beginning with `source`, for a number out of bounds.
void settle_encoder(Run& run, const EncoderNumbers& overrides, const std::string& source);

/// The encoder of a settled run.
Encoder make_encoder(const Run& run);
/// "dense_grid+frequency", and "resolution=32 features=16; n_frequencies=6 include_input=0"; the
/// latter is empty where the run's own keys say it all.
std::string encoder_names(const Run& run);
std::string encoder_numbers(const Run& run);

}  // namespace kanbench
