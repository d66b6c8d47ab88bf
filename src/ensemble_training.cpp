// An ensemble's training: bricks are taken from the work list until all are finished, then what
// was left of each becomes one manifest and one history.

#include "kanbench/ensemble_training.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "brick_record.h"
#include "kanbench/benchmark.h"
#include "kanbench/checkpoint.h"
#include "kanbench/decomposition.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/interruption.h"
#include "kanbench/math/random.h"
#include "kanbench/model_file.h"
#include "kanbench/recipe.h"
#include "kanbench/stored_model.h"
#include "trained_bricks.h"
#include "work_list.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{200};

double system_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

fs::path work_directory(const fs::path& directory) { return directory.string() + ".work"; }

class EnsembleRun {
 public:
  EnsembleRun(const Run& run, std::uint64_t seed, const Volume& volume, Backend& backend,
              Communicator& communicator, Precision precision, const EnsembleSettings& settings,
              const EnsembleProgress& progress)
      : run_(run),
        seed_(seed),
        volume_(volume),
        backend_(backend),
        communicator_(communicator),
        precision_(precision),
        settings_(settings),
        progress_(progress),
        spec_(make_spec(run)) {
    const Shape& grid = run.decomposition.bricks;
    check(grid.count() > 0, "an ensemble without bricks");
    for (std::int64_t i = 0; i < grid.count(); ++i) {
      cores_.push_back(part_of(whole(volume.shape), grid, i));
      held_.push_back(grow(cores_.back(), run.decomposition.ghost, volume.shape));
      sizes_.push_back(held_.back().shape().count());
    }
  }

  EnsembleTraining train() {
    name_job();
    // The first joins before the others, so that it is the one to clear what is left of another.
    together(communicator_, [&] {
      if (communicator_.rank() == 0) join();
    });
    together(communicator_, [&] {
      if (communicator_.rank() != 0) join();
    });
    together(communicator_, [&] {
      try {
        train_all();
      } catch (...) {
        if (communicator_.size() > 1) tell_to_stop(job_);
        throw;
      }
    });
    return conclude();
  }

 private:
  // A word that all ranks of this command know and nobody else.
  void name_job() {
    std::uint64_t word = mix64(static_cast<std::uint64_t>(::getpid())) ^
                         static_cast<std::uint64_t>(1e6 * system_seconds());
    communicator_.broadcast(&word, sizeof word, 0);
    job_ = "." + std::to_string(word);
  }

  void join() {
    const double place =
        communicator_.size() > 1
            ? static_cast<double>(communicator_.rank()) / static_cast<double>(communicator_.size())
            : static_cast<double>(mix64(static_cast<std::uint64_t>(::getpid())) >> 11) * 0x1p-53;
    std::function<bool(const std::string&)> keep;
    if (settings_.resume) keep = [this](const std::string& text) { return stands(text); };
    fs::create_directories(settings_.directory);
    list_ =
        std::make_shared<WorkList>(work_directory(settings_.directory), key(), sizes_, place, keep);
    std::int64_t trained = 0;
    for (std::int64_t i = 0; i < list_->count(); ++i) trained += !list_->record(i).empty();
    if (trained > 0 && progress_.notice && communicator_.rank() == 0)
      progress_.notice("goes on: " + std::to_string(trained) + " of " +
                       std::to_string(list_->count()) + " bricks are trained");
  }

  std::string key() const {
    return settings_.key + " seed " + std::to_string(seed_) + " bricks " +
           text(run_.decomposition.bricks) + " of " + text(volume_.shape);
  }

  // Whether a record found at the start is of a brick that need not be trained again.
  bool stands(const std::string& text) const {
    const BrickRecord record = parse_record(text, work_directory(settings_.directory).string());
    return !record.history.failed &&
           (record.file.empty() || fs::is_regular_file(settings_.directory / record.file));
  }

  void train_all() {
    bool said = false;
    while (!stopped()) {
      if (const std::optional<std::int64_t> brick = list_->take()) {
        train_one(*brick);
        continue;
      }
      if (list_->complete()) return;
      if (!std::exchange(said, true)) say_waiting();
      std::this_thread::sleep_for(kPoll);
    }
    if (communicator_.size() > 1) tell_to_stop(job_);
  }

  // Beside ranks of the same command it goes without saying.
  void say_waiting() const {
    const auto& say = communicator_.size() > 1 ? progress_.detail : progress_.notice;
    const std::int64_t left = list_->count() - list_->finished();
    if (say)
      say("waits for " + std::to_string(left) + (left == 1 ? " brick" : " bricks") +
          " in the hands of other processes");
  }

  // Asked after every step: looks at the disk now and then.
  bool stopped() {
    if (interruption_wished()) return stopped_ = true;
    const Clock::time_point now = Clock::now();
    if (stopped_ || now < next_look_) return stopped_;
    next_look_ = now + kPoll;
    return stopped_ = list_->told_to_stop(job_);
  }

  // Where the others cannot be told, they train on until no brick is left.
  void tell_to_stop(const std::string& job = "") const {
    const std::string failure = list_->tell_to_stop(job);
    if (!failure.empty() && progress_.notice) progress_.notice(failure);
  }

  void train_one(std::int64_t brick) {
    const double began = system_seconds();
    BrickRecord record;
    record.brick = brick;
    record.began = began;
    const Volume part = volume_.cut(held_[static_cast<std::size_t>(brick)]);
    volume_.forget();
    record.low = part.low;
    record.high = part.high;
    if (part.low < part.high) {
      train_model(brick, part, record);
      backend_.displace();
      if (record.history.interrupted) return list_->leave();
    }
    record.ended = system_seconds();
    record.began = std::min(began, record.ended - record.history.seconds);
    list_->finish(to_json(record));
    if (record.history.failed) tell_to_stop();
  }

  void train_model(std::int64_t brick, const Volume& part, BrickRecord& record) {
    const double room = require_room(run_, backend_);
    const std::int64_t voxels = part.shape.count();
    record.batch_size =
        run_.batch_size > 0
            ? run_.batch_size
            : choose_batch_size(voxels, backend_.bytes_per_row(spec_),
                                static_cast<std::size_t>(room), settings_.safety_margin);
    const std::uint64_t seed = seed_of_brick(seed_, brick);
    const Training training = make_training(run_, record.batch_size, seed);
    Model model(backend_, spec_, precision_);
    model.upload(draw_parameters(spec_, make_initialisation(run_), seed));
    const std::unique_ptr<Communicator> alone = open_single();
    alone->attach(backend_);
    prepare_training(model, training, *alone);
    // The steps of another batch size are other steps.
    const CheckpointStore store(
        work_directory(settings_.directory),
        "checkpoint_" + std::to_string(brick) + ".batch" + std::to_string(record.batch_size));
    const Continuation continuation = make_continuation(store, model, *alone);
    describe(brick, part, record.batch_size);
    const Progress progress = progress_of_brick();
    const std::size_t beside =
        static_cast<std::size_t>(record.batch_size) * backend_.bytes_per_row(spec_) +
        backend_.free_bytes() / 16;
    const Box all = whole(part.shape);
    record.history =
        backend_.holds(part, all, beside)
            ? kanbench::train(model, backend_.place(part, all), all, training, *alone, progress,
                              continuation)
            : train_in_bricks(model, part, all, training, *alone, progress, continuation);
    steps_ += training.epochs * steps_per_epoch(part.shape.count(), record.batch_size);
    if (record.history.interrupted || record.history.failed) return;
    record.file = brick_file_name(brick);
    AtomicFile file(settings_.directory / record.file);
    const auto index = static_cast<std::size_t>(brick);
    file.write(encode_on(run_, model, part, within(cores_[index], held_[index]), *alone).bytes);
    file.commit();
    store.remove();
  }

  Continuation make_continuation(const CheckpointStore& store, Model& model, Communicator& alone) {
    Continuation continuation;
    const std::vector<TrainedModel> models{{0, &model}};
    std::vector<std::string> said;
    continuation.from = store.load(1, models, alone, said);
    for (const std::string& sentence : said)
      if (progress_.notice) progress_.notice(sentence);
    continuation.every = settings_.checkpoint_every;
    continuation.stop = [this] { return stopped(); };
    continuation.save = [this, store, models, &alone](const TrainingState& state) {
      if (state.finished) return;
      try {
        store.save(state, 1, models, alone);
      } catch (const Error& error) {
        // A training goes on where it can; one that is to end says what it loses.
        if (state.history.interrupted) throw;
        if (progress_.notice) progress_.notice(std::string("no checkpoint: ") + error.what());
      }
    };
    return continuation;
  }

  void describe(std::int64_t brick, const Volume& part, std::int64_t batch) const {
    if (!progress_.detail) return;
    progress_.detail("brick " + std::to_string(brick) + ": " + text(part.shape) +
                     " voxels, batch size " + std::to_string(batch) + ", " +
                     std::to_string(steps_per_epoch(part.shape.count(), batch)) +
                     " steps an epoch");
  }

  Progress progress_of_brick() const {
    Progress progress;
    progress.recovery = progress_.training.recovery;
    if (!progress_.training.tick) return progress;
    const auto finished = static_cast<double>(list_->finished());
    const auto count = static_cast<double>(list_->count());
    progress.tick = [=, this](Tick tick) {
      tick.done = (finished + tick.done) / count;
      tick.step += steps_;
      progress_.training.tick(tick);
    };
    return progress;
  }

  // Rank 0 reads what all bricks left, and all get it from there.
  EnsembleTraining conclude() {
    EnsembleTraining result;
    std::string text;
    bool assembles = false, interrupted = false;
    together(communicator_, [&] {
      if (communicator_.rank() != 0) return;
      bool missing = false;
      text = read_records(missing);
      // Of a list that was complete another process has measured the whole, and removed the list.
      interrupted = missing && !list_->complete();
      assembles = interrupted || (!missing && list_->assemble() && tidy(text));
    });
    broadcast_text(communicator_, text);
    share(assembles);
    share(interrupted);
    std::vector<BrickRecord> records;
    for (const nlohmann::json& one : nlohmann::json::parse(text))
      records.push_back(parse_record(one.dump(), settings_.directory.string()));
    result.history = combine(records, volume_.high - volume_.low);
    result.history.interrupted = interrupted;
    for (const BrickRecord& record : records)
      result.batch_size = std::max(result.batch_size, record.batch_size);
    result.assembles = assembles;
    result.assembly = list_;
    if (result.history.failed)
      result.failure = name_failed(records);
    else if (!interrupted)
      result.manifest = make_manifest(records);
    return result;
  }

  // A list of those that there are, in the bricks' order; `missing` says whether it has not all.
  std::string read_records(bool& missing) const {
    nlohmann::json all = nlohmann::json::array();
    bool failed = false;
    for (std::int64_t i = 0; i < list_->count(); ++i) {
      const std::string text = list_->record(i);
      missing |= text.empty();
      if (text.empty()) continue;
      failed |= parse_record(text, work_directory(settings_.directory).string()).history.failed;
      all.push_back(nlohmann::json::parse(text));
    }
    missing = missing && !failed;
    return all.dump();
  }

  // Removes from the directory what is not of the ensemble; false where a brick's file is gone.
  bool tidy(const std::string& records) const {
    if (!fs::is_directory(settings_.directory)) return false;
    std::vector<std::string> files;
    for (const nlohmann::json& record : nlohmann::json::parse(records))
      files.push_back(record.at("file"));
    std::vector<fs::path> unwanted;
    for (const fs::directory_entry& entry : fs::directory_iterator(settings_.directory))
      if (std::find(files.begin(), files.end(), entry.path().filename()) == files.end())
        unwanted.push_back(entry.path());
    for (const fs::path& path : unwanted) fs::remove_all(path);
    return std::all_of(files.begin(), files.end(), [&](const std::string& file) {
      return file.empty() || fs::is_regular_file(settings_.directory / file);
    });
  }

  void share(bool& flag) { communicator_.broadcast(&flag, sizeof flag, 0); }

  std::string name_failed(const std::vector<BrickRecord>& records) const {
    const auto found = std::find_if(records.begin(), records.end(),
                                    [](const BrickRecord& one) { return one.history.failed; });
    return "brick " + std::to_string(found->brick) +
           ": the loss was not finite three times in a row; try a smaller lrate";
  }

  Manifest make_manifest(const std::vector<BrickRecord>& records) const {
    const Decomposition& how = run_.decomposition;
    Manifest all{
        volume_.name, volume_.shape, volume_.dtype, volume_.low, volume_.high, volume_.spacing,
        how.bricks,   how.ghost,     how.blend,     true,        {},           volume_.origin};
    for (std::size_t i = 0; i < records.size(); ++i)
      all.bricks.push_back({cores_[i], held_[i], records[i].low, records[i].high, records[i].file});
    return all;
  }

  const Run& run_;
  std::uint64_t seed_;
  const Volume& volume_;
  Backend& backend_;
  Communicator& communicator_;
  Precision precision_;
  const EnsembleSettings& settings_;
  const EnsembleProgress& progress_;
  ModelSpec spec_;
  std::vector<Box> cores_, held_;
  std::vector<std::int64_t> sizes_;
  std::shared_ptr<WorkList> list_;
  // Those of the bricks that this rank has trained.
  std::int64_t steps_ = 0;
  std::string job_;
  bool stopped_ = false;
  Clock::time_point next_look_{};
};

}  // namespace

EnsembleTraining train_ensemble(const Run& run, std::uint64_t seed, const Volume& volume,
                                Backend& backend, Communicator& communicator, Precision precision,
                                const EnsembleSettings& settings,
                                const EnsembleProgress& progress) {
  return EnsembleRun(run, seed, volume, backend, communicator, precision, settings, progress)
      .train();
}

void remove_ensemble(const fs::path& directory) {
  std::error_code ignored;
  fs::remove_all(directory, ignored);
  fs::remove_all(work_directory(directory), ignored);
}

std::uint64_t seed_of_brick(std::uint64_t seed, std::int64_t brick) {
  return mix64(mix64(seed) + static_cast<std::uint64_t>(brick));
}

}  // namespace kanbench
