// The picture of slices, read back pixel by pixel.
#include "kanbench/slices.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "canvas.h"
#include "color_map.h"
#include "kanbench/error.h"
#include "support.h"

namespace kanbench {
namespace {

struct Picture {
  int width = 0, height = 0;
  std::vector<Color> pixels;
  Color at(int x, int y) const {
    return pixels[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                  static_cast<std::size_t>(x)];
  }
};

Picture read_png(const std::filesystem::path& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  Picture picture;
  if (!png_image_begin_read_from_file(&image, path.c_str())) {
    ADD_FAILURE() << image.message;
    return picture;
  }
  image.format = PNG_FORMAT_RGB;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  picture.pixels.resize(std::size_t{image.width} * image.height);
  EXPECT_TRUE(png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr));
  return picture;
}

SlicePair flat(char axis, std::int64_t width, std::int64_t height, float original,
               float reconstruction) {
  const auto n = static_cast<std::size_t>(width * height);
  return {axis,
          7,
          width,
          height,
          std::vector<float>(n, original),
          std::vector<float>(n, reconstruction)};
}

Picture drawn(const std::vector<SlicePair>& slices) {
  const test::TemporaryDirectory directory;
  write_slices(directory / "slices.png", slices, 0, 255, "title");
  return read_png(directory / "slices.png");
}

struct Rectangle {
  int left = 0, top = 0, width = 0, height = 0;
  friend bool operator==(const Rectangle&, const Rectangle&) = default;
};

int count_in_column(const Picture& picture, int x, Color color) {
  int count = 0;
  for (int y = 0; y < picture.height; ++y) count += picture.at(x, y) == color;
  return count;
}

// Rectangles of one colour, left to right: columns that hold at least `least` pixels of it.
std::vector<Rectangle> find_panels(const Picture& picture, Color color, int least) {
  std::vector<Rectangle> found;
  for (int x = 0; x < picture.width; ++x) {
    const int count = count_in_column(picture, x, color);
    if (count < least) continue;
    if (!found.empty() && found.back().left + found.back().width == x) {
      ++found.back().width;
      continue;
    }
    int top = 0;
    while (!(picture.at(x, top) == color)) ++top;
    found.push_back({x, top, 1, count});
  }
  return found;
}

TEST(Slices, PanelsShowTheValuesTheRightWayUp) {
  SlicePair slice = flat('z', 4, 4, 0, 0);
  slice.original[0] = slice.reconstruction[0] = 1;  // x = 0, y = 0
  slice.reconstruction[15] = 0.5f;                  // x = 3, y = 3
  slice.original[12] = 0.25f;                       // x = 0, y = 3
  const Picture picture = drawn({slice});
  const Color zero = sequential_color(0);
  // The columns of x = 1 and x = 2 are 0 all through.
  const auto panels = find_panels(picture, zero, 384);
  ASSERT_EQ(panels.size(), 2u);
  for (const Rectangle& panel : panels) {
    EXPECT_EQ(panel.width, 192 + (panel == panels[0] ? 96 : 0));
    EXPECT_EQ(panel.height, 384);
  }
  // The middle of voxel (x, y) of panel p.
  const int pitch = panels[1].left - panels[0].left;
  const auto voxel = [&](int p, int x, int y) {
    return picture.at(panels[0].left + p * pitch + 96 * (x - 1) + 48,
                      panels[0].top + 96 * (3 - y) + 48);
  };
  EXPECT_EQ(voxel(0, 0, 0), sequential_color(1));
  EXPECT_EQ(voxel(0, 0, 3), sequential_color(0.25));
  EXPECT_EQ(voxel(0, 3, 3), zero);
  EXPECT_EQ(voxel(1, 0, 0), sequential_color(1));
  EXPECT_EQ(voxel(1, 3, 3), sequential_color(0.5));
  EXPECT_EQ(voxel(1, 0, 3), zero);
  const auto error_panel = find_panels(picture, diverging_color(0), 384);
  ASSERT_FALSE(error_panel.empty());
  const Rectangle error = error_panel.front();
  EXPECT_EQ(error.width, 192);
  const auto error_voxel = [&](int x, int y) {
    return picture.at(error.left + 96 * (x - 1) + 48, error.top + 96 * (3 - y) + 48);
  };
  EXPECT_EQ(error_voxel(3, 3), diverging_color(1));
  EXPECT_EQ(error_voxel(0, 3), diverging_color(-0.5));
  EXPECT_EQ(error_voxel(0, 0), diverging_color(0));
}

TEST(Slices, ExactReconstructionHasABlankError) {
  const Picture picture = drawn({flat('z', 10, 10, 0.5f, 0.5f)});
  const auto panels = find_panels(picture, diverging_color(0), 300);
  ASSERT_EQ(panels.size(), 1u);
  EXPECT_EQ(panels[0].width, 380);
  EXPECT_EQ(panels[0].height, 380);
}

TEST(Slices, ReconstructionIsClamped) {
  const Picture picture = drawn({flat('z', 10, 10, 1, 3)});
  EXPECT_EQ(find_panels(picture, sequential_color(1), 300).size(), 2u);
  EXPECT_EQ(find_panels(picture, diverging_color(0), 300).size(), 1u);
}

TEST(Slices, EnlargedByWholePixelsAndReduced) {
  const auto sizes = [](std::int64_t width, std::int64_t height) {
    const auto panels =
        find_panels(drawn({flat('x', width, height, 0, 0)}), sequential_color(0), 7);
    EXPECT_EQ(panels.size(), 2u);
    return panels.empty() ? std::pair(0, 0) : std::pair(panels[0].width, panels[0].height);
  };
  EXPECT_EQ(sizes(41, 41), std::pair(369, 369));
  EXPECT_EQ(sizes(98, 34), std::pair(294, 102));
  EXPECT_EQ(sizes(400, 500), std::pair(400, 500));
  EXPECT_EQ(sizes(1024, 512), std::pair(512, 256));
  EXPECT_EQ(sizes(1500, 3000), std::pair(256, 512));
  EXPECT_EQ(sizes(300, 1), std::pair(300, 8));
}

TEST(Slices, OneRowAnAxisAllToOneScale) {
  const Picture three =
      drawn({flat('x', 10, 20, 0, 0), flat('y', 30, 20, 0, 0), flat('z', 30, 10, 0, 0)});
  // Every panel has 12 pixels a voxel: the first 120 columns hold all three, the others two.
  const Color zero = sequential_color(0);
  const auto panels = find_panels(three, zero, 300);
  ASSERT_EQ(panels.size(), 2u);
  EXPECT_EQ(panels[0].width, 360);
  EXPECT_EQ(panels[0].height, 240 + 240 + 120);
  EXPECT_EQ(count_in_column(three, panels[0].left + 200, zero), 240 + 120);
}

TEST(Slices, WhiteBackgroundAndATitle) {
  const Picture picture = drawn({flat('z', 4, 4, 0, 1)});
  const Color white{255, 255, 255};
  for (int x = 0; x < picture.width; ++x) {
    EXPECT_EQ(picture.at(x, 0), white);
    EXPECT_EQ(picture.at(x, picture.height - 1), white);
  }
  int dark = 0;
  for (int y = 20; y < 50; ++y) {
    for (int x = 0; x < 100; ++x) dark += picture.at(x, y).green < 100;
  }
  EXPECT_GT(dark, 40);
}

TEST(Slices, SameInputSameBytes) {
  const test::TemporaryDirectory directory;
  const auto bytes = [&](const char* file, const char* title) {
    write_slices(directory / file, {flat('y', 9, 5, 0.25f, 0.75f)}, -1.5, 2.5, title);
    std::ifstream stream(directory / file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  const std::string first = bytes("a.png", "title");
  EXPECT_TRUE(first == bytes("b.png", "title"));
  EXPECT_FALSE(first == bytes("c.png", "another"));
}

TEST(Slices, WrongInput) {
  const test::TemporaryDirectory directory;
  EXPECT_THROW(write_slices(directory / "a.png", {}, 0, 1, ""), std::logic_error);
  SlicePair torn = flat('z', 4, 4, 0, 0);
  torn.reconstruction.pop_back();
  EXPECT_THROW(write_slices(directory / "a.png", {torn}, 0, 1, ""), std::logic_error);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  EXPECT_THROW(write_slices(directory / "none" / "a.png", {flat('z', 4, 4, 0, 0)}, 0, 1, ""),
               std::runtime_error);
}

double lightness(Color c) { return 0.2126 * c.red + 0.7152 * c.green + 0.0722 * c.blue; }

TEST(ColorMap, LightnessRunsOneWay) {
  for (int i = 1; i <= 32; ++i) {
    EXPECT_GT(lightness(sequential_color(i / 32.0)), lightness(sequential_color((i - 1) / 32.0)));
    EXPECT_LT(lightness(diverging_color(i / 32.0)), lightness(diverging_color((i - 1) / 32.0)));
    EXPECT_NEAR(lightness(diverging_color(i / 32.0)), lightness(diverging_color(-i / 32.0)), 32);
  }
  EXPECT_GT(diverging_color(1).red, 2 * diverging_color(1).blue);
  EXPECT_GT(diverging_color(-1).blue, 2 * diverging_color(-1).red);
  EXPECT_EQ(sequential_color(-3), sequential_color(0));
  EXPECT_EQ(diverging_color(3), diverging_color(1));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(sequential_color(nan), (Color{128, 128, 128}));
  EXPECT_EQ(diverging_color(nan), (Color{128, 128, 128}));
}

TEST(Canvas, GlyphsAreWholeAndDistinct) {
  std::set<std::string_view> seen;
  for (char c = ' '; c <= '~'; ++c) {
    const std::string_view rows = glyph(c);
    EXPECT_TRUE(rows.size() >= 41 && rows.size() % 6 == 5) << c;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_TRUE(i % 6 == 5 ? rows[i] == ' ' : rows[i] == '#' || rows[i] == '.') << c;
    }
    // The letter O and the figure 0 look alike.
    EXPECT_TRUE(c == 'O' || seen.insert(rows).second) << c;
  }
  EXPECT_EQ(glyph('\x01'), glyph('?'));
  EXPECT_EQ(glyph('\xe9'), glyph('?'));
  EXPECT_GT(text_width("mm", 2), text_width("ii", 2));
  EXPECT_EQ(text_width("", 2), 0);
}

}  // namespace
}  // namespace kanbench
