// Manifests: what is written is read back, and whatever is not a whole ensemble is refused with
// file, key, value and what would be right.

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "kanbench/decomposition.h"
#include "kanbench/ensemble.h"
#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

Manifest example() {
  Manifest all{"nucleon", {41, 30, 21}, Dtype::uint16, -0.1, 255, {1, 0.5, 2}, {2, 1, 3},
               1,         true,         true,          {}};
  for (std::int64_t i = 0; i < all.grid.count(); ++i) {
    const Box core = part_of(whole(all.shape), all.grid, i);
    char file[] = "brick_0.safetensors";
    file[6] = static_cast<char>('0' + i);
    all.bricks.push_back({core, grow(core, all.ghost, all.shape), 0.1 * double(i), 7, file});
  }
  all.bricks[4] = {all.bricks[4].core, all.bricks[4].held, 3.5, 3.5, ""};
  return all;
}

TEST(Manifest, KnowsItsName) {
  EXPECT_TRUE(is_manifest("a/b.ensemble.json"));
  EXPECT_FALSE(is_manifest("a/b.json"));
  EXPECT_FALSE(is_manifest("b.safetensors"));
}

TEST(Manifest, IsReadAsWritten) {
  const test::TemporaryDirectory directory;
  const Manifest all = example();
  write_manifest(all, directory / "x.ensemble.json");
  const Manifest read = read_manifest(directory / "x.ensemble.json");
  EXPECT_EQ(to_json(read), to_json(all));
  EXPECT_EQ(read.dataset, "nucleon");
  EXPECT_EQ(read.shape, all.shape);
  EXPECT_EQ(read.dtype, Dtype::uint16);
  EXPECT_EQ(read.low, -0.1);
  EXPECT_EQ(read.spacing, all.spacing);
  EXPECT_EQ(read.grid, all.grid);
  EXPECT_EQ(read.ghost, 1);
  EXPECT_TRUE(read.blend);
  EXPECT_TRUE(read.local);
  ASSERT_EQ(read.bricks.size(), 6u);
  EXPECT_EQ(read.bricks[5].held.low, all.bricks[5].held.low);
  EXPECT_EQ(read.bricks[5].low, all.bricks[5].low);
  EXPECT_EQ(read.bricks[5].file, "brick_5.safetensors");
  EXPECT_TRUE(read.bricks[4].file.empty());
}

TEST(Manifest, IsNotWrittenWhereItCouldNotBeRead) {
  const test::TemporaryDirectory directory;
  Manifest all = example();
  all.bricks[1].core.high[0] -= 1;
  EXPECT_THROW(write_manifest(all, directory / "x.ensemble.json"), Error);
  EXPECT_FALSE(std::filesystem::exists(directory / "x.ensemble.json"));
}

struct Malformed {
  const char* name;
  std::function<void(Json&)> spoil;
  // What the message must hold beside the file.
  std::vector<std::string> says;
};

const Malformed kMalformed[] = {
    {"no list", [](Json& j) { j["bricks"] = 3; }, {"bricks", "a list", "3"}},
    {"no object", [](Json& j) { j = Json::array(); }, {"expected an object"}},
    {"unknown key", [](Json& j) { j["ghosts"] = 1; }, {"ghosts", "unknown", "'ghost'"}},
    {"missing key", [](Json& j) { j.erase("blend"); }, {"blend", "missing"}},
    {"other format", [](Json& j) { j["format"] = "vtk"; }, {"format", "kanbench ensemble", "vtk"}},
    {"later version", [](Json& j) { j["version"] = 2; }, {"version", "1 to 1", "2"}},
    {"dtype", [](Json& j) { j["dtype"] = "uint9"; }, {"dtype", "uint9", "uint8"}},
    {"text for a number", [](Json& j) { j["ghost"] = "1"; }, {"ghost", "whole number"}},
    {"number for a flag", [](Json& j) { j["blend"] = 1; }, {"blend", "true or false", "1"}},
    {"half a ghost", [](Json& j) { j["ghost"] = 0.5; }, {"ghost", "whole number", "0.5"}},
    {"negative ghost", [](Json& j) { j["ghost"] = -1; }, {"ghost", "from 0", "-1"}},
    {"short shape",
     [](Json& j) {
       j["shape"] = {41, 30};
     },
     {"shape", "list of 3"}},
    {"flat shape", [](Json& j) { j["shape"][1] = 0; }, {"shape[1]", "from 1", "0"}},
    {"vast shape",
     [](Json& j) {
       j["shape"] = {1ll << 40, 1ll << 40, 1ll << 40};
     },
     {"shape", "2^56"}},
    {"empty range",
     [](Json& j) {
       j["range"] = {1, 1};
     },
     {"range", "[1", "no range"}},
    {"endless range",
     [](Json& j) {
       j["range"] = {-1e308, 1e308};
     },
     {"range", "no range"}},
    {"null range", [](Json& j) { j["range"][0] = nullptr; }, {"range[0]", "a number"}},
    {"no spacing", [](Json& j) { j["spacing"][2] = 0; }, {"spacing[2]", "above 0", "0"}},
    {"fine grid",
     [](Json& j) {
       j["grid"] = {2, 31, 3};
     },
     {"grid", "2x31x3", "41x30x21"}},
    {"few bricks", [](Json& j) { j["bricks"].erase(5); }, {"bricks", "6", "5"}},
    {"brick of another kind", [](Json& j) { j["bricks"][2] = 1; }, {"bricks[2]", "an object"}},
    {"unknown key of a brick", [](Json& j) { j["bricks"][2]["x"] = 1; }, {"bricks[2].x", "known"}},
    {"a hole", [](Json& j) { j["bricks"][1]["core"]["low"][0] = 22; }, {"bricks[1].core", "x 22"}},
    {"an overlap",
     [](Json& j) { j["bricks"][3]["core"]["high"][2] = 15; },
     {"bricks[3].core", "z 7 to 15", "z 7 to 14"}},
    {"bricks in another order",
     [](Json& j) { std::swap(j["bricks"][0], j["bricks"][1]); },
     {"bricks[0].core", "x 20 to 41"}},
    {"a brick outside",
     [](Json& j) { j["bricks"][5]["core"]["high"][2] = 22; },
     {"bricks[5].core", "z 14 to 22", "no part"}},
    {"a brick inside out",
     [](Json& j) { j["bricks"][0]["core"]["low"][1] = 30; },
     {"bricks[0].core", "y 30 to 30"}},
    {"other ghosts",
     [](Json& j) { j["bricks"][0]["held"]["high"][0] = 20; },
     {"bricks[0].held", "x 0 to 20", "x 0 to 21"}},
    {"a number beyond 64 bits",
     [](Json& j) { j["bricks"][0]["core"]["high"][0] = 1e30; },
     {"bricks[0].core.high[0]", "whole number"}},
    {"a constant brick with a file",
     [](Json& j) {
       j["bricks"][0]["range"] = {2, 2};
     },
     {"bricks[0].range", "[2"}},
    {"a brick without a file that varies",
     [](Json& j) { j["bricks"][0].erase("file"); },
     {"bricks[0].range", "constant"}},
    {"a way up",
     [](Json& j) { j["bricks"][0]["file"] = "../secret"; },
     {"bricks[0].file", "../secret", "beside"}},
    {"a way from the root",
     [](Json& j) { j["bricks"][0]["file"] = "/etc/passwd"; },
     {"bricks[0].file", "beside"}},
    {"the directory", [](Json& j) { j["bricks"][0]["file"] = ".."; }, {"bricks[0].file"}},
    {"a line's end", [](Json& j) { j["bricks"][0]["file"] = "a\nb"; }, {"bricks[0].file"}},
    {"no name", [](Json& j) { j["bricks"][0]["file"] = ""; }, {"bricks[0].file"}},
};

TEST(Manifest, MalformedIsRefused) {
  for (const Malformed& one : kMalformed) {
    Json json = Json::parse(to_json(example()));
    one.spoil(json);
    const std::string said =
        test::message_of<Error>([&] { parse_manifest(json.dump(), "x.ensemble.json"); });
    EXPECT_EQ(said.find('\n'), std::string::npos) << one.name;
    EXPECT_TRUE(said.starts_with("x.ensemble.json: ")) << one.name << ": " << said;
    for (const std::string& word : one.says)
      EXPECT_NE(said.find(word), std::string::npos) << one.name << ": " << said;
  }
}

TEST(Manifest, TextThatIsNoJsonIsRefused) {
  const std::string whole = to_json(example());
  for (const std::string& text :
       {std::string(), std::string("{"), whole + "}", whole.substr(0, 99), std::string(5000, '[')})
    EXPECT_THROW(parse_manifest(text, "x"), Error) << text;
  const std::string twice = "{\"ghost\": 1, \"ghost\": 1}";
  EXPECT_NE(test::message_of<Error>([&] { parse_manifest(twice, "x"); }).find("twice"),
            std::string::npos);
}

}  // namespace
}  // namespace kanbench
