// One pass of the local mean for windows of 16 to 512 samples, the usual ones: sums in registers, the same few additions
// for any window. A block reads one part more than it writes: a sample is read twice where it does one part, as on maps
// of few parts, and 9 times for 8 where it does 8; L2 may have the second read.
//
// A line is cut into parts as long as the window, a part into chunks of up to 16 samples, one for each thread. A window
// is the tail of one part and the head of the next: what a thread has of its own chunks and the totals of the other
// chunks. Nothing is subtracted, so no digits are lost and NaN stays in the windows that hold it.
#pragma once

#include "pool_axis.h"

namespace deblurrt {

// Along rows samples are next to each other, and pass through shared memory so that threads read neighbours. Windows of
// up to `kMost` samples fit; fewer chunks leave registers and shared memory to more blocks.
template <class In, class Out, bool kAlongRows, int kChunks>
struct LongWindows {
  static constexpr int kChunk = 16, kMost = kChunk * kChunks;
  static constexpr int kLines = kAlongRows ? 16 : 32;
  static constexpr int kThreads = kLines * kChunks, kTogether = 1;

  struct Exchange {
    float v[kLines][kChunk + 1];
  };
  struct Shared {
    float early[kChunks][kLines], late[kChunks][kLines], edge[2][kLines];
    Exchange exchange[kAlongRows ? kChunks : 1];
  };
  struct Samples {
    float v[kChunk];
  };
  using Held = PerThread<Samples, kThreads>;

  PoolAxis axis;
  const In* from;
  Out* to;
  int chunks, chunk_size;  // of a part
  int run;                 // parts a block does one after the other

  LongWindows(const PoolAxis& along, const In* source, Out* result) : axis(along), from(source), to(result) {
    chunks = divide_up(axis.reach, kChunk);
    chunk_size = divide_up(axis.reach, chunks);
    // a longer run reads less twice, a shorter one leaves more blocks: about 2,000 keep any GPU busy
    constexpr int64_t kBlocks = 2048, kLongest = 8;
    const int64_t wanted = divide_up<int64_t>(axis.lines, kLines) * axis.parts() / kBlocks;
    run = static_cast<int>(wanted < 1 ? 1 : smaller(wanted, kLongest));
  }

  DEBLURRT_ANYWHERE int64_t runs() const { return divide_up<int64_t>(axis.parts(), run); }
  DEBLURRT_ANYWHERE int64_t blocks() const { return divide_up<int64_t>(axis.lines, kLines) * runs(); }
  DEBLURRT_ANYWHERE int threads() const { return divide_up(kLines * chunks, kWarp) * kWarp; }

  DEBLURRT_DEVICE void operator()(const Block& block, Shared& shared) const {
    const int64_t first_line = block.index / runs() * kLines;
    const int64_t first_part = block.index % runs() * run;
    const int64_t end = smaller(axis.parts(), first_part + run);
    Held early, late;
    load(block, shared, early, first_line, first_part * axis.reach);
    total(block, shared.early, early);
    for (int64_t part = first_part; part < end; ++part) {
      load(block, shared, late, first_line, (part + 1) * axis.reach);
      total(block, shared.late, late);
      block.each([&](int thread) { join(shared, early[thread], late[thread], part * axis.reach, thread); });
      save(block, shared, early, first_line, part * axis.reach);
      repeat(block, shared, first_line, part * axis.reach);
      block.each([&](int thread) {
        early[thread] = late[thread];
        const int line = thread % kLines, chunk = thread / kLines;
        if (chunk < chunks) shared.early[chunk][line] = shared.late[chunk][line];
      });
    }
  }

 private:
  // Reads the part that begins at `part`; zero stands for what is beyond the chunk or the line.
  DEBLURRT_DEVICE void load(const Block& block, Shared& shared, Held& held, int64_t first_line, int64_t part) const {
    if constexpr (kAlongRows) {
      block.each([&](int thread) {
        const int across = thread % kLines, chunk = thread / kLines;
        if (chunk >= chunks) return;
        const int64_t place = part + chunk * chunk_size + across;
        const bool is_there = across < chunk_size && place < part + axis.reach && place < axis.length;
        DEBLURRT_UNROLL
        for (int line = 0; line < kLines; ++line) {
          float value = 0;
          if (is_there && first_line + line < axis.lines) {
            value = to_float(read(from + axis.first_of(first_line + line) + place));
          }
          shared.exchange[chunk].v[line][across] = value;
        }
      });
      block.each([&](int thread) {
        const int line = thread % kLines, chunk = thread / kLines;
        DEBLURRT_UNROLL
        for (int each = 0; each < kChunk; ++each) {
          held[thread].v[each] = chunk < chunks ? shared.exchange[chunk].v[line][each] : 0.0f;
        }
      });
    } else {
      block.each([&](int thread) {
        const int line = thread % kLines, chunk = thread / kLines;
        const int64_t first = part + chunk * chunk_size;
        const int64_t end = smaller<int64_t>(smaller<int64_t>(first + chunk_size, part + axis.reach), axis.length);
        const bool is_there = first_line + line < axis.lines;
        const In* samples = from + (is_there ? axis.first_of(first_line + line) : 0);
        DEBLURRT_UNROLL
        for (int each = 0; each < kChunk; ++each) {
          const bool is_inside = is_there && first + each < end;
          held[thread].v[each] = is_inside ? to_float(read(samples + (first + each) * axis.stride)) : 0.0f;
        }
      });
    }
  }

  DEBLURRT_DEVICE void total(const Block& block, float (&totals)[kChunks][kLines], Held& held) const {
    block.each([&](int thread) {
      const int line = thread % kLines, chunk = thread / kLines;
      float sum = 0;
      DEBLURRT_UNROLL
      for (int each = 0; each < kChunk; ++each) sum += held[thread].v[each];
      if (chunk < chunks) totals[chunk][line] = sum;
    });
  }

  // Turns the early samples of a thread into the means of the windows that begin with them.
  DEBLURRT_DEVICE void join(Shared& shared, Samples& early, const Samples& late, int64_t part, int thread) const {
    const int line = thread % kLines, chunk = thread / kLines;
    if (chunk >= chunks) return;
    float tail = 0, head = 0;
    for (int other = chunks - 1; other > chunk; --other) tail += shared.early[other][line];
    for (int other = 0; other < chunk; ++other) head += shared.late[other][line];
    DEBLURRT_UNROLL
    for (int each = kChunk - 1; each >= 0; --each) {
      tail += early.v[each];
      early.v[each] = tail;
    }
    const int64_t first = part + chunk * chunk_size, last = axis.starts() - 1;
    const float share = 1.0f / static_cast<float>(axis.reach);
    DEBLURRT_UNROLL
    for (int each = 0; each < kChunk; ++each) {
      early.v[each] = (early.v[each] + head) * share;
      head += late.v[each];
      if (each < chunk_size && first + each == 0) shared.edge[0][line] = early.v[each];
      if (each < chunk_size && first + each == last) shared.edge[1][line] = early.v[each];
    }
  }

  DEBLURRT_DEVICE void save(const Block& block, Shared& shared, Held& means, int64_t first_line, int64_t part) const {
    if constexpr (kAlongRows) {
      block.each([&](int thread) {
        const int line = thread % kLines, chunk = thread / kLines;
        if (chunk >= chunks) return;
        DEBLURRT_UNROLL
        for (int each = 0; each < kChunk; ++each) shared.exchange[chunk].v[line][each] = means[thread].v[each];
      });
    }
    block.each([&](int thread) {
      const int here = thread % kLines, chunk = thread / kLines;
      const int64_t first = part + chunk * chunk_size;
      const int64_t end = smaller<int64_t>(smaller<int64_t>(first + chunk_size, part + axis.reach), axis.starts());
      if constexpr (kAlongRows) {
        if (chunk >= chunks || first + here >= end) return;
        for (int line = 0; line < kLines && first_line + line < axis.lines; ++line) {
          Out* place = to + axis.first_of(first_line + line) + first + here + axis.before;
          *place = from_float<Out>(shared.exchange[chunk].v[line][here]);
        }
      } else {
        if (first_line + here >= axis.lines) return;
        Out* places = to + axis.first_of(first_line + here) + (first + axis.before) * axis.stride;
        DEBLURRT_UNROLL
        for (int each = 0; each < kChunk; ++each) {
          if (first + each < end) places[each * axis.stride] = from_float<Out>(means[thread].v[each]);
        }
      }
    });
  }

  // Repeats the first and the last mean up to the borders; blocks that have neither pass.
  DEBLURRT_DEVICE void repeat(const Block& block, const Shared& shared, int64_t first_line, int64_t part) const {
    if (part == 0) repeat(block, shared.edge[0], first_line, 0, axis.before);
    if (part + axis.reach >= axis.starts()) {
      repeat(block, shared.edge[1], first_line, axis.before + axis.starts(), axis.length);
    }
  }

  DEBLURRT_DEVICE void repeat(const Block& block, const float (&means)[kLines], int64_t first_line, int first,
                              int end) const {
    block.each([&](int thread) {
      const int count = end - first;
      for (int index = thread; index < kLines * count; index += block.threads) {
        const int line = kAlongRows ? index / count : index % kLines;
        const int place = first + (kAlongRows ? index % count : index / kLines);
        if (first_line + line < axis.lines) {
          to[axis.first_of(first_line + line) + place * axis.stride] = from_float<Out>(means[line]);
        }
      }
    });
  }
};

}  // namespace deblurrt
