#pragma once
// What libzfp hands out, closed with its owner.

#include <zfp.h>

#include <memory>

namespace kanbench {

struct CloseField {
  void operator()(zfp_field* field) const { zfp_field_free(field); }
};
struct CloseStream {
  void operator()(zfp_stream* stream) const { zfp_stream_close(stream); }
};
struct CloseBits {
  void operator()(bitstream* bits) const { stream_close(bits); }
};
using ZfpField = std::unique_ptr<zfp_field, CloseField>;
using ZfpStream = std::unique_ptr<zfp_stream, CloseStream>;
using Bits = std::unique_ptr<bitstream, CloseBits>;

}  // namespace kanbench
