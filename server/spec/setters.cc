#include "server/spec/setters.h"

#include "mayfly/base/text.h"
#include "server/spec/scalars.h"

namespace mayfly {

bool BoolOf(const YamlValue& value) {
  return ParseBool(value.text).value_or(false);
}
int IntOf(const YamlValue& value) {
  return static_cast<int>(ParseInt(value.text).value_or(0));
}
double NumberOf(const YamlValue& value) {
  return ParseNumber(value.text).value_or(0);
}
absl::Duration DurationOf(const YamlValue& value) {
  return ParseDuration(value.text).value_or(absl::ZeroDuration());
}
int64_t SizeOf(const YamlValue& value) {
  return ParseSize(value.text).value_or(0);
}
Template TemplateOf(const YamlValue& value) {
  return {value.text, value.Pos()};
}

std::vector<std::string> TextsOf(const YamlValue& value) {
  std::vector<std::string> out;
  for (const YamlRef& item : value.items) out.push_back(item->text);
  return out;
}

std::vector<Template> TemplatesOf(const YamlValue& value) {
  std::vector<Template> out;
  for (const YamlRef& item : value.items) out.push_back(TemplateOf(*item));
  return out;
}

std::vector<Template> CommandOf(const YamlValue& value) {
  if (!value.IsScalar()) return TemplatesOf(value);
  std::vector<Template> out;
  for (std::string& word : SplitCommand(value.text).words) out.push_back({std::move(word), value.Pos()});
  return out;
}

std::map<std::string, Template> TemplateMapOf(const YamlValue& value) {
  std::map<std::string, Template> out;
  for (const YamlEntry& entry : value.entries) out[entry.key] = TemplateOf(*entry.value);
  return out;
}

std::vector<Dependency> NeedsOf(const YamlValue& value) {
  std::vector<Dependency> out;
  for (const YamlRef& item : value.items) {
    if (item->IsScalar()) out.push_back({item->text, Condition::kReady, item->Pos()});
    for (const YamlEntry& entry : item->entries) {
      const std::string& word = entry.value->text;
      const Condition condition = word == "started"     ? Condition::kStarted
                                  : word == "completed" ? Condition::kCompleted
                                                        : Condition::kReady;
      out.push_back({entry.key, condition, {item->Pos().file, entry.line, entry.column}});
    }
  }
  return out;
}

}  // namespace mayfly
