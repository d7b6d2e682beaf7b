#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

// Words that YAML 1.1 or 1.2 readers take for a boolean or null.
bool IsReservedWord(absl::string_view text) {
  static constexpr absl::string_view kWords[] = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "~"};
  const std::string lower = absl::AsciiStrToLower(text);
  return std::find(std::begin(kWords), std::end(kWords), lower) != std::end(kWords);
}

bool IsPlain(absl::string_view text) {
  if (text.empty() || IsReservedWord(text)) return false;
  // Numbers, dates and times begin with a digit, sign or dot: quoting all of them is shorter than telling them apart.
  if (!absl::ascii_isalpha(text.front()) && text.front() != '/') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/' || c == '+' || c == '@';
  });
}

std::string Scalar(const Json& value) {
  if (!value.is_string()) return value.dump();
  const std::string text = value.get<std::string>();
  // A JSON string is a YAML double-quoted scalar, with everything beyond ASCII and all control characters escaped.
  return IsPlain(text) ? text : value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

void Emit(const Json& value, int indent, std::string& out);

// A value behind "key:" or "-".
void EmitNested(const Json& value, int indent, bool in_list, std::string& out) {
  if (value.is_structured() && !value.empty()) {
    if (in_list) {
      // The first key of a map stands on the line of its dash.
      std::string nested;
      Emit(value, indent + 2, nested);
      absl::StrAppend(&out, " ", absl::string_view(nested).substr(static_cast<size_t>(indent) + 2));
    } else {
      out += '\n';
      Emit(value, value.is_array() ? indent : indent + 2, out);
    }
    return;
  }
  absl::StrAppend(&out, " ", Scalar(value), "\n");
}

void Emit(const Json& value, int indent, std::string& out) {
  const std::string blanks(static_cast<size_t>(indent), ' ');
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, item] : value.items()) {
      absl::StrAppend(&out, blanks, Scalar(Json(key)), ":");
      EmitNested(item, indent, false, out);
    }
  } else if (value.is_array() && !value.empty()) {
    for (const Json& item : value) {
      absl::StrAppend(&out, blanks, "-");
      EmitNested(item, indent, true, out);
    }
  } else {
    absl::StrAppend(&out, blanks, Scalar(value), "\n");
  }
}

}  // namespace

std::string JsonToYaml(absl::string_view json) {
  const Json value = Json::parse(json.begin(), json.end(), nullptr, false);
  std::string out;
  if (!value.is_discarded()) Emit(value, 0, out);
  return out;
}

}  // namespace mayfly
