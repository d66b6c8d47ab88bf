#pragma once
// Small models whose every number is known, saved and loaded by ranks that are threads.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kanbench/backend.h"
#include "kanbench/checkpoint.h"
#include "kanbench/recipe.h"
#include "support.h"
#include "thread_ranks.h"

namespace kanbench::test {

inline ModelSpec small_spec(int levels = 2, int log2_entries = 5, int features = 2,
                            int base_resolution = 4) {
  Run run;
  run.network_type = "mlp";
  run.n_neurons = 8;
  run.n_hidden_layers = 1;
  run.n_levels = levels;
  run.n_features_per_level = features;
  run.per_level_scale = 2;
  run.log2_hashmap_size = log2_entries;
  run.base_resolution = base_resolution;
  return make_spec(run);
}

/// Number `index` of a block (0: parameters, 1 and 2: moments) of model `model` after `step`.
inline float number_at(std::int64_t model, int block, std::int64_t index, std::int64_t step) {
  const std::int64_t mixed = (index * 4 + block) * 8 + model * 3 + step * 5;
  return static_cast<float>(mixed % 100003) * 0.25f - 1000.0f;
}

/// What one rank trains: `share` of the moments of each model.
class RankModels {
 public:
  /// The shares of a rank among others, or all where not `sharded`.
  RankModels(const ModelSpec& spec, const std::vector<std::int64_t>& numbers, bool sharded,
             const Communicator& communicator)
      : backend_(open_cpu()) {
    for (const std::int64_t number : numbers) {
      models_.push_back(std::make_unique<Model>(*backend_, spec));
      Training training;
      training.sharded = sharded;
      prepare_training(*models_.back(), training, communicator);
      trained_.push_back({number, models_.back().get()});
    }
  }
  const std::vector<TrainedModel>& trained() const { return trained_; }

  void set(std::int64_t step) {
    each([&](const TrainedModel& one, int block, const Buffer<float>& floats, std::int64_t begin) {
      std::vector<float> values(static_cast<std::size_t>(floats.size()));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = number_at(one.number, block, begin + static_cast<std::int64_t>(i), step);
      backend_->upload(floats.data(), values.data(), floats.bytes());
    });
  }
  /// How many numbers are not those of `step`.
  std::int64_t count_other(std::int64_t step) const {
    std::int64_t wrong = 0;
    each([&](const TrainedModel& one, int block, const Buffer<float>& floats, std::int64_t begin) {
      std::vector<float> values(static_cast<std::size_t>(floats.size()));
      backend_->download(values.data(), floats.data(), floats.bytes());
      for (std::size_t i = 0; i < values.size(); ++i)
        wrong +=
            values[i] != number_at(one.number, block, begin + static_cast<std::int64_t>(i), step);
    });
    return wrong;
  }

 private:
  template <class Use>
  void each(Use&& use) const {
    for (const TrainedModel& one : trained_) {
      const std::int64_t begin = one.model->share().begin;
      use(one, 0, one.model->parameters(), 0);
      use(one, 1, one.model->first_moment(), begin);
      use(one, 2, one.model->second_moment(), begin);
    }
  }

  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Model>> models_;
  std::vector<TrainedModel> trained_;
};

inline TrainingState state_at(std::int64_t step) {
  TrainingState state;
  state.step = step;
  state.adam_steps = step - 1;
  return state;
}

/// A training of `count` models: rank r has all of them, or those with number % ranks == r.
struct Case {
  ModelSpec spec = small_spec();
  std::int64_t count = 1;
  bool sharded = false, spread = false;

  std::vector<std::int64_t> numbers(const Communicator& communicator) const {
    std::vector<std::int64_t> mine;
    for (std::int64_t i = 0; i < count; ++i)
      if (!spread || i % communicator.size() == communicator.rank()) mine.push_back(i);
    return mine;
  }
  void save(const CheckpointStore& store, int ranks, std::int64_t step) const {
    on_ranks(ranks, [&](Communicator& communicator) {
      RankModels models(spec, numbers(communicator), sharded, communicator);
      models.set(step);
      TrainingState state = state_at(step);
      // As measured seconds, not the same on any two ranks.
      state.seconds = 0.1 * communicator.rank();
      store.save(state, count, models.trained(), communicator);
    });
  }
  /// The step that all ranks found, with the numbers of that step, or -1; `said` by rank 0.
  std::int64_t load(const CheckpointStore& store, int ranks,
                    std::vector<std::string>* said = nullptr) const {
    std::vector<std::int64_t> steps(static_cast<std::size_t>(ranks), -1), wrong(steps);
    on_ranks(ranks, [&](Communicator& communicator) {
      const auto rank = static_cast<std::size_t>(communicator.rank());
      RankModels models(spec, numbers(communicator), sharded, communicator);
      models.set(-7);
      std::vector<std::string> sentences;
      const auto state = store.load(count, models.trained(), communicator, sentences);
      if (state) steps[rank] = state->step;
      wrong[rank] = models.count_other(state ? state->step : -7);
      if (said && rank == 0) *said = sentences;
    });
    for (std::size_t rank = 0; rank < steps.size(); ++rank) {
      EXPECT_EQ(steps[rank], steps[0]) << "rank " << rank;
      EXPECT_EQ(wrong[rank], 0) << "rank " << rank;
    }
    return steps[0];
  }
};

inline std::vector<std::string> files_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  if (!std::filesystem::exists(directory)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace kanbench::test
