#include "kanbench/job_book.h"

#include <thread>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench::test {
namespace {

namespace fs = std::filesystem;

Job make_job(const std::string& name, const std::string& run_id) {
  Job job;
  job.name = name;
  job.id = "12[].here";
  job.scheduler = "pbs";
  job.queue = "q";
  job.gpus = 4;
  job.nodes = 2;
  job.minutes = 45;
  job.memory_gb = 7;
  job.safety_margin = 0.48;
  job.submitted_at = 1700000000;
  job.elements = {{{3, run_id, 2, "timeout"}, {4, "other", 1, ""}}, {{5, "third", 1, ""}}};
  return job;
}

TEST(JobBook, KeepsWhatItWasTold) {
  const TemporaryDirectory here;
  {
    JobBook book(here.path(), JobBook::Use::held);
    book.jobs = {make_job("kb-1", "a"), make_job("kb-2", "a")};
    book.runs = {{"a", 3, "two words", "mlp"}};
    book.volumes = {{"/x", 9, -5, "sign \"here\"", {1, 2, 3}, 3, 6}};
    book.save();
  }
  const JobBook book(here.path(), JobBook::Use::seen);
  ASSERT_EQ(book.jobs.size(), 2u);
  const Job& job = book.jobs[0];
  EXPECT_EQ(job.id, "12[].here");
  EXPECT_EQ(job.gpus, 4);
  EXPECT_EQ(job.minutes, 45);
  EXPECT_EQ(job.memory_gb, 7);
  EXPECT_EQ(job.safety_margin, 0.48);
  EXPECT_EQ(job.submitted_at, 1700000000);
  ASSERT_EQ(job.elements.size(), 2u);
  EXPECT_EQ(job.elements[0][0].attempt, 2);
  EXPECT_EQ(job.elements[0][0].end, "timeout");
  EXPECT_EQ(job.elements[1][0].run_id, "third");
  EXPECT_EQ(book.runs[0].dataset, "two words");
  EXPECT_EQ(book.volumes[0].signature, "sign \"here\"");
  EXPECT_EQ(book.volumes[0].modified, -5);
  EXPECT_EQ(book.volumes[0].components, 3);
  const JobRun* run = nullptr;
  EXPECT_EQ(book.last_job("a", &run), &book.jobs[1]);
  EXPECT_EQ(run->index, 3);
  EXPECT_EQ(book.last_job("nobody"), nullptr);
}

TEST(JobBook, OnlySeenItWritesNothing) {
  const TemporaryDirectory here;
  const JobBook book(here / "out", JobBook::Use::seen);
  EXPECT_TRUE(book.jobs.empty());
  EXPECT_FALSE(fs::exists(here / "out"));
  EXPECT_THROW(book.save(), std::logic_error);
}

TEST(JobBook, NamesStepOverDirectoriesThatAreThere) {
  const TemporaryDirectory here;
  const JobBook book(here.path(), JobBook::Use::held);
  const std::string first = book.next_name();
  fs::create_directories(book.directory_of(first));
  EXPECT_NE(book.next_name(), first);
  const TemporaryDirectory there;
  EXPECT_NE(JobBook(there.path(), JobBook::Use::held).next_name(), first);
}

TEST(JobBook, OneAtATime) {
  const TemporaryDirectory here;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      JobBook book(here.path(), JobBook::Use::held);
      book.jobs.push_back(make_job(book.next_name(), "a"));
      book.save();
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(JobBook(here.path(), JobBook::Use::seen).jobs.size(), 8u);
}

TEST(JobBook, RefusesWhatIsNotOurs) {
  const std::string texts[] = {
      "{",
      "[]",
      "{}",
      R"({"version": 9, "runs": [], "volumes": [], "jobs": []})",
      R"({"version": 2, "runs": [], "volumes": [], "jobs": [{"name": 3}]})",
      R"({"version": 2, "runs": 3, "volumes": [], "jobs": {}})",
      R"({"version": 2, "runs": [], "volumes": [], "jobs": [{"name": "../x", "id": "1",
          "scheduler": "pbs", "queue": "q", "gpus": 1, "nodes": 1, "minutes": 1, "memory_gb": 1,
          "safety_margin": 1, "submitted_at": 1, "elements": []}]})"};
  for (const std::string& text : texts) {
    const TemporaryDirectory here;
    fs::create_directories(here / "jobs");
    write_text(here / "jobs/jobs.json", text);
    const std::string said = message_of<Error>([&] { JobBook(here.path(), JobBook::Use::seen); });
    EXPECT_NE(said.find("jobs.json"), std::string::npos) << said;
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace kanbench::test
