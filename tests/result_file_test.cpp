// The pair of result files: appended whole, repaired after a kill, shared by processes.

#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "result_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::message_of;
using test::sample_result;
using test::TemporaryDirectory;
using test::write_text;

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::istringstream text(read_file(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

/// The run ids of the rows, each row checked to be whole, the header to be ours.
std::vector<std::string> csv_ids(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path) || std::filesystem::file_size(path) == 0) return {};
  const auto lines = lines_of(path);
  EXPECT_EQ(lines.at(0), join(csv_columns(), ","));
  EXPECT_EQ(read_file(path).back(), '\n');
  std::vector<std::string> ids;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    EXPECT_EQ(test::fields(lines[i]).size(), csv_columns().size());
    EXPECT_EQ(test::field(lines[i], "started_at"), "2024-05-01T12:00:00Z");
    ids.push_back(test::field(lines[i], "run_id"));
  }
  return ids;
}

std::vector<std::string> json_ids(const std::filesystem::path& path) {
  std::vector<std::string> ids;
  if (!std::filesystem::exists(path)) return ids;
  for (const std::string& line : lines_of(path))
    ids.push_back(nlohmann::json::parse(line)["run_id"]);
  return ids;
}

using Ids = std::vector<std::string>;

TEST(ResultFile, AppendsRowsAndKnowsThem) {
  TemporaryDirectory directory;
  ResultFile file(directory / "r.csv");
  EXPECT_EQ(file.json_lines(), directory / "r.jsonl");
  EXPECT_EQ(file.status("a"), "");
  file.append(sample_result("a"));
  auto failed = sample_result("b");
  failed.status = "failed";
  file.append(failed);
  EXPECT_EQ(file.status("a"), "finished");
  EXPECT_EQ(file.status("b"), "failed");
  EXPECT_EQ(ResultFile(directory / "r.csv").status("b"), "failed");
  EXPECT_EQ(csv_ids(file.csv()), (Ids{"a", "b"}));
  EXPECT_EQ(json_ids(file.json_lines()), (Ids{"a", "b"}));
  EXPECT_EQ(lines_of(file.csv()).at(1), csv_row(sample_result("a")));
}

TEST(ResultFile, ReplacesTheRowOfTheSameRun) {
  TemporaryDirectory directory;
  ResultFile file(directory / "r.csv");
  for (const char* id : {"a", "b", "c"}) file.append(sample_result(id));
  auto better = sample_result("b");
  better.trials[0].metrics.psnr = 60;
  file.append(better);
  EXPECT_EQ(csv_ids(file.csv()), (Ids{"a", "b", "c"}));
  EXPECT_EQ(json_ids(file.json_lines()), (Ids{"a", "b", "c"}));
  EXPECT_EQ(lines_of(file.csv()).at(2), csv_row(better));
}

/// Three rows, of which every prefix of the pair's last bytes is tried.
class Truncation : public testing::Test {
 protected:
  Truncation() {
    ResultFile file(csv_);
    for (const char* id : {"a", "b", "c"}) file.append(sample_result(id));
    csv_text_ = read_file(csv_);
    json_text_ = read_file(json_);
  }

  /// Writes the pair cut to these sizes, opens it and checks it; every so often does the missing
  /// runs over.
  void try_sizes(std::size_t csv_size, std::size_t json_size) {
    SCOPED_TRACE(std::to_string(csv_size) + " " + std::to_string(json_size));
    // Written anew: some file systems wait for the disk when a file is cut and closed.
    std::filesystem::remove(csv_);
    std::filesystem::remove(json_);
    write_text(csv_, csv_text_.substr(0, csv_size));
    write_text(json_, json_text_.substr(0, json_size));
    Ids whole;
    for (const char* id : {"a", "b", "c"})
      // A line is whole with its last brace.
      if (json_size + 1 >= end_of(whole.size() + 1)) whole.push_back(id);
    ResultFile file(csv_);
    EXPECT_EQ(read_file(json_), json_text_.substr(0, end_of(whole.size())));
    const Ids rows = csv_ids(csv_);
    ASSERT_GE(rows.size(), whole.size());
    for (const std::string& id : whole) {
      EXPECT_EQ(std::count(rows.begin(), rows.end(), id), 1);
      EXPECT_EQ(file.status(id), "finished");
    }
    if (tries_++ % 32 != 0) return;
    for (const char* id : {"a", "b", "c"})
      if (file.status(id).empty()) file.append(sample_result(id));
    EXPECT_EQ(read_file(csv_), csv_text_);
    EXPECT_EQ(read_file(json_), json_text_);
  }

  /// Bytes of that many JSON lines.
  std::size_t end_of(std::size_t lines) const {
    std::size_t end = 0;
    for (std::size_t i = 0; i < lines; ++i) end = json_text_.find('\n', end) + 1;
    return end;
  }

  TemporaryDirectory directory_;
  int tries_ = 0;
  std::filesystem::path csv_ = directory_ / "r.csv", json_ = directory_ / "r.jsonl";
  std::string csv_text_, json_text_;
};

TEST_F(Truncation, OfTheCsvAtEveryByte) {
  for (std::size_t size = 0; size <= csv_text_.size(); ++size) try_sizes(size, json_text_.size());
}

TEST_F(Truncation, OfTheJsonLinesAtEveryByteOfTheLastTwo) {
  const std::size_t first = json_text_.find('\n') + 1;
  const std::size_t csv_first = csv_text_.find('\n', csv_text_.find('\n') + 1) + 1;
  for (std::size_t size = first; size <= json_text_.size(); ++size) {
    try_sizes(csv_first, size);
    try_sizes(csv_text_.size(), size);
  }
}

TEST_F(Truncation, OfBoth) {
  for (std::size_t i = 0; i <= json_text_.size(); i += 7)
    try_sizes(csv_text_.size() * i / json_text_.size(), i);
}

TEST(ResultFile, RefusesOtherColumns) {
  TemporaryDirectory directory;
  const auto of = [&](const std::string& text) {
    write_text(directory / "r.csv", text);
    const auto message = message_of<Error>([&] { ResultFile file(directory / "r.csv"); });
    EXPECT_EQ(read_file(directory / "r.csv"), text);
    return message;
  };
  EXPECT_NE(of("dataset_name,size\n").find("r.csv: column 2 is 'size', must be 'data_size'"),
            std::string::npos);
  EXPECT_NE(of("dataset_name\n").find("column 2 is missing, must be 'data_size'"),
            std::string::npos);
  EXPECT_NE(of(join(csv_columns(), ",") + ",more\n").find("is 'more', must be the line's end"),
            std::string::npos);
  EXPECT_NE(of("somebody's letter").find("column 1 is"), std::string::npos);
  EXPECT_NE(of(join(csv_columns(), ",") + "\na,b\n").find("line 2 has 2 columns"),
            std::string::npos);
}

TEST(ResultFile, RefusesLinesThatAreNotOurs) {
  TemporaryDirectory directory;
  write_text(directory / "r.jsonl", "{\"run_id\": \"a\"}\n");
  const auto message = message_of<Error>([&] { ResultFile file(directory / "r.csv"); });
  EXPECT_NE(message.find("r.jsonl: line 1 is not a result"), std::string::npos);
}

TEST(ResultFile, RefusesAPlaceThatCannotBeWrittenTo) {
  TemporaryDirectory directory;
  EXPECT_NE(message_of<Error>([&] { ResultFile file(directory / "no" / "r.csv"); }).find("r.csv"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([&] { ResultFile file(directory.path()); }).find("results.csv"),
            std::string::npos);
}

TEST(ResultFile, KeepsRowsThatHaveNoJsonLine) {
  TemporaryDirectory directory;
  {
    ResultFile file(directory / "r.csv");
    file.append(sample_result("a"));
  }
  std::filesystem::remove(directory / "r.jsonl");
  ResultFile file(directory / "r.csv");
  EXPECT_EQ(file.status("a"), "");
  file.append(sample_result("b"));
  EXPECT_EQ(csv_ids(file.csv()), (Ids{"a", "b"}));
  file.append(sample_result("a"));
  EXPECT_EQ(csv_ids(file.csv()), (Ids{"a", "b"}));
}

TEST(ResultFile, ReadsWhatASpreadsheetSaved) {
  TemporaryDirectory directory;
  ResultFile file(directory / "r.csv");
  file.append(sample_result("a"));
  write_text(file.csv(), join(csv_columns(), ",") + "\r\n" + csv_row(sample_result("a")) + "\r\n");
  file.append(sample_result("b"));
  EXPECT_EQ(csv_ids(file.csv()), (Ids{"a", "b"}));
}

TEST(ResultFile, LeavesWhatWasThereWhenTheDiskIsFull) {
  TemporaryDirectory directory;
  ResultFile file(directory / "r.csv");
  file.append(sample_result("a"));
  const std::string csv = read_file(file.csv()), json = read_file(file.json_lines());
  // A limit on file sizes stands in for a full disk: a write past it is cut short.
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{json.size() + 100, json.size() + 100};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      file.append(sample_result("b"));
    } catch (const Error&) {
      _exit(7);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(read_file(file.csv()), csv);
  EXPECT_EQ(read_file(file.json_lines()), json);
}

TEST(ResultFile, TwoProcessesLoseNothing) {
  TemporaryDirectory directory;
  const auto write_rows = [&](const std::string& name) {
    ResultFile file(directory / "r.csv");
    for (int i = 0; i < 50; ++i) file.append(sample_result(name + std::to_string(i)));
  };
  pid_t children[2];
  for (int i = 0; i < 2; ++i) {
    children[i] = fork();
    if (children[i] == 0) {
      write_rows(i ? "x" : "y");
      _exit(0);
    }
  }
  for (const pid_t child : children) {
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  Ids wanted;
  for (int i = 0; i < 50; ++i)
    wanted.insert(wanted.end(), {"x" + std::to_string(i), "y" + std::to_string(i)});
  std::sort(wanted.begin(), wanted.end());
  auto rows = csv_ids(directory / "r.csv"), lines = json_ids(directory / "r.jsonl");
  EXPECT_EQ(rows, lines);
  std::sort(rows.begin(), rows.end());
  EXPECT_EQ(rows, wanted);
}

TEST(ResultFile, SurvivesBeingKilled) {
  TemporaryDirectory directory;
  std::size_t done = 0;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      ResultFile file(directory / "r.csv");
      for (int i = 0;; ++i)
        file.append(sample_result(std::to_string(round) + "_" + std::to_string(i)));
    }
    usleep(3000 + 1700 * round);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto there = std::filesystem::exists(directory / "r.jsonl")
                           ? read_file(directory / "r.jsonl")
                           : std::string();
    const auto whole = static_cast<std::size_t>(std::count(there.begin(), there.end(), '\n'));
    EXPECT_GE(whole, done);
    ResultFile file(directory / "r.csv");
    const auto ids = csv_ids(file.csv());
    EXPECT_EQ(ids, json_ids(file.json_lines()));
    EXPECT_GE(ids.size(), whole);
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
    done = ids.size();
  }
  EXPECT_GT(done, 0u);
}

}  // namespace
}  // namespace kanbench
