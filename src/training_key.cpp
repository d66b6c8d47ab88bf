// The keys of a run's training options in parameter files.

#include "run_key.h"

namespace kanbench {
namespace {

// Beneath 1, where an average would no longer follow.
constexpr double longest_memory = 0.999999;

template <auto Member>
void put(Run& run, const Setting& setting) {
  auto& member = run.training.*Member;
  if constexpr (std::is_same_v<std::remove_reference_t<decltype(member)>, std::string>)
    member = std::get<std::string>(setting);
  else if (const auto* whole = std::get_if<std::uint64_t>(&setting))
    member = static_cast<double>(*whole);
  else if (const auto* flag = std::get_if<bool>(&setting))
    member = *flag ? 1 : 0;
  else
    member = std::get<double>(setting);
}

using Options = TrainingOptions;

template <auto Member>
RunKey real(const char* name, double low, double high) {
  return {name, RunKey::Kind::real, low, high, {}, false, put<Member>};
}

template <auto Member>
RunKey word(const char* name, std::vector<std::string> words) {
  return {name, RunKey::Kind::word, 0, 0, std::move(words), false, put<Member>};
}

}  // namespace

std::vector<RunKey> training_keys() {
  return {
      word<&Options::optimizer>("optimizer", {"adam", "adamw", "lion", "sgd", "lbfgs"}),
      real<&Options::beta1>("beta1", 0, longest_memory),
      real<&Options::beta2>("beta2", 0, longest_memory),
      real<&Options::epsilon>("epsilon", 1e-30, 1),
      real<&Options::weight_decay>("weight_decay", 0, 100),
      real<&Options::momentum>("momentum", 0, longest_memory),
      {"nesterov", RunKey::Kind::flag, 0, 1, {}, false, put<&Options::nesterov>},
      word<&Options::schedule>("schedule",
                               {"default", "constant", "step", "cosine", "exponential", "plateau"}),
      real<&Options::decay_factor>("decay_factor", 1e-6, 1),
      real<&Options::final_lrate>("final_lrate", 0, 1),
      {"patience", RunKey::Kind::whole, 1, 1e6, {}, false, put<&Options::patience>},
      real<&Options::warmup>("warmup", 0, 1e6),
      real<&Options::loss_delta>("loss_delta", 1e-9, 1e9),
      real<&Options::loss_epsilon>("loss_epsilon", 1e-9, 1e9),
      real<&Options::clip_gradient>("clip_gradient", 0, 1e30),
      real<&Options::l1_edges>("l1_edges", 0, 1e6),
      real<&Options::entropy_edges>("entropy_edges", 0, 1e6),
      word<&Options::sampling>("sampling", {"uniform", "error"}),
      {"sampling_bricks", RunKey::Kind::whole, 2, 16, {}, false, put<&Options::sampling_bricks>},
      real<&Options::sampling_mix>("sampling_mix", 0, 1),
      real<&Options::train_limit_seconds>("train_limit_seconds", 0, 1e7)};
}

}  // namespace kanbench
