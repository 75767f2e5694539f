// Blocks, phases and half precision on the CPU: blocks one after the other, a phase as a loop over its threads.
//
// Threads of a phase may run in any order on a GPU. Here it can be turned round: results that then differ tell of a
// barrier that is missing. Shared memory begins as NaN, so that what nobody wrote is seen.
#pragma once

#include <math.h>
#include <string.h>

#include <atomic>
#include <bit>

#define DEBLURRT_DEVICE inline
#define DEBLURRT_ANYWHERE inline
#define DEBLURRT_UNROLL

namespace deblurrt {

struct Half {
  uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // exponents moved from 15 to 127 by a product, which is exact for subnormal numbers too
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

template <class T>
T from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
// Rounds to the nearest, ties to even, as __float2half_rn does.
template <>
inline Half from_float<Half>(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t rest = bits & 0x7fffffffu;
  uint32_t rounded;
  if (rest > 0x7f800000u) {
    rounded = 0x7fffu;
  } else if (rest >= 0x477ff000u) {  // 65520 and above
    rounded = 0x7c00u;
  } else if (rest < 0x38800000u) {  // subnormal: the sum leaves the last bit at 2^-24
    rounded = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000u;
  } else {
    rounded = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13;
  }
  return Half{static_cast<uint16_t>(sign | rounded)};
}

// The value where `yes` is 1, zero where it is 0.
inline float kept(float value, int yes) { return yes ? value : 0.0f; }

template <class T>
T read(const T* place) {
  return *place;
}

template <class T, int kThreads>
struct PerThread {
  T values[kThreads];
  T& operator[](int thread) { return values[thread]; }
};

template <class T, int kThreads>
struct PerWarp {
  T values[kThreads / kWarp];
  T& operator[](int warp) { return values[warp]; }
};

inline std::atomic<bool> threads_backwards{false};

struct Block {
  int64_t index;
  int threads;

  template <class Phase>
  void each(Phase&& phase) const {
    run(threads, phase);
  }
  template <class Phase>
  void each_warp(Phase&& phase) const {
    run(threads / kWarp, phase);
  }

 private:
  template <class Phase>
  static void run(int count, Phase& phase) {
    if (threads_backwards) {
      for (int thread = count - 1; thread >= 0; --thread) phase(thread);
    } else {
      for (int thread = 0; thread < count; ++thread) phase(thread);
    }
  }
};

template <class Kernel>
int32_t launch(const Kernel& kernel, int64_t blocks, int threads, void*) {
  typename Kernel::Shared shared;
  for (int64_t index = 0; index < blocks; ++index) {
    memset(&shared, 0xff, sizeof shared);
    kernel(Block{index, threads}, shared);
  }
  return DEBLURRT_OK;
}

}  // namespace deblurrt

// Whether the threads of every phase run from the last to the first; for tests.
extern "C" inline __attribute__((used)) void deblurrt_run_threads_backwards(int32_t yes) {
  deblurrt::threads_backwards = yes != 0;
}
