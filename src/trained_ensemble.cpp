// A run as an ensemble: from its bricks to their files.

#include "kanbench/ensemble_training.h"
#include "trained_bricks.h"

namespace kanbench {

std::unique_ptr<Trained> train_ensemble_run(const TrainingPlan& plan, std::uint64_t seed,
                                            History& history) {
  EnsembleSettings settings;
  settings.directory = bricks_directory(plan, seed);
  settings.key = plan.run_id;
  settings.safety_margin = plan.settings.safety_margin;
  settings.checkpoint_every = plan.settings.checkpoint_every;
  settings.resume = plan.settings.resume;
  const EnsembleProgress progress{plan.progress.detail, plan.progress.notice,
                                  plan.progress.training};
  EnsembleTraining trained = train_ensemble(plan.run, seed, plan.volume, plan.backend,
                                            plan.communicator, plan.precision, settings, progress);
  history = trained.history;
  history.failure = trained.failure;
  if (plan.settings.training_only && trained.assembles && plan.communicator.rank() == 0) {
    remove_ensemble(settings.directory);
    std::error_code not_empty;
    std::filesystem::remove(settings.directory.parent_path(), not_empty);
  }
  if (history.failed || history.interrupted || plan.settings.training_only || !trained.assembles)
    return nullptr;
  return open_bricks(plan, settings.directory, std::move(trained.manifest), trained.batch_size,
                     std::move(trained.assembly));
}

}  // namespace kanbench
