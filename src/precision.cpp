#include "kanbench/precision.h"

#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr Precision kAll[] = {Precision::fp32, Precision::tf32, Precision::fp16, Precision::bf16};

}  // namespace

const char* name(Precision precision) {
  switch (precision) {
    case Precision::tf32:
      return "tf32";
    case Precision::fp16:
      return "fp16";
    case Precision::bf16:
      return "bf16";
    default:
      return "fp32";
  }
}

Precision parse_precision(const std::string& word, const std::string& what) {
  std::vector<std::string> known;
  for (const Precision precision : kAll) {
    if (word == name(precision)) return precision;
    known.emplace_back(name(precision));
  }
  throw Error(what + ": unknown precision '" + word + "'" + nearest(word, known) + ": use one of " +
              join(known));
}

}  // namespace kanbench
