// A baseline's row among those of runs: the columns that it has a figure for.

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "csv_text.h"
#include "decimal.h"
#include "kanbench/baseline.h"
#include "kanbench/result.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

bool is_finished(const BaselineResult& result) { return result.status == "finished"; }

double ratio(const BaselineResult& result) {
  return static_cast<double>(result.data_bytes) / static_cast<double>(result.bytes);
}

// Numbers as numbers; text as text.
std::map<std::string, Json> cells(const BaselineResult& result) {
  std::map<std::string, Json> row{{"dataset_name", result.dataset},
                                  {"data_size", result.data_bytes},
                                  {"network_type", result.baseline.name},
                                  {"num_repeats", 1},
                                  {"num_gpus", 0},
                                  {"status", result.status},
                                  {"run_id", result.run_id},
                                  {"ranks", 1},
                                  {"peak_host_bytes", result.peak_host_bytes},
                                  {"kanbench_version", KANBENCH_VERSION},
                                  {"hostname", result.hostname},
                                  {"started_at", result.started_at}};
  if (result.target > 0) row["matched"] = "ratio " + decimal(result.target);
  if (!is_finished(result)) return row;
  const Metrics& m = result.metrics;
  row.insert({{"inr_size", result.bytes},
              {"compression_ratio", ratio(result)},
              {"avg_psnr", m.psnr},
              {"std_dev_psnr", 0},
              {"avg_ssim", m.ssim},
              {"std_dev_ssim", 0},
              {"avg_mse", m.mse},
              {"std_dev_mse", 0},
              {"avg_ssim_3d", m.ssim_3d},
              {"train_seconds", result.compress_seconds},
              {"reconstruct_seconds", result.decompress_seconds},
              {"store", result.mode}});
  return row;
}

std::string in_csv(const Json& cell) {
  if (cell.is_number_float()) return decimal(cell.get<double>());
  return cell.is_string() ? csv_text(cell.get<std::string>()) : cell.dump();
}

}  // namespace

std::string csv_row(const BaselineResult& result) {
  const std::map<std::string, Json> row = cells(result);
  std::string line;
  for (const std::string& column : csv_columns()) {
    if (column != csv_columns().front()) line += ',';
    if (const auto found = row.find(column); found != row.end()) line += in_csv(found->second);
  }
  return line;
}

std::string json_line(const BaselineResult& result) {
  const Metrics& m = result.metrics;
  Json json{{"run_id", result.run_id},
            {"status", result.status},
            {"csv_row", csv_row(result)},
            {"failure", result.failure},
            {"dataset", result.dataset},
            {"baseline", result.baseline.name},
            {"program", result.baseline.program},
            {"mode", result.mode},
            {"target_ratio", result.target > 0 ? Json(result.target) : Json()},
            {"ssim_variant", result.ssim_variant},
            {"metrics",
             {{"mse", m.mse},
              {"psnr", m.psnr},
              {"ssim", m.ssim},
              {"ssim_3d", m.ssim_3d},
              {"max_error", m.max_error}}}};
  const std::map<std::string, Json> found = cells(result);
  Json row = Json::object();
  for (const std::string& column : csv_columns())
    row[column] = found.contains(column) ? found.at(column) : Json();
  json["row"] = std::move(row);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kanbench
