// NIfTI's header is 348 or 540 bytes of numbers at fixed places, in either byte order.

#include "io/nifti.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "decimal.h"
#include "io/body.h"
#include "io/inflate.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "mapping.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSize1 = 348, kSize2 = 540;

// Where the two versions have what is read.
struct Places {
  std::size_t dims, datatype, bits, pixdim, offset, slope, inter, qform, sform, place, rows;
};
constexpr Places kPlaces1{40, 70, 72, 76, 108, 112, 116, 252, 254, 268, 280};
constexpr Places kPlaces2{16, 12, 14, 104, 168, 176, 184, 344, 348, 376, 400};

struct NiftiType {
  int code;
  Dtype dtype;
  int components = 1;
};
constexpr NiftiType kTypes[] = {
    {2, Dtype::uint8},    {4, Dtype::int16},     {8, Dtype::int32},      {16, Dtype::float32},
    {64, Dtype::float64}, {256, Dtype::int8},    {512, Dtype::uint16},   {768, Dtype::uint32},
    {1024, Dtype::int64}, {1280, Dtype::uint64}, {128, Dtype::uint8, 3}, {2304, Dtype::uint8, 4},
};

class NiftiHeader {
 public:
  NiftiHeader(const std::string& bytes, const std::string& source)
      : bytes_(bytes), source_(source) {
    if (bytes.size() < kSize1) refuse_kind();
    const auto is_size = [&] {
      const auto stated = get<std::int32_t>(0);
      second_ = stated == int{kSize2};
      return second_ || stated == int{kSize1};
    };
    if (!is_size()) {
      swapped_ = true;
      if (!is_size()) refuse_kind();
    }
    const std::string_view magic(bytes.data() + (second_ ? 4 : 344), 4);
    if (magic != std::string_view(second_ ? "n+2\0" : "n+1\0", 4))
      throw Error(source + ": magic: " + quote(magic) +
                  " is not n+1 or n+2: header and voxels in one file (.nii) can be read");
    if (second_ && bytes.size() < kSize2) refuse_kind();
  }

  const Places& at() const { return second_ ? kPlaces2 : kPlaces1; }
  bool second() const { return second_; }
  bool swapped() const { return swapped_; }
  const std::string& source() const { return source_; }

  template <class T>
  T get(std::size_t place) const {
    std::array<char, sizeof(T)> bytes;
    std::memcpy(bytes.data(), bytes_.data() + place, sizeof(T));
    if (swapped_) std::reverse(bytes.begin(), bytes.end());
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  /// Numbers that the second version has in twice the size.
  std::int64_t whole(std::size_t first, std::size_t number) const {
    return second_ ? get<std::int64_t>(first + 8 * number) : get<std::int16_t>(first + 2 * number);
  }
  double real(std::size_t first, std::size_t number = 0) const {
    return second_ ? get<double>(first + 8 * number) : get<float>(first + 4 * number);
  }
  int code(std::size_t place) const {
    return second_ ? get<std::int32_t>(place) : get<std::int16_t>(place);
  }
  double offset() const {
    return second_ ? static_cast<double>(get<std::int64_t>(at().offset)) : get<float>(at().offset);
  }

 private:
  [[noreturn]] void refuse_kind() const {
    throw Error(source_ + ": not NIfTI, or cut short: it begins with " +
                quote(std::string_view(bytes_).substr(0, 8)) +
                ", not with the size of a header, 348 or 540");
  }

  const std::string& bytes_;
  const std::string& source_;
  bool swapped_ = false, second_ = false;
};

const NiftiType& type_of(const NiftiHeader& header) {
  const int code = header.get<std::int16_t>(header.at().datatype);
  for (const NiftiType& type : kTypes)
    if (type.code == code) return type;
  throw Error(header.source() + ": datatype: " + std::to_string(code) +
              " is not a type of whole or real numbers, like 2 (uint8) or 16 (float32)");
}

void take_shape(const NiftiHeader& header, const NiftiType& type, VolumeHeader& volume) {
  const std::int64_t axes = header.whole(header.at().dims, 0);
  const std::string what = header.source() + ": dim";
  if (axes < 1 || axes > 7)
    throw Error(what + ": " + std::to_string(axes) + " dimensions: 1 to 7 can be");
  std::array<std::int64_t, 8> dims;
  dims.fill(1);
  for (std::size_t d = 1; d <= static_cast<std::size_t>(axes); ++d)
    dims[d] = header.whole(header.at().dims, d);
  volume.shape = require_shape(std::span(dims).subspan(1, 3), what);
  if (dims[4] != 1 || dims[6] != 1 || dims[7] != 1)
    throw Error(what + ": " + std::to_string(dims[4] != 1 ? dims[4] : dims[6] * dims[7]) +
                " volumes (dim[4], dim[6], dim[7]): a file of one volume can be read");
  if (dims[5] != 1 && type.components != 1)
    throw Error(what + ": dim[5] is " + std::to_string(dims[5]) + ", of colours 1 can be read");
  set_components(volume, dims[5] == 1 ? type.components : dims[5], what + "[5]");
}

void take_place(const NiftiHeader& header, VolumeHeader& volume) {
  const Places& at = header.at();
  for (std::size_t d = 0; d < 3; ++d) {
    volume.spacing[d] = spacing_of(header.real(at.pixdim, d + 1));
    double place = 0;
    if (header.code(at.sform) > 0)
      place = header.real(at.rows, 4 * d + 3);
    else if (header.code(at.qform) > 0)
      place = header.real(at.place, d);
    volume.origin[d] = std::isfinite(place) ? place : 0;
  }
}

std::uint64_t offset_of(const NiftiHeader& header) {
  const double offset = header.offset();
  const double least = header.second() ? 544 : 352;
  if (offset == 0) return static_cast<std::uint64_t>(least);
  if (!(offset >= least - 4) || offset > 9e15 || offset != std::floor(offset))
    throw Error(header.source() + ": vox_offset: " + decimal(offset) +
                " is not a place after the header: " + decimal(least) + " is the least");
  return static_cast<std::uint64_t>(offset);
}

void scale(const NiftiHeader& header, StoredVolume& volume) {
  const double slope = header.real(header.at().slope), inter = header.real(header.at().inter);
  if (slope == 0 || !std::isfinite(slope) || (slope == 1 && inter == 0)) return;
  if (!std::isfinite(inter))
    throw Error(header.source() + ": scl_inter: " + decimal(inter) + " is not a finite number");
  VolumeHeader& h = volume.header;
  const bool wide = size_of(h.dtype) == 8 || h.dtype == Dtype::int32 || h.dtype == Dtype::uint32;
  const Dtype to = wide ? Dtype::float64 : Dtype::float32;
  volume.voxels = scaled(volume.voxels.get(), h.shape.count() * h.components, h.dtype, to, slope,
                         inter, {}, header.source());
  h.dtype = to;
}

template <class T>
void put(std::string& bytes, std::size_t place, T value) {
  std::memcpy(bytes.data() + place, &value, sizeof value);
}

// The second version has whole numbers of 64 bits and doubles, and codes of 32.
template <class Whole, class Real, class Code>
std::string written_header(const VolumeHeader& header, const Places& at, std::size_t size) {
  std::string bytes(size + 4, '\0');
  put(bytes, 0, static_cast<std::int32_t>(size));
  const auto dim = [&](std::size_t d, std::int64_t n) {
    put(bytes, at.dims + d * sizeof(Whole), static_cast<Whole>(n));
  };
  const std::int64_t dims[] = {header.components > 1 ? 5 : 3,
                               header.shape.x,
                               header.shape.y,
                               header.shape.z,
                               1,
                               header.components,
                               1,
                               1};
  for (std::size_t d = 0; d < 8; ++d) dim(d, dims[d]);
  for (const NiftiType& type : kTypes)
    if (type.dtype == header.dtype && type.components == 1)
      put(bytes, at.datatype, static_cast<std::int16_t>(type.code));
  put(bytes, at.bits, static_cast<std::int16_t>(8 * size_of(header.dtype)));
  const auto real = [&](std::size_t place, std::size_t number, double value) {
    put(bytes, place + number * sizeof(Real), static_cast<Real>(value));
  };
  real(at.pixdim, 0, 1);
  for (std::size_t d = 0; d < 3; ++d) {
    real(at.pixdim, d + 1, header.spacing[d]);
    real(at.place, d, header.origin[d]);
    real(at.rows, 5 * d, header.spacing[d]);
    real(at.rows, 4 * d + 3, header.origin[d]);
  }
  real(at.slope, 0, 1);
  put(bytes, at.qform, Code{1});
  put(bytes, at.sform, Code{1});
  return bytes;
}

}  // namespace

StoredVolume read_nifti(const fs::path& path, const std::string&) {
  const std::string source = path.string();
  std::string start = start_of_file(path, kSize2);
  Body body;
  body.file = path;
  body.compressed = start.size() > 2 && start[0] == '\x1f' && start[1] == '\x8b';
  if (body.compressed) {
    const std::uint64_t size = size_of_file(path, source);
    const auto packed = map_file(path, size);
    start.resize(kSize2);
    start.resize(inflate_start({static_cast<const std::byte*>(packed.get()), size},
                               std::as_writable_bytes(std::span(start)), source));
  }
  const NiftiHeader header(start, source);
  const NiftiType& type = type_of(header);
  StoredVolume volume;
  volume.header.dtype = type.dtype;
  take_shape(header, type, volume.header);
  take_place(header, volume.header);
  (body.compressed ? body.skip : body.offset) = offset_of(header);
  body.swapped = header.swapped();
  body.interleaved = type.components > 1;
  volume.voxels = read_body(volume.header, body, source);
  if (type.components == 1) scale(header, volume);
  return volume;
}

WrittenForm nifti_form(const fs::path& path, const VolumeHeader& header) {
  const Shape& s = header.shape;
  std::string before;
  if (std::max({s.x, s.y, s.z}) <= INT16_MAX) {
    before = written_header<std::int16_t, float, std::int16_t>(header, kPlaces1, kSize1);
    std::memcpy(before.data() + 344, "n+1", 4);
    put(before, kPlaces1.offset, static_cast<float>(before.size()));
  } else {
    before = written_header<std::int64_t, double, std::int32_t>(header, kPlaces2, kSize2);
    std::memcpy(before.data() + 4, "n+2\0\r\n\032\n", 8);
    put(before, kPlaces2.offset, static_cast<std::int64_t>(before.size()));
  }
  return {path, std::move(before), {}, {}, {}, false};
}

}  // namespace kanbench
