#include "kanbench/judge.h"

#include <algorithm>
#include <cmath>

#include "kanbench/error.h"
#include "kanbench/reconstruct.h"

namespace kanbench {
namespace {

constexpr std::int64_t kSample = std::int64_t{1} << 20;
constexpr std::int64_t kSlices = 8;

// `rank`'s part of the box, cut along z.
std::vector<Box> slab_of(const Box& box, int rank, int size) {
  const std::int64_t depth = box.shape().z;
  Box mine = box;
  mine.low[2] = box.low[2] + start_of_part(depth, rank, size);
  mine.high[2] = box.low[2] + start_of_part(depth, rank + 1, size);
  if (mine.low[2] == mine.high[2]) return {};
  return {mine};
}

// Bands of slices that are spread evenly over the box, some million voxels in all.
std::vector<Box> sample_of(const Box& box, int rank, int size) {
  const Shape shape = box.shape();
  if (shape.count() <= kSample) return slab_of(box, rank, size);
  const std::int64_t slices =
      std::clamp(kSample / (shape.x * shape.y), std::min(kSlices, shape.z), shape.z);
  const std::int64_t band = std::clamp<std::int64_t>(kSample / (slices * shape.x), 1, shape.y);
  std::vector<Box> bands;
  for (std::int64_t i = rank; i < slices; i += size) {
    // Multiples of the golden ratio spread evenly.
    const double place = std::fmod(static_cast<double>(i) * 0.6180339887498949, 1.0);
    Box one = box;
    one.low[2] = box.low[2] + (2 * i + 1) * shape.z / (2 * slices);
    one.high[2] = one.low[2] + 1;
    one.low[1] = box.low[1] + static_cast<std::int64_t>(
                                  std::llround(place * static_cast<double>(shape.y - band)));
    one.high[1] = one.low[1] + band;
    bands.push_back(one);
  }
  return bands;
}

}  // namespace

struct Judge::State {
  Shape shape;
  std::vector<Volume> components;
  std::vector<ValueRange> ranges;
  Communicator& communicator;
  Model model;
  std::vector<Box> slabs, sample;
  std::vector<float> kept;

  using Take = std::function<void(const Box& box, std::vector<float>& values)>;

  // Hands over the values of each of the boxes, whole slices of it at a time, output after output.
  void decode(const std::vector<float>& parameters, const std::vector<Box>& boxes,
              const Take& take) {
    model.upload(parameters);
    const ModelField field(model);
    std::vector<float> values;
    for (const Box& box : boxes)
      decode_slabs(field, {shape, box}, true, nullptr, [&](const Slab& slab) {
        const std::int64_t count = slab.count * box.shape().x * box.shape().y;
        values.resize(static_cast<std::size_t>(count) * components.size());
        model.backend().download(values.data(), slab.values, values.size() * sizeof(float));
        for (std::size_t c = 0; c < components.size(); ++c)
          rescale(values.data() + static_cast<std::int64_t>(c) * count, count, ranges[c][0],
                  ranges[c][1], components[c].view());
        Box part = box;
        part.low[2] = box.low[2] + slab.z;
        part.high[2] = part.low[2] + slab.count;
        take(part, values);
      });
  }

  // The sum of squared differences of one component's values, which `value` goes through.
  double compare(const Volume& volume, const Box& box, const float*& value) const {
    const Shape part = box.shape();
    const bool whole_rows = part.x == shape.x;
    const std::int64_t run = whole_rows ? part.x * part.y : part.x;
    std::vector<float> truth(static_cast<std::size_t>(run));
    double sum = 0;
    for (std::int64_t z = box.low[2]; z < box.high[2]; ++z)
      for (std::int64_t y = box.low[1]; y < box.high[1]; y += whole_rows ? part.y : 1) {
        const std::int64_t first = (z * shape.y + y) * shape.x + box.low[0];
        normalise(volume.view(), first, run, truth.data());
        for (const float wanted : truth) {
          const double off = double{*value++} - wanted;
          sum += off * off;
        }
      }
    return sum;
  }

  double compare(const Box& box, const std::vector<float>& values) const {
    const float* value = values.data();
    double sum = 0;
    for (const Volume& component : components) sum += compare(component, box, value);
    return sum;
  }

  // The mean over all ranks of what `add` gives for each box's values.
  double mean(const std::vector<float>& parameters, const std::vector<Box>& boxes,
              const std::function<double(const Box&, std::vector<float>&)>& add) {
    double sums[2] = {0, 0};
    together(communicator, [&] {
      decode(parameters, boxes, [&](const Box& box, std::vector<float>& values) {
        sums[0] += add(box, values);
        sums[1] += static_cast<double>(values.size());
      });
    });
    communicator.sum(sums, 2);
    return sums[0] / sums[1];
  }
};

Judge::Judge(Backend& backend, const ModelSpec& spec, Precision precision, const Volume& volume,
             const Box& box, std::vector<ValueRange> ranges, Communicator& communicator)
    : state_(new State{volume.shape,
                       {},
                       std::move(ranges),
                       communicator,
                       Model(backend, spec, precision),
                       slab_of(box, communicator.rank(), communicator.size()),
                       sample_of(box, communicator.rank(), communicator.size()),
                       {}}) {
  for (int i = 0; i < volume.components; ++i) state_->components.push_back(volume.component(i));
}

Judge::~Judge() = default;

double Judge::error(const std::vector<float>& parameters) {
  return state_->mean(parameters, state_->slabs, [&](const Box& box, std::vector<float>& values) {
    return state_->compare(box, values);
  });
}

double Judge::sampled_error(const std::vector<float>& parameters) {
  return state_->mean(parameters, state_->sample, [&](const Box& box, std::vector<float>& values) {
    return state_->compare(box, values);
  });
}

void Judge::keep(const std::vector<float>& parameters) {
  state_->kept.clear();
  together(state_->communicator, [&] {
    state_->decode(parameters, state_->sample, [&](const Box&, std::vector<float>& values) {
      state_->kept.insert(state_->kept.end(), values.begin(), values.end());
    });
  });
}

double Judge::sampled_change(const std::vector<float>& parameters) {
  std::size_t next = 0;
  return state_->mean(parameters, state_->sample, [&](const Box&, std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) {
      const double off = double{value} - state_->kept.at(next++);
      sum += off * off;
    }
    return sum;
  });
}

}  // namespace kanbench
