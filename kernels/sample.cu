// Drawing a batch, and volumes as textures.

#include <algorithm>

#include "kernels/sample.h"

namespace kanbench::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMostTexels = 16384;
// Bytes of a volume of signed integers that are shifted at a time.
constexpr std::int64_t kShiftBytes = std::int64_t{1} << 26;

/// What a texture's numbers in [0, 1] stand for: span * t + low in the volume's units.
struct TextureUnits {
  bool fits;
  double span, low;
};

TextureUnits texture_units(Dtype dtype) {
  switch (dtype) {
    case Dtype::uint8:
      return {true, 255, 0};
    case Dtype::int8:
      return {true, 255, -128};
    case Dtype::uint16:
      return {true, 65535, 0};
    case Dtype::int16:
      return {true, 65535, -32768};
    case Dtype::float32:
      return {true, 1, 0};
    default:
      return {false, 0, 0};
  }
}

}  // namespace

DrawArguments make_draw(const VolumeView& volume, const Box& box, const Stream& stream,
                        std::int64_t first_row, const StepState* state,
                        cudaTextureObject_t texture) {
  DrawArguments a;
  a.voxels = volume.data;
  a.dtype = volume.dtype;
  const Shape n = volume.shape, held = volume.held.shape();
  const std::int64_t size[3] = {n.x, n.y, n.z}, part[3] = {held.x, held.y, held.z};
  for (int d = 0; d < 3; ++d) {
    a.size[d] = size[d];
    a.origin[d] = volume.held.low[d];
    a.held[d] = part[d];
    const double voxels = static_cast<double>(size[d]);
    a.scale[d] = static_cast<float>(static_cast<double>(box.high[d] - box.low[d]) / voxels);
    a.offset[d] = static_cast<float>(static_cast<double>(box.low[d]) / voxels);
    a.texel_scale[d] = static_cast<float>(voxels / static_cast<double>(part[d]));
    a.texel_offset[d] =
        static_cast<float>(-static_cast<double>(a.origin[d]) / static_cast<double>(part[d]));
  }
  a.low = volume.low;
  a.inverse_range = 1 / (volume.high - volume.low);
  a.guide = volume.guide;
  a.stream = stream;
  a.first_row = first_row;
  a.state = state;
  a.texture = texture;
  const TextureUnits units = texture_units(volume.dtype);
  a.texture_scale = static_cast<float>(units.span * a.inverse_range);
  a.texture_offset = static_cast<float>((units.low - volume.low) * a.inverse_range);
  return a;
}

std::vector<DrawArguments> make_draws(const VolumeView& volume, const Box& box,
                                      const Stream& stream, std::int64_t first_row,
                                      const StepState* state, cudaTextureObject_t texture) {
  std::vector<DrawArguments> all;
  for (int c = 0; c < volume.components; ++c)
    all.push_back(make_draw(volume.component(c), box, stream, first_row, state, texture));
  return all;
}

KB_KERNEL(kThreads) draw_kernel(DrawArguments a, Rows points, float* targets) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= points.rows) return;
  float point[3];
  const float target = draw_row(a, row, point);
  for (int d = 0; d < 3; ++d) points.data[d * points.stride + row] = point[d];
  targets[row] = target;
}

void draw(const DrawArguments& arguments, Rows points, Rows targets, cudaStream_t stream) {
  if (points.rows == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_divide(points.rows, kThreads));
  launch(draw_kernel, Grid{dim3(blocks), dim3(kThreads), 0, stream}, arguments, points,
         targets.data);
}

void draw(const std::vector<DrawArguments>& components, Rows points, Rows targets,
          cudaStream_t stream) {
  for (const DrawArguments& one : components) {
    draw(one, points, targets, stream);
    targets.data += targets.stride;
  }
}

KB_KERNEL(kThreads)
draw_bricks_kernel(const DrawArguments* bricks, int count, Rows points, float* targets) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= points.rows) return;
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (bricks[middle].first_row <= row ? low : high) = middle;
  }
  const DrawArguments& brick = bricks[low];
  float point[3];
  const float target = draw_row(brick, row - brick.first_row, point);
  for (int d = 0; d < 3; ++d) points.data[d * points.stride + row] = point[d];
  targets[row] = target;
}

void draw_bricks(const DrawArguments* bricks, int count, Rows points, Rows targets,
                 cudaStream_t stream) {
  if (points.rows == 0 || count == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_divide(points.rows, kThreads));
  launch(draw_bricks_kernel, Grid{dim3(blocks), dim3(kThreads), 0, stream}, bricks, count, points,
         targets.data);
}

bool VolumeTexture::fits(const VolumeView& volume) {
  const Shape n = volume.held.shape();
  return texture_units(volume.dtype).fits && std::max({n.x, n.y, n.z}) <= kMostTexels;
}

// Textures of signed integers read the lowest two as one number; of unsigned ones they do not.
template <class Word>
KB_KERNEL(kThreads)
shift_kernel(const Word* from, Word* to, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  constexpr int kSign = 1 << (8 * static_cast<int>(sizeof(Word)) - 1);
  if (i < count) to[i] = static_cast<Word>(from[i] ^ kSign);
}

namespace {

/// Copies `slices` z slices from `voxels` into `array` from slice `first` on.
void copy_slices(const void* voxels, const Shape& n, std::size_t bytes, std::int64_t first,
                 std::int64_t slices, cudaArray_t array, cudaStream_t stream) {
  const auto width = static_cast<std::size_t>(n.x), height = static_cast<std::size_t>(n.y);
  cudaMemcpy3DParms copy{};
  copy.srcPtr = make_cudaPitchedPtr(const_cast<void*>(voxels), width * bytes, width, height);
  copy.dstArray = array;
  copy.dstPos = make_cudaPos(0, 0, static_cast<std::size_t>(first));
  copy.extent = make_cudaExtent(width, height, static_cast<std::size_t>(slices));
  copy.kind = cudaMemcpyDeviceToDevice;
  checked(cudaMemcpy3DAsync(&copy, stream));
}

template <class Word>
void copy_shifted(const VolumeView& volume, cudaArray_t array, cudaStream_t stream) {
  const Shape n = volume.held.shape();
  const std::int64_t slice = n.x * n.y, bytes = static_cast<std::int64_t>(sizeof(Word));
  const std::int64_t most = std::clamp<std::int64_t>(kShiftBytes / (slice * bytes), 1, n.z);
  DeviceArray<Word> shifted;
  Word* const room = shifted.reserve(most * slice);
  for (std::int64_t z = 0; z < n.z; z += most) {
    const std::int64_t slices = std::min(most, n.z - z), count = slices * slice;
    const auto blocks = static_cast<unsigned>(ceil_divide(count, kThreads));
    launch(shift_kernel<Word>, Grid{dim3(blocks), dim3(kThreads), 0, stream},
           static_cast<const Word*>(volume.data) + z * slice, room, count);
    copy_slices(room, n, sizeof(Word), z, slices, array, stream);
  }
  checked(cudaStreamSynchronize(stream));
}

}  // namespace

VolumeTexture::VolumeTexture(const VolumeView& volume, cudaStream_t stream) {
  check(fits(volume), "a texture of a volume that cannot be one");
  const Shape n = volume.held.shape();
  const bool real = volume.dtype == Dtype::float32;
  const int bits = 8 * static_cast<int>(size_of(volume.dtype));
  const cudaChannelFormatDesc channel = cudaCreateChannelDesc(
      bits, 0, 0, 0, real ? cudaChannelFormatKindFloat : cudaChannelFormatKindUnsigned);
  cudaArray_t array = nullptr;
  checked(cudaMalloc3DArray(
      &array, &channel,
      make_cudaExtent(static_cast<std::size_t>(n.x), static_cast<std::size_t>(n.y),
                      static_cast<std::size_t>(n.z))));
  array_.reset(array);
  bytes_ = static_cast<std::size_t>(n.count()) * size_of(volume.dtype);
  memory_use().add(bytes_);
  if (volume.dtype == Dtype::int8)
    copy_shifted<std::uint8_t>(volume, array, stream);
  else if (volume.dtype == Dtype::int16)
    copy_shifted<std::uint16_t>(volume, array, stream);
  else
    copy_slices(volume.data, n, size_of(volume.dtype), 0, n.z, array, stream);
  cudaResourceDesc resource{};
  resource.resType = cudaResourceTypeArray;
  resource.res.array.array = array;
  cudaTextureDesc texture{};
  for (auto& mode : texture.addressMode) mode = cudaAddressModeClamp;
  texture.filterMode = cudaFilterModeLinear;
  texture.readMode = real ? cudaReadModeElementType : cudaReadModeNormalizedFloat;
  texture.normalizedCoords = 1;
  checked(cudaCreateTextureObject(&object_, &resource, &texture, nullptr));
}

VolumeTexture::~VolumeTexture() {
  if (object_) cudaDestroyTextureObject(object_);
  memory_use().used -= bytes_;
}

}  // namespace kanbench::cuda
