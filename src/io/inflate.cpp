#include "io/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "kanbench/error.h"

namespace kanbench {
namespace {

// Bytes of a stream, as many as are asked for at a time.
class Inflation {
 public:
  Inflation(std::span<const std::byte> packed, const std::string& source)
      : rest_(packed), source_(source) {
    // 32: the wrapping is found out.
    if (::inflateInit2(&stream_, MAX_WBITS + 32) != Z_OK)
      throw SystemError(source + ": zlib has no memory");
  }
  ~Inflation() { ::inflateEnd(&stream_); }
  Inflation(const Inflation&) = delete;

  /// Bytes read, fewer than `out` has only at the end.
  std::size_t read(std::span<std::byte> out) {
    std::size_t done = 0;
    while (done < out.size() && !ended_) {
      feed();
      const auto room = static_cast<uInt>(std::min<std::size_t>(out.size() - done, kMost));
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + done);
      stream_.avail_out = room;
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      done += room - stream_.avail_out;
      if (status == Z_STREAM_END)
        next();
      else if (status == Z_BUF_ERROR && stream_.avail_in == 0 && rest_.empty())
        throw Error(source_ + ": its compressed stream is cut short");
      else if (status != Z_OK)
        throw Error(source_ + ": its compressed stream is damaged" +
                    (stream_.msg ? std::string(": ") + stream_.msg : ""));
    }
    return done;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 30;

  void feed() {
    if (stream_.avail_in > 0) return;
    const std::size_t piece = std::min(rest_.size(), kMost);
    // zlib takes a pointer to what it will only read.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest_.data()));
    stream_.avail_in = static_cast<uInt>(piece);
    rest_ = rest_.subspan(piece);
  }

  // Another gzip stream may follow; anything else is padding.
  void next() {
    feed();
    ended_ = stream_.avail_in < 2 || stream_.next_in[0] != 0x1f || stream_.next_in[1] != 0x8b;
    if (!ended_) ::inflateReset(&stream_);
  }

  z_stream stream_{};
  std::span<const std::byte> rest_;
  const std::string& source_;
  bool ended_ = false;
};

}  // namespace

void inflate(std::span<const std::byte> packed, std::uint64_t skip, std::span<std::byte> out,
             const std::string& source) {
  Inflation stream(packed, source);
  std::vector<std::byte> dropped(std::min<std::uint64_t>(skip, 1 << 16));
  std::size_t got = 1;
  for (std::uint64_t left = skip; left > 0 && got > 0; left -= got)
    got = stream.read({dropped.data(), std::min<std::uint64_t>(left, dropped.size())});
  got = stream.read(out);
  if (got < out.size())
    throw Error(source + ": its compressed stream gives " + std::to_string(got) + " of the " +
                std::to_string(out.size()) + " bytes that its header asks for");
  std::byte more;
  if (stream.read({&more, 1}) > 0)
    throw Error(source + ": its compressed stream gives more than the " +
                std::to_string(out.size()) + " bytes that its header asks for");
}

std::size_t inflate_start(std::span<const std::byte> packed, std::span<std::byte> out,
                          const std::string& source) {
  return Inflation(packed, source).read(out);
}

}  // namespace kanbench
