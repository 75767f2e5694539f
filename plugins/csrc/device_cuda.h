// Blocks, phases and half precision on CUDA.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DEBLURRT_DEVICE __device__ __forceinline__
#define DEBLURRT_ANYWHERE __host__ __device__ __forceinline__
#define DEBLURRT_UNROLL _Pragma("unroll")

namespace deblurrt {

using Half = __half;

DEBLURRT_DEVICE float to_float(float value) { return value; }
DEBLURRT_DEVICE float to_float(Half value) { return __half2float(value); }
template <class T>
DEBLURRT_DEVICE T from_float(float value);
template <>
DEBLURRT_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
DEBLURRT_DEVICE Half from_float<Half>(float value) {
  return __float2half_rn(value);
}

// The value where `yes` is 1, zero where it is 0: by bits, so that no branch is made round the read of the value.
DEBLURRT_DEVICE float kept(float value, int yes) { return __int_as_float(__float_as_int(value) & -yes); }

// Reads through the cache for data no kernel of the launch writes.
template <class T>
DEBLURRT_DEVICE T read(const T* place) {
  return __ldg(place);
}

template <class T, int kThreads>
struct PerThread {
  T value;
  DEBLURRT_DEVICE T& operator[](int) { return value; }
};

template <class T, int kThreads>
using PerWarp = PerThread<T, kThreads>;

struct Block {
  int64_t index;
  int threads;

  template <class Phase>
  DEBLURRT_DEVICE void each(Phase&& phase) const {
    phase(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  template <class Phase>
  DEBLURRT_DEVICE void each_warp(Phase&& phase) const {
    phase(static_cast<int>(threadIdx.x) / kWarp);
    __syncthreads();
  }
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kTogether) run(const Kernel kernel, int64_t blocks) {
  __shared__ typename Kernel::Shared shared;
  for (int64_t index = blockIdx.x; index < blocks; index += gridDim.x) {
    kernel(Block{index, static_cast<int>(blockDim.x)}, shared);
  }
}

// Puts `blocks` blocks on the stream; returns zero or an error code of CUDA.
template <class Kernel>
int32_t launch(const Kernel& kernel, int64_t blocks, int threads, void* stream) {
  constexpr int64_t kMostBlocks = 0x7fffffff;
  void* arguments[] = {const_cast<Kernel*>(&kernel), &blocks};
  const dim3 grid(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks));
  return cudaLaunchKernel(reinterpret_cast<const void*>(run<Kernel>), grid, dim3(threads), arguments, 0,
                          static_cast<cudaStream_t>(stream));
}

}  // namespace deblurrt
