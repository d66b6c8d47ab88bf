#pragma once
// Compressors that are no networks, for comparison: each on a whole volume, at the compression
// ratios that networks reached.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kanbench/metrics.h"
#include "kanbench/volume.h"

namespace kanbench {

/// A compressor: its name, and the program that does it; none for those of this build.
struct Baseline {
  std::string name, program;
};

/// Reads "zfp", "sz3" or "sz3=/path/to/sz3". A program is, in this order, the one named, the
/// environment's (KANBENCH_SZ3), or the one in PATH. Throws Error for an unknown name, and, with
/// what to do, for one that is not there.
Baseline parse_baseline(const std::string& word);
/// What there may be: zfp, zstd, sz3, mgard, tthresh, sperr.
std::vector<std::string> baseline_names();

/// Voxels of a component as they come back, in the volume's type or as floats or doubles.
struct Decompressed {
  Dtype dtype = Dtype::float32;
  std::vector<std::byte> voxels;
};

/// One compressor of one component of a volume, which outlives it. What a program gets wrong is an
/// Error.
class Codec {
 public:
  virtual ~Codec() = default;
  virtual bool lossless() const { return false; }
  /// Bounds whose logarithms (base 2) differ by less need not differ in what they do.
  virtual double finest() const { return 1.0 / 64; }
  /// With an absolute bound on the error, or whatever else makes it smaller or larger.
  virtual std::vector<std::byte> compress(double bound) = 0;
  virtual Decompressed decompress(std::span<const std::byte> stream) = 0;
  /// How: "fixed accuracy 0.0625".
  virtual std::string mode(double bound) const = 0;
};
/// `component` is a volume of one; programs' files lie in `directory` for as long as the codec
/// does.
std::unique_ptr<Codec> open_codec(const Baseline& baseline, const Volume& component,
                                  const std::filesystem::path& directory);

/// What a compressor did.
struct BaselineResult {
  Baseline baseline;
  std::string dataset, run_id, status = "finished", failure, mode, started_at, hostname,
                               ssim_variant;
  /// What was aimed at; 0 where it is lossless.
  double target = 0;
  std::int64_t data_bytes = 0, bytes = 0;
  Metrics metrics;
  double compress_seconds = 0, decompress_seconds = 0;
  std::int64_t peak_host_bytes = 0;
};

/// The ratios to aim at for those that networks reached: the nearest powers of 1.02, each once,
/// ascending.
std::vector<double> target_ratios(std::span<const double> reached);

/// What a baseline's row is called: by the compressor, the target and the volume's signature.
std::string baseline_id(const Baseline& baseline, double target, const std::string& signature);

/// Compresses `volume` to `target`, to 2%, or where no bound does that to the nearest smaller ratio
/// that one does; decompresses and measures it. Where the compressor fails the result says so.
BaselineResult run_baseline(const Baseline& baseline, const Volume& volume, double target,
                            const std::string& signature, const std::filesystem::path& directory);

/// Its row, of the columns of a run's, and its JSON line.
std::string csv_row(const BaselineResult& result);
std::string json_line(const BaselineResult& result);

}  // namespace kanbench
