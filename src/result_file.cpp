// The pair FILE.csv and FILE.jsonl. The JSON lines are the truth: a run is done once its line is
// whole, and the CSV is made to agree with them whenever either is touched.

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/result.h"
#include "shared_file.h"

namespace kanbench {

namespace {

namespace fs = std::filesystem;

/// A JSON line and what its head says.
struct Record {
  std::string run_id, status, csv_row, line;
};

/// Reads the first three members of a JSON line and stops there: histories are long.
class Head : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Head(Record& record) : record_(record) {}
  bool complete() const { return found_ == 3; }

  bool string(std::string& value) override {
    if (depth_ != 1) return true;
    std::string* to = key_ == "run_id"    ? &record_.run_id
                      : key_ == "status"  ? &record_.status
                      : key_ == "csv_row" ? &record_.csv_row
                                          : nullptr;
    if (!to) return true;
    *to = std::move(value);
    return ++found_ < 3;
  }
  bool key(std::string& name) override {
    key_ = name;
    return true;
  }
  bool start_object(std::size_t) override { return ++depth_ > 0; }
  bool end_object() override { return --depth_ > 0; }
  bool start_array(std::size_t) override { return ++depth_ > 1; }
  bool end_array() override { return --depth_ > 0; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(std::int64_t) override { return true; }
  bool number_unsigned(std::uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  Record& record_;
  std::string key_;
  int depth_ = 0, found_ = 0;
};

/// The file's content; nothing where there is no file.
std::string read_if_there(const fs::path& path) {
  return fs::exists(path) ? read_file(path) : std::string();
}

/// Lines without their ends, empty ones left out; `torn` gets what follows the last end. Each line
/// comes with its number, from 1.
std::vector<std::pair<std::size_t, std::string>> split_lines(const std::string& text,
                                                             std::string& torn) {
  std::vector<std::pair<std::size_t, std::string>> lines;
  std::size_t begin = 0, number = 1;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) lines.emplace_back(number, std::move(line));
    ++number;
  }
  torn = text.substr(begin);
  return lines;
}

/// The last record of each run, in the file's order. A torn last line is none.
std::vector<Record> read_records(const std::string& text, const fs::path& path) {
  std::string torn;
  auto lines = split_lines(text, torn);
  // Only the line's end was lost.
  if (nlohmann::json::accept(torn)) lines.emplace_back(lines.size() + 1, torn);
  std::vector<Record> records;
  std::map<std::string, std::size_t> last;
  for (auto& [number, line] : lines) {
    Record record;
    Head head(record);
    nlohmann::json::sax_parse(line, &head);
    if (!head.complete())
      throw Error(path.string() + ": line " + std::to_string(number) +
                  " is not a result of ours, take it out or name another file");
    record.line = std::move(line);
    last[record.run_id] = records.size();
    records.push_back(std::move(record));
  }
  std::vector<Record> kept;
  for (std::size_t i = 0; i < records.size(); ++i)
    if (last[records[i].run_id] == i) kept.push_back(std::move(records[i]));
  return kept;
}

/// The fields of a CSV line, quotes taken off.
std::vector<std::string> split_fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool inside = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (inside && c == '"' && i + 1 < line.size() && line[i + 1] == '"')
      fields.back() += line[++i];
    else if (c == '"')
      inside = !inside;
    else if (c == ',' && !inside)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

std::string header() { return join(csv_columns(), ","); }

void check_header(const std::string& line, const fs::path& path) {
  const auto found = split_fields(line);
  const auto& wanted = csv_columns();
  for (std::size_t i = 0; i < std::max(found.size(), wanted.size()); ++i) {
    if (i < found.size() && i < wanted.size() && found[i] == wanted[i]) continue;
    throw Error(path.string() + ": column " + std::to_string(i + 1) + " is " +
                (i < found.size() ? "'" + found[i] + "'" : "missing") + ", must be " +
                (i < wanted.size() ? "'" + wanted[i] + "'" : "the line's end") +
                "; name another file with --output");
  }
}

/// The CSV that agrees with `records`: rows keep their order, those of `records` their text; rows
/// of runs unknown to `records` stay; a torn last line goes.
std::string reconcile(const std::string& csv, const std::vector<Record>& records,
                      const fs::path& path) {
  std::string torn;
  auto lines = split_lines(csv, torn);
  if (!lines.empty())
    check_header(lines.front().second, path);
  else if (!header().starts_with(torn))
    check_header(torn, path);
  if (lines.empty() && records.empty()) return "";
  std::string text = header() + "\n";
  std::map<std::string, const Record*> missing;
  for (const Record& record : records) missing[record.run_id] = &record;
  std::set<std::string> written;
  const auto id_column = static_cast<std::size_t>(
      std::find(csv_columns().begin(), csv_columns().end(), "run_id") - csv_columns().begin());
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const auto& [number, line] = lines[i];
    const auto fields = split_fields(line);
    if (fields.size() != csv_columns().size())
      throw Error(path.string() + ": line " + std::to_string(number) + " has " +
                  std::to_string(fields.size()) + " columns, must have " +
                  std::to_string(csv_columns().size()) + "; take it out or name another file");
    const std::string& id = fields[id_column];
    if (!written.insert(id).second) continue;
    const auto record = missing.find(id);
    text += (record == missing.end() ? line : record->second->csv_row) + "\n";
  }
  for (const Record& record : records)
    if (written.insert(record.run_id).second) text += record.csv_row + "\n";
  return text;
}

std::string text_of(const std::vector<Record>& records) {
  std::string text;
  for (const Record& record : records) text += record.line + "\n";
  return text;
}

/// Turns the file's content from `old` into `wanted`: by one append or cut where that does it.
void put(const fs::path& path, const std::string& old, const std::string& wanted) {
  if (wanted == old) return;
  if (wanted.starts_with(old))
    return append_whole(path, std::string_view(wanted).substr(old.size()));
  if (old.starts_with(wanted)) return cut(path, wanted.size());
  AtomicFile file(path);
  file.write(wanted);
  file.commit();
}

fs::path lock_of(fs::path csv) { return csv += ".lock"; }

/// Brings both files to what `add`, null for nothing, and what they hold make of them. The lock is
/// held by the caller.
void update(const fs::path& csv, const fs::path& json_lines, const Record* add) {
  const std::string old_json = read_if_there(json_lines), old_csv = read_if_there(csv);
  auto records = read_records(old_json, json_lines);
  // A CSV that is not ours is found out before anything is written.
  reconcile(old_csv, records, csv);
  if (add) {
    const auto same = std::find_if(records.begin(), records.end(), [&](const Record& record) {
      return record.run_id == add->run_id;
    });
    if (same == records.end())
      records.push_back(*add);
    else
      *same = *add;
  }
  put(json_lines, old_json, text_of(records));
  put(csv, old_csv, reconcile(old_csv, records, csv));
}

}  // namespace

ResultFile::ResultFile(fs::path csv) : csv_(std::move(csv)) {
  if (!csv_.has_filename() || csv_.extension() == ".jsonl" || fs::is_directory(csv_))
    throw Error("'" + csv_.string() + "' cannot hold results, name a file like results.csv");
  const FileLock lock(lock_of(csv_));
  update(csv_, json_lines(), nullptr);
}

fs::path ResultFile::json_lines() const {
  fs::path path = csv_;
  return path.replace_extension(".jsonl");
}

std::string ResultFile::status(const std::string& run_id) const {
  const FileLock lock(lock_of(csv_));
  for (const Record& record : read_records(read_if_there(json_lines()), json_lines()))
    if (record.run_id == run_id) return record.status;
  return "";
}

void ResultFile::append(const Result& result) {
  append(result.run_id, result.status, csv_row(result), json_line(result));
}

void ResultFile::append(const std::string& run_id, const std::string& status,
                        const std::string& csv_row, const std::string& json_line) {
  const Record record{run_id, status, csv_row, json_line};
  const FileLock lock(lock_of(csv_));
  update(csv_, json_lines(), &record);
}

std::vector<std::map<std::string, std::string>> ResultFile::rows() const {
  const FileLock lock(lock_of(csv_));
  std::vector<std::map<std::string, std::string>> all;
  for (const Record& record : read_records(read_if_there(json_lines()), json_lines())) {
    const std::vector<std::string> fields = split_fields(record.csv_row);
    if (fields.size() != csv_columns().size()) continue;
    std::map<std::string, std::string> row;
    for (std::size_t i = 0; i < fields.size(); ++i) row[csv_columns()[i]] = fields[i];
    all.push_back(std::move(row));
  }
  return all;
}

namespace {

/// The cell of a record's row in a column.
std::string cell_of(const Record& record, const std::string& column) {
  const auto& names = csv_columns();
  const auto at =
      static_cast<std::size_t>(std::find(names.begin(), names.end(), column) - names.begin());
  const auto fields = split_fields(record.csv_row);
  return at < fields.size() ? fields[at] : "";
}

std::int64_t index_of(const Record& record) {
  return std::strtoll(cell_of(record, "run_index").c_str(), nullptr, 10);
}

/// Whether `a` is worth more than `b`, a row of the same run.
bool better(const Record& a, const Record& b) {
  const bool a_finished = a.status == "finished", b_finished = b.status == "finished";
  if (a_finished != b_finished) return a_finished;
  return cell_of(a, "started_at") > cell_of(b, "started_at");
}

fs::path json_lines_of(fs::path csv) { return csv.replace_extension(".jsonl"); }

/// A part's records; its CSV must be ours and have no row beyond them.
std::vector<Record> read_part(const fs::path& csv) {
  const fs::path json = json_lines_of(csv);
  if (!fs::exists(json))
    throw Error(csv.string() + ": there is no " + json.filename().string() +
                " beside it, which has what a row is made of");
  auto records = read_records(read_if_there(json), json);
  std::string torn;
  const std::string whole = reconcile(read_if_there(csv), records, csv);
  const std::size_t rows = split_lines(whole, torn).size();
  if (rows > records.size() + 1)
    throw Error(csv.string() + ": has rows of runs that " + json.filename().string() +
                " does not have: take them out, or find their lines");
  return records;
}

}  // namespace

std::vector<ResultRow> read_result_rows(const fs::path& csv) {
  const fs::path json = json_lines_of(csv);
  std::vector<ResultRow> rows;
  for (const Record& record : read_records(read_if_there(json), json)) {
    ResultRow row{record.run_id,
                  record.status,
                  cell_of(record, "dataset_name"),
                  cell_of(record, "network_type"),
                  cell_of(record, "started_at"),
                  "",
                  index_of(record)};
    if (record.status == "failed")
      row.failure = nlohmann::json::parse(record.line).value("failure", "");
    rows.push_back(std::move(row));
  }
  return rows;
}

ResultMerge merge_results(const fs::path& csv, const std::vector<fs::path>& parts) {
  const fs::path json = ResultFile(csv).json_lines();
  std::vector<Record> found;
  for (const fs::path& part : parts)
    for (Record& record : read_part(part)) found.push_back(std::move(record));
  std::stable_sort(found.begin(), found.end(),
                   [](const Record& a, const Record& b) { return index_of(a) < index_of(b); });
  const FileLock lock(lock_of(csv));
  const std::string old_json = read_if_there(json), old_csv = read_if_there(csv);
  auto records = read_records(old_json, json);
  std::map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < records.size(); ++i) places[records[i].run_id] = i;
  ResultMerge merge;
  std::set<std::string> replaced;
  const std::size_t before = records.size();
  for (Record& record : found) {
    const auto [place, is_new] = places.emplace(record.run_id, records.size());
    if (is_new) {
      records.push_back(std::move(record));
    } else if (better(record, records[place->second])) {
      if (place->second < before) replaced.insert(record.run_id);
      records[place->second] = std::move(record);
    }
  }
  put(json, old_json, text_of(records));
  put(csv, old_csv, reconcile(old_csv, records, csv));
  merge.rows = static_cast<std::int64_t>(records.size());
  merge.added = static_cast<std::int64_t>(records.size() - before);
  merge.replaced = static_cast<std::int64_t>(replaced.size());
  return merge;
}

bool remove_merged(const fs::path& csv, const fs::path& part) {
  std::map<std::string, Record> merged;
  for (Record& record : read_records(read_if_there(json_lines_of(csv)), json_lines_of(csv)))
    merged[record.run_id] = std::move(record);
  // Whoever writes to the part does so under its lock.
  const FileLock lock(lock_of(part));
  for (const Record& record : read_part(part)) {
    const auto found = merged.find(record.run_id);
    if (found == merged.end() || better(record, found->second)) return false;
  }
  for (const fs::path& file : {part, json_lines_of(part), lock_of(part)}) fs::remove(file);
  return true;
}

}  // namespace kanbench
