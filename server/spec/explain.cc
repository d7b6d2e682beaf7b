#include "server/spec/explain.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly {

std::string RenderExplain(const ServiceSpec& service) {
  constexpr size_t kWidestValue = 48;
  size_t key_width = 0;
  size_t value_width = 0;
  for (const Origin& origin : service.origins) {
    key_width = std::max(key_width, EscapeLine(origin.key).size());
    value_width = std::max(value_width, std::min(kWidestValue, EscapeLine(origin.value).size()));
  }
  std::string out;
  for (const Origin& origin : service.origins) {
    std::string key = EscapeLine(origin.key);
    std::string value = EscapeLine(origin.value);
    key.resize(std::max(key_width, key.size()), ' ');
    value.resize(std::max(value_width, value.size()), ' ');
    const std::string place = FormatPos(origin.pos);
    absl::StrAppend(&out, key, "  ", value, "  ", EscapeLine(origin.layer), place.empty() ? "" : "  ", place, "\n");
  }
  return out;
}

}  // namespace mayfly
