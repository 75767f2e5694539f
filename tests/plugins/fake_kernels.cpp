// Stands in for the kernels: says what it was called with, one line of JSON on stdout each.
#include <cstdio>

#include "kernels.h"

static void say(const char* name, const void* call, size_t bytes, const void* const* pointers, size_t count) {
  std::printf("{\"kernel\": \"%s\", \"call\": [", name);
  for (size_t index = 0; index < bytes / sizeof(int32_t); ++index) {
    std::printf("%s%d", index ? ", " : "", static_cast<const int32_t*>(call)[index]);
  }
  std::printf("], \"pointers\": [");
  for (size_t index = 0; index < count; ++index) {
    std::printf("%s%zu", index ? ", " : "", reinterpret_cast<size_t>(pointers[index]));
  }
  std::printf("]}\n");
}

extern "C" {

size_t deblurrt_deform_conv_workspace(const DeblurrtDeformConv* call) {
  return 16 * static_cast<size_t>(call->out_height) * static_cast<size_t>(call->out_width);
}

int32_t deblurrt_deform_conv(const DeblurrtDeformConv* call, const void* x, const void* offset, const void* mask,
                             const void* weight, const void* bias, void* y, void* workspace, size_t workspace_bytes,
                             void* stream) {
  const void* pointers[] = {x, offset, mask, weight, bias, y, workspace, reinterpret_cast<void*>(workspace_bytes), stream};
  say("deform_conv", call, sizeof(*call), pointers, 9);
  return DEBLURRT_OK;
}

size_t deblurrt_local_avg_pool_workspace(const DeblurrtLocalAvgPool* call) {
  return 4 * static_cast<size_t>(call->maps) * static_cast<size_t>(call->height) * static_cast<size_t>(call->width);
}

int32_t deblurrt_local_avg_pool(const DeblurrtLocalAvgPool* call, const void* x, void* y, void* workspace,
                                size_t workspace_bytes, void* stream) {
  const void* pointers[] = {x, y, workspace, reinterpret_cast<void*>(workspace_bytes), stream};
  say("local_avg_pool", call, sizeof(*call), pointers, 5);
  return DEBLURRT_SMALL_WORKSPACE;
}

const char* deblurrt_error(int32_t code) { return code == DEBLURRT_SMALL_WORKSPACE ? "the workspace is small" : "?"; }
}
