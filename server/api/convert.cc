#include "server/api/convert.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly::api {
namespace {

// Length of the UTF-8 sequence at the start of `text`, 0 when it is none.
size_t Utf8Sequence(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead < 0xe0   ? 2
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4
                                                      : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies above the last code point.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0)) return 0;
  if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) return 0;
  return length;
}

}  // namespace

std::string Utf8(const std::string& text) {
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t length = Utf8Sequence(rest);
    if (length == 0) return EscapeLine(text);
    rest.remove_prefix(length);
  }
  return text;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp proto;
  const int64_t seconds = absl::ToUnixSeconds(time);
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return proto;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  const int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// The numbers are the same on both sides on purpose; convert_test holds them to it.
v1::Environment::State ToProto(EnvironmentState state) {
  return static_cast<v1::Environment::State>(state);
}
v1::Node::State ToProto(NodeState state) {
  return static_cast<v1::Node::State>(state);
}
v1::Verdict ToProto(Verdict verdict) {
  return static_cast<v1::Verdict>(verdict);
}

v1::Node::Kind ToProto(NodeKind kind) {
  switch (kind) {
    case NodeKind::kService:
      return v1::Node::SERVICE;
    case NodeKind::kJob:
      return v1::Node::JOB;
    case NodeKind::kTestJob:
      return v1::Node::TEST_JOB;
  }
  return v1::Node::KIND_UNSPECIFIED;
}

v1::Cause ToProto(const Cause& cause) {
  v1::Cause proto;
  proto.set_code(std::string(InfoFor(cause.code).name));
  proto.set_node(Utf8(cause.node));
  proto.set_message(Utf8(cause.message));
  proto.set_hint(cause.hint.empty() ? std::string(InfoFor(cause.code).advice) : Utf8(cause.hint));
  for (const std::string& line : cause.evidence) proto.add_evidence(Utf8(line));
  proto.set_inferred(cause.inferred);
  return proto;
}

v1::Usage ToProto(const Usage& usage) {
  v1::Usage proto;
  if (usage.cpu >= absl::ZeroDuration()) *proto.mutable_cpu() = ToProto(usage.cpu);
  if (usage.peak_memory_bytes >= 0) proto.set_peak_memory_bytes(usage.peak_memory_bytes);
  return proto;
}

v1::Receipt ToProto(const Receipt& receipt) {
  v1::Receipt proto;
  proto.set_processes(receipt.processes);
  proto.set_mounts(receipt.mounts);
  proto.set_networks(receipt.networks);
  proto.set_cgroups(receipt.cgroups);
  proto.set_ports(receipt.ports);
  *proto.mutable_took() = ToProto(receipt.took);
  for (const std::string& blocker : receipt.blockers) proto.add_blockers(Utf8(blocker));
  proto.set_ending(Utf8(receipt.ending));
  return proto;
}

v1::Node ToProto(const PlannedNode& node) {
  v1::Node proto;
  proto.set_name(node.name);
  proto.set_kind(ToProto(node.kind));
  proto.set_state(v1::Node::WAITING);
  for (const std::string& need : node.needs) proto.add_needs(need);
  for (const std::string& why : node.why) proto.add_why(why);
  *proto.mutable_expected() = ToProto(node.expected);
  return proto;
}

v1::Node ToProto(const NodeView& node) {
  v1::Node proto = ToProto(node.planned);
  proto.set_state(ToProto(node.state));
  proto.set_attempt(node.attempt);
  if (node.start_time >= absl::ZeroDuration()) *proto.mutable_start_time() = ToProto(node.start_time);
  if (node.usage.cpu >= absl::ZeroDuration() || node.usage.peak_memory_bytes >= 0) {
    *proto.mutable_usage() = ToProto(node.usage);
  }
  if (!node.cause.empty()) *proto.mutable_cause() = ToProto(node.cause);
  proto.set_message(Utf8(node.message));
  for (const auto& [port, reachable] : node.endpoints) {
    v1::Endpoint* endpoint = proto.add_endpoints();
    endpoint->set_port(port);
    endpoint->set_address(reachable.address);
    endpoint->set_url(reachable.url);
  }
  return proto;
}

v1::Event ToProto(const Event& event) {
  v1::Event proto;
  proto.set_sequence(event.sequence);
  *proto.mutable_time() = ToProto(event.time);
  *proto.mutable_offset() = ToProto(event.offset);
  proto.set_kind(static_cast<v1::Event::Kind>(event.kind));
  if (event.kind == EventKind::kState) proto.set_environment_state(ToProto(event.environment_state));
  proto.set_node(Utf8(event.node));
  proto.set_attempt(event.attempt);
  if (event.kind == EventKind::kNode) proto.set_node_state(ToProto(event.node_state));
  proto.set_verdict(ToProto(event.verdict));
  if (!event.cause.empty()) *proto.mutable_cause() = ToProto(event.cause);
  proto.set_message(Utf8(event.message));
  proto.set_exit_code(event.exit_code);
  proto.set_signal(event.signal);
  if (event.usage.cpu >= absl::ZeroDuration() || event.usage.peak_memory_bytes >= 0) {
    *proto.mutable_usage() = ToProto(event.usage);
  }
  const bool ends =
      event.kind == EventKind::kReceipt || event.kind == EventKind::kHeld || event.kind == EventKind::kGone;
  if (ends) *proto.mutable_receipt() = ToProto(event.receipt);
  for (const PlannedNode& node : event.plan) *proto.add_plan() = ToProto(node);
  for (const auto& [key, value] : event.attributes) (*proto.mutable_attributes())[Utf8(key)] = Utf8(value);
  return proto;
}

v1::Diagnostic ToProto(const Diagnostic& diagnostic) {
  v1::Diagnostic proto;
  proto.set_severity(diagnostic.severity == Severity::kError ? v1::Diagnostic::ERROR : v1::Diagnostic::WARNING);
  proto.set_file(Utf8(diagnostic.pos.file));
  proto.set_line(diagnostic.pos.line);
  proto.set_column(diagnostic.pos.column);
  proto.set_message(Utf8(diagnostic.message));
  proto.set_hint(Utf8(diagnostic.hint));
  proto.set_source_line(Utf8(diagnostic.source_line));
  return proto;
}

v1::ServerInfo::Check ToProto(const CapabilityCheck& check) {
  v1::ServerInfo::Check proto;
  proto.set_name(check.name);
  switch (check.result) {
    case CapabilityCheck::Result::kOk:
      proto.set_result(v1::ServerInfo::Check::OK);
      break;
    case CapabilityCheck::Result::kDegraded:
      proto.set_result(v1::ServerInfo::Check::DEGRADED);
      break;
    case CapabilityCheck::Result::kMissing:
      proto.set_result(v1::ServerInfo::Check::MISSING);
      break;
  }
  proto.set_detail(Utf8(check.detail));
  proto.set_remedy(check.remedy);
  return proto;
}

v1::PlanEnvironmentResponse ToProto(const Plan& plan, const Diagnostics& diagnostics) {
  v1::PlanEnvironmentResponse proto;
  proto.set_catalogue(plan.catalogue);
  proto.set_root(plan.root);
  for (const PlanNode& node : plan.nodes) {
    v1::Node* out = proto.add_nodes();
    out->set_name(node.name);
    out->set_kind(ToProto(node.kind));
    out->set_state(v1::Node::WAITING);
    for (const PlanEdge& edge : node.needs) {
      const absl::string_view condition = edge.condition == Condition::kReady     ? ""
                                          : edge.condition == Condition::kStarted ? ":started"
                                                                                  : ":completed";
      out->add_needs(absl::StrCat(plan.nodes[edge.node].name, condition));
    }
    for (const std::string& why : node.why) out->add_why(why);
    *out->mutable_expected() = ToProto(node.expected);
  }
  *proto.mutable_critical_path() = ToProto(plan.critical_path);
  for (const Diagnostic& diagnostic : diagnostics) *proto.add_diagnostics() = ToProto(diagnostic);
  proto.set_digest(plan.digest);
  return proto;
}

v1::Environment ToProto(const EnvironmentView& view, Nodes nodes) {
  const EnvironmentRecord& record = view.record;
  v1::Environment proto;
  proto.set_name(record.name);
  proto.set_uid(record.uid);
  proto.set_generation(record.generation);
  proto.set_state(ToProto(record.state));
  proto.set_verdict(ToProto(record.verdict));
  if (!record.cause.empty()) *proto.mutable_cause() = ToProto(record.cause);
  proto.set_source(record.request.source);
  proto.set_catalogue(view.catalogue);
  proto.set_engine(record.request.engine);
  proto.set_owner(record.request.owner);
  *proto.mutable_create_time() = ToProto(record.create_time);
  *proto.mutable_update_time() = ToProto(record.update_time);
  if (record.expire_time != absl::InfiniteFuture()) *proto.mutable_expire_time() = ToProto(record.expire_time);
  if (record.delete_time != absl::InfiniteFuture()) *proto.mutable_delete_time() = ToProto(record.delete_time);
  proto.set_etag(absl::StrCat(record.etag));
  if (nodes == Nodes::kWith) {
    for (const NodeView& node : view.nodes) *proto.add_nodes() = ToProto(node);
  }
  proto.set_last_sequence(view.last_sequence);
  proto.set_ending(Utf8(view.ending));
  for (const std::string& holder : view.held) proto.add_held_by(Utf8(holder));
  if (record.delete_time != absl::InfiniteFuture()) *proto.mutable_released_at() = ToProto(record.delete_time);
  if (view.gone_time != absl::InfiniteFuture()) *proto.mutable_gone_at() = ToProto(view.gone_time);
  for (const auto& [key, value] : record.request.labels) (*proto.mutable_labels())[key] = Utf8(value);
  return proto;
}

absl::StatusOr<EnvironmentViewRef> FindEnvironment(Provisioner& provisioner, const std::string& name,
                                                   const std::string& uid) {
  absl::StatusOr<EnvironmentViewRef> view = uid.empty() ? provisioner.Get(name) : provisioner.GetByUid(uid);
  if (view.ok() && (*view)->record.name != name) {
    return absl::NotFoundError(absl::StrCat("uid ", EscapeLine(uid), " is not an environment named ", name));
  }
  return view;
}

EnvironmentRequest FromProto(const v1::CreateEnvironmentRequest& request, absl::string_view owner) {
  EnvironmentRequest out;
  out.request_id = request.request_id();
  out.name = request.environment_id();
  out.source = request.source();
  out.services.assign(request.services().begin(), request.services().end());
  out.tests.assign(request.tests().begin(), request.tests().end());
  out.all_tests = request.all_tests();
  switch (request.keep()) {
    case v1::CreateEnvironmentRequest::NEVER:
      out.keep = Keep::kNever;
      break;
    case v1::CreateEnvironmentRequest::ON_FAILURE:
      out.keep = Keep::kOnFailure;
      break;
    default:
      out.keep = Keep::kAlways;
  }
  out.profile = request.profile();
  if (request.has_ttl()) out.ttl = FromProto(request.ttl());
  out.variables.insert(request.variables().begin(), request.variables().end());
  out.secrets.insert(request.secrets().begin(), request.secrets().end());
  out.labels.insert(request.labels().begin(), request.labels().end());
  out.engine = request.engine();
  out.owner = std::string(owner);
  return out;
}

}  // namespace mayfly::api
