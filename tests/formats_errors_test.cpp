// Damaged and mislabelled files: one line that says which, what and where.

#include <sys/stat.h>

#include <cstring>

#include "kanbench/error.h"
#include "kanbench/file.h"
#include "volume_files.h"

namespace kanbench {
namespace {

using test::contains;
using test::golden_volume;
using test::TemporaryDirectory;
using test::write_text;

// The message, which is one line, names the file and has `part`.
void expect_refused(const std::filesystem::path& path, const std::string& part) {
  const std::string message = test::message_of<Error>([&] { open_volume(path); });
  if (contains(message, "this build")) return;
  EXPECT_TRUE(contains(message, part)) << "'" << part << "' is not in: " << message;
  EXPECT_TRUE(contains(message, path.filename().string())) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

struct Bad {
  std::string name, text, part;
};

void expect_all_refused(const std::vector<Bad>& files) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "folder");
  write_text(directory / "eight", "12345678");
  for (const Bad& bad : files) {
    SCOPED_TRACE(bad.text.substr(0, 200));
    write_text(directory / bad.name, bad.text);
    expect_refused(directory / bad.name, bad.part);
  }
}

std::string nrrd(const std::string& fields) { return "NRRD0004\n" + fields + "\n12345678"; }
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) ADD_FAILURE() << from << " is not there";
  return text.replace(at, from.size(), to);
}

TEST(FormatErrors, Nrrd) {
  const std::string good = "type: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n";
  const auto bad = [&](const std::string& from, const std::string& to, const std::string& part) {
    return Bad{"bad.nrrd", nrrd(replaced(good, from, to)), part};
  };
  expect_all_refused({
      {"bad.nrrd", "n+1\nrest of it", "not NRRD"},
      {"bad.nrrd", "", "not NRRD"},
      {"bad.nrrd", "NRRD0009\n", "not NRRD"},
      {"bad.nrrd", "NRRD0004\n" + good, "no data file and no empty line"},
      {"bad.nrrd", "NRRD0004\n" + good + "\n1234567", "expected 8 bytes"},
      {"bad.nrrd", "NRRD0004\nnonsense\n\n", "'nonsense'"},
      bad("type: uchar", "type: block", "type: 'block'"),
      bad("type: uchar\n", "", "no 'type'"),
      bad("type: uchar", "type: short", "no 'endian'"),
      bad("type: uchar", "endian: middle\ntype: short", "little or big"),
      bad("dimension: 3", "dimension: 17", "from 1 to 16"),
      bad("sizes: 2 2 2", "sizes: 2 2", "3 whole numbers"),
      bad("sizes: 2 2 2", "sizes: 0 2 4", "0 voxels along an axis"),
      bad("sizes: 2 2 2", "sizes: -2 2 2", "-2 voxels"),
      bad("sizes: 2 2 2", "sizes: 2 2 x", "whole numbers"),
      bad("sizes: 2 2 2", "sizes: 9223372036854775807 9223372036854775807 2", "2^48"),
      bad("sizes: 2 2 2", "sizes: 99999999999999999999 2 2", "whole numbers"),
      bad("dimension: 3\nsizes: 2 2 2", "dimension: 4\nsizes: 2 2 2 2", "kinds"),
      bad("encoding: raw", "encoding: hex", "raw or gzip"),
      bad("encoding: raw", "encoding: gzip", "damaged"),
      bad("encoding: raw", "encoding: raw\nbyte skip: 9", "byte skip"),
      bad("encoding: raw", "encoding: raw\nbyte skip: -2", "from -1"),
      bad("encoding: raw", "encoding: raw\nline skip: 3", "line skip"),
      bad("encoding: raw", "encoding: gzip\nbyte skip: -1", "compressed"),
      bad("encoding: raw", "encoding: raw\nkinds: vector domain", "3 kinds"),
      bad("encoding: raw", "encoding: raw\nspace origin: 1 2 3", "vectors like"),
      bad("encoding: raw", "encoding: raw\ndata file: none", "no file"),
      bad("encoding: raw", "encoding: raw\ndata file: folder", "is not a file"),
      bad("encoding: raw", "encoding: raw\ndata file: ../../../../../../../../dev/null",
          "is not a file"),
      bad("encoding: raw", "encoding: raw\ndata file: LIST", "lists of files"),
      bad("encoding: raw", "encoding: raw\ndata file: s%03d.raw 1 9 1", "lists of files"),
      {"bad.nhdr", replaced(nrrd(good), "sizes: 2 2 2", "sizes: 2 2 3\ndata file: eight"),
       "expected 12 bytes"},
  });
}

TEST(FormatErrors, MetaImage) {
  const std::string good =
      "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
      "ElementDataFile = LOCAL\n12345678";
  const auto bad = [&](const std::string& from, const std::string& to, const std::string& part) {
    return Bad{"bad.mha", replaced(good, from, to), part};
  };
  expect_all_refused({
      {"bad.mha", "NRRD0004\n", "not MetaImage"},
      {"bad.mha", "NDims = 3\n", "no line says ElementDataFile"},
      bad("12345678", "1234567", "expected 8 bytes"),
      bad("Image", "Tube", "ObjectType"),
      bad("NDims = 3\n", "", "no NDims"),
      bad("DimSize = 2 2 2", "DimSize = 2 2 2 2", "3 whole numbers"),
      bad("DimSize = 2 2 2", "DimSize = 2 2 9223372036854775807", "2^48"),
      bad("DimSize = 2 2 2", "DimSize = 2 0 2", "0 voxels"),
      bad("MET_UCHAR", "MET_OTHER", "MET_OTHER"),
      bad("LOCAL", "none.raw", "no file"),
      bad("LOCAL", "folder", "is not a file"),
      bad("LOCAL", "LIST", "lists of files"),
      bad("LOCAL", "", "LOCAL or the name"),
      bad("NDims", "CompressedData = True\nNDims", "damaged"),
      bad("NDims", "CompressedData = perhaps\nNDims", "True or False"),
      bad("NDims", "BinaryData = False\nNDims", "BinaryData"),
      bad("NDims", "HeaderSize = 9\nNDims", "HeaderSize"),
      bad("NDims", "ElementSpacing = 1 2\nNDims", "3 numbers"),
      bad("NDims", "ElementNumberOfChannels = 0\nNDims", "ElementNumberOfChannels"),
      bad("NDims", "ElementNumberOfChannels = 5000\nNDims", "4096"),
  });
}

TEST(FormatErrors, Nifti) {
  const std::string good = read_file(golden_volume("itk.nii"));
  const auto bad = [&](std::size_t at, const std::string& bytes, const std::string& part) {
    std::string text = good;
    return Bad{"bad.nii", text.replace(at, bytes.size(), bytes), part};
  };
  using namespace std::string_literals;
  expect_all_refused({
      {"bad.nii", "NRRD0004\n", "not NIfTI"},
      {"bad.nii", good.substr(0, 347), "not NIfTI"},
      {"bad.nii", good.substr(0, good.size() - 1), "expected 120 bytes"},
      {"bad.nii.gz", read_file(golden_volume("itk.nii.gz")).substr(0, 200), "cut short"},
      bad(0, "x"s, "not NIfTI"),
      bad(344, "ni1"s, "magic"),
      bad(40, "\0\0"s, "dimensions"),
      bad(40, "\x08\0"s, "dimensions"),
      bad(42, "\xff\xff"s, "-1 voxels"),
      bad(42, "\0\0"s, "0 voxels"),
      bad(40, "\4\0\5\0\4\0\3\0\2\0"s, "of one volume"),
      bad(70, "\x20\0"s, "datatype: 32"),
      bad(108, "\0\0\x80\x3f"s, "vox_offset: 1"),
      bad(108, "\0\0\x80\x7f"s, "vox_offset"),
  });
}

TEST(FormatErrors, CompressedStreamsGiveWhatIsAsked) {
  const std::string good = read_file(golden_volume("pynrrd_gzip.nrrd"));
  expect_all_refused({
      {"bad.nrrd", replaced(good, "sizes: 5 4 3", "sizes: 5 4 2"), "more than the 160 bytes"},
      {"bad.nrrd", replaced(good, "sizes: 5 4 3", "sizes: 5 4 4"), "240 of the 320 bytes"},
      {"bad.nrrd", replaced(good, "sizes: 5 4 3", "sizes: 5000 4000 3000"), "inflated at most"},
      {"bad.nrrd", good.substr(0, good.size() - 20), "cut short"},
  });
}

TEST(FormatErrors, Vti) {
  const std::string ascii = read_file(golden_volume("vtk_ascii.vti"));
  const std::string raw = read_file(golden_volume("vtk_raw.vti"));
  const std::string zlib = read_file(golden_volume("vtk_raw_zlib_big.vti"));
  const std::string base64 = read_file(golden_volume("vtk_inline.vti"));
  const auto bad = [](const std::string& text, const std::string& from, const std::string& to,
                      const std::string& part) {
    return Bad{"bad.vti", replaced(text, from, to), part};
  };
  expect_all_refused({
      {"bad.vti", "", "is empty"},
      {"bad.vti", "n+1", "not XML"},
      {"bad.vti", "<x/>", "VTKFile"},
      {"bad.vti", "<!DOCTYPE VTKFile [<!ENTITY a 'b'>]><VTKFile/>", "document type"},
      {"bad.vti", ascii.substr(0, 400), "cut short"},
      {"bad.vti", raw.substr(0, raw.size() - 100), "expected 240 bytes"},
      {"bad.vti", zlib.substr(0, zlib.size() - 100), "cut short or damaged"},
      bad(ascii, "\"ImageData\"", "\"PolyData\"", "type: 'PolyData'"),
      bad(ascii, "LittleEndian", "MiddleEndian", "byte_order"),
      bad(ascii, "UInt32", "UInt16", "header_type"),
      bad(ascii, "Piece Extent=\"0 4 0 3 0 2\"", "Piece Extent=\"0 4 0 3 0 -1\"", "no points"),
      bad(ascii, "Piece Extent=\"0 4 0 3 0 2\"", "Piece Extent=\"0 4 0 3\"", "6 whole numbers"),
      bad(ascii, "Piece Extent=\"0 4", "Piece Extent=\"-9223372036854775808 4", "no points"),
      bad(ascii, "Piece Extent=\"0 4", "Piece Extent=\"0 99", "do not fit its text"),
      bad(ascii, "Piece Extent=\"0 4", "Piece Extent=\"0 3", "more than 48 numbers"),
      bad(ascii, "format=\"ascii\"", "format=\"binary\"", "are 60"),
      bad(ascii, "format=\"ascii\"", "format=\"other\"", "'other'"),
      bad(ascii, "Name=\"a\"", "Name=\"a\" NumberOfComponents=\"0\"", "NumberOfComponents"),
      bad(raw, "Piece Extent=\"0 4", "Piece Extent=\"0 5", "states 240 bytes"),
      bad(raw, "offset=\"0\"", "offset=\"99999999\"", "behind the file's end"),
      bad(raw, "offset=\"0\"", "offset=\"-1\"", "offset"),
      bad(raw, "encoding=\"raw\"", "encoding=\"hex\"", "raw or base64"),
      bad(raw, "   _", "    ", "no '_'"),
      bad(zlib, "Piece Extent=\"0 4", "Piece Extent=\"0 5", "do not make the 288 bytes"),
      bad(zlib, "vtkZLibDataCompressor", "vtkLZ4DataCompressor", "vtkLZ4DataCompressor"),
      bad(base64, "Piece Extent=\"0 4", "Piece Extent=\"0 5", "states 480 bytes"),
  });
}

TEST(FormatErrors, NetcdfAndHdf5) {
  const std::string netcdf = read_file(golden_volume("classic.nc"));
  const std::string records = read_file(golden_volume("offset64.nc"));
  const std::string four = read_file(golden_volume("four.nc"));
  const std::string hdf5 = read_file(golden_volume("h5py.h5"));
  expect_all_refused({
      {"bad.nc", "", "cannot be read as NetCDF"},
      {"bad.nc", "NRRD0004\n", "cannot be read as NetCDF"},
      {"bad.nc", netcdf.substr(0, 100), "bad.nc"},
      {"bad.nc", netcdf.substr(0, netcdf.size() - 4), "cut short"},
      {"bad.nc", records.substr(0, records.size() - 4), "cut short"},
      // libnetcdf takes no name for longer than 256.
      {"bad.nc",
       std::string("CDF\1\0\0\0\0\0\0\0\x0a\0\0\0\1\0\0\1\x2c", 20) + std::string(400, 'x'),
       "its header is none from byte 20 on"},
      {"bad.nc", four.substr(0, 4000), "cannot be read as NetCDF"},
      {"bad.h5", "", "cannot be read as HDF5"},
      {"bad.h5", netcdf, "cannot be read as HDF5"},
      {"bad.h5", hdf5.substr(0, 2000), "bad.h5"},
  });
}

TEST(FormatErrors, PlacesThatAreNoFiles) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "d.nrrd");
  ASSERT_EQ(mkfifo((directory / "f.nrrd").c_str(), 0600), 0);
  expect_refused(directory / "d.nrrd", "not a file");
  expect_refused(directory / "f.nrrd", "not a file");
  expect_refused(directory / "none.vti:a", "no such file");
  write_text(directory / "other.xyz", "x");
  expect_refused(directory / "other.xyz", "*.nrrd");
  const auto alone = open_single();
  for (const char* name : {"a.png", "a", "a.nc", "a.h5", "a.nii.gz"})
    EXPECT_TRUE(contains(test::message_of<Error>([&] {
                           VolumeWriter(*alone, directory / name, {{2, 2, 2}});
                         }),
                         ".vti"))
        << name;
}

}  // namespace
}  // namespace kanbench
