// Entry points of the plugin library: what IPluginRegistry::loadLibrary and trtexec --dynamicPlugins look for.
#include <atomic>
#include <cstdio>

#include "trt_plugin.h"

#define DEBLURRT_EXPORT extern "C" __attribute__((visibility("default")))

namespace deblurrt {

static std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

void log_error(const char* operator_name, const std::string& problem) noexcept {
  nvinfer1::ILoggerFinder* finder = logger_finder;
  nvinfer1::ILogger* logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger == nullptr) {
    std::fprintf(stderr, "deblurrt: %s: %s\n", operator_name, problem.c_str());
    return;
  }
  logger->log(nvinfer1::ILogger::Severity::kERROR, ("deblurrt: " + std::string(operator_name) + ": " + problem).c_str());
}

}  // namespace deblurrt

DEBLURRT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { deblurrt::logger_finder = finder; }

DEBLURRT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static deblurrt::Creator<deblurrt::DeformConv> deform_conv;
  static deblurrt::Creator<deblurrt::LocalAvgPool> local_avg_pool;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&deform_conv, &local_avg_pool};
  count = sizeof(creators) / sizeof(creators[0]);
  return creators;
}
