// Lattices that were decoded, on every backend: bricks blended into one, voxels, slices measured.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "support.h"

namespace kanbench {
namespace {

using namespace test;

// Weights of a part: those along x, then y, then z.
std::vector<float> make_weights(const Shape& n, std::uint64_t seed) {
  std::vector<float> weights;
  const Stream stream{seed, 3};
  for (std::int64_t i = 0; i < n.x + n.y + n.z; ++i)
    weights.push_back(unit_float(stream.words(static_cast<std::uint64_t>(i)).v[0]));
  return weights;
}

template <class T>
Buffer<T> place(Backend& backend, const std::vector<T>& numbers) {
  Buffer<T> buffer(backend, static_cast<std::int64_t>(numbers.size()));
  backend.upload(buffer.data(), numbers.data(), buffer.bytes());
  return buffer;
}

TEST(Lattices, BlendsAsThePlainLoops) {
  const Box whole{{4, 10, 2}, {25, 29, 13}};
  const std::vector<Box> parts = {
      {{4, 10, 2}, {15, 20, 8}}, {{13, 18, 6}, {25, 29, 13}}, {{5, 11, 3}, {6, 12, 4}}, whole};
  for (const auto& backend : all_backends()) {
    std::vector<double> want(static_cast<std::size_t>(whole.shape().count()));
    Buffer<float> out(*backend, whole.shape().count());
    std::uint64_t seed = 0;
    for (const Box& part : parts)
      for (const bool zeros : {false, true}) {
        const Shape n = part.shape(), all = whole.shape();
        const float low = -3.5f + static_cast<float>(seed), range = 7.25f;
        const std::vector<float> weights = make_weights(n, ++seed);
        std::vector<float> values;
        for (std::int64_t i = 0; i < n.count(); ++i)
          values.push_back(2 * unit_float(Stream{seed, 4}.words(i).v[1]) - 0.5f);
        const Buffer<float> there = place(*backend, values), by = place(*backend, weights);
        backend->blend(zeros ? nullptr : there.data(), {by.data(), part, whole}, low, range,
                       out.data());
        for (std::int64_t z = 0; z < n.z; ++z)
          for (std::int64_t y = 0; y < n.y; ++y)
            for (std::int64_t x = 0; x < n.x; ++x) {
              const double value =
                  zeros ? 0.0 : std::clamp(values[(z * n.y + y) * n.x + x], 0.0f, 1.0f);
              const std::int64_t at =
                  ((part.low[2] - whole.low[2] + z) * all.y + part.low[1] - whole.low[1] + y) *
                      all.x +
                  part.low[0] - whole.low[0] + x;
              want[at] +=
                  (low + range * value) * weights[x] * weights[n.x + y] * weights[n.x + n.y + z];
            }
      }
    const std::vector<float> got = download(out, *backend);
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 2e-5) << backend->name() << " " << i;
  }
}

// Whether the values that it writes over are any good is for the metrics to say.
TEST(Lattices, BlendsNoNumberAwayThatIsNone) {
  const Box box{{0, 0, 0}, {9, 1, 1}};
  for (const auto& backend : all_backends())
    for (const float bad : {std::nanf(""), -std::nanf("")}) {
      const Buffer<float> values = place(*backend, std::vector<float>(9, bad));
      const Buffer<float> weights = place(*backend, std::vector<float>(11, 1.0f));
      const Buffer<float> out(*backend, 9);
      backend->blend(values.data(), {weights.data(), box, box}, 1, 2, out.data());
      for (const float value : download(out, *backend))
        EXPECT_TRUE(std::isnan(value)) << backend->name();
      const float far = std::numeric_limits<float>::infinity();
      const Buffer<float> high = place(*backend, std::vector<float>(9, far));
      const Buffer<float> sums(*backend, 9);
      backend->blend(high.data(), {weights.data(), box, box}, 1, 2, sums.data());
      EXPECT_EQ(download(sums, *backend), std::vector<float>(9, 3.0f)) << backend->name();
    }
}

TEST(Lattices, QuantisesAsItDecodes) {
  const Case c{"mlp", chain(encoder::HashGrid{5, 2, 9, 4, 1.6}, {16, 16, 1}, basis::Identity{},
                            basis::Relu{}, false, false)};
  const Lattice lattice{{40, 31, 17}, {{3, 0, 5}, {40, 29, 17}}};
  const std::int64_t count = lattice.box.shape().count();
  for (const auto& backend : all_backends()) {
    Model model(*backend, c.spec);
    std::vector<float> block = block_of(c.spec, 4);
    // Values on both sides of what is held.
    for (float& number : block) number *= 1.7f;
    model.upload(block);
    Buffer<float> values(*backend, count);
    for (const Dtype dtype :
         {Dtype::uint8, Dtype::int8, Dtype::uint16, Dtype::int16, Dtype::uint32, Dtype::int32,
          Dtype::uint64, Dtype::int64, Dtype::float32, Dtype::float64}) {
      const auto bytes = count * static_cast<std::int64_t>(size_of(dtype));
      const Buffer<std::byte> decoded(*backend, bytes), quantised(*backend, bytes);
      Decoded out{values.data(), decoded.data(), dtype, -20.5, 100.25};
      backend->decode(model, lattice, out);
      out.voxels = quantised.data();
      backend->quantise(values.data(), count, out);
      std::vector<std::byte> want(static_cast<std::size_t>(bytes)), got(want.size());
      backend->download(want.data(), decoded.data(), want.size());
      backend->download(got.data(), quantised.data(), got.size());
      EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size()), 0)
          << backend->name() << ", " << name(dtype);
    }
  }
}

Volume waves(const Shape& shape) {
  auto voxels = std::make_shared<std::vector<float>>();
  for (std::int64_t i = 0; i < shape.count(); ++i)
    voxels->push_back(std::sin(0.05f * static_cast<float>(i % 977)));
  return Volume("waves", shape, Dtype::float32, std::shared_ptr<const void>(voxels, voxels->data()),
                "a test");
}

MetricSums measure(Backend& backend, const Volume& volume, const std::vector<float>& values,
                   Range slices) {
  const auto meter = backend.open_meter(volume, volume.low, volume.high, slices);
  const std::int64_t slice = volume.shape.x * volume.shape.y;
  const Range all = with_halo(slices, volume.shape);
  for (std::int64_t z = all.begin; z < all.end; z += 3) {
    const std::int64_t count = std::min<std::int64_t>(3, all.end - z);
    const std::vector<float> part(values.begin() + z * slice, values.begin() + (z + count) * slice);
    const Buffer<float> there = place(backend, part);
    meter->add(count, there.data());
  }
  return meter->sums();
}

TEST(Lattices, SumsOverSlicesMakeUpTheWhole) {
  for (const auto& backend : all_backends())
    for (const Shape& shape : {Shape{19, 23, 29}, Shape{13, 9, 12}, Shape{12, 14, 6}}) {
      const Volume volume = waves(shape);
      std::vector<float> values;
      const Stream stream{1, 2};
      for (std::int64_t i = 0; i < shape.count(); ++i)
        values.push_back(0.5f + 0.4f * std::sin(0.05f * static_cast<float>(i % 977)) +
                         0.1f * unit_float(stream.words(static_cast<std::uint64_t>(i)).v[0]));
      const MetricSums whole = measure(*backend, volume, values, {0, shape.z});
      for (const std::int64_t parts : {2, 3, 5}) {
        MetricSums all;
        for (std::int64_t k = 0; k < parts; ++k) {
          const MetricSums part =
              measure(*backend, volume, values, {shape.z * k / parts, shape.z * (k + 1) / parts});
          all.squared_error += part.squared_error;
          all.ssim += part.ssim;
          all.ssim_3d += part.ssim_3d;
          all.max_error = std::max(all.max_error, part.max_error);
          all.finite &= part.finite;
        }
        const std::string where =
            backend->name() + ", " + text(shape) + " in " + std::to_string(parts);
        EXPECT_TRUE(all.finite) << where;
        EXPECT_EQ(all.max_error, whole.max_error) << where;
        EXPECT_NEAR(all.squared_error, whole.squared_error, 1e-12 * whole.squared_error) << where;
        const Metrics a = metrics_of(all, shape), b = metrics_of(whole, shape);
        EXPECT_NEAR(a.ssim, b.ssim, 1e-6) << where;
        EXPECT_NEAR(a.ssim_3d, b.ssim_3d, 1e-6) << where;
      }
    }
}

TEST(Lattices, FetchesWhatIsThere) {
  for (const auto& backend : all_backends()) {
    std::vector<float> numbers(5000);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
    const Buffer<float> there = place(*backend, numbers);
    auto* host = static_cast<float*>(backend->allocate_host(there.bytes()));
    const std::int64_t number = backend->begin_fetch(host, there.data(), there.bytes());
    backend->finish_fetch(number);
    EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(), host)) << backend->name();
    backend->release_host(host);
  }
}

}  // namespace
}  // namespace kanbench
