// The keys of a decoder's own hyper-parameters.

#include <type_traits>

#include "kanbench/math/activation.h"
#include "kanbench/math/basis.h"
#include "kanbench/math/layer.h"
#include "run_key.h"

namespace kanbench {
namespace {

template <auto Member>
using ValueOf = std::remove_cvref_t<decltype(std::declval<KanParameters>().*Member)>;

template <auto Member>
void put(Run& run, const Setting& setting) {
  using Value = ValueOf<Member>;
  if constexpr (std::is_same_v<Value, int>)
    run.kan.*Member = static_cast<int>(std::get<std::uint64_t>(setting));
  else
    run.kan.*Member = std::get<Value>(setting);
}

template <auto Member>
Setting get(const Run& run) {
  if constexpr (std::is_same_v<ValueOf<Member>, int>)
    return static_cast<std::uint64_t>(run.kan.*Member);
  else
    return run.kan.*Member;
}

template <auto Member>
RunKey number(const char* name, double low, double high) {
  constexpr bool whole = std::is_same_v<ValueOf<Member>, int>;
  return {name,        whole ? RunKey::Kind::whole : RunKey::Kind::real,
          low,         high,
          {},          false,
          put<Member>, get<Member>};
}

template <auto Member>
RunKey flag(const char* name) {
  return {name, RunKey::Kind::flag, 0, 1, {}, false, put<Member>, get<Member>};
}

template <auto Member>
RunKey word(const char* name, Words words) {
  return {name,  RunKey::Kind::word, 0,          0, {words.begin(), words.end()},
          false, put<Member>,        get<Member>};
}

}  // namespace

std::span<const RunKey> decoder_keys() {
  using K = KanParameters;
  static const std::vector<RunKey> keys{
      number<&K::grid_radius>("grid_radius", 1e-6, 1e6),
      number<&K::num_grids>("num_grids", 2, 64),
      flag<&K::use_base_update>("use_base_update"),
      word<&K::inner>("inner", words_of(Inner{})),
      number<&K::order>("order", 0, basis::BSpline::kMostOrder),
      flag<&K::clamped>("clamped"),
      number<&K::degree>("degree", 0, basis::Bernstein::kMostDegree),
      word<&K::squash>("squash", words_of(basis::Squash{})),
      number<&K::alpha>("alpha", -0.999, 64),
      number<&K::beta>("beta", -0.999, 64),
      number<&K::span>("span", 1, 16),
      number<&K::terms>("terms", 1, 32),
      word<&K::wavelet>("wavelet", words_of(basis::WaveletKind{})),
      number<&K::omega>("omega", 1e-6, 1e6),
      number<&K::first_omega>("first_omega", 1e-6, 1e6),
      number<&K::scale>("scale", 1e-6, 1e6),
      number<&K::sharpness>("sharpness", 1e-6, 1e6),
      number<&K::slope>("slope", -1e6, 1e6),
      number<&K::frequency>("frequency", 1e-6, 1e6),
      number<&K::numerator>("numerator", 0, 8),
      number<&K::denominator>("denominator", 1, 8),
      number<&K::bottleneck>("bottleneck", 0, 4096)};
  return keys;
}

}  // namespace kanbench
