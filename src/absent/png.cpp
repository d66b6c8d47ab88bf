// Stands in for PNG in builds without libpng.

#include "canvas.h"
#include "kanbench/error.h"
#include "kanbench/slices.h"

namespace kanbench {

bool has_png() { return false; }

void require_png() {
  throw Error(
      "--slices: pictures need libpng, which this build has not: install it (Debian: libpng-dev) "
      "and build again, or leave --slices out");
}

std::vector<std::uint8_t> Canvas::png() const {
  require_png();
  return {};
}

}  // namespace kanbench
