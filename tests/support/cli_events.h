// Canned events of a small shop, for tests of what the CLI shows.
#ifndef MAYFLY_TESTS_SUPPORT_CLI_EVENTS_H_
#define MAYFLY_TESTS_SUPPORT_CLI_EVENTS_H_

#include <string>
#include <vector>

#include "client/lib/convert.h"
#include "mayfly/v1/environment.pb.h"

namespace mayfly {

// Builds a numbered log, one event per call, at chosen offsets.
class CannedEvents {
 public:
  v1::Event& Add(int ms, v1::Event::Kind kind) {
    v1::Event& event = events.emplace_back();
    event.set_sequence(static_cast<int64_t>(events.size()));
    *event.mutable_time() = ToProto(absl::FromUnixSeconds(1'700'000'000) + absl::Milliseconds(ms));
    *event.mutable_offset() = ToProto(absl::Milliseconds(ms));
    event.set_kind(kind);
    return event;
  }
  v1::Event& State(int ms, v1::Environment::State state) {
    v1::Event& event = Add(ms, v1::Event::STATE);
    event.set_environment_state(state);
    return event;
  }
  v1::Event& Node(int ms, const std::string& name, v1::Node::State state, const std::string& message = "") {
    v1::Event& event = Add(ms, v1::Event::NODE);
    event.set_node(name);
    event.set_node_state(state);
    event.set_attempt(1);
    event.set_message(message);
    return event;
  }
  v1::Event& Verdict(int ms, v1::Verdict verdict) {
    v1::Event& event = Add(ms, v1::Event::VERDICT);
    event.set_verdict(verdict);
    return event;
  }
  static void Plan(v1::Event& event, const std::string& name, v1::Node::Kind kind,
                   const std::vector<std::string>& needs) {
    v1::Node* node = event.add_plan();
    node->set_name(name);
    node->set_kind(kind);
    for (const std::string& need : needs) node->add_needs(need);
  }
  static void Fail(v1::Cause& cause) {
    cause.set_code("OUT_OF_MEMORY");
    cause.set_node("cart");
    cause.set_message("used 128 MiB of 128 MiB");
    cause.add_evidence("allocating the cache");
    cause.add_evidence("\x1b[31mred\x1b[0m and dead\x07");
  }
  void Receipt(int ms) {
    v1::Receipt* receipt = Add(ms, v1::Event::RECEIPT).mutable_receipt();
    receipt->set_processes(9);
    receipt->set_mounts(12);
    receipt->set_networks(3);
    *receipt->mutable_took() = ToProto(absl::Milliseconds(24));
  }

  // Up to postgres ready and cart starting.
  static CannedEvents HalfWay() {
    CannedEvents log;
    log.Add(0, v1::Event::ACCEPTED);
    log.State(0, v1::Environment::CREATING);
    v1::Event& plan = log.Add(4, v1::Event::PLANNED);
    Plan(plan, "postgres", v1::Node::SERVICE, {});
    Plan(plan, "cart.migrate", v1::Node::JOB, {"postgres"});
    Plan(plan, "cart", v1::Node::SERVICE, {"postgres", "cart.migrate:completed"});
    Plan(plan, "gateway", v1::Node::SERVICE, {"cart"});
    Plan(plan, "order-e2e", v1::Node::TEST_JOB, {"gateway"});
    for (const char* phase : {"launch", "running"}) {
      (*log.Node(6, "postgres", v1::Node::STARTING).mutable_attributes())["phase"] = phase;
    }
    log.Node(826, "postgres", v1::Node::READY);
    (*log.Node(827, "cart.migrate", v1::Node::STARTING).mutable_attributes())["phase"] = "launch";
    log.Node(947, "cart.migrate", v1::Node::SUCCEEDED);
    (*log.Node(948, "cart", v1::Node::STARTING).mutable_attributes())["phase"] = "launch";
    v1::Event& note = log.Add(1000, v1::Event::NOTE);
    note.set_node("cart");
    note.set_message("probe: connection refused \x1b]0;owned\x07");
    return log;
  }
  // The whole way to PASSED and gone.
  static CannedEvents Passed() {
    CannedEvents log = HalfWay();
    log.Node(1148, "cart", v1::Node::READY);
    (*log.Node(1149, "gateway", v1::Node::STARTING).mutable_attributes())["phase"] = "launch";
    v1::Event& exposed = log.Add(1150, v1::Event::EXPOSED);
    exposed.set_node("gateway");
    (*exposed.mutable_attributes())["url"] = "http://127.0.0.1:20480";
    log.Node(1250, "gateway", v1::Node::READY);
    log.State(1250, v1::Environment::ACTIVE);
    log.State(1251, v1::Environment::TESTING);
    (*log.Node(1252, "order-e2e", v1::Node::STARTING).mutable_attributes())["phase"] = "launch";
    log.Node(2652, "order-e2e", v1::Node::SUCCEEDED);
    log.Verdict(2653, v1::VERDICT_PASSED);
    log.State(2654, v1::Environment::DELETING);
    log.Receipt(2680);
    log.State(2681, v1::Environment::DELETED);
    return log;
  }
  // cart runs out of memory; what needs it is skipped; the environment is kept when `kept`, else removed.
  static CannedEvents Broken(bool kept) {
    CannedEvents log = HalfWay();
    Fail(*log.Node(1148, "cart", v1::Node::FAILED).mutable_cause());
    for (const char* name : {"gateway", "order-e2e"}) {
      v1::Cause* cause = log.Node(1149, name, v1::Node::SKIPPED).mutable_cause();
      cause->set_code("DEPENDENCY_FAILED");
      cause->set_node("cart");
    }
    Fail(*log.Verdict(1150, v1::VERDICT_ERROR).mutable_cause());
    if (kept) {
      Fail(*log.State(1151, v1::Environment::FAILED).mutable_cause());
    } else {
      log.State(1151, v1::Environment::DELETING);
      log.Receipt(1180);
      log.State(1181, v1::Environment::DELETED);
    }
    return log;
  }

  std::vector<v1::Event> events;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_CLI_EVENTS_H_
