// The Kubernetes client against a real API server.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/log_stream.h"
#include "server/engine/kubernetes/client/watch.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/status_matchers.h"
#include "tests/support/stream_notes.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class KubeClientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { endpoint_ = new std::optional<Endpoint>(TestCluster()); }
  static void TearDownTestSuite() { delete endpoint_; }

  void SetUp() override {
    if (!endpoint_->has_value()) GTEST_SKIP() << "no cluster";
    client_ = std::make_unique<ApiClient>(**endpoint_, ApiClientOptions{.identity_annotation = "test/identity"});
    namespace_ = std::make_unique<TestNamespace>(*client_);
  }

  static json ConfigMap(const std::string& name, const std::string& value, const std::string& identity = "a") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}, {"annotations", {{"test/identity", identity}}}}},
            {"data", {{"key", value}}}};
  }
  absl::StatusOr<json> Create(const json& object) {
    return Wait([&](auto done) { client_->Create(namespace_->Path("configmaps"), object, done); });
  }
  absl::StatusOr<json> Get(const std::string& name) {
    return Wait([&](auto done) { client_->Get(namespace_->Path("configmaps/" + name), done); });
  }

  static std::optional<Endpoint>* endpoint_;
  std::unique_ptr<ApiClient> client_;
  std::unique_ptr<TestNamespace> namespace_;
};

std::optional<Endpoint>* KubeClientTest::endpoint_ = nullptr;

TEST_F(KubeClientTest, ApplyCreatesAndThenChangesUnderOurFieldManager) {
  const std::string path = namespace_->Path("configmaps/a");
  const auto made = Wait([&](auto done) { client_->Apply(path, ConfigMap("a", "1"), done); });
  ASSERT_OK(made);
  const auto changed = Wait([&](auto done) { client_->Apply(path, ConfigMap("a", "2"), done); });
  ASSERT_OK(changed);
  EXPECT_EQ("2", TextAt(*changed, {"data", "key"}));
  EXPECT_EQ(TextAt(*made, {"metadata", "uid"}), TextAt(*changed, {"metadata", "uid"}));
  EXPECT_EQ("mayfly", (*changed)["metadata"]["managedFields"][0]["manager"]);
}

TEST_F(KubeClientTest, FieldsThatTheServerDoesNotKnowAreRefused) {
  json object = ConfigMap("a", "1");
  object["spce"] = {{"x", 1}};
  const auto made = Create(object);
  EXPECT_THAT(made, StatusIs(absl::StatusCode::kInvalidArgument,
                             AllOf(StartsWith("create configmaps/a in ns/" + namespace_->name() + ": "),
                                   HasSubstr("unknown field \"spce\""))));
  EXPECT_EQ("BadRequest", FailureOf(made.status()).reason);
  EXPECT_THAT(Get("a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("configmaps \"a\" not found")));
}

TEST_F(KubeClientTest, AnObjectThatExistsIsASuccessOnlyWhenItIsOurs) {
  const auto made = Create(ConfigMap("a", "1", "ours"));
  ASSERT_OK(made);
  const auto again = Create(ConfigMap("a", "2", "ours"));
  ASSERT_OK(again);
  EXPECT_EQ(TextAt(*made, {"metadata", "uid"}), TextAt(*again, {"metadata", "uid"}));
  EXPECT_EQ("1", TextAt(*again, {"data", "key"}));
  const auto theirs = Create(ConfigMap("a", "3", "theirs"));
  EXPECT_THAT(theirs, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"a\" already exists")));
  EXPECT_EQ("AlreadyExists", FailureOf(theirs.status()).reason);
}

TEST_F(KubeClientTest, ADeleteTakesOnlyTheObjectWithTheUid) {
  const auto made = Create(ConfigMap("a", "1"));
  ASSERT_OK(made);
  const std::string path = namespace_->Path("configmaps/a");
  const auto remove = [&](const std::string& uid) {
    return Wait([&](auto done) { client_->Delete(path, {.uid = uid}, done); });
  };
  EXPECT_THAT(remove("00000000-0000-0000-0000-000000000000"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("UID")));
  ASSERT_OK(Get("a"));
  ASSERT_OK(remove(TextAt(*made, {"metadata", "uid"})));
  EXPECT_THAT(Get("a"), StatusIs(absl::StatusCode::kNotFound, testing::_));
  ASSERT_OK(remove(TextAt(*made, {"metadata", "uid"}))) << "what is gone is deleted";
}

TEST_F(KubeClientTest, ApplyWithAUidMakesNothingInPlaceOfWhatIsGone) {
  json object = ConfigMap("a", "1");
  object["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000";
  const auto applied = Wait([&](auto done) { client_->Apply(namespace_->Path("configmaps/a"), object, done); });
  EXPECT_THAT(applied, StatusIs(absl::StatusCode::kAborted, testing::_));
  EXPECT_THAT(Get("a"), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_F(KubeClientTest, TwelveHundredObjectsAreListedInChunks) {
  constexpr int kCount = 1200;
  std::atomic<int> left = kCount;
  std::promise<void> all;
  for (int i = 0; i < kCount; ++i) {
    client_->Create(namespace_->Path("configmaps"), ConfigMap(absl::StrCat("m", i), "x"), [&](const auto& made) {
      EXPECT_OK(made);
      if (--left == 0) all.set_value();
    });
  }
  all.get_future().wait();
  const auto list = Wait(
      [&](auto done) { client_->List(namespace_->Path("configmaps"), "", "metadata.name!=kube-root-ca.crt", done); });
  ASSERT_OK(list);
  EXPECT_EQ(static_cast<size_t>(kCount), (*list)["items"].size());
  EXPECT_EQ("ConfigMap", (*list)["items"][0]["kind"]);
  EXPECT_EQ("v1", (*list)["items"][0]["apiVersion"]);
  EXPECT_EQ(3u, client_->stats().at("list").requests);
  EXPECT_EQ(kCount + 1u, client_->stats().at("create").requests) << "with the namespace";
}

json Valued(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", name}, {"labels", {{"of", "us"}}}}},
          {"data", {{"v", value}}}};
}

TEST_F(KubeClientTest, AWatchIsResumedAfterBreaksWithoutANewList) {
  FaultProxy proxy(**endpoint_);
  ApiClient watcher(proxy.endpoint(), {.first_pause = absl::Milliseconds(10)});
  WatchNotes notes;
  const auto put = [&](const std::string& name, const std::string& value) {
    ASSERT_OK(
        Wait([&](auto done) { client_->Apply(namespace_->Path("configmaps/" + name), Valued(name, value), done); }));
  };
  put("a", "0");
  Watch watch(watcher, {.collection = namespace_->Path("configmaps"), .label_selector = "of=us"}, notes.callbacks());
  notes.AwaitState({{"a", "0"}});
  for (int i = 1; i <= 5; ++i) {
    proxy.CutStreams();
    put("a", absl::StrCat(i));
    put(absl::StrCat("b", i), "x");
    ASSERT_OK(Wait([&](auto done) { client_->Delete(namespace_->Path(absl::StrCat("configmaps/b", i)), {}, done); }));
    notes.Await(absl::StrCat("DELETED b", i, "=x"));
    notes.AwaitState({{"a", absl::StrCat(i)}});
  }
  EXPECT_EQ(1, notes.replaces());
  EXPECT_EQ(1u, watcher.stats().at("list").requests);
}

TEST_F(KubeClientTest, AVersionThatTheServerHasForgottenLeadsToANewList) {
  const auto put = Wait([&](auto done) { client_->Apply(namespace_->Path("configmaps/a"), Valued("a", "1"), done); });
  ASSERT_OK(put);
  WatchNotes notes;
  Watch watch(*client_, {.collection = namespace_->Path("configmaps"), .label_selector = "of=us", .resume_from = "1"},
              notes.callbacks());
  notes.AwaitState({{"a", "1"}});
  if (notes.replaces() == 0) {
    GTEST_SKIP() << "this server is too young to have forgotten anything; kube_faults_test has it answer 410";
  }
  ASSERT_FALSE(notes.troubles().empty());
  EXPECT_THAT(notes.troubles()[0], StatusIs(absl::StatusCode::kOutOfRange,
                                            AllOf(StartsWith("watch configmaps in ns/"), HasSubstr("too old"))));
  EXPECT_EQ(1, notes.replaces());
}

TEST_F(KubeClientTest, AWatchThatTheServerEndsInTimeIsResumedQuietly) {
  WatchNotes notes;
  Watch watch(*client_,
              {.collection = namespace_->Path("configmaps"),
               .label_selector = "of=us",
               .shortest = absl::Seconds(1),
               .longest = absl::Seconds(2)},
              notes.callbacks());
  const absl::Time end = absl::Now() + absl::Seconds(5);
  for (int i = 0; absl::Now() < end; ++i) {
    const std::string value = absl::StrCat(i);
    ASSERT_OK(Wait([&](auto done) { client_->Apply(namespace_->Path("configmaps/a"), Valued("a", value), done); }));
    notes.AwaitState({{"a", value}});
  }
  EXPECT_EQ(1, notes.replaces());
  EXPECT_TRUE(notes.troubles().empty());
  EXPECT_GE(client_->stats().at("watch").requests, 3u);
}

int OpenSockets() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry, gone).string();
    count += target.rfind("socket:", 0) == 0 ? 1 : 0;
  }
  return count;
}

TEST_F(KubeClientTest, TwoHundredAndFiftyWatchesShareFewConnectionsAndHoldNothingUp) {
  const int before = OpenSockets();
  std::vector<std::unique_ptr<WatchNotes>> notes;
  std::vector<std::unique_ptr<Watch>> watches;
  for (int i = 0; i < 250; ++i) {
    notes.push_back(std::make_unique<WatchNotes>());
    watches.push_back(std::make_unique<Watch>(
        *client_, WatchOptions{.collection = namespace_->Path("configmaps"), .label_selector = "of=us"},
        notes.back()->callbacks()));
  }
  for (auto& note : notes) note->Await("replace ");
  const absl::Time begin = absl::Now();
  ASSERT_OK(Wait([&](auto done) { client_->Apply(namespace_->Path("configmaps/a"), Valued("a", "1"), done); }));
  const absl::Duration write = absl::Now() - begin;
  for (auto& note : notes) note->Await("ADDED a=1");
  std::cout << "write beside 250 watches " << write << ", seen by all after " << absl::Now() - begin << "\n";
  EXPECT_LE(OpenSockets() - before, 8);
}

TEST_F(KubeClientTest, TheServersNameAndAuthorityAreChecked) {
  const auto version = [](const Endpoint& endpoint) {
    ApiClient client(endpoint, {.deadline = absl::Seconds(10)});
    return Wait([&](auto done) { client.Get("/api/v1/nodes", done); });
  };
  const auto with = [](const std::function<void(http::Tls&)>& change) {
    Endpoint endpoint = **endpoint_;
    http::Tls tls = *endpoint.tls;
    change(tls);
    endpoint.tls = std::make_shared<const http::Tls>(tls);
    return endpoint;
  };
  ASSERT_OK(version(with([](http::Tls& tls) { tls.server_name = "kubernetes.default.svc"; })));
  EXPECT_THAT(version(with([](http::Tls& tls) { tls.server_name = "elsewhere.test"; })),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("elsewhere.test")));
  EXPECT_THAT(version(with([](http::Tls& tls) { tls.ca.clear(); })),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("certificate")));
  EXPECT_THAT(version(with([](http::Tls& tls) { tls.certificate = tls.key = ""; })),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("system:anonymous")));
  Endpoint token = with([](http::Tls& tls) { tls.certificate = tls.key = ""; });
  token.authorizer = std::make_shared<FixedAuthorizer>(http::Headers{{"Authorization", "Bearer nonsense"}});
  EXPECT_THAT(version(token), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("get nodes: Unauthorized")));
}

TEST_F(KubeClientTest, ACreateWhoseAnswerIsLostIsNotDoneTwice) {
  FaultProxy proxy(**endpoint_);
  std::atomic<int> creates = 0;
  proxy.SetPlan([&](const HttpRequest& request) -> Fault {
    if (request.method != "POST" || creates++ > 0) return {};
    return {.kind = Fault::Kind::kLoseAnswer};
  });
  ApiClient client(proxy.endpoint(), {.identity_annotation = "test/identity"});
  const auto made = Wait([&](auto done) { client.Create(namespace_->Path("configmaps"), ConfigMap("a", "1"), done); });
  ASSERT_OK(made);
  EXPECT_EQ(1, creates);
  EXPECT_EQ(TextAt(*Get("a"), {"metadata", "uid"}), TextAt(*made, {"metadata", "uid"}));
}

// A pod that prints lines, its program carried by a config map, so that any image will do.
class KubeLogTest : public KubeClientTest {
 protected:
  std::string ImageOnTheNode() {
    const auto nodes = Wait([&](auto done) { client_->List("/api/v1/nodes", "", "", done); });
    for (const json& node : (*nodes)["items"]) {
      for (const json& image : node["status"]["images"]) {
        for (const json& name : image["names"]) {
          if (absl::StrContains(name.get<std::string>(), "pause")) return name;
        }
      }
    }
    return "";
  }

  // Ready to be read from.
  void RunPod(const std::vector<std::string>& words) {
    std::ifstream file(std::string(std::getenv("MAYFLY_BIN_DIR")) + "/mayfly-workload");
    std::ostringstream program;
    program << file.rdbuf();
    ASSERT_OK(Wait([&](auto done) {
      client_->Create(
          namespace_->Path("configmaps"),
          {{"metadata", {{"name", "program"}}}, {"binaryData", {{"workload", absl::Base64Escape(program.str())}}}},
          done);
    }));
    std::vector<std::string> command = {"/program/workload"};
    command.insert(command.end(), words.begin(), words.end());
    const json container = {{"name", "c"},
                            {"image", ImageOnTheNode()},
                            {"command", command},
                            {"volumeMounts", {{{"name", "program"}, {"mountPath", "/program"}}}}};
    const json volume = {{"name", "program"}, {"configMap", {{"name", "program"}, {"defaultMode", 0555}}}};
    const json spec = {{"restartPolicy", "Never"},
                       {"automountServiceAccountToken", false},
                       {"terminationGracePeriodSeconds", 0},
                       {"containers", {container}},
                       {"volumes", {volume}}};
    // A namespace's service account comes a moment after the namespace.
    absl::Status made = absl::UnavailableError("");
    const absl::Time end = absl::Now() + absl::Seconds(30);
    while (!made.ok() && absl::Now() < end) {
      made = Wait([&](auto done) {
               client_->Create(namespace_->Path("pods"), {{"metadata", {{"name", "p"}}}, {"spec", spec}}, done);
             }).status();
    }
    ASSERT_OK(made);
    std::promise<void> started;
    std::atomic<bool> told = false;
    const auto look = [&](const json& pod) {
      const std::string phase = TextAt(pod, {"status", "phase"});
      if ((phase == "Running" || phase == "Succeeded") && !told.exchange(true)) started.set_value();
    };
    Watch watch(*client_, {.collection = namespace_->Path("pods")},
                {[&](const std::vector<json>& pods) {
                   for (const json& pod : pods) look(pod);
                 },
                 [&](WatchEvent, const json& pod) { look(pod); }, nullptr});
    ASSERT_EQ(std::future_status::ready, started.get_future().wait_for(std::chrono::minutes(1)));
  }
};

TEST_F(KubeLogTest, FollowedLogsSurviveBreaksWithoutGapsOrRepeats) {
  constexpr int kLines = 400;
  RunPod({"tick", absl::StrCat(kLines), "10", "exit", "0"});
  FaultProxy proxy(**endpoint_);
  ApiClient client(proxy.endpoint(), {.first_pause = absl::Milliseconds(10)});
  LogNotes notes;
  LogStream stream(client, {.kube_namespace = namespace_->name(), .pod = "p", .container = "c"}, notes.callbacks());
  for (int i = 1; i <= 6; ++i) {
    notes.AwaitLines(static_cast<size_t>(i) * 50);
    proxy.CutStreams();
  }
  EXPECT_OK(notes.AwaitEnd());
  const std::vector<std::string> lines = notes.lines();
  ASSERT_EQ(static_cast<size_t>(kLines), lines.size());
  EXPECT_EQ(static_cast<size_t>(kLines), std::set<std::string>(lines.begin(), lines.end()).size());
  EXPECT_GE(notes.troubles(), 5);

  LogNotes missing;
  LogStream none(client, {.kube_namespace = namespace_->name(), .pod = "q"}, missing.callbacks());
  EXPECT_THAT(missing.AwaitEnd(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("pods \"q\" not found")));
}

}  // namespace
}  // namespace mayfly::kube
