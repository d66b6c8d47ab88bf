#pragma once
// Sums of blocks over ranks, of sends and receives: each rank receives all ranks' numbers of its
// piece, adds them in the ranks' order, and passes the sums on. So the bits are the same on every
// rank, from run to run, and with any MPI.

#include <cstdint>
#include <span>
#include <vector>

#include "comm/mpi_worker.h"
#include "kanbench/communicator.h"
#include "kanbench/range.h"

namespace kanbench {

/// `part` in `ranks` pieces whose sizes differ by one at most.
std::vector<Range> split_evenly(const Range& part, int ranks);

/// What `part` has of each share.
std::vector<Range> cut_by(const Range& part, std::span<const Range> shares);

class MpiSum {
 public:
  /// Sums floats pieces[r] of `block` at rank r; at all ranks where `everywhere`. With fp16, halves
  /// go over the wire and floats are added; where a number is not finite all sums are NaN.
  void sum(MpiTurn& turn, float* block, std::span<const Range> pieces, Wire wire, bool everywhere);
  /// Gives every rank what rank r has in pieces[r].
  void gather(MpiTurn& turn, float* block, std::span<const Range> pieces);

 private:
  void sum_floats(MpiTurn& turn, float* block, std::span<const Range> chunks);
  void sum_halves(MpiTurn& turn, float* block, std::span<const Range> chunks, float scale,
                  bool everywhere);
  void gather_halves(MpiTurn& turn, float* block, std::span<const Range> chunks,
                     std::int64_t longest, float back);
  void gather_floats(MpiTurn& turn, float* block, std::span<const Range> chunks);

  std::vector<float> floats_;
  std::vector<std::uint16_t> incoming_, outgoing_;
};

}  // namespace kanbench
