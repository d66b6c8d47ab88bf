#pragma once
// Boxes of grids for ParaView.

#include <string>

#include "kanbench/model_file.h"

namespace kanbench {

/// The boxes of a model's grids as VTK XML PolyData (.vtp): six faces a grid, in the coordinates of
/// its volume, whose voxel (i, j, k) stands at its origin and (i, j, k) times the spacing. Each
/// face has the grid's number, "grid", and its share of the density, "density" (the determinant of
/// its map). A grid whose map is flat has no box and is left out. Throws Error, beginning with
/// `source`, for a model without grids that move.
std::string encode_grid_boxes(const ModelFile& file, const std::string& source);

}  // namespace kanbench
