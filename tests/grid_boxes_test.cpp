// Boxes of grids as ParaView reads them.

#include <cmath>
#include <sstream>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/vtp.h"
#include "support.h"

namespace kanbench {
namespace {

using encoder::AdaptiveMultiGrid;

ModelSpec spec_of(const AdaptiveMultiGrid& grids) {
  ModelSpec spec;
  spec.encoder = grids;
  spec.layers = {{grids.width(), 1}};
  return spec;
}

// The numbers of the array with that name.
std::vector<double> array_of(const std::string& xml, const std::string& name) {
  const std::size_t at = xml.find("Name=\"" + name + "\"");
  EXPECT_NE(at, std::string::npos) << name;
  const std::size_t begin = xml.find('>', at) + 1;
  std::istringstream in(xml.substr(begin, xml.find('<', begin) - begin));
  std::vector<double> all;
  for (double number; in >> number;) all.push_back(number);
  return all;
}

TEST(GridBoxes, AreWrittenInTheVolumesCoordinates) {
  AdaptiveMultiGrid grids;
  grids.n_grids = 2;
  ModelFile file;
  file.spec = spec_of(grids);
  file.shape = {20, 40, 10};
  file.spacing = {1, 0.5, 2};
  const Layout layout = make_layout(file.spec);
  file.parameters.resize(static_cast<std::size_t>(layout.size));
  float* numbers = file.parameters.data() + layout.slices[layout.transforms].offset;
  // The second is half as wide along x, turned by a quarter about z, then moved along its own y.
  numbers[6] = 1;
  numbers[10] = std::log(2.0f);
  numbers[15] = numbers[16] = std::sqrt(0.5f);
  numbers[18] = 1;
  const std::string xml = encode_grid_boxes(file, "m");
  EXPECT_EQ(xml.rfind("<?xml", 0), 0u);
  EXPECT_NE(xml.find("NumberOfPoints=\"16\""), std::string::npos);
  EXPECT_NE(xml.find("NumberOfPolys=\"12\""), std::string::npos);
  const std::vector<double> points = array_of(xml, "Points");
  ASSERT_EQ(points.size(), 48u);
  const double low[3] = {-0.5, -0.25, -1}, high[3] = {19.5, 19.75, 19};
  for (int d = 0; d < 3; ++d) {
    EXPECT_NEAR(points[d], low[d], 1e-5);
    EXPECT_NEAR(points[21 + d], high[d], 1e-5);
  }
  double least[3], most[3];
  for (int d = 0; d < 3; ++d) {
    least[d] = 1e9, most[d] = -1e9;
    for (int c = 0; c < 8; ++c) {
      least[d] = std::min(least[d], points[24 + 3 * c + d]);
      most[d] = std::max(most[d], points[24 + 3 * c + d]);
    }
  }
  // y = (-x_1, 2 x_0 + 1, x_2): x_0 is from -1 to 0, the volume's lower half.
  EXPECT_NEAR(least[0], -0.5, 1e-4);
  EXPECT_NEAR(most[0], 9.5, 1e-4);
  EXPECT_NEAR(least[1], -0.25, 1e-4);
  EXPECT_NEAR(most[1], 19.75, 1e-4);
  const std::vector<double> faces = array_of(xml, "connectivity"), ids = array_of(xml, "grid");
  ASSERT_EQ(faces.size(), 48u);
  ASSERT_EQ(ids.size(), 12u);
  for (std::size_t i = 0; i < faces.size(); ++i) EXPECT_EQ(faces[i] >= 8, ids[i / 4] == 1);
  // Each corner stands in three faces, and corners of a face differ in one coordinate from next to
  // next.
  std::vector<int> uses(16);
  for (std::size_t i = 0; i < faces.size(); ++i) {
    ++uses[static_cast<std::size_t>(faces[i])];
    const auto next = faces[i / 4 * 4 + (i + 1) % 4];
    const unsigned bits = static_cast<unsigned>(faces[i]) ^ static_cast<unsigned>(next);
    EXPECT_TRUE(bits == 1 || bits == 2 || bits == 4);
  }
  EXPECT_EQ(uses, std::vector<int>(16, 3));
  EXPECT_NEAR(array_of(xml, "density").back(), 2, 1e-5);
  EXPECT_EQ(array_of(xml, "offsets").back(), 48);
}

TEST(GridBoxes, RefuseOtherModelsAndLeaveFlatGridsOut) {
  ModelFile file;
  file.spec = spec_of(AdaptiveMultiGrid{});
  file.spec.encoder = encoder::Identity{};
  EXPECT_NE(test::message_of<Error>([&] {
              encode_grid_boxes(file, "m.safetensors");
            }).find("m.safetensors: --grids: its encoder is identity"),
            std::string::npos);
  AdaptiveMultiGrid grids;
  grids.transform = Transform::affine;
  file.spec = spec_of(grids);
  file.shape = {4, 4, 4};
  file.parameters.resize(static_cast<std::size_t>(make_layout(file.spec).size));
  EXPECT_NE(encode_grid_boxes(file, "m").find("NumberOfPolys=\"0\""), std::string::npos);
}

}  // namespace
}  // namespace kanbench
