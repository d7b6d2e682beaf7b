// Text to YamlValue: the only place in mayfly that knows yaml-cpp, and stricter than it.
#ifndef MAYFLY_SERVER_SPEC_YAML_READER_H_
#define MAYFLY_SERVER_SPEC_YAML_READER_H_

#include "server/spec/sink.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

constexpr size_t kMaxSpecBytes = 1 << 20;  // Of one file.
constexpr int kMaxYamlDepth = 64;
constexpr size_t kMaxYamlNodes = 100000;  // With every alias expanded.

// The document in `file`, or nullptr when it cannot be read as one; what is wrong is in `sink`. Errors beyond bad YAML:
// over a limit, not UTF-8, a control character, a tab in the indentation, a duplicate key, a key that is not text,
// a tag, a merge key, an alias inside its own anchor, a second document, nothing at all.
YamlRef ReadYaml(const SourceFileRef& file, Sink& sink);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_YAML_READER_H_
