// What `egress` makes of a pod, and what it never opens.
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/egress_objects.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const Place kPlace{"mf-shop-1", "test", "0123456789abcdef"};
const NodeRef kNodeRef{"mf-shop-1", "web", 2};

ProcessSpec Caller(std::vector<std::string> egress) {
  ProcessSpec process;
  process.argv = {"/bin/app"};
  process.image = "app:1";
  process.ports = {{"http", 8080}};
  process.egress = std::move(egress);
  return process;
}

json PodOf(const ProcessSpec& process) {
  return PodObjects(kPlace, kNodeRef, process, {"192.0.2.1:7000", "token", ""}).back().object;
}

std::string Variable(const json& pod, const std::string& name) {
  for (const json& variable : pod["spec"]["containers"][0]["env"]) {
    if (variable["name"] == name) return variable.value("value", "");
  }
  return "";
}

TEST(EgressObjectsTest, ANameStandsForAnAddressWhereTheGateListens) {
  const ProcessSpec process =
      Caller({"API.stripe.com:443", "203.0.113.7:5432", "api.stripe.com:80", "db.example:5432"});
  const json pod = PodOf(process);
  EXPECT_EQ(Variable(pod, "MAYFLY_GATE_OUT"), "127.77.0.1:443 127.77.0.1:80 127.77.0.2:5432");
  EXPECT_EQ(pod["spec"]["hostAliases"], json::parse(R"([{"ip": "127.77.0.1", "hostnames": ["api.stripe.com"]},
                            {"ip": "127.77.0.2", "hostnames": ["db.example"]}])"));
  EXPECT_EQ(pod["spec"]["securityContext"]["sysctls"][0]["value"], "0") << "the gate listens on 443";
  EXPECT_EQ(WaysOut(process)[2].target.host, "db.example");
}

TEST(EgressObjectsTest, AnAddressIsAPolicyOfThatPod) {
  const std::vector<Creation> made = EgressObjects(kPlace, kNodeRef, Caller({"203.0.113.7:443", "a.example:443"}));
  ASSERT_EQ(made.size(), 1);
  EXPECT_EQ(made[0].object["spec"], json::parse(R"({
    "podSelector": {"matchLabels": {"mayfly.dev/node": "web", "mayfly.dev/attempt": "2"}},
    "policyTypes": ["Egress"],
    "egress": [{"to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}], "ports": [{"protocol": "TCP", "port": 443}]}]})"));
}

TEST(EgressObjectsTest, WithoutEgressThereIsNothing) {
  EXPECT_TRUE(EgressObjects(kPlace, kNodeRef, Caller({"a.example:443"})).empty());
  const json pod = PodOf(Caller({}));
  EXPECT_FALSE(pod["spec"].contains("hostAliases"));
  EXPECT_EQ(Variable(pod, "MAYFLY_GATE_OUT"), "");
}

TEST(EgressObjectsTest, PassAdmission) {
  const ProcessSpec process = Caller({"api.stripe.com:443", "203.0.113.7:5432"});
  EXPECT_EQ(AdmitAll(kPlace, PodObjects(kPlace, kNodeRef, process, {"192.0.2.1:7000", "token", ""})), absl::OkStatus());
}

TEST(EgressObjectsTest, ALaterServerKnowsTheWays) {
  const json pod = PodOf(Caller({"api.stripe.com:443"}));
  EXPECT_EQ(WaysOut(ProcessOf(pod["metadata"]["annotations"][kProcess])).size(), 1);
}

TEST(EgressObjectsTest, WhatIsNoOtherMachinesIsRefused) {
  for (const char* bad : {"127.0.0.1:80", "169.254.169.254:80", "0.0.0.0:80", "224.0.0.1:80", "x", "x:0", "a b:80"}) {
    EXPECT_EQ(CheckProcess(Caller({bad})).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_THAT(CheckProcess(Caller({"api.example:8080"})).message(), HasSubstr("cannot listen on the port of a name"));
  EXPECT_EQ(CheckProcess(Caller({"203.0.113.7:8080", "api.example:443"})), absl::OkStatus());
}

TEST(EgressAdmissionTest, NothingElseIsOpened) {
  const Creation policy = EgressObjects(kPlace, kNodeRef, Caller({"203.0.113.7:443"})).front();
  const std::vector<std::pair<std::string, json>> changes = {
      {"/spec/podSelector/matchLabels/app", "x"},
      {"/spec/policyTypes", {"Ingress", "Egress"}},
      {"/spec/policyTypes", {"Ingress"}},
      {"/spec/ingress", json::array()},
      {"/spec/egress", json::array()},
      {"/spec/egress/0", json::object()},
      {"/spec/egress/0/ports", json::array()},
      {"/spec/egress/0/ports/0/endPort", 9000},
      {"/spec/egress/0/to", json::array()},
      {"/spec/egress/0/to/0", {{"namespaceSelector", json::object()}}},
      {"/spec/egress/0/to/0/ipBlock/cidr", "0.0.0.0/0"},
      {"/spec/egress/0/to/0/ipBlock/cidr", "203.0.113.0/24"},
      {"/spec/egress/0/to/0/ipBlock/cidr", "169.254.169.254/32"},
      {"/spec/egress/0/to/0/ipBlock/cidr", "127.0.0.1/32"},
      {"/spec/egress/0/to/0/ipBlock/except", json::array()}};
  for (const auto& [pointer, value] : changes) {
    SCOPED_TRACE(pointer + " " + value.dump());
    Creation changed = policy;
    changed.object[json::json_pointer(pointer)] = value;
    EXPECT_EQ(Admit(kPlace, changed).code(), absl::StatusCode::kPermissionDenied);
  }
}

TEST(EgressAdmissionTest, NamesStandForNothingButTheGate) {
  const Creation pod = PodObjects(kPlace, kNodeRef, Caller({"a.example:443"}), {"192.0.2.1:7000", "token", ""}).back();
  const std::vector<std::pair<std::string, json>> changes = {{"/spec/hostAliases/0/ip", "203.0.113.7"},
                                                             {"/spec/hostAliases/0/ip", "127.0.0.1"},
                                                             {"/spec/hostAliases/0/hostnames", json::array()},
                                                             {"/spec/hostAliases/0/hostnames/0", "a b"},
                                                             {"/spec/hostAliases/0/more", true}};
  for (const auto& [pointer, value] : changes) {
    SCOPED_TRACE(pointer);
    Creation changed = pod;
    changed.object[json::json_pointer(pointer)] = value;
    EXPECT_EQ(Admit(kPlace, changed).code(), absl::StatusCode::kPermissionDenied);
  }
}

}  // namespace
}  // namespace mayfly::kubernetes
