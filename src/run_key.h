#pragma once
// The keys of a run in parameter files: what each may hold and where it goes.

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kanbench/run.h"

namespace kanbench {

/// One value of a key.
using Setting = std::variant<bool, std::uint64_t, double, std::string>;

struct RunKey {
  enum class Kind { whole, real, word, flag };

  const char* name;
  Kind kind;
  /// Bounds, both allowed, of whole and real numbers.
  double low, high;
  /// The texts that the key takes, beside its numbers if it takes those.
  std::vector<std::string> words;
  /// Whether every run must have it; what a run's encoder needs is known with the encoder.
  bool required;
  void (*set)(Run& run, const Setting& setting);
  /// What the run has, for decoder_keys(); else null.
  Setting (*get)(const Run& run) = nullptr;
  /// For words of an open form: throws Error, what follows the place, for one that is not.
  void (*require)(const std::string& word) = nullptr;

  bool is_number() const { return kind == Kind::whole || kind == Kind::real; }
  /// What to write: "a whole number from 1 to 4096", "l1 or mse".
  std::string wanted() const;
};

/// What base_resolution says for the integer cube root of the table's entries.
inline constexpr const char* cube_root_text = "(int)cbrt(1<<log2_hashmap_size)";

/// Keys of a run, and those of its decoder_params and its decomposition.
std::span<const RunKey> run_keys();
std::span<const RunKey> decoder_keys();
std::span<const RunKey> decomposition_keys();

/// Those of the training, which are among the run's.
std::vector<RunKey> training_keys();

/// The key with that name, else null.
const RunKey* find_key(std::span<const RunKey> keys, const std::string& name);

/// The names of `keys`, each number's `_step` included.
std::vector<std::string> key_names(std::span<const RunKey> keys);

/// "a", "a or b", "a, b or c".
std::string either(std::span<const std::string> words);

}  // namespace kanbench
