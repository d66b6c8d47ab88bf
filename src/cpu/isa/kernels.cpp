// The kernels of one instruction set: this file is compiled once for each, with KB_ISA its name.

#include "cpu/kernels.h"

#include "cpu/isa/decoder.h"
#include "cpu/isa/density.h"
#include "cpu/isa/grid.h"
#include "cpu/isa/update.h"

namespace kanbench::cpu::KB_ISA {
namespace {

void draw(const Stream& stream, std::int64_t first, std::int64_t count, float* x, float* y,
          float* z) {
  for (std::int64_t i = 0; i < count; ++i) {
    const Words4 words = stream.words(static_cast<std::uint64_t>(first + i));
    x[i] = unit_float(words.v[0]);
    y[i] = unit_float(words.v[1]);
    z[i] = unit_float(words.v[2]);
  }
}

double multiply_add(std::int64_t rounds) {
  constexpr int kChains = 12;
  Pack sums[kChains];
#pragma GCC unroll 12
  for (int k = 0; k < kChains; ++k) sums[k] = Pack(0.1f * static_cast<float>(k));
  const Pack b(1.0000001f), c(1e-9f);
  for (std::int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) {
      sums[k] = sums[k] * b + c;
      keep(sums[k]);
    }
  float total = 0;
#pragma GCC unroll 12
  for (int k = 0; k < kChains; ++k) total += sum(sums[k]);
  return total < 0 ? 0 : 2.0 * kChains * kWidth * static_cast<double>(rounds);
}

}  // namespace

#define KB_TEXT(word) #word
#define KB_NAME(word) KB_TEXT(word)
extern const Kernels table = {KB_NAME(KB_ISA), kWidth,       draw,        encode,
                              scatter,         forward,      train,       update,
                              update_lines,    multiply_add, add_density, sum_density};

}  // namespace kanbench::cpu::KB_ISA
