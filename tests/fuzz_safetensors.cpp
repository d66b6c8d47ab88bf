// libFuzzer's way into the readers of safetensors and of models: whatever the bytes, an Error or a
// whole result.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/model_file.h"
#include "kanbench/safetensors.h"
#include "kanbench/zfp.h"
#include "kanbench/zstd.h"

namespace kanbench {
namespace {

ModelFile seed_model(bool fastkan, double tolerance) {
  ModelFile file;
  file.spec.encoder = encoder::HashGrid{1, 2, 4, 2, 2};
  file.spec.network_type = fastkan ? "fastkan" : "mlp";
  if (fastkan)
    file.spec.layers = {{2, 2, basis::Rbf{3, 1}, true, true, true},
                        {2, 1, basis::Rbf{3, 1}, true, true, true}};
  else
    file.spec.layers = {{2, 2, basis::Identity{}}, {2, 1, basis::Relu{}}};
  file.parameters.resize(static_cast<std::size_t>(make_layout(file.spec).size), 0.25f);
  file.dataset = "seed";
  file.shape = {4, 4, 4};
  if (has_zfp()) file.zfp_enc = file.zfp_mlp = tolerance;
  return file;
}

void require(bool condition) {
  if (!condition) std::abort();
}

void read_container(std::span<const std::byte> bytes) {
  try {
    const Safetensors file = parse_safetensors(bytes, "fuzz");
    std::size_t total = 0;
    for (const Tensor& tensor : file.tensors) total += tensor.data.size();
    require(total < bytes.size());
    const std::string again = serialise(file);
    require(serialise(parse_safetensors(std::as_bytes(std::span(again)), "fuzz")) == again);
  } catch (const Error&) {
  }
}

void read_model_bytes(const std::string& bytes) {
  try {
    const ModelFile file = decode_model(bytes, "fuzz");
    for (const float value : file.parameters) require(std::isfinite(value));
    require(to_json(parse_model_spec(to_json(file.spec), "fuzz")) == to_json(file.spec));
  } catch (const Error&) {
  }
}

// The bytes with a header length that fits their last brace, so that mutations of the header's
// text are not all refused for their length.
std::string with_fitting_length(std::string bytes) {
  const std::size_t brace = bytes.rfind('}');
  if (brace == std::string::npos || brace < 8) return bytes;
  const std::uint64_t length = brace - 7;
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

}  // namespace
}  // namespace kanbench

// Valid models to start from, into the corpus directory that KANBENCH_FUZZ_CORPUS names.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* corpus = std::getenv("KANBENCH_FUZZ_CORPUS");
  if (!corpus) return 0;
  for (const bool fastkan : {false, true})
    for (const double tolerance : {0.0, 0.1}) {
      kanbench::AtomicFile file(
          std::filesystem::path(corpus) /
          ((fastkan ? "fastkan" : "mlp") + std::string(tolerance > 0 ? "_zfp" : "")));
      file.write(kanbench::encode_model(kanbench::seed_model(fastkan, tolerance)));
      file.commit();
    }
  for (const auto kind : {kanbench::Coding::Kind::floats, kanbench::Coding::Kind::halves,
                          kanbench::Coding::Kind::steps}) {
    if (!kanbench::has_zstd()) break;
    kanbench::ModelFile model = kanbench::seed_model(true, 0);
    model.parameters[0] = 0.5f;
    model.codings.resize(kanbench::make_layout(model.spec).slices.size(), {kind, 0.01, 0});
    model.codings[0].block_rows = kind == kanbench::Coding::Kind::steps ? 2 : 0;
    kanbench::AtomicFile file(std::filesystem::path(corpus) /
                              ("coded_" + std::to_string(static_cast<int>(kind))));
    file.write(kanbench::encode_model(model));
    file.commit();
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  kanbench::read_container(std::as_bytes(std::span(bytes)));
  kanbench::read_model_bytes(bytes);
  kanbench::read_model_bytes(kanbench::with_fitting_length(bytes));
  return 0;
}
