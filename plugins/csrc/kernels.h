// The kernels of our operators as a C interface: one for the CUDA build and for the build that runs on the CPU.
//
// Nothing here allocates, waits or keeps state: calls only put work on the stream, from any thread, also while the
// stream is being captured. All tensors are dense and in the order of their axes. Pointers need the alignment of their
// element and no more; the workspace needs 16 bytes and belongs to the call until the stream has passed it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Type of every tensor of a call; sums and coordinates are always float32.
enum { DEBLURRT_FLOAT32 = 0, DEBLURRT_FLOAT16 = 1 };

// A convolution's map is no higher and no wider: places are float32, which counts every pixel up to here.
enum { DEBLURRT_MOST_SIDE = 1 << 24 };

// What calls return when it is no error code of CUDA, which are positive.
enum { DEBLURRT_OK = 0, DEBLURRT_BAD_SHAPE = -1, DEBLURRT_BAD_TYPE = -2, DEBLURRT_SMALL_WORKSPACE = -3 };

// Modulated deformable convolution (DCNv2); pairs are vertical, horizontal, in pixels.
//   x       [batch, in_channels, height, width]
//   offset  [batch, offset_groups * 2 * taps, out_height, out_width], vertical then horizontal for each tap
//   mask    [batch, offset_groups * taps, out_height, out_width]
//   weight  [out_channels, in_channels / groups, kernel[0], kernel[1]]
//   bias    [out_channels], or null
//   y       [batch, out_channels, out_height, out_width]
typedef struct {
  int32_t type;
  int32_t batch, in_channels, height, width;
  int32_t out_channels, out_height, out_width;
  int32_t kernel[2], stride[2], pad[2], dilation[2];
  int32_t groups, offset_groups;
} DeblurrtDeformConv;

// Bytes a call works with; no fewer when sizes grow, so that those of the largest shapes do for all. Here 0, whatever
// the sizes.
size_t deblurrt_deform_conv_workspace(const DeblurrtDeformConv* call);

int32_t deblurrt_deform_conv(const DeblurrtDeformConv* call, const void* x, const void* offset, const void* mask,
                             const void* weight, const void* bias, void* y, void* workspace, size_t workspace_bytes,
                             void* stream);

// Mean of the window around every pixel, moved inward at the borders; maps are the product of batch and channels.
//   x, y    [maps, height, width]
typedef struct {
  int32_t type;
  int32_t maps, height, width;
  int32_t window[2];
} DeblurrtLocalAvgPool;

// As for the convolution, but at most the larger of 64 MiB and one map in float32, two for windows above 512.
size_t deblurrt_local_avg_pool_workspace(const DeblurrtLocalAvgPool* call);

int32_t deblurrt_local_avg_pool(const DeblurrtLocalAvgPool* call, const void* x, void* y, void* workspace,
                                size_t workspace_bytes, void* stream);

// What a returned code means; lives for ever.
const char* deblurrt_error(int32_t code);

#ifdef __cplusplus
}
#endif
