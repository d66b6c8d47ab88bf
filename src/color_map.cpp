#include "color_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace kanbench {
namespace {

constexpr Color not_a_number{128, 128, 128};

// Lightness, chroma and hue in degrees.
struct Lch {
  double lightness, chroma, hue;
};

double encoded(double linear) {
  const double v = std::clamp(linear, 0.0, 1.0);
  return v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055;
}

std::uint8_t byte(double linear) {
  return static_cast<std::uint8_t>(std::lround(255 * encoded(linear)));
}

// OKLab to sRGB, by the matrices of its definition.
Color from_oklab(double lightness, double a, double b) {
  const auto cube = [](double v) { return v * v * v; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {byte(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          byte(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          byte(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

template <std::size_t points>
Color between(const std::array<Lch, points>& map, double t) {
  const double place = t * (points - 1);
  const auto i = std::min(static_cast<std::size_t>(place), points - 2);
  const double f = place - static_cast<double>(i);
  const auto mixed = [&](auto part) { return (1 - f) * part(map[i]) + f * part(map[i + 1]); };
  const auto angle = [](const Lch& p) { return p.hue * std::numbers::pi / 180; };
  return from_oklab(mixed([](const Lch& p) { return p.lightness; }),
                    mixed([&](const Lch& p) { return p.chroma * std::cos(angle(p)); }),
                    mixed([&](const Lch& p) { return p.chroma * std::sin(angle(p)); }));
}

constexpr int steps = 256;
using Steps = std::array<Color, steps + 1>;

template <std::size_t points>
Steps tabulate(const std::array<Lch, points>& map) {
  Steps table;
  for (int i = 0; i <= steps; ++i) {
    table[static_cast<std::size_t>(i)] = between(map, static_cast<double>(i) / steps);
  }
  return table;
}

Color look_up(const Steps& table, double t) {
  if (std::isnan(t)) return not_a_number;
  return table[static_cast<std::size_t>(std::lround(std::clamp(t, 0.0, 1.0) * steps))];
}

}  // namespace

Color sequential_color(double t) {
  static const Steps table = tabulate(std::array<Lch, 6>{{{0.20, 0.105, 275},
                                                          {0.345, 0.125, 268},
                                                          {0.49, 0.095, 235},
                                                          {0.635, 0.105, 180},
                                                          {0.78, 0.155, 140},
                                                          {0.925, 0.175, 106}}});
  return look_up(table, t);
}

Color diverging_color(double t) {
  static const Steps table = tabulate(std::array<Lch, 5>{{{0.40, 0.15, 262},
                                                          {0.695, 0.115, 255},
                                                          {0.99, 0, 0},
                                                          {0.695, 0.135, 30},
                                                          {0.40, 0.15, 27}}});
  return look_up(table, 0.5 + 0.5 * t);
}

}  // namespace kanbench
