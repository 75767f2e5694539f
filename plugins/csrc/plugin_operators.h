// Our operators as plugins see them: settings, shapes and calls of the kernels; knows nothing of TensorRT.
#pragma once

#include "kernels.h"
#include "plugin_fields.h"

namespace deblurrt {

constexpr int32_t kMostAxes = 8;

// Type and sizes of a tensor.
struct Tensor {
  int32_t type;
  int32_t axes;
  int64_t sides[kMostAxes];
};

// An axis of the output is that axis of that input.
struct Side {
  int32_t input;
  int32_t axis;
};

// Gives what is wrong with the number of axes and their lengths, which kernels count in 31 bits, or nothing.
inline std::string check_sides(const char* name, const Tensor& tensor, int32_t axes) {
  if (tensor.axes != axes) return std::string(name) + " has " + text_of(tensor.axes) + " axes, expected " + text_of(axes);
  for (int32_t axis = 0; axis < axes; ++axis) {
    const int64_t side = tensor.sides[axis];
    if (side < 0 || side > std::numeric_limits<int32_t>::max()) {
      return std::string("axis ") + text_of(axis) + " of " + name + " is " + text_of(side) + " long, expected 31 bits";
    }
  }
  return {};
}

inline int32_t side_of(const Tensor& tensor, int32_t axis) { return static_cast<int32_t>(tensor.sides[axis]); }

// How many places a window has along an axis; 0 where it covers more than the padded map.
inline int64_t out_side(int64_t side, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t spare = side + 2 * pad - (dilation * (kernel - 1) + 1);
  return spare < 0 ? 0 : spare / stride + 1;
}

struct DeformConv {
  using Call = DeblurrtDeformConv;
  static constexpr const char* kName = "ModulatedDeformConv";
  static constexpr Setting kSettings[] = {
      {"strides", 2, 1, 1}, {"pads", 2, 0, 0}, {"dilations", 2, 1, 1}, {"groups", 1, 1, 1}, {"offset_groups", 1, 1, 1}};
  static constexpr int32_t kLeastInputs = 4;
  static constexpr int32_t kMostInputs = 5;
  static constexpr Side kOutput[] = {{0, 0}, {3, 0}, {1, 2}, {1, 3}};

  // Fills in a call; gives what keeps it from being one, or nothing. Whether shapes fit each other is not looked at.
  static std::string fill(const Values& values, const Tensor* inputs, int32_t count, Call* call) {
    static constexpr const char* kNames[] = {"x", "offset", "mask", "weight", "bias"};
    for (int32_t index = 0; index < count; ++index) {
      const std::string problem = check_sides(kNames[index], inputs[index], index == 4 ? 1 : 4);
      if (!problem.empty()) return problem;
      if (inputs[index].type != inputs[0].type) return std::string(kNames[index]) + " is of another type than x";
    }
    const Tensor &x = inputs[0], &offset = inputs[1], &weight = inputs[3];
    for (int32_t axis = 2; axis < 4; ++axis) {
      if (x.sides[axis] > DEBLURRT_MOST_SIDE) {
        return std::string("axis ") + text_of(axis) + " of x is " + text_of(x.sides[axis]) + " long, expected at most " +
               text_of(DEBLURRT_MOST_SIDE);
      }
    }
    *call = {x.type,
             side_of(x, 0),
             side_of(x, 1),
             side_of(x, 2),
             side_of(x, 3),
             side_of(weight, 0),
             side_of(offset, 2),
             side_of(offset, 3),
             {side_of(weight, 2), side_of(weight, 3)},
             {values[0], values[1]},
             {values[2], values[3]},
             {values[4], values[5]},
             values[6],
             values[7]};
    return {};
  }

  // Gives what does not fit in the shapes of a call, or nothing.
  static std::string check(const Call& call, const Tensor* inputs, int32_t count) {
    const int64_t taps = int64_t{call.kernel[0]} * call.kernel[1];
    const int64_t groups = call.offset_groups;
    struct {
      const char* name;
      int64_t got, expected;
    } const sides[] = {
        {"channels of x", call.in_channels, inputs[3].sides[1] * call.groups},
        {"channels of offset", inputs[1].sides[1], 2 * groups * taps},
        {"channels of mask", inputs[2].sides[1], groups * taps},
        {"batch of offset", inputs[1].sides[0], call.batch},
        {"batch of mask", inputs[2].sides[0], call.batch},
        {"height of mask", inputs[2].sides[2], call.out_height},
        {"width of mask", inputs[2].sides[3], call.out_width},
        {"height of offset", call.out_height,
         out_side(call.height, call.kernel[0], call.stride[0], call.pad[0], call.dilation[0])},
        {"width of offset", call.out_width,
         out_side(call.width, call.kernel[1], call.stride[1], call.pad[1], call.dilation[1])},
        {"length of bias", count > 4 ? inputs[4].sides[0] : call.out_channels, call.out_channels},
        {"rest of channels of x by offset_groups", call.in_channels % call.offset_groups, 0},
        {"rest of output channels by groups", call.out_channels % call.groups, 0},
    };
    for (const auto& side : sides) {
      if (side.got != side.expected) {
        return std::string(side.name) + " is " + text_of(side.got) + ", expected " + text_of(side.expected);
      }
    }
    return {};
  }

  static size_t workspace(const Call& call) { return deblurrt_deform_conv_workspace(&call); }

  static int32_t run(const Call& call, const void* const* inputs, int32_t count, void* y, void* workspace,
                     size_t workspace_bytes, void* stream) {
    const void* bias = count > 4 ? inputs[4] : nullptr;
    return deblurrt_deform_conv(&call, inputs[0], inputs[1], inputs[2], inputs[3], bias, y, workspace, workspace_bytes,
                                stream);
  }
};

struct LocalAvgPool {
  using Call = DeblurrtLocalAvgPool;
  static constexpr const char* kName = "LocalAvgPool";
  static constexpr Setting kSettings[] = {{"window", 2, 1, kRequired}};
  static constexpr int32_t kLeastInputs = 1;
  static constexpr int32_t kMostInputs = 1;
  static constexpr Side kOutput[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}};

  static std::string fill(const Values& values, const Tensor* inputs, int32_t, Call* call) {
    const Tensor& x = inputs[0];
    std::string problem = check_sides("x", x, 4);
    if (!problem.empty()) return problem;
    const int64_t maps = x.sides[0] * x.sides[1];
    if (maps > std::numeric_limits<int32_t>::max()) return "x has " + text_of(maps) + " maps, expected 31 bits";
    *call = {x.type, static_cast<int32_t>(maps), side_of(x, 2), side_of(x, 3), {values[0], values[1]}};
    return {};
  }

  static std::string check(const Call&, const Tensor*, int32_t) { return {}; }

  static size_t workspace(const Call& call) { return deblurrt_local_avg_pool_workspace(&call); }

  static int32_t run(const Call& call, const void* const* inputs, int32_t, void* y, void* workspace,
                     size_t workspace_bytes, void* stream) {
    return deblurrt_local_avg_pool(&call, inputs[0], y, workspace, workspace_bytes, stream);
  }
};

}  // namespace deblurrt
