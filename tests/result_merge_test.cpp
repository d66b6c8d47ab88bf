// Result files of many jobs into one.

#include <filesystem>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "result_support.h"
#include "support.h"

namespace kanbench::test {
namespace {

namespace fs = std::filesystem;

Result make(const std::string& id, std::int64_t index, const std::string& status = "finished",
            const std::string& started = "2024-05-01T12:00:00Z") {
  Result result = sample_result(id);
  result.run.index = index;
  result.status = status;
  result.started_at = started;
  if (status == "failed") result.failure = "seed 7: no luck";
  return result;
}

void write(const fs::path& csv, const std::vector<Result>& results) {
  fs::create_directories(csv.parent_path());
  ResultFile file(csv);
  for (const Result& result : results) file.append(result);
}

std::string summary(const fs::path& csv) {
  std::string text;
  for (const ResultRow& row : read_result_rows(csv))
    text += row.run_id + " " + std::to_string(row.run_index) + " " + row.status + "\n";
  return text;
}

TEST(ResultMerge, PutsPartsTogetherByRunIndex) {
  const TemporaryDirectory here;
  write(here / "parts/a.csv", {make("c", 2), make("a", 0)});
  write(here / "parts/b.csv", {make("b", 1)});
  const fs::path into = here / "results.csv";
  const ResultMerge merge = merge_results(into, {here / "parts/a.csv", here / "parts/b.csv"});
  EXPECT_EQ(merge.rows, 3);
  EXPECT_EQ(merge.added, 3);
  EXPECT_EQ(summary(into), "a 0 finished\nb 1 finished\nc 2 finished\n");
  // What was there stays where it is, and a second time changes nothing.
  const std::string csv = read_file(into), json = read_file(here / "results.jsonl");
  const ResultMerge again = merge_results(into, {here / "parts/a.csv", here / "parts/b.csv"});
  EXPECT_EQ(again.rows, 3);
  EXPECT_EQ(again.added + again.replaced, 0);
  EXPECT_EQ(read_file(into), csv);
  EXPECT_EQ(read_file(here / "results.jsonl"), json);
  // The lines are those that the parts have.
  const ResultFile file(into);
  EXPECT_EQ(file.status("b"), "finished");
}

TEST(ResultMerge, AFinishedRowBeforeAnyOtherThenTheNewest) {
  const std::string early = "2024-05-01T12:00:00Z", late = "2024-05-02T12:00:00Z";
  struct Case {
    Result first, second;
    std::string wanted;
    int replaced;
  };
  const Case cases[] = {
      {make("a", 0, "failed", early), make("a", 0, "finished", early), "finished", 1},
      {make("a", 0, "failed", late), make("a", 0, "finished", early), "finished", 1},
      {make("a", 0, "finished", early), make("a", 0, "failed", late), "finished", 0},
      {make("a", 0, "finished", early), make("a", 0, "interrupted", late), "finished", 0},
      {make("a", 0, "interrupted", early), make("a", 0, "failed", late), "failed", 1},
      {make("a", 0, "failed", late), make("a", 0, "interrupted", early), "failed", 0}};
  for (const Case& one : cases) {
    const TemporaryDirectory here;
    write(here / "results.csv", {one.first});
    write(here / "p.csv", {one.second});
    const ResultMerge merge = merge_results(here / "results.csv", {here / "p.csv"});
    EXPECT_EQ(summary(here / "results.csv"), "a 0 " + one.wanted + "\n");
    EXPECT_EQ(merge.replaced, one.replaced);
    EXPECT_EQ(merge.rows, 1);
    // In any order.
    merge_results(here / "other.csv", {here / "p.csv", here / "results.csv"});
    EXPECT_EQ(summary(here / "other.csv"), "a 0 " + one.wanted + "\n");
  }
}

TEST(ResultMerge, TheNewerOfTwoFinishedRows) {
  const TemporaryDirectory here;
  Result newer = make("a", 0, "finished", "2024-06-01T12:00:00Z");
  newer.hostname = "newer";
  write(here / "p.csv", {newer});
  write(here / "q.csv", {make("a", 0)});
  merge_results(here / "r.csv", {here / "p.csv", here / "q.csv"});
  ASSERT_EQ(read_result_rows(here / "r.csv").size(), 1u);
  EXPECT_NE(read_file(here / "r.csv").find("newer"), std::string::npos);
}

TEST(ResultMerge, ATornLineIsNoneAndAFailureIsRead) {
  const TemporaryDirectory here;
  write(here / "p.csv", {make("a", 4, "failed"), make("b", 5)});
  std::string json = read_file(here / "p.jsonl");
  write_text(here / "p.jsonl", json.substr(0, json.size() - 20));
  const auto rows = read_result_rows(here / "p.csv");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].failure, "seed 7: no luck");
  EXPECT_EQ(rows[0].dataset, "nucleon");
  EXPECT_TRUE(read_result_rows(here / "absent.csv").empty());
}

TEST(ResultMerge, RefusesWhatIsNotOursBeforeItWrites) {
  const TemporaryDirectory here;
  write(here / "good.csv", {make("a", 0)});
  write(here / "alone.csv", {make("b", 1)});
  fs::remove(here / "alone.jsonl");
  write(here / "more.csv", {make("c", 2), make("d", 3)});
  const std::string json = read_file(here / "more.jsonl");
  write_text(here / "more.jsonl", json.substr(0, json.find('\n') + 1));
  write_text(here / "other.csv", "x,y\n1,2\n");
  write_text(here / "other.jsonl", "");
  write_text(here / "bad.csv", "");
  write_text(here / "bad.jsonl", "{\"x\": 1}\n");
  const std::pair<const char*, const char*> cases[] = {{"alone.csv", "no alone.jsonl"},
                                                       {"more.csv", "more.jsonl does not have"},
                                                       {"other.csv", "column 1 is 'x'"},
                                                       {"bad.csv", "line 1 is not a result"}};
  for (const auto& [name, says] : cases) {
    const std::string said = message_of<Error>([&] {
      merge_results(here / "into.csv", {here / "good.csv", here / name});
    });
    EXPECT_NE(said.find(name == std::string("bad.csv") ? "bad.jsonl" : name), std::string::npos);
    EXPECT_NE(said.find(says), std::string::npos) << said;
    EXPECT_TRUE(read_result_rows(here / "into.csv").empty());
  }
}

TEST(ResultMerge, RemovesAPartOnlyOnceItsRowsAreThere) {
  const TemporaryDirectory here;
  const fs::path into = here / "results.csv", part = here / "p.csv";
  write(part, {make("a", 0)});
  merge_results(into, {part});
  // A row that was written meanwhile.
  ResultFile(part).append(make("b", 1));
  EXPECT_FALSE(remove_merged(into, part));
  EXPECT_TRUE(fs::exists(part));
  merge_results(into, {part});
  EXPECT_TRUE(remove_merged(into, part));
  EXPECT_FALSE(fs::exists(part));
  EXPECT_FALSE(fs::exists(here / "p.jsonl"));
  EXPECT_EQ(summary(into), "a 0 finished\nb 1 finished\n");
}

}  // namespace
}  // namespace kanbench::test
