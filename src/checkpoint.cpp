// Checkpoints: where they are, who writes which part, and which of them is taken up again.

#include "kanbench/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "checkpoint_file.h"
#include "kanbench/backend.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/model.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// Beside the models themselves memory holds only so much of a checkpoint.
constexpr std::int64_t kChunk = 64 << 20;
constexpr std::size_t kKept = 2, kDigits = 12;

using Block = CheckpointLayout::Block;

struct Found {
  fs::path path;
  std::int64_t step = 0;
};

std::string file_name(const std::string& name, std::int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, kDigits - std::min(kDigits, digits.size()), '0');
  return name + "." + digits + ".ckpt";
}

// The step in "NAME.000000000123.ckpt", -1 where `file` is no such name.
std::int64_t step_of(const std::string& file, const std::string& name) {
  if (!file.starts_with(name + ".")) return -1;
  std::int64_t step = -1;
  std::from_chars(file.data() + name.size() + 1, file.data() + file.size(), step);
  return step >= 0 && file == file_name(name, step) ? step : -1;
}

// Newest first.
std::vector<Found> list(const fs::path& directory, const std::string& name) {
  std::vector<Found> found;
  std::error_code failure;
  fs::directory_iterator at(directory, failure), end;
  for (; !failure && at != end; at.increment(failure)) {
    const std::int64_t step = step_of(at->path().filename().string(), name);
    if (step >= 0) found.push_back({at->path(), step});
  }
  if (failure && failure != std::errc::no_such_file_or_directory)
    throw Error(directory.string() + ": cannot be searched for checkpoints: " + failure.message());
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.step > b.step; });
  return found;
}

void make_directory(const fs::path& directory) {
  std::error_code failure;
  fs::create_directories(directory, failure);
  if (failure)
    throw Error(directory.string() + ": cannot be made for checkpoints: " + failure.message());
}

// Removes what `gone` says of (place among the newest, step); what cannot be removed stays.
template <class Gone>
void remove_where(const fs::path& directory, const std::string& name, Gone&& gone) {
  try {
    std::size_t place = 0;
    std::error_code ignored;
    for (const Found& found : list(directory, name))
      if (gone(place++, found.step)) fs::remove(found.path, ignored);
  } catch (const Error&) {
  }
}

// Of those up to `step` the newest stay; a later one is of a training that was not gone on with.
void keep_newest(const fs::path& directory, const std::string& name, std::int64_t step) {
  std::size_t later = 0;
  remove_where(directory, name, [&](std::size_t place, std::int64_t found) {
    later += found > step;
    return found > step || place >= later + kKept;
  });
}

// What rank 0 has, for all.
std::string share_text(std::string text, Communicator& communicator) {
  broadcast_text(communicator, text);
  return text;
}

// The sum of what the ranks have of a hash.
std::uint64_t total(std::uint64_t mine, Communicator& communicator) {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(&mine, sizeof mine, all.data());
  return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
}

// Of each of the models that are trained together: floats, the lowest rank that has it, and
// whether the moments are shared out among those that do, rather than each having all.
struct Holders {
  std::vector<std::int64_t> sizes;
  std::vector<int> lowest;
  std::vector<bool> shared_out;
};

Holders find_holders(std::int64_t count, const std::vector<TrainedModel>& mine,
                     Communicator& communicator) {
  const auto models = static_cast<std::size_t>(count);
  const int ranks = communicator.size();
  std::vector<double> most(3 * models, -std::numeric_limits<double>::infinity());
  std::vector<double> moments(models);
  for (const TrainedModel& one : mine) {
    const auto i = static_cast<std::size_t>(one.number);
    check(one.number >= 0 && one.number < count && one.model->training(), "a model not trained");
    most[i] = static_cast<double>(one.model->layout().size);
    most[models + i] = -most[i];
    most[2 * models + i] = ranks - communicator.rank();
    moments[i] = static_cast<double>(one.model->share().size());
  }
  communicator.maximum(most.data(), 3 * count);
  communicator.sum(moments.data(), count);
  Holders holders;
  for (std::size_t i = 0; i < models; ++i) {
    check(most[2 * models + i] > 0, "a model that no rank has");
    check(most[i] == -most[models + i], "a model of several sizes");
    holders.sizes.push_back(static_cast<std::int64_t>(most[i]));
    holders.lowest.push_back(ranks - static_cast<int>(most[2 * models + i]));
    holders.shared_out.push_back(moments[i] == most[i]);
  }
  return holders;
}

// A part of a checkpoint that lies together, there and in a model's memory.
struct Part {
  std::int64_t model = 0;
  Block block = Block::parameters;
  Range range;
  float* memory = nullptr;
};

// The moments that this rank has of a model.
std::array<Part, 2> moments_of(const TrainedModel& one) {
  const Range share = one.model->share();
  return {Part{one.number, Block::first_moment, share, one.model->first_moment().data()},
          Part{one.number, Block::second_moment, share, one.model->second_moment().data()}};
}

Part parameters_of(const TrainedModel& one) {
  return {
      one.number, Block::parameters, {0, one.model->layout().size}, one.model->parameters().data()};
}

// Calls `use(offset, memory, bytes)` for each piece of at most a chunk.
template <class Use>
void each_chunk(const CheckpointLayout& layout, const Part& part, Use&& use) {
  constexpr std::int64_t kFloats = kChunk / static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t at = part.range.begin; at < part.range.end; at += kFloats) {
    const std::int64_t count = std::min(kFloats, part.range.end - at);
    use(layout.offset(part.model, part.block, at), part.memory + (at - part.range.begin),
        static_cast<std::size_t>(count) * sizeof(float));
  }
}

// Writes a part through host memory and returns what it adds to the hash.
std::uint64_t write_part(const CheckpointLayout& layout, const Part& part, Backend& backend,
                         ParallelFile& file, std::vector<char>& room) {
  std::uint64_t hash = 0;
  each_chunk(layout, part, [&](std::int64_t offset, float* memory, std::size_t bytes) {
    room.resize(std::max(room.size(), bytes));
    backend.download(room.data(), memory, bytes);
    hash += hash_part(room.data(), bytes, offset);
    file.write(offset, room.data(), bytes);
  });
  return hash;
}

void read_part(const CheckpointLayout& layout, const Part& part, Backend& backend,
               const CheckpointReader& reader, std::vector<char>& room) {
  each_chunk(layout, part, [&](std::int64_t offset, float* memory, std::size_t bytes) {
    room.resize(std::max(room.size(), bytes));
    reader.read(offset, room.data(), bytes);
    backend.upload(memory, room.data(), bytes);
  });
}

// All that this rank writes; moments that several ranks have in full are the lowest one's.
std::uint64_t write_parts(const CheckpointLayout& layout, const Holders& holders,
                          const std::vector<TrainedModel>& mine, int rank, ParallelFile& file) {
  std::vector<char> room;
  std::uint64_t hash = 0;
  if (rank == 0) {
    file.write(0, layout.header().data(), layout.header().size());
    hash += hash_part(layout.header().data(), layout.header().size(), 0);
  }
  for (const TrainedModel& one : mine) {
    const auto number = static_cast<std::size_t>(one.number);
    const bool lowest = holders.lowest[number] == rank;
    Backend& backend = one.model->backend();
    if (lowest) hash += write_part(layout, parameters_of(one), backend, file, room);
    if (!lowest && !holders.shared_out[number]) continue;
    for (const Part& part : moments_of(one)) hash += write_part(layout, part, backend, file, room);
  }
  return hash;
}

void set_models(const CheckpointLayout& layout, const CheckpointReader& reader,
                const std::vector<TrainedModel>& mine) {
  std::vector<char> room;
  for (const TrainedModel& one : mine) {
    Backend& backend = one.model->backend();
    read_part(layout, parameters_of(one), backend, reader, room);
    for (const Part& part : moments_of(one)) read_part(layout, part, backend, reader, room);
    backend.parameters_changed(*one.model);
  }
}

// The state that `path` holds; throws Error, on all ranks, where it is not whole or does not fit.
std::string open_state(const fs::path& path, const std::string& name, const Holders& holders,
                       Communicator& communicator, std::unique_ptr<CheckpointReader>& reader) {
  std::string state;
  std::uint64_t part = 0, stored = 0;
  together(communicator, [&] {
    reader = std::make_unique<CheckpointReader>(path);
    state = reader->read_state(name, holders.sizes);
    decode_state(state);
    part = reader->hash(communicator.rank(), communicator.size(), kChunk);
    stored = reader->stored_hash();
  });
  const std::uint64_t hash = total(part, communicator);
  together(communicator, [&] {
    if (hash != stored) throw Error("it is damaged: its content is not what its hash says");
  });
  return state;
}

}  // namespace

CheckpointInterval parse_interval(const std::string& word, const std::string& what) {
  double number = 0;
  const char* last = word.data() + word.size();
  const auto [stopped, failure] = std::from_chars(word.data(), last, number);
  const std::string unit = failure == std::errc() ? std::string(stopped, last) : "";
  const bool minutes = unit == "min", epochs = unit == "epochs" || unit == "epoch";
  constexpr double most_epochs = std::numeric_limits<int>::max();
  if (minutes && std::isfinite(number) && number > 0) return {number, 0};
  if (epochs && number >= 1 && number <= most_epochs && number == std::floor(number))
    return {0, static_cast<int>(number)};
  throw Error(what + ": expected minutes as 10min or epochs as 5epochs, more than none of them, " +
              "found '" + word + "'");
}

CheckpointStore::CheckpointStore(std::filesystem::path directory, std::string name)
    : directory_(std::move(directory)), name_(std::move(name)) {}

void CheckpointStore::save(const TrainingState& state, std::int64_t count,
                           const std::vector<TrainedModel>& mine,
                           Communicator& communicator) const {
  const Holders holders = find_holders(count, mine, communicator);
  together(communicator, [&] {
    if (communicator.rank() == 0) make_directory(directory_);
  });
  // Seconds differ between ranks; the file has those of one.
  const CheckpointLayout layout(name_, share_text(encode_state(state), communicator),
                                holders.sizes);
  const std::unique_ptr<ParallelFile> file =
      communicator.create_file(directory_ / file_name(name_, state.step), layout.bytes());
  std::uint64_t part = 0;
  together(communicator,
           [&] { part = write_parts(layout, holders, mine, communicator.rank(), *file); });
  const std::uint64_t hash = total(part, communicator);
  together(communicator, [&] {
    if (communicator.rank() == 0) file->write(layout.hash_offset(), &hash, sizeof hash);
  });
  file->commit();
  if (communicator.rank() == 0) keep_newest(directory_, name_, state.step);
}

std::optional<TrainingState> CheckpointStore::load(std::int64_t count,
                                                   const std::vector<TrainedModel>& mine,
                                                   Communicator& communicator,
                                                   std::vector<std::string>& said) const {
  const Holders holders = find_holders(count, mine, communicator);
  std::string steps;
  together(communicator, [&] {
    if (communicator.rank() != 0) return;
    for (const Found& found : list(directory_, name_)) steps += std::to_string(found.step) + " ";
  });
  steps = share_text(std::move(steps), communicator);
  for (std::size_t at = 0; at < steps.size(); at = steps.find(' ', at) + 1) {
    const fs::path path = directory_ / file_name(name_, std::stoll(steps.substr(at)));
    std::unique_ptr<CheckpointReader> reader;
    std::string state;
    try {
      state = open_state(path, name_, holders, communicator, reader);
    } catch (const Error& error) {
      said.push_back(path.string() + ": this checkpoint is passed over: " + error.what());
      continue;
    }
    together(communicator,
             [&] { set_models(CheckpointLayout(name_, state, holders.sizes), *reader, mine); });
    return decode_state(state);
  }
  return std::nullopt;
}

void CheckpointStore::remove() const {
  remove_where(directory_, name_, [](std::size_t, std::int64_t) { return true; });
  std::error_code ignored;
  fs::remove(directory_, ignored);
}

}  // namespace kanbench
