#include "kanbench/benchmark.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/math/random.h"
#include "kanbench/model_file.h"
#include "kanbench/recipe.h"
#include "kanbench/reconstruct.h"
#include "kanbench/zfp.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string this_host() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::int64_t peak_host_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

std::string megabytes(double bytes) {
  return std::to_string(static_cast<std::int64_t>(std::ceil(bytes / 1e6))) + " MB";
}

// Parameters, gradient and two moments, and the trainer's copy of three of them.
constexpr double kTrainingBytesPerFloat = 7 * sizeof(float);

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
        spec_(make_spec(run)),
        layout_(make_layout(spec_)),
        precision_(resolve_precision(run.precision, spec_, backend,
                                     "run " + std::to_string(run.index) + ": precision")) {}

  Result run() {
    describe();
    const double room = require_room(run_, backend_);
    resident_ = holds(choose_batch(room));
    result_.batch_size = choose_batch(resident_ ? room : room / 2);
    explain(room);
    require_evaluation_room();
    if (resident_)
      view_ = backend_.place(volume_);
    else
      backend_.displace();
    for (int i = 0; i < run_.repeats; ++i) {
      if (progress_.trial) progress_.trial(i, run_.repeats);
      try_once(run_.seed + static_cast<std::uint64_t>(i));
    }
    result_.peak_device_bytes = static_cast<std::int64_t>(backend_.peak_bytes());
    result_.peak_host_bytes = peak_host_bytes();
    return std::move(result_);
  }

 private:
  void describe() {
    result_.run = run_;
    result_.run_id =
        run_id(run_, settings_.signature.empty() ? volume_signature(volume_) : settings_.signature);
    result_.data_bytes = static_cast<std::int64_t>(volume_.bytes());
    result_.n_parameters = layout_.parameters;
    result_.precision = name(precision_);
    result_.device = backend_.name() + settings_.device_note;
    result_.hostname = this_host();
    result_.started_at = utc_now();
    result_.ssim_variant = ssim_variant(volume_.shape);
    result_.ranks = communicator_.size();
  }

  std::int64_t choose_batch(double room) const {
    if (run_.batch_size > 0) return run_.batch_size;
    return choose_batch_size(volume_.shape.count(), backend_.bytes_per_row(spec_),
                             static_cast<std::size_t>(room), settings_.safety_margin);
  }

  // Whether the volume fits beside parameters, a batch, and a share of the memory for the rest.
  bool holds(std::int64_t batch) const {
    const double needed =
        static_cast<double>(layout_.size) * kTrainingBytesPerFloat +
        static_cast<double>(batch) * static_cast<double>(backend_.bytes_per_row(spec_)) +
        static_cast<double>(backend_.free_bytes()) / 16;
    return backend_.holds(volume_, static_cast<std::size_t>(needed));
  }

  // A training whose result cannot be measured would be lost.
  void require_evaluation_room() const {
    const double volume = resident_ ? static_cast<double>(volume_.bytes()) : 0;
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

  void explain(double room) {
    if (!resident_) result_.device += ", volume in bricks";
    if (!progress_.detail) return;
    const std::int64_t voxels = volume_.shape.count(), batch = result_.batch_size;
    if (run_.batch_size == 0)
      progress_.detail("batch size " + std::to_string(batch) + ": " +
                       std::to_string(steps_per_epoch(voxels, batch, communicator_.size())) +
                       " steps an epoch of " + std::to_string(voxels) + " samples; a row takes " +
                       std::to_string(backend_.bytes_per_row(spec_)) + " bytes of " +
                       megabytes(room) + " free");
    if (!resident_)
      progress_.detail("the volume's " + megabytes(static_cast<double>(volume_.bytes())) +
                       " do not fit beside model and batch: it is trained on in bricks");
  }

  void try_once(std::uint64_t seed) {
    Trial trial;
    trial.seed = seed;
    trial.metrics = {kNan, kNan, kNan, kNan, kNan};
    const std::vector<float> trained = train_once(seed, trial);
    if (trial.history.failed)
      fail("seed " + std::to_string(seed) +
           ": the loss was not finite three times in a row; try a smaller lrate");
    else if (!settings_.training_only)
      store_and_measure(trained, trial);
    result_.trials.push_back(std::move(trial));
  }

  std::vector<float> train_once(std::uint64_t seed, Trial& trial) {
    Model model(backend_, spec_, precision_);
    model.upload(draw_parameters(spec_, make_initialisation(run_), seed));
    model.train();
    const Training training = make_training(run_, result_.batch_size, seed);
    const Box box = whole(volume_.shape);
    trial.history =
        resident_
            ? train(model, view_, box, training, communicator_, progress_.training)
            : train_in_bricks(model, volume_, box, training, communicator_, progress_.training);
    if (const std::string chosen = backend_.choices(model); progress_.detail && !chosen.empty())
      progress_.detail(chosen);
    return model.download();
  }

  // Figures are of the parameters as a reader of the file gets them.
  void store_and_measure(const std::vector<float>& trained, Trial& trial) {
    const std::string bytes =
        encode_model({spec_, trained, volume_.name, volume_.shape, volume_.dtype, volume_.low,
                      volume_.high, volume_.spacing, run_.zfp_enc, run_.zfp_mlp});
    trial.inr_bytes = static_cast<std::int64_t>(bytes.size());
    Model stored(backend_, spec_, precision_);
    stored.upload(decode_model(bytes, "the stored model").parameters);

    const bool first = result_.model_file.empty() && communicator_.rank() == 0;
    const bool keep = settings_.keep && first;
    if (keep) save_model(bytes);
    std::unique_ptr<RawWriter> writer;
    if (keep) writer = open_reconstruction();
    const bool picture = first && !drawn_ && !settings_.slices.empty();
    const Evaluation found =
        evaluate(stored, volume_.low, volume_.high, volume_, picture, writer.get());
    if (writer) writer->commit();
    trial.metrics = found.metrics;
    trial.reconstruct_seconds = found.decode_seconds;
    if (!std::isfinite(trial.metrics.mse) || !std::isfinite(trial.metrics.ssim))
      fail("seed " + std::to_string(trial.seed) +
           ": the reconstruction holds numbers that are "
           "not finite");
    else if (picture)
      draw(found, trial);
  }

  void draw(const Evaluation& found, const Trial& trial) {
    char psnr[32];
    std::snprintf(psnr, sizeof psnr, "%.2f dB", trial.metrics.psnr);
    write_slices(settings_.slices, found.slices, volume_.low, volume_.high,
                 volume_.name + "  " + run_.network_type + "  " + psnr);
    drawn_ = true;
  }

  void save_model(const std::string& bytes) {
    const fs::path path = settings_.output_directory / "models_saved" /
                          (file_stem(run_, volume_.name, result_.run_id) + ".safetensors");
    fs::create_directories(path.parent_path());
    AtomicFile file(path);
    file.write(bytes);
    file.commit();
    result_.model_file = path.string();
  }

  std::unique_ptr<RawWriter> open_reconstruction() {
    const fs::path path = settings_.output_directory / "reconstructions_saved" /
                          raw_file_name({file_stem(run_, volume_.name, result_.run_id),
                                         volume_.shape, volume_.dtype});
    fs::create_directories(path.parent_path());
    result_.reconstruction_file = path.string();
    return std::make_unique<RawWriter>(path, volume_.shape, volume_.dtype, volume_.spacing);
  }

  void fail(const std::string& why) {
    result_.status = "failed";
    result_.failure += (result_.failure.empty() ? "" : "; ") + why;
  }

  const Run& run_;
  const Volume& volume_;
  Backend& backend_;
  Communicator& communicator_;
  const BenchmarkSettings& settings_;
  const BenchmarkProgress& progress_;
  ModelSpec spec_;
  Layout layout_;
  Precision precision_;
  Result result_;
  bool resident_ = true;
  VolumeView view_;
  bool drawn_ = false;
};

}  // namespace

namespace {

void require_batch_room(const Run& run, const Backend& backend, double room) {
  const auto per_row = static_cast<double>(backend.bytes_per_row(make_spec(run)));
  const double needed = static_cast<double>(run.batch_size) * per_row;
  if (needed <= room) return;
  throw Error("run " + std::to_string(run.index) + ": a batch_size of " +
              std::to_string(run.batch_size) + " takes " + megabytes(needed) + ", " +
              backend.name() + " has " + megabytes(room) +
              " free beside the parameters: use at most " +
              std::to_string(static_cast<std::int64_t>(room / per_row)));
}

}  // namespace

double require_room(const Run& run, const Backend& backend) {
  if (run.zfp_enc > 0 || run.zfp_mlp > 0) require_zfp();
  const std::string which = "run " + std::to_string(run.index);
  const Layout layout = make_layout(make_spec(run), which);
  const double needed = static_cast<double>(layout.size) * kTrainingBytesPerFloat;
  const double free = static_cast<double>(backend.free_bytes());
  if (needed <= free) {
    require_batch_room(run, backend, free - needed);
    return free - needed;
  }
  throw Error(which + ": training " + std::to_string(layout.parameters) + " parameters takes " +
              megabytes(needed) + ", " + backend.name() + " has " + megabytes(free) +
              " free: use a smaller log2_hashmap_size (" + std::to_string(run.log2_hashmap_size) +
              " here) or fewer levels or neurons");
}

Result run_benchmark(const Run& run, const Volume& volume, Backend& backend,
                     Communicator& communicator, const BenchmarkSettings& settings,
                     const BenchmarkProgress& progress) {
  return Benchmark(run, volume, backend, communicator, settings, progress).run();
}

std::string volume_signature(const Volume& volume) {
  constexpr std::size_t kWords = 1 << 20;
  const std::size_t words = volume.bytes() / sizeof(std::uint64_t);
  const std::size_t stride = std::max<std::size_t>(1, words / kWords);
  const auto* bytes = static_cast<const unsigned char*>(volume.data());
  std::uint64_t hash = mix64(volume.bytes());
  for (std::size_t i = 0; i < words; i += stride) {
    std::uint64_t word;
    std::memcpy(&word, bytes + i * sizeof word, sizeof word);
    hash = mix64(hash ^ word);
  }
  for (std::size_t i = words * sizeof(std::uint64_t); i < volume.bytes(); ++i)
    hash = mix64(hash ^ bytes[i]);
  char range[96];
  std::snprintf(range, sizeof range, "%.17g %.17g %016llx", volume.low, volume.high,
                static_cast<unsigned long long>(hash));
  return volume.name + " " + text(volume.shape) + " " + name(volume.dtype) + " " + range;
}

std::string file_stem(const Run& run, const std::string& dataset, const std::string& id) {
  return dataset + "_" + run.network_type + "_" + std::to_string(run.log2_hashmap_size) + "_" + id;
}

}  // namespace kanbench
