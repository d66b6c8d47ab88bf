#include "kanbench/stored_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "kanbench/error.h"
#include "kanbench/metrics.h"

namespace kanbench {
namespace {

std::span<const float> numbers_of(const ModelFile& file, const Slice& slice) {
  return {file.parameters.data() + slice.offset, static_cast<std::size_t>(slice.size())};
}

Coding choose(const ModelFile& file, const Slice& slice, Storage::Kind kind) {
  if (slice.exact) return {};
  if (kind == Storage::Kind::fp16) return {Coding::Kind::halves, 0, 0};
  return choose_int8(numbers_of(file, slice), slice.rows, slice.columns);
}

double bits_of(const ModelFile& file, const Slice& slice, const Coding& coding) {
  const Coded coded = encode(numbers_of(file, slice), slice.rows, slice.columns, coding);
  const auto count = static_cast<double>(slice.size());
  if (coded.kind == Coding::Kind::floats) return 32 * count;
  return 64 * static_cast<double>(coded.scales.size()) + entropy(coded.codes) * count;
}

// What the numbers of each half take by their entropy, the file's header aside.
std::string describe(const ModelFile& file, const std::vector<Coding>& codings) {
  const Layout layout = make_layout(file.spec);
  double bits[2] = {0, 0}, count[2] = {0, 0};
  for (std::size_t i = 0; i < layout.slices.size(); ++i) {
    const Slice& slice = layout.slices[i];
    bits[slice.encoder] += bits_of(file, slice, codings[i]);
    count[slice.encoder] += static_cast<double>(slice.size());
  }
  std::string words;
  for (const bool encoder : {true, false}) {
    if (count[encoder] == 0) continue;
    char text[48];
    std::snprintf(text, sizeof text, "%s%s %.1f bits", words.empty() ? "" : ", ",
                  encoder ? "encoder" : "decoder", bits[encoder] / count[encoder]);
    words += text;
  }
  return words;
}

}  // namespace

std::vector<float> rounded(const ModelFile& file, const std::vector<Coding>& codings) {
  const Layout layout = make_layout(file.spec);
  std::vector<float> parameters = file.parameters;
  for (std::size_t i = 0; i < layout.slices.size(); ++i) {
    const Slice& slice = layout.slices[i];
    if (slice.exact || codings[i].kind == Coding::Kind::floats) continue;
    decode(encode(numbers_of(file, slice), slice.rows, slice.columns, codings[i]), slice.rows,
           slice.columns,
           {parameters.data() + slice.offset, static_cast<std::size_t>(slice.size())});
  }
  return parameters;
}

StoredBytes encode_stored(ModelFile file, const Storage& storage, Judge* judge) {
  require_storage(storage);
  file.codings.clear();
  if (storage.kind == Storage::Kind::fp32) return {encode_model(file), ""};
  file.zfp_enc = file.zfp_mlp = storage.kind == Storage::Kind::zfp ? storage.number : 0;
  if (storage.kind == Storage::Kind::zfp) return {encode_model(file), ""};
  std::string loss;
  if (storage.kind == Storage::Kind::automatic) {
    check(judge != nullptr, "a loss to keep, and no volume to measure it on");
    file.codings = find_codings(file, storage.number, *judge);
    const double before = judge->error(file.parameters);
    const double after = judge->error(rounded(file, file.codings));
    char text[48];
    std::snprintf(text, sizeof text, ", loses %.3f dB",
                  before == after ? 0.0 : psnr_of(before) - psnr_of(after));
    loss = text;
  } else {
    const Layout layout = make_layout(file.spec);
    for (const Slice& slice : layout.slices)
      file.codings.push_back(choose(file, slice, storage.kind));
  }
  return {encode_model(file), describe(file, file.codings) + loss};
}

StoredBytes encode_on(const Run& run, const Model& model, const Volume& volume, const Box& box,
                      Communicator& communicator) {
  const Storage storage = parse_storage(run.store, "store");
  ModelFile file{model.spec(),    model.download(), volume.name, volume.shape, volume.dtype,
                 volume.ranges(), volume.spacing,   run.zfp_enc, run.zfp_mlp,  volume.origin};
  if (storage.kind != Storage::Kind::automatic) return encode_stored(std::move(file), storage);
  Judge judge(model.backend(), model.spec(), model.precision(), volume, box, file.ranges,
              communicator);
  return encode_stored(std::move(file), storage, &judge);
}

}  // namespace kanbench
