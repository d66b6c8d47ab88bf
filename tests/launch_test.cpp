// What launchers' variables say, by table.

#include "kanbench/launch.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

using Environment = std::map<std::string, std::string>;

Launch read(const Environment& environment) {
  return read_launch([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

std::string said(const Environment& environment) {
  return test::message_of<Error>([&] { read(environment); });
}

// "mpirun 2/4 local 0/2".
std::string summary(const Launch& launch) {
  return launch.launcher + " " + std::to_string(launch.rank) + "/" + std::to_string(launch.size) +
         " local " + std::to_string(launch.local_rank) + "/" + std::to_string(launch.local_size);
}

const Environment kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "2"},
                              {"OMPI_COMM_WORLD_SIZE", "4"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
const Environment kSlurm = {{"SLURM_STEP_ID", "0"},
                            {"SLURM_PROCID", "9"},
                            {"SLURM_NTASKS", "11"},
                            {"SLURM_LOCALID", "1"},
                            {"SLURM_TASKS_PER_NODE", "4(x2),3"},
                            {"SLURM_NODEID", "2"}};
const Environment kTorchrun = {{"RANK", "3"},        {"WORLD_SIZE", "8"},
                               {"LOCAL_RANK", "1"},  {"LOCAL_WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}};

Environment both(Environment first, const Environment& second) {
  first.insert(second.begin(), second.end());
  return first;
}

TEST(Launch, ReadsEveryLauncher) {
  EXPECT_EQ(summary(read({})), " 0/1 local 0/1");
  EXPECT_EQ(summary(read(kOpenMpi)), "mpirun 2/4 local 0/2");
  EXPECT_EQ(summary(read({{"PMI_RANK", "1"},
                          {"PMI_SIZE", "2"},
                          {"MPI_LOCALRANKID", "1"},
                          {"MPI_LOCALNRANKS", "2"}})),
            "pmi 1/2 local 1/2");
  EXPECT_EQ(summary(read({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}})), "pmi 1/2 local 0/1");
  EXPECT_EQ(summary(read(kSlurm)), "srun 9/11 local 1/3");
  const Launch launch = read(kTorchrun);
  EXPECT_EQ(summary(launch), "torchrun 3/8 local 1/2");
  EXPECT_EQ(launch.master_address, "a");
  EXPECT_EQ(launch.master_port, 29500);
}

TEST(Launch, TakesTheInnermostLauncher) {
  EXPECT_EQ(read(both(kOpenMpi, kSlurm)).launcher, "mpirun");
  EXPECT_EQ(read(both(kSlurm, {{"PMI_RANK", "9"}, {"PMI_SIZE", "11"}})).launcher, "srun");
  EXPECT_EQ(read(both(kSlurm, kTorchrun)).launcher, "srun");
  Environment elastic = both(kSlurm, kTorchrun);
  elastic["TORCHELASTIC_RUN_ID"] = "none";
  EXPECT_EQ(summary(read(elastic)), "torchrun 3/8 local 1/2");
}

TEST(Launch, ABatchScriptIsAlone) {
  for (const char* step : {"batch", "4294967291", "", "extern"}) {
    Environment environment = kSlurm;
    environment["SLURM_STEP_ID"] = step;
    EXPECT_EQ(summary(read(environment)), " 0/1 local 0/1") << step;
  }
  Environment environment = kSlurm;
  environment.erase("SLURM_STEP_ID");
  EXPECT_EQ(read(environment).size, 1);
  EXPECT_EQ(summary(read({{"MASTER_PORT", "nonsense"}})), " 0/1 local 0/1");
}

TEST(Launch, RefusesContradictions) {
  EXPECT_EQ(said({{"WORLD_SIZE", "4"}}),
            "WORLD_SIZE is set but RANK is not: a launcher sets both; set or unset them together");
  EXPECT_EQ(said({{"RANK", "0"}}),
            "RANK is set but WORLD_SIZE is not: a launcher sets both; set or unset them together");
  EXPECT_EQ(said({{"RANK", "4"}, {"WORLD_SIZE", "4"}}), "RANK=4: expected less than WORLD_SIZE=4");
  EXPECT_EQ(said({{"RANK", "two"}, {"WORLD_SIZE", "4"}}), "RANK=two: expected a number from 0 on");
  EXPECT_EQ(said({{"RANK", "0"}, {"WORLD_SIZE", "0"}}),
            "WORLD_SIZE=0: expected a number from 1 on");
  EXPECT_EQ(said({{"RANK", "0"}, {"WORLD_SIZE", "99999999999999999999"}}),
            "WORLD_SIZE=99999999999999999999: expected a number from 1 on");
  Environment environment = kTorchrun;
  environment["MASTER_PORT"] = "70000";
  EXPECT_EQ(said(environment), "MASTER_PORT=70000: expected a number from 1 to 65535");
  environment = kTorchrun;
  environment["LOCAL_RANK"] = "2";
  EXPECT_EQ(said(environment), "LOCAL_RANK=2: expected less than LOCAL_WORLD_SIZE=2");
}

}  // namespace
}  // namespace kanbench
