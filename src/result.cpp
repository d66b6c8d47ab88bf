// One run's results as a CSV row and as a JSON line.

#include "kanbench/result.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "csv_text.h"
#include "decimal.h"
#include "decoder_kind.h"
#include "encoder_choice.h"
#include "hash.h"

namespace kanbench {

namespace {

using Json = nlohmann::ordered_json;

/// One cell: nothing, text, a whole number or a real one.
using Cell = std::variant<std::monostate, std::string, std::int64_t, std::uint64_t, double>;
using Column = std::pair<std::string, Cell>;

struct Spread {
  double mean = 0, deviation = 0;
};

/// Mean and population standard deviation; equal values, infinite ones too, deviate by 0.
Spread spread(const std::vector<double>& values) {
  if (std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; }))
    return {values[0], 0};
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (double value : values) sum += value;
  for (double value : values) squares += (value - sum / count) * (value - sum / count);
  return {sum / count, std::sqrt(squares / count)};
}

/// What `field` gives for each trial that ended well.
template <class Field>
std::vector<double> over_trials(const Result& result, Field field) {
  std::vector<double> values;
  for (const Trial& trial : result.trials)
    if (!trial.history.failed && !trial.history.interrupted)
      values.push_back(static_cast<double>(field(trial)));
  return values;
}

Cell mean_cell(const std::vector<double>& values) {
  if (values.empty()) return {};
  return spread(values).mean;
}

Cell deviation_cell(const std::vector<double>& values) {
  if (values.empty()) return {};
  return spread(values).deviation;
}

/// As a whole number where it is one.
Cell whole_cell(const Cell& cell) {
  const auto* value = std::get_if<double>(&cell);
  if (value && std::abs(*value) < 9e15 && *value == std::floor(*value))
    return static_cast<std::int64_t>(*value);
  return cell;
}

/// The first of the environment's variables that holds something.
std::string environment(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value && *value) return value;
  return "";
}

/// Mean seconds of an epoch over all trials, those that failed later too.
Cell seconds_per_epoch(const Result& result) {
  double seconds = 0;
  std::size_t epochs = 0;
  for (const Trial& trial : result.trials)
    for (const Epoch& epoch : trial.history.epochs) {
      seconds += epoch.seconds;
      ++epochs;
    }
  if (epochs == 0) return {};
  return seconds / static_cast<double>(epochs);
}

Cell samples_per_second(const Result& result) {
  double samples = 0, seconds = 0;
  for (const Trial& trial : result.trials)
    for (const Epoch& epoch : trial.history.epochs) {
      samples += static_cast<double>(epoch.samples);
      seconds += epoch.seconds;
    }
  if (!(seconds > 0)) return {};
  return samples / seconds;
}

/// A hash of all that decides how long an epoch takes.
std::string epoch_time_hash(const Result& result) {
  const Run& run = result.run;
  std::string text;
  const auto add = [&](const std::string& part) { text += part + '\n'; };
  for (const std::int64_t number :
       {result.data_bytes, result.batch_size, std::int64_t{result.ranks},
        std::int64_t{run.n_neurons}, std::int64_t{run.n_hidden_layers}, std::int64_t{run.n_levels},
        std::int64_t{run.n_features_per_level}, std::int64_t{run.log2_hashmap_size},
        std::int64_t{run.base_resolution}, std::int64_t{run.faithful}})
    add(std::to_string(number));
  if (run.network_type == "fastkan")
    add(std::to_string(run.kan.num_grids) + (run.kan.use_base_update ? " base" : ""));
  else if (run.network_type != "mlp")
    add(std::to_string(run.kan.num_grids) + ' ' + decoder_text(run));
  for (const std::string& part :
       {run.network_type, run.encoder, decimal(run.per_level_scale), run.loss,
        run.output_activation, result.precision, result.decomposition, result.device})
    add(part);
  // Those that cost time, where they are not what they always were.
  if (run.training.optimizer != "adam") add(run.training.optimizer);
  if (run.training.sampling != "uniform") add(run.training.sampling);
  if (training_option(run, "clip_gradient") > 0.0) add("clipped");
  if (training_option(run, "l1_edges") > 0.0 || training_option(run, "entropy_edges") > 0.0)
    add("edges");
  if (run.n_outputs > 1) add("outputs " + std::to_string(run.n_outputs));
  return short_hash(text);
}

void add_reference_columns(const Result& result, std::vector<Column>& row) {
  const Run& run = result.run;
  const DecoderKind* kind = run.network_type.empty() ? nullptr : &decoder_kind(run.network_type);
  const auto where_taken = [&](const char* key, Cell cell) {
    return kind && kind->takes(key) ? cell : Cell{};
  };
  const auto psnr = over_trials(result, [](const Trial& t) { return t.metrics.psnr; });
  const auto ssim = over_trials(result, [](const Trial& t) { return t.metrics.ssim; });
  const auto mse = over_trials(result, [](const Trial& t) { return t.metrics.mse; });
  const auto bytes = over_trials(result, [](const Trial& t) { return t.inr_bytes; });
  const double inr = bytes.empty() ? 0 : spread(bytes).mean;
  const auto whole = [](auto value) { return Cell(static_cast<std::int64_t>(value)); };
  row.insert(
      row.end(),
      {{"dataset_name", run.dataset},
       {"data_size", result.data_bytes},
       {"inr_size", whole_cell(mean_cell(bytes))},
       {"network_type", run.network_type},
       {"epoch_count", whole(run.epochs)},
       {"num_neurons", whole(run.n_neurons)},
       {"num_hidden_layers", whole(run.n_hidden_layers)},
       {"num_levels", whole(run.n_levels)},
       {"num_features_per_level", whole(run.n_features_per_level)},
       {"per_level_scale", run.per_level_scale},
       {"log2_hashmap_size", whole(run.log2_hashmap_size)},
       {"base_resolution", whole(run.base_resolution)},
       {"num_repeats", whole(run.repeats)},
       {"avg_time_per_epoch", seconds_per_epoch(result)},
       {"num_gpus", whole(result.device.starts_with("cuda") ? result.ranks : 0)},
       {"compression_ratio", inr > 0 ? Cell(static_cast<double>(result.data_bytes) / inr) : Cell{}},
       {"kan_grid_radius", where_taken("grid_radius", run.kan.grid_radius)},
       {"kan_grid_radius_step", where_taken("grid_radius", run.kan.grid_radius_step)},
       {"kan_num_grids", where_taken("num_grids", whole(run.kan.num_grids))},
       {"kan_num_grids_step", where_taken("num_grids", whole(run.kan.num_grids_step))},
       {"batch_size", result.batch_size},
       {"pbs_job_id", environment({"PBS_JOBID", "SLURM_JOB_ID"})},
       {"pbs_array_index", environment({"PBS_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID"})},
       {"epoch_time_hash", epoch_time_hash(result)},
       {"avg_psnr", mean_cell(psnr)},
       {"std_dev_psnr", deviation_cell(psnr)},
       {"avg_ssim", mean_cell(ssim)},
       {"std_dev_ssim", deviation_cell(ssim)},
       {"avg_mse", mean_cell(mse)},
       {"std_dev_mse", deviation_cell(mse)}});
}

void add_own_columns(const Result& result, std::vector<Column>& row) {
  const Run& run = result.run;
  const auto ssim_3d = over_trials(result, [](const Trial& t) { return t.metrics.ssim_3d; });
  std::vector<double> training;
  for (const Trial& trial : result.trials) training.push_back(trial.history.seconds);
  const auto reconstruction =
      over_trials(result, [](const Trial& t) { return t.reconstruct_seconds; });
  row.insert(row.end(), {{"avg_ssim_3d", mean_cell(ssim_3d)},
                         {"status", result.status},
                         {"run_index", run.index},
                         {"run_id", result.run_id},
                         {"encoder", encoder_names(run)},
                         {"encoder_params", encoder_numbers(run)},
                         {"precision", result.precision},
                         {"loss", run.loss},
                         {"lrate", run.lrate},
                         {"lrate_decay", std::int64_t{run.lrate_decay}},
                         {"n_parameters", result.n_parameters},
                         {"ranks", std::int64_t{result.ranks}},
                         {"decomposition", result.decomposition},
                         {"device", result.device},
                         {"samples_per_second", samples_per_second(result)},
                         {"train_seconds", mean_cell(training)},
                         {"reconstruct_seconds", mean_cell(reconstruction)},
                         {"peak_device_bytes", result.peak_device_bytes},
                         {"peak_host_bytes", result.peak_host_bytes},
                         {"seed", run.seed},
                         {"kanbench_version", KANBENCH_VERSION},
                         {"hostname", result.hostname},
                         {"started_at", result.started_at},
                         {"decoder_params", decoder_text(run)},
                         {"matched", run.matched}});
}

void add_training_columns(const Result& result, std::vector<Column>& row) {
  const Run& run = result.run;
  row.insert(row.end(), {{"optimizer", run.training.optimizer},
                         {"schedule", run.training.schedule},
                         {"sampling", run.training.sampling}});
  const auto known = [&](const char* key) {
    return std::any_of(row.begin(), row.end(), [&](const Column& c) { return c.first == key; });
  };
  for (const TrainingOption& option : training_options()) {
    if (known(option.key)) continue;
    const std::optional<double> value = training_option(run, option.key);
    row.emplace_back(option.key, value ? whole_cell(*value) : Cell{});
  }
  std::vector<double> looking;
  for (const Trial& trial : result.trials) looking.push_back(trial.history.sampling_seconds);
  row.emplace_back("sampling_seconds", mean_cell(looking));
}

/// The mean of a figure over the trials, of each component, a space between two; nothing of one.
Cell component_cell(const Result& result, double Metrics::*figure) {
  std::string words;
  for (int c = 0; result.run.n_outputs > 1 && c < result.run.n_outputs; ++c) {
    const auto each = over_trials(result, [&](const Trial& trial) {
      const auto at = static_cast<std::size_t>(c);
      return at < trial.components.size() ? trial.components[at].*figure : NAN;
    });
    if (!each.empty()) words += (c > 0 ? " " : "") + decimal(spread(each).mean);
  }
  return words;
}

void add_output_columns(const Result& result, std::vector<Column>& row) {
  row.insert(row.end(), {{"n_outputs", std::int64_t{result.run.n_outputs}},
                         {"psnr_components", component_cell(result, &Metrics::psnr)},
                         {"ssim_components", component_cell(result, &Metrics::ssim)},
                         {"mse_components", component_cell(result, &Metrics::mse)}});
}

/// How the parameters were stored: "fp32", "zfp:0.004", "zfp_enc=0.004 zfp_mlp=0.002", "int8".
std::string store_text(const Run& run) {
  if (run.zfp_enc == 0 && run.zfp_mlp == 0) return run.store;
  if (run.zfp_enc == run.zfp_mlp) return "zfp:" + decimal(run.zfp_enc);
  return "zfp_enc=" + decimal(run.zfp_enc) + " zfp_mlp=" + decimal(run.zfp_mlp);
}

std::vector<Column> columns(const Result& result) {
  std::vector<Column> row;
  add_reference_columns(result, row);
  add_own_columns(result, row);
  add_training_columns(result, row);
  add_output_columns(result, row);
  row.emplace_back("store", store_text(result.run));
  return row;
}

std::string csv_text(const Cell& cell) {
  if (const auto* value = std::get_if<double>(&cell)) return decimal(*value);
  if (const auto* value = std::get_if<std::int64_t>(&cell)) return std::to_string(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&cell)) return std::to_string(*value);
  const auto* found = std::get_if<std::string>(&cell);
  return found ? kanbench::csv_text(*found) : "";
}

Json json_value(const Cell& cell) {
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>)
          return nullptr;
        else
          return value;
      },
      cell);
}

Json json_of(const Metrics& metrics) {
  return {{"mse", metrics.mse},
          {"psnr", metrics.psnr},
          {"ssim", metrics.ssim},
          {"ssim_3d", metrics.ssim_3d},
          {"max_error", metrics.max_error}};
}

Json json_of(const Trial& trial) {
  Json epochs = Json::array(), recoveries = Json::array();
  for (const Epoch& epoch : trial.history.epochs)
    epochs.push_back({{"loss", epoch.loss},
                      {"psnr", epoch.psnr},
                      {"seconds", epoch.seconds},
                      {"samples", epoch.samples},
                      {"lrate", epoch.lrate}});
  for (const Recovery& recovery : trial.history.recoveries)
    recoveries.push_back(
        {{"epoch", recovery.epoch}, {"step", recovery.step}, {"lrate", recovery.lrate}});
  Json json{{"seed", trial.seed},
            {"failed", trial.history.failed},
            {"interrupted", trial.history.interrupted},
            {"train_seconds", trial.history.seconds},
            {"communication_seconds", trial.history.communication_seconds},
            {"sampling_seconds", trial.history.sampling_seconds},
            {"reconstruct_seconds", trial.reconstruct_seconds},
            {"inr_bytes", trial.inr_bytes},
            {"stored", trial.stored},
            {"metrics", json_of(trial.metrics)},
            {"epochs", std::move(epochs)},
            {"recoveries", std::move(recoveries)}};
  if (trial.components.size() > 1)
    for (const Metrics& one : trial.components) json["components"].push_back(json_of(one));
  return json;
}

}  // namespace

const std::vector<std::string>& csv_columns() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> found;
    const Result empty;
    for (const auto& [name, cell] : columns(empty)) found.push_back(name);
    return found;
  }();
  return names;
}

std::string csv_row(const Result& result) {
  std::string row;
  for (const auto& [name, cell] : columns(result)) {
    if (name != csv_columns().front()) row += ',';
    row += csv_text(cell);
  }
  return row;
}

std::string json_line(const Result& result) {
  // run_id, status and csv_row stand first: ResultFile reads no further.
  Json json{{"run_id", result.run_id},
            {"status", result.status},
            {"csv_row", csv_row(result)},
            {"failure", result.failure},
            {"dataset", result.run.dataset},
            {"run_index", result.run.index},
            {"run", Json::parse(to_json(result.run))},
            {"repeats", result.run.repeats},
            {"faithful", result.run.faithful},
            {"ssim_variant", result.ssim_variant},
            {"model_file", result.model_file},
            {"reconstruction_file", result.reconstruction_file}};
  Json row = Json::object();
  for (const auto& [name, cell] : columns(result)) row[name] = json_value(cell);
  json["row"] = std::move(row);
  Json trials = Json::array();
  for (const Trial& trial : result.trials) trials.push_back(json_of(trial));
  json["trials"] = std::move(trials);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kanbench
