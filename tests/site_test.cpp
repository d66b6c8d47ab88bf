#include "kanbench/site.h"

#include <nlohmann/json.hpp>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json small() {
  return {{"scheduler", "slurm"}, {"queues", {{{"name", "debug"}, {"walltime", "1:00:00"}}}}};
}

std::string message(const Json& json) {
  return message_of<Error>([&] { parse_site(json.dump(), "x.json"); });
}

TEST(Site, ReadsWhatAFileSays) {
  Json json = small();
  json["account"] = "project";
  json["launcher"] = {"mpiexec", "-n", "{processes}"};
  json["device"] = {{"name", "A100"},
                    {"memory_gb", 40},
                    {"flops_per_second", 19.5e12},
                    {"bytes_per_second", 1.5e12}};
  json["signal_seconds"] = 120;
  json["queues"].push_back({{"name", "gpu"},
                            {"gpus_per_node", 4},
                            {"cpus_per_process", 8},
                            {"memory_gb", 500},
                            {"min_nodes", 2},
                            {"max_nodes", 10},
                            {"walltime", "72:00:30"},
                            {"whole_nodes", true}});
  const Site site = parse_site(json.dump(), "dir/mine.json");
  EXPECT_EQ(site.name, "mine");
  EXPECT_EQ(site.account, "project");
  EXPECT_EQ(site.device.name, "A100");
  EXPECT_EQ(site.device.memory_gb, 40);
  EXPECT_EQ(site.device.flops_per_second, 19.5e12);
  EXPECT_EQ(site.signal_seconds, 120);
  EXPECT_EQ(site.array_limit, 1000);
  ASSERT_EQ(site.queues.size(), 2u);
  EXPECT_EQ(site.queues[0].minutes, 60);
  EXPECT_EQ(site.queues[0].gpus_per_node, 0);
  EXPECT_EQ(site.queues[1].minutes, 72 * 60 + 1);
  EXPECT_EQ(site.queues[1].min_nodes, 2);
  EXPECT_TRUE(site.queues[1].whole_nodes);
}

TEST(Site, EveryFileThatIsShippedIsOne) {
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(source_directory() / "params/sites")) {
    const Site site = load_site(entry.path().string());
    EXPECT_EQ(site.name, entry.path().stem());
    EXPECT_FALSE(site.queues.empty());
    ++seen;
  }
  EXPECT_GE(seen, 4);
}

struct Bad {
  const char* path;
  Json value;
  std::vector<std::string> says;
};

TEST(Site, SaysWhatIsWrongAndWhere) {
  const std::vector<Bad> cases = {
      {"/schedular", "pbs", {"x.json: ", "'schedular'", "did you mean 'scheduler'"}},
      {"/scheduler", "slurn", {"x.json: scheduler: ", "'slurn'", "did you mean 'slurm'"}},
      {"/scheduler", 3, {"'scheduler': expected text, found number"}},
      {"/queues", Json::array(), {"queues: expected a list of queues, found an empty one"}},
      {"/queues/0/wallclock", "1:00:00", {"queues[0]: unknown key 'wallclock'"}},
      {"/queues/0/walltime", "1:00", {"queues[0].walltime: '1:00'", "1:30:00"}},
      {"/queues/0/walltime", "1:60:00", {"queues[0].walltime"}},
      {"/queues/0/walltime", "0:00:59", {"queues[0].walltime"}},
      {"/queues/0/gpus_per_node", 1.5, {"queues[0]: 'gpus_per_node': expected a whole number"}},
      {"/queues/0/gpus_per_node", 65, {"queues[0]: 'gpus_per_node': 65 is out of range"}},
      {"/queues/0/gpus_per_node", 1, {"device: is missing", "flops_per_second"}},
      {"/queues/0/min_nodes", 2, {"queues[0].min_nodes: 2 is more than max_nodes, 1"}},
      {"/queues/0/name", "a b", {"queues[0].name: 'a b' has a space"}},
      {"/queues/0/name", "", {"queues[0].name: is empty"}},
      {"/queues/0/whole_nodes", 1, {"queues[0]: 'whole_nodes': expected true or false"}},
      {"/queues/1", Json{{"name", "debug"}, {"walltime", "1:00:00"}}, {"queues[1].name: there is"}},
      {"/account", "a b", {"account: 'a b'"}},
      {"/before", "module load x", {"'before': expected a list of texts, found string"}},
      {"/before", Json{"a", 3}, {"'before': expected a list of texts alone, found number"}},
      {"/directives", Json{"--x", "a\nb"}, {"directives[1]: 'a?b' is more than one line"}},
      {"/network", "nvlnk", {"network: unknown network 'nvlnk'", "nvlink"}},
      {"/device", Json{{"flops", 1}}, {"x.json: device: has no 'flops_per_second'"}},
      {"/signal_seconds", 0, {"'signal_seconds': 0 is out of range: 1"}},
      {"/program", "", {"program: is empty"}}};
  for (const Bad& bad : cases) {
    Json json = small();
    json[Json::json_pointer(bad.path)] = bad.value;
    const std::string said = message(json);
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    for (const std::string& word : bad.says)
      EXPECT_NE(said.find(word), std::string::npos) << "no '" << word << "' in: " << said;
  }
}

TEST(Site, NamesAMissingKeyAndOneThatIsMeantForIt) {
  Json json = small();
  json.erase("scheduler");
  EXPECT_NE(message(json).find("has no 'scheduler'"), std::string::npos);
  json["schedulr"] = "slurm";
  EXPECT_NE(message(json).find("schedulr"), std::string::npos);
  EXPECT_NE(message_of<Error>([] {
              parse_site("{\"scheduler\": \"pbs\", \"scheduler\": \"pbs\"}", "x.json");
            }).find("scheduler"),
            std::string::npos);
  EXPECT_NE(message_of<Error>([] { parse_site("{", "x.json"); }).find("x.json"), std::string::npos);
}

TEST(Site, AskForALauncherWhereRunsMayHaveSeveralProcesses) {
  Json json = small();
  json["queues"][0]["gpus_per_node"] = 2;
  json["device"] = {{"flops_per_second", 1e12}, {"bytes_per_second", 1e12}};
  EXPECT_NE(message(json).find("launcher: is missing"), std::string::npos);
  json["launcher"] = {"srun"};
  EXPECT_EQ(parse_site(json.dump(), "x").launcher.size(), 1u);
}

TEST(Site, AWordIsANameOrAFile) {
  const TemporaryDirectory here;
  write_text(here / "near.json", small().dump());
  EXPECT_EQ(load_site((here / "near.json").string()).name, "near");
  const fs::path before = fs::current_path();
  fs::create_directories(here / "params/sites");
  write_text(here / "params/sites/mine.json", small().dump());
  fs::current_path(here.path());
  EXPECT_EQ(load_site("mine").name, "mine");
  EXPECT_NE(message_of<Error>([] { load_site("mime"); }).find("did you mean 'mine'"),
            std::string::npos);
  fs::current_path(before);
}

}  // namespace
}  // namespace kanbench::test
