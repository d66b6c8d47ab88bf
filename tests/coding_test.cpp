// Numbers rounded to steps and halves, and the block that they are packed into.

#include "kanbench/coding.h"

#include <cmath>
#include <limits>
#include <random>

#include "coded_block.h"
#include "kanbench/error.h"
#include "kanbench/zstd.h"
#include "support.h"

namespace kanbench {
namespace {

using test::message_of;

std::vector<float> normal_numbers(std::size_t count, double scale, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> draw(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(draw(random));
  return values;
}

std::vector<float> there_and_back(const std::vector<float>& values, std::int64_t rows,
                                  std::int64_t columns, const Coding& coding) {
  std::vector<float> back(values.size());
  decode(encode(values, rows, columns, coding), rows, columns, back);
  return back;
}

double largest_error(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(double{a[i]} - b[i]));
  return largest;
}

TEST(Half, IsEveryHalfAndNearestToTheRest) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = from_half(static_cast<std::uint16_t>(bits));
    if (std::isnan(value))
      EXPECT_TRUE(std::isnan(from_half(to_half(value)))) << bits;
    else
      EXPECT_EQ(to_half(value), bits);
  }
  // Between neighbours to the nearer, in the middle to the even one.
  for (std::uint16_t bits : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{0x3ff},
                             std::uint16_t{0x400}, std::uint16_t{0x3c00}, std::uint16_t{0x7bfe}}) {
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const double low = from_half(bits), high = from_half(next), middle = (low + high) / 2;
    EXPECT_EQ(to_half(static_cast<float>(middle)), bits % 2 ? next : bits) << bits;
    EXPECT_EQ(to_half(std::nextafter(static_cast<float>(middle), 0.0f)), bits) << bits;
    EXPECT_EQ(to_half(std::nextafter(static_cast<float>(middle), 1e9f)), next) << bits;
  }
  EXPECT_EQ(from_half(to_half(65519.0f)), 65504);
  EXPECT_TRUE(std::isinf(from_half(to_half(65520.0f))));
  EXPECT_EQ(to_half(1e-30f), 0);
}

TEST(Coding, StepsAreOffByHalfAStepAtMostAndKeepZero) {
  const std::vector<float> values = normal_numbers(1000, 3);
  for (const double step : {0.5, 0.01, 1e-3}) {
    const std::vector<float> back = there_and_back(values, 100, 10, {Coding::Kind::steps, step, 0});
    EXPECT_LE(largest_error(values, back), 0.505 * step);
    EXPECT_GT(largest_error(values, back), 0.4 * step);
  }
  std::vector<float> sparse(512, 0.0f);
  sparse[7] = 1.7f;
  sparse[9] = -0.3f;
  EXPECT_EQ(there_and_back(sparse, 512, 0, {Coding::Kind::steps, 0, 0})[0], 0);
}

TEST(Coding, WhatCannotBeRoundedStaysAsItIs) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float most = std::numeric_limits<float>::max();
  for (const std::vector<float>& values :
       {std::vector<float>{1, 2, 3, 4e9f}, std::vector<float>{1e9f, 1e9f + 64, 1e9f, 1e9f}}) {
    EXPECT_EQ(there_and_back(values, 4, 0, {Coding::Kind::steps, 1e-7, 0}), values);
    EXPECT_EQ(encode(values, 4, 0, {Coding::Kind::steps, 1e-7, 0}).kind, Coding::Kind::floats);
  }
  const std::vector<float> denormal{tiny, 0, 3 * tiny, -tiny};
  EXPECT_EQ(there_and_back(denormal, 4, 0, {Coding::Kind::steps, 0, 0}), denormal);
  EXPECT_EQ(there_and_back({70000, 1}, 2, 0, {Coding::Kind::halves}),
            (std::vector<float>{70000, 1}));
  EXPECT_EQ(there_and_back({0.25f, 0.25f}, 1, 2, {Coding::Kind::steps}),
            (std::vector<float>{0.25f, 0.25f}));
  EXPECT_EQ(there_and_back({}, 0, 0, {Coding::Kind::steps}), std::vector<float>());
  const std::vector<float> wide = there_and_back({-most, 0, most}, 3, 0, {Coding::Kind::steps});
  EXPECT_LE(largest_error(wide, {-most, 0, most}), 0.51 * double{most} / 127);
}

TEST(Coding, BlocksAreTakenWhereRowsDiffer) {
  std::vector<float> alike = normal_numbers(4096, 1), apart = alike;
  for (std::size_t i = 0; i < apart.size(); ++i) apart[i] *= i < 3840 ? 1.0f : 100.0f;
  EXPECT_EQ(choose_int8(alike, 64, 64).block_rows, 0);
  const Coding chosen = choose_int8(apart, 64, 64);
  EXPECT_GT(chosen.block_rows, 0);
  const std::vector<float> back = there_and_back(apart, 64, 64, chosen);
  for (std::size_t i = 0; i < 3840; ++i) EXPECT_NEAR(back[i], apart[i], 0.02);
}

// Three tensors in the forms that are most apart.
struct Packed {
  std::vector<Slice> slices{{"a", 0, 300, 2}, {"b", 608, 5, 0}, {"c", 624, 40, 3}};
  std::vector<CodedTensor> tensors;
  Packed() {
    const std::vector<float> a = normal_numbers(600, 1), b = normal_numbers(5, 1e-3),
                             c = normal_numbers(120, 10);
    tensors = {{&slices[0], encode(a, 300, 2, {Coding::Kind::steps, 0, 128})},
               {&slices[1], encode(b, 5, 0, {})},
               {&slices[2], encode(c, 40, 3, {Coding::Kind::steps, 1e-3, 0})}};
  }
};

TEST(CodedBlock, ComesBack) {
  const Packed packed;
  const CodedBlock block = write_coded(packed.tensors);
  EXPECT_STREQ(form_of(packed.tensors[0].coded), "q8");
  EXPECT_STREQ(form_of(packed.tensors[1].coded), "f32");
  EXPECT_STREQ(form_of(packed.tensors[2].coded), "q16");
  CodedReader reader(block.bytes, block.content, packed.slices, "m");
  for (const CodedTensor& one : packed.tensors) {
    const Coded back = reader.next();
    EXPECT_EQ(back.kind, one.coded.kind);
    EXPECT_EQ(back.block_rows, one.coded.block_rows);
    EXPECT_EQ(back.scales, one.coded.scales);
    EXPECT_EQ(back.offsets, one.coded.offsets);
    EXPECT_EQ(back.codes, one.coded.codes);
    EXPECT_EQ(back.floats, one.coded.floats);
  }
}

// A block with this content, for these tensors.
std::string refusal(const std::string& content, std::vector<Slice> slices,
                    std::size_t claimed = 0) {
  const std::vector<std::byte> frame = zstd_compress(std::as_bytes(std::span(content)));
  const std::string message = message_of<Error>([&] {
    CodedReader(frame, claimed ? claimed : content.size(), std::move(slices), "m.safetensors");
  });
  EXPECT_EQ(message.rfind("m.safetensors: ", 0), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CodedBlock, RefusesWhatIsNone) {
  const std::vector<Slice> one{{"a", 0, 4, 0}};
  EXPECT_TRUE(contains(refusal("a 4 0 q9 0\n\n1234", one), "unknown way 'q9'"));
  EXPECT_TRUE(contains(refusal("b 4 0 q8 0\n\n1234", one), "expected 'a 4 0 '"));
  EXPECT_TRUE(contains(refusal("a 5 0 q8 0\n\n1234", one), "expected 'a 4 0 '"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 -1\n\n1234", one), "rows"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 5\n\n1234", one), "rows"));
  EXPECT_TRUE(contains(refusal("a 4 0 f32 2\n\n1234", one), "rows"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8\n\n1234", one), "rows"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 0\n\n1234", one), "expected 12 bytes"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 0\na 4 0 q8 0\n\n1234", one), "more lines"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 0", one), "missing in the index"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 0\n\n123456781234", one, 27), "expected"));
  EXPECT_TRUE(contains(refusal("a 4 0 q8 0\n\n1234", one, 1'000'000'000), "are possible"));
}

TEST(CodedBlock, TakesNoMemoryForWhatAFrameClaims) {
  const std::string zeros(std::size_t{1} << 26, '\0');
  const std::vector<std::byte> frame = zstd_compress(std::as_bytes(std::span(zeros)), 1);
  EXPECT_LT(frame.size(), 16384u);
  const std::vector<Slice> one{{"a", 0, 4, 0}};
  const auto read = [&](std::size_t content) { CodedReader(frame, content, one, "m"); };
  EXPECT_TRUE(contains(message_of<Error>([&] { read(zeros.size()); }), "are possible"));
  EXPECT_TRUE(contains(message_of<Error>([&] { read(30); }), "does not give its 30 bytes"));
}

}  // namespace
}  // namespace kanbench
