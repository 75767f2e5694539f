// What kernels are written with: blocks, phases of threads, shared memory, half precision; on CUDA and on the CPU.
//
// A kernel is a class with `Shared` (its shared memory), `kThreads` (the most threads of a block), `kTogether` (how many
// blocks of so many threads shall fit a multiprocessor, for the registers) and `operator()(Block, Shared&)`. Its body is
// a sequence of phases: `block.each` runs one for every thread, and all of them have ended before the next begins. What
// a thread keeps from phase to phase is a `PerThread`, what a warp keeps a `PerWarp`. That is all a CPU needs to run the
// same source: a phase becomes a loop.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

namespace deblurrt {

constexpr int kWarp = 32;

// Four floats that are read and written at once; must lie at a multiple of 16 bytes.
struct alignas(16) Float4 {
  float v[4];
};

}  // namespace deblurrt

#ifdef __CUDACC__
#include "device_cuda.h"
#else
#include "device_cpu.h"
#endif

namespace deblurrt {

// Rounds up.
template <class Whole>
DEBLURRT_ANYWHERE Whole divide_up(Whole count, Whole size) {
  return (count + size - 1) / size;
}

template <class Whole>
DEBLURRT_ANYWHERE Whole smaller(Whole one, Whole other) {
  return one < other ? one : other;
}

}  // namespace deblurrt
