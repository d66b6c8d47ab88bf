#pragma once
// Models on disk: a safetensors file whose metadata holds the architecture, value range, spacing.

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kanbench/coding.h"
#include "kanbench/model.h"
#include "kanbench/volume.h"

namespace kanbench {

/// A model as it is stored: everything needed to reconstruct the volume.
struct ModelFile {
  ModelSpec spec;
  /// make_layout(spec).size floats.
  std::vector<float> parameters;
  std::string dataset;
  Shape shape;
  Dtype dtype = Dtype::uint8;
  /// Of each of the spec's outputs, what its 0 and 1 stand for.
  std::vector<ValueRange> ranges{{0, 1}};
  std::array<double, 3> spacing{1, 1, 1};
  /// Absolute ZFP tolerances of encoder and decoder; 0 stores float32 as it is.
  double zfp_enc = 0, zfp_mlp = 0;
  /// Where the first voxel's centre lies; a file does without it where that is 0.
  std::array<double, 3> origin{0, 0, 0};
  /// How each tensor is coded, in the order of the layout's slices; empty: as the tolerances say.
  std::vector<Coding> codings = {};
};

/// The file's bytes. With a tolerance, each tensor of that group is a ZFP stream where that is
/// smaller (dtype "U8", its float shape in the metadata under "zfp." and its name, its tolerance
/// under "zfp_enc" or "zfp_mlp"). With codings, all tensors but those to be kept exactly are in
/// one, "coded" (src/coded_block.h), whose content's size is in the metadata under that name.
/// Throws Error if this build lacks the library that what is asked for takes.
std::string encode_model(const ModelFile& file);

/// What a reader of those bytes gets: parameters as stored, with ZFP's loss. Throws Error naming
/// `source` for anything that is not a kanbench model: unknown architecture, missing or extra
/// tensor, wrong shape, non-finite parameter.
ModelFile decode_model(const std::string& bytes, const std::string& source);

ModelFile read_model(const std::filesystem::path& path);

/// The architecture as JSON, and back; the keys are the fields() of encoder and bases.
std::string to_json(const ModelSpec& spec);
ModelSpec parse_model_spec(const std::string& json, const std::string& source);

}  // namespace kanbench
