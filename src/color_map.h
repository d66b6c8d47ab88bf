#pragma once
// Colour maps of even perceived steps: straight lines between control points in OKLab (B. Ottosson,
// "A perceptual color space for image processing", 2020), whose lightness runs linearly.

#include <cstdint>

namespace kanbench {

struct Color {
  std::uint8_t red = 0, green = 0, blue = 0;
  friend bool operator==(const Color&, const Color&) = default;
};

/// Dark blue at 0 through green to light yellow at 1, lightness rising steadily. Held at the ends;
/// grey for NaN.
Color sequential_color(double t);

/// Blue at -1, white at 0, red at 1; both ends equally dark. Held at the ends; grey for NaN.
Color diverging_color(double t);

}  // namespace kanbench
