// A run as a hybrid: from its bricks to their files.

#include <memory>

#include "kanbench/decomposition.h"
#include "kanbench/file.h"
#include "trained_bricks.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// What all bricks have in common: the decoder, and the tables up to the resolution.
std::vector<Range> shared_ranges(const Layout& layout, int resolution) {
  std::vector<Range> shared;
  for (std::size_t i = 0; i < layout.tables.size(); ++i) {
    const Slice& slice = layout.slices[i];
    if (kanbench::resolution(table_level(layout, i).geometry) <=
        static_cast<std::uint32_t>(resolution))
      shared.push_back({slice.offset, slice.offset + slice.size()});
  }
  shared.push_back({layout.decoder_begin, layout.size});
  return shared;
}

class HybridRun {
 public:
  HybridRun(const TrainingPlan& plan, std::uint64_t seed)
      : plan_(plan), seed_(seed), count_(plan.run.decomposition.bricks.count()) {
    const std::vector<float> drawn =
        draw_parameters(plan.spec, make_initialisation(plan.run), seed);
    const Range mine = bricks_of_rank(plan.run, plan.communicator);
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      models_.push_back(std::make_unique<Model>(plan.backend, plan.spec, plan.precision));
      models_.back()->upload(drawn);
      models_.back()->train();
      bricks_.push_back({i, models_.back().get(), held_by(plan.run, plan.volume.shape, i)});
      trained_.push_back({i, models_.back().get()});
    }
    for (std::int64_t i = 0; i < count_; ++i)
      voxels_.push_back(held_by(plan.run, plan.volume.shape, i).shape().count());
  }

  History train() {
    const CheckpointStore store(checkpoint_directory(plan_.settings),
                                checkpoint_name(plan_, seed_));
    Training training = make_training(plan_.run, plan_.batch_size, seed_);
    training.share_every = plan_.run.decomposition.share_every;
    const Layout layout = make_layout(plan_.spec);
    return train_hybrid(bricks_, voxels_,
                        shared_ranges(layout, plan_.run.decomposition.share_resolution), plan_.view,
                        training, plan_.communicator, plan_.progress.training,
                        make_continuation(plan_, store, count_, trained_));
  }

  // Writes this rank's bricks, and says what all ranks' are.
  std::unique_ptr<Trained> store() {
    const fs::path directory = bricks_directory(plan_, seed_);
    together(plan_.communicator, [&] {
      fs::create_directories(directory);
      const std::unique_ptr<Communicator> alone = open_single();
      alone->attach(plan_.backend);
      for (const HybridBrick& brick : bricks_) {
        AtomicFile file(directory / brick_file_name(brick.number));
        file.write(
            encode_on(plan_.run, *brick.model, plan_.volume, core_of(brick.number), *alone).bytes);
        file.commit();
      }
    });
    return open_bricks(plan_, directory, manifest());
  }

 private:
  Manifest manifest() const {
    const Volume& volume = plan_.volume;
    const Decomposition& how = plan_.run.decomposition;
    Manifest all{volume.name, volume.shape, volume.dtype, volume.low, volume.high, volume.spacing,
                 how.bricks,  how.ghost,    how.blend,    false,      {},          volume.origin};
    for (std::int64_t i = 0; i < count_; ++i) {
      all.bricks.push_back({core_of(i), held_by(plan_.run, volume.shape, i), volume.low,
                            volume.high, brick_file_name(i)});
    }
    return all;
  }

  Box core_of(std::int64_t brick) const {
    return part_of(whole(plan_.volume.shape), plan_.run.decomposition.bricks, brick);
  }

  const TrainingPlan& plan_;
  std::uint64_t seed_;
  std::int64_t count_;
  std::vector<std::unique_ptr<Model>> models_;
  std::vector<HybridBrick> bricks_;
  std::vector<TrainedModel> trained_;
  std::vector<std::int64_t> voxels_;
};

}  // namespace

std::unique_ptr<Trained> train_hybrid_run(const TrainingPlan& plan, std::uint64_t seed,
                                          History& history) {
  HybridRun run(plan, seed);
  history = run.train();
  if (history.failed || history.interrupted || plan.settings.training_only) return nullptr;
  return run.store();
}

}  // namespace kanbench
