#include "kanbench/benchmark.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/interruption.h"
#include "kanbench/math/random.h"
#include "kanbench/reconstruct.h"
#include "kanbench/storage.h"
#include "kanbench/zfp.h"
#include "this_machine.h"
#include "trained.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

std::string megabytes(double bytes) {
  return std::to_string(static_cast<std::int64_t>(std::ceil(bytes / 1e6))) + " MB";
}

// Parameters, gradient and two moments, and the trainer's copy of three of them, of each model that
// a rank trains at a time.
double training_bytes(const Run& run, const Layout& layout, int ranks) {
  constexpr double kBlocks = 7;
  const bool hybrid = run.decomposition.mode == "hybrid";
  const double models =
      hybrid ? std::ceil(static_cast<double>(run.decomposition.bricks.count()) / ranks) : 1;
  return std::max(1.0, models) * kBlocks * static_cast<double>(layout.size) * sizeof(float);
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class Benchmark {
 public:
  Benchmark(const Run& run, const Volume& volume, Backend& backend, Communicator& communicator,
            const BenchmarkSettings& settings, const BenchmarkProgress& progress)
      : run_(run),
        volume_(volume),
        backend_(backend),
        communicator_(communicator),
        settings_(settings),
        progress_(progress),
        plan_{run_, volume_, backend_, communicator_, settings_, progress_, {}, make_spec(run)},
        layout_(make_layout(plan_.spec)) {}

  Result run() {
    together(communicator_, [&] {
      require_outputs(plan_);
      const std::string what = "run " + std::to_string(run_.index) + ": precision";
      plan_.precision = resolve_precision(run_.precision, plan_.spec, backend_, what);
      if (run_.training.optimizer == "lbfgs" && communicator_.size() > 1)
        throw Error("run " + std::to_string(run_.index) +
                    ": optimizer lbfgs trains on one process: start one, or use another optimizer");
      box_ = box_of_rank(run_, volume_, communicator_);
    });
    describe();
    together(communicator_, [&] { room_ = require_room(run_, backend_, communicator_.size()); });
    room_ = least(room_);
    plan_.resident = least(holds(choose_batch(room_)) ? 1 : 0) > 0;
    result_.batch_size = plan_.batch_size = choose_batch(plan_.resident ? room_ : room_ / 2);
    explain();
    together(communicator_, [&] { settle(); });
    for (int i = 0; i < run_.repeats && !over(); ++i) {
      if (progress_.trial) progress_.trial(i, run_.repeats);
      try_once(run_.seed + static_cast<std::uint64_t>(i));
    }
    result_.peak_device_bytes = static_cast<std::int64_t>(backend_.peak_bytes());
    result_.peak_host_bytes = peak_host_bytes();
    return std::move(result_);
  }

 private:
  // Whether what is left is for a rerun, or for another process.
  bool over() const { return result_.status == "interrupted" || result_.status == "elsewhere"; }

  void describe() {
    result_.run = run_;
    result_.run_id = plan_.run_id =
        run_id(run_, settings_.signature.empty() ? volume_signature(volume_) : settings_.signature);
    result_.data_bytes = static_cast<std::int64_t>(volume_.bytes());
    result_.n_parameters = layout_.parameters;
    result_.precision = name(plan_.precision);
    result_.device = backend_.name() + settings_.device_note;
    result_.hostname = this_host();
    result_.started_at = utc_now();
    result_.ssim_variant = ssim_variant(volume_.shape);
    result_.ranks = communicator_.size();
    result_.decomposition = in_words(run_.decomposition);
  }

  std::string in_words(const Decomposition& how) const {
    const bool bricks = how.mode != "shared";
    if (!bricks && communicator_.size() == 1) return "none";
    const Shape grid = bricks ? how.bricks : choose_grid(volume_.shape, communicator_.size(), "");
    return how.mode + " " + text(grid) + (bricks ? " ghost " + std::to_string(how.ghost) : "") +
           (bricks && !how.blend ? " unblended" : "") + (how.wire == "fp16" ? " fp16" : "") +
           (how.sharded ? " sharded" : "");
  }

  // The least of a number over the ranks.
  double least(double value) const {
    double negative = -value;
    communicator_.maximum(&negative, 1);
    return -negative;
  }

  std::int64_t choose_batch(double room) const {
    if (run_.batch_size > 0) return run_.batch_size;
    return choose_batch_size(volume_.shape.count(), backend_.bytes_per_row(plan_.spec),
                             static_cast<std::size_t>(room), settings_.safety_margin,
                             communicator_.size());
  }

  // Whether what this rank samples fits beside parameters, its rows, and a share for the rest.
  bool holds(std::int64_t batch) const {
    const std::int64_t rows = batch / communicator_.size() + 1;
    const double needed =
        training_bytes(run_, layout_, communicator_.size()) +
        static_cast<double>(rows) * static_cast<double>(backend_.bytes_per_row(plan_.spec)) +
        static_cast<double>(backend_.free_bytes()) / 16;
    return backend_.holds(volume_, box_, static_cast<std::size_t>(needed));
  }

  void settle() {
    if (run_.decomposition.mode == "ensemble") return;
    if (!plan_.resident && run_.decomposition.mode == "hybrid")
      throw Error("run " + std::to_string(run_.index) + ": its bricks of " + volume_.name +
                  " do not fit " + backend_.name() +
                  " beside their models: use more ranks, or --decomposition shared or ensemble");
    require_evaluation_room();
    if (plan_.resident)
      plan_.view = backend_.place(volume_, box_);
    else
      backend_.displace();
  }

  // A training whose result cannot be measured would be lost.
  void require_evaluation_room() const {
    const auto voxel = static_cast<double>(size_of(volume_.dtype)) * volume_.components;
    const double volume = plan_.resident ? static_cast<double>(box_.shape().count()) * voxel : 0;
    const double needed = static_cast<double>(layout_.size) * sizeof(float) + volume +
                          static_cast<double>(backend_.evaluation_bytes(volume_));
    const double free = static_cast<double>(backend_.free_bytes());
    if (settings_.training_only || needed <= free) return;
    throw Error("run " + std::to_string(run_.index) + ": measuring slices of " +
                text(volume_.shape) + " takes " + megabytes(needed) + ", " + backend_.name() +
                " has " + megabytes(free) +
                " free: use a larger --device-memory-limit, or "
                "another --device");
  }

  void explain() {
    if (run_.decomposition.mode == "ensemble") return;
    if (!plan_.resident) result_.device += ", volume in bricks";
    if (!progress_.detail) return;
    const std::int64_t voxels = volume_.shape.count(), batch = result_.batch_size;
    if (run_.batch_size == 0)
      progress_.detail("batch size " + std::to_string(batch) + ": " +
                       std::to_string(steps_per_epoch(voxels, batch)) + " steps an epoch of " +
                       std::to_string(voxels) + " samples; a row takes " +
                       std::to_string(backend_.bytes_per_row(plan_.spec)) + " bytes of " +
                       megabytes(room_) + " free");
    if (!plan_.resident)
      progress_.detail("the volume's " + megabytes(static_cast<double>(volume_.bytes())) +
                       " do not fit beside model and batch: it is trained on in bricks");
  }

  void try_once(std::uint64_t seed) {
    Trial trial;
    trial.seed = seed;
    trial.metrics = {kNan, kNan, kNan, kNan, kNan};
    const std::unique_ptr<Trained> trained = train_run(plan_, seed, trial.history);
    if (trial.history.failed)
      fail("seed " + std::to_string(seed) + ": " +
           (trial.history.failure.empty()
                ? "the loss was not finite three times in a row; try a smaller lrate"
                : trial.history.failure));
    else if (trial.history.interrupted)
      interrupt(trial);
    else if (trained)
      measure(*trained, trial);
    else if (!settings_.training_only)
      result_.status = "elsewhere";
    result_.trials.push_back(std::move(trial));
  }

  // Figures are of the parameters as a reader of the files gets them.
  void measure(Trained& trained, Trial& trial) {
    together(communicator_, [&] { trial.inr_bytes = trained.bytes(); });
    trial.stored = trained.stored();
    if (trained.parameters() > 0) result_.n_parameters = trained.parameters();
    if (trained.batch_size() > 0) result_.batch_size = trained.batch_size();
    const bool first = result_.model_file.empty();
    const bool keep = settings_.keep && first;
    const bool picture = first && !drawn_ && !settings_.slices.empty();
    Evaluation found;
    try {
      std::unique_ptr<VolumeWriter> writer;
      if (keep) writer = open_reconstruction();
      found = evaluate(trained.field(), volume_.ranges(), volume_, communicator_, picture,
                       writer.get());
      if (writer) writer->commit();
    } catch (const Interrupted&) {
      trained.save();
      return interrupt(trial);
    } catch (const Error&) {
      keep_what_can_be(trained);
      throw;
    }
    trial.metrics = found.metrics;
    trial.components = found.components;
    trial.reconstruct_seconds = found.decode_seconds;
    if (keep)
      result_.model_file = trained.keep(settings_.output_directory / "models_saved", stem());
    if (!std::isfinite(trial.metrics.mse) || !std::isfinite(trial.metrics.ssim))
      fail("seed " + std::to_string(trial.seed) +
           ": the reconstruction holds numbers that are "
           "not finite");
    else if (picture)
      draw(found, trial);
  }

  // Of a training whose results cannot be written, the training.
  static void keep_what_can_be(Trained& trained) {
    try {
      trained.save();
    } catch (const Error&) {
    }
  }

  void draw(const Evaluation& found, const Trial& trial) {
    char psnr[32];
    std::snprintf(psnr, sizeof psnr, "%.2f dB", trial.metrics.psnr);
    together(communicator_, [&] {
      if (communicator_.rank() != 0) return;
      write_slices(settings_.slices, found.slices, volume_.low, volume_.high,
                   volume_.name + "  " + run_.network_type + "  " + psnr);
    });
    drawn_ = true;
  }

  std::string stem() const { return file_stem(run_, volume_.name, result_.run_id); }

  std::unique_ptr<VolumeWriter> open_reconstruction() {
    const fs::path path = settings_.output_directory / "reconstructions_saved" /
                          raw_file_name({stem(), volume_.shape, volume_.dtype, volume_.components});
    together(communicator_, [&] { fs::create_directories(path.parent_path()); });
    result_.reconstruction_file = path.string();
    return std::make_unique<VolumeWriter>(communicator_, path, volume_.header());
  }

  void fail(const std::string& why) {
    result_.status = "failed";
    result_.failure += (result_.failure.empty() ? "" : "; ") + why;
  }

  void interrupt(Trial& trial) {
    trial.history.interrupted = true;
    result_.status = "interrupted";
    result_.reconstruction_file.clear();
  }

  const Run& run_;
  const Volume& volume_;
  Backend& backend_;
  Communicator& communicator_;
  const BenchmarkSettings& settings_;
  const BenchmarkProgress& progress_;
  TrainingPlan plan_;
  Layout layout_;
  Result result_;
  Box box_;
  double room_ = 0;
  bool drawn_ = false;
};

}  // namespace

namespace {

void require_batch_room(const Run& run, const Backend& backend, double room, int ranks) {
  const auto per_row = static_cast<double>(backend.bytes_per_row(make_spec(run))) / ranks;
  const double needed = static_cast<double>(run.batch_size) * per_row;
  if (needed <= room) return;
  throw Error("run " + std::to_string(run.index) + ": a batch_size of " +
              std::to_string(run.batch_size) + " takes " + megabytes(needed) + ", " +
              backend.name() + " has " + megabytes(room) +
              " free beside the parameters: use at most " +
              std::to_string(static_cast<std::int64_t>(room / per_row)));
}

}  // namespace

double require_room(const Run& run, const Backend& backend, int ranks) {
  if (run.zfp_enc > 0 || run.zfp_mlp > 0) require_zfp();
  require_storage(parse_storage(run.store, "store"));
  const std::string which = "run " + std::to_string(run.index);
  const Layout layout = make_layout(make_spec(run), which);
  const double needed = training_bytes(run, layout, ranks);
  const double free = static_cast<double>(backend.free_bytes());
  if (needed <= free) {
    require_batch_room(run, backend, free - needed, ranks);
    return free - needed;
  }
  throw Error(which + ": training " + std::to_string(layout.parameters) + " parameters takes " +
              megabytes(needed) + ", " + backend.name() + " has " + megabytes(free) +
              " free: use smaller tables (encoder " + run.encoder + ", log2_hashmap_size " +
              std::to_string(run.log2_hashmap_size) + " here) or fewer levels or neurons");
}

Result run_benchmark(const Run& run, const Volume& volume, Backend& backend,
                     Communicator& communicator, const BenchmarkSettings& settings,
                     const BenchmarkProgress& progress) {
  return Benchmark(run, volume, backend, communicator, settings, progress).run();
}

namespace {

// Name, shape, type, range, and a hash of `wanted` words or more, spread evenly.
std::string describe_volume(const Volume& volume, std::size_t wanted) {
  constexpr std::size_t kForgetBytes = std::size_t{1} << 28;
  const std::size_t words = volume.bytes() / sizeof(std::uint64_t);
  const std::size_t stride = std::max<std::size_t>(1, words / wanted);
  const auto* bytes = static_cast<const unsigned char*>(volume.data());
  std::uint64_t hash = mix64(volume.bytes());
  std::size_t forgotten = 0;
  for (std::size_t i = 0; i < words; i += stride) {
    std::uint64_t word;
    std::memcpy(&word, bytes + i * sizeof word, sizeof word);
    hash = mix64(hash ^ word);
    if (i * sizeof word < forgotten + kForgetBytes) continue;
    forgotten = i * sizeof word;
    volume.forget();
  }
  for (std::size_t i = words * sizeof(std::uint64_t); i < volume.bytes(); ++i)
    hash = mix64(hash ^ bytes[i]);
  std::string all = volume.name + " " + text(volume.shape) + " " + name(volume.dtype);
  char figures[64];
  for (const auto& [low, high] : volume.ranges()) {
    std::snprintf(figures, sizeof figures, " %.17g %.17g", low, high);
    all += figures;
  }
  std::snprintf(figures, sizeof figures, " %016llx", static_cast<unsigned long long>(hash));
  return all + figures + (volume.filled.empty() ? "" : " missing " + volume.filled);
}

}  // namespace

std::string volume_signature(const Volume& volume) {
  return describe_volume(volume, std::size_t{1} << 20);
}

std::string volume_fingerprint(const Volume& volume) {
  return describe_volume(volume, std::size_t{1} << 16);
}

void remove_checkpoints(const Result& result, const std::string& dataset,
                        const BenchmarkSettings& settings) {
  const std::string stem = checkpoint_stem(result.run, dataset, result.run_id);
  std::error_code ignored;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(checkpoint_directory(settings), ignored))
    if (entry.path().filename().string().starts_with(stem)) fs::remove_all(entry.path(), ignored);
  fs::remove(checkpoint_directory(settings), ignored);
}

std::string file_stem(const Run& run, const std::string& dataset, const std::string& id) {
  return dataset + "_" + run.network_type + "_" + std::to_string(run.log2_hashmap_size) + "_" + id;
}

}  // namespace kanbench
