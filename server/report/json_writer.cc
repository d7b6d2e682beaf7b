#include "server/report/json_writer.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "server/report/node_track.h"
#include "server/report/summary.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

// Whole microseconds, so that numbers stay short; a whole number without ".0".
Json Ms(absl::Duration duration) {
  if (!Known(duration) || duration == absl::InfiniteDuration()) return nullptr;
  const double us = std::round(absl::ToDoubleMicroseconds(duration));
  if (std::fmod(us, 1000) == 0) return static_cast<int64_t>(us / 1000);
  return us / 1000;
}

Json OrNull(absl::string_view text) {
  return text.empty() ? Json(nullptr) : Json(std::string(text));
}

Json At(absl::Time time) {
  if (time == absl::InfiniteFuture()) return nullptr;
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

Json ToJson(const Cause& cause) {
  if (cause.empty()) return nullptr;
  return {{"code", std::string(InfoFor(cause.code).name)},
          {"node", OrNull(cause.node)},
          {"message", cause.message},
          {"hint", Advice(cause)},
          {"inferred", cause.inferred},
          {"evidence", cause.evidence}};
}

Json ToJson(const std::vector<ReportImage>& images) {
  Json json = Json::array();
  for (const ReportImage& image : images) json.push_back({{"name", image.name}, {"digest", OrNull(image.digest)}});
  return json;
}

Json ToJson(const ReportNode& node) {
  return {{"name", node.name},
          {"kind", node.kind == NodeKind::kJob ? "job" : "service"},
          {"state", std::string(NodeStateName(node.state))},
          {"start_ms", Ms(StartTime(node))},
          {"cpu_ms", node.usage.cpu < absl::ZeroDuration() ? Json(nullptr) : Ms(node.usage.cpu)},
          {"peak_memory_bytes", node.usage.peak_memory_bytes < 0 ? Json(nullptr) : Json(node.usage.peak_memory_bytes)},
          {"attempts", node.attempts},
          {"released_ms", Ms(node.released)},
          {"started_ms", Ms(node.started)},
          {"ready_ms", Ms(node.ready)},
          {"ended_ms", Ms(node.ended)},
          {"needs", node.needs},
          {"why", node.why},
          {"urls", node.urls},
          {"images", ToJson(node.images)},
          {"cause", ToJson(node.cause)}};
}

Json ToJson(const ReportTest& test) {
  const auto count = [&](int value) { return test.tests < 0 ? Json(nullptr) : Json(value); };
  return {{"name", test.job},
          {"state", std::string(NodeStateName(test.state))},
          {"took_ms", Ms(Took(test))},
          {"tries", test.tries},
          {"flaky", test.flaky},
          {"tests", count(test.tests)},
          {"failures", count(test.failures)},
          {"errors", count(test.errors)},
          {"skipped", count(test.skipped)},
          {"junit", OrNull(test.junit)},
          {"artifacts", OrNull(test.artifacts)},
          {"note", OrNull(test.note)},
          {"images", ToJson(test.images)},
          {"cause", ToJson(test.cause)}};
}

Json ToJson(const ChainLink& link) {
  return {{"node", OrNull(link.node)},
          {"phase", link.phase},
          {"from_ms", Ms(link.from)},
          {"to_ms", Ms(link.to)},
          {"took_ms", Ms(link.to - link.from)}};
}

Json Teardown(const Report& report) {
  const Receipt& r = report.teardown;
  return {{"complete", report.torn_down},
          {"took_ms", report.torn_down ? Ms(r.took) : Json(nullptr)},
          {"processes", r.processes},
          {"networks", r.networks},
          {"mounts", r.mounts},
          {"cgroups", r.cgroups},
          {"ports", r.ports},
          {"blockers", r.blockers},
          {"released_at", At(report.released_at)},
          {"gone_at", At(report.gone_at)},
          {"gone_ms", Ms(report.gone_after)},
          {"ending", OrNull(report.gone_at == absl::InfiniteFuture() ? r.ending : "")},
          {"held_by", report.held}};
}

template <typename T>
Json List(const std::vector<T>& items) {
  Json out = Json::array();
  for (const T& item : items) out.push_back(ToJson(item));
  return out;
}

}  // namespace

std::string WriteJson(const Report& report) {
  Json json = Json::object();
  json["verdict"] = OrNull(VerdictName(report.verdict));
  json["cause"] = ToJson(report.cause);
  json["summary"] = Headline(report);
  json["version"] = kVersion;
  json["environment"] = report.environment;
  json["catalogue"] = report.catalogue;
  json["engine"] = report.engine;
  json["state"] = std::string(EnvironmentStateName(report.state));
  json["create_time"] = At(report.create_time);
  json["ready_ms"] = Ms(report.ready_after);
  json["verdict_ms"] = Ms(report.verdict_after);
  json["total_ms"] = Ms(report.total);
  json["explained"] = std::round(report.explained * 10000) / 10000;
  json["overhead_ms"] = Ms(report.overhead);
  json["critical_chain"] = List(report.critical_chain);
  json["tests"] = List(report.tests);
  json["services"] = List(report.services);
  json["teardown"] = Teardown(report);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mayfly
