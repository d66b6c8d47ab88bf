// Compressors that are other programs, by the command lines that they document:
//   SZ3 (github.com/szcompressor/SZ3), MGARD (github.com/CODARcode/MGARD),
//   TTHRESH (github.com/rballester/tthresh), SPERR (github.com/NCAR/SPERR).

#include <unistd.h>

#include <fstream>
#include <sstream>

#include "baseline_codecs.h"
#include "decimal.h"
#include "io/quote.h"
#include "kanbench/error.h"
#include "kanbench/file.h"
#include "kanbench/process.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// What a command line is made of.
struct Job {
  std::string input, stream, output, bound;
  bool wide = false;
  std::string x, y, z;
};

struct Program {
  const char* name;
  const char* file;
  const char* mode;
  Words (*compress)(const Job& job);
  Words (*decompress)(const Job& job);
};

Words sz3_words(const Job& j, const char* from, const std::string& input, const char* to,
                const std::string& output) {
  return {j.wide ? "-d" : "-f", from, input, to, output, "-3", j.x, j.y, j.z, "-M", "ABS", j.bound};
}

const Program kPrograms[] = {
    {"sz3", "sz3", "absolute error",
     [](const Job& j) { return sz3_words(j, "-i", j.input, "-z", j.stream); },
     [](const Job& j) { return sz3_words(j, "-z", j.stream, "-o", j.output); }},
    {"mgard", "mgard", "largest error",
     [](const Job& j) {
       return Words{"compress",
                    "--datatype",
                    j.wide ? "double" : "float",
                    "--shape",
                    j.z + "x" + j.y + "x" + j.x,
                    "--smoothness",
                    "inf",
                    "--tolerance",
                    j.bound,
                    "--input",
                    j.input,
                    "--output",
                    j.stream};
     },
     [](const Job& j) {
       return Words{"decompress", "--input", j.stream, "--output", j.output};
     }},
    {"tthresh", "tthresh", "root mean square error",
     [](const Job& j) {
       return Words{"-i", j.input, "-t", j.wide ? "double" : "float",
                    "-s", j.x,     j.y,  j.z,
                    "-r", j.bound, "-c", j.stream};
     },
     [](const Job& j) {
       return Words{"-c", j.stream, "-o", j.output};
     }},
    {"sperr", "sperr3d", "largest error",
     [](const Job& j) {
       return Words{"-c",    "--ftype", j.wide ? "64" : "32", "--dims", j.x,
                    j.y,     j.z,       "--bitstream",        j.stream, "--pwe",
                    j.bound, j.input};
     },
     [](const Job& j) {
       return Words{"-d", j.wide ? "--decomp_d" : "--decomp_f", j.output, j.stream};
     }},
};

const Program& find(const std::string& name) {
  for (const Program& program : kPrograms)
    if (name == program.name) return program;
  check(false, "a program of another name");
  return kPrograms[0];
}

void write_bytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out)
    throw Error(path + ": cannot be written: is there room? Another --output-dir may have it");
}

/// A directory of its own, gone with the object.
class Scratch {
 public:
  explicit Scratch(const fs::path& parent) {
    std::string pattern = (parent / ".baseline-XXXXXX").string();
    if (!mkdtemp(pattern.data()))
      throw Error(parent.string() + ": cannot be written to: name another --output-dir");
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string last_line(const std::string& text) {
  std::istringstream in(text);
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (line.find_first_not_of(" \t\r") != line.npos) last = line;
  return last.empty() ? "" : ": " + quote(last);
}

// Runs it to its end; an Error has the last line that it wrote.
void run_codec(const std::string& program, std::vector<std::string> words) {
  words.insert(words.begin(), program);
  const ProcessEnd end = run_process(words);
  if (end.status == 0) return;
  throw Error(program +
              (end.status > 128 ? ": ended by signal " + std::to_string(end.status - 128)
                                : ": ended with status " + std::to_string(end.status)) +
              last_line(end.out + "\n" + end.error));
}

class ProgramCodec : public Codec {
 public:
  ProgramCodec(const Baseline& baseline, const Volume& component, const fs::path& directory)
      : program_(find(baseline.name)),
        file_(baseline.program),
        dtype_(floating(component.dtype)),
        scratch_(directory) {
    const Shape& shape = component.shape;
    job_ = {scratch_.file("volume.raw"), scratch_.file("stream"),
            scratch_.file("back.raw"),   "",
            dtype_ == Dtype::float64,    std::to_string(shape.x),
            std::to_string(shape.y),     std::to_string(shape.z)};
    const std::vector<std::byte> voxels = to_floating(component);
    bytes_ = voxels.size();
    write_bytes(job_.input, voxels);
  }

  std::vector<std::byte> compress(double bound) override {
    job_.bound = decimal(bound);
    fs::remove(job_.stream);
    run_codec(file_, program_.compress(job_));
    return read_bytes(job_.stream);
  }

  Decompressed decompress(std::span<const std::byte> stream) override {
    write_bytes(job_.stream, stream);
    fs::remove(job_.output);
    run_codec(file_, program_.decompress(job_));
    Decompressed back{dtype_, read_bytes(job_.output)};
    if (back.voxels.size() != bytes_)
      throw Error(file_ + ": expected " + std::to_string(bytes_) + " bytes of voxels back, found " +
                  std::to_string(back.voxels.size()));
    return back;
  }

  std::string mode(double bound) const override {
    return std::string(program_.mode) + " " + decimal(bound);
  }

 private:
  std::vector<std::byte> read_bytes(const std::string& path) const {
    if (!fs::is_regular_file(path))
      throw Error(file_ + ": ended well, but wrote no file " + fs::path(path).filename().string());
    const std::string text = read_file(path);
    if (text.empty()) throw Error(file_ + ": wrote an empty file");
    const auto* begin = reinterpret_cast<const std::byte*>(text.data());
    return {begin, begin + text.size()};
  }

  const Program& program_;
  std::string file_;
  Dtype dtype_;
  Scratch scratch_;
  Job job_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::vector<std::string> program_names() {
  std::vector<std::string> names;
  for (const Program& program : kPrograms) names.emplace_back(program.name);
  return names;
}

std::string default_program(const std::string& name) { return find(name).file; }

std::unique_ptr<Codec> open_program(const Baseline& baseline, const Volume& component,
                                    const fs::path& directory) {
  return std::make_unique<ProgramCodec>(baseline, component, directory);
}

}  // namespace kanbench
