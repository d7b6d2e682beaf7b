// Every way to prove oneself, against a real API server that says whom it saw; run by kube_pod_streams.py.
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/credentials.h"
#include "server/engine/kubernetes/client/exec.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/kubeconfig.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class KubeCredentialsTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* name_space = getenv("MAYFLY_TEST_NAMESPACE");
    if (name_space == nullptr) GTEST_SKIP() << "run by tests/integration/kube_pod_streams.py";
    name_space_ = name_space;
    const auto context = LoadKubeconfig(KubeconfigOptions::FromEnvironment());
    ASSERT_OK(context);
    context_ = *context;
    nobody_ = *context;
    nobody_.user = KubeUser();
    const auto endpoint = MakeEndpoint(context_);
    ASSERT_OK(endpoint);
    admin_ = std::make_unique<ApiClient>(*endpoint);
  }
  // A new token of the namespace's service account.
  std::string Token() {
    const auto answer = Wait([&](auto done) {
      admin_->Create(absl::StrCat("/api/v1/namespaces/", name_space_, "/serviceaccounts/default/token"),
                     {{"spec", {{"expirationSeconds", 600}}}}, done);
    });
    EXPECT_OK(answer);
    return answer.ok() ? TextAt(*answer, {"status", "token"}) : "";
  }
  std::string Account() const { return absl::StrCat("system:serviceaccount:", name_space_, ":default"); }
  // Whom the server sees, or why it sees nobody.
  static std::string WhoIs(const KubeContext& context) {
    const auto endpoint = MakeEndpoint(context);
    if (!endpoint.ok()) return endpoint.status().ToString();
    ApiClient client(*endpoint);
    const auto answer = Wait([&](auto done) {
      client.Create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {{"metadata", json::object()}}, done);
    });
    return answer.ok() ? TextAt(*answer, {"status", "userInfo", "username"}) : answer.status().ToString();
  }
  void WriteFile(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }
  void UsePlugin(KubeContext& context, const json& status) {
    const json answer = {
        {"apiVersion", "client.authentication.k8s.io/v1"}, {"kind", "ExecCredential"}, {"status", status}};
    WriteFile("answer", answer.dump());
    WriteFile("plugin", absl::StrCat("#!/bin/sh\necho run >>", dir_ / "runs", "\ncat ", dir_ / "answer", "\n"));
    chmod((dir_ / "plugin").c_str(), 0755);
    context.user.exec = ExecPlugin();
    context.user.exec->api_version = "client.authentication.k8s.io/v1";
    context.user.exec->command = dir_ / "plugin";
  }

  TempDir dir_;
  std::string name_space_;
  KubeContext context_;
  KubeContext nobody_;
  std::unique_ptr<ApiClient> admin_;
};

TEST_F(KubeCredentialsTest, AClientCertificateOfTheKubeconfig) {
  EXPECT_EQ("admin", WhoIs(context_));
}

TEST_F(KubeCredentialsTest, ATokenAndATokenFile) {
  KubeContext context = nobody_;
  context.user.token = Token();
  EXPECT_EQ(Account(), WhoIs(context));
  WriteFile("token", context.user.token + "\n");
  context.user.token.clear();
  context.user.token_file = dir_ / "token";
  EXPECT_EQ(Account(), WhoIs(context));
}

TEST_F(KubeCredentialsTest, ImpersonationOfAnAdministrator) {
  context_.user.as = "carol";
  context_.user.as_groups = {"system:masters"};
  context_.user.as_extra = {{"acme.com/scope", {"x"}}};
  EXPECT_EQ("carol", WhoIs(context_));
}

TEST_F(KubeCredentialsTest, APluginsToken) {
  UsePlugin(nobody_, {{"token", Token()}});
  EXPECT_EQ(Account(), WhoIs(nobody_));
}

TEST_F(KubeCredentialsTest, APluginsClientCertificate) {
  UsePlugin(nobody_, {{"clientCertificateData", Read(context_.user.certificate.path)},
                      {"clientKeyData", Read(context_.user.key.path)}});
  EXPECT_EQ("admin", WhoIs(nobody_));
}

TEST_F(KubeCredentialsTest, APodsOwnAccount) {
  InClusterOptions options;
  options.host = "192.0.2.1";
  options.port = "6443";
  options.folder = dir_.path();
  WriteFile("token", Token());
  WriteFile("ca.crt", Read(context_.cluster.ca.path));
  const auto context = LoadInCluster(options);
  ASSERT_OK(context);
  EXPECT_EQ(Account(), WhoIs(*context));
}

TEST_F(KubeCredentialsTest, AnotherNameInTheServersCertificate) {
  context_.cluster.tls_server_name = "kubernetes.default";
  EXPECT_EQ("admin", WhoIs(context_));
  context_.cluster.tls_server_name = "other.example";
  EXPECT_THAT(WhoIs(context_), HasSubstr("UNAUTHENTICATED"));
}

TEST_F(KubeCredentialsTest, AnAuthorityThatDidNotSignTheServersCertificate) {
  context_.cluster.ca.path.clear();
  EXPECT_THAT(WhoIs(context_), HasSubstr("UNAUTHENTICATED"));
  context_.cluster.insecure = true;
  EXPECT_EQ("admin", WhoIs(context_));
}

// A stream's end as one line.
std::string RunExec(const KubeContext& context, const std::string& name_space) {
  const auto endpoint = MakeEndpoint(context);
  EXPECT_OK(endpoint);
  http::WebSocketClient sockets;
  std::promise<std::string> end;
  std::string out;
  Stream::Callbacks callbacks;
  callbacks.on_data = [&out](const std::string& bytes, bool) { out += bytes; };
  callbacks.on_close = [&](const absl::Status& status, int) { end.set_value(status.ok() ? out : status.ToString()); };
  const auto stream = StartExec(*endpoint, sockets, {name_space, "peer", "main", {"/peer", "cat"}}, callbacks);
  stream->Write("typed early");
  stream->CloseWrite();
  return end.get_future().get();
}

TEST_F(KubeCredentialsTest, AStreamAsksThePluginAgainAfterARefusal) {
  // The plugin's first credentials are worth nothing.
  UsePlugin(nobody_, {{"clientCertificateData", Read(context_.user.certificate.path)},
                      {"clientKeyData", Read(context_.user.key.path)}});
  WriteFile("plugin", absl::StrCat("#!/bin/sh\necho run >>", dir_ / "runs", "\n[ $(wc -l <", dir_ / "runs",
                                   ") = 1 ] || exec cat ", dir_ / "answer",
                                   "\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":"
                                   "\"ExecCredential\",\"status\":{\"token\":\"wrong\"}}'\n"));
  EXPECT_EQ("typed early", RunExec(nobody_, name_space_));
  EXPECT_EQ("run\nrun\n", Read(dir_ / "runs"));
}

TEST_F(KubeCredentialsTest, AStreamWithoutTheRightSaysWhichIsMissing) {
  nobody_.user.token = Token();
  EXPECT_THAT(RunExec(nobody_, name_space_), testing::AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("pods/exec")));
}

}  // namespace
}  // namespace mayfly::kube
