#include "server/engine/kubernetes/client/json_text.h"

#include <nlohmann/json.hpp>

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 200;

// The parser takes any depth, but who walks or prints a value recursively does not.
bool TooDeep(absl::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  if (TooDeep(text)) return absl::InvalidArgumentError("JSON that nests too deeply");
  Json value = Json::parse(text.data(), text.data() + text.size(), nullptr, false);
  if (value.is_discarded()) return absl::InvalidArgumentError("not JSON, or cut off");
  return value;
}

absl::StatusOr<std::string> DumpJson(const Json& value) {
  try {
    return value.dump();
  } catch (const Json::exception&) {
    return absl::InvalidArgumentError("a text in it is not UTF-8");
  }
}

const Json& ValueAt(const Json& value, std::initializer_list<absl::string_view> keys) {
  static const Json* const kNull = new Json();
  const Json* at = &value;
  for (const absl::string_view key : keys) {
    if (!at->is_object()) return *kNull;
    const auto found = at->find(std::string(key));
    if (found == at->end()) return *kNull;
    at = &*found;
  }
  return *at;
}

std::string TextAt(const Json& value, std::initializer_list<absl::string_view> keys) {
  const Json& found = ValueAt(value, keys);
  return found.is_string() ? found.get<std::string>() : "";
}

int64_t NumberAt(const Json& value, std::initializer_list<absl::string_view> keys) {
  const Json& found = ValueAt(value, keys);
  return found.is_number_integer() ? found.get<int64_t>() : 0;
}

}  // namespace mayfly::kube
