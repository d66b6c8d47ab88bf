// Voxels without a value, and what they are filled with.

#include "missing.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kanbench/benchmark.h"
#include "kanbench/error.h"
#include "nearest_value.h"
#include "volume_files.h"

namespace kanbench {
namespace {

using test::contains;
using test::message_of;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
StoredVolume stored(const std::vector<T>& voxels, Shape shape, Dtype dtype, int components = 1) {
  StoredVolume volume;
  volume.header.shape = shape;
  volume.header.dtype = dtype;
  volume.header.components = components;
  const auto owner = std::make_shared<std::vector<T>>(voxels);
  volume.voxels = {owner, owner->data()};
  return volume;
}

template <class T>
std::vector<T> voxels_of(const StoredVolume& volume) {
  const auto* voxels = static_cast<const T*>(volume.voxels.get());
  return {voxels, voxels + volume.header.shape.count() * volume.header.components};
}

TEST(Missing, WordsReadBack) {
  for (const char* word : {"error", "nearest", "min", "max", "mean", "-1.5"})
    EXPECT_EQ(text(parse_missing(word, "--missing")), word);
  for (const char* word : {"", "nearst", "inf", "nan", "1x", "0x10"})
    EXPECT_TRUE(contains(message_of<Error>([&] { parse_missing(word, "--missing"); }), "--missing"))
        << word;
  EXPECT_TRUE(contains(message_of<Error>([] { parse_missing("nearst", "m"); }), "'nearest'"));
}

TEST(Missing, EachRuleFillsEachComponent) {
  const std::vector<float> voxels = {1, kNan, 3, 8, 10, 20, INFINITY, 60};
  const std::pair<const char*, std::vector<float>> cases[] = {
      {"min", {1, 1, 3, 8, 10, 20, 10, 60}},     {"max", {1, 8, 3, 8, 10, 20, 60, 60}},
      {"mean", {1, 4, 3, 8, 10, 20, 30, 60}},    {"-2", {1, -2, 3, 8, 10, 20, -2, 60}},
      {"nearest", {1, 1, 3, 8, 10, 20, 20, 60}},
  };
  for (const auto& [word, expected] : cases) {
    StoredVolume volume = stored(voxels, {4, 1, 1}, Dtype::float32, 2);
    EXPECT_EQ(fill_missing(volume, parse_missing(word, "--missing"), "f"), 2) << word;
    EXPECT_EQ(voxels_of<float>(volume), expected) << word;
  }
}

TEST(Missing, ErrorsSayWhere) {
  StoredVolume volume = stored<std::int64_t>({5, 6, 7, 8}, {2, 2, 1}, Dtype::int64);
  EXPECT_EQ(fill_missing(volume, {}, "f"), 0);
  // Not of 53 bits: marks are compared as they are.
  for (const std::int64_t mark : {std::int64_t{7}, (std::int64_t{1} << 60) + 1}) {
    volume.fills.emplace_back();
    std::memcpy(volume.fills.back().data(), &mark, sizeof mark);
  }
  const std::string message = message_of<Error>([&] { fill_missing(volume, {}, "f"); });
  EXPECT_TRUE(contains(message, "f: 1 of 4")) << message;
  EXPECT_TRUE(contains(message, "(0, 1, 0)")) << message;
  EXPECT_TRUE(contains(
      message_of<Error>([&] { fill_missing(volume, parse_missing("0.5", "-"), "f"); }), "int64"));
  StoredVolume none = stored<float>({kNan, kNan}, {2, 1, 1}, Dtype::float32);
  EXPECT_TRUE(contains(
      message_of<Error>([&] { fill_missing(none, parse_missing("mean", "-"), "f"); }), "2 of 2"));
  EXPECT_TRUE(contains(
      message_of<Error>([&] { fill_missing(none, parse_missing("1e300", "-"), "f"); }), "float32"));
}

TEST(Missing, NearestIsExact) {
  for (const Shape shape : {Shape{9, 7, 5}, Shape{1, 6, 8}, Shape{12, 1, 1}, Shape{3, 3, 3}}) {
    const auto has = [](std::int64_t i) { return i % 11 == 3 || i % 23 == 5; };
    if (shape.count() < 4) continue;
    const std::vector<std::int64_t> nearest = nearest_voxels(shape, has);
    const auto distance = [&](std::int64_t a, std::int64_t b) {
      const std::int64_t x = a % shape.x - b % shape.x,
                         y = a / shape.x % shape.y - b / shape.x % shape.y;
      const std::int64_t z = a / shape.x / shape.y - b / shape.x / shape.y;
      return x * x + y * y + z * z;
    };
    for (std::int64_t i = 0; i < shape.count(); ++i) {
      std::int64_t least = std::numeric_limits<std::int64_t>::max();
      for (std::int64_t j = 0; j < shape.count(); ++j)
        if (has(j)) least = std::min(least, distance(i, j));
      const std::int64_t found = nearest[static_cast<std::size_t>(i)];
      ASSERT_TRUE(found >= 0 && has(found));
      EXPECT_EQ(distance(i, found), least) << i;
    }
  }
}

TEST(Missing, FilledVolumesAreOtherVolumes) {
  const auto path = test::golden_volume("classic.nc");
  std::vector<std::string> signatures;
  try {
    for (const char* word : {"min", "max", "nearest", "mean"})
      signatures.push_back(volume_signature(open_volume(path, parse_missing(word, "--missing"))));
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  for (std::size_t i = 0; i < signatures.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(signatures[i], signatures[j]);
}

}  // namespace
}  // namespace kanbench
