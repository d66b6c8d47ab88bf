#pragma once
// Decoders by their names: which hyper-parameters each takes, what layers it is made of, and how
// its parameters are drawn and trained.

#include <string>
#include <vector>

#include "kanbench/model.h"
#include "kanbench/run.h"

namespace kanbench {

struct DecoderKind {
  std::string name;
  std::vector<std::string> aliases;
  /// Which of decoder_keys() it takes, and what they are where a run does not say.
  std::vector<std::string> keys;
  KanParameters defaults;
  /// The layers of `run` behind `in` features.
  std::vector<Layer> (*layers)(const Run& run, int in);
  /// How the parameters of one of them, the `l`th, are drawn.
  LayerDraw (*draw)(const Run& run, const Layer& layer, std::size_t l);
  /// The decoder's step over the table's is 3e-4 / lrate, but no less than this, and at most 1.
  double least_rate;

  bool takes(const std::string& key) const;
};

/// All of them: those of the literature, then every basis by its own name, then "custom".
const std::vector<DecoderKind>& decoder_kinds();

/// The one that `name` or an alias stands for; throws Error for any other, naming the nearest.
const DecoderKind& decoder_kind(const std::string& name);

}  // namespace kanbench
