// The compressors of this build, and which there are.

#include "baseline_codecs.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "decimal.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/process.h"
#include "kanbench/zfp.h"
#include "kanbench/zstd.h"

namespace kanbench {
namespace {

// Fixed accuracy, which is best for the bytes it takes; whole numbers are floats.
class Zfp : public Codec {
 public:
  explicit Zfp(const Volume& component)
      : shape_(component.shape),
        dtype_(floating(component.dtype)),
        voxels_(to_floating(component)) {}
  // A tolerance acts through its power of two.
  double finest() const override { return 1; }
  std::vector<std::byte> compress(double bound) override {
    return zfp_compress_volume(voxels_.data(), shape_, dtype_ == Dtype::float64, bound);
  }
  Decompressed decompress(std::span<const std::byte> stream) override {
    Decompressed back{dtype_, std::vector<std::byte>(voxels_.size())};
    zfp_decompress_volume(stream, shape_, dtype_ == Dtype::float64, back.voxels.data());
    return back;
  }
  std::string mode(double bound) const override {
    return "fixed accuracy " + decimal(std::exp2(std::floor(std::log2(bound))));
  }

 private:
  Shape shape_;
  Dtype dtype_;
  std::vector<std::byte> voxels_;
};

// The voxels as they are, those of several bytes with their first bytes first.
class Zstd : public Codec {
 public:
  explicit Zstd(const Volume& component) : component_(component) {}
  bool lossless() const override { return true; }
  std::vector<std::byte> compress(double) override {
    const std::size_t size = size_of(component_.dtype), count = component_.bytes() / size;
    const auto* voxels = static_cast<const std::byte*>(component_.data());
    if (size == 1) return zstd_compress({voxels, count}, level());
    std::vector<std::byte> planes(component_.bytes());
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t plane = 0; plane < size; ++plane)
        planes[plane * count + i] = voxels[i * size + plane];
    return zstd_compress(planes, level());
  }
  Decompressed decompress(std::span<const std::byte> stream) override {
    const std::size_t size = size_of(component_.dtype), count = component_.bytes() / size;
    Decompressed back{component_.dtype, std::vector<std::byte>(component_.bytes())};
    if (size == 1) {
      zstd_decompress(stream, back.voxels, "Zstandard");
      return back;
    }
    std::vector<std::byte> planes(component_.bytes());
    zstd_decompress(stream, planes, "Zstandard");
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t plane = 0; plane < size; ++plane)
        back.voxels[i * size + plane] = planes[plane * count + i];
    return back;
  }
  std::string mode(double) const override {
    return "lossless level " + std::to_string(level()) +
           (size_of(component_.dtype) > 1 ? " bytes in planes" : "");
  }

 private:
  // The best level takes a minute for every 200 MB.
  int level() const { return component_.bytes() <= std::size_t{64} << 20 ? 19 : 9; }
  const Volume& component_;
};

std::string variable_of(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return "KANBENCH_" + name;
}

// The program that was named, by an option or the environment; or the one in PATH.
std::string find_baseline(const std::string& name, const std::string& named) {
  const char* set = std::getenv(variable_of(name).c_str());
  const std::string wanted = !named.empty() ? named : set && *set ? set : default_program(name);
  const std::string found = find_program(wanted);
  if (!found.empty()) return found;
  throw Error("--baselines " + name + ": there is no program " + quote(wanted) +
              (named.empty() && !(set && *set) ? " in PATH" : "") + ": install it, name it as " +
              name + "=/path/to/" + default_program(name) + " or in the environment's " +
              variable_of(name) + ", or leave " + name + " out");
}

}  // namespace

Dtype floating(Dtype dtype) {
  const bool wide = dtype != Dtype::float32 && size_of(dtype) > 2;
  return wide ? Dtype::float64 : Dtype::float32;
}

std::vector<std::byte> to_floating(const Volume& component) {
  const auto count = static_cast<std::size_t>(component.shape.count());
  const Dtype dtype = floating(component.dtype);
  std::vector<std::byte> floats(count * size_of(dtype));
  visit(component.dtype, [&](auto zero) {
    const auto* voxels = static_cast<const decltype(zero)*>(component.data());
    if (dtype == Dtype::float32)
      std::transform(voxels, voxels + count, reinterpret_cast<float*>(floats.data()),
                     [](auto voxel) { return static_cast<float>(voxel); });
    else
      std::transform(voxels, voxels + count, reinterpret_cast<double*>(floats.data()),
                     [](auto voxel) { return static_cast<double>(voxel); });
  });
  return floats;
}

std::vector<std::string> baseline_names() {
  std::vector<std::string> names{"zfp", "zstd"};
  for (std::string& name : program_names()) names.push_back(std::move(name));
  return names;
}

Baseline parse_baseline(const std::string& word) {
  const std::size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const std::string named = equals == word.npos ? "" : word.substr(equals + 1);
  const std::vector<std::string> names = baseline_names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw Error("--baselines " + quote(name) + ": unknown" + nearest(name, names) +
                " (known: " + join(names) + ")");
  const bool built_in = name == "zfp" || name == "zstd";
  if (built_in && equals != word.npos)
    throw Error("--baselines " + quote(word) + ": " + name +
                " is part of this program: name no other");
  if (!built_in) return {name, find_baseline(name, named)};
  name == "zfp" ? require_zfp() : require_zstd();
  return {name, ""};
}

std::unique_ptr<Codec> open_codec(const Baseline& baseline, const Volume& component,
                                  const std::filesystem::path& directory) {
  if (baseline.name == "zfp") return std::make_unique<Zfp>(component);
  if (baseline.name == "zstd") return std::make_unique<Zstd>(component);
  return open_program(baseline, component, directory);
}

}  // namespace kanbench
