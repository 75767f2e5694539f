// Settings of an operator and the fields TensorRT carries them in; knows nothing of TensorRT.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

namespace deblurrt {

enum class FieldKind { kInt32, kInt64, kChar, kOther };

// A field as a creator gets it; data belongs to the caller.
struct Field {
  const char* name;
  const void* data;
  FieldKind kind;
  int32_t length;
};

constexpr int32_t kRequired = -1;
constexpr int32_t kMostValues = 8;
constexpr const char* kNamespace = "deblurrt";
constexpr const char* kVersion = "1";

// One setting: its name in ONNX nodes, how many numbers it has, the least each may be, and what they are where the
// node does not say (kRequired: it must).
struct Setting {
  const char* name;
  int32_t length;
  int32_t least;
  int32_t fallback;
};

// All settings of an operator, one after the other in the order of its table.
using Values = std::array<int32_t, kMostValues>;

inline std::string text_of(int64_t number) { return std::to_string(number); }

// A CHAR field as text; TensorRT's parser counts the zero behind it, other callers may not.
inline std::string text_of(const Field& field) {
  int32_t length = field.data == nullptr ? 0 : field.length;
  const char* text = static_cast<const char*>(field.data);
  while (length > 0 && text[length - 1] == '\0') --length;
  return length > 0 ? std::string(text, static_cast<size_t>(length)) : std::string();
}

inline int64_t number_at(const Field& field, int32_t index) {
  if (field.kind == FieldKind::kInt32) {
    int32_t number;
    std::memcpy(&number, static_cast<const char*>(field.data) + sizeof(number) * static_cast<size_t>(index),
                sizeof(number));
    return number;
  }
  int64_t number;
  std::memcpy(&number, static_cast<const char*>(field.data) + sizeof(number) * static_cast<size_t>(index),
              sizeof(number));
  return number;
}

// Reads the numbers of one field; gives what is wrong with it, or nothing.
inline std::string read_field(const Setting& setting, const Field& field, int32_t* numbers) {
  if (field.kind != FieldKind::kInt32 && field.kind != FieldKind::kInt64) {
    return std::string(setting.name) + " is no whole number, expected INT32";
  }
  if (field.data == nullptr || field.length != setting.length) {
    return std::string(setting.name) + " has " + text_of(field.data == nullptr ? 0 : field.length) +
           " numbers, expected " + text_of(setting.length);
  }
  for (int32_t index = 0; index < setting.length; ++index) {
    const int64_t number = number_at(field, index);
    if (number < setting.least || number > std::numeric_limits<int32_t>::max()) {
      return std::string(setting.name) + " is " + text_of(number) + ", expected at least " + text_of(setting.least) +
             " and 31 bits";
    }
    numbers[index] = static_cast<int32_t>(number);
  }
  return {};
}

// Nodes name the plugin's namespace and version; some callers pass these on as fields.
inline bool is_mark(const Field& field, std::string* problem) {
  const bool is_namespace = std::strcmp(field.name, "plugin_namespace") == 0;
  if (!is_namespace && std::strcmp(field.name, "plugin_version") != 0) return false;
  const std::string expected = is_namespace ? kNamespace : kVersion;
  if (field.kind != FieldKind::kChar || text_of(field) != expected) {
    *problem = std::string(field.name) + " is '" + (field.kind == FieldKind::kChar ? text_of(field) : "") +
               "', expected '" + expected + "'";
  }
  return true;
}

// Reads fields into values; gives what is wrong with them, or nothing.
template <size_t kSettings>
std::string read_fields(const Setting (&settings)[kSettings], const Field* fields, int32_t count, Values* values) {
  std::array<bool, kSettings> given{};
  for (int32_t index = 0; index < count; ++index) {
    std::string problem;
    const Field& field = fields[index];
    if (field.name == nullptr) return "a field has no name";
    bool is_known = is_mark(field, &problem);
    int32_t place = 0;
    for (size_t number = 0; number < kSettings; place += settings[number++].length) {
      if (std::strcmp(field.name, settings[number].name) != 0) continue;
      is_known = given[number] = true;
      problem = read_field(settings[number], field, values->data() + place);
    }
    if (!problem.empty()) return problem;
    if (!is_known) return std::string("there is no field ") + field.name;
  }
  int32_t place = 0;
  for (size_t number = 0; number < kSettings; place += settings[number++].length) {
    if (given[number]) continue;
    if (settings[number].fallback == kRequired) return std::string(settings[number].name) + " is missing";
    for (int32_t index = 0; index < settings[number].length; ++index) {
      (*values)[static_cast<size_t>(place + index)] = settings[number].fallback;
    }
  }
  return {};
}

}  // namespace deblurrt
