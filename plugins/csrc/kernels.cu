// The calls of kernels.h: what they accept, how much they work with, which kernels they start.
//
// nvcc compiles it for GPUs; as C++20 it runs on the CPU (device.h).
#include "kernels.h"

#include "deform_conv.h"
#include "pool_axis.h"
#include "pool_lines.h"

namespace deblurrt {
namespace {

bool has_type(int32_t type) { return type == DEBLURRT_FLOAT32 || type == DEBLURRT_FLOAT16; }

int64_t covered(int32_t kernel, int32_t dilation) { return static_cast<int64_t>(dilation) * (kernel - 1) + 1; }

bool fits_along(const DeblurrtDeformConv& call, int axis, int32_t side, int32_t out_side) {
  if (side < 1 || side > DEBLURRT_MOST_SIDE || out_side < 1 || call.kernel[axis] < 1 || call.stride[axis] < 1 || call.pad[axis] < 0 ||
      call.dilation[axis] < 1) {
    return false;
  }
  const int64_t spare = side + 2 * static_cast<int64_t>(call.pad[axis]) -
                        covered(call.kernel[axis], call.dilation[axis]);
  return spare >= 0 && spare / call.stride[axis] + 1 == out_side;
}

bool fits(const DeblurrtDeformConv& call) {
  constexpr int64_t kMost = 0x7fffffff;
  if (call.batch < 0 || call.in_channels < 1 || call.out_channels < 1) return false;
  if (call.groups < 1 || call.in_channels % call.groups || call.out_channels % call.groups) return false;
  if (call.offset_groups < 1 || call.in_channels % call.offset_groups) return false;
  const int64_t taps = static_cast<int64_t>(call.kernel[0]) * call.kernel[1];
  // columns of a group are counted in 32 bits, with room for the last step beyond them
  if (taps > kMost || taps * call.in_channels > kMost - 64) return false;
  return fits_along(call, 0, call.height, call.out_height) && fits_along(call, 1, call.width, call.out_width);
}

template <class T, class Tile>
int32_t convolve(const DeblurrtDeformConv& call, const void* x, const void* offset, const void* mask,
                 const void* weight, const void* bias, void* y, void* stream) {
  const auto typed = [](const void* tensor) { return static_cast<const T*>(tensor); };
  const DeformConv<T, Tile> kernel{
      call, {typed(x), typed(offset), typed(mask), typed(weight), typed(bias), static_cast<T*>(y)}};
  return launch(kernel, kernel.blocks(), kTileThreads, stream);
}

bool fits(const DeblurrtLocalAvgPool& call) {
  return call.maps >= 0 && call.height >= 1 && call.width >= 1 && call.window[0] >= 1 && call.window[1] >= 1;
}

PoolAxis axis_of(const DeblurrtLocalAvgPool& call, int axis, int64_t maps) {
  const int64_t height = call.height, width = call.width;
  PoolAxis along = axis ? PoolAxis{maps * height, maps * height, 0, width, 1, 0, 0, 0}
                        : PoolAxis{maps * width, width, height * width, 1, width, 0, 0, 0};
  along.length = axis ? call.width : call.height;
  along.reach = smaller(along.length, call.window[axis]);
  along.before = (along.reach - 1) / 2;
  return along;
}

constexpr int kShortest = 16, kLongest = 512;

bool needs_tails(const DeblurrtLocalAvgPool& call) {
  return smaller(call.height, call.window[0]) > kLongest || smaller(call.width, call.window[1]) > kLongest;
}

// Bytes of the workspace, unless one map needs more: bounded, and enough that a pass fills a large GPU.
constexpr int64_t kWorkspace = 64 << 20;

int64_t map_bytes(const DeblurrtLocalAvgPool& call) {
  return static_cast<int64_t>(sizeof(float)) * call.height * call.width;
}

// Values between the passes, and with them the tails.
int64_t copies(const DeblurrtLocalAvgPool& call) { return needs_tails(call) ? 2 : 1; }

// Maps done at once: those that fit, or one; about as many each time, for the last passes shall fill a GPU too.
int64_t maps_at_once(const DeblurrtLocalAvgPool& call) {
  const int64_t fitting = kWorkspace / copies(call) / map_bytes(call);
  return divide_up<int64_t>(call.maps, divide_up<int64_t>(call.maps, fitting < 1 ? 1 : fitting));
}

template <bool kAlongRows, class In, class Out>
int32_t pass(const PoolAxis& axis, const In* from, float* tails, Out* to, void* stream) {
  if (axis.reach < kShortest) {
    const ShortWindows<In, Out> kernel{axis, axis.lines * axis.length, from, to};
    return launch(kernel, kernel.blocks(), kernel.kThreads, stream);
  }
  if (axis.reach > kLongest) {
    const EndlessWindows<In, Out> kernel{axis, from, tails, to};
    return launch(kernel, kernel.blocks(), kernel.kThreads, stream);
  }
  constexpr int kFewChunks = 8, kManyChunks = 32;
  using Usual = LongWindows<In, Out, kAlongRows, kFewChunks>;
  using Longest = LongWindows<In, Out, kAlongRows, kManyChunks>;
  static_assert(Longest::kMost == kLongest);
  if (axis.reach <= Usual::kMost) {
    const Usual kernel(axis, from, to);
    return launch(kernel, kernel.blocks(), kernel.threads(), stream);
  }
  const Longest kernel(axis, from, to);
  return launch(kernel, kernel.blocks(), kernel.threads(), stream);
}

template <class T>
int32_t pool(const DeblurrtLocalAvgPool& call, const T* x, T* y, float* between, void* stream) {
  const int64_t map_size = static_cast<int64_t>(call.height) * call.width;
  const int64_t at_once = maps_at_once(call);
  for (int64_t first = 0; first < call.maps; first += at_once) {
    const int64_t maps = smaller(at_once, call.maps - first);
    float* tails = between + at_once * map_size;
    int32_t code = pass<false>(axis_of(call, 0, maps), x + first * map_size, tails, between, stream);
    if (code != DEBLURRT_OK) return code;
    code = pass<true>(axis_of(call, 1, maps), static_cast<const float*>(between), tails, y + first * map_size, stream);
    if (code != DEBLURRT_OK) return code;
  }
  return DEBLURRT_OK;
}

}  // namespace
}  // namespace deblurrt

using namespace deblurrt;

extern "C" size_t deblurrt_deform_conv_workspace(const DeblurrtDeformConv*) { return 0; }

extern "C" int32_t deblurrt_deform_conv(const DeblurrtDeformConv* call, const void* x, const void* offset,
                                        const void* mask, const void* weight, const void* bias, void* y, void*, size_t,
                                        void* stream) {
  if (!has_type(call->type)) return DEBLURRT_BAD_TYPE;
  if (!fits(*call)) return DEBLURRT_BAD_SHAPE;
  if (call->batch == 0) return DEBLURRT_OK;
  if (call->type == DEBLURRT_FLOAT32) {
    return convolve<float, FloatTile>(*call, x, offset, mask, weight, bias, y, stream);
  }
  // tensor cores would multiply mostly zeros where a group has few output channels, as depthwise ones
  if (call->out_channels / call->groups < kMatrix / 2) {
    return convolve<Half, FloatTile>(*call, x, offset, mask, weight, bias, y, stream);
  }
  return convolve<Half, TensorTile>(*call, x, offset, mask, weight, bias, y, stream);
}

extern "C" size_t deblurrt_local_avg_pool_workspace(const DeblurrtLocalAvgPool* call) {
  if (!fits(*call)) return 0;
  const int64_t map = map_bytes(*call), room = kWorkspace / copies(*call);
  // all that smaller maps could fill, and not what these do: it must not fall when sizes grow
  const int64_t most = map > room ? map : room;
  const int64_t bytes = call->maps < most / map ? call->maps * map : most;
  return static_cast<size_t>(bytes * copies(*call));
}

extern "C" int32_t deblurrt_local_avg_pool(const DeblurrtLocalAvgPool* call, const void* x, void* y, void* workspace,
                                           size_t workspace_bytes, void* stream) {
  if (!has_type(call->type)) return DEBLURRT_BAD_TYPE;
  if (!fits(*call)) return DEBLURRT_BAD_SHAPE;
  if (call->maps == 0) return DEBLURRT_OK;
  if (workspace_bytes < deblurrt_local_avg_pool_workspace(call)) return DEBLURRT_SMALL_WORKSPACE;
  float* between = static_cast<float*>(workspace);
  if (call->type == DEBLURRT_FLOAT32) {
    return pool(*call, static_cast<const float*>(x), static_cast<float*>(y), between, stream);
  }
  return pool(*call, static_cast<const Half*>(x), static_cast<Half*>(y), between, stream);
}

extern "C" const char* deblurrt_error(int32_t code) {
  switch (code) {
    case DEBLURRT_OK:
      return "no error";
    case DEBLURRT_BAD_SHAPE:
      return "the shapes do not fit each other or the settings";
    case DEBLURRT_BAD_TYPE:
      return "neither float32 nor float16";
    case DEBLURRT_SMALL_WORKSPACE:
      return "the workspace is smaller than asked for";
    default:
#ifdef __CUDACC__
      return cudaGetErrorString(static_cast<cudaError_t>(code));
#else
      return "unknown error";
#endif
  }
}
