#include "trained.h"

#include <algorithm>

#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/interruption.h"
#include "kanbench/model_file.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// One model in one file.
class StoredModel : public Trained {
 public:
  StoredModel(const TrainingPlan& plan, std::uint64_t seed, const Model& trained, History history)
      : plan_(plan),
        seed_(seed),
        parameters_(trained.download()),
        history_(std::move(history)),
        stored_(
            encode_on(plan.run, trained, plan.volume, whole(plan.volume.shape), plan.communicator)),
        model_(plan.backend, plan.spec, plan.precision),
        field_(model_) {
    model_.upload(decode_model(stored_.bytes, "the stored model").parameters);
  }

  const Field& field() const override { return field_; }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(stored_.bytes.size()); }
  std::string stored() const override { return stored_.note; }

  std::string keep(const fs::path& directory, const std::string& stem) override {
    const fs::path path = directory / (stem + ".safetensors");
    together(plan_.communicator, [&] {
      if (plan_.communicator.rank() != 0) return;
      fs::create_directories(directory);
      AtomicFile file(path);
      file.write(stored_.bytes);
      file.commit();
    });
    return path.string();
  }

  void save() override {
    Model model(plan_.backend, plan_.spec, plan_.precision);
    model.upload(parameters_);
    prepare_training(model, make_training(plan_.run, plan_.batch_size, seed_), plan_.communicator);
    TrainingState state;
    state.history = history_;
    state.epoch = static_cast<int>(history_.epochs.size());
    state.finished = true;
    CheckpointStore(checkpoint_directory(plan_.settings), checkpoint_name(plan_, seed_))
        .save(state, 1, {{0, &model}}, plan_.communicator);
  }

 private:
  const TrainingPlan& plan_;
  std::uint64_t seed_;
  std::vector<float> parameters_;
  History history_;
  StoredBytes stored_;
  Model model_;
  ModelField field_;
};

std::unique_ptr<Trained> train_shared_run(const TrainingPlan& plan, std::uint64_t seed,
                                          History& history) {
  Model model(plan.backend, plan.spec, plan.precision);
  model.upload(draw_parameters(plan.spec, make_initialisation(plan.run), seed));
  const Training training = make_training(plan.run, plan.batch_size, seed);
  prepare_training(model, training, plan.communicator);
  const CheckpointStore store(checkpoint_directory(plan.settings), checkpoint_name(plan, seed));
  const Continuation continuation = make_continuation(plan, store, 1, {{0, &model}});
  const Box box = box_of_rank(plan.run, plan.volume, plan.communicator);
  const Progress& progress = plan.progress.training;
  history = plan.resident
                ? train(model, plan.view, box, training, plan.communicator, progress, continuation)
                : train_in_bricks(model, plan.volume, box, training, plan.communicator, progress,
                                  continuation);
  if (const std::string chosen = plan.backend.choices(model);
      plan.progress.detail && !chosen.empty())
    plan.progress.detail(chosen);
  if (history.failed || history.interrupted || plan.settings.training_only) return nullptr;
  return std::make_unique<StoredModel>(plan, seed, model, history);
}

void say_where(const TrainingPlan& plan, const TrainingState& state) {
  if (!plan.progress.notice) return;
  const bool timed = training_option(plan.run, "train_limit_seconds") > 0.0;
  const std::string of = timed ? "" : " of " + std::to_string(plan.run.epochs);
  plan.progress.notice(state.finished
                           ? "goes on after the training, from its checkpoint"
                           : "goes on in epoch " + std::to_string(state.epoch + 1) + of +
                                 ", at step " + std::to_string(state.step) + ", from a checkpoint");
}

}  // namespace

void require_outputs(const TrainingPlan& plan) {
  const Volume& volume = plan.volume;
  const std::string& mode = plan.run.decomposition.mode;
  const std::string has = "run " + std::to_string(plan.run.index) + ": " + volume.name + " has " +
                          std::to_string(volume.components) +
                          (volume.components == 1 ? " number" : " numbers") + " a voxel, ";
  if (plan.spec.outputs() != volume.components)
    throw Error(has + "the last layer's 'out' is " + std::to_string(plan.spec.outputs()) +
                ": give it as many");
  if (volume.components > 1 && mode != "shared")
    throw Error(has + "--decomposition " + mode + " takes one: use shared");
}

Box box_of_rank(const Run& run, const Volume& volume, const Communicator& communicator) {
  const Box all = whole(volume.shape);
  if (run.decomposition.mode == "shared") {
    const Shape grid = choose_grid(volume.shape, communicator.size(), "--decomposition shared");
    return part_of(all, grid, communicator.rank());
  }
  if (run.decomposition.mode == "hybrid") {
    const Range mine = bricks_of_rank(run, communicator);
    Box box = all;
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      const Box held = held_by(run, volume.shape, i);
      for (std::size_t d = 0; d < 3; ++d) {
        box.low[d] = i == mine.begin ? held.low[d] : std::min(box.low[d], held.low[d]);
        box.high[d] = i == mine.begin ? held.high[d] : std::max(box.high[d], held.high[d]);
      }
    }
    return box;
  }
  return all;
}

Range bricks_of_rank(const Run& run, const Communicator& communicator) {
  const std::int64_t count = run.decomposition.bricks.count();
  const std::int64_t rank = communicator.rank(), size = communicator.size();
  return {start_of_part(count, rank, size), start_of_part(count, rank + 1, size)};
}

Box held_by(const Run& run, const Shape& shape, std::int64_t brick) {
  const Box core = part_of(whole(shape), run.decomposition.bricks, brick);
  return grow(core, run.decomposition.ghost, shape);
}

std::filesystem::path checkpoint_directory(const BenchmarkSettings& settings) {
  return settings.output_directory / "checkpoints";
}

std::filesystem::path bricks_directory(const TrainingPlan& plan, std::uint64_t seed) {
  return checkpoint_directory(plan.settings) /
         (checkpoint_stem(plan.run, plan.volume.name, plan.run_id) + std::to_string(seed) +
          ".bricks");
}

std::string checkpoint_stem(const Run& run, const std::string& dataset, const std::string& id) {
  return file_stem(run, dataset, id) + ".seed";
}

std::string checkpoint_name(const TrainingPlan& plan, std::uint64_t seed) {
  return checkpoint_stem(plan.run, plan.volume.name, plan.run_id) + std::to_string(seed) +
         ".batch" + std::to_string(plan.batch_size);
}

Continuation make_continuation(const TrainingPlan& plan, const CheckpointStore& store,
                               std::int64_t count, const std::vector<TrainedModel>& models) {
  Continuation continuation;
  continuation.stop = interruption_wished;
  if (plan.settings.training_only) return continuation;
  if (plan.settings.resume) {
    std::vector<std::string> said;
    continuation.from = store.load(count, models, plan.communicator, said);
    for (const std::string& sentence : said)
      if (plan.progress.notice) plan.progress.notice(sentence);
    if (continuation.from) say_where(plan, *continuation.from);
  } else {
    together(plan.communicator, [&] {
      if (plan.communicator.rank() == 0) store.remove();
    });
  }
  continuation.every = plan.settings.checkpoint_every;
  // What is left of a hybrid's training is in its checkpoint alone; and of repeats those that are
  // done shall stay done.
  const bool asked = continuation.every.minutes > 0 || continuation.every.epochs > 0 || count > 1 ||
                     plan.run.repeats > 1;
  continuation.save = [&plan, store, count, models, asked](const TrainingState& state) {
    if (state.finished && !asked) return;
    try {
      store.save(state, count, models, plan.communicator);
    } catch (const Error& error) {
      // A training goes on where it can; one that is to end says what it loses.
      if (state.history.interrupted) throw;
      if (plan.progress.notice) plan.progress.notice(std::string("no checkpoint: ") + error.what());
    }
  };
  return continuation;
}

std::unique_ptr<Trained> train_run(const TrainingPlan& plan, std::uint64_t seed, History& history) {
  const std::string& mode = plan.run.decomposition.mode;
  if (mode == "ensemble") return train_ensemble_run(plan, seed, history);
  if (mode == "hybrid") return train_hybrid_run(plan, seed, history);
  return train_shared_run(plan, seed, history);
}

}  // namespace kanbench
