// The TensorRT-free half of the plugins as C functions, for tests.
#include <cstdio>

#include "plugin_operators.h"

using deblurrt::Field;
using deblurrt::Setting;
using deblurrt::Tensor;
using deblurrt::Values;

static int32_t say(const std::string& problem, char* text, size_t bytes) {
  std::snprintf(text, bytes, "%s", problem.c_str());
  return problem.empty() ? 0 : -1;
}

template <class Op>
static int32_t describe(char* text, size_t bytes) {
  std::string described;
  for (const Setting& setting : Op::kSettings) {
    described += std::string(setting.name) + " " + std::to_string(setting.length) + " " +
                 std::to_string(setting.least) + " " + std::to_string(setting.fallback) + ";";
  }
  std::snprintf(text, bytes, "%s", described.c_str());
  return Op::kMostInputs * 10 + Op::kLeastInputs;
}

template <class Op>
static int32_t call(const int32_t* numbers, const Tensor* inputs, int32_t count, int64_t* output, int32_t* words,
                    char* text, size_t bytes) {
  Values values{};
  for (size_t index = 0; index < values.size(); ++index) values[index] = numbers[index];
  typename Op::Call made;
  std::string problem = Op::fill(values, inputs, count, &made);
  if (problem.empty()) problem = Op::check(made, inputs, count);
  if (!problem.empty()) return say(problem, text, bytes);
  for (const auto& side : Op::kOutput) *output++ = inputs[side.input].sides[side.axis];
  std::memcpy(words, &made, sizeof(made));
  return sizeof(made) / sizeof(int32_t);
}

extern "C" {

int32_t describe_ModulatedDeformConv(char* text, size_t bytes) { return describe<deblurrt::DeformConv>(text, bytes); }
int32_t describe_LocalAvgPool(char* text, size_t bytes) { return describe<deblurrt::LocalAvgPool>(text, bytes); }

int32_t read_ModulatedDeformConv(const Field* fields, int32_t count, int32_t* values, char* text, size_t bytes) {
  return say(deblurrt::read_fields(deblurrt::DeformConv::kSettings, fields, count, reinterpret_cast<Values*>(values)),
             text, bytes);
}
int32_t read_LocalAvgPool(const Field* fields, int32_t count, int32_t* values, char* text, size_t bytes) {
  return say(deblurrt::read_fields(deblurrt::LocalAvgPool::kSettings, fields, count, reinterpret_cast<Values*>(values)),
             text, bytes);
}

int32_t call_ModulatedDeformConv(const int32_t* values, const Tensor* inputs, int32_t count, int64_t* output,
                                 int32_t* words, char* text, size_t bytes) {
  return call<deblurrt::DeformConv>(values, inputs, count, output, words, text, bytes);
}
int32_t call_LocalAvgPool(const int32_t* values, const Tensor* inputs, int32_t count, int64_t* output, int32_t* words,
                          char* text, size_t bytes) {
  return call<deblurrt::LocalAvgPool>(values, inputs, count, output, words, text, bytes);
}
}
