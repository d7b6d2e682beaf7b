// Hosts and objects of exposed ports, and when their URL is told.
#include <deque>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/ingress_route.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const Place kPlace{"mf-shop-1", "test", "0123456789abcdef"};
const IngressOptions kOptions{"preview.example.com", "nginx", "ingress-nginx", false};

ProcessSpec Web() {
  ProcessSpec process;
  process.ports = {{"main", 8080, true}, {"http", 8081, true}, {"sql", 5432, true}};
  process.probe.kind = Probe::Kind::kHttp;
  process.probe.port = 8080;
  return process;
}

TEST(IngressLabelTest, IsServiceAndEnvironment) {
  EXPECT_EQ(IngressLabel(Web(), "web", 8080, "pr-123"), "web-pr-123");
}

TEST(IngressLabelTest, OnlyPortsThatSpeakHttpAreLedTo) {
  EXPECT_TRUE(SpeaksHttp(Web(), 8080));
  EXPECT_TRUE(SpeaksHttp(Web(), 8081));
  EXPECT_FALSE(SpeaksHttp(Web(), 5432));
}

TEST(IngressLabelTest, NoTwoPortsShareOne) {
  std::set<std::string> labels;
  int made = 0;
  const std::vector<std::string> names = {
      "a", "b", "a-b", "b-c", "a-b-c", "c", "8080", "a-8080", std::string(63, 'x'), std::string(62, 'x')};
  for (const std::string& service : names) {
    for (const std::string& environment : names) {
      for (const int port : {8080, 8081}) {
        labels.insert(IngressLabel(Web(), service, port, environment));
        ++made;
      }
    }
  }
  EXPECT_EQ(labels.size(), made);
  for (const std::string& label : labels) {
    EXPECT_LE(label.size(), 63);
    EXPECT_NE(label.back(), '-');
  }
  // An environment that is named like another one's hash gets one of its own.
  const std::string hashed = IngressLabel(Web(), "a-b", 8080, "c");
  EXPECT_NE(IngressLabel(Web(), "a", 8080, hashed.substr(2)), hashed);
}

TEST(IngressObjectsTest, PassAdmission) {
  for (const IngressOptions& options : {kOptions, IngressOptions{"x.test", "", "", true}}) {
    const std::vector<Creation> made = IngressObjects(kPlace, "web", 8080, "web-pr", options);
    EXPECT_EQ(AdmitAll(kPlace, made), absl::OkStatus());
    EXPECT_EQ(made.back().object["spec"]["rules"][0]["host"], absl::StrCat("web-pr.", options.domain));
    EXPECT_EQ(made.back().object["spec"].contains("tls"), options.tls);
  }
}

TEST(IngressObjectsTest, APolicyOfANodeOpensNothingElse) {
  const Creation made = IngressObjects(kPlace, "web", 8080, "web-pr", kOptions).front();
  const std::vector<std::pair<std::string, json>> changes = {
      {"/spec/podSelector/matchLabels/app", "x"},
      {"/spec/policyTypes", {"Ingress", "Egress"}},
      {"/spec/policyTypes", json::array()},
      {"/spec/ingress", json::array()},
      {"/spec/ingress/0", json::object()},
      {"/spec/ingress/0/ports", json::array()},
      {"/spec/ingress/0/ports/0/endPort", 9000},
      {"/spec/ingress/0/from", json::array()},
      {"/spec/ingress/0/from/0/namespaceSelector", json::object()},
      {"/spec/ingress/0/from/0/namespaceSelector/matchLabels", {{"team", "x"}}},
      {"/spec/ingress/0/from/0", {{"ipBlock", {{"cidr", "0.0.0.0/0"}}}}},
      {"/spec/egress", json::array({json::object()})}};
  for (const auto& [pointer, value] : changes) {
    SCOPED_TRACE(pointer);
    Creation changed = made;
    changed.object[json::json_pointer(pointer)] = value;
    EXPECT_EQ(Admit(kPlace, changed).code(), absl::StatusCode::kPermissionDenied);
  }
}

TEST(IngressOptionsTest, ADomainThatIsNoneIsRefused) {
  EXPECT_EQ(CheckIngress(kOptions), absl::OkStatus());
  EXPECT_EQ(CheckIngress({}), absl::OkStatus());
  for (const char* bad : {".", "a..b", "*.example.com", "Example.com", "-a.com", "a b", "a/b"}) {
    EXPECT_EQ(CheckIngress({bad, "", "", false}).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(CheckIngress({std::string(190, 'a'), "", "", false}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(CheckIngress({"", "nginx", "", false}).message(), HasSubstr("--ingress-domain"));
}

// A controller of which the test says what it answers.
class IngressRouteTest : public testing::Test {
 protected:
  IngressRouteTest() {
    IngressRoute::Wiring wiring;
    wiring.create = [this](Creation creation, IngressRoute::Wiring::Answer answer) {
      made_.push_back(creation.object["kind"]);
      answers_.push_back(std::move(answer));
    };
    wiring.ask = [this](http::Request request, std::function<void(http::Outcome)> done) {
      hosts_.push_back(request.headers.at(0).value);
      asked_.push_back(std::move(done));
    };
    wiring.tell = [this](const IngressRoute::Told& told) { told_.push_back(told); };
    route_ = std::make_unique<IngressRoute>(reactor_, kOptions, "web-pr", std::move(wiring));
    route_->Make(IngressObjects(kPlace, "web", 8080, "web-pr", kOptions));
  }

  void Admitted() {
    route_->OnObject(json::parse(R"({"metadata": {"uid": "u"},
                                     "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}})"));
  }
  void AwaitQuestion() {
    while (asked_.empty()) reactor_.RunOnce(absl::Seconds(5));
  }
  void Answer(int status, const std::string& body = "") {
    AwaitQuestion();
    const auto done = std::move(asked_.front());
    asked_.pop_front();
    http::Response response;
    response.status = status;
    response.body = body;
    done({response, true});
  }

  Reactor reactor_;
  std::vector<std::string> made_, hosts_;
  std::vector<IngressRoute::Wiring::Answer> answers_;
  std::deque<std::function<void(http::Outcome)>> asked_;
  std::vector<IngressRoute::Told> told_;
  std::unique_ptr<IngressRoute> route_;
};

TEST_F(IngressRouteTest, IsToldWhenTheServiceAnswersThroughTheController) {
  Admitted();
  EXPECT_TRUE(asked_.empty()) << "nobody is there to answer";
  route_->SetReady(true);
  Answer(200);
  ASSERT_EQ(told_.size(), 1);
  EXPECT_EQ(told_[0].url, "http://web-pr.preview.example.com");
  EXPECT_EQ(told_[0].address, "web-pr.preview.example.com:80");
}

TEST_F(IngressRouteTest, WaitsForTheStatus) {
  route_->SetReady(true);
  EXPECT_TRUE(asked_.empty());
  Admitted();
  EXPECT_EQ(asked_.size(), 1);
}

TEST_F(IngressRouteTest, IsNotToldWhileTheControllerAnswersItself) {
  Admitted();
  route_->SetReady(true);
  for (const int status : {503, 502, 504}) Answer(status);
  Answer(404, "404 page not found");
  EXPECT_NE(hosts_.back(), "web-pr.preview.example.com");
  Answer(404, "404 page not found");  // As for a host that nobody has.
  EXPECT_TRUE(told_.empty());
  Answer(200);
  EXPECT_EQ(told_.size(), 1);
}

TEST_F(IngressRouteTest, AServiceMayAnswer404) {
  Admitted();
  route_->SetReady(true);
  Answer(404, "no such order");
  Answer(404, "404 page not found");
  EXPECT_EQ(told_.size(), 1);
}

TEST_F(IngressRouteTest, WhatIsRefusedIsToldWithItsReason) {
  answers_.back()(absl::PermissionDeniedError("ingresses is forbidden"));
  ASSERT_EQ(told_.size(), 1);
  EXPECT_EQ(told_[0].address, "");
  EXPECT_THAT(told_[0].message, HasSubstr("http://web-pr.preview.example.com does not lead to it: ingresses is forb"));
}

}  // namespace
}  // namespace mayfly::kubernetes
