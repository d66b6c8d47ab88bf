// The safetensors container: what it writes, and that no file, however hostile, is more than an
// Error.

#include "kanbench/safetensors.h"

#include <cstring>
#include <random>

#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

using test::message_of;

std::string with_header(const std::string& header, const std::string& data = "") {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

Safetensors parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "m.safetensors");
}

// The message for that header over `data` bytes.
std::string refusal(const std::string& header, std::size_t data = 0) {
  const std::string message =
      message_of<Error>([&] { parse(with_header(header, std::string(data, '\0'))); });
  EXPECT_EQ(message.rfind("m.safetensors: ", 0), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Tensor tensor(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape) {
  std::size_t bytes = safetensors_size_of(dtype);
  for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  Tensor made{name, dtype, std::move(shape), std::vector<std::byte>(bytes)};
  for (std::size_t i = 0; i < bytes; ++i) made.data[i] = static_cast<std::byte>(i * 37 + 11);
  return made;
}

Safetensors sample() {
  Safetensors file;
  file.metadata = {{"format", "test"}, {"odd \"key\"\n", "välue \\ \t"}};
  for (const char* dtype : {"F32", "U8", "F16", "BF16", "I64", "BOOL", "F64", "U16", "I32"})
    file.tensors.push_back(tensor(std::string("t.") + dtype, dtype, {3, 5}));
  file.tensors.push_back(tensor("empty", "F32", {0, 7}));
  file.tensors.push_back(tensor("scalar", "F64", {}));
  return file;
}

TEST(Safetensors, RoundTrips) {
  const Safetensors file = sample();
  const std::string bytes = serialise(file);
  std::uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  const Safetensors back = parse(bytes);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const Tensor& tensor : file.tensors) {
    const Tensor* found = back.find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->dtype, tensor.dtype);
    EXPECT_EQ(found->shape, tensor.shape);
    EXPECT_EQ(found->data, tensor.data);
  }
  EXPECT_EQ(back.find("t.F3"), nullptr);
  EXPECT_EQ(serialise(parse(bytes)), bytes);
  const test::TemporaryDirectory directory;
  write_safetensors(directory / "a.safetensors", file);
  EXPECT_EQ(serialise(read_safetensors(directory / "a.safetensors")), bytes);
}

TEST(Safetensors, ReadsWhatOthersWrite) {
  EXPECT_TRUE(parse(with_header("{}")).tensors.empty());
  const Safetensors file = parse(
      with_header(R"({"b":{"data_offsets":[4,6],"shape":[2],"dtype":"U8"}, )"
                  R"("a" : {"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{}}   )",
                  "123456"));
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, "a");
  EXPECT_EQ(file.tensors[1].data[0], std::byte{'5'});
}

TEST(Safetensors, RefusesALengthThatCannotBe) {
  for (const std::string& bytes :
       {std::string(), std::string(7, '\0'), std::string(8, '\0'), std::string(8, '\xff'),
        with_header("{}").substr(0, 9), with_header("[]"), with_header(" {}")})
    EXPECT_TRUE(contains(message_of<Error>([&] { parse(bytes); }), "not safetensors"));
  std::string large = with_header("{}");
  const std::uint64_t length = 100'000'001;
  std::memcpy(large.data(), &length, 8);
  large.resize(8 + length, ' ');
  EXPECT_TRUE(contains(message_of<Error>([&] { parse(large); }), "100000000 are possible"));
}

TEST(Safetensors, RefusesOffsetsThatDoNotTile) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_NO_THROW(parse(with_header(two("[0,4]", "[4,8]"), "12345678")));
  EXPECT_NO_THROW(parse(with_header(two("[4,8]", "[0,4]"), "12345678")));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[2,6]"), 6), "overlap"));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[0,4]"), 4), "overlap"));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[5,9]"), 9), "hole"));
  EXPECT_TRUE(contains(refusal(two("[1,5]", "[5,9]"), 9), "hole"));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[4,8]"), 9), "which has 9"));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[4,8]"), 7), "cut short"));
  EXPECT_TRUE(contains(refusal(two("[4,0]", "[4,8]"), 8), "begin <= end"));
  EXPECT_TRUE(contains(refusal(two("[0,4]", "[18446744073709551612,18446744073709551615]"), 8),
                       "18446744073709551615"));
  EXPECT_TRUE(contains(refusal(two("[0,3]", "[3,7]"), 7), "expected 4 bytes"));
  for (const char* offsets : {"[0]", "[]", "[0,4,8]", "[-1,3]", "[0.0,4]", "4", "\"0,4\"", "null",
                              "[[0],4]", "[18446744073709551616,4]", "[true,4]", "{}"})
    refusal(two(offsets, "[4,8]"), 8);
}

TEST(Safetensors, RefusesShapesThatOverflow) {
  const auto one = [](const std::string& shape, const std::string& dtype = "F32") {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[0,8]}})";
  };
  EXPECT_NO_THROW(parse(with_header(one("[2]"), "12345678")));
  for (const char* shape : {"[4611686018427387906]", "[2147483649,2147483648,2]",
                            "[9223372036854775808]", "[18446744073709551615,0]"})
    EXPECT_TRUE(contains(refusal(one(shape), 8), "too large")) << shape;
  EXPECT_TRUE(contains(refusal(one("[3]"), 8), "expected 12 bytes by its shape, found 8"));
  EXPECT_TRUE(contains(refusal(one("[2]", "F33"), 8), "unknown dtype 'F33'"));
  EXPECT_TRUE(contains(refusal(one("[2]", "f32"), 8), "F32"));
  for (const char* shape : {"2", "[-2]", "[2.0]", "[null]", "\"2\"", "[[2]]"})
    refusal(one(shape), 8);
  std::string rank = "[2";
  for (int i = 0; i < 100; ++i) rank += ",1";
  EXPECT_TRUE(contains(refusal(one(rank + "]"), 8), "longer list"));
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  const std::string good = R"("dtype":"U8","shape":[0],"data_offsets":[0,0])";
  EXPECT_NO_THROW(parse(with_header("{\"a\":{" + good + "}}")));
  EXPECT_TRUE(contains(refusal("{\"a\":{" + good + "},\"a\":{" + good + "}}"), "twice"));
  EXPECT_TRUE(contains(refusal("{\"a\":{" + good + ",\"shape\":[0]}}"), "twice"));
  EXPECT_TRUE(contains(refusal("{\"a\":{" + good + ",\"dtype\":\"U8\"}}"), "twice"));
  EXPECT_TRUE(contains(refusal("{\"a\":{" + good + ",\"x\":1}}"), "unknown key"));
  EXPECT_TRUE(contains(refusal(R"({"a":{"dtype":"U8","shape":[0]}})"), "no 'data_offsets'"));
  EXPECT_TRUE(contains(refusal(R"({"a":{"shape":[0],"data_offsets":[0,0]}})"), "no 'dtype'"));
  EXPECT_TRUE(contains(refusal(R"({"__metadata__":{"a":"1","a":"2"}})"), "twice"));
  EXPECT_TRUE(contains(refusal(R"({"__metadata__":{},"__metadata__":{}})"), "twice"));
  for (const char* header :
       {R"({"__metadata__":{"a":1}})", R"({"__metadata__":{"a":null}})", R"({"__metadata__":[]})",
        R"({"__metadata__":{"a":{}}})", R"({"__metadata__":"x"})", R"({"a":1})", R"({"a":"x"})",
        R"({"a":[]})", R"({"a":{}})", R"({"a":{"dtype":1}})", "{", "{}x", "{}{}", "{\"a\"}",
        "{\"\xff\":{}}", "{'a':1}", "{} // more"})
    refusal(header);
}

TEST(Safetensors, RefusesDepthWithoutDescending) {
  refusal("{\"a\":" + std::string(1'000'000, '['));
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) objects += "\"a\":{";
  refusal(objects);
  refusal("{\"a\":{\"shape\":" + std::string(1'000'000, '['));
}

TEST(Safetensors, KeepsAMessageToOneShortLine) {
  const std::string name(5000, 'n');
  const std::string message = refusal("{\"a\\nb" + name + "\":{\"dtype\":\"U8\"}}");
  EXPECT_LT(message.size(), 300u);
  EXPECT_TRUE(contains(message, "a?b"));
}

// Every cut and thousands of damaged bytes either read as something whole or are an Error.
TEST(Safetensors, SurvivesDamage) {
  const std::string bytes = serialise(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(parse(bytes.substr(0, size)), Error) << size;
  std::mt19937 random(1);
  std::size_t refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = bytes;
    for (unsigned n = 0; n <= random() % 3; ++n)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      std::size_t total = 0;
      for (const Tensor& tensor : parse(damaged).tensors) total += tensor.data.size();
      EXPECT_LE(total, bytes.size());
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 5000u);
}

}  // namespace
}  // namespace kanbench
