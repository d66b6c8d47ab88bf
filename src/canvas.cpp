#include "canvas.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace kanbench {
namespace {

constexpr int columns = 5;
constexpr double letter_gap = 1.9, word_gap = 2.6;

bool dot(std::string_view rows, int column, int row) {
  const int at = row * (columns + 1) + column;
  return column >= 0 && column < columns && row >= 0 && at < static_cast<int>(rows.size()) &&
         rows[static_cast<std::size_t>(at)] == '#';
}

// First and last column with a dot.
struct Extent {
  int first = columns, last = -1;
};

Extent extent_of(std::string_view rows) {
  Extent extent;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != '#') continue;
    const int column = static_cast<int>(i % (columns + 1));
    extent.first = std::min(extent.first, column);
    extent.last = std::max(extent.last, column);
  }
  return extent;
}

using Segment = std::function<void(double x0, double y0, double x1, double y1)>;

// The strokes of one glyph: between dots side by side, and across a corner that no third dot fills.
void trace(std::string_view rows, const Segment& segment) {
  const int last_row = static_cast<int>(rows.size() + 1) / (columns + 1);
  for (int r = 0; r < last_row; ++r) {
    for (int c = 0; c < columns; ++c) {
      if (!dot(rows, c, r)) continue;
      const bool right = dot(rows, c + 1, r), below = dot(rows, c, r + 1);
      const bool left = dot(rows, c - 1, r);
      segment(c, r, c, r);
      if (right) segment(c, r, c + 1, r);
      if (below) segment(c, r, c, r + 1);
      if (dot(rows, c + 1, r + 1) && !right && !below) segment(c, r, c + 1, r + 1);
      if (dot(rows, c - 1, r + 1) && !left && !below) segment(c, r, c - 1, r + 1);
    }
  }
}

// Calls segment in units of the pitch for all of `words`; returns their width.
double typeset(std::string_view words, const Segment& segment) {
  double pen = 0, width = 0;
  for (char character : words) {
    const std::string_view rows = glyph(character);
    const Extent extent = extent_of(rows);
    if (extent.last < 0) {
      pen += word_gap;
      continue;
    }
    const double shift = pen - extent.first;
    trace(rows, [&](double x0, double y0, double x1, double y1) {
      segment(x0 + shift, y0, x1 + shift, y1);
    });
    width = pen + extent.last - extent.first;
    pen = width + letter_gap;
  }
  return width;
}

// Of a stroke, in pitches.
double radius_of(double pitch) { return std::max(0.7, 0.52 * pitch); }

}  // namespace

double text_width(std::string_view words, double pitch) {
  return typeset(words, [](double, double, double, double) {}) * pitch;
}

Canvas::Canvas(int width, int height)
    : width_(width),
      height_(height),
      pixels_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height),
              Color{255, 255, 255}) {}

void Canvas::set(int x, int y, Color color) {
  if (x >= 0 && x < width_ && y >= 0 && y < height_) pixels_[index(x, y)] = color;
}

void Canvas::fill(int x, int y, int width, int height, Color color) {
  for (int j = y; j < y + height; ++j) {
    for (int i = x; i < x + width; ++i) set(i, j, color);
  }
}

void Canvas::frame(int x, int y, int width, int height, Color color) {
  fill(x - 1, y - 1, width + 2, 1, color);
  fill(x - 1, y + height, width + 2, 1, color);
  fill(x - 1, y - 1, 1, height + 2, color);
  fill(x + width, y - 1, 1, height + 2, color);
}

void Canvas::blend(int x, int y, double coverage, Color color) {
  if (x < 0 || x >= width_ || y < 0 || y >= height_) return;
  Color& pixel = pixels_[index(x, y)];
  // Strokes overlap where they meet: the darker of old and new, not one upon the other.
  const auto mix = [coverage](std::uint8_t under, std::uint8_t ink) {
    const auto mixed = static_cast<std::uint8_t>(std::lround(255 + (ink - 255.0) * coverage));
    return std::min(under, mixed);
  };
  pixel = {mix(pixel.red, color.red), mix(pixel.green, color.green), mix(pixel.blue, color.blue)};
}

void Canvas::stroke(double x0, double y0, double x1, double y1, double radius, Color color) {
  const double dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
  const double reach = radius + 1;
  const int top = static_cast<int>(std::floor(std::min(y0, y1) - reach));
  const int bottom = static_cast<int>(std::ceil(std::max(y0, y1) + reach));
  const int left = static_cast<int>(std::floor(std::min(x0, x1) - reach));
  const int right = static_cast<int>(std::ceil(std::max(x0, x1) + reach));
  for (int y = top; y <= bottom; ++y) {
    for (int x = left; x <= right; ++x) {
      const double px = x + 0.5 - x0, py = y + 0.5 - y0;
      const double t = length2 > 0 ? std::clamp((px * dx + py * dy) / length2, 0.0, 1.0) : 0;
      const double distance = std::hypot(px - t * dx, py - t * dy);
      const double coverage = std::clamp(radius + 0.5 - distance, 0.0, 1.0);
      if (coverage > 0) blend(x, y, coverage, color);
    }
  }
}

void Canvas::write(double x, double y, std::string_view words, double pitch, Color color) {
  const double inset = pitch / 2;
  typeset(words, [&](double x0, double y0, double x1, double y1) {
    stroke(x + x0 * pitch, y + inset + y0 * pitch, x + x1 * pitch, y + inset + y1 * pitch,
           radius_of(pitch), color);
  });
}

void Canvas::write_upwards(double x, double y, std::string_view words, double pitch, Color color) {
  const double inset = pitch / 2;
  typeset(words, [&](double x0, double y0, double x1, double y1) {
    stroke(x + inset + y0 * pitch, y - x0 * pitch, x + inset + y1 * pitch, y - x1 * pitch,
           radius_of(pitch), color);
  });
}

}  // namespace kanbench
