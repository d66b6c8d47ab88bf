#pragma once
// A picture in memory: rectangles, lettering, PNG.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "color_map.h"

namespace kanbench {

/// The strokes of a printable ASCII character on a grid five wide and seven high, two more rows for
/// what hangs below the line: rows of '#' and '.' with a space between. '?' for any other.
std::string_view glyph(char character);

/// Lettering is drawn as strokes between neighbouring dots of the glyphs; `pitch` is the distance
/// of two dots in pixels, so that capitals are 7 pitches high.
class Canvas {
 public:
  Canvas(int width, int height);

  int width() const { return width_; }
  int height() const { return height_; }
  Color at(int x, int y) const { return pixels_[index(x, y)]; }
  /// Nothing happens outside the picture.
  void set(int x, int y, Color color);
  void fill(int x, int y, int width, int height, Color color);
  /// One pixel wide, just outside the rectangle.
  void frame(int x, int y, int width, int height, Color color);

  /// Left to right, the top left corner of its capitals at (x, y).
  void write(double x, double y, std::string_view words, double pitch, Color color);
  /// Bottom to top, starting at (x, y), the capitals' tops to the left.
  void write_upwards(double x, double y, std::string_view words, double pitch, Color color);

  /// The picture as a PNG file's bytes. Throws SystemError if libpng fails, Error where this build
  /// has none.
  std::vector<std::uint8_t> png() const;

 private:
  std::size_t index(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
           static_cast<std::size_t>(x);
  }
  void blend(int x, int y, double coverage, Color color);
  void stroke(double x0, double y0, double x1, double y1, double radius, Color color);

  int width_, height_;
  std::vector<Color> pixels_;
};

/// Pixels from the first stroke's left to the last one's right.
double text_width(std::string_view words, double pitch);

}  // namespace kanbench
