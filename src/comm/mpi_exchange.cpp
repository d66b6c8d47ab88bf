#include "comm/mpi_exchange.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "comm/half.h"
#include "kanbench/math/wire.h"

namespace kanbench {
namespace {

/// Floats that are on their way at once.
constexpr std::int64_t kFloatsAtOnce = std::int64_t{1} << 22;
/// Floats that are added at once, within the cache.
constexpr std::int64_t kBlock = 2048;
constexpr std::uint32_t kInfinity = 0x7f800000u;

std::uint32_t find_magnitude(const float* numbers, std::int64_t count) {
  std::uint32_t most = 0;
  for (std::int64_t i = 0; i < count; ++i)
    most = std::max(most, std::bit_cast<std::uint32_t>(numbers[i]) & 0x7fffffffu);
  return most;
}

std::uint32_t find_magnitude(MpiTurn& turn, const float* block, std::span<const Range> pieces) {
  std::uint32_t mine = 0;
  for (const Range& piece : pieces)
    mine = std::max(mine, find_magnitude(block + piece.begin, piece.size()));
  std::vector<std::uint32_t> all(pieces.size());
  turn.mpi.begin_all_gather(&mine, sizeof mine, all.data());
  turn.settle();
  return *std::max_element(all.begin(), all.end());
}

// The power of two by which `ranks` numbers up to `largest` sum to 2^15 at most.
float scale_for(std::uint32_t largest, std::size_t ranks) {
  return std::ldexp(1.0f, wire_exponent(largest, static_cast<int>(std::bit_width(ranks - 1))));
}

// Calls `round` with chunk after chunk of every piece, so that all ranks are busy in each.
template <class Round>
void in_chunks(std::span<const Range> pieces, Round&& round) {
  const std::int64_t most =
      std::max<std::int64_t>(1024, kFloatsAtOnce / static_cast<std::int64_t>(pieces.size()));
  std::int64_t longest = 0;
  for (const Range& piece : pieces) longest = std::max(longest, piece.size());
  std::vector<Range> chunks(pieces.size());
  for (std::int64_t at = 0; at < longest; at += most) {
    for (std::size_t r = 0; r < pieces.size(); ++r) {
      const std::int64_t begin = std::min(pieces[r].begin + at, pieces[r].end);
      chunks[r] = {begin, std::min(begin + most, pieces[r].end)};
    }
    round(chunks);
  }
}

template <class Each>
void for_others(int rank, int ranks, Each&& each) {
  for (int i = 1; i < ranks; ++i) each((rank + i) % ranks, (rank + ranks - i) % ranks);
}

std::size_t bytes_of(std::int64_t count, std::size_t each) {
  return static_cast<std::size_t>(count) * each;
}

}  // namespace

std::vector<Range> split_evenly(const Range& part, int ranks) {
  std::vector<Range> pieces(static_cast<std::size_t>(ranks));
  const std::int64_t each = part.size() / ranks, more = part.size() % ranks;
  std::int64_t at = part.begin;
  for (std::int64_t r = 0; r < ranks; ++r) {
    const std::int64_t next = at + each + (r < more);
    pieces[static_cast<std::size_t>(r)] = {at, next};
    at = next;
  }
  return pieces;
}

std::vector<Range> cut_by(const Range& part, std::span<const Range> shares) {
  std::vector<Range> pieces;
  for (const Range& share : shares) pieces.push_back(overlap(part, share));
  return pieces;
}

void MpiSum::sum_floats(MpiTurn& turn, float* block, std::span<const Range> chunks) {
  const int rank = turn.mpi.rank(), ranks = turn.mpi.size();
  const Range& mine = chunks[static_cast<std::size_t>(rank)];
  const std::int64_t count = mine.size();
  floats_.resize(static_cast<std::size_t>(count * ranks));
  for_others(rank, ranks, [&](int to, int from) {
    if (count > 0) turn.mpi.begin_receive(floats_.data() + from * count, bytes_of(count, 4), from);
    const Range& theirs = chunks[static_cast<std::size_t>(to)];
    if (theirs.size() > 0)
      turn.mpi.begin_send(block + theirs.begin, bytes_of(theirs.size(), 4), to);
  });
  turn.settle();
  float* const own = block + mine.begin;
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t size = std::min(kBlock, count - at);
    std::array<float, kBlock> sums{};
    for (int r = 0; r < ranks; ++r) {
      const float* from = (r == rank ? own : floats_.data() + r * count) + at;
      // A sum from the first number on keeps its sign where it is zero.
      if (r == 0)
        std::copy_n(from, size, sums.data());
      else
        for (std::int64_t i = 0; i < size; ++i) sums[static_cast<std::size_t>(i)] += from[i];
    }
    std::copy_n(sums.data(), size, own + at);
  }
}

void MpiSum::sum_halves(MpiTurn& turn, float* block, std::span<const Range> chunks, float scale,
                        bool everywhere) {
  const int rank = turn.mpi.rank(), ranks = turn.mpi.size();
  const Range& mine = chunks[static_cast<std::size_t>(rank)];
  const std::int64_t count = mine.size();
  std::int64_t longest = 0;
  for (const Range& chunk : chunks) longest = std::max(longest, chunk.size());
  incoming_.resize(static_cast<std::size_t>(longest * ranks));
  outgoing_.resize(static_cast<std::size_t>(longest * ranks));
  for_others(rank, ranks, [&](int to, int from) {
    if (count > 0)
      turn.mpi.begin_receive(incoming_.data() + from * longest, bytes_of(count, 2), from);
    const Range& theirs = chunks[static_cast<std::size_t>(to)];
    std::uint16_t* const packed = outgoing_.data() + to * longest;
    const float* const numbers = block + theirs.begin;
    for (std::int64_t i = 0; i < theirs.size(); ++i) packed[i] = to_half(numbers[i] * scale);
    if (theirs.size() > 0) turn.mpi.begin_send(packed, bytes_of(theirs.size(), 2), to);
  });
  turn.settle();
  float* const own = block + mine.begin;
  std::uint16_t* const sums = outgoing_.data() + rank * longest;
  const float back = 1 / scale;
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t size = std::min(kBlock, count - at);
    std::array<float, kBlock> sum{};
    for (int r = 0; r < ranks; ++r) {
      const std::uint16_t* const from = incoming_.data() + r * longest + at;
      for (std::int64_t i = 0; i < size; ++i)
        sum[static_cast<std::size_t>(i)] += r == rank ? own[at + i] * scale : from_half(from[i]);
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const float total = sum[static_cast<std::size_t>(i)];
      sums[at + i] = to_half(total);
      own[at + i] = (everywhere ? from_half(sums[at + i]) : total) * back;
    }
  }
  if (everywhere) gather_halves(turn, block, chunks, longest, back);
}

// Each rank's sums lie in outgoing_ at its place.
void MpiSum::gather_halves(MpiTurn& turn, float* block, std::span<const Range> chunks,
                           std::int64_t longest, float back) {
  const int rank = turn.mpi.rank(), ranks = turn.mpi.size();
  const std::int64_t count = chunks[static_cast<std::size_t>(rank)].size();
  const std::uint16_t* const sums = outgoing_.data() + rank * longest;
  for_others(rank, ranks, [&](int to, int from) {
    const Range& theirs = chunks[static_cast<std::size_t>(from)];
    if (theirs.size() > 0)
      turn.mpi.begin_receive(incoming_.data() + from * longest, bytes_of(theirs.size(), 2), from);
    if (count > 0) turn.mpi.begin_send(sums, bytes_of(count, 2), to);
  });
  turn.settle();
  for_others(rank, ranks, [&](int, int from) {
    const Range& theirs = chunks[static_cast<std::size_t>(from)];
    const std::uint16_t* const packed = incoming_.data() + from * longest;
    float* const numbers = block + theirs.begin;
    for (std::int64_t i = 0; i < theirs.size(); ++i) numbers[i] = from_half(packed[i]) * back;
  });
}

void MpiSum::gather_floats(MpiTurn& turn, float* block, std::span<const Range> chunks) {
  const int rank = turn.mpi.rank();
  const Range& mine = chunks[static_cast<std::size_t>(rank)];
  for_others(rank, turn.mpi.size(), [&](int to, int from) {
    const Range& theirs = chunks[static_cast<std::size_t>(from)];
    if (theirs.size() > 0)
      turn.mpi.begin_receive(block + theirs.begin, bytes_of(theirs.size(), 4), from);
    if (mine.size() > 0) turn.mpi.begin_send(block + mine.begin, bytes_of(mine.size(), 4), to);
  });
  turn.settle();
}

void MpiSum::sum(MpiTurn& turn, float* block, std::span<const Range> pieces, Wire wire,
                 bool everywhere) {
  if (turn.mpi.size() == 1) return;
  if (wire == Wire::fp32)
    return in_chunks(pieces, [&](std::span<const Range> chunks) {
      sum_floats(turn, block, chunks);
      if (everywhere) gather_floats(turn, block, chunks);
    });
  const std::uint32_t largest = find_magnitude(turn, block, pieces);
  if (largest >= kInfinity) {
    for (const Range& piece : pieces)
      std::fill_n(block + piece.begin, piece.size(), std::numeric_limits<float>::quiet_NaN());
    return;
  }
  const float scale = scale_for(largest, pieces.size());
  in_chunks(pieces, [&](std::span<const Range> chunks) {
    sum_halves(turn, block, chunks, scale, everywhere);
  });
}

void MpiSum::gather(MpiTurn& turn, float* block, std::span<const Range> pieces) {
  in_chunks(pieces, [&](std::span<const Range> chunks) { gather_floats(turn, block, chunks); });
}

}  // namespace kanbench
