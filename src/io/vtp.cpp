#include "kanbench/vtp.h"

#include <cmath>
#include <sstream>
#include <vector>

#include "kanbench/error.h"
#include "kanbench/geometry.h"

namespace kanbench {
namespace {

struct GridBox {
  int grid;
  double density;
  Corners corners;
};

bool is_finite(const Corners& corners) {
  for (const auto& corner : corners)
    for (const double x : corner)
      if (!std::isfinite(x)) return false;
  return true;
}

// Corners from [0, 1]^3 to the volume's coordinates.
std::vector<GridBox> grid_boxes(const ModelFile& file, const std::string& source) {
  const Layout layout = make_layout(file.spec, source);
  if (layout.transforms < 0)
    throw Error(source + ": --grids: its encoder is " + name(file.spec.encoder) +
                ", whose grids do not move: give a model with adaptive_multi_grid");
  const Slice& slice = layout.slices[static_cast<std::size_t>(layout.transforms)];
  const Transform transform = adaptive_grids(file.spec.encoder)->transform;
  const double size[3] = {static_cast<double>(file.shape.x), static_cast<double>(file.shape.y),
                          static_cast<double>(file.shape.z)};
  std::vector<GridBox> boxes;
  for (std::int64_t g = 0; g < slice.rows; ++g) {
    const float* numbers = file.parameters.data() + slice.offset + g * slice.columns;
    double cofactor[3][3];
    const double density = cofactors(map_of<double>(transform, numbers).m, cofactor);
    GridBox box{static_cast<int>(g), std::abs(density), grid_corners(transform, numbers)};
    for (auto& corner : box.corners)
      for (std::size_t d = 0; d < 3; ++d)
        corner[d] = file.origin[d] + (corner[d] * size[d] - 0.5) * file.spacing[d];
    if (is_finite(box.corners)) boxes.push_back(box);
  }
  return boxes;
}

// <DataArray ...>numbers</DataArray>, what each(put) puts.
template <class Each>
void write_array(std::ostream& out, const std::string& attributes, Each each) {
  out << "<DataArray " << attributes << " format=\"ascii\">";
  each([&](auto number) { out << ' ' << number; });
  out << "</DataArray>\n";
}

constexpr int kFaces[6][4] = {{0, 2, 3, 1}, {4, 5, 7, 6}, {0, 1, 5, 4},
                              {2, 6, 7, 3}, {0, 4, 6, 2}, {1, 3, 7, 5}};

}  // namespace

std::string encode_grid_boxes(const ModelFile& file, const std::string& source) {
  const std::vector<GridBox> boxes = grid_boxes(file, source);
  const std::size_t count = boxes.size();
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(9);
  out << "<?xml version=\"1.0\"?>\n"
         "<VTKFile type=\"PolyData\" version=\"0.1\" byte_order=\"LittleEndian\">\n<PolyData>\n"
      << "<Piece NumberOfPoints=\"" << 8 * count
      << "\" NumberOfVerts=\"0\" NumberOfLines=\"0\" NumberOfStrips=\"0\" NumberOfPolys=\""
      << 6 * count << "\">\n<Points>\n";
  write_array(out, R"(type="Float64" Name="Points" NumberOfComponents="3")", [&](auto put) {
    for (const GridBox& box : boxes)
      for (const auto& corner : box.corners)
        for (const double x : corner) put(x);
  });
  out << "</Points>\n<Polys>\n";
  write_array(out, R"(type="Int64" Name="connectivity")", [&](auto put) {
    for (std::size_t b = 0; b < count; ++b)
      for (const auto& face : kFaces)
        for (const int corner : face) put(8 * b + static_cast<std::size_t>(corner));
  });
  write_array(out, R"(type="Int64" Name="offsets")", [&](auto put) {
    for (std::size_t i = 1; i <= 6 * count; ++i) put(4 * i);
  });
  out << "</Polys>\n<CellData Scalars=\"grid\">\n";
  write_array(out, R"(type="Int32" Name="grid")", [&](auto put) {
    for (const GridBox& box : boxes)
      for (int face = 0; face < 6; ++face) put(box.grid);
  });
  write_array(out, R"(type="Float64" Name="density")", [&](auto put) {
    for (const GridBox& box : boxes)
      for (int face = 0; face < 6; ++face) put(box.density);
  });
  out << "</CellData>\n</Piece>\n</PolyData>\n</VTKFile>\n";
  return out.str();
}

}  // namespace kanbench
