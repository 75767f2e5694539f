// An operator as TensorRT's IPluginV3, and its creator; for TensorRT 10.3 to 11.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <new>
#include <vector>

#include "plugin_operators.h"

#if NV_TENSORRT_MAJOR < 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR < 3)
#error "plugins are for TensorRT 10.3 and later"
#endif

namespace deblurrt {

// Tells TensorRT's logger, or stderr before there is one.
void log_error(const char* operator_name, const std::string& problem) noexcept;

constexpr int32_t kFailed = -1;

inline int32_t type_of(nvinfer1::DataType type) {
  if (type == nvinfer1::DataType::kFLOAT) return DEBLURRT_FLOAT32;
  return type == nvinfer1::DataType::kHALF ? DEBLURRT_FLOAT16 : -1;
}

inline Tensor tensor_of(nvinfer1::DataType type, const nvinfer1::Dims& dims) {
  Tensor tensor{type_of(type), dims.nbDims, {}};
  for (int32_t axis = 0; axis < dims.nbDims && axis < kMostAxes; ++axis) tensor.sides[axis] = dims.d[axis];
  return tensor;
}

inline Field field_of(const nvinfer1::PluginField& field) {
  switch (field.type) {
    case nvinfer1::PluginFieldType::kINT32:
      return {field.name, field.data, FieldKind::kInt32, field.length};
#if NV_TENSORRT_MAJOR > 10 || NV_TENSORRT_MINOR >= 1
    case nvinfer1::PluginFieldType::kINT64:
      return {field.name, field.data, FieldKind::kInt64, field.length};
#endif
    case nvinfer1::PluginFieldType::kCHAR:
      return {field.name, field.data, FieldKind::kChar, field.length};
    default:
      return {field.name, field.data, FieldKind::kOther, field.length};
  }
}

// One node of a network, or of an engine; every execution context gets a copy of its own.
template <class Op>
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit Plugin(const Values& values) : values_(values) {}
  Plugin(const Plugin& other)
      : values_(other.values_), call_(other.call_), inputs_(other.inputs_), workspace_bytes_(other.workspace_bytes_) {}
  Plugin& operator=(const Plugin&) = delete;

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  Plugin* clone() noexcept override { return new (std::nothrow) Plugin(*this); }

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return 1; }

  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count, const nvinfer1::DataType* inputs,
                             int32_t input_count) const noexcept override {
    if (!has_ports(input_count, output_count)) return kFailed;
    outputs[0] = inputs[0];
    return 0;
  }

  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t output_count,
                          nvinfer1::IExprBuilder&) noexcept override {
    if (!has_ports(input_count, output_count)) return kFailed;
    outputs[0].nbDims = 0;
    for (const Side& side : Op::kOutput) {
      if (inputs[side.input].nbDims <= side.axis) {
        return fail("input " + text_of(side.input) + " has " + text_of(inputs[side.input].nbDims) + " axes, expected 4");
      }
      outputs[0].d[outputs[0].nbDims++] = inputs[side.input].d[side.axis];
    }
    return 0;
  }

  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t input_count, int32_t output_count) noexcept override {
    if (!has_ports(input_count, output_count)) return false;
    const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
    return tensor.format == nvinfer1::TensorFormat::kLINEAR && type_of(tensor.type) >= 0 &&
           tensor.type == tensors[0].desc.type;
  }

  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc*, int32_t output_count) noexcept override {
    if (!has_ports(input_count, output_count)) return kFailed;
    typename Op::Call call{};
    const std::string problem = fill_largest(inputs, input_count, &call);
    return problem.empty() ? 0 : fail("largest shapes: " + problem);
  }

  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc*, int32_t output_count) const noexcept override {
    typename Op::Call call{};
    // what this cannot tell, configurePlugin has refused
    if (!has_ports(input_count, output_count) || !fill_largest(inputs, input_count, &call).empty()) return 0;
    return Op::workspace(call);
  }

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t input_count,
                        const nvinfer1::PluginTensorDesc*, int32_t output_count) noexcept override {
    if (!has_ports(input_count, output_count)) return kFailed;
    Tensor tensors[Op::kMostInputs]{};
    for (int32_t index = 0; index < input_count; ++index) {
      tensors[index] = tensor_of(inputs[index].type, inputs[index].dims);
    }
    std::string problem = Op::fill(values_, tensors, input_count, &call_);
    if (problem.empty()) problem = Op::check(call_, tensors, input_count);
    inputs_ = problem.empty() ? input_count : 0;
    if (!problem.empty()) return fail(problem);
    workspace_bytes_ = Op::workspace(call_);
    return 0;
  }

  int32_t enqueue(const nvinfer1::PluginTensorDesc*, const nvinfer1::PluginTensorDesc*, const void* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    if (inputs_ == 0) return fail("it was to run before its shapes were known");
    const int32_t code = Op::run(call_, inputs, inputs_, outputs[0], workspace, workspace_bytes_, stream);
    return code == DEBLURRT_OK ? 0 : fail(deblurrt_error(code));
  }

  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override {
    try {
      fields_.clear();
      const int32_t* numbers = values_.data();
      for (const Setting& setting : Op::kSettings) {
        fields_.emplace_back(setting.name, numbers, nvinfer1::PluginFieldType::kINT32, setting.length);
        numbers += setting.length;
      }
      collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
      return &collection_;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }

 private:
  static int32_t fail(const std::string& problem) noexcept {
    log_error(Op::kName, problem);
    return kFailed;
  }

  // Fills in the call of the largest shapes; gives what keeps it from being one, or nothing.
  std::string fill_largest(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t count,
                           typename Op::Call* call) const {
    Tensor tensors[Op::kMostInputs]{};
    for (int32_t index = 0; index < count; ++index) {
      tensors[index] = tensor_of(inputs[index].desc.type, inputs[index].max);
    }
    return Op::fill(values_, tensors, count, call);
  }

  static bool has_ports(int32_t inputs, int32_t outputs) noexcept {
    if (inputs >= Op::kLeastInputs && inputs <= Op::kMostInputs && outputs == 1) return true;
    fail("it has " + text_of(inputs) + " inputs and " + text_of(outputs) + " outputs, expected " +
         text_of(Op::kLeastInputs) + " to " + text_of(Op::kMostInputs) + " and 1");
    return false;
  }

  const Values values_;
  // of the shapes last told; no inputs: none were, or they do not fit
  typename Op::Call call_{};
  int32_t inputs_ = 0;
  size_t workspace_bytes_ = 0;
  // what getFieldsToSerialize gave last; not copied, for it points into this object
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

template <class Op>
class Creator : public nvinfer1::IPluginCreatorV3One {
 public:
  Creator() {
    for (const Setting& setting : Op::kSettings) {
      fields_.emplace_back(setting.name, nullptr, nvinfer1::PluginFieldType::kINT32, setting.length);
    }
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
  }

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* collection,
                                    nvinfer1::TensorRTPhase) noexcept override {
    try {
      std::vector<Field> fields;
      for (int32_t index = 0; collection != nullptr && index < collection->nbFields; ++index) {
        fields.push_back(field_of(collection->fields[index]));
      }
      Values values{};
      const std::string problem =
          read_fields(Op::kSettings, fields.data(), static_cast<int32_t>(fields.size()), &values);
      if (problem.empty()) return new Plugin<Op>(values);
      log_error(Op::kName, "node '" + std::string(name == nullptr ? "" : name) + "': " + problem);
    } catch (const std::bad_alloc&) {
      log_error(Op::kName, "no memory");
    }
    return nullptr;
  }

  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace deblurrt
