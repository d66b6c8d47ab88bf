// Pictures as PNG files, through libpng.

#include <png.h>

#include "canvas.h"
#include "kanbench/error.h"
#include "kanbench/slices.h"

namespace kanbench {

void require_png() {}

bool has_png() { return true; }

std::vector<std::uint8_t> Canvas::png() const {
  static_assert(sizeof(Color) == 3);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width_);
  image.height = static_cast<png_uint_32>(height_);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::uint8_t> file(bytes);
  if (!png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels_.data(), 0, nullptr)) {
    throw SystemError(std::string("cannot make a PNG picture: ") + image.message);
  }
  file.resize(bytes);
  return file;
}

}  // namespace kanbench
