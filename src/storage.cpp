#include "kanbench/storage.h"

#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "decimal.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/zfp.h"
#include "kanbench/zstd.h"

namespace kanbench {
namespace {

constexpr std::pair<const char*, Storage::Kind> kPlain[] = {
    {"fp32", Storage::Kind::fp32}, {"fp16", Storage::Kind::fp16}, {"int8", Storage::Kind::int8}};
constexpr double kMostLoss = 60;

// The whole of `word` as a number above zero, at most `most`.
bool parse_above_zero(std::string_view word, double most, double& value) {
  const char* end = word.data() + word.size();
  const auto [stop, failure] = std::from_chars(word.data(), end, value);
  return failure == std::errc{} && stop == end && value > 0 && value <= most;
}

double parse_loss(const std::string& word, const std::string& at) {
  std::string_view digits = word;
  for (const std::string_view unit : {"dB", "db"})
    if (digits.ends_with(unit)) {
      digits.remove_suffix(unit.size());
      break;
    }
  double loss = 0;
  if (!parse_above_zero(digits, kMostLoss, loss))
    throw Error(at + quote(word) + " is not a loss above 0 and up to " + decimal(kMostLoss) +
                " dB: write e.g. auto:0.1dB");
  return loss;
}

double parse_tolerance(const std::string& word, const std::string& at) {
  double tolerance = 0;
  if (!parse_above_zero(word, 1e30, tolerance))
    throw Error(at + quote(word) +
                " is not a tolerance above 0, the largest error of a parameter: write e.g. "
                "zfp:0.001");
  return tolerance;
}

}  // namespace

const char* storage_forms() {
  return "fp32, fp16, int8, zfp:TOLERANCE (as zfp:0.001) or auto:LOSS (as auto:0.1dB)";
}

Storage parse_storage(const std::string& word, const std::string& what) {
  const std::string at = what + " " + quote(word) + ": ";
  std::vector<std::string> names;
  for (const auto& [name, kind] : kPlain) {
    if (word == name) return {kind, 0};
    names.emplace_back(name);
  }
  const std::size_t colon = word.find(':');
  const std::string name = word.substr(0, colon);
  const std::string number = colon == word.npos ? "" : word.substr(colon + 1);
  if (name == "zfp") return {Storage::Kind::zfp, parse_tolerance(number, at)};
  if (name == "auto") return {Storage::Kind::automatic, parse_loss(number, at)};
  const std::string near = nearest(name, names);
  throw Error(at + "unknown" + near + (near.empty() ? ":" : "") + " use " + storage_forms());
}

std::string text(const Storage& storage) {
  if (storage.kind == Storage::Kind::zfp) return "zfp:" + decimal(storage.number);
  if (storage.kind == Storage::Kind::automatic) return "auto:" + decimal(storage.number) + "dB";
  for (const auto& [name, kind] : kPlain)
    if (kind == storage.kind) return name;
  return "";
}

void require_storage(const Storage& storage) {
  if (storage.kind == Storage::Kind::zfp)
    require_zfp();
  else if (storage.kind != Storage::Kind::fp32)
    require_zstd();
}

}  // namespace kanbench
