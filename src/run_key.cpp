#include "run_key.h"

#include <limits>

#include "decimal.h"
#include "kanbench/error.h"
#include "kanbench/storage.h"

namespace kanbench {

namespace {

constexpr double most = std::numeric_limits<int>::max();
constexpr double finite = std::numeric_limits<double>::max();
constexpr double above_zero = std::numeric_limits<double>::denorm_min();
constexpr double largest_batch = 1ull << 40;
constexpr double largest_seed = 18446744073709551616.0;

/// Stores a setting in the member that it is for.
template <auto Member>
void put(Run& run, const Setting& setting) {
  using Value = std::remove_reference_t<decltype(run.*Member)>;
  if constexpr (std::is_same_v<Value, std::string>)
    run.*Member = std::get<std::string>(setting);
  else if constexpr (std::is_same_v<Value, double>)
    run.*Member = std::get<double>(setting);
  else
    run.*Member = static_cast<Value>(std::get<std::uint64_t>(setting));
}

/// -1 stands for the cube root until the table's size is known.
void put_base_resolution(Run& run, const Setting& setting) {
  const auto* number = std::get_if<std::uint64_t>(&setting);
  run.base_resolution = number ? static_cast<int>(*number) : -1;
}

RunKey whole(const char* name, double low, double high, void (*set)(Run&, const Setting&),
             bool required) {
  return {name, RunKey::Kind::whole, low, high, {}, required, set};
}

RunKey real(const char* name, double low, double high, void (*set)(Run&, const Setting&),
            bool required) {
  return {name, RunKey::Kind::real, low, high, {}, required, set};
}

/// Its "zfp:TOLERANCE" is known for what it is once the whole run is read.
void put_store(Run& run, const Setting& setting) {
  run.store = text(parse_storage(std::get<std::string>(setting), "store"));
}

RunKey word(const char* name, std::vector<std::string> words, void (*set)(Run&, const Setting&)) {
  return {name, RunKey::Kind::word, 0, 0, std::move(words), false, set};
}

std::vector<RunKey> make_run_keys() {
  std::vector<RunKey> keys{
      real("lrate", above_zero, finite, put<&Run::lrate>, true),
      whole("lrate_decay", 0, most, put<&Run::lrate_decay>, true),
      whole("epochs", 1, most, put<&Run::epochs>, true),
      whole("n_neurons", 1, 4096, put<&Run::n_neurons>, true),
      whole("n_hidden_layers", 1, 32, put<&Run::n_hidden_layers>, true),
      whole("n_levels", 1, 32, put<&Run::n_levels>, false),
      whole("n_features_per_level", 1, 16, put<&Run::n_features_per_level>, false),
      real("per_level_scale", 1, 16, put<&Run::per_level_scale>, false),
      whole("log2_hashmap_size", 0, 26, put<&Run::log2_hashmap_size>, false),
      whole("base_resolution", 1, 65536, put_base_resolution, false),
      real("zfp_enc", 0, finite, put<&Run::zfp_enc>, false),
      real("zfp_mlp", 0, finite, put<&Run::zfp_mlp>, false),
      {"store",
       RunKey::Kind::word,
       0,
       0,
       {},
       false,
       put_store,
       nullptr,
       [](const std::string& word) { parse_storage(word, "store"); }},
      word("output_activation", {"None", "Sigmoid", "ReLU"}, put<&Run::output_activation>),
      word("loss", {"l1", "mse", "huber", "relative_l1", "relative_l2"}, put<&Run::loss>),
      whole("batch_size", 1, largest_batch, put<&Run::batch_size>, false),
      whole("seed", 0, largest_seed, put<&Run::seed>, false),
      word("encoder", {}, put<&Run::encoder>),
      word("precision", {"auto", "fp32", "tf32", "fp16", "bf16"}, put<&Run::precision>)};
  for (RunKey& key : keys)
    if (key.set == put_base_resolution) key.words = {cube_root_text};
  for (RunKey& key : training_keys()) keys.push_back(std::move(key));
  return keys;
}

std::string number_text(double value) {
  constexpr double exact = 9007199254740992.0;
  if (value >= largest_seed) return "18446744073709551615";
  if (value < exact && value == std::floor(value))
    return std::to_string(static_cast<long long>(value));
  return decimal(value);
}

}  // namespace

std::span<const RunKey> run_keys() {
  static const std::vector<RunKey> keys = make_run_keys();
  return keys;
}

std::span<const RunKey> decomposition_keys() {
  static const auto number = [](const Setting& s) { return std::get<std::uint64_t>(s); };
  static const std::vector<RunKey> keys{
      word("mode", {"shared", "ensemble", "hybrid"},
           [](Run& run, const Setting& s) { run.decomposition.mode = std::get<std::string>(s); }),
      whole(
          "bricks", 0, 1 << 20,
          [](Run& run, const Setting& s) {
            run.decomposition.brick_count = static_cast<std::int64_t>(number(s));
          },
          false),
      whole(
          "ghost", 0, 64,
          [](Run& run, const Setting& s) { run.decomposition.ghost = static_cast<int>(number(s)); },
          false),
      {"blend",
       RunKey::Kind::flag,
       0,
       1,
       {},
       false,
       [](Run& run, const Setting& s) { run.decomposition.blend = std::get<bool>(s); }},
      whole(
          "share_every", 1, 1 << 20,
          [](Run& run, const Setting& s) {
            run.decomposition.share_every = static_cast<int>(number(s));
          },
          false),
      whole(
          "share_resolution", 0, 1 << 20,
          [](Run& run, const Setting& s) {
            run.decomposition.share_resolution = static_cast<int>(number(s));
          },
          false),
      word("wire", {"fp32", "fp16"},
           [](Run& run, const Setting& s) { run.decomposition.wire = std::get<std::string>(s); }),
      {"sharded", RunKey::Kind::flag, 0, 1, {}, false, [](Run& run, const Setting& s) {
         run.decomposition.sharded = std::get<bool>(s);
       }}};
  return keys;
}

const RunKey* find_key(std::span<const RunKey> keys, const std::string& name) {
  for (const RunKey& key : keys)
    if (key.name == name) return &key;
  return nullptr;
}

std::vector<std::string> key_names(std::span<const RunKey> keys) {
  std::vector<std::string> names;
  for (const RunKey& key : keys) names.emplace_back(key.name);
  for (const RunKey& key : keys)
    if (key.is_number()) names.push_back(key.name + std::string("_step"));
  return names;
}

std::string either(std::span<const std::string> words) {
  if (words.size() < 2) return join(words);
  return join(words.first(words.size() - 1)) + " or " + words.back();
}

std::string RunKey::wanted() const {
  if (kind == Kind::flag) return "true or false";
  if (require) return storage_forms();
  if (kind == Kind::word) return either(words);
  std::string text = kind == Kind::whole ? "a whole number" : "a number";
  if (low == above_zero)
    text += " above 0";
  else if (high == finite)
    text += " of at least " + number_text(low);
  else
    text += " from " + number_text(low) + " to " + number_text(high);
  return words.empty() ? text : text + " or \"" + join(words) + "\"";
}

}  // namespace kanbench
