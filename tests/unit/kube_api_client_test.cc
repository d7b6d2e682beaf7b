// server/engine/kubernetes/client: calls, against an API server in memory that fails as each test says.
#include <atomic>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "tests/support/fake_api_server.h"
#include "tests/support/hasty_loop.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/network.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kube {
namespace {

using absl::StatusCode;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

constexpr char kMaps[] = "/api/v1/namespaces/n/configmaps";

json Named(const std::string& name, const std::string& identity = "me") {
  return {{"kind", "ConfigMap"}, {"metadata", {{"name", name}, {"annotations", {{"id", identity}}}}}};
}

class KubeApiClientTest : public testing::Test {
 protected:
  // What is done to the request that comes as the n-th, counted from 0; empty: served as it should be.
  using Trouble = std::function<bool(HttpExchange&, int)>;

  void Start(Trouble trouble = nullptr, ApiClientOptions options = {}) {
    server_ = std::make_unique<FakeApiServer>([this, trouble = std::move(trouble)](HttpExchange& exchange) {
      const int number = count_++;
      return trouble && trouble(exchange, number);
    });
    options.identity_annotation = "id";
    options.timers = &clock_;
    options.random = [] { return 1.0; };
    client_ = std::make_unique<ApiClient>(server_->endpoint(), options);
  }

  absl::StatusOr<json> Create(const json& object) {
    return Wait([&](auto done) { client_->Create(kMaps, object, done); });
  }
  absl::StatusOr<json> Get(const std::string& name) {
    return Wait([&](auto done) { client_->Get(absl::StrCat(kMaps, "/", name), done); });
  }
  absl::StatusOr<json> Delete(const std::string& name, DeleteOptions options) {
    return Wait([&](auto done) { client_->Delete(absl::StrCat(kMaps, "/", name), options, done); });
  }
  // Method and path of what came, in order.
  std::vector<std::string> Asked() const {
    std::vector<std::string> asked;
    for (std::string request : server_->requests()) {
      request = request.substr(0, request.find('?'));
      if (const size_t at = request.find(kMaps); at != std::string::npos) request.erase(at, sizeof(kMaps) - 1);
      asked.push_back(request);
    }
    return asked;
  }

  HastyLoop clock_;
  std::atomic<int> count_ = 0;
  std::unique_ptr<FakeApiServer> server_;
  std::unique_ptr<ApiClient> client_;
};

bool Refuse(HttpExchange& exchange, int status, std::map<std::string, std::string> headers = {}) {
  exchange.Answer(status, R"({"kind":"Status","message":"the server says no","reason":"Why"})", headers);
  return true;
}

TEST_F(KubeApiClientTest, ErrorsAreTheServersSentenceAfterWhatWasAsked) {
  Start();
  EXPECT_THAT(Get("x"), StatusIs(StatusCode::kNotFound, "get configmaps/x in ns/n: x not found"));
  Start([](HttpExchange& exchange, int) {
    exchange.Answer(422, R"({"kind":"Status","message":"bad\u001b[31m","reason":"Invalid","details":{"causes":[
        {"field":"spec.x","reason":"FieldValueInvalid","message":"must be y"}]}})");
    return true;
  });
  const auto made = Create(Named("x"));
  EXPECT_THAT(made, StatusIs(StatusCode::kInvalidArgument, "create configmaps/x in ns/n: bad\\x1b[31m"));
  const ApiFailure failure = FailureOf(made.status());
  EXPECT_EQ(422, failure.http);
  EXPECT_EQ("Invalid", failure.reason);
  ASSERT_THAT(failure.causes, SizeIs(1));
  EXPECT_EQ("spec.x", failure.causes[0].field);
  EXPECT_EQ("must be y", failure.causes[0].message);
}

TEST_F(KubeApiClientTest, EachHttpStatusHasItsCode) {
  const std::map<int, StatusCode> codes = {{400, StatusCode::kInvalidArgument},  {401, StatusCode::kUnauthenticated},
                                           {403, StatusCode::kPermissionDenied}, {404, StatusCode::kNotFound},
                                           {409, StatusCode::kAborted},          {410, StatusCode::kOutOfRange},
                                           {422, StatusCode::kInvalidArgument},  {429, StatusCode::kResourceExhausted},
                                           {500, StatusCode::kUnavailable},      {503, StatusCode::kUnavailable},
                                           {418, StatusCode::kUnknown}};
  for (const auto& [http, code] : codes) {
    Start([http = http](HttpExchange& exchange, int) { return Refuse(exchange, http); });
    const auto got = Get("x");
    EXPECT_EQ(code, got.status().code()) << http << " " << got.status();
    EXPECT_EQ(http, FailureOf(got.status()).http);
    client_.reset();
  }
}

TEST_F(KubeApiClientTest, WritesAskForStrictValidationUnderOurFieldManager) {
  Start();
  ASSERT_OK(Create(Named("a")));
  ASSERT_OK(Wait([&](auto done) { client_->Apply(absl::StrCat(kMaps, "/a"), Named("a"), done); }));
  ASSERT_OK(Wait([&](auto done) {
    client_->Patch(absl::StrCat(kMaps, "/a"), "application/merge-patch+json", {{"data", {{"k", "v"}}}}, done);
  }));
  const auto requests = server_->requests();
  ASSERT_THAT(requests, SizeIs(3));
  for (const std::string& request : requests) {
    EXPECT_THAT(request, AllOf(HasSubstr("fieldManager=mayfly"), HasSubstr("fieldValidation=Strict")));
  }
  EXPECT_THAT(requests[1], AllOf(StartsWith("PATCH "), HasSubstr("force=true")));
  EXPECT_EQ("v", TextAt(server_->Object(absl::StrCat(kMaps, "/a")), {"data", "k"}));
}

TEST_F(KubeApiClientTest, TroubleThatPassesIsWaitedOutWithPausesThatDouble) {
  Start([](HttpExchange& exchange, int n) {
    if (n == 0) exchange.Reset();
    return n == 0 || (n < 4 && Refuse(exchange, 503));
  });
  server_->Put(absl::StrCat(kMaps, "/a"), {});
  ASSERT_OK(Get("a"));
  EXPECT_THAT(clock_.delays(), ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200), absl::Milliseconds(400),
                                           absl::Milliseconds(800)));
  const VerbStats stats = client_->stats().at("get");
  EXPECT_EQ(5u, stats.requests);
  EXPECT_EQ(4u, stats.failures);
}

TEST_F(KubeApiClientTest, RetryAfterIsHonouredAlsoForWrites) {
  Start([](HttpExchange& exchange, int n) { return n == 0 && Refuse(exchange, 429, {{"Retry-After", "7"}}); });
  ASSERT_OK(Create(Named("a")));
  ASSERT_THAT(clock_.delays(), SizeIs(1));
  EXPECT_GE(clock_.delays()[0], absl::Seconds(7));
  EXPECT_LE(clock_.delays()[0], absl::Seconds(8));
  EXPECT_THAT(Asked(), ElementsAre("POST ", "POST "));
}

TEST_F(KubeApiClientTest, AWebhookThatIsDeadIsToldSoonInTheServersWords) {
  Start([](HttpExchange& exchange, int) {
    exchange.Answer(500, R"({"kind":"Status","message":"Internal error occurred: failed calling webhook \"w\": no"})");
    return true;
  });
  const auto made = Create(Named("a"));
  EXPECT_THAT(made, StatusIs(StatusCode::kUnavailable, HasSubstr("failed calling webhook \"w\"")));
  EXPECT_FALSE(FailureOf(made.status()).unknown_outcome);
  EXPECT_THAT(clock_.delays(), SizeIs(3));
}

TEST_F(KubeApiClientTest, NothingIsTriedBeyondTheDeadline) {
  Start([](HttpExchange& exchange, int) { return Refuse(exchange, 503); }, {.deadline = absl::Seconds(10)});
  EXPECT_THAT(Get("x"), StatusIs(StatusCode::kUnavailable, HasSubstr("the server says no")));
  absl::Duration waited;
  for (const absl::Duration delay : clock_.delays()) waited += delay;
  EXPECT_LT(waited, absl::Seconds(10));
  EXPECT_GT(waited, absl::Seconds(4));
}

TEST_F(KubeApiClientTest, ASlowAnswerIsGivenUpAndAskedForAgain) {
  Start(
      [](HttpExchange& exchange, int n) {
        if (n == 0) exchange.Wait();
        return n == 0;
      },
      {.attempt = absl::Milliseconds(100)});
  server_->Put(absl::StrCat(kMaps, "/a"), {});
  ASSERT_OK(Get("a"));
}

TEST_F(KubeApiClientTest, NoServerSaysWhereAndWhy) {
  Endpoint endpoint;
  endpoint.server = absl::StrCat("http://127.0.0.1:", FreePort());
  ApiClient client(endpoint, {.deadline = absl::Milliseconds(200)});
  EXPECT_THAT(
      Wait([&](auto done) { client.Get("/api/v1/nodes/x", done); }),
      StatusIs(StatusCode::kUnavailable, AllOf(StartsWith("get nodes/x: http://127.0.0.1:"), HasSubstr("onnect"))));
}

// Gives "first" until it is refused, then "second".
class TwoTokens : public Authorizer {
 public:
  void Authorize(Done done) override {
    done(Credentials{{{"Authorization", refused_ > 0 ? "second" : "first"}}, nullptr});
  }
  void Refused(const Credentials& used) override {
    EXPECT_EQ("Authorization", used.headers.at(0).name);
    ++refused_;
  }
  std::atomic<int> refused_ = 0;
};

TEST_F(KubeApiClientTest, RefusedCredentialsAreRenewedOnce) {
  std::atomic<bool> accept_second = true;
  FakeApiServer server([&](HttpExchange& exchange) {
    if (exchange.request().headers.at("authorization") == "second" && accept_second) return false;
    return Refuse(exchange, 401);
  });
  server.Put("/api/v1/nodes/a", {});
  Endpoint endpoint = server.endpoint();
  const auto tokens = std::make_shared<TwoTokens>();
  endpoint.authorizer = tokens;
  ApiClient client(endpoint);
  ASSERT_OK(Wait([&](auto done) { client.Get("/api/v1/nodes/a", done); }));
  EXPECT_EQ(1, tokens->refused_);
  accept_second = false;
  EXPECT_THAT(Wait([&](auto done) { client.Get("/api/v1/nodes/a", done); }),
              StatusIs(StatusCode::kUnauthenticated, HasSubstr("the server says no")));
  EXPECT_EQ(3, tokens->refused_);
}

TEST_F(KubeApiClientTest, ACreateWhoseAnswerIsLostFindsItsObject) {
  Start([this](HttpExchange& exchange, int n) {
    if (n != 0) return false;
    server_->Put(absl::StrCat(kMaps, "/a"), json::parse(exchange.request().body));
    exchange.Reset();
    return true;
  });
  const auto made = Create(Named("a"));
  ASSERT_OK(made);
  EXPECT_EQ("uid-1", TextAt(*made, {"metadata", "uid"}));
  EXPECT_THAT(Asked(), ElementsAre("POST ", "GET /a"));
}

TEST_F(KubeApiClientTest, ACreateThatDidNotArriveIsMadeAfterHavingLooked) {
  Start([](HttpExchange& exchange, int n) { return n == 0 && Refuse(exchange, 504); });
  ASSERT_OK(Create(Named("a")));
  EXPECT_THAT(Asked(), ElementsAre("POST ", "GET /a", "POST "));
}

TEST_F(KubeApiClientTest, ACreateThatFindsSomebodyElsesObjectLeavesItAlone) {
  Start([this](HttpExchange& exchange, int n) {
    if (n != 0) return false;
    server_->Put(absl::StrCat(kMaps, "/a"), Named("a", "them"));
    exchange.Reset();
    return true;
  });
  const auto made = Create(Named("a"));
  EXPECT_THAT(made, StatusIs(StatusCode::kAlreadyExists, HasSubstr("was not made by this call")));
  EXPECT_EQ("AlreadyExists", FailureOf(made.status()).reason);
  EXPECT_EQ("them", TextAt(server_->Object(absl::StrCat(kMaps, "/a")), {"metadata", "annotations", "id"}));
}

TEST_F(KubeApiClientTest, ACreateThatArrivedLateIsRecognisedWhenTheSecondIsTurnedAway) {
  json late;
  Mutex mutex;
  Start([&](HttpExchange& exchange, int n) {
    MutexLock lock(mutex);
    if (n == 0) {
      late = json::parse(exchange.request().body);
      exchange.Reset();
      return true;
    }
    if (n == 2) server_->Put(absl::StrCat(kMaps, "/a"), late);
    return false;
  });
  const auto made = Create(Named("a"));
  ASSERT_OK(made);
  EXPECT_EQ("uid-1", TextAt(*made, {"metadata", "uid"}));
  EXPECT_THAT(Asked(), ElementsAre("POST ", "GET /a", "POST ", "GET /a"));
}

TEST_F(KubeApiClientTest, WhatCannotBeFoundOutIsSaidToBeUnknown) {
  Start([](HttpExchange& exchange, int n) {
    if (n == 0) exchange.Reset();
    return n == 0 || Refuse(exchange, 503);
  });
  const auto made = Create(Named("a"));
  EXPECT_THAT(made, StatusIs(StatusCode::kUnavailable, HasSubstr("it may have been done all the same")));
  EXPECT_TRUE(FailureOf(made.status()).unknown_outcome);
  const std::vector<std::string> asked = Asked();
  EXPECT_EQ(1, std::count(asked.begin(), asked.end(), "POST "));
}

TEST_F(KubeApiClientTest, AGeneratedNameIsNotCreatedTwice) {
  Start([](HttpExchange& exchange, int) {
    exchange.Reset();
    return true;
  });
  const auto made = Create({{"metadata", {{"generateName", "x-"}}}});
  EXPECT_TRUE(FailureOf(made.status()).unknown_outcome) << made.status();
  EXPECT_THAT(Asked(), ElementsAre("POST "));
}

TEST_F(KubeApiClientTest, DeletesTellTheMeantObjectFromItsNamesake) {
  Start();
  server_->Put(absl::StrCat(kMaps, "/a"), {});
  EXPECT_THAT(Delete("a", {.uid = "uid-9"}), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("UID")));
  ASSERT_OK(Delete("a", {.uid = "uid-1"}));
  ASSERT_OK(Delete("a", {.uid = "uid-1"})) << "what is not there is deleted";
  EXPECT_TRUE(server_->Paths().empty());
}

TEST_F(KubeApiClientTest, ADeleteWhoseAnswerIsLostIsLookedUp) {
  // The object went and somebody made another one: that one stays.
  Start([this](HttpExchange& exchange, int n) {
    if (n != 0) return false;
    server_->Remove(absl::StrCat(kMaps, "/a"));
    server_->Put(absl::StrCat(kMaps, "/a"), {});
    exchange.Reset();
    return true;
  });
  server_->Put(absl::StrCat(kMaps, "/a"), {});
  ASSERT_OK(Delete("a", {.uid = "uid-1"}));
  EXPECT_EQ("uid-2", TextAt(server_->Object(absl::StrCat(kMaps, "/a")), {"metadata", "uid"}));
  EXPECT_THAT(Asked(), ElementsAre("DELETE /a", "GET /a"));
}

TEST_F(KubeApiClientTest, ADeleteThatDidNotArriveIsRepeated) {
  Start([](HttpExchange& exchange, int n) {
    if (n == 0) exchange.Reset();
    return n == 0;
  });
  server_->Put(absl::StrCat(kMaps, "/a"), {});
  ASSERT_OK(Delete("a", {.uid = "uid-1"}));
  EXPECT_THAT(Asked(), ElementsAre("DELETE /a", "GET /a", "DELETE /a"));
  EXPECT_TRUE(server_->Paths().empty());
}

TEST_F(KubeApiClientTest, DeletingACollectionTakesWhatIsSelected) {
  Start();
  server_->Put(absl::StrCat(kMaps, "/a"), {{"metadata", {{"labels", {{"of", "us"}}}}}});
  server_->Put(absl::StrCat(kMaps, "/b"), {{"metadata", {{"labels", {{"of", "them"}}}}}});
  ASSERT_OK(Wait([&](auto done) { client_->DeleteCollection(kMaps, "of=us", {}, done); }));
  EXPECT_THAT(server_->Paths(), ElementsAre(absl::StrCat(kMaps, "/b")));
}

TEST_F(KubeApiClientTest, ListsAreReadInChunksAndFromTheStartWhenOneExpires) {
  std::atomic<bool> expire = true;
  Start(
      [&](HttpExchange& exchange, int) {
        if (exchange.request().query.count("continue") > 0 && expire.exchange(false)) server_->Compact();
        return false;
      },
      {.page = 10});
  for (int i = 0; i < 35; ++i) server_->Put(absl::StrCat(kMaps, "/m", 100 + i), {});
  const auto list = Wait([&](auto done) { client_->List(kMaps, "", "", done); });
  ASSERT_OK(list);
  EXPECT_EQ(35u, (*list)["items"].size());
  EXPECT_EQ("Thing", (*list)["items"][0]["kind"]);
  EXPECT_EQ(absl::StrCat(server_->version()), TextAt(*list, {"metadata", "resourceVersion"}));
  EXPECT_EQ(1 + 1 + 4, count_);
}

TEST_F(KubeApiClientTest, AListThatKeepsExpiringIsReadInOnePiece) {
  Start(
      [&](HttpExchange& exchange, int) {
        if (exchange.request().query.count("continue") > 0) server_->Compact();
        return false;
      },
      {.page = 10});
  for (int i = 0; i < 35; ++i) server_->Put(absl::StrCat(kMaps, "/m", 100 + i), {});
  const auto list = Wait([&](auto done) { client_->List(kMaps, "", "", done); });
  ASSERT_OK(list);
  EXPECT_EQ(35u, (*list)["items"].size());
  EXPECT_EQ(3 * 2 + 1, count_);
}

TEST_F(KubeApiClientTest, AnswersThatAreNoJsonOrTooLargeAreErrors) {
  Start(
      [](HttpExchange& exchange, int) {
        exchange.Answer(200, exchange.request().path == "/api/v1/nodes/deep" ? std::string(100000, '[') : "<html>");
        return true;
      },
      {.max_bytes = 200000});
  EXPECT_THAT(Wait([&](auto done) { client_->Get("/api/v1/nodes/a", done); }),
              StatusIs(StatusCode::kUnavailable, "get nodes/a: the answer is not JSON, or cut off"));
  EXPECT_THAT(Wait([&](auto done) { client_->Get("/api/v1/nodes/deep", done); }),
              StatusIs(StatusCode::kUnavailable, HasSubstr("nests too deeply")));
  Start(
      [](HttpExchange& exchange, int) {
        exchange.Answer(200, std::string(5000, ' '));
        return true;
      },
      {.max_bytes = 4096});
  EXPECT_THAT(Get("a"), StatusIs(StatusCode::kResourceExhausted, HasSubstr("larger than 4.0 KiB")));
}

TEST_F(KubeApiClientTest, AnObjectThatIsNoTextIsRefusedUnsent) {
  Start();
  EXPECT_THAT(Create({{"metadata", {{"name", "a"}, {"x", "\xff"}}}}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(KubeApiClientTest, TheClientsEndEndsCallsAlsoThoseThatWaitForCredentials) {
  class Never : public Authorizer {
   public:
    void Authorize(Done done) override { kept_.push_back(std::move(done)); }
    void Refused(const Credentials&) override {}
    std::vector<Done> kept_;
  };
  const auto never = std::make_shared<Never>();
  Endpoint endpoint;
  endpoint.server = "http://127.0.0.1:1";
  endpoint.authorizer = never;
  std::vector<StatusCode> codes;
  {
    ApiClient client(endpoint);
    client.Get("/api/v1/nodes/a", [&](const absl::StatusOr<json>& value) { codes.push_back(value.status().code()); });
  }
  EXPECT_THAT(codes, ElementsAre(StatusCode::kCancelled));
  for (const auto& done : never->kept_) done(Credentials{});
}

}  // namespace
}  // namespace mayfly::kube
