#include "size_match.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "encoder_choice.h"
#include "kanbench/error.h"
#include "kanbench/model_file.h"
#include "kanbench/recipe.h"

namespace kanbench {
namespace {

constexpr double kTolerance = 0.02;
constexpr int kWidest = 4096;

/// The number of an encoder that decides how large it is, in the part that has it.
struct Knob {
  std::size_t part = 0;
  const char* field = nullptr;
};

std::optional<Knob> find_knob(const EncoderChoice& choice) {
  for (const char* field :
       {"log2_hashmap_size", "n_grids", "resolution", "base_resolution", "n_frequencies"})
    for (std::size_t i = 0; i < choice.size(); ++i)
      for (const std::string& name : field_names(choice[i].name))
        if (name == field) return Knob{i, field};
  return std::nullopt;
}

/// The run with its encoder's number so; none where the encoder has no such number.
std::optional<Run> with_number(const Run& run, int number) {
  Run changed = run;
  if (run.encoder == "hash_grid") {
    changed.log2_hashmap_size = number;
    return changed;
  }
  EncoderChoice choice = parse_choice(run.encoder);
  const std::optional<Knob> knob = find_knob(choice);
  if (!knob) return std::nullopt;
  for (auto& [name, value] : choice[knob->part].given)
    if (name == knob->field) value = number;
  changed.encoder = to_text(choice);
  return changed;
}

std::string knob_name(const Run& run) {
  if (run.encoder == "hash_grid") return "log2_hashmap_size";
  const std::optional<Knob> knob = find_knob(parse_choice(run.encoder));
  return knob ? knob->field : "";
}

EncoderLimit knob_limit(const Run& run) {
  constexpr double kMost = 4096;
  if (run.encoder == "hash_grid") return encoder_limit("hash_grid", "log2_hashmap_size");
  const EncoderChoice choice = parse_choice(run.encoder);
  const std::optional<Knob> knob = find_knob(choice);
  if (!knob) return {1, 0};
  EncoderLimit limit = encoder_limit(choice[knob->part].name, knob->field);
  limit.high = std::min(limit.high, kMost);
  return limit;
}

int knob_value(const Run& run) {
  if (run.encoder == "hash_grid") return run.log2_hashmap_size;
  const EncoderChoice choice = parse_choice(run.encoder);
  const std::optional<Knob> knob = find_knob(choice);
  const double* value = knob ? find_number(choice[knob->part].given, knob->field) : nullptr;
  return value ? static_cast<int>(*value) : 0;
}

/// Infinite where the model cannot be: a grid too fine, more neurons than layers may have.
double parameters_of(const Run& run) {
  try {
    return static_cast<double>(make_layout(make_spec(run)).parameters);
  } catch (const Error&) {
    return std::numeric_limits<double>::infinity();
  }
}

double parameters_of(Run run, int width) {
  run.n_neurons = width;
  return parameters_of(run);
}

/// The width whose model comes nearest to `wanted`.
int nearest_width(const Run& run, double wanted) {
  int low = 1, high = kWidest;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (parameters_of(run, middle) < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  const bool below =
      low > 1 && wanted - parameters_of(run, low - 1) < parameters_of(run, low) - wanted;
  return below ? low - 1 : low;
}

/// A run whose model is near, and how far its width is from where it was.
struct Candidate {
  Run run;
  double error = std::numeric_limits<double>::infinity(), moved = error;
};

/// Keeps the one of those within the tolerance that moves least, else the nearest.
void consider(const Run& run, double wanted, Candidate& best) {
  Candidate found{run};
  if (run.network_type != "custom") found.run.n_neurons = nearest_width(run, wanted);
  found.error = std::abs(parameters_of(found.run) / wanted - 1);
  found.moved = std::abs(std::log(static_cast<double>(found.run.n_neurons) / run.n_neurons));
  const bool near = found.error <= kTolerance, was_near = best.error <= kTolerance;
  if (near != was_near ? near : near ? found.moved < best.moved : found.error < best.error)
    best = found;
}

Candidate search(const Run& run, double wanted) {
  Candidate best;
  consider(run, wanted, best);
  if (best.error <= kTolerance && best.moved < std::log(2.0)) return best;
  const EncoderLimit limit = knob_limit(run);
  for (int number = static_cast<int>(limit.low); number <= limit.high; ++number) {
    const std::optional<Run> changed = with_number(run, number);
    const double least = changed ? parameters_of(*changed, 1) : 0;
    if (!changed || (std::isfinite(least) && least > (1 + kTolerance) * wanted)) break;
    if (std::isfinite(least)) consider(*changed, wanted, best);
  }
  return best;
}

/// What a model's file holds beside its parameters, four bytes each.
double header_bytes(const Run& run) {
  ModelFile file;
  file.spec = make_spec(run);
  file.dataset = run.dataset;
  file.ranges.resize(static_cast<std::size_t>(file.spec.outputs()), {0, 1});
  const Layout layout = make_layout(file.spec);
  file.parameters.resize(static_cast<std::size_t>(layout.size));
  return static_cast<double>(encode_model(file).size()) -
         4 * static_cast<double>(layout.parameters);
}

}  // namespace

void match_size(Run& run, const SizeMatch& match) {
  const bool bytes = match.bytes > 0;
  if (!bytes && match.parameters == 0) return;
  const std::string option = bytes ? "--match-bytes " + std::to_string(match.bytes)
                                   : "--match-parameters " + std::to_string(match.parameters);
  const std::string where = option + ": run " + std::to_string(run.index) + ": ";
  if (bytes && (run.zfp_enc > 0 || run.zfp_mlp > 0))
    throw Error(where + "how small ZFP makes its parameters is not known before: set zfp_enc and " +
                "zfp_mlp to 0, or use --match-parameters");
  if (bytes && run.store != Run{}.store)
    throw Error(where + "how small --store " + run.store +
                " makes its parameters is not known before: use --store fp32, or "
                "--match-parameters");
  const double wanted = bytes ? (static_cast<double>(match.bytes) - header_bytes(run)) / 4
                              : static_cast<double>(match.parameters);
  const Candidate best = wanted >= 1 ? search(run, wanted) : Candidate{run};
  if (!(best.error <= kTolerance)) {
    const double nearest = parameters_of(best.run);
    const std::string has = std::isfinite(nearest)
                                ? std::to_string(static_cast<std::int64_t>(nearest)) + " parameters"
                                : "more than it can have";
    throw Error(where + "no " + run.network_type + " behind " + encoder_names(run) +
                " comes within 2%; the nearest has " + has +
                ": ask for another size, or for fewer or coarser levels");
  }
  const int before = knob_value(run);
  run = best.run;
  run.matched = (bytes ? std::to_string(match.bytes) + " bytes"
                       : std::to_string(match.parameters) + " parameters") +
                " by n_neurons " + std::to_string(run.n_neurons);
  if (knob_value(run) != before)
    run.matched += ", " + knob_name(run) + " " + std::to_string(knob_value(run));
}

}  // namespace kanbench
