// Asks a plugin library everything TensorRT asks, but for the run on a GPU; answers in lines of JSON on stdout.
// usage: trt_driver LIBRARY [RUNTIME]; with a runtime, its registry loads the library and finds the creators.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace nvinfer1;

template <class F>
static F* symbol(void* library, const char* name) {
  auto* found = reinterpret_cast<F*>(dlsym(library, name));
  if (found == nullptr) {
    std::fprintf(stderr, "no %s: %s\n", name, dlerror());
    std::exit(1);
  }
  return found;
}

static void* open_library(const char* path) {
  void* library = dlopen(path, RTLD_NOW);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(1);
  }
  return library;
}

class Log : public ILogger {
  void log(Severity, const char* message) noexcept override {
    std::printf("{\"said\": \"%s\"}\n", message);
  }
};

class Finder : public ILoggerFinder {
 public:
  ILogger* findLogger() override { return &log_; }

 private:
  Log log_;
};

static IPluginCreatorV3One* creator_of(const char* library_path, const char* runtime_path, const char* name) {
  if (runtime_path == nullptr) {
    void* library = open_library(library_path);
    static Finder finder;
    symbol<void(ILoggerFinder*)>(library, "setLoggerFinder")(&finder);
    int32_t count = 0;
    auto* creators = symbol<IPluginCreatorInterface* const*(int32_t&)>(library, "getCreators")(count);
    for (int32_t index = 0; index < count; ++index) {
      auto* creator = static_cast<IPluginCreatorV3One*>(creators[index]);
      if (std::string(creator->getPluginName()) == name) return creator;
    }
    return nullptr;
  }
  auto* registry = symbol<IPluginRegistry*()>(open_library(runtime_path), "getPluginRegistry")();
  static bool is_loaded = false;
  if (!is_loaded) registry->loadLibrary(library_path);
  is_loaded = true;
  return static_cast<IPluginCreatorV3One*>(registry->getCreator(name, "1", "deblurrt"));
}

static PluginTensorDesc tensor(std::vector<int64_t> sides, DataType type = DataType::kFLOAT,
                               TensorFormat format = TensorFormat::kLINEAR) {
  PluginTensorDesc made{};
  made.type = type;
  made.format = format;
  made.dims.nbDims = static_cast<int32_t>(sides.size());
  for (size_t axis = 0; axis < sides.size(); ++axis) made.dims.d[axis] = sides[axis];
  return made;
}

static DynamicPluginTensorDesc free_tensor(const PluginTensorDesc& largest) {
  DynamicPluginTensorDesc made{};
  made.desc = largest;
  for (int32_t axis = 0; axis < made.desc.dims.nbDims; ++axis) made.desc.dims.d[axis] = -1;
  made.min = made.max = largest.dims;
  made.opt = largest.dims;
  return made;
}

static void print_fields(const PluginFieldCollection* fields) {
  std::printf("{\"fields\": {");
  for (int32_t index = 0; index < fields->nbFields; ++index) {
    const PluginField& field = fields->fields[index];
    std::printf("%s\"%s\": [", index ? ", " : "", field.name);
    for (int32_t number = 0; number < field.length; ++number) {
      std::printf("%s%d", number ? ", " : "", static_cast<const int32_t*>(field.data)[number]);
    }
    std::printf("]");
  }
  std::printf("}}\n");
}

// Everything about one plugin: inputs are largest first, then ones that do not fit.
static void ask(IPluginCreatorV3One* creator, std::vector<PluginField> given, std::vector<PluginTensorDesc> inputs,
                PluginTensorDesc output, std::vector<PluginTensorDesc> unfit) {
  if (creator == nullptr) {
    std::printf("{\"creator\": null}\n");
    return;
  }
  std::printf("{\"creator\": [\"%s\", \"%s\", \"%s\"]}\n", creator->getPluginName(), creator->getPluginVersion(),
              creator->getPluginNamespace());
  PluginFieldCollection fields{static_cast<int32_t>(given.size()), given.data()};
  IPluginV3* first = creator->createPlugin("first", &fields, TensorRTPhase::kBUILD);
  auto* first_runtime = static_cast<IPluginV3OneRuntime*>(first->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  print_fields(first_runtime->getFieldsToSerialize());
  // as an engine makes it anew from what the first one wrote, and as a context copies that
  IPluginV3* second = creator->createPlugin("second", first_runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
  delete first;
  auto* second_runtime =
      static_cast<IPluginV3OneRuntime*>(second->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  IPluginV3* plugin = second_runtime->attachToContext(nullptr);
  delete second;
  auto* core = static_cast<IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
  auto* build = static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
  auto* runtime = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
  print_fields(runtime->getFieldsToSerialize());
  std::printf("{\"core\": [\"%s\", \"%s\", \"%s\"]}\n", core->getPluginName(), core->getPluginVersion(),
              core->getPluginNamespace());

  const auto count = static_cast<int32_t>(inputs.size());
  const std::pair<DataType, TensorFormat> wanted[] = {
      {DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kHALF, TensorFormat::kLINEAR},
      {DataType::kBF16, TensorFormat::kLINEAR},  {DataType::kINT8, TensorFormat::kLINEAR},
      {DataType::kHALF, TensorFormat::kCHW2},    {DataType::kHALF, TensorFormat::kHWC8}};
  for (const auto& [type, format] : wanted) {
    std::vector<DynamicPluginTensorDesc> all;
    for (size_t index = 0; index < inputs.size(); ++index) all.push_back(free_tensor(tensor({1, 1, 1, 1}, type, format)));
    all.push_back(free_tensor(tensor({1, 1, 1, 1}, type, format)));
    std::printf("{\"format\": [%d, %d], \"positions\": [", static_cast<int>(type), static_cast<int>(format));
    for (int32_t position = 0; position <= count; ++position) {
      std::printf("%s%d", position ? ", " : "", build->supportsFormatCombination(position, all.data(), count, 1));
    }
    // one of another type than the first
    all.back().desc.type = type == DataType::kHALF ? DataType::kFLOAT : DataType::kHALF;
    std::printf("], \"mixed\": %d}\n", build->supportsFormatCombination(count, all.data(), count, 1));
  }

  std::vector<DataType> types(inputs.size(), DataType::kHALF);
  DataType output_type{};
  int32_t code = build->getOutputDataTypes(&output_type, 1, types.data(), count);
  std::printf("{\"outputs\": %d, \"code\": %d, \"type\": %d}\n", build->getNbOutputs(), code,
              static_cast<int>(output_type));

  // expressions are only handed through: numbers stand for them, 10 * input + axis
  std::vector<DimsExprs> expressions;
  for (int32_t input = 0; input < count; ++input) {
    DimsExprs made{};
    made.nbDims = inputs[static_cast<size_t>(input)].dims.nbDims;
    for (int32_t axis = 0; axis < made.nbDims; ++axis) {
      made.d[axis] = reinterpret_cast<IDimensionExpr const*>(static_cast<size_t>(10 * input + axis));
    }
    expressions.push_back(made);
  }
  DimsExprs shape{};
  alignas(16) char no_builder[64]{};
  code = build->getOutputShapes(expressions.data(), count, nullptr, 0, &shape, 1,
                                *reinterpret_cast<IExprBuilder*>(no_builder));
  std::printf("{\"code\": %d, \"shape\": [", code);
  for (int32_t axis = 0; axis < shape.nbDims; ++axis) {
    std::printf("%s%zu", axis ? ", " : "", reinterpret_cast<size_t>(shape.d[axis]));
  }
  std::printf("]}\n");

  std::vector<DynamicPluginTensorDesc> largest;
  for (const auto& input : inputs) largest.push_back(free_tensor(input));
  const DynamicPluginTensorDesc largest_output = free_tensor(output);
  code = build->configurePlugin(largest.data(), count, &largest_output, 1);
  std::printf("{\"configure\": %d, \"workspace\": %zu}\n", code,
              build->getWorkspaceSize(largest.data(), count, &largest_output, 1));
  largest[0].max.d[2] = int64_t{1} << 31;
  code = build->configurePlugin(largest.data(), count, &largest_output, 1);
  std::printf("{\"configure too large\": %d}\n", code);
  std::printf("{\"tactics\": %d}\n", build->getNbTactics());

  std::vector<const void*> pointers;
  for (size_t index = 0; index < inputs.size(); ++index) pointers.push_back(reinterpret_cast<void*>(100 + index));
  void* outputs[] = {reinterpret_cast<void*>(200)};
  const auto run = [&] {
    const int32_t ran = runtime->enqueue(inputs.data(), &output, pointers.data(), outputs,
                                         reinterpret_cast<void*>(300), reinterpret_cast<cudaStream_t>(400));
    std::printf("{\"enqueue\": %d}\n", ran);
  };
  run();
  std::printf("{\"shapes\": %d}\n", runtime->onShapeChange(inputs.data(), count, &output, 1));
  run();
  std::printf("{\"shapes\": %d}\n", runtime->onShapeChange(unfit.data(), count, &output, 1));
  run();
  delete plugin;

  std::vector<PluginField> wrong = given;
  wrong[0].type = PluginFieldType::kFLOAT32;
  PluginFieldCollection wrong_fields{static_cast<int32_t>(wrong.size()), wrong.data()};
  std::printf("{\"wrong\": %d}\n", creator->createPlugin("wrong", &wrong_fields, TensorRTPhase::kBUILD) != nullptr);
}

int main(int count, char** arguments) {
  if (count < 2) return 2;
  const char* runtime = count > 2 ? arguments[2] : nullptr;
  const int32_t pair[] = {2, 1}, single = 2, window[] = {5, 7}, pads[] = {1, 1};
  const PluginTensorDesc x = tensor({1, 8, 12, 17}), offset = tensor({1, 36, 6, 17}), mask = tensor({1, 18, 6, 17}),
                         weight = tensor({6, 8, 3, 3}), bias = tensor({6}), y = tensor({1, 6, 6, 17});
  IPluginCreatorV3One* conv = creator_of(arguments[1], runtime, "ModulatedDeformConv");
  const std::vector<PluginField> fields = {
      {"strides", pair, PluginFieldType::kINT32, 2},
      {"pads", pads, PluginFieldType::kINT32, 2},
      {"offset_groups", &single, PluginFieldType::kINT32, 1},
      {"plugin_version", "1", PluginFieldType::kCHAR, 2},
  };
  ask(conv, fields, {x, offset, mask, weight, bias}, y, {x, offset, offset, weight, bias});
  ask(conv, fields, {x, offset, mask, weight}, y, {x, mask, mask, weight});
  ask(creator_of(arguments[1], runtime, "LocalAvgPool"), {{"window", window, PluginFieldType::kINT32, 2}}, {x}, x,
      {tensor({8, 12, 17})});
  std::fflush(stdout);
  // registries and libraries end with the process
  std::_Exit(0);
}
