// Products of sampled columns and weights for one tile: 128 pixels by 64 output channels, 256 threads.
//
// `FloatTile` keeps 8 by 4 sums in the registers of each thread, `TensorTile` 32 by 32 in the tensor-core fragments of
// each warp. Both take columns and weights from shared memory, in steps of `kDepth` products a sum, and give the sums
// back there.
#pragma once

#include "device.h"
#include "tensor_cores.h"

namespace deblurrt {

constexpr int kTilePixels = 128;
constexpr int kTileOutputs = 64;
constexpr int kTileThreads = 256;
// four more, so that rows begin in different banks
constexpr int kSumStride = kTilePixels + 4;

struct FloatTile {
  static constexpr int kDepth = 16;

  struct Operands {
    Float4 columns[kDepth][kTilePixels / 4];
    Float4 weights[kDepth][kTileOutputs / 4 + 1];

    DEBLURRT_DEVICE void set_column(int depth, int pixel, float value) {
      columns[depth][pixel / 4].v[pixel % 4] = value;
    }
    DEBLURRT_DEVICE void set_weight(int depth, int output, float value) {
      weights[depth][output / 4].v[output % 4] = value;
    }
  };

  struct Sums {
    float v[8][4];
  };
  PerThread<Sums, kTileThreads> sums;

  DEBLURRT_DEVICE void clear_sums(const Block& block) {
    block.each([&](int thread) {
      DEBLURRT_UNROLL
      for (int pixel = 0; pixel < 8; ++pixel) {
        DEBLURRT_UNROLL
        for (int output = 0; output < 4; ++output) sums[thread].v[pixel][output] = 0;
      }
    });
  }

  DEBLURRT_DEVICE void add(const Block& block, const Operands& from) {
    block.each([&](int thread) {
      Sums& mine = sums[thread];
      const int across = thread % 16, down = thread / 16;
      DEBLURRT_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        const Float4 near = from.columns[depth][across], far = from.columns[depth][16 + across];
        const Float4 weights = from.weights[depth][down];
        DEBLURRT_UNROLL
        for (int pixel = 0; pixel < 4; ++pixel) {
          DEBLURRT_UNROLL
          for (int output = 0; output < 4; ++output) {
            mine.v[pixel][output] += near.v[pixel] * weights.v[output];
            mine.v[4 + pixel][output] += far.v[pixel] * weights.v[output];
          }
        }
      }
    });
  }

  DEBLURRT_DEVICE void give(const Block& block, float (&to)[kTileOutputs][kSumStride]) {
    block.each([&](int thread) {
      const int across = thread % 16, down = thread / 16;
      DEBLURRT_UNROLL
      for (int pixel = 0; pixel < 8; ++pixel) {
        DEBLURRT_UNROLL
        for (int output = 0; output < 4; ++output) {
          to[down * 4 + output][pixel / 4 * 64 + across * 4 + pixel % 4] = sums[thread].v[pixel][output];
        }
      }
    });
  }
};

struct TensorTile {
  static constexpr int kDepth = 32;
  static constexpr int kColumnStride = kTilePixels + 8, kWeightStride = kDepth + 8;

  struct alignas(32) Operands {
    Half columns[kDepth][kColumnStride];
    Half weights[kTileOutputs][kWeightStride];

    DEBLURRT_DEVICE void set_column(int depth, int pixel, float value) {
      columns[depth][pixel] = from_float<Half>(value);
    }
    DEBLURRT_DEVICE void set_weight(int depth, int output, float value) {
      weights[output][depth] = from_float<Half>(value);
    }
  };

  struct Sums {
    Product v[2][2];  // [pixels][outputs]
  };
  PerWarp<Sums, kTileThreads> sums;

  DEBLURRT_DEVICE void clear_sums(const Block& block) {
    block.each_warp([&](int warp) {
      for (int part = 0; part < 4; ++part) clear(sums[warp].v[part / 2][part % 2]);
    });
  }

  DEBLURRT_DEVICE void add(const Block& block, const Operands& from) {
    block.each_warp([&](int warp) {
      DEBLURRT_UNROLL
      for (int depth = 0; depth < kDepth; depth += kMatrix) {
        Factor columns[2];
        OtherFactor weights[2];
        DEBLURRT_UNROLL
        for (int part = 0; part < 2; ++part) {
          load(columns[part], &from.columns[depth][first_pixel(warp, part)], kColumnStride);
          load(weights[part], &from.weights[first_output(warp, part)][depth], kWeightStride);
        }
        DEBLURRT_UNROLL
        for (int part = 0; part < 4; ++part) {
          add_product(sums[warp].v[part / 2][part % 2], columns[part / 2], weights[part % 2]);
        }
      }
    });
  }

  DEBLURRT_DEVICE void give(const Block& block, float (&to)[kTileOutputs][kSumStride]) {
    block.each_warp([&](int warp) {
      DEBLURRT_UNROLL
      for (int part = 0; part < 4; ++part) {
        float* place = &to[first_output(warp, part % 2)][first_pixel(warp, part / 2)];
        store(sums[warp].v[part / 2][part % 2], place, kSumStride);
      }
    });
  }

 private:
  DEBLURRT_DEVICE static int first_pixel(int warp, int part) { return warp % 4 * 32 + part * kMatrix; }
  DEBLURRT_DEVICE static int first_output(int warp, int part) { return warp / 4 * 32 + part * kMatrix; }
};

}  // namespace deblurrt
