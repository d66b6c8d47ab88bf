#include "kanbench/model_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <system_error>

#include "coded_block.h"
#include "decimal.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/safetensors.h"
#include "kanbench/zfp.h"

namespace kanbench {
namespace {

constexpr const char* kFormat = "kanbench";
constexpr const char* kVersion = "1";
constexpr const char* kZfpPrefix = "zfp.";
constexpr const char* kCoded = "coded";

using Metadata = std::map<std::string, std::string>;

std::vector<std::int64_t> tensor_shape(const Slice& slice) {
  if (slice.columns == 0) return {slice.rows};
  return {slice.rows, slice.columns};
}

std::string text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> extents;
  for (const std::int64_t extent : shape) extents.push_back(std::to_string(extent));
  return "[" + join(extents) + "]";
}

std::string text(const std::array<double, 3>& numbers) {
  return decimal(numbers[0]) + " " + decimal(numbers[1]) + " " + decimal(numbers[2]);
}

double tolerance_of(const ModelFile& file, const Slice& slice) {
  if (slice.exact) return 0;
  return slice.encoder ? file.zfp_enc : file.zfp_mlp;
}

std::span<const float> numbers_of(const ModelFile& file, const Slice& slice) {
  const std::span<const float> values(file.parameters.data() + slice.offset,
                                      static_cast<std::size_t>(slice.size()));
  for (const float value : values)
    check(std::isfinite(value), "a model to be stored has a parameter that is not finite");
  return values;
}

// As ZFP where that is asked for, possible and smaller; else the floats as they are.
Tensor encode_tensor(const ModelFile& file, const Slice& slice, Metadata& metadata) {
  const std::span<const float> values = numbers_of(file, slice);
  Tensor tensor{slice.name, "F32", tensor_shape(slice), {}};
  if (const double tolerance = tolerance_of(file, slice); tolerance > 0) {
    tensor.data = zfp_compress(values, slice.rows, slice.columns, tolerance);
    if (!tensor.data.empty() && tensor.data.size() < values.size_bytes()) {
      metadata[kZfpPrefix + slice.name] = text(tensor.shape);
      tensor.dtype = "U8";
      tensor.shape = {static_cast<std::int64_t>(tensor.data.size())};
      return tensor;
    }
  }
  const auto bytes = std::as_bytes(values);
  tensor.data.assign(bytes.begin(), bytes.end());
  return tensor;
}

// All that may be coded, as one tensor; the others' floats.
void encode_coded(const ModelFile& file, const Layout& layout, Safetensors& container) {
  check(file.codings.size() == layout.slices.size(), "codings of other tensors");
  std::vector<CodedTensor> coded;
  for (std::size_t i = 0; i < layout.slices.size(); ++i) {
    const Slice& slice = layout.slices[i];
    if (slice.exact)
      container.tensors.push_back(encode_tensor(file, slice, container.metadata));
    else
      coded.push_back(
          {&slice, encode(numbers_of(file, slice), slice.rows, slice.columns, file.codings[i])});
  }
  CodedBlock block = write_coded(coded);
  container.metadata[kCoded] = std::to_string(block.content);
  const auto bytes = static_cast<std::int64_t>(block.bytes.size());
  container.tensors.push_back({kCoded, "U8", {bytes}, std::move(block.bytes)});
}

const std::string& get(const Metadata& metadata, const std::string& key,
                       const std::string& source) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) throw Error(source + ": its metadata has no '" + key + "'");
  return found->second;
}

double parse_number(std::string_view word, const std::string& key, const std::string& source) {
  double value = 0;
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (failure != std::errc{} || end != word.data() + word.size() || !std::isfinite(value))
    throw Error(source + ": metadata '" + key + "': " + quote(word) + " is not a finite number");
  return value;
}

std::array<double, 3> parse_three(const std::string& words, const std::string& key,
                                  const std::string& source) {
  std::array<double, 3> numbers;
  std::size_t begin = 0;
  for (int axis = 0; axis < 3; ++axis) {
    const std::size_t end =
        axis == 2 ? words.size() : std::min(words.find(' ', begin), words.size());
    numbers[static_cast<std::size_t>(axis)] =
        parse_number(std::string_view(words).substr(begin, end - begin), key, source);
    begin = std::min(end + 1, words.size());
  }
  return numbers;
}

std::array<double, 3> parse_spacing(const std::string& words, const std::string& source) {
  const std::array<double, 3> spacing = parse_three(words, "spacing", source);
  if (*std::min_element(spacing.begin(), spacing.end()) <= 0)
    throw Error(source + ": metadata 'spacing': " + quote(words) +
                " is not three numbers above zero");
  return spacing;
}

// One number for each output, a space between two.
std::vector<double> parse_ends(const Metadata& metadata, const std::string& key, int outputs,
                               const std::string& source) {
  const std::string& words = get(metadata, key, source);
  std::vector<double> ends;
  for (std::size_t begin = 0; begin <= words.size();) {
    const std::size_t end = std::min(words.find(' ', begin), words.size());
    ends.push_back(parse_number(std::string_view(words).substr(begin, end - begin), key, source));
    begin = end + 1;
  }
  if (static_cast<int>(ends.size()) != outputs)
    throw Error(source + ": metadata '" + key + "': " + quote(words) + " is " +
                std::to_string(ends.size()) + " numbers, the model has " + std::to_string(outputs) +
                " outputs");
  return ends;
}

std::vector<ValueRange> parse_ranges(const Metadata& metadata, int outputs,
                                     const std::string& source) {
  const std::vector<double> low = parse_ends(metadata, "low", outputs, source);
  const std::vector<double> high = parse_ends(metadata, "high", outputs, source);
  std::vector<ValueRange> ranges;
  for (std::size_t c = 0; c < low.size(); ++c) {
    if (!(low[c] < high[c]))
      throw Error(source + ": metadata 'low' " + decimal(low[c]) + " is not below 'high' " +
                  decimal(high[c]));
    ranges.push_back({low[c], high[c]});
  }
  return ranges;
}

// The lower or upper ends of all ranges, a space between two.
std::string ends_of(const ModelFile& file, std::size_t which) {
  std::string words;
  for (const ValueRange& range : file.ranges)
    words += (words.empty() ? "" : " ") + decimal(range[which]);
  return words;
}

double parse_tolerance(const Metadata& metadata, const std::string& key,
                       const std::string& source) {
  // Files of coded tensors have none.
  if (metadata.contains(kCoded) && !metadata.contains(key)) return 0;
  const double tolerance = parse_number(get(metadata, key, source), key, source);
  if (tolerance < 0)
    throw Error(source + ": metadata '" + key + "': " + decimal(tolerance) + " is below 0");
  return tolerance;
}

// Everything but the parameters.
ModelFile parse_metadata(const Metadata& metadata, const std::string& source) {
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != kFormat)
    throw Error(source + ": safetensors, but not a kanbench model: its metadata has no 'format' '" +
                std::string(kFormat) + "'");
  if (const std::string& version = get(metadata, "version", source); version != kVersion)
    throw Error(source + ": a model of version " + quote(version) + ": this kanbench reads '" +
                kVersion + "'");
  ModelFile file;
  file.spec = parse_model_spec(get(metadata, "model", source), source);
  file.dataset = get(metadata, "dataset", source);
  file.shape = parse_shape(get(metadata, "shape", source), source + ": metadata 'shape'");
  if (const std::string& word = get(metadata, "dtype", source); !parse_dtype(word, file.dtype))
    throw Error(source + ": metadata 'dtype': unknown dtype " + quote(word) + ": known are " +
                dtype_names());
  require_countable(file.shape, file.spec.outputs(), source + ": metadata 'shape'");
  file.ranges = parse_ranges(metadata, file.spec.outputs(), source);
  file.spacing = parse_spacing(get(metadata, "spacing", source), source);
  if (const auto origin = metadata.find("origin"); origin != metadata.end())
    file.origin = parse_three(origin->second, "origin", source);
  file.zfp_enc = parse_tolerance(metadata, "zfp_enc", source);
  file.zfp_mlp = parse_tolerance(metadata, "zfp_mlp", source);
  return file;
}

std::string at_tensor(const std::string& source, const std::string& name) {
  return source + ": tensor " + quote(name) + ": ";
}

// The file's tensors in the order of the slices: all there, no other.
std::vector<const Tensor*> match_tensors(const Safetensors& container, const Layout& layout,
                                         const std::string& source) {
  std::map<std::string, const Tensor*> by_name;
  for (const Tensor& tensor : container.tensors) by_name.emplace(tensor.name, &tensor);
  std::vector<const Tensor*> tensors;
  std::vector<std::string> names;
  for (const Slice& slice : layout.slices) {
    const auto found = by_name.find(slice.name);
    if (found == by_name.end())
      throw Error(at_tensor(source, slice.name) + "missing, its architecture has it");
    tensors.push_back(found->second);
    by_name.erase(found);
    names.push_back(slice.name);
  }
  if (!by_name.empty()) {
    const std::string& extra = by_name.begin()->first;
    throw Error(at_tensor(source, extra) + "its architecture has none of that name" +
                nearest(extra, names));
  }
  return tensors;
}

// Proves that the tensor can hold the slice, so that room for the slice may be made.
void check_tensor(const Tensor& tensor, const Slice& slice, const ModelFile& file,
                  const Metadata& metadata, const std::string& source) {
  const std::string expected = text(tensor_shape(slice));
  std::string dtype = tensor.dtype, shape = text(tensor.shape);
  if (dtype == "U8" && tolerance_of(file, slice) > 0) {
    shape = get(metadata, kZfpPrefix + slice.name, source);
    dtype = "F32";
    // A ZFP block of at most 16 numbers costs a bit at least.
    if (slice.size() / 128 > static_cast<std::int64_t>(tensor.data.size()))
      throw Error(at_tensor(source, slice.name) + "a ZFP stream of " +
                  std::to_string(tensor.data.size()) + " bytes is too short for " +
                  std::to_string(slice.size()) + " numbers");
  }
  if (dtype != "F32" || shape != expected)
    throw Error(at_tensor(source, slice.name) + "expected F32 " + expected + ", found " + dtype +
                " " + quote(shape));
}

void require_finite(std::span<const float> values, const Slice& slice, const std::string& source) {
  const auto bad = std::find_if_not(values.begin(), values.end(),
                                    [](float value) { return std::isfinite(value); });
  if (bad != values.end())
    throw Error(at_tensor(source, slice.name) + "number " + std::to_string(bad - values.begin()) +
                " is not finite: the model is damaged");
}

void decode_tensor(const Tensor& tensor, const Slice& slice, ModelFile& file,
                   const std::string& source) {
  const std::span<float> values(file.parameters.data() + slice.offset,
                                static_cast<std::size_t>(slice.size()));
  if (tensor.dtype == "U8")
    zfp_decompress(tensor.data, slice.rows, slice.columns, tolerance_of(file, slice), values,
                   at_tensor(source, slice.name) + "its values");
  else
    std::memcpy(values.data(), tensor.data.data(), values.size_bytes());
  require_finite(values, slice, source);
}

std::size_t parse_content(const Metadata& metadata, const std::string& source) {
  const std::string& word = get(metadata, kCoded, source);
  std::size_t bytes = 0;
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), bytes);
  if (failure != std::errc{} || end != word.data() + word.size())
    throw Error(source + ": metadata 'coded': " + quote(word) + " is not a number of bytes");
  return bytes;
}

// Those of the layout that are tensors of their own in a file of coded ones, and the one of those.
Layout visible_layout(const Layout& layout, const Tensor& coded, std::vector<Slice>& within) {
  Layout visible;
  for (const Slice& slice : layout.slices) (slice.exact ? visible.slices : within).push_back(slice);
  visible.slices.push_back({kCoded, 0, coded.shape.empty() ? 0 : coded.shape[0], 0, false, true});
  return visible;
}

void decode_coded(const Safetensors& container, const Layout& layout, ModelFile& file,
                  const std::string& source) {
  const Tensor* coded = container.find(kCoded);
  if (!coded || coded->dtype != "U8" || coded->shape.size() != 1)
    throw Error(at_tensor(source, kCoded) + "expected U8 and one extent, found " +
                (coded ? coded->dtype + " " + text(coded->shape) : "none"));
  std::vector<Slice> within;
  const Layout visible = visible_layout(layout, *coded, within);
  std::vector<const Tensor*> tensors = match_tensors(container, visible, source);
  tensors.pop_back();
  for (std::size_t i = 0; i < tensors.size(); ++i)
    check_tensor(*tensors[i], visible.slices[i], file, container.metadata, source);
  CodedReader reader(coded->data, parse_content(container.metadata, source), within, source);
  file.parameters.resize(static_cast<std::size_t>(layout.size));
  std::size_t exact = 0;
  for (const Slice& slice : layout.slices) {
    file.codings.emplace_back();
    if (slice.exact) {
      decode_tensor(*tensors[exact++], slice, file, source);
      continue;
    }
    const std::span<float> values(file.parameters.data() + slice.offset,
                                  static_cast<std::size_t>(slice.size()));
    const Coded found = reader.next();
    decode(found, slice.rows, slice.columns, values);
    require_finite(values, slice, source);
    file.codings.back() = {found.kind, found.scales.empty() ? 0.0 : double{found.scales[0]},
                           found.block_rows};
  }
}

}  // namespace

std::string encode_model(const ModelFile& file) {
  const Layout layout = make_layout(file.spec);
  check(static_cast<std::int64_t>(file.parameters.size()) == layout.size,
        "a block of another layout");
  check(static_cast<int>(file.ranges.size()) == file.spec.outputs(), "a range for each output");
  Safetensors container;
  container.metadata = {
      {"format", kFormat},       {"version", kVersion},       {"model", to_json(file.spec)},
      {"dataset", file.dataset}, {"shape", text(file.shape)}, {"dtype", name(file.dtype)},
      {"low", ends_of(file, 0)}, {"high", ends_of(file, 1)},  {"spacing", text(file.spacing)}};
  if (file.origin != std::array<double, 3>{}) container.metadata["origin"] = text(file.origin);
  if (!file.codings.empty()) {
    encode_coded(file, layout, container);
    return serialise(container);
  }
  container.metadata["zfp_enc"] = decimal(file.zfp_enc);
  container.metadata["zfp_mlp"] = decimal(file.zfp_mlp);
  for (const Slice& slice : layout.slices)
    container.tensors.push_back(encode_tensor(file, slice, container.metadata));
  return serialise(container);
}

ModelFile decode_model(const std::string& bytes, const std::string& source) {
  const Safetensors container = parse_safetensors(std::as_bytes(std::span(bytes)), source);
  ModelFile file = parse_metadata(container.metadata, source);
  const Layout layout = make_layout(file.spec, source);
  if (container.metadata.contains(kCoded)) {
    decode_coded(container, layout, file, source);
    return file;
  }
  const std::vector<const Tensor*> tensors = match_tensors(container, layout, source);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    check_tensor(*tensors[i], layout.slices[i], file, container.metadata, source);
  file.parameters.resize(static_cast<std::size_t>(layout.size));
  for (std::size_t i = 0; i < tensors.size(); ++i)
    decode_tensor(*tensors[i], layout.slices[i], file, source);
  return file;
}

ModelFile read_model(const std::filesystem::path& path) {
  return decode_model(read_file(path), path.string());
}

}  // namespace kanbench
