// Records and events for tests of stores.
#ifndef MAYFLY_TESTS_SUPPORT_STORE_RECORDS_H_
#define MAYFLY_TESTS_SUPPORT_STORE_RECORDS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mayfly/report/event.h"
#include "server/store/store.h"

namespace mayfly {

inline absl::Time TestTime(int seconds = 0) {
  return absl::FromUnixSeconds(1700000000 + seconds);
}

// "checkout" with uid "uid-checkout".
inline EnvironmentRecord TestRecord(const std::string& name) {
  EnvironmentRecord record;
  record.name = name;
  record.uid = absl::StrCat("uid-", name);
  record.create_time = TestTime();
  record.update_time = TestTime();
  record.expire_time = TestTime(3600);
  record.request.name = name;
  record.request.source = "/src/shop";
  record.request.owner = "ci";
  return record;
}

inline Event TestEvent(int64_t sequence, EventKind kind = EventKind::kNote) {
  Event event;
  event.sequence = sequence;
  event.time = TestTime(static_cast<int>(sequence));
  event.offset = absl::Milliseconds(sequence);
  event.kind = kind;
  event.message = absl::StrCat("event ", sequence);
  return event;
}

inline std::vector<Event> TestEvents(int64_t first, int64_t last) {
  std::vector<Event> events;
  for (int64_t sequence = first; sequence <= last; ++sequence) events.push_back(TestEvent(sequence));
  return events;
}

// An event of which no field has its default.
inline Event FullEvent(int64_t sequence) {
  Event event = TestEvent(sequence, EventKind::kNode);
  event.environment_state = EnvironmentState::kTesting;
  event.node = "checkout";
  event.attempt = 2;
  event.node_state = NodeState::kFailed;
  event.verdict = Verdict::kError;
  event.cause = {CauseCode::kOutOfMemory, "checkout", "used 128 MiB of 128 MiB", "raise it",
                 {"line 1", "\"2\"\n"},   true};
  event.exit_code = 137;
  event.signal = 9;
  event.usage = {absl::Microseconds(1500), 128 << 20};
  event.receipt = {1, 2, 3, 4, 5, absl::Milliseconds(7), {"/mnt/x: busy"}};
  event.plan = {{"postgres", NodeKind::kService, {}, {"needed by checkout"}, absl::Milliseconds(300), false},
                {"e2e", NodeKind::kTestJob, {"checkout", "migrate:completed"}, {"asked for"}, absl::Seconds(2), true}};
  event.attributes = {{"port", "8080"}, {"url", "http://127.0.0.1:20480"}};
  return event;
}

// Everything of an event as text, for comparing and for messages. Times to the nanosecond.
inline std::string EventText(const Event& e) {
  std::string out =
      absl::StrCat(e.sequence, " ", absl::FormatTime(absl::RFC3339_full, e.time, absl::UTCTimeZone()), " +",
                   absl::FormatDuration(e.offset), " kind=", static_cast<int>(e.kind),
                   " state=", EnvironmentStateName(e.environment_state), " node=", e.node, "#", e.attempt, " ",
                   NodeStateName(e.node_state), " verdict=", VerdictName(e.verdict), " message=", e.message,
                   " exit=", e.exit_code, " signal=", e.signal, " cpu=", absl::FormatDuration(e.usage.cpu),
                   " memory=", e.usage.peak_memory_bytes, " cause=", FormatCause(e.cause), "|", e.cause.hint);
  for (const std::string& line : e.cause.evidence) absl::StrAppend(&out, "|", line);
  const Receipt& r = e.receipt;
  absl::StrAppend(&out, " receipt=", r.processes, ",", r.mounts, ",", r.networks, ",", r.cgroups, ",", r.ports, ",",
                  absl::FormatDuration(r.took));
  for (const std::string& blocker : r.blockers) absl::StrAppend(&out, "|", blocker);
  for (const PlannedNode& node : e.plan) {
    absl::StrAppend(&out, " plan=", node.name, ",", static_cast<int>(node.kind), ",",
                    absl::FormatDuration(node.expected), ",", node.flaky);
    for (const std::string& need : node.needs) absl::StrAppend(&out, "<", need);
    for (const std::string& why : node.why) absl::StrAppend(&out, "?", why);
  }
  for (const auto& [key, value] : e.attributes) absl::StrAppend(&out, " ", key, "=", value);
  return out;
}

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_STORE_RECORDS_H_
