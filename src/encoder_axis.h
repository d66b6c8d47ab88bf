#pragma once
// The keys "encoder" and "encoder_params" of a parameter file.

#include <span>

#include "axis.h"
#include "encoder_choice.h"

namespace kanbench {

/// The encoders that `value` says: a name, an object {"name": ..., numbers}, a list of these, one
/// beside the other, or {"values": [any of these]}. Settings are the texts of EncoderChoices.
Axis read_encoder_axis(const RunKey& key, const JsonNode& value, const Place& place,
                       std::int64_t limit);

/// The keys of encoder_params: the fields of all encoders, which have no place of their own in a
/// run.
std::span<const RunKey> encoder_keys();

/// Throws Error where an encoder of `encoders` has no number of the name of one of `params`;
/// `place` is that of the params.
void check_encoder_params(const std::vector<EncoderChoice>& encoders, std::span<const Axis> params,
                          const Place& place);

/// A number of encoder_params, or of an encoder; that of a word is its place among the key's.
double to_number(const RunKey& key, const Setting& setting);

}  // namespace kanbench
