// Products of 16 by 16 matrices by a warp: tensor cores on CUDA, loops on the CPU.
//
// Matrices lie column by column, `stride` elements from one column to the next; half precision in, float32 sums.
#pragma once

#include "device.h"

#ifdef __CUDACC__
#include <mma.h>
#endif

namespace deblurrt {

constexpr int kMatrix = 16;

#ifdef __CUDACC__

struct Factor {  // left
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kMatrix, kMatrix, kMatrix, Half, nvcuda::wmma::col_major> part;
};
struct OtherFactor {  // right
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, kMatrix, kMatrix, kMatrix, Half, nvcuda::wmma::col_major> part;
};
struct Product {
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kMatrix, kMatrix, kMatrix, float> part;
};

template <class AnyFactor>
DEBLURRT_DEVICE void load(AnyFactor& factor, const Half* place, int stride) {
  nvcuda::wmma::load_matrix_sync(factor.part, place, stride);
}
DEBLURRT_DEVICE void clear(Product& product) { nvcuda::wmma::fill_fragment(product.part, 0.0f); }
DEBLURRT_DEVICE void add_product(Product& product, const Factor& factor, const OtherFactor& other) {
  nvcuda::wmma::mma_sync(product.part, factor.part, other.part, product.part);
}
DEBLURRT_DEVICE void store(const Product& product, float* place, int stride) {
  nvcuda::wmma::store_matrix_sync(place, product.part, stride, nvcuda::wmma::mem_col_major);
}

#else

struct Factor {
  float part[kMatrix][kMatrix];  // [column][row]
};
using OtherFactor = Factor;
using Product = Factor;

inline void load(Factor& factor, const Half* place, int stride) {
  for (int column = 0; column < kMatrix; ++column) {
    for (int row = 0; row < kMatrix; ++row) factor.part[column][row] = to_float(place[column * stride + row]);
  }
}
inline void clear(Product& product) { product = {}; }
inline void add_product(Product& product, const Factor& factor, const OtherFactor& other) {
  for (int column = 0; column < kMatrix; ++column) {
    for (int inner = 0; inner < kMatrix; ++inner) {
      for (int row = 0; row < kMatrix; ++row) {
        product.part[column][row] += factor.part[inner][row] * other.part[column][inner];
      }
    }
  }
}
inline void store(const Product& product, float* place, int stride) {
  for (int column = 0; column < kMatrix; ++column) {
    for (int row = 0; row < kMatrix; ++row) place[column * stride + row] = product.part[column][row];
  }
}

#endif

}  // namespace deblurrt
