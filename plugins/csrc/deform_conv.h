// Modulated deformable convolution in one kernel: columns are sampled into shared memory and never leave it.
//
// A block owns 128 pixels and 64 output channels of one image and group. For the channels that share offsets it works
// out once where each tap looks and with which factor, then samples them and multiplies, `kDepth` columns at a time.
#pragma once

#include "deform_tile.h"

namespace deblurrt {

// taps whose places are in shared memory at once; larger kernels take several rounds
constexpr int kTaps = 9;

template <class T>
struct DeformTensors {
  const T *x, *offset, *mask, *weight, *bias;
  T* y;
};

// Where a tap looks for a pixel: four neighbours, of which those beyond the map are others inside it that do not count.
struct Corners {
  Float4 shares;   // top left, top right, bottom left, bottom right
  int64_t packed;  // index of top left in the map times 64, bits for one to the right, one down, each that counts
  float factor;    // of the mask; NaN and infinity count also where no corner does
};
constexpr int kStepRight = 16, kStepDown = 32, kPacked = 64;

// All four are read, come what may: loads that hang on nothing overlap.
template <class T>
DEBLURRT_DEVICE float sample(const T* map, const Corners& at, int width) {
  const int flags = static_cast<int>(at.packed % kPacked);
  const T* top = map + at.packed / kPacked;
  const T* bottom = top + (flags & kStepDown ? width : 0);
  const int right = flags & kStepRight ? 1 : 0;
  const float values[4] = {to_float(read(top)), to_float(read(top + right)), to_float(read(bottom)),
                           to_float(read(bottom + right))};
  float sum = 0;
  DEBLURRT_UNROLL
  for (int corner = 0; corner < 4; ++corner) {
    // not by a share of zero: there may be NaN where nothing counts
    sum += at.shares.v[corner] * kept(values[corner], flags >> corner & 1);
  }
  return sum * at.factor;
}

// Where a tap begins and how far its offset moves it from there.
struct Reach {
  int64_t start;
  float shift;
};

// A place beyond the map by a pixel or more, or none at all, has no corner; comparisons with NaN are false.
DEBLURRT_DEVICE bool is_near(const Reach& reach, int side) {
  const float place = static_cast<float>(reach.start) + reach.shift;
  return place > -1 && place < static_cast<float>(side);
}

// Shares come from the offset alone, so that they are as exact at the end of a wide map as at its start.
DEBLURRT_DEVICE Corners corners_of(const Reach& y, const Reach& x, float factor, int height, int width) {
  Corners found{};
  found.factor = factor;
  if (!is_near(y, height) || !is_near(x, width)) return found;
  const float top = floorf(y.shift), left = floorf(x.shift);
  const int64_t row = y.start + static_cast<int64_t>(top), column = x.start + static_cast<int64_t>(left);
  const float down = y.shift - top, right = x.shift - left;
  const int in_top = row >= 0 && row < height, in_bottom = row >= -1 && row + 1 < height;
  const int in_left = column >= 0 && column < width, in_right = column >= -1 && column + 1 < width;
  found.shares.v[0] = (1 - down) * (1 - right);
  found.shares.v[1] = (1 - down) * right;
  found.shares.v[2] = down * (1 - right);
  found.shares.v[3] = down * right;
  const int inside = (in_top & in_left) | (in_top & in_right) << 1 | (in_bottom & in_left) << 2 |
                     (in_bottom & in_right) << 3;
  const int steps = (in_left & in_right ? kStepRight : 0) | (in_top & in_bottom ? kStepDown : 0);
  found.packed = ((in_top ? row : row + 1) * width + (in_left ? column : column + 1)) * kPacked + steps + inside;
  return found;
}

template <class T, class Tile>
struct DeformConv {
  // two, so that one samples while the other multiplies
  static constexpr int kThreads = kTileThreads, kTogether = 2;
  static constexpr int kDepth = Tile::kDepth;

  struct Columns {
    Float4 shares[kTaps][kTilePixels];
    int64_t packed[kTaps][kTilePixels];
    float factors[kTaps][kTilePixels];
    typename Tile::Operands operands;

    DEBLURRT_DEVICE Corners corners(int tap, int pixel) const {
      return {shares[tap][pixel], packed[tap][pixel], factors[tap][pixel]};
    }
  };
  union Shared {
    Columns columns;
    alignas(32) float sums[kTileOutputs][kSumStride];
  };

  // What a block works on.
  struct Place {
    int64_t image, first_pixel;
    int pixels, group, first_output, outputs;
  };
  // Channels with common offsets, and some of the taps.
  struct Part {
    int first_channel, channels, first_tap, taps;
  };

  DeblurrtDeformConv call;
  DeformTensors<T> tensors;

  DEBLURRT_ANYWHERE int64_t pixels() const { return static_cast<int64_t>(call.out_height) * call.out_width; }
  DEBLURRT_ANYWHERE int taps() const { return call.kernel[0] * call.kernel[1]; }
  DEBLURRT_ANYWHERE int group_inputs() const { return call.in_channels / call.groups; }
  DEBLURRT_ANYWHERE int group_outputs() const { return call.out_channels / call.groups; }
  DEBLURRT_ANYWHERE int64_t blocks() const {
    return divide_up<int64_t>(pixels(), kTilePixels) * divide_up(group_outputs(), kTileOutputs) * call.groups *
           call.batch;
  }

  DEBLURRT_DEVICE void operator()(const Block& block, Shared& shared) const {
    const Place at = place_of(block.index);
    const int sharing = call.in_channels / call.offset_groups;
    const int end = (at.group + 1) * group_inputs();
    Tile tile;
    tile.clear_sums(block);
    for (int channel = at.group * group_inputs(); channel < end;) {
      const int next = smaller(end, (channel / sharing + 1) * sharing);
      for (int tap = 0; tap < taps(); tap += kTaps) {
        const Part part{channel, next - channel, tap, smaller(kTaps, taps() - tap)};
        find_corners(block, shared.columns, at, part);
        for (int depth = 0; depth < part.channels * part.taps; depth += kDepth) {
          fill(block, shared.columns, at, part, depth);
          tile.add(block, shared.columns.operands);
        }
      }
      channel = next;
    }
    tile.give(block, shared.sums);
    write(block, shared, at);
  }

 private:
  DEBLURRT_DEVICE Place place_of(int64_t index) const {
    const int64_t tiles = divide_up<int64_t>(pixels(), kTilePixels);
    const int output_tiles = divide_up(group_outputs(), kTileOutputs);
    Place at;
    at.first_pixel = index % tiles * kTilePixels;
    index /= tiles;
    at.first_output = static_cast<int>(index % output_tiles) * kTileOutputs;
    index /= output_tiles;
    at.group = static_cast<int>(index % call.groups);
    at.image = index / call.groups;
    at.pixels = static_cast<int>(smaller<int64_t>(kTilePixels, pixels() - at.first_pixel));
    at.outputs = smaller(kTileOutputs, group_outputs() - at.first_output);
    return at;
  }

  DEBLURRT_DEVICE void find_corners(const Block& block, Columns& shared, const Place& at, const Part& part) const {
    const int offset_group = part.first_channel / (call.in_channels / call.offset_groups);
    const int64_t first = (at.image * call.offset_groups + offset_group) * taps() + part.first_tap;
    block.each([&](int thread) {
      const int pixel = thread % kTilePixels;
      const int64_t place = at.first_pixel + pixel;
      const int row = static_cast<int>(place / call.out_width), column = static_cast<int>(place % call.out_width);
      for (int tap = thread / kTilePixels; tap < part.taps; tap += kThreads / kTilePixels) {
        Corners found{};
        if (pixel < at.pixels) {
          const T* shift = tensors.offset + (first + tap) * 2 * pixels() + place;
          const int down = (part.first_tap + tap) / call.kernel[1], across = (part.first_tap + tap) % call.kernel[1];
          const int64_t y = static_cast<int64_t>(row) * call.stride[0] - call.pad[0] +
                            static_cast<int64_t>(down) * call.dilation[0];
          const int64_t x = static_cast<int64_t>(column) * call.stride[1] - call.pad[1] +
                            static_cast<int64_t>(across) * call.dilation[1];
          found = corners_of({y, to_float(read(shift))}, {x, to_float(read(shift + pixels()))},
                             to_float(read(tensors.mask + (first + tap) * pixels() + place)), call.height, call.width);
        }
        shared.shares[tap][pixel] = found.shares;
        shared.packed[tap][pixel] = found.packed;
        shared.factors[tap][pixel] = found.factor;
      }
    });
  }

  // Columns run through the channels of one tap first: what a thread knows of a tap serves all of them.
  DEBLURRT_DEVICE void fill(const Block& block, Columns& shared, const Place& at, const Part& part, int depth) const {
    constexpr int kEach = kDepth / (kThreads / kTilePixels), kBatch = 8;
    const int columns = part.channels * part.taps;
    const int64_t map_size = static_cast<int64_t>(call.height) * call.width;
    const T* maps = tensors.x + (at.image * call.in_channels + part.first_channel) * map_size;
    block.each([&](int thread) {
      const int pixel = thread % kTilePixels, first = thread / kTilePixels * kEach;
      for (int row = first; row < first + kEach; row += kBatch) {
        const int column = depth + row, channel = column % part.channels;
        if (column < columns && channel + kBatch <= part.channels) {
          const Corners corners = shared.corners(column / part.channels, pixel);
          DEBLURRT_UNROLL
          for (int each = 0; each < kBatch; ++each) {
            const float value = sample(maps + (channel + each) * map_size, corners, call.width);
            shared.operands.set_column(row + each, pixel, value);
          }
        } else {
          for (int each = 0; each < kBatch; ++each) {
            float value = 0;
            if (column + each < columns) {
              const Corners corners = shared.corners((column + each) / part.channels, pixel);
              value = sample(maps + (column + each) % part.channels * map_size, corners, call.width);
            }
            shared.operands.set_column(row + each, pixel, value);
          }
        }
      }
      fill_weights(shared, at, part, depth, thread);
    });
  }

  DEBLURRT_DEVICE void fill_weights(Columns& shared, const Place& at, const Part& part, int depth, int thread) const {
    const int each = thread % kDepth, column = depth + each;
    const int tap = column / part.channels, channel = column % part.channels;
    const bool is_there = column < part.channels * part.taps;
    const int64_t first = static_cast<int64_t>(at.group) * group_outputs() + at.first_output;
    const int64_t within = static_cast<int64_t>(part.first_channel - at.group * group_inputs() + channel) * taps() +
                           part.first_tap + tap;
    DEBLURRT_UNROLL
    for (int output = thread / kDepth; output < kTileOutputs; output += kThreads / kDepth) {
      float value = 0;
      if (is_there && output < at.outputs) {
        value = to_float(read(tensors.weight + (first + output) * group_inputs() * taps() + within));
      }
      shared.operands.set_weight(each, output, value);
    }
  }

  DEBLURRT_DEVICE void write(const Block& block, const Shared& shared, const Place& at) const {
    const int64_t first = static_cast<int64_t>(at.group) * group_outputs() + at.first_output;
    block.each([&](int thread) {
      const int pixel = thread % kTilePixels;
      if (pixel >= at.pixels) return;
      for (int output = thread / kTilePixels; output < at.outputs; output += kThreads / kTilePixels) {
        float sum = shared.sums[output][pixel];
        if (tensors.bias) sum += to_float(read(tensors.bias + first + output));
        tensors.y[(at.image * call.out_channels + first + output) * pixels() + at.first_pixel + pixel] =
            from_float<T>(sum);
      }
    });
  }
};

}  // namespace deblurrt
