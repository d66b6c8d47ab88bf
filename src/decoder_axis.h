#pragma once
// The keys "decoder_params" and "layers" of a parameter file.

#include <array>
#include <string>
#include <vector>

#include "axis.h"
#include "run_key.h"

namespace kanbench {

/// Those of decoder_params that vary slowest of them, outermost first; KAN-INR's files always have
/// them, beside an MLP too.
inline constexpr std::array common_decoder_keys{"grid_radius", "num_grids", "use_base_update"};

/// The layers of a custom decoder: one list of them, or {"values": [...]} of lists.
Axis read_layer_axis(const JsonNode& value, const Place& place, std::int64_t limit);

/// Throws Error for an axis that no decoder of `types` takes, and where `layers` stand without a
/// custom decoder, or it without them; `place` is the entry's.
void check_decoder_axes(const std::vector<std::string>& types, const std::vector<Axis>& axes,
                        bool layers, const Place& place);

/// Those of the axes that the decoder takes, and its hyper-parameters before them.
std::vector<Axis> axes_of_decoder(const std::string& type, const std::vector<Axis>& axes);
KanParameters start_of_decoder(const std::string& type, const std::vector<Axis>& axes);

}  // namespace kanbench
