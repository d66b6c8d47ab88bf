#pragma once
// What compressors take: voxels as floats, or as doubles where floats would lose some.

#include "kanbench/baseline.h"

namespace kanbench {

/// float64 for types that float32 cannot hold, else float32.
Dtype floating(Dtype dtype);
/// All of them, as that type.
std::vector<std::byte> to_floating(const Volume& component);

/// A program of the table in baseline_programs.cpp.
std::unique_ptr<Codec> open_program(const Baseline& baseline, const Volume& component,
                                    const std::filesystem::path& directory);
/// The names of those, and the file that each is by default.
std::vector<std::string> program_names();
std::string default_program(const std::string& name);

}  // namespace kanbench
