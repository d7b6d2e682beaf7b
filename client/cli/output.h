// Messages of the API as data on standard output.
#ifndef MAYFLY_CLIENT_CLI_OUTPUT_H_
#define MAYFLY_CLIENT_CLI_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/cli/console.h"
#include "google/protobuf/message.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly {

// One JSON document with a final newline; keys as in the .proto files, in their order. `pretty` or one line.
std::string ToJson(const google::protobuf::Message& message, bool pretty = true);

// The same data as YAML. Strings that YAML would read as something else are quoted. `json` must be valid.
std::string JsonToYaml(absl::string_view json);

// Aligned columns, header first; the last column of a row is cut where a terminal ends. Cells must be escaped.
std::string RenderTable(const std::vector<std::vector<std::string>>& rows, const Look& look);

// "GATEWAY_URL=http://127.0.0.1:20480": for each node with endpoints its first one, and each under its port. Values are
// quoted where a shell or an env file needs it.
std::string RenderEnvFile(const v1::Environment& environment);

// The graph for Graphviz.
std::string RenderDot(absl::string_view name, const google::protobuf::RepeatedPtrField<v1::Node>& nodes);

// Word for a format that a verb does not have.
std::string FormatName(Format format);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_OUTPUT_H_
