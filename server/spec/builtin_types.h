// The built-in types, in the format itself.
#ifndef MAYFLY_SERVER_SPEC_BUILTIN_TYPES_H_
#define MAYFLY_SERVER_SPEC_BUILTIN_TYPES_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

// As YAML, for the reference page.
absl::string_view BuiltinTypesText();

// By name. The values have no file, so that positions in them are shown as nothing.
const std::map<std::string, YamlRef>& BuiltinTypes();

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_BUILTIN_TYPES_H_
