// Manifests of ensembles, as JSON. What is read may come from anyone: every key, number and box is
// held to what a manifest may say before a brick's file is opened.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "json_node.h"
#include "kanbench/decomposition.h"
#include "kanbench/ensemble.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSuffix = ".ensemble.json";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMaxAxis = std::int64_t{1} << 40;
constexpr std::int64_t kMaxVoxels = std::int64_t{1} << 56;
constexpr std::int64_t kMaxGhost = 1 << 20;
const std::string kAxes[] = {"x", "y", "z"};

// One JSON object, read key by key; done() refuses the keys that nobody asked for.
class Object {
 public:
  Object(const JsonNode& node, std::string source, std::string path)
      : source_(std::move(source)), path_(std::move(path)) {
    members_ = node.as<JsonNode::Object>();
    if (!members_) fail(path_.empty() ? "the file" : path_, "an object", node);
  }

  const JsonNode* find(const std::string& key) {
    taken_.push_back(key);
    for (const auto& [name, value] : *members_)
      if (name == key) return &value;
    return nullptr;
  }
  const JsonNode& take(const std::string& key) {
    if (const JsonNode* found = find(key)) return *found;
    throw Error(source_ + ": " + path(key) + " is missing");
  }
  bool boolean(const std::string& key) {
    const JsonNode& node = take(key);
    if (const bool* value = node.as<bool>()) return *value;
    fail(path(key), "true or false", node);
  }
  std::string text(const std::string& key) { return text_of(take(key), path(key)); }
  std::int64_t whole(const std::string& key, std::int64_t least, std::int64_t most) {
    return whole_of(take(key), path(key), least, most);
  }
  double number(const std::string& key) { return number_of(take(key), path(key)); }

  // A list of as many numbers as the array has.
  template <class T, std::size_t N, class Read>
  std::array<T, N> list(const JsonNode& node, const std::string& path, Read read) {
    const auto* items = node.as<JsonNode::List>();
    if (!items || items->size() != N)
      fail(path, "a list of " + std::to_string(N) + " numbers", node);
    std::array<T, N> values;
    for (std::size_t i = 0; i < N; ++i) values[i] = read((*items)[i], item_path(path, i));
    return values;
  }
  template <std::size_t N>
  std::array<double, N> numbers(const std::string& key) {
    return list<double, N>(take(key), path(key), [this](const JsonNode& node, const auto& at) {
      return number_of(node, at);
    });
  }
  std::array<std::int64_t, 3> wholes(const JsonNode& node, const std::string& path,
                                     std::int64_t least, std::int64_t most) {
    return list<std::int64_t, 3>(node, path, [&](const JsonNode& item, const std::string& at) {
      return whole_of(item, at, least, most);
    });
  }
  Shape shape(const std::string& key) {
    const auto [x, y, z] = wholes(take(key), path(key), 1, kMaxAxis);
    if (x > kMaxVoxels / y || x * y > kMaxVoxels / z)
      fail(path(key), "at most 2^56 in all", take(key));
    return {x, y, z};
  }
  // {"low": ..., "high": ...} of voxels within `size`.
  Box box(const std::string& key, const Shape& size) {
    Object object(take(key), source_, path(key));
    Box box;
    box.low = object.wholes(object.take("low"), object.path("low"), 0, kMaxAxis);
    box.high = object.wholes(object.take("high"), object.path("high"), 1, kMaxAxis);
    object.done();
    const std::int64_t most[3] = {size.x, size.y, size.z};
    for (std::size_t d = 0; d < 3; ++d)
      if (box.low[d] >= box.high[d] || box.high[d] > most[d])
        throw Error(source_ + ": " + path(key) + ": " + describe_range(box, d) +
                    " is no part of a volume of " + kanbench::text(size) + " voxels");
    return box;
  }
  static std::string describe_range(const Box& box, std::size_t axis) {
    return kAxes[axis] + " " + std::to_string(box.low[axis]) + " to " +
           std::to_string(box.high[axis]);
  }

  void done() const {
    for (const auto& [key, value] : *members_)
      if (std::find(taken_.begin(), taken_.end(), key) == taken_.end())
        throw Error(source_ + ": " + path(key) + ": unknown key" + nearest(key, taken_) +
                    " (known: " + join(taken_) + ")");
  }
  std::string path(const std::string& key) const { return member_path(path_, key); }

  [[noreturn]] void fail(const std::string& path, const std::string& right,
                         const JsonNode& found) const {
    throw Error(source_ + ": " + path + ": expected " + right + ", found " + describe(found));
  }

 private:
  std::string text_of(const JsonNode& node, const std::string& path) const {
    if (const auto* value = node.as<std::string>()) return *value;
    fail(path, "text", node);
  }
  double number_of(const JsonNode& node, const std::string& path) const {
    double value = NAN;
    if (const auto* natural = node.as<std::uint64_t>()) value = static_cast<double>(*natural);
    if (const auto* integer = node.as<std::int64_t>()) value = static_cast<double>(*integer);
    if (const auto* real = node.as<double>()) value = *real;
    if (!std::isfinite(value)) fail(path, "a number", node);
    return value;
  }
  std::int64_t whole_of(const JsonNode& node, const std::string& path, std::int64_t least,
                        std::int64_t most) const {
    const auto* value = node.as<std::uint64_t>();
    if (!value || *value < static_cast<std::uint64_t>(least) ||
        *value > static_cast<std::uint64_t>(most))
      fail(path, "a whole number from " + std::to_string(least) + " to " + std::to_string(most),
           node);
    return static_cast<std::int64_t>(*value);
  }

  const JsonNode::Object* members_ = nullptr;
  std::string source_, path_;
  std::vector<std::string> taken_;
};

// A name beside the manifest, nowhere else.
void require_beside(const std::string& file, const std::string& where) {
  const bool plain = std::none_of(file.begin(), file.end(), [](char c) {
    return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (!plain || file == "." || file == ".." || file.empty())
    throw Error(where + ": " + in_quotes(file) +
                " is no name of a file beside the manifest, like \"brick_000.safetensors\"");
}

void require_range(double low, double high, bool may_be_constant, const std::string& where) {
  const bool right = may_be_constant ? low == high : low < high;
  if (right && std::isfinite(high - low)) return;
  throw Error(where + ": [" + Json(low).dump() + ", " + Json(high).dump() + "] is no range: " +
              (may_be_constant ? "a brick without a file is constant, its ends are equal"
                               : "the first number must be the smaller"));
}

Brick read_brick(const JsonNode& node, const Manifest& all, const std::string& source,
                 const std::string& path) {
  Object object(node, source, path);
  Brick brick;
  brick.core = object.box("core", all.shape);
  brick.held = object.box("held", all.shape);
  const auto [low, high] = object.numbers<2>("range");
  brick.low = low;
  brick.high = high;
  if (object.find("file")) {
    brick.file = object.text("file");
    require_beside(brick.file, source + ": " + object.path("file"));
  }
  object.done();
  require_range(low, high, brick.file.empty(), source + ": " + object.path("range"));
  return brick;
}

// Cuts are the same for all bricks: each core begins where the one before it on its axis ends, and
// what it holds is the core and its ghosts.
void require_tiling(const Manifest& all, const std::string& source) {
  const std::int64_t counts[3] = {all.grid.x, all.grid.y, all.grid.z};
  const std::int64_t sizes[3] = {all.shape.x, all.shape.y, all.shape.z};
  const std::int64_t strides[3] = {1, all.grid.x, all.grid.x * all.grid.y};
  for (std::size_t i = 0; i < all.bricks.size(); ++i) {
    const Brick& brick = all.bricks[i];
    const std::string where = source + ": " + item_path("bricks", i);
    for (std::size_t d = 0; d < 3; ++d) {
      const std::int64_t at = static_cast<std::int64_t>(i) / strides[d] % counts[d];
      // The brick of the same place on this axis, and of the first on the others.
      const Brick& first = all.bricks[static_cast<std::size_t>(at * strides[d])];
      const std::int64_t low =
          at == 0 ? 0 : all.bricks[static_cast<std::size_t>((at - 1) * strides[d])].core.high[d];
      const std::int64_t high = at + 1 == counts[d] ? sizes[d] : first.core.high[d];
      if (brick.core.low[d] != low || brick.core.high[d] != high)
        throw Error(where + ".core: " + Object::describe_range(brick.core, d) +
                    " leaves a hole or overlaps: its place in the grid of " + text(all.grid) +
                    " is " + kAxes[d] + " " + std::to_string(low) + " to " + std::to_string(high));
    }
    const Box held = grow(brick.core, all.ghost, all.shape);
    for (std::size_t d = 0; d < 3; ++d)
      if (held.low[d] != brick.held.low[d] || held.high[d] != brick.held.high[d])
        throw Error(where + ".held: " + Object::describe_range(brick.held, d) +
                    " is not the core and " + std::to_string(all.ghost) + " ghost voxels, " +
                    kAxes[d] + " " + std::to_string(held.low[d]) + " to " +
                    std::to_string(held.high[d]));
  }
}

void read_bricks(Object& object, Manifest& all, const std::string& source) {
  const JsonNode& node = object.take("bricks");
  const auto* bricks = node.as<JsonNode::List>();
  const std::int64_t wanted = all.grid.count();
  if (!bricks) object.fail("bricks", "a list", node);
  if (static_cast<std::int64_t>(bricks->size()) != wanted)
    throw Error(source + ": bricks: expected " + std::to_string(wanted) + ", one for each of the " +
                "grid of " + text(all.grid) + ", found " + std::to_string(bricks->size()));
  for (std::size_t i = 0; i < bricks->size(); ++i)
    all.bricks.push_back(read_brick((*bricks)[i], all, source, item_path("bricks", i)));
}

Json in_json(const Box& box) { return {{"low", box.low}, {"high", box.high}}; }

Json in_json(const Shape& shape) { return {shape.x, shape.y, shape.z}; }

}  // namespace

bool is_manifest(const std::filesystem::path& path) { return path.string().ends_with(kSuffix); }

Manifest parse_manifest(const std::string& json, const std::string& source) {
  const JsonNode root = parse_json(json, source);
  Object object(root, source, "");
  if (const std::string format = object.text("format"); format != "kanbench ensemble")
    throw Error(source + ": format: expected \"kanbench ensemble\", found " + in_quotes(format));
  object.whole("version", kVersion, kVersion);
  Manifest all;
  all.dataset = object.text("dataset");
  all.shape = object.shape("shape");
  if (const std::string dtype = object.text("dtype"); !parse_dtype(dtype, all.dtype))
    throw Error(source + ": dtype: " + in_quotes(dtype) + " is none: use " + dtype_names());
  const auto [low, high] = object.numbers<2>("range");
  require_range(low, high, false, source + ": range");
  all.low = low;
  all.high = high;
  all.spacing = object.numbers<3>("spacing");
  for (std::size_t d = 0; d < 3; ++d)
    if (!(all.spacing[d] > 0))
      object.fail(item_path("spacing", d), "a number above 0",
                  (*object.take("spacing").as<JsonNode::List>())[d]);
  if (object.find("origin")) all.origin = object.numbers<3>("origin");
  all.grid = object.shape("grid");
  all.ghost = static_cast<int>(object.whole("ghost", 0, kMaxGhost));
  all.blend = object.boolean("blend");
  all.local = object.boolean("local");
  if (all.grid.x > all.shape.x || all.grid.y > all.shape.y || all.grid.z > all.shape.z)
    throw Error(source + ": grid: " + text(all.grid) + " bricks, more than the " + text(all.shape) +
                " voxels");
  read_bricks(object, all, source);
  object.done();
  require_tiling(all, source);
  return all;
}

Manifest read_manifest(const std::filesystem::path& path) {
  return parse_manifest(read_file(path), path.string());
}

std::string to_json(const Manifest& all) {
  Json bricks = Json::array();
  for (const Brick& brick : all.bricks) {
    Json one = {{"core", in_json(brick.core)},
                {"held", in_json(brick.held)},
                {"range", {brick.low, brick.high}}};
    if (!brick.file.empty()) one["file"] = brick.file;
    bricks.push_back(std::move(one));
  }
  Json json = {{"format", "kanbench ensemble"},
               {"version", kVersion},
               {"dataset", all.dataset},
               {"shape", in_json(all.shape)},
               {"dtype", name(all.dtype)},
               {"range", {all.low, all.high}},
               {"spacing", all.spacing},
               {"grid", in_json(all.grid)},
               {"ghost", all.ghost},
               {"blend", all.blend},
               {"local", all.local},
               {"bricks", bricks}};
  if (all.origin != std::array<double, 3>{}) json["origin"] = all.origin;
  // A line a key, and one a brick.
  std::string text = "{\n";
  for (const auto& [key, value] : json.items())
    if (key != "bricks") text += "  \"" + key + "\": " + value.dump() + ",\n";
  text += "  \"bricks\": [";
  for (std::size_t i = 0; i < bricks.size(); ++i)
    text += (i ? ",\n    " : "\n    ") + bricks[i].dump();
  return text + "\n  ]\n}\n";
}

void write_manifest(const Manifest& manifest, const std::filesystem::path& path) {
  const std::string text = to_json(manifest);
  parse_manifest(text, path.string());
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace kanbench
