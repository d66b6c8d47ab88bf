// The optimiser's kernel against the shared arithmetic, and when it does nothing.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda_memory.h"
#include "emulator.h"
#include "kernels/update.h"

namespace kanbench::cuda {
namespace {

using test::OnDevice;

constexpr std::int64_t kSize = 1200, kDecoder = 720;

/// Blocks of a model with about half of the gradient exactly zero.
struct Blocks {
  std::vector<float> parameters, gradient, first, second;

  Blocks() {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < kSize; ++i) {
      const bool zero = i / 4 % 3 == 0 || random() % 3 == 0;
      // Over many powers of ten, to where squares are no longer normal.
      const float size = std::pow(10.0f, -static_cast<float>(random() % 21));
      parameters.push_back(normal(random));
      gradient.push_back(zero ? 0.0f : normal(random) * size);
      first.push_back(normal(random) * size);
      second.push_back(std::abs(normal(random)) * size * size);
    }
  }
};

/// Blocks in the device's memory.
struct Placed {
  OnDevice<float> parameters, gradient, first, second;
  OnDevice<std::uint16_t> copy{static_cast<std::size_t>(kDecoder), std::uint16_t{0xabcd}};
  OnDevice<unsigned> not_finite{std::size_t{1}};

  explicit Placed(const Blocks& b)
      : parameters(b.parameters), gradient(b.gradient), first(b.first), second(b.second) {}

  UpdateArguments arguments(const Optimizer& optimizer = Adam{}) const {
    UpdateArguments a;
    a.kind = static_cast<int>(optimizer.index());
    a.parameters = parameters.data();
    a.gradient = gradient.data();
    a.first_moment = first.data();
    a.second_moment = second.data();
    a.share = {0, kSize};
    a.decoder_begin = kDecoder;
    a.encoder = step_of(optimizer, 1e-2, 3);
    a.decoder = step_of(optimizer, 5e-3, 3);
    a.not_finite = not_finite.data();
    return a;
  }
  void expect_unchanged(const Blocks& b) const {
    EXPECT_EQ(parameters.read(), b.parameters);
    EXPECT_EQ(first.read(), b.first);
    EXPECT_EQ(second.read(), b.second);
    EXPECT_EQ(gradient.read(), std::vector<float>(kSize, 0.0f));
  }
};

void expect_updated(const Placed& placed, Blocks b, const UpdateArguments& a) {
  const std::vector<float> w = placed.parameters.read(), m = placed.first.read(),
                           v = placed.second.read();
  const auto near = [](float found, float wanted, float change) {
    return std::abs(found - wanted) <= 1e-6f * std::abs(change) + 1.2e-7f * std::abs(wanted);
  };
  for (std::size_t i = 0; i < w.size(); ++i) {
    const bool encoder = static_cast<std::int64_t>(i) < kDecoder;
    if (encoder && a.skip_untouched && b.gradient[i] == 0) {
      ASSERT_EQ(w[i], b.parameters[i]);
      ASSERT_EQ(m[i], b.first[i]);
      ASSERT_EQ(v[i], b.second[i]);
      continue;
    }
    const float before = b.parameters[i];
    visit_optimizer(a.kind, [&]<class O>(const O&) {
      O::apply(encoder ? a.encoder : a.decoder, b.gradient[i], b.parameters[i], b.first[i],
               b.second[i]);
    });
    ASSERT_TRUE(near(w[i], b.parameters[i], b.parameters[i] - before)) << i << " " << w[i];
    ASSERT_TRUE(near(m[i], b.first[i], b.first[i])) << i << " " << m[i];
    ASSERT_TRUE(near(v[i], b.second[i], b.second[i])) << i << " " << v[i];
  }
  EXPECT_EQ(placed.gradient.read(), std::vector<float>(kSize, 0.0f));
  EXPECT_EQ(placed.not_finite.read()[0], 0u);
  emulator::check_guards();
}

TEST(CudaUpdate, DoesWhatTheOptimizerDoes) {
  const Blocks blocks;
  for (const Optimizer& optimizer :
       {Optimizer{Adam{}}, Optimizer{AdamW{}}, Optimizer{Lion{}}, Optimizer{Sgd{{}, 0.9f, true}}})
    for (const bool skip : {true, false}) {
      const Placed placed(blocks);
      UpdateArguments a = placed.arguments(optimizer);
      a.skip_untouched = skip;
      update(a, nullptr);
      expect_updated(placed, blocks, a);
    }
}

TEST(CudaUpdate, TakesTheStepUnderWay) {
  const Blocks blocks;
  const Placed placed(blocks);
  UpdateArguments a = placed.arguments();
  StepState state;
  state.index = 1;
  state.steps[1].encoder = Adam{}.at(3e-2, 9);
  state.steps[1].decoder = Adam{}.at(2e-3, 9);
  const OnDevice<StepState> there(std::vector<StepState>{state});
  a.state = there.data();
  update(a, nullptr);
  a.encoder = state.steps[1].encoder;
  a.decoder = state.steps[1].decoder;
  expect_updated(placed, blocks, a);
}

TEST(CudaUpdate, LeavesOutAStepThatOverflowedOrBroke) {
  for (const bool overflow : {true, false}) {
    Blocks blocks;
    blocks.gradient[5] = std::numeric_limits<float>::infinity();
    const Placed placed(blocks);
    UpdateArguments a = placed.arguments();
    StepState state;
    (overflow ? state.overflow : state.broken) = 1;
    const OnDevice<StepState> there(std::vector<StepState>{state});
    a.state = there.data();
    a.copy = placed.copy.data();
    update(a, nullptr);
    placed.expect_unchanged(blocks);
    EXPECT_EQ(placed.not_finite.read()[0], 0u);
    EXPECT_EQ(placed.copy.read(), std::vector<std::uint16_t>(kDecoder, 0xabcd));
  }
}

TEST(CudaUpdate, FlagsWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
    for (const std::size_t at : {std::size_t{2}, std::size_t{kSize - 1}}) {
      Blocks blocks;
      blocks.gradient[at] = bad;
      const Placed placed(blocks);
      update(placed.arguments(), nullptr);
      EXPECT_EQ(placed.not_finite.read()[0], 1u);
      EXPECT_EQ(placed.gradient.read(), std::vector<float>(kSize, 0.0f));
    }
}

TEST(CudaUpdate, WritesTheCopyOfWhatItTouches) {
  for (const Precision type : {Precision::fp16, Precision::bf16}) {
    const auto round = type == Precision::fp16 ? test::half_word : test::bfloat_word;
    const Blocks blocks;
    const Placed placed(blocks);
    copy_table(placed.parameters.data(), kDecoder, type, placed.copy.data(), nullptr);
    std::vector<std::uint16_t> wanted;
    for (std::size_t i = 0; i < kDecoder; ++i) wanted.push_back(round(blocks.parameters[i]));
    EXPECT_EQ(placed.copy.read(), wanted);
    UpdateArguments a = placed.arguments();
    a.copy = placed.copy.data();
    a.copy_type = type;
    update(a, nullptr);
    const std::vector<float> parameters = placed.parameters.read();
    for (std::size_t i = 0; i < kDecoder; ++i) wanted[i] = round(parameters[i]);
    EXPECT_EQ(placed.copy.read(), wanted);
    emulator::check_guards();
  }
}

TEST(CudaUpdate, ChecksABlock) {
  std::vector<float> numbers(1000, std::numeric_limits<float>::max());
  const OnDevice<unsigned> flag(std::size_t{1});
  check_finite(OnDevice<float>(numbers).data(), 1000, flag.data(), nullptr);
  EXPECT_EQ(flag.read()[0], 0u);
  numbers[999] = std::numeric_limits<float>::quiet_NaN();
  check_finite(OnDevice<float>(numbers).data(), 996, flag.data(), nullptr);
  EXPECT_EQ(flag.read()[0], 0u);
  check_finite(OnDevice<float>(numbers).data(), 1000, flag.data(), nullptr);
  EXPECT_EQ(flag.read()[0], 1u);
}

}  // namespace
}  // namespace kanbench::cuda
