// Files that other programs wrote are read right, and those that kanbench writes come back.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "volume_files.h"

namespace kanbench {
namespace {

using test::contains;
using test::golden_numbers;
using test::golden_volume;
using test::message_of;
using test::numbers_of;
using test::TemporaryDirectory;
using Three = std::array<double, 3>;

constexpr Three kSpacing{0.5, 1.5, 2.25}, kOrigin{-3, 4.5, 10}, kOnes{1, 1, 1}, kZero{0, 0, 0};

struct Golden {
  const char* path;
  Dtype dtype;
  int components = 1;
  Three spacing = kSpacing, origin = kOrigin;
  double scale = 1, offset = 0;
};

const Golden kGolden[] = {
    {"itk.nrrd", Dtype::uint8},
    {"itk_gzip.nrrd", Dtype::int16},
    {"itk_vector.nrrd", Dtype::float32, 3},
    {"itk_short.nhdr", Dtype::uint16},
    {"itk.mha", Dtype::int32},
    {"itk_zlib.mha", Dtype::float64},
    {"itk_vector.mha", Dtype::int16, 2},
    {"itk_detached.mhd", Dtype::float32},
    // ITK turns x and y around for NIfTI, as the file says.
    {"itk.nii", Dtype::int16, 1, kSpacing, {3, -4.5, 10}},
    {"itk.nii.gz", Dtype::float32, 1, kSpacing, {3, -4.5, 10}},
    {"pynrrd_big.nhdr", Dtype::int16},
    {"pynrrd_gzip.nrrd", Dtype::uint32, 1, kSpacing, kZero},
    {"skipped.nhdr", Dtype::uint16, 1, kOnes, kZero},
    {"skipped_end.nhdr", Dtype::uint16, 1, {0.5, 1, 2.25}, kZero},
    {"nibabel_big_scaled.nii", Dtype::float32, 1, kSpacing, kOrigin, 0.5, -3},
    {"nibabel_two.nii.gz", Dtype::float64},
    {"nibabel_vector.nii", Dtype::float32, 3},
    {"vtk_ascii.vti", Dtype::uint8},
    {"vtk_inline.vti", Dtype::float64},
    {"vtk_inline_zlib.vti", Dtype::int16},
    {"vtk_raw.vti", Dtype::float32},
    {"vtk_raw_zlib_big.vti", Dtype::int32},
    {"vtk_base64.vti", Dtype::uint16},
    {"vtk_base64_zlib.vti", Dtype::uint64},
    {"vtk_cells.vti", Dtype::float32, 1, kSpacing, {-2.75, 5.25, 11.125}},
    {"vtk_extent.vti", Dtype::float32, 1, kSpacing, {-2, 3, 25.75}},
    {"vtk_several.vti:u", Dtype::float32},
    {"vtk_several.vti:u,v", Dtype::float32, 2},
    {"vtk_several.vti:vector", Dtype::float32, 3},
    {"vtk_several.vti:other", Dtype::int16},
    {"offset64.nc:u,v", Dtype::float32, 2},
    {"offset64.nc:moving[0]", Dtype::float32},
    {"offset64.nc:moving[1]", Dtype::float32, 1, kSpacing, kOrigin, 1, 1000},
    {"four.nc:u,v", Dtype::float32, 2},
    {"four.nc:moving[0],moving[1]", Dtype::float32, 2},
    {"four.nc:inner/inside", Dtype::uint16},
    {"four.nc:inside", Dtype::uint16},
    {"h5py.h5:flat", Dtype::float32, 1, kOnes, kZero},
    {"h5py.h5:/big", Dtype::int32, 1, kOnes, kZero},
    {"h5py.h5:/group/packed", Dtype::uint16, 1, kSpacing, kZero},
    {"h5py.h5:half", Dtype::float32, 1, kOnes, kZero},
    {"h5py.h5:group/moving[1]", Dtype::float64, 1, kOnes, kZero, 1, 1000},
};

// Whether this build lacks what the file needs, which a message then says.
bool is_absent(const std::string& path) {
  try {
    open_volume(golden_volume(path));
  } catch (const Error& error) {
    return contains(error.what(), "this build");
  }
  return false;
}

TEST(Formats, ReadWhatOtherProgramsWrote) {
  int absent = 0;
  for (const Golden& golden : kGolden) {
    SCOPED_TRACE(golden.path);
    if (is_absent(golden.path)) {
      ++absent;
      continue;
    }
    const Volume volume = open_volume(golden_volume(golden.path));
    EXPECT_EQ(volume.shape, (Shape{5, 4, 3}));
    EXPECT_EQ(volume.dtype, golden.dtype);
    EXPECT_EQ(volume.components, golden.components);
    EXPECT_EQ(numbers_of(volume), golden_numbers(golden.components, golden.scale, golden.offset));
    for (std::size_t d = 0; d < 3; ++d) {
      EXPECT_NEAR(volume.spacing[d], golden.spacing[d], 1e-6);
      EXPECT_NEAR(volume.origin[d], golden.origin[d], 1e-6);
    }
  }
  if (absent > 0) GTEST_SKIP() << absent << " files need libraries that this build lacks";
}

TEST(Formats, FillValuesAreMissing) {
  if (is_absent("four.nc:u")) GTEST_SKIP() << "this build has no NetCDF";
  for (const char* name : {"classic.nc", "four.nc:packed"}) {
    const auto path = golden_volume(name);
    const std::string message = message_of<Error>([&] { open_volume(path); });
    EXPECT_TRUE(contains(message, "1 of 60")) << message;
    EXPECT_TRUE(contains(message, "(3, 2, 1)")) << message;
    EXPECT_TRUE(contains(message, "--missing")) << message;
    const Volume volume = open_volume(path, parse_missing("-7", "--missing"));
    EXPECT_EQ(volume.dtype, Dtype::float32);
    std::vector<double> expected = golden_numbers(1, 0.5, -3);
    expected[3 + 5 * 2 + 20] = -7;
    EXPECT_EQ(numbers_of(volume), expected);
    EXPECT_EQ(volume.filled, "-7");
    EXPECT_EQ(volume.spacing, kSpacing);
    EXPECT_EQ(volume.origin, kOrigin);
  }
  // A mark among whole numbers stays out of their range.
  const auto counts = golden_volume("four.nc:counts");
  EXPECT_TRUE(contains(message_of<Error>([&] { open_volume(counts); }), "(3, 3, 2)"));
  const Volume filled = open_volume(counts, parse_missing("max", "--missing"));
  EXPECT_EQ(numbers_of(filled)[3 + 15 + 40], 234);
}

TEST(Formats, SeveralArraysAreListed) {
  if (is_absent("vtk_several.vti:u")) GTEST_SKIP() << "this build reads no XML";
  const auto message = [](const char* name) {
    return message_of<Error>([&] { open_volume(golden_volume(name)); });
  };
  const std::string vti = message("vtk_several.vti");
  for (const char* part : {"'u' (3x4x5)", "'v' (3x4x5)", "'other'", "vtk_several.vti:u"})
    EXPECT_TRUE(contains(vti, part)) << vti;
  EXPECT_TRUE(contains(message("vtk_several.vti:othr"), "did you mean 'other'"));
  EXPECT_TRUE(contains(message("vtk_several.vti:u,other"), "one shape and type"));
  EXPECT_TRUE(contains(message("vtk_several.vti:u[1]"), "brackets"));
  EXPECT_TRUE(contains(message("itk.nrrd:u"), "holds one volume"));
  if (is_absent("four.nc:u")) GTEST_SKIP() << "this build has no NetCDF";
  EXPECT_TRUE(contains(message("four.nc"), "'moving' (2x3x4x5)"));
  EXPECT_TRUE(contains(message("four.nc:moving"), "four.nc:moving[0]"));
  EXPECT_TRUE(contains(message("four.nc:moving[2]"), "0 to 1"));
  EXPECT_TRUE(contains(message("four.nc:moving[-1]"), "0 to 1"));
  EXPECT_TRUE(contains(message("four.nc:moving[0,0,0]"), "2 or 3 must be left"));
  EXPECT_TRUE(contains(message("four.nc:moving[x]"), "'x'"));
  EXPECT_EQ(open_volume(golden_volume("four.nc:moving[0,1]")).shape, (Shape{5, 4, 1}));
  if (is_absent("h5py.h5:flat")) GTEST_SKIP() << "this build has no HDF5";
  EXPECT_TRUE(contains(message("h5py.h5"), "'/group/packed' (3x4x5)"));
  EXPECT_TRUE(contains(message("h5py_one.h5"), "(4, 3, 2)"));
  const Volume one = open_volume(golden_volume("h5py_one.h5"), parse_missing("nearest", "-"));
  EXPECT_TRUE(std::isfinite(numbers_of(one).back()));
}

// A volume whose every type and number of components goes through every format that is written.
Volume made_volume(Dtype dtype, int components, const Three& spacing, const Three& origin) {
  const Shape shape{7, 5, 3};
  const auto count = static_cast<std::size_t>(shape.count() * components);
  const auto memory = std::make_shared<std::vector<std::byte>>(count * size_of(dtype));
  visit(dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t i = 0; i < count; ++i) {
      const T value = static_cast<T>(i * 37 % 101) / T(std::is_integral_v<T> ? 1 : 3);
      std::memcpy(memory->data() + i * sizeof(T), &value, sizeof(T));
    }
  });
  Volume volume("made", shape, dtype, {memory, memory->data()}, "made", components);
  volume.spacing = spacing;
  volume.origin = origin;
  return volume;
}

void write_volume(const std::filesystem::path& path, const Volume& volume) {
  const auto alone = open_single();
  VolumeWriter writer(*alone, path, volume.header());
  std::vector<Volume> parts;
  std::vector<const void*> components;
  for (int c = 0; c < volume.components; ++c)
    components.push_back(parts.emplace_back(volume.component(c)).data());
  const auto from = [&](std::int64_t first) {
    std::vector<const void*> at;
    for (const void* part : components)
      at.push_back(static_cast<const std::byte*>(part) +
                   static_cast<std::size_t>(first) * size_of(volume.dtype));
    return at;
  };
  const std::int64_t half = volume.shape.count() / 2;
  writer.write(half, volume.shape.count() - half, from(half));
  writer.write(0, half, from(0));
  writer.commit();
}

TEST(Formats, WhatIsWrittenComesBack) {
  const TemporaryDirectory directory;
  constexpr Dtype dtypes[] = {Dtype::uint8,   Dtype::int8,   Dtype::uint16, Dtype::int16,
                              Dtype::uint32,  Dtype::int32,  Dtype::uint64, Dtype::int64,
                              Dtype::float32, Dtype::float64};
  for (const Format& format : formats()) {
    if (!format.write || format.endings[0] == std::string(".raw")) continue;
    for (const Dtype dtype : dtypes)
      for (const int components : {1, 2, 3}) {
        const auto path = directory / (std::string(format.endings[0] + 1) + format.endings[0]);
        SCOPED_TRACE(path.string() + " " + name(dtype) + " x " + std::to_string(components));
        if (format.endings[0] == std::string(".vti") && is_absent("vtk_raw.vti")) continue;
        const bool place = dtype != Dtype::int8;
        const Volume volume =
            made_volume(dtype, components, {0.25, 3, 1.5}, place ? Three{-1, 0.5, 1e6} : kZero);
        write_volume(path, volume);
        const Volume back = open_volume(path);
        EXPECT_EQ(back.shape, volume.shape);
        EXPECT_EQ(back.dtype, dtype);
        ASSERT_EQ(back.components, components);
        EXPECT_EQ(back.spacing, volume.spacing);
        EXPECT_EQ(back.origin, volume.origin);
        EXPECT_EQ(std::memcmp(back.data(), volume.data(), volume.bytes()), 0);
      }
  }
}

TEST(Formats, LongAxesNeedTheSecondNifti) {
  const TemporaryDirectory directory;
  const auto memory = std::make_shared<std::vector<std::uint8_t>>(40000);
  (*memory)[39999] = 7;
  const Volume volume("long", {1, 1, 40000}, Dtype::uint8, {memory, memory->data()}, "long");
  write_volume(directory / "long.nii", volume);
  const Volume back = open_volume(directory / "long.nii");
  EXPECT_EQ(back.shape, volume.shape);
  EXPECT_EQ(std::memcmp(back.data(), volume.data(), volume.bytes()), 0);
  EXPECT_EQ(read_file(directory / "long.nii").substr(4, 3), "n+2");
}

TEST(Formats, NamesOfDatasets) {
  EXPECT_EQ(dataset_name("/d/a_4x4x4_uint8.raw"), "a");
  EXPECT_EQ(dataset_name("/d/a_4x4x4_uint8.nhdr"), "a");
  EXPECT_EQ(dataset_name("scan.nii.gz"), "scan");
  EXPECT_EQ(dataset_name("SCAN.NRRD"), "SCAN");
  EXPECT_EQ(dataset_name("x/f.nc:tos[3]"), "f_tos-3");
  EXPECT_EQ(dataset_name("f.h5:/data/x,/data/y"), "f_data-x-data-y");
  const VolumePath split = split_volume_path("a:b/f.nc:u:v");
  EXPECT_EQ(split.file, "a:b/f.nc");
  EXPECT_EQ(split.variable, "u:v");
}

TEST(Formats, HeadersStandForTheirVoxels) {
  const TemporaryDirectory directory;
  const Volume volume = made_volume(Dtype::uint8, 1, kOnes, kZero);
  write_volume(directory / "a_7x5x3_uint8.raw", volume);
  write_volume(directory / "b.mhd", volume);
  write_volume(directory / "c.nrrd", volume);
  write_volume(directory / "c.nii", volume);
  write_volume(directory / "d.nhdr", volume);
  const auto over = test::message_of<Error>([&] { write_volume(directory / "d.mhd", volume); });
  EXPECT_TRUE(contains(over, "would overwrite")) << over;
  test::write_text(directory / "d.mhd", "");
  write_volume(directory / "d.mhd", volume);
  EXPECT_EQ(list_datasets(directory.path()), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(find_dataset(directory.path(), "a"), directory / "a_7x5x3_uint8.nhdr");
  EXPECT_EQ(find_dataset(directory.path(), "b"), directory / "b.mhd");
  EXPECT_EQ(find_dataset(directory.path(), "d"), directory / "d.nhdr");
  EXPECT_EQ(find_dataset(directory.path(), "c.nii"), directory / "c.nii");
  EXPECT_TRUE(contains(message_of<Error>([&] { find_dataset(directory.path(), "c"); }), "2 files"));
}

struct Real {
  const char* path;
  Shape shape;
  Dtype dtype;
  Three spacing, origin;
};

TEST(Formats, RealFiles) {
  const auto directory = test::shared_data() / "formats";
  if (!std::filesystem::exists(directory)) GTEST_SKIP() << directory << " is absent";
  if (is_absent("itk_gzip.nrrd") || is_absent("vtk_raw.vti"))
    GTEST_SKIP() << "this build lacks zlib or expat";
  const Real files[] = {
      {"FLAIR.nrrd", {124, 160, 140}, Dtype::uint8, kOnes, {64.898239, 110.431145, -27.925539}},
      {"HeadMRVolume.mhd", {48, 62, 42}, Dtype::uint8, {4, 4, 4}, kZero},
      {"tooth.nhdr", {103, 94, 161}, Dtype::uint16, kOnes, kZero},
      {"hydrogen.vti", {64, 64, 64}, Dtype::float32, kOnes, kZero},
      {"viscous_fingers_r1_t060.vti:ImageFile", {64, 64, 64}, Dtype::float32, kOnes, kZero},
  };
  for (const Real& file : files) {
    SCOPED_TRACE(file.path);
    const Volume volume = open_volume(directory / file.path);
    EXPECT_EQ(volume.shape, file.shape);
    EXPECT_EQ(volume.dtype, file.dtype);
    for (std::size_t d = 0; d < 3; ++d) {
      EXPECT_NEAR(volume.spacing[d], file.spacing[d], 1e-5);
      EXPECT_NEAR(volume.origin[d], file.origin[d], 1e-5);
    }
  }
  const auto same = [&](const char* header, const char* raw) {
    const Volume one = open_volume(directory / header);
    const Volume other = open_volume(test::shared_data() / raw);
    EXPECT_EQ(std::memcmp(one.data(), other.data(), other.bytes()), 0) << header;
  };
  same("tooth.nhdr", "tooth_103x94x161_uint16.raw");
  same("viscous_fingers_r1_t060.vti", "viscous_fingers_r1_t060_64x64x64_float32.raw");
}

TEST(Formats, RealNetcdf) {
  const auto directory = test::shared_data() / "formats";
  if (!std::filesystem::exists(directory)) GTEST_SKIP() << directory << " is absent";
  if (is_absent("four.nc:u")) GTEST_SKIP() << "this build has no NetCDF";
  const Volume air = open_volume(directory / "hybrid_height.nc:air_potential_temperature");
  EXPECT_EQ(air.shape, (Shape{100, 100, 15}));
  EXPECT_EQ(open_volume(directory / "hybrid_height.nc").shape, air.shape);
  const auto tos = directory / "tos_O1_2001-2002.nc";
  // 31 % of it is land.
  EXPECT_TRUE(contains(message_of<Error>([&] { open_volume(tos); }), "of 734400"));
  const Volume sea = open_volume(tos, parse_missing("nearest", "--missing"));
  EXPECT_EQ(sea.shape, (Shape{180, 170, 24}));
  EXPECT_LT(sea.high, 320);
  EXPECT_GT(sea.low, 250);
  EXPECT_EQ(sea.name, "tos_O1_2001-2002");
  EXPECT_NEAR(sea.spacing[0], 2, 1e-9);
  EXPECT_NEAR(sea.spacing[1], 1, 1e-9);
  EXPECT_NEAR(sea.spacing[2], 30, 1e-9);
  EXPECT_NEAR(sea.origin[0], 1, 1e-9);
}

}  // namespace
}  // namespace kanbench
