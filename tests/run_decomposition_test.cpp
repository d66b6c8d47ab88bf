// How a run is spread over bricks and ranks: in parameter files, on the command line, in its id.

#include <set>

#include "kanbench/error.h"
#include "kanbench/run.h"
#include "run_support.h"
#include "support.h"

namespace kanbench {
namespace {

using test::each;
using test::file_with;
using test::message_of;
using test::runs_with;

Run run_with(const std::string& decomposition) {
  return runs_with(R"({"decomposition": )" + decomposition + "}").at(0);
}

TEST(Decomposition, IsReadFromAFile) {
  const Decomposition how =
      run_with(R"({"mode": "hybrid", "bricks": 12, "ghost": 2, "blend": false, "share_every": 4,
                   "share_resolution": 24, "wire": "fp16", "sharded": true})")
          .decomposition;
  EXPECT_EQ(how.mode, "hybrid");
  EXPECT_EQ(how.brick_count, 12);
  EXPECT_EQ(how.ghost, 2);
  EXPECT_FALSE(how.blend);
  EXPECT_EQ(how.share_every, 4);
  EXPECT_EQ(how.share_resolution, 24);
  EXPECT_EQ(how.wire, "fp16");
  EXPECT_TRUE(how.sharded);
}

TEST(Decomposition, IsSwept) {
  const auto runs = runs_with(
      R"({"decomposition": {"mode": {"values": ["ensemble", "hybrid"]}, "ghost": [0, 2]}})");
  ASSERT_EQ(runs.size(), 6u);
  EXPECT_EQ(runs[0].decomposition.mode, "ensemble");
  EXPECT_EQ(runs[2].decomposition.ghost, 2);
  EXPECT_EQ(runs[5].decomposition.mode, "hybrid");
}

TEST(Decomposition, NamesWhatIsWrong) {
  const auto fault = [](const std::string& decomposition) {
    return message_of<Error>([&] { run_with(decomposition); });
  };
  EXPECT_EQ(fault(R"({"modes": "shared"})"),
            "p.json: nucleon.decomposition.modes is not a known key, did you mean 'mode'?");
  EXPECT_EQ(fault(R"({"mode": "ensembles"})").substr(0, 60),
            "p.json: nucleon.decomposition.mode is \"ensembles\", must be s");
  EXPECT_NE(fault(R"({"ghost": -1})").find("from 0 to 64"), std::string::npos);
  EXPECT_NE(fault(R"(["ensemble"])").find("must be an object with mode"), std::string::npos);
}

TEST(Decomposition, IsPartOfTheIdWhereItDecidesTheResult) {
  const std::string plain = run_id(runs_with("{}").at(0), "v");
  EXPECT_EQ(run_id(run_with(R"({"mode": "shared", "sharded": true})"), "v"), plain);
  std::set<std::string> ids{plain};
  for (const char* how :
       {R"({"wire": "fp16"})", R"({"mode": "ensemble", "bricks": 8})",
        R"({"mode": "ensemble", "bricks": 4})", R"({"mode": "ensemble", "bricks": 8, "ghost": 2})",
        R"({"mode": "ensemble", "bricks": 8, "blend": false})",
        R"({"mode": "hybrid", "bricks": 8})", R"({"mode": "hybrid", "bricks": 8, "ghost": 2})",
        R"({"mode": "hybrid", "bricks": 8, "share_every": 2})",
        R"({"mode": "hybrid", "bricks": 8, "share_resolution": 8})"})
    EXPECT_TRUE(ids.insert(run_id(run_with(how), "v")).second) << how;
  kanbench::Run settled = run_with(R"({"mode": "ensemble"})");
  settled.decomposition.bricks = {2, 2, 2};
  EXPECT_EQ(run_id(settled, "v"), run_id(run_with(R"({"mode": "ensemble", "bricks": 8})"), "v"));
}

TEST(Decomposition, OfARunWrittenDownIsReadAgain) {
  const kanbench::Run run =
      run_with(R"({"mode": "hybrid", "bricks": 8, "ghost": 3, "wire": "fp16"})");
  const kanbench::Run again =
      parse_runs(R"({"nucleon": )" + to_json(run) + "}", "p.json", {"mlp"}).at(0);
  EXPECT_EQ(to_json(again), to_json(run));
  EXPECT_EQ(again.decomposition.ghost, 3);
}

TEST(Decomposition, OfTheCommandLineStandsAboveTheFile) {
  RunOverrides overrides;
  overrides.decomposition = [](Decomposition& how) { how.ghost = 5; };
  const auto runs = select_runs({run_with(R"({"mode": "ensemble", "ghost": 2})")}, {}, overrides);
  EXPECT_EQ(runs[0].decomposition.ghost, 5);
  EXPECT_EQ(runs[0].decomposition.mode, "ensemble");
}

}  // namespace
}  // namespace kanbench
