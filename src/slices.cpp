// The picture's layout: the title, the names of the three columns, and a row of panels an axis.
#include "kanbench/slices.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "canvas.h"
#include "kanbench/error.h"
#include "kanbench/file.h"

namespace kanbench {
namespace {

constexpr Color ink{33, 37, 41};
constexpr Color pale{134, 142, 150};
constexpr double title_pitch = 2.2, heading_pitch = 1.8, label_pitch = 1.4;
// Pixels. A panel's longer side is enlarged to at most `enlarged`, or reduced to `reduced`.
constexpr int enlarged = 384, reduced = 512, thinnest = 8;
constexpr int margin = 28, axis_room = 66, bar_width = 14, bar_gap = 12, label_gap = 8;
constexpr int column_gap = 34, row_gap = 22, below_panel = 24, shortest_bar = 96;

int line_height(double pitch) { return static_cast<int>(std::lround(7 * pitch)); }

std::string number(double value, int digits) {
  char words[32];
  std::snprintf(words, sizeof words, "%.*g", digits, value);
  return words;
}

// Pixels for n voxels, the same factor in every panel.
class Scale {
 public:
  explicit Scale(const std::vector<SlicePair>& slices) {
    for (const SlicePair& s : slices) longest_ = std::max({longest_, s.width, s.height});
  }
  int pixels(std::int64_t n) const {
    if (longest_ <= reduced) {
      return static_cast<int>(
          std::max<std::int64_t>(n * std::max<std::int64_t>(1, enlarged / longest_), thinnest));
    }
    const double part = static_cast<double>(reduced) / static_cast<double>(longest_);
    return std::max(static_cast<int>(std::lround(static_cast<double>(n) * part)), thinnest);
  }

 private:
  std::int64_t longest_ = 1;
};

// A colour bar's labels, and what a normalised value becomes.
struct Palette {
  Color (*color)(double);
  std::array<std::string, 3> labels;  // lowest, middle, highest
  double bar_low;                     // the bar runs from here to 1
};

struct Column {
  const char* heading;
  Palette palette;
  int x = 0;
};

double held(float value) { return std::clamp(static_cast<double>(value), 0.0, 1.0); }

double largest_error(const std::vector<SlicePair>& slices) {
  double largest = 0;
  for (const SlicePair& s : slices) {
    for (std::size_t i = 0; i < s.original.size(); ++i) {
      const double error = std::abs(held(s.reconstruction[i]) - held(s.original[i]));
      if (error > largest) largest = error;
    }
  }
  return largest;
}

class Layout {
 public:
  Layout(const std::vector<SlicePair>& slices, double low, double high, const std::string& title)
      : slices_(slices), title_(title), scale_(slices), error_(largest_error(slices)) {
    const Palette values{
        sequential_color, {number(low, 4), number(low + (high - low) / 2, 4), number(high, 4)}, 0};
    const std::string most = number(error_ * (high - low), 3);
    const Palette errors{diverging_color, {error_ > 0 ? "-" + most : "", "0", most}, -1};
    columns_ = {
        {{"original", values}, {"reconstruction", values}, {"reconstruction - original", errors}}};
    place_columns();
  }

  Canvas draw() const {
    Canvas canvas(width_, height());
    canvas.write(margin, margin, title_, fitting_pitch(), ink);
    int y = first_row();
    for (const Column& column : columns_) {
      const double room = scale_.pixels(slices_.front().width);
      const double words = text_width(column.heading, heading_pitch);
      canvas.write(column.x + std::max(0.0, (room - words) / 2),
                   y - line_height(heading_pitch) - 12, column.heading, heading_pitch, ink);
    }
    for (const SlicePair& slice : slices_) {
      draw_row(canvas, slice, y);
      y += row_height(slice) + row_gap;
    }
    return canvas;
  }

 private:
  void place_columns() {
    int widest = 0;
    for (const SlicePair& s : slices_) widest = std::max(widest, scale_.pixels(s.width));
    int x = margin + axis_room;
    for (Column& column : columns_) {
      column.x = x;
      double labels = 0;
      for (const std::string& label : column.palette.labels) {
        labels = std::max(labels, text_width(label, label_pitch));
      }
      const int panel = widest + bar_gap + bar_width + label_gap + static_cast<int>(labels);
      x +=
          std::max(panel, static_cast<int>(text_width(column.heading, heading_pitch))) + column_gap;
    }
    width_ = x - column_gap + margin;
  }

  double fitting_pitch() const {
    const double room = width_ - 2 * margin;
    return std::min(title_pitch,
                    title_pitch * room / std::max(1.0, text_width(title_, title_pitch)));
  }

  int first_row() const {
    return margin + line_height(title_pitch) + 26 + line_height(heading_pitch) + 12;
  }
  int row_height(const SlicePair& slice) const {
    return std::max(scale_.pixels(slice.height), shortest_bar) + below_panel;
  }
  int height() const {
    int total = first_row() + margin - row_gap;
    for (const SlicePair& slice : slices_) total += row_height(slice) + row_gap;
    return total;
  }

  void draw_row(Canvas& canvas, const SlicePair& slice, int top) const {
    const int w = scale_.pixels(slice.width), h = scale_.pixels(slice.height);
    const std::string name = std::string(1, slice.axis) + " = " + std::to_string(slice.index);
    canvas.write_upwards(margin, top + (h + text_width(name, heading_pitch)) / 2, name,
                         heading_pitch, ink);
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const int x = columns_[c].x;
      draw_panel(canvas, slice, c, x, top);
      canvas.frame(x, top, w, h, pale);
      draw_axes(canvas, slice, x, top, c == 0);
      draw_bar(canvas, columns_[c].palette, x + w + bar_gap, top, std::max(h, shortest_bar));
    }
  }

  Color color_of(const SlicePair& slice, std::size_t column, std::size_t i) const {
    const double original = held(slice.original[i]), value = held(slice.reconstruction[i]);
    if (column == 0) return sequential_color(original);
    if (column == 1) return sequential_color(value);
    return diverging_color(error_ > 0 ? (value - original) / error_ : value - original);
  }

  // Nearest voxel; the first row of voxels lies at the bottom.
  void draw_panel(Canvas& canvas, const SlicePair& slice, std::size_t column, int x,
                  int top) const {
    const int w = scale_.pixels(slice.width), h = scale_.pixels(slice.height);
    for (int j = 0; j < h; ++j) {
      const std::int64_t row =
          (2 * static_cast<std::int64_t>(h - 1 - j) + 1) * slice.height / (2 * h);
      for (int i = 0; i < w; ++i) {
        const std::int64_t at = (2 * static_cast<std::int64_t>(i) + 1) * slice.width / (2 * w);
        canvas.set(x + i, top + j,
                   color_of(slice, column, static_cast<std::size_t>(row * slice.width + at)));
      }
    }
  }

  // The axes' names, and where their voxels begin and end.
  void draw_axes(Canvas& canvas, const SlicePair& slice, int x, int top, bool upright) const {
    const int w = scale_.pixels(slice.width), h = scale_.pixels(slice.height);
    const std::string across = slice.axis == 'x' ? "y" : "x";
    const std::string along = slice.axis == 'z' ? "y" : "z";
    const int line = line_height(label_pitch);
    const double below = top + h + 7;
    const std::string last = std::to_string(slice.width), highest = std::to_string(slice.height);
    const double last_width = text_width(last, label_pitch);
    // A narrow panel has room for its name only.
    if (w >= 2 * last_width + 40) {
      canvas.write(x + 2, below, "0", label_pitch, pale);
      canvas.write(x + w - last_width - 2, below, last, label_pitch, pale);
    }
    canvas.write(x + (w - text_width(across, label_pitch)) / 2, below, across, label_pitch, ink);
    if (!upright) return;
    const auto left_of_panel = [&](const std::string& words, double y, Color color) {
      canvas.write(x - 9 - text_width(words, label_pitch), y, words, label_pitch, color);
    };
    if (h >= 4 * line) {
      left_of_panel(highest, top + 1, pale);
      left_of_panel("0", top + h - line - 1, pale);
    }
    left_of_panel(along, top + (h - line) / 2.0, ink);
  }

  static void draw_bar(Canvas& canvas, const Palette& palette, int x, int top, int height) {
    for (int j = 0; j < height; ++j) {
      const double up = (height - 0.5 - j) / height;
      canvas.fill(x, top + j, bar_width, 1,
                  palette.color(palette.bar_low + (1 - palette.bar_low) * up));
    }
    canvas.frame(x, top, bar_width, height, pale);
    const int line = line_height(label_pitch);
    const std::array<int, 3> at{top + height - line - 1, top + (height - line) / 2, top + 1};
    for (std::size_t i = 0; i < 3; ++i) {
      canvas.write(x + bar_width + label_gap, at[i], palette.labels[i], label_pitch, ink);
    }
  }

  const std::vector<SlicePair>& slices_;
  const std::string& title_;
  Scale scale_;
  double error_;
  std::array<Column, 3> columns_;
  int width_ = 0;
};

}  // namespace

void write_slices(const std::filesystem::path& path, const std::vector<SlicePair>& slices,
                  double low, double high, const std::string& title) {
  check(!slices.empty(), "a picture needs a slice");
  for (const SlicePair& slice : slices) {
    const auto voxels = static_cast<std::size_t>(slice.width * slice.height);
    check(voxels > 0 && slice.original.size() == voxels && slice.reconstruction.size() == voxels,
          "a slice holds another number of voxels than its size says");
  }
  const std::vector<std::uint8_t> file = Layout(slices, low, high, title).draw().png();
  AtomicFile out(path);
  out.write(file.data(), file.size());
  out.commit();
}

}  // namespace kanbench
