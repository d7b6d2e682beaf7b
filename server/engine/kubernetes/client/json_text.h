// JSON in and out without exceptions: what comes from a server is looked at without trust.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_JSON_TEXT_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_JSON_TEXT_H_

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly::kube {

// INVALID_ARGUMENT for text that is no JSON or nests deeper than 200 levels.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text);
// INVALID_ARGUMENT when a string in it is not UTF-8.
absl::StatusOr<std::string> DumpJson(const nlohmann::json& value);

// The value under keys, each inside the one before; a null value where one is missing. The reference lives as `value`.
const nlohmann::json& ValueAt(const nlohmann::json& value, std::initializer_list<absl::string_view> keys);
// The same for strings and integers; "" and 0 when it is missing or something else.
std::string TextAt(const nlohmann::json& value, std::initializer_list<absl::string_view> keys);
int64_t NumberAt(const nlohmann::json& value, std::initializer_list<absl::string_view> keys);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_JSON_TEXT_H_
