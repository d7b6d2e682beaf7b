#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <mutex>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/client/credentials.h"
#include "server/engine/kubernetes/client/exec_plugin.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kube {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kV1[] = "client.authentication.k8s.io/v1";

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Whether the process whose number stands in the file has ended, or does so within five seconds.
bool IsGone(const std::string& path) {
  int pid = 0;
  if (!absl::SimpleAtoi(Read(path), &pid)) return false;
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended = {process.get(), POLLIN, 0};
  return !process.valid() || poll(&ended, 1, 5000) == 1;
}

// A clock that the test turns.
class Clock {
 public:
  absl::Time Now() const {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  void Turn(absl::Duration by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::Now();
};

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    context_.source = "context 'dev' of config";
    context_.cluster.name = "c";
    context_.cluster.server = "https://h:6443";
    context_.user.name = "u";
    options_.now = [this] { return clock_.Now(); };
    options_.plugin_env = {"PATH=/usr/bin:/bin", "KEPT=yes"};
  }
  void Write(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }
  // A plugin whose script is `body`; it counts its runs in the file "runs".
  void UsePlugin(const std::string& body) {
    Write("plugin", "#!/bin/sh\necho run >>" + dir_ / "runs" + "\n" + body);
    chmod((dir_ / "plugin").c_str(), 0755);
    context_.user.exec = ExecPlugin();
    context_.user.exec->api_version = kV1;
    context_.user.exec->command = dir_ / "plugin";
  }
  static std::string Print(const std::string& status) {
    return absl::StrCat("echo '{\"apiVersion\":\"", kV1, "\",\"kind\":\"ExecCredential\",\"status\":", status, "}'\n");
  }
  void Make() {
    absl::StatusOr<Endpoint> endpoint = MakeEndpoint(context_, options_);
    ASSERT_OK(endpoint);
    endpoint_ = *std::move(endpoint);
  }
  static std::future<absl::StatusOr<Credentials>> Start(Authorizer& authorizer) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Credentials>>>();
    std::future<absl::StatusOr<Credentials>> future = promise->get_future();
    authorizer.Authorize(
        [promise](absl::StatusOr<Credentials> credentials) { promise->set_value(std::move(credentials)); });
    return future;
  }
  absl::StatusOr<Credentials> Get() { return Start(*endpoint_.authorizer).get(); }
  // The value of the header, or the error.
  std::string Header(const std::string& name = "authorization") {
    const absl::StatusOr<Credentials> credentials = Get();
    if (!credentials.ok()) return credentials.status().ToString();
    for (const http::Header& header : credentials->headers) {
      if (header.name == name) return header.value;
    }
    return "none";
  }

  TempDir dir_;
  Clock clock_;
  KubeContext context_;
  CredentialOptions options_;
  Endpoint endpoint_;
};

TEST_F(CredentialsTest, WhatNeverChangesIsSentAsItIs) {
  context_.user.username = "me";
  context_.user.password = "pw";
  context_.user.as = "boss";
  context_.user.as_uid = "7";
  context_.user.as_groups = {"g", "h"};
  context_.user.as_extra = {{"Acme.com/A b", {"v"}}};
  context_.cluster.tls_server_name = "kube";
  context_.cluster.proxy_url = "http://proxy:1";
  Make();
  EXPECT_EQ("https://h:6443", endpoint_.server);
  EXPECT_EQ("http://proxy:1", endpoint_.proxy);
  EXPECT_EQ("kube", endpoint_.tls->server_name);
  const auto credentials = Get();
  ASSERT_OK(credentials);
  EXPECT_EQ((http::Headers{{"impersonate-user", "boss"},
                           {"impersonate-uid", "7"},
                           {"impersonate-group", "g"},
                           {"impersonate-group", "h"},
                           {"impersonate-extra-acme.com%2Fa%20b", "v"},
                           {"authorization", "Basic bWU6cHc="}}),
            credentials->headers);
}

TEST_F(CredentialsTest, OverPlainHttpNothingSecretIsSent) {
  context_.cluster.server = "http://h";
  context_.user.token = "t";
  Make();
  EXPECT_EQ("none", Header());
}

TEST_F(CredentialsTest, TokenFileIsReadAgainAfterItsTimeAndAfterARefusal) {
  Write("token", "one\n");
  context_.user.token_file = dir_ / "token";
  Make();
  EXPECT_EQ("Bearer one", Header());
  Write("token", "two");
  EXPECT_EQ("Bearer one", Header());
  clock_.Turn(absl::Seconds(61));
  EXPECT_EQ("Bearer two", Header());
  Write("token", "three");
  endpoint_.authorizer->Refused(*Get());
  EXPECT_EQ("Bearer three", Header());
}

TEST_F(CredentialsTest, ATokenFileThatIsGoneServesUntilItIsRefused) {
  Write("token", "one");
  context_.user.token_file = dir_ / "token";
  Make();
  EXPECT_EQ("Bearer one", Header());
  std::remove((dir_ / "token").c_str());
  clock_.Turn(absl::Seconds(61));
  EXPECT_EQ("Bearer one", Header());
  endpoint_.authorizer->Refused(*Get());
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kNotFound,
                              AllOf(HasSubstr("user 'u'"), HasSubstr("tokenFile"), HasSubstr(dir_ / "token"))));
}

TEST_F(CredentialsTest, AChangedAuthorityMakesNewTlsAndAnUnchangedOneDoesNot) {
  Write("ca", "CA one");
  context_.cluster.ca.path = dir_ / "ca";
  Make();
  EXPECT_EQ(endpoint_.tls, Get()->tls);
  clock_.Turn(absl::Seconds(61));
  EXPECT_EQ(endpoint_.tls, Get()->tls);
  Write("ca", "CA two");
  clock_.Turn(absl::Seconds(61));
  const auto tls = Get()->tls;
  EXPECT_EQ("CA two", tls->ca);
  EXPECT_EQ(tls, Get()->tls);
}

TEST_F(CredentialsTest, WhatCannotBeReadIsNamedAtOnce) {
  context_.cluster.ca.path = dir_ / "ca";
  EXPECT_THAT(MakeEndpoint(context_, options_),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("context 'dev' of config: cluster 'c': certificate-authority"),
                             HasSubstr(dir_ / "ca"))));
  context_.cluster.ca = {};
  context_.user.certificate.text = "no certificate";
  context_.user.key.text = "S3CRET";
  EXPECT_THAT(
      MakeEndpoint(context_, options_),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("client-certificate"), Not(HasSubstr("S3CRET")))));
}

TEST_F(CredentialsTest, APluginRunsOnceUntilItsCredentialsEnd) {
  const std::string end = absl::FormatTime(absl::RFC3339_sec, clock_.Now() + absl::Hours(1), absl::UTCTimeZone());
  UsePlugin(Print("{\"token\":\"t'$(wc -l <" + dir_ / "runs" + ")'\",\"expirationTimestamp\":\"" + end + "\"}"));
  Make();
  EXPECT_EQ("Bearer t1", Header());
  clock_.Turn(absl::Minutes(59));
  EXPECT_EQ("Bearer t1", Header());
  clock_.Turn(absl::Seconds(55));
  // It gives the same end again, which has not come yet: used, and asked again soon.
  EXPECT_EQ("Bearer t2", Header());
}

TEST_F(CredentialsTest, APluginRunsAgainAfterARefusalButNotInAStorm) {
  UsePlugin(Print("{\"token\":\"t'$(wc -l <" + dir_ / "runs" + ")'\"}"));
  Make();
  const auto first = Get();
  EXPECT_EQ("Bearer t1", Header());
  endpoint_.authorizer->Refused(*first);
  EXPECT_EQ("Bearer t2", Header());
  endpoint_.authorizer->Refused(*first);  // Replaced already.
  EXPECT_EQ("Bearer t2", Header());
  endpoint_.authorizer->Refused(*Get());
  EXPECT_EQ("Bearer t2", Header()) << "refused again at once";
  clock_.Turn(absl::Seconds(6));
  endpoint_.authorizer->Refused(*Get());
  EXPECT_EQ("Bearer t3", Header());
}

TEST_F(CredentialsTest, WhoWaitsSharesOneRun) {
  // The plugin waits for a pipe that the test opens when all have asked.
  ASSERT_EQ(0, mkfifo((dir_ / "gate").c_str(), 0600));
  UsePlugin("read line <" + dir_ / "gate" + "\n" + Print("{\"token\":\"t\"}"));
  Make();
  std::vector<std::future<absl::StatusOr<Credentials>>> waiting;
  for (int i = 0; i < 20; ++i) waiting.push_back(Start(*endpoint_.authorizer));
  std::ofstream(dir_ / "gate") << "go\n";
  for (auto& one : waiting) ASSERT_OK(one.get());
  EXPECT_EQ("run\n", Read(dir_ / "runs"));
}

TEST_F(CredentialsTest, APluginIsToldOfTheClusterWhenItAsked) {
  UsePlugin("echo \"$KUBERNETES_EXEC_INFO\" >" + dir_ / "info" + "\nenv | sort >" + dir_ / "env" + "\ncat >" +
            dir_ / "stdin" + "\nls /proc/self/fd | wc -l >" + dir_ / "fds" + "\n" + Print("{\"token\":\"t\"}"));
  context_.user.exec->env = {{"OWN", "1"}, {"KEPT", "changed"}};
  context_.user.exec->provide_cluster_info = true;
  context_.cluster.ca.text = "CA";
  context_.cluster.plugin_config = "{\"audience\":\"a\"}";
  Make();
  EXPECT_EQ("Bearer t", Header());
  const auto info = nlohmann::json::parse(Read(dir_ / "info"));
  EXPECT_EQ(nlohmann::json::parse(R"({"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{
      "interactive":false,"cluster":{"server":"https://h:6443","certificate-authority-data":"Q0E=",
      "config":{"audience":"a"}}}})"),
            info);
  EXPECT_THAT(Read(dir_ / "env"), AllOf(HasSubstr("KEPT=changed\n"), HasSubstr("OWN=1\n"), Not(HasSubstr("HOME="))));
  EXPECT_EQ("", Read(dir_ / "stdin"));
  EXPECT_EQ("4\n", Read(dir_ / "fds")) << "0, 1, 2 and the folder itself";
}

TEST_F(CredentialsTest, APluginsCertificateReplacesTheEndpointsTls) {
  const std::string make =
      absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout ",
                   dir_ / "key", " -out ", dir_ / "crt", " 2>/dev/null");
  ASSERT_EQ(0, system(make.c_str()));
  const nlohmann::json status = {{"clientCertificateData", Read(dir_ / "crt")}, {"clientKeyData", Read(dir_ / "key")}};
  const nlohmann::json printed = {{"apiVersion", kV1}, {"kind", "ExecCredential"}, {"status", status}};
  Write("answer", printed.dump());
  UsePlugin("cat " + dir_ / "answer");
  context_.cluster.ca.text = "CA";
  Make();
  const auto credentials = Get();
  ASSERT_OK(credentials);
  ASSERT_NE(nullptr, credentials->tls);
  EXPECT_EQ(Read(dir_ / "crt"), credentials->tls->certificate);
  EXPECT_EQ("CA", credentials->tls->ca);
  EXPECT_EQ(credentials->tls, Get()->tls);
}

TEST_F(CredentialsTest, WhatAPluginDoesWrongIsSaid) {
  const struct {
    std::string body;
    const char* message;
  } kCases[] = {
      {"echo S3CRET", "printed no JSON"},
      {"echo '[]'", "printed no JSON object"},
      {"echo '{\"kind\":\"Secret\"}'", "no ExecCredential"},
      {"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}'",
       "the version in"},
      {"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\"}'", "no status"},
      {Print("{}"), "neither a token nor"},
      {Print("{\"token\":5}"), "its token is not text"},
      {Print("{\"token\":\"S3CRET x\"}"), "holds spaces"},
      {Print("{\"token\":\"S3CRET\",\"expirationTimestamp\":\"soon\"}"), "RFC 3339"},
      {Print("{\"token\":\"S3CRET\",\"expirationTimestamp\":\"2001-01-01T00:00:00Z\"}"), "ended at 2001-01-01"},
      {Print("{\"clientCertificateData\":\"x\"}"), "without its key"},
      {Print("{\"clientCertificateData\":\"x\",\"clientKeyData\":\"S3CRET\"}"), "its client certificate"},
      {"echo first >&2; echo 'log in again' >&2; exit 3", "ended with exit code 3: log in again"},
      {"kill -9 $$", "exit code 137"},
      {"head -c 3000000 /dev/zero", "printed more than 1.0 MiB"},
  };
  for (const auto& test : kCases) {
    UsePlugin(test.body);
    Make();
    EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnauthenticated,
                                AllOf(HasSubstr(test.message), HasSubstr("user 'u'"), Not(HasSubstr("S3CRET")))));
  }
}

TEST_F(CredentialsTest, AMissingPluginComesWithItsHint) {
  UsePlugin("");
  context_.user.exec->command = "no-such-plugin";
  Make();
  EXPECT_THAT(Get(),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("no-such-plugin is not in PATH; install it")));
  context_.user.exec->install_hint = "run: get-it\x1b[31m\n";
  Make();
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("; run: get-it\\x1b[31m")));
  Write("plugin", "x");
  chmod((dir_ / "plugin").c_str(), 0644);
  context_.user.exec->command = dir_ / "plugin";
  Make();
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("may not be executed")));
}

TEST_F(CredentialsTest, APluginThatMustTalkIsRefused) {
  UsePlugin("");
  context_.user.exec->interactive = ExecPlugin::Interactive::kAlways;
  Make();
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("no terminal")));
  EXPECT_EQ("", Read(dir_ / "runs"));
}

TEST_F(CredentialsTest, APluginThatHangsIsKilledWithWhatItStarted) {
  UsePlugin("sleep 987654 & echo $! >" + dir_ / "pid" + "; wait");
  options_.plugin_deadline = absl::Milliseconds(300);
  Make();
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("did not end within 300 ms")));
  EXPECT_TRUE(IsGone(dir_ / "pid"));
}

TEST_F(CredentialsTest, WhatAPluginLeavesRunningDoesNotHoldItUp) {
  UsePlugin("sleep 987654 &\necho $! >" + dir_ / "pid" + "\n" + Print("{\"token\":\"t\"}"));
  Make();
  EXPECT_EQ("Bearer t", Header());
  EXPECT_TRUE(IsGone(dir_ / "pid"));
}

TEST_F(CredentialsTest, TheEndKillsAPluginThatRuns) {
  ASSERT_EQ(0, mkfifo((dir_ / "started").c_str(), 0600));
  UsePlugin("echo go >" + dir_ / "started" + "\nsleep 987654");
  Make();
  auto waiting = Start(*endpoint_.authorizer);
  EXPECT_EQ("go\n", Read(dir_ / "started"));
  endpoint_.authorizer.reset();
  EXPECT_THAT(waiting.get(), StatusIs(absl::StatusCode::kCancelled, HasSubstr("ending")));
}

TEST_F(CredentialsTest, ACallbackMayBeTheLastOwner) {
  UsePlugin(Print("{\"token\":\"t\"}"));
  Make();
  std::promise<void> done;
  auto owner = std::make_shared<std::shared_ptr<Authorizer>>(std::move(endpoint_.authorizer));
  Authorizer* authorizer = owner->get();
  authorizer->Authorize([&done, owner = std::move(owner)](const absl::StatusOr<Credentials>& credentials) {
    EXPECT_OK(credentials);
    owner->reset();
    done.set_value();
  });
  done.get_future().get();
}

}  // namespace
}  // namespace mayfly::kube
