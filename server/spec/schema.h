// The JSON Schema (draft-07, which editors read) of both files, made from the decoding tables.
#ifndef MAYFLY_SERVER_SPEC_SCHEMA_H_
#define MAYFLY_SERVER_SPEC_SCHEMA_H_

#include <string>

namespace mayfly {

enum class SpecKind { kService, kEnvspec };

// Indented JSON, the same bytes each time; ends with a newline. It is a little wider than the loader, which alone knows
// references, names and regular expressions.
std::string JsonSchema(SpecKind kind);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SCHEMA_H_
