#include "client/cli/output.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

// KEY of an env file for a service.
std::string Variable(absl::string_view service) {
  std::string out;
  for (const char c : service) out += absl::ascii_isalnum(c) ? absl::ascii_toupper(c) : '_';
  return out;
}

std::string ShellQuoted(absl::string_view value) {
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-._~:/?=@%+,", absl::string_view(&c, 1));
  });
  if (plain) return std::string(value);
  std::string out = "'";
  for (const char c : value) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string DotQuoted(absl::string_view text) {
  std::string out = "\"";
  for (const char c : EscapeLine(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}\n";
  if (!absl::EndsWith(json, "\n")) json += '\n';
  return json;
}

std::string RenderTable(const std::vector<std::vector<std::string>>& rows, const Look& look) {
  std::vector<int> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    int used = 0;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      std::string cell = rows[r][i];
      const bool last = i + 1 == rows[r].size();
      if (last && look.width > 0) cell = FitColumns(cell, std::max(look.width - used, 8), look.unicode);
      line += last ? cell : PadColumns(cell, widths[i]) + "  ";
      used += widths[i] + 2;
    }
    line = std::string(absl::StripTrailingAsciiWhitespace(line));
    absl::StrAppend(&out, r == 0 ? Paint(look, Style::kBold, line) : line, "\n");
  }
  return out;
}

std::string RenderEnvFile(const v1::Environment& environment) {
  std::string out = absl::StrCat("MAYFLY_ENVIRONMENT=", ShellQuoted(environment.name()), "\n");
  for (const v1::Node& node : environment.nodes()) {
    const std::string service = Variable(node.name());
    bool first = true;
    for (const v1::Endpoint& endpoint : node.endpoints()) {
      const auto add = [&](absl::string_view prefix) {
        absl::StrAppend(&out, prefix, "_ADDRESS=", ShellQuoted(endpoint.address()), "\n");
        if (!endpoint.url().empty()) absl::StrAppend(&out, prefix, "_URL=", ShellQuoted(endpoint.url()), "\n");
      };
      if (first) add(service);
      if (node.endpoints_size() > 1) add(absl::StrCat(service, "_", endpoint.port()));
      first = false;
    }
  }
  return out;
}

std::string RenderDot(absl::string_view name, const google::protobuf::RepeatedPtrField<v1::Node>& nodes) {
  std::string out = absl::StrCat("digraph ", DotQuoted(name), " {\n  rankdir=LR;\n  node [shape=box];\n");
  for (const v1::Node& node : nodes) {
    const char* shape = node.kind() == v1::Node::TEST_JOB ? " [shape=hexagon]"
                        : node.kind() == v1::Node::JOB    ? " [shape=ellipse]"
                                                          : "";
    absl::StrAppend(&out, "  ", DotQuoted(node.name()), shape, ";\n");
  }
  for (const v1::Node& node : nodes) {
    for (const std::string& need : node.needs()) {
      // "postgres:started": the condition is the edge's label.
      const size_t colon = need.find(':');
      const std::string target = need.substr(0, colon);
      const std::string label = colon == std::string::npos ? "" : need.substr(colon + 1);
      absl::StrAppend(&out, "  ", DotQuoted(node.name()), " -> ", DotQuoted(target));
      if (!label.empty()) absl::StrAppend(&out, " [label=", DotQuoted(label), "]");
      out += ";\n";
    }
  }
  return out + "}\n";
}

std::string FormatName(Format format) {
  static constexpr const char* kNames[] = {"table", "json", "yaml", "name", "dot", "env", "junit", "markdown"};
  return kNames[static_cast<int>(format)];
}

}  // namespace mayfly
