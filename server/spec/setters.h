// Checked YAML to values, for the tables' setters. What is not as the shape asked for gives the type's zero.
#ifndef MAYFLY_SERVER_SPEC_SETTERS_H_
#define MAYFLY_SERVER_SPEC_SETTERS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/spec/service_spec.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

bool BoolOf(const YamlValue& value);
int IntOf(const YamlValue& value);
double NumberOf(const YamlValue& value);
absl::Duration DurationOf(const YamlValue& value);
int64_t SizeOf(const YamlValue& value);
Template TemplateOf(const YamlValue& value);
std::vector<std::string> TextsOf(const YamlValue& value);
std::vector<Template> TemplatesOf(const YamlValue& value);
std::vector<Template> CommandOf(const YamlValue& value);
std::map<std::string, Template> TemplateMapOf(const YamlValue& value);
// The condition of a short need is kReady; the loader makes it kCompleted where the needed node is a job.
std::vector<Dependency> NeedsOf(const YamlValue& value);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SETTERS_H_
