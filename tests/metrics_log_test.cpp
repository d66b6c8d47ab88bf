// Numbers noted while training: TensorBoard's records byte for byte, lines of JSON.

#include "kanbench/metrics_log.h"

#include <nlohmann/json.hpp>

#include "io/event_file.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "support.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

Json golden() {
  return Json::parse(read_file(test::source_directory() / "tests/golden/event_file.json"));
}

// RFC 3720, B.4, and the check value of the catalogue of CRC algorithms.
TEST(EventFile, ChecksumIsThatOfTheStandard) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventFile, BeginsAsTensorBoardsWriterDoes) {
  const Json want = golden();
  EXPECT_EQ(event_record(version_event(want["version_time"])), from_hex(want["version"]));
}

TEST(EventFile, SaysNumbersAsTensorBoardsWriterDoes) {
  const Json all = golden();
  for (const Json& want : all["scalars"]) {
    std::vector<std::string> tags;
    for (const Json& scalar : want["scalars"]) tags.push_back(scalar[0]);
    std::vector<Scalar> scalars;
    for (std::size_t i = 0; i < tags.size(); ++i)
      scalars.push_back({tags[i].c_str(), std::stod(want["scalars"][i][1].get<std::string>())});
    EXPECT_EQ(event_record(scalars_event(want["time"], want["step"], scalars)),
              from_hex(want["record"]))
        << want["step"];
  }
}

TEST(MetricsLog, AppendsALineOfJsonACall) {
  const test::TemporaryDirectory directory;
  for (int process = 0; process < 2; ++process) {
    const auto log = open_metrics_log("jsonl", directory.path(), "a");
    log->add(7, 10 + process, std::array{Scalar{"loss", 0.1}, Scalar{"psnr", INFINITY}});
  }
  std::istringstream text(read_file(directory.path() / "a.metrics.jsonl"));
  std::string line;
  for (int step = 10; step < 12; ++step) {
    ASSERT_TRUE(std::getline(text, line));
    const Json json = Json::parse(line);
    EXPECT_EQ(json["seed"], 7);
    EXPECT_EQ(json["step"], step);
    EXPECT_EQ(json["loss"], 0.1);
    EXPECT_TRUE(json["psnr"].is_null()) << "JSON has no infinity";
    EXPECT_GT(json["time"], 1.7e9);
  }
  EXPECT_FALSE(std::getline(text, line));
}

TEST(MetricsLog, GivesEachTrainingAnEventFileOfItsOwn) {
  const test::TemporaryDirectory directory;
  const auto log = open_metrics_log("tensorboard", directory.path(), "a");
  for (const std::uint64_t seed : {0, 1, 0}) log->add(seed, 1, std::array{Scalar{"loss", 0.5}});
  const auto size_in = [&](const char* name) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory.path() / name))
      files.push_back(entry.path());
    EXPECT_EQ(files.size(), 1u);
    EXPECT_EQ(files[0].filename().string().rfind("events.out.tfevents.", 0), 0u);
    return fs::file_size(files[0]);
  };
  const std::size_t head = event_record(version_event(1)).size();
  const std::size_t each =
      event_record(scalars_event(1, 1, std::array{Scalar{"loss", 0.5}})).size();
  EXPECT_EQ(size_in("a_seed0"), head + 2 * each);
  EXPECT_EQ(size_in("a_seed1"), head + each);
}

TEST(MetricsLog, SaysWhatItCannotDo) {
  const test::TemporaryDirectory directory;
  EXPECT_EQ(test::message_of<Error>([&] { open_metrics_log("csv", directory.path(), "a"); }),
            "--metrics-log csv: use jsonl or tensorboard");
  const std::string none =
      test::message_of<Error>([&] { open_metrics_log("jsonl", directory.path() / "none", "a"); });
  EXPECT_NE(none.find("a.metrics.jsonl: cannot be written: No such file"), std::string::npos)
      << none;
}

}  // namespace
}  // namespace kanbench
