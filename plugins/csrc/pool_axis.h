// One pass of the local mean: how windows of one axis lie, and the passes for short and for very long windows.
//
// A line is the samples of one map along the axis. A window of `reach` samples begins at `start`; its mean belongs to
// the place `before` samples further on, and the outermost means are repeated up to the border.
#pragma once

#include "device.h"

namespace deblurrt {

struct PoolAxis {
  int64_t lines;          // in all
  int64_t lines_of_map;   // lines next to each other; the next map begins `map_stride` further on
  int64_t map_stride, line_stride, stride;  // elements: between maps, between lines, between samples of a line
  int length, reach, before;

  DEBLURRT_ANYWHERE int starts() const { return length - reach + 1; }
  DEBLURRT_ANYWHERE int64_t parts() const { return divide_up(starts(), reach); }
  DEBLURRT_ANYWHERE int64_t first_of(int64_t line) const {
    return line / lines_of_map * map_stride + line % lines_of_map * line_stride;
  }
};

// Adds up every window: for windows so short that nothing is gained by sharing sums.
template <class In, class Out>
struct ShortWindows {
  static constexpr int kThreads = 256, kTogether = 2;
  struct Shared {};

  PoolAxis axis;
  int64_t count;
  const In* from;
  Out* to;

  DEBLURRT_ANYWHERE int64_t blocks() const { return divide_up<int64_t>(count, kThreads); }

  DEBLURRT_DEVICE void operator()(const Block& block, Shared&) const {
    block.each([&](int thread) {
      const int64_t index = block.index * kThreads + thread;
      if (index >= count) return;
      const int place = static_cast<int>(index / axis.stride % axis.length);
      int start = place - axis.before;
      if (start < 0) start = 0;
      if (start >= axis.starts()) start = axis.starts() - 1;
      const In* sample = from + index + (start - place) * axis.stride;
      float sum = 0;
      for (int each = 0; each < axis.reach; ++each) sum += to_float(read(sample + each * axis.stride));
      to[index] = from_float<Out>(sum / static_cast<float>(axis.reach));
    });
  }
};

// Windows too long for the registers of a block, as LongWindows (pool_lines.h) but by way of `tails` in memory.
template <class In, class Out>
struct EndlessWindows {
  static constexpr int kLines = 32, kChunks = 16, kThreads = kLines * kChunks, kTogether = 1;
  struct Shared {
    float early[kChunks][kLines], late[kChunks][kLines], edge[2][kLines];
  };

  PoolAxis axis;
  const In* from;
  float* tails;  // as large as `to`
  Out* to;

  DEBLURRT_ANYWHERE int64_t blocks() const { return divide_up<int64_t>(axis.lines, kLines) * axis.parts(); }

  DEBLURRT_DEVICE void operator()(const Block& block, Shared& shared) const {
    const int64_t first_line = block.index / axis.parts() * kLines;
    const int64_t part = block.index % axis.parts() * axis.reach;
    const int chunk_size = divide_up(axis.reach, kChunks);
    block.each([&](int thread) {
      const int line = thread % kLines, chunk = thread / kLines;
      float early = 0, late = 0;
      if (first_line + line < axis.lines) {
        const In* samples = from + axis.first_of(first_line + line);
        for (int each = chunk * chunk_size; each < end_of(chunk, chunk_size); ++each) {
          early += sample(samples, part + each);
          late += sample(samples, part + axis.reach + each);
        }
      }
      shared.early[chunk][line] = early;
      shared.late[chunk][line] = late;
    });
    block.each([&](int thread) {
      const int line = thread % kLines, chunk = thread / kLines;
      if (first_line + line >= axis.lines) return;
      const int64_t origin = axis.first_of(first_line + line);
      const int first = chunk * chunk_size, end = end_of(chunk, chunk_size);
      float tail = 0, head = 0;
      for (int other = kChunks - 1; other > chunk; --other) tail += shared.early[other][line];
      for (int other = 0; other < chunk; ++other) head += shared.late[other][line];
      for (int each = end - 1; each >= first; --each) {
        tail += sample(from + origin, part + each);
        if (part + each < axis.starts()) tails[origin + (part + each) * axis.stride] = tail;
      }
      for (int each = first; each < end && part + each < axis.starts(); ++each) {
        const int64_t start = part + each;
        const float mean = (tails[origin + start * axis.stride] + head) / static_cast<float>(axis.reach);
        head += sample(from + origin, start + axis.reach);
        to[origin + (start + axis.before) * axis.stride] = from_float<Out>(mean);
        if (start == 0) shared.edge[0][line] = mean;
        if (start == axis.starts() - 1) shared.edge[1][line] = mean;
      }
    });
    block.each([&](int thread) {
      const int line = thread % kLines;
      if (first_line + line >= axis.lines) return;
      Out* places = to + axis.first_of(first_line + line);
      if (part == 0) repeat(places, 0, axis.before, shared.edge[0][line], thread / kLines);
      if (part + axis.reach >= axis.starts()) {
        repeat(places, axis.before + axis.starts(), axis.length, shared.edge[1][line], thread / kLines);
      }
    });
  }

 private:
  DEBLURRT_DEVICE int end_of(int chunk, int chunk_size) const { return smaller(axis.reach, (chunk + 1) * chunk_size); }
  DEBLURRT_DEVICE float sample(const In* samples, int64_t place) const {
    return place < axis.length ? to_float(read(samples + place * axis.stride)) : 0.0f;
  }
  DEBLURRT_DEVICE void repeat(Out* places, int first, int end, float mean, int chunk) const {
    for (int place = first + chunk; place < end; place += kChunks) {
      places[place * axis.stride] = from_float<Out>(mean);
    }
  }
};

}  // namespace deblurrt
