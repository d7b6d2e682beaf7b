#include "server/api/validate.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/api/convert.h"

namespace mayfly::api {
namespace {

constexpr int kMaxNames = 1000;
constexpr size_t kMaxName = 200;
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxVariables = 1 << 20;  // Bytes of all keys and values together.
constexpr size_t kMaxLabels = 32;
constexpr size_t kMaxLabelKey = 57;
constexpr size_t kMaxLabelValue = 256;
constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;

// Collects "field: what is wrong".
class Violations {
 public:
  void Add(absl::string_view field, absl::string_view problem) { list_.push_back(absl::StrCat(field, ": ", problem)); }
  void Check(absl::string_view field, const absl::Status& status) {
    if (!status.ok()) Add(field, status.message());
  }
  absl::Status ToStatus() const {
    if (list_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrJoin(list_, "; "));
  }

 private:
  std::vector<std::string> list_;
};

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

void CheckEnvironmentName(const std::string& name, Violations& out) {
  if (name.empty()) return out.Add("name", "is required");
  out.Check("name", CheckName(name));
}

template <typename Names>
void CheckNames(absl::string_view field, const Names& names, Violations& out) {
  if (names.size() > kMaxNames)
    return out.Add(field, absl::StrCat("has ", names.size(), " entries, at most ", kMaxNames));
  for (int i = 0; i < names.size(); ++i) {
    if (names[i].empty()) out.Add(absl::StrCat(field, "[", i, "]"), "is empty");
    if (names[i].size() > kMaxName) out.Add(absl::StrCat(field, "[", i, "]"), "is longer than any name can be");
  }
}

void CheckTtl(absl::string_view field, const google::protobuf::Duration& ttl, Violations& out) {
  const absl::Duration value = FromProto(ttl);
  if (value <= absl::ZeroDuration()) {
    out.Add(field, "must be positive");
  } else if (value > absl::Hours(24 * 3653)) {
    out.Add(field, "must be at most ten years");
  }
}

template <typename Map>
void CheckVariables(absl::string_view field, const Map& map, Violations& out) {
  size_t bytes = 0;
  for (const auto& [key, value] : map) {
    bytes += key.size() + value.size();
    if (key.empty()) out.Add(field, "has an empty key");
    if (key.find('=') != std::string::npos || key.find('\0') != std::string::npos) {
      out.Add(absl::StrCat(field, "[", EscapeLine(key.substr(0, kMaxName)), "]"), "a key holds neither '=' nor NUL");
    }
    if (value.find('\0') != std::string::npos) {
      out.Add(absl::StrCat(field, "[", EscapeLine(key.substr(0, kMaxName)), "]"), "the value holds a NUL byte");
    }
  }
  if (bytes > kMaxVariables) out.Add(field, absl::StrCat("has ", bytes, " bytes, at most ", kMaxVariables));
}

// As annotations of a kube namespace, "mayfly.dev/label.KEY", they have to be names there; and they are shown in lines.
void CheckLabels(const google::protobuf::Map<std::string, std::string>& labels, Violations& out) {
  if (labels.size() > kMaxLabels) {
    return out.Add("labels", absl::StrCat("has ", labels.size(), " entries, at most ", kMaxLabels));
  }
  for (const auto& [key, value] : labels) {
    const std::string field = absl::StrCat("labels[", EscapeLine(key.substr(0, kMaxLabelKey)), "]");
    const auto inside = [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; };
    if (key.empty() || key.size() > kMaxLabelKey || !std::all_of(key.begin(), key.end(), inside) ||
        !absl::ascii_isalnum(static_cast<unsigned char>(key.front())) ||
        !absl::ascii_isalnum(static_cast<unsigned char>(key.back()))) {
      out.Add(field, absl::StrCat("a key is letters, digits, '-', '_' and '.', from a letter or digit to one, at most ",
                                  kMaxLabelKey, " bytes"));
    }
    if (value.size() > kMaxLabelValue) {
      out.Add(field, absl::StrCat("the value has ", value.size(), " bytes, at most ", kMaxLabelValue));
    } else if (EscapeLine(value) != value) {
      out.Add(field, "the value holds control characters or is not UTF-8");
    }
  }
}

void CheckRequestId(const std::string& id, Violations& out) {
  if (!id.empty() && !IsUuid(id)) out.Add("request_id", "must be a UUID such as 7b0dd1c4-6ed5-4f0c-9f38-3e5b1b1d9c6a");
}

void CheckReplay(const v1::CreateEnvironmentRequest& request, Violations& out) {
  out.Check("replay", CheckName(request.replay()));
  const bool more = !request.source().empty() || !request.services().empty() || !request.tests().empty() ||
                    request.all_tests() || !request.profile().empty() || !request.variables().empty();
  if (more) out.Add("replay", "makes what was there: no source, services, tests, profile or variables go with it");
}

void CheckSource(const std::string& source, Violations& out) {
  if (source.empty()) return out.Add("source", "is required: the folder or envspec.yml to read");
  if (source[0] != '/') out.Add("source", "must be an absolute path on the server's machine");
  if (source.size() > kMaxPath) out.Add("source", absl::StrCat("is longer than ", kMaxPath, " bytes"));
  if (source.find('\0') != std::string::npos) out.Add("source", "holds a NUL byte");
}

}  // namespace

absl::Status ValidateName(const std::string& name) {
  Violations out;
  CheckEnvironmentName(name, out);
  return out.ToStatus();
}

absl::Status Validate(const v1::CreateEnvironmentRequest& request) {
  Violations out;
  if (!request.environment_id().empty()) out.Check("environment_id", CheckName(request.environment_id()));
  CheckRequestId(request.request_id(), out);
  if (request.replay().empty()) {
    CheckSource(request.source(), out);
  } else {
    CheckReplay(request, out);
  }
  CheckNames("services", request.services(), out);
  CheckNames("tests", request.tests(), out);
  if (!v1::CreateEnvironmentRequest::Keep_IsValid(request.keep())) out.Add("keep", "is not a known value");
  if (request.profile().size() > kMaxName) out.Add("profile", "is longer than any name can be");
  if (request.has_ttl()) CheckTtl("ttl", request.ttl(), out);
  CheckVariables("variables", request.variables(), out);
  CheckVariables("secrets", request.secrets(), out);
  CheckLabels(request.labels(), out);
  if (!request.engine().empty()) out.Check("engine", CheckName(request.engine()));
  return out.ToStatus();
}

absl::Status Validate(const v1::WatchEnvironmentRequest& request) {
  Violations out;
  CheckEnvironmentName(request.name(), out);
  if (request.from_sequence() < 0) out.Add("from_sequence", "must not be negative");
  return out.ToStatus();
}

absl::Status Validate(const v1::DeleteEnvironmentRequest& request) {
  return ValidateName(request.name());
}

absl::Status Validate(const v1::StreamLogsRequest& request) {
  Violations out;
  CheckEnvironmentName(request.name(), out);
  CheckNames("services", request.services(), out);
  if (request.tail_lines() < 0) out.Add("tail_lines", "must not be negative");
  return out.ToStatus();
}

absl::Status Validate(const v1::RunTestsRequest& request) {
  Violations out;
  CheckEnvironmentName(request.name(), out);
  CheckRequestId(request.request_id(), out);
  CheckNames("tests", request.tests(), out);
  return out.ToStatus();
}

absl::Status Validate(const v1::RestartServicesRequest& request) {
  Violations out;
  CheckEnvironmentName(request.name(), out);
  if (request.services().empty()) out.Add("services", "names at least one service to restart");
  CheckNames("services", request.services(), out);
  return out.ToStatus();
}

absl::Status Validate(const v1::GetReportRequest& request) {
  Violations out;
  CheckEnvironmentName(request.name(), out);
  if (!v1::GetReportRequest::Format_IsValid(request.format())) out.Add("format", "is not a known value");
  return out.ToStatus();
}

absl::Status Validate(const v1::ExecRequest::Start& start) {
  Violations out;
  CheckEnvironmentName(start.name(), out);
  if (start.service().empty()) out.Add("service", "is required");
  if (start.command().empty()) out.Add("command", "is required");
  for (int i = 0; i < start.command_size(); ++i) {
    if (start.command(i).find('\0') != std::string::npos) {
      out.Add(absl::StrCat("command[", i, "]"), "holds a NUL byte");
    }
  }
  if (start.columns() < 0 || start.columns() > 10000) out.Add("columns", "is from 0 to 10000");
  if (start.rows() < 0 || start.rows() > 10000) out.Add("rows", "is from 0 to 10000");
  return out.ToStatus();
}

absl::Status Validate(const v1::PortForwardRequest::Start& start) {
  Violations out;
  CheckEnvironmentName(start.name(), out);
  if (start.service().empty()) out.Add("service", "is required");
  if (start.port() < 1 || start.port() > 65535) out.Add("port", "is from 1 to 65535");
  return out.ToStatus();
}

bool ParsedFilter::Takes(const EnvironmentRecord& record) const {
  if (!exact_name.empty() && record.name != exact_name) return false;
  const std::map<std::string, std::string>& has = record.request.labels;
  return std::all_of(labels.begin(), labels.end(), [&](const auto& wanted) {
    const auto it = has.find(wanted.first);
    return it != has.end() && it->second == wanted.second;
  });
}

absl::StatusOr<ParsedFilter> ParseFilter(const v1::ListEnvironmentsRequest& request) {
  ParsedFilter out;
  out.filter.include_deleted = request.show_deleted();
  out.labels.insert(request.labels().begin(), request.labels().end());
  Violations violations;
  std::vector<std::string> terms;
  if (!absl::StripAsciiWhitespace(request.filter()).empty()) terms = absl::StrSplit(request.filter(), " AND ");
  for (const std::string& term : terms) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(term, absl::MaxSplits('=', 1));
    const absl::string_view key = absl::StripAsciiWhitespace(parts.first);
    const std::string value(absl::StripAsciiWhitespace(parts.second));
    if (value.empty()) {
      violations.Add("filter", absl::StrCat("'", EscapeLine(term), "' is not of the form key=value"));
    } else if (key == "state") {
      v1::Environment::State state = v1::Environment::STATE_UNSPECIFIED;
      if (!v1::Environment::State_Parse(value, &state) || state == v1::Environment::STATE_UNSPECIFIED) {
        violations.Add("filter", absl::StrCat("'", EscapeLine(value), "' is not a state such as ACTIVE"));
      }
      out.filter.states.push_back(static_cast<EnvironmentState>(state));
      if (state == v1::Environment::DELETED) out.filter.include_deleted = true;
    } else if (key == "owner") {
      out.filter.owner = value;
    } else if (key == "name") {
      out.filter.name_prefix = absl::EndsWith(value, "*") ? value.substr(0, value.size() - 1) : value;
      if (!absl::EndsWith(value, "*")) out.exact_name = value;
    } else {
      violations.Add("filter", absl::StrCat("unknown key '", EscapeLine(key), "'; known are state, owner and name"));
    }
  }
  MAYFLY_RETURN_IF_ERROR(violations.ToStatus());
  return out;
}

absl::StatusOr<int> PageSize(const v1::ListEnvironmentsRequest& request) {
  if (request.page_size() < 0) return absl::InvalidArgumentError("page_size: must not be negative");
  return request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kMaxPage);
}

absl::StatusOr<Provisioner::UpdateOptions> ParseUpdate(const v1::UpdateEnvironmentRequest& request) {
  const v1::Environment& environment = request.environment();
  Violations out;
  if (environment.name().empty()) out.Add("environment.name", "is required");
  if (request.update_mask().paths().empty()) out.Add("update_mask", "is required: ttl or expire_time");
  Provisioner::UpdateOptions options;
  options.etag = environment.etag();
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "ttl") {
      CheckTtl("environment.ttl", environment.ttl(), out);
      options.ttl = FromProto(environment.ttl());
    } else if (path == "expire_time") {
      if (!environment.has_expire_time()) out.Add("environment.expire_time", "is in update_mask but not given");
      options.expire_time = FromProto(environment.expire_time());
    } else {
      out.Add("update_mask", absl::StrCat("'", EscapeLine(path), "' cannot be changed; ttl and expire_time can"));
    }
  }
  if (options.ttl && options.expire_time) out.Add("update_mask", "has both ttl and expire_time: give one");
  MAYFLY_RETURN_IF_ERROR(out.ToStatus());
  return options;
}

}  // namespace mayfly::api
