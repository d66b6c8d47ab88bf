// Files, raw volumes and the search for datasets.

#include "kanbench/io.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <numeric>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "support.h"

namespace kanbench {
namespace {

using test::message_of;
using test::TemporaryDirectory;

constexpr Dtype kDtypes[] = {Dtype::uint8,   Dtype::int8,   Dtype::uint16, Dtype::int16,
                             Dtype::uint32,  Dtype::int32,  Dtype::uint64, Dtype::int64,
                             Dtype::float32, Dtype::float64};

std::size_t files_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(directory), {}));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

template <class T>
Volume make_volume(const std::vector<T>& voxels, Shape shape, Dtype dtype) {
  const auto owner = std::make_shared<std::vector<T>>(voxels);
  return {"made", shape, dtype, std::shared_ptr<const void>(owner, owner->data()), "made.raw"};
}

TEST(Dtype, NamesReadBack) {
  for (const Dtype dtype : kDtypes) {
    Dtype read = Dtype::uint8;
    EXPECT_TRUE(parse_dtype(name(dtype), read));
    EXPECT_EQ(read, dtype);
    EXPECT_TRUE(contains(dtype_names(), name(dtype)));
  }
  const std::pair<const char*, Dtype> codes[] = {{"u1", Dtype::uint8},  {"u2", Dtype::uint16},
                                                 {"i2", Dtype::int16},  {"f4", Dtype::float32},
                                                 {"u8", Dtype::uint64}, {"f8", Dtype::float64}};
  for (const auto& [code, dtype] : codes) {
    Dtype read = Dtype::int8;
    EXPECT_TRUE(parse_dtype(code, read));
    EXPECT_EQ(read, dtype);
  }
  Dtype kept = Dtype::int16;
  for (const char* word : {"", "uint", "uint128", "UINT8", "uint8 ", "f2"})
    EXPECT_FALSE(parse_dtype(word, kept)) << word;
  EXPECT_EQ(size_of(Dtype::uint16), 2u);
  EXPECT_EQ(size_of(Dtype::float64), 8u);
}

TEST(Shape, ReadsAndRefuses) {
  EXPECT_EQ(parse_shape("103x94x161", "--size"), (Shape{103, 94, 161}));
  EXPECT_EQ(text(Shape{103, 94, 161}), "103x94x161");
  for (const char* word : {"", "4", "4x4", "4x4x", "4x4x4x4", "0x4x4", "-1x4x4", "4x 4x4", "ax4x4",
                           "4x4x4 ", "99999999999999999999x1x1"})
    EXPECT_TRUE(contains(message_of<Error>([&] { parse_shape(word, "--size"); }), "--size"))
        << word;
  EXPECT_TRUE(
      contains(message_of<Error>([] { parse_shape("4294967296x4294967296x4294967296", "--size"); }),
               "2^56"));
}

TEST(RawName, IsReadFromTheRight) {
  const RawName a = parse_raw_name("/data/viscous_fingers_r1_t060_64x32x16_float32.raw");
  EXPECT_EQ(a.name, "viscous_fingers_r1_t060");
  EXPECT_EQ(a.shape, (Shape{64, 32, 16}));
  EXPECT_EQ(a.dtype, Dtype::float32);
  const RawName b = parse_raw_name("a_2x2x2_uint8_3x4x5_u2.raw");
  EXPECT_EQ(b.name, "a_2x2x2_uint8");
  EXPECT_EQ(b.dtype, Dtype::uint16);
  EXPECT_EQ(raw_file_name(b), "a_2x2x2_uint8_3x4x5_uint16.raw");
}

TEST(RawName, SaysWhatIsWrong) {
  const auto message = [](const char* path) {
    return message_of<Error>([&] { parse_raw_name(path); });
  };
  for (const char* path : {"nucleon.raw", "nucleon_uint8.raw", "_4x4x4_uint8.raw", ".raw",
                           "4x4x4_uint8.raw", "_.raw", "__.raw"})
    EXPECT_TRUE(contains(message(path), "name_XxYxZ_dtype.raw")) << path;
  EXPECT_TRUE(contains(message("a_4x4x4_uint9.raw"), "unknown dtype 'uint9'"));
  EXPECT_TRUE(contains(message("a_4x4x4_uint9.raw"), "float32"));
  EXPECT_TRUE(contains(message("a_4x4_uint8.raw"), "'4x4' is no size"));
}

TEST(RawVolume, RoundTripsEveryDtype) {
  const TemporaryDirectory directory;
  const Shape shape{5, 4, 3};
  const auto alone = open_single();
  for (const Dtype dtype : kDtypes) {
    SCOPED_TRACE(name(dtype));
    std::vector<std::byte> voxels(static_cast<std::size_t>(shape.count()) * size_of(dtype));
    double low = 0, high = 0;
    visit(dtype, [&](auto voxel) {
      using T = decltype(voxel);
      T* out = reinterpret_cast<T*>(voxels.data());
      for (int i = 0; i < 60; ++i) out[i] = static_cast<T>(i * 2 + 1);
      out[7] = std::numeric_limits<T>::is_signed ? static_cast<T>(-100) : T{0};
      low = static_cast<double>(out[7]);
      high = static_cast<double>(out[59]);
    });
    const auto path = directory / raw_file_name({"v", shape, dtype});
    VolumeWriter writer(*alone, path, {shape, dtype, 1, {1, 2, 0.1}});
    writer.write(30, 30, voxels.data() + voxels.size() / 2);
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.write(0, 30, voxels.data());
    writer.commit();
    const Volume volume = open_volume(path);
    EXPECT_EQ(volume.name, "v");
    EXPECT_EQ(volume.shape, shape);
    EXPECT_EQ(volume.dtype, dtype);
    EXPECT_EQ(volume.low, low);
    EXPECT_EQ(volume.high, high);
    ASSERT_EQ(volume.bytes(), voxels.size());
    EXPECT_EQ(std::memcmp(volume.data(), voxels.data(), voxels.size()), 0);
  }
  EXPECT_EQ(files_in(directory.path()), 2 * std::size(kDtypes));
}

TEST(RawVolume, HeaderNamesItsData) {
  const TemporaryDirectory directory;
  const float voxels[6] = {0, 1, 2, 3, 4, 5};
  const auto alone = open_single();
  VolumeWriter writer(*alone, directory / "a b_3x2x1_float32.raw",
                      {{3, 2, 1}, Dtype::float32, 1, {0.1, 1, 2.5}});
  writer.write(0, 6, voxels);
  writer.commit();
  EXPECT_EQ(read_file(directory / "a b_3x2x1_float32.nhdr"),
            "NRRD0004\ntype: float\ndimension: 3\nsizes: 3 2 1\nspacings: 0.1 1 2.5\n"
            "endian: little\nencoding: raw\ndata file: a b_3x2x1_float32.raw\n");
}

TEST(RawVolume, AnUnfinishedFileLeavesNothing) {
  const TemporaryDirectory directory;
  {
    const auto alone = open_single();
    VolumeWriter writer(*alone, directory / "a_2x2x2_uint8.raw", {{2, 2, 2}, Dtype::uint8});
    writer.write(2, 4, "1234");
    EXPECT_THROW(writer.commit(), std::logic_error);
    EXPECT_THROW(writer.write(4, 5, "12345"), std::logic_error);
    EXPECT_THROW(writer.write(0, 5, "12345"), std::logic_error);
  }
  EXPECT_EQ(files_in(directory.path()), 0u);
}

TEST(RawVolume, RefusesAnotherSizeWithBothNumbers) {
  const TemporaryDirectory directory;
  for (const std::size_t bytes : {0u, 15u, 17u}) {
    const auto path = directory / "a_2x2x2_uint16.raw";
    test::write_text(path, std::string(bytes, 'x'));
    const std::string message = message_of<Error>([&] { open_volume(path); });
    EXPECT_TRUE(contains(message, path.string()));
    EXPECT_TRUE(contains(message, "expected 16 bytes"));
    EXPECT_TRUE(contains(message, "found " + std::to_string(bytes)));
  }
}

TEST(RawVolume, RefusesWhatIsNoVolume) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(contains(message_of<Error>([&] { open_volume(directory / "a_2x2x2_u1.raw"); }),
                       "no such file"));
  test::write_text(directory / "a.png", "x");
  EXPECT_TRUE(
      contains(message_of<Error>([&] { open_volume(directory / "a.png"); }), "XxYxZ_dtype.raw"));
  EXPECT_TRUE(contains(message_of<Error>([&] { open_volume(directory.path()); }), "not a file"));
}

TEST(Volume, ReportsVoxelsThatAreNotFinite) {
  const Shape shape{100, 30, 1000};
  std::vector<float> voxels(static_cast<std::size_t>(shape.count()));
  std::iota(voxels.begin(), voxels.end(), 0.0f);
  EXPECT_EQ(make_volume(voxels, shape, Dtype::float32).high, voxels.back());
  voxels[(900 * 30 + 7) * 100 + 42] = std::numeric_limits<float>::quiet_NaN();
  voxels[(901 * 30 + 7) * 100 + 42] = -std::numeric_limits<float>::infinity();
  voxels.back() = std::numeric_limits<float>::infinity();
  const std::string message =
      message_of<Error>([&] { make_volume(voxels, shape, Dtype::float32); });
  EXPECT_TRUE(contains(message, "made.raw")) << message;
  EXPECT_TRUE(contains(message, "3 of 3000000")) << message;
  EXPECT_TRUE(contains(message, "(42, 7, 900)")) << message;
  const std::vector<double> all(8, std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(contains(message_of<Error>([&] {
                         make_volume(all, {2, 2, 2}, Dtype::float64);
                       }),
                       "8 of 8 voxels are not finite, the first at (x, y, z) = (0, 0, 0)"));
}

TEST(Volume, RefusesAConstant) {
  EXPECT_TRUE(contains(message_of<Error>([] {
                         make_volume(std::vector<std::uint8_t>(27, 7), {3, 3, 3}, Dtype::uint8);
                       }),
                       "every voxel is 7"));
  const double most = std::numeric_limits<double>::max();
  EXPECT_TRUE(contains(message_of<Error>([&] {
                         make_volume(std::vector<double>{-most, most}, {2, 1, 1}, Dtype::float64);
                       }),
                       "does not fit"));
  EXPECT_TRUE(contains(message_of<Error>([] {
                         make_volume(std::vector<double>{0, 1e-310}, {2, 1, 1}, Dtype::float64);
                       }),
                       "does not fit"));
}

TEST(Volume, FindsTheRangeWhereverItIs) {
  for (const std::size_t place : {0u, 1u, 63u, 64u, 1000u, 1048575u, 1048576u, 2000000u}) {
    std::vector<std::int16_t> voxels(2000001, 5);
    voxels[place] = -32768;
    const Volume low = make_volume(voxels, {2000001, 1, 1}, Dtype::int16);
    EXPECT_EQ(low.low, -32768);
    EXPECT_EQ(low.high, 5);
    voxels[place] = 32767;
    EXPECT_EQ(make_volume(voxels, {2000001, 1, 1}, Dtype::int16).high, 32767);
  }
}

TEST(Datasets, TheWholeNameCounts) {
  const TemporaryDirectory directory;
  for (const char* file : {"nucleon_4x4x4_uint8.raw", "nucleon_b_4x4x4_uint8.raw",
                           "fuel_4x4x4_u1.raw", "notes.txt", "odd.raw"})
    test::write_text(directory / file, "x");
  std::filesystem::create_directory(directory / "dir_4x4x4_uint8.raw");
  EXPECT_EQ(list_datasets(directory.path()),
            (std::vector<std::string>{"fuel", "nucleon", "nucleon_b"}));
  EXPECT_EQ(find_dataset(directory.path(), "nucleon"), directory / "nucleon_4x4x4_uint8.raw");
  EXPECT_EQ(find_dataset("/nowhere", directory / "odd.raw"), directory / "odd.raw");
  const std::string message = message_of<Error>([&] { find_dataset(directory.path(), "nucleom"); });
  EXPECT_TRUE(contains(message, "did you mean 'nucleon'?")) << message;
  EXPECT_TRUE(contains(message, "fuel, nucleon, nucleon_b")) << message;
  EXPECT_TRUE(contains(message_of<Error>([&] { find_dataset(directory.path(), "nuc"); }), "'nuc'"));
  test::write_text(directory / "nucleon_2x2x2_uint16.raw", "x");
  const std::string both = message_of<Error>([&] { find_dataset(directory.path(), "nucleon"); });
  EXPECT_TRUE(contains(both, "nucleon_2x2x2_uint16.raw, nucleon_4x4x4_uint8.raw")) << both;
  EXPECT_TRUE(contains(message_of<Error>([&] { find_dataset(directory / "none", "a"); }), "none"));
}

TEST(Datasets, RealVolumesOpen) {
  if (!std::filesystem::exists(test::shared_data())) GTEST_SKIP() << "no real volumes here";
  const Volume tooth = open_volume(find_dataset(test::shared_data(), "tooth"));
  EXPECT_EQ(tooth.shape, (Shape{103, 94, 161}));
  EXPECT_EQ(tooth.dtype, Dtype::uint16);
  EXPECT_LT(tooth.low, tooth.high);
}

TEST(Denormalise, RestoresEveryVoxelOfSmallTypes) {
  for (const Dtype dtype : {Dtype::uint8, Dtype::int8, Dtype::uint16, Dtype::int16})
    visit(dtype, [&](auto voxel) {
      using T = decltype(voxel);
      const double low = std::numeric_limits<T>::min(), high = std::numeric_limits<T>::max();
      std::vector<float> values;
      for (double v = low; v <= high; ++v)
        values.push_back(static_cast<float>((v - low) / (high - low)));
      std::vector<T> out(values.size());
      denormalise(values.data(), static_cast<std::int64_t>(values.size()), low, high, dtype,
                  out.data());
      for (std::size_t i = 0; i < out.size(); ++i)
        ASSERT_EQ(static_cast<double>(out[i]), low + static_cast<double>(i)) << name(dtype);
    });
}

template <class T>
std::vector<T> denormalised(const std::vector<float>& values, double low, double high,
                            Dtype dtype) {
  std::vector<T> out(values.size());
  denormalise(values.data(), static_cast<std::int64_t>(values.size()), low, high, dtype,
              out.data());
  return out;
}

TEST(Denormalise, RoundsAndSaturates) {
  EXPECT_EQ((denormalised<std::uint8_t>({-0.5f, 0, 0.124f, 0.126f, 1, 90}, 0, 4, Dtype::uint8)),
            (std::vector<std::uint8_t>{0, 0, 0, 1, 4, 255}));
  using I64 = std::numeric_limits<std::int64_t>;
  EXPECT_EQ((denormalised<std::int64_t>({-1, 0, 0.5f, 1, 2}, -0x1p63, 0x1p63, Dtype::int64)),
            (std::vector<std::int64_t>{I64::min(), I64::min(), 0, I64::max(), I64::max()}));
  using U64 = std::numeric_limits<std::uint64_t>;
  EXPECT_EQ((denormalised<std::uint64_t>({-1, 0, 0.5f, 1, 2}, 0, 0x1p64, Dtype::uint64)),
            (std::vector<std::uint64_t>{0, 0, std::uint64_t{1} << 63, U64::max(), U64::max()}));
  using I32 = std::numeric_limits<std::int32_t>;
  EXPECT_EQ((denormalised<std::int32_t>({0, 1, 2}, I32::min(), I32::max(), Dtype::int32)),
            (std::vector<std::int32_t>{I32::min(), I32::max(), I32::max()}));
  EXPECT_EQ((denormalised<float>({0, 0.25f, 1}, -2, 2, Dtype::float32)),
            (std::vector<float>{-2, -1, 2}));
  EXPECT_EQ((denormalised<double>({0, 0.25f, 1}, -2, 2, Dtype::float64)),
            (std::vector<double>{-2, -1, 2}));
}

TEST(AtomicFile, TakesItsNameOnlyWhenWhole) {
  const TemporaryDirectory directory;
  const auto path = directory / "a.txt";
  test::write_text(path, "before");
  {
    AtomicFile file(path);
    file.write("half");
    EXPECT_EQ(files_in(directory.path()), 2u);
  }
  EXPECT_EQ(read_file(path), "before");
  EXPECT_EQ(files_in(directory.path()), 1u);
  AtomicFile file(path);
  file.write("af");
  file.write("ter");
  file.commit();
  EXPECT_EQ(read_file(path), "after");
  EXPECT_EQ(files_in(directory.path()), 1u);
}

TEST(AtomicFile, SaysWhereItCannotBe) {
  const TemporaryDirectory directory;
  test::write_text(directory / "file", "x");
  for (const auto& path : {directory / "none" / "a", directory / "file" / "a", directory.path(),
                           directory / std::string(400, 'a')}) {
    const std::string message = message_of<Error>([&] { AtomicFile file(path); });
    EXPECT_TRUE(contains(message, path.string())) << message;
    EXPECT_FALSE(contains(message, "\n"));
  }
  ASSERT_EQ(mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(message_of<Error>([&] { AtomicFile file(directory / "pipe"); }),
                       "not a regular file"));
  EXPECT_TRUE(std::filesystem::is_fifo(directory / "pipe"));
  EXPECT_TRUE(contains(message_of<Error>([&] { read_file(directory / "none"); }), "none"));
  EXPECT_TRUE(contains(message_of<Error>([&] { read_file(directory.path()); }), "directory"));
  require_writable(directory / "new" / "deep", "--output-dir");
  EXPECT_TRUE(std::filesystem::is_directory(directory / "new" / "deep"));
  EXPECT_EQ(files_in(directory / "new" / "deep"), 0u);
  EXPECT_TRUE(
      contains(message_of<Error>([&] { require_writable(directory / "file", "--output-dir"); }),
               "--output-dir"));
  EXPECT_TRUE(
      contains(message_of<Error>([&] { require_writable("/proc/kanbench", "--output-dir"); }),
               "--output-dir /proc/kanbench"));
}

// The exit status of `body` in a child process, whose limits end with it.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// 0 if writing 1 MB over `path` is an Error that says so and leaves the old content alone.
int write_too_much(const std::filesystem::path& path, const char* reason) {
  test::write_text(path, "before");
  try {
    AtomicFile file(path);
    const std::string block(100000, 'x');
    for (int i = 0; i < 10; ++i) file.write(block);
    file.commit();
    return 1;
  } catch (const Error& error) {
    if (!contains(error.what(), reason) || !contains(error.what(), path.string())) return 2;
  }
  if (read_file(path) != "before") return 3;
  return files_in(path.parent_path()) == 1 ? 0 : 4;
}

TEST(AtomicFile, ALimitOnFileSizeIsAnError) {
  const TemporaryDirectory directory;
  EXPECT_EQ(in_child([&] {
              const rlimit limit{150000, 150000};
              std::signal(SIGXFSZ, SIG_IGN);
              setrlimit(RLIMIT_FSIZE, &limit);
              return write_too_much(directory / "a.txt", "too large");
            }),
            0);
}

TEST(AtomicFile, AFullDiskIsAnError) {
  const TemporaryDirectory directory;
  constexpr int cannot_mount = 77;
  const int status = in_child([&] {
    if (mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=256k") != 0) return cannot_mount;
    const int result = write_too_much(directory / "a.txt", "No space left");
    umount(directory.path().c_str());
    return result;
  });
  if (status == cannot_mount) GTEST_SKIP() << "a small tmpfs cannot be mounted here";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace kanbench
