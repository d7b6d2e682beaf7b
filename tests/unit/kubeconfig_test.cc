#include "server/engine/kubernetes/client/kubeconfig.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/engine/kubernetes/client/kubeconfig_yaml.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kube {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

constexpr char kSecret[] = "S3CRET";

std::string Normal(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().string();
}

class KubeconfigTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }
  // One file with this cluster and user, and a context of both.
  std::string WriteOne(const std::string& cluster, const std::string& user) {
    return Write("config", absl::StrCat("apiVersion: v1\nkind: Config\ncurrent-context: dev\n"
                                        "clusters: [{name: c, cluster: ",
                                        cluster, "}]\nusers: [{name: u, user: ", user,
                                        "}]\ncontexts: [{name: dev, context: {cluster: c, user: u}}]\n"));
  }
  absl::StatusOr<KubeContext> LoadOne(const std::string& cluster, const std::string& user) {
    KubeconfigOptions options;
    options.path = WriteOne(cluster, user);
    return LoadKubeconfig(options);
  }
  absl::StatusOr<KubeContext> LoadUser(const std::string& user) { return LoadOne("{server: 'https://h:6443'}", user); }

  TempDir dir_;
};

TEST_F(KubeconfigTest, EverythingOfAClusterIsRead) {
  const auto context = LoadOne(
      "{server: 'https://h:6443/gate', certificate-authority-data: Q0E=, tls-server-name: kube, "
      "proxy-url: 'socks5://p:1080', disable-compression: true, extensions: [{name: other, extension: {x: 1}}, "
      "{name: client.authentication.k8s.io/exec, extension: {audience: a, n: 3}}]}",
      "{}");
  ASSERT_OK(context);
  EXPECT_EQ("c", context->cluster.name);
  EXPECT_EQ("https://h:6443/gate", context->cluster.server);
  EXPECT_EQ("CA", context->cluster.ca.text);
  EXPECT_EQ("kube", context->cluster.tls_server_name);
  EXPECT_EQ("socks5://p:1080", context->cluster.proxy_url);
  EXPECT_TRUE(context->cluster.disable_compression);
  EXPECT_FALSE(context->cluster.insecure);
  EXPECT_EQ("{\"audience\":\"a\",\"n\":3}", context->cluster.plugin_config);
  EXPECT_EQ("context 'dev' of " + dir_ / "config", context->source);
  EXPECT_EQ("default", context->name_space);
}

TEST_F(KubeconfigTest, EveryWayToBeSomebodyIsRead) {
  const auto certificate = LoadUser("{client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: t}");
  ASSERT_OK(certificate);
  EXPECT_EQ("CERT", certificate->user.certificate.text);
  EXPECT_EQ("KEY", certificate->user.key.text);
  EXPECT_EQ("t", certificate->user.token);
  const auto basic = LoadUser("{username: me, password: pw}");
  ASSERT_OK(basic);
  EXPECT_EQ("me", basic->user.username);
  EXPECT_EQ("pw", basic->user.password);
  const auto as = LoadUser("{token: t, as: boss, as-uid: '7', as-groups: [g, h], as-user-extra: {k: [v, w]}}");
  ASSERT_OK(as);
  EXPECT_EQ("boss", as->user.as);
  EXPECT_EQ("7", as->user.as_uid);
  EXPECT_THAT(as->user.as_groups, ElementsAre("g", "h"));
  EXPECT_THAT(as->user.as_extra, ElementsAre(Pair("k", ElementsAre("v", "w"))));
}

TEST_F(KubeconfigTest, PluginsOfBothVersionsAreRead) {
  const auto v1 = LoadUser(
      "{exec: {apiVersion: client.authentication.k8s.io/v1, command: login, args: [a, b], env: [{name: N, value: v}], "
      "installHint: 'get it', interactiveMode: Never, provideClusterInfo: true}}");
  ASSERT_OK(v1);
  ASSERT_TRUE(v1->user.exec);
  EXPECT_EQ("login", v1->user.exec->command);
  EXPECT_THAT(v1->user.exec->args, ElementsAre("a", "b"));
  EXPECT_THAT(v1->user.exec->env, ElementsAre(Pair("N", "v")));
  EXPECT_EQ("get it", v1->user.exec->install_hint);
  EXPECT_EQ(ExecPlugin::Interactive::kNever, v1->user.exec->interactive);
  EXPECT_TRUE(v1->user.exec->provide_cluster_info);
  const auto beta = LoadUser("{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./bin/login}}");
  ASSERT_OK(beta);
  EXPECT_EQ(Normal(dir_ / "bin/login"), beta->user.exec->command);
  EXPECT_EQ(ExecPlugin::Interactive::kIfAvailable, beta->user.exec->interactive);
}

TEST_F(KubeconfigTest, PathsBeginAtTheFileThatNamesThem) {
  const auto context = LoadOne("{server: 'https://h', certificate-authority: pki/ca.crt}",
                               "{client-certificate: ../me.crt, client-key: /abs/me.key, tokenFile: token}");
  ASSERT_OK(context);
  EXPECT_EQ(Normal(dir_ / "pki/ca.crt"), context->cluster.ca.path);
  EXPECT_EQ(Normal(dir_ / "../me.crt"), context->user.certificate.path);
  EXPECT_EQ("/abs/me.key", context->user.key.path);
  EXPECT_EQ(Normal(dir_ / "token"), context->user.token_file);
}

TEST_F(KubeconfigTest, OfSeveralFilesTheFirstToSetAnEntryWins) {
  KubeconfigOptions options;
  options.list = absl::StrCat(
      dir_ / "missing", "::",
      Write("one",
            "current-context: a\nusers: [{name: u, user: {token: one}}]\ncontexts: [{name: a, context: {cluster: c, "
            "user: u, namespace: first}}]\n"),
      ":",
      Write("two/config",
            "current-context: b\nclusters: [{name: c, cluster: {server: 'https://two', certificate-authority: ca}}]\n"
            "users: [{name: u, user: {token: two, as: x}}]\ncontexts: [{name: a, context: {cluster: d}}, {name: b, "
            "context: {cluster: c, user: u}}]\n"));
  const auto first = LoadKubeconfig(options);
  ASSERT_OK(first);
  EXPECT_EQ("first", first->name_space);
  EXPECT_EQ("one", first->user.token);
  EXPECT_EQ("", first->user.as) << "an entry is taken whole";
  EXPECT_EQ(Normal(dir_ / "two/ca"), first->cluster.ca.path);
  options.context = "b";
  options.name_space = "mine";
  const auto second = LoadKubeconfig(options);
  ASSERT_OK(second);
  EXPECT_EQ("mine", second->name_space);
  EXPECT_EQ("one", second->user.token);
}

TEST_F(KubeconfigTest, WithoutAWordItIsTheOneInTheHomeFolder) {
  Write(".kube/config",
        "current-context: x\nclusters: [{name: c, cluster: {server: 'https://h'}}]\ncontexts: [{name: x, "
        "context: {cluster: c}}]\n");
  KubeconfigOptions options;
  options.home = dir_.path();
  const auto context = LoadKubeconfig(options);
  ASSERT_OK(context);
  EXPECT_EQ("", context->user.name);
}

TEST_F(KubeconfigTest, JsonIsYamlToo) {
  KubeconfigOptions options;
  options.path = Write("json", R"({"current-context":"x","clusters":[{"name":"c","cluster":{"server":"https://h"}}],
"contexts":[{"name":"x","context":{"cluster":"c"}}]})");
  EXPECT_OK(LoadKubeconfig(options));
}

TEST_F(KubeconfigTest, WhatIsMissingIsNamedWithWhatToDo) {
  KubeconfigOptions options;
  options.list = dir_ / "nowhere";
  EXPECT_THAT(LoadKubeconfig(options),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr(dir_ / "nowhere"), HasSubstr("--kubeconfig"))));
  options.path = dir_ / "named";
  EXPECT_THAT(LoadKubeconfig(options), StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir_ / "named")));
  options.path = Write("config", "contexts: [{name: production, context: {cluster: c, user: u}}]\n");
  EXPECT_THAT(LoadKubeconfig(options), StatusIs(absl::StatusCode::kNotFound, HasSubstr("--context")));
  options.context = "prodution";
  EXPECT_THAT(LoadKubeconfig(options), StatusIs(absl::StatusCode::kNotFound, HasSubstr("did you mean 'production'?")));
  options.context = "other";
  EXPECT_THAT(LoadKubeconfig(options), StatusIs(absl::StatusCode::kNotFound, HasSubstr("there is production")));
  options.context = "production";
  EXPECT_THAT(LoadKubeconfig(options),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("context 'production' of"), HasSubstr("there is no cluster 'c'"))));
}

TEST_F(KubeconfigTest, WhatCannotBeMeantIsRefusedAndNamed) {
  const std::string kServer = "server: 'https://h'";
  const struct {
    std::string cluster;
    std::string user;
    const char* message;
  } kCases[] = {
      {"{}", "{}", "cluster 'c' of"},
      {"{}", "{}", "server is missing"},
      {"{server: h}", "{}", "must begin with https://"},
      {"{server: 5}", "{}", "server must be text; put it in quotes"},
      {"{" + kServer + ", certificate-authority-data: '%%'}", "{}", "certificate-authority-data is not base64"},
      {"{" + kServer + ", insecure-skip-tls-verify: 'yes'}", "{}", "must be true or false"},
      {"{" + kServer + ", insecure-skip-tls-verify: true, certificate-authority: x}", "{}", "cannot both be meant"},
      {"{" + kServer + ", proxy-url: 'ftp://x'}", "{}", "proxy-url must begin with"},
      {"{" + kServer + "}", "{client-certificate: x}", "without client-key"},
      {"{" + kServer + "}", "{client-key: x}", "client-key without"},
      {"{" + kServer + "}", "{token: S3CRET, username: x}", "more than one of token"},
      {"{" + kServer + "}", "{token: \"S3CRET\\nx: y\"}", "token holds a line break"},
      {"{" + kServer + "}", "{as-groups: [x]}", "need 'as'"},
      {"{" + kServer + "}", "{as: x, as-groups: [1]}", "as-groups must be a list of texts"},
      {"{" + kServer + "}", "{auth-provider: {name: gcp, config: {access-token: S3CRET}}}", "gke-gcloud-auth-plugin"},
      {"{" + kServer + "}", "{auth-provider: {name: oidc}}", "kubectl-oidc_login"},
      {"{" + kServer + "}", "{exec: {command: x}}", "is not spoken here"},
      {"{" + kServer + "}", "{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}", "v1alpha1"},
      {"{" + kServer + "}", "{exec: {apiVersion: client.authentication.k8s.io/v1beta1}}", "command is missing"},
      {"{" + kServer + "}", "{exec: {apiVersion: client.authentication.k8s.io/v1, command: x}}", "interactiveMode"},
      {"{" + kServer + "}",
       "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: x, env: [{value: S3CRET}]}}",
       "needs a name"},
  };
  for (const auto& test : kCases) {
    const auto context = LoadOne(test.cluster, test.user);
    EXPECT_THAT(context, StatusIs(absl::StatusCode::kInvalidArgument,
                                  AllOf(HasSubstr(test.message), HasSubstr(dir_ / "config"), Not(HasSubstr(kSecret)))));
  }
}

TEST_F(KubeconfigTest, WhatIsNoKubeconfigIsRefusedWithItsPlace) {
  const struct {
    std::string text;
    const char* message;
  } kCases[] = {
      {"a: [", "config:"},
      {"- a\n", "a map was expected"},
      {"kind: Pod\n", "its kind is not Config"},
      {"a: 1\n---\nb: 2\n", "a second document"},
      {"users: []\nusers: []\n", "config:2:1: the key 'users' stands here twice"},
      {"[a]: 1\n", "a key must be text"},
      {"current-context: 5\n", "current-context must be text"},
      {"current-context: x\ncontexts: {x: 1}\n", "contexts must be a list"},
      {"current-context: x\ncontexts: [{context: {}}]\n", "has no name"},
      {"current-context: x\ncontexts: [{name: x, context: 5}]\n", "must be a map"},
      {"current-context: x\ncontexts: [{name: x, context: {cluster: c, namespace: A_b}}]\n", "namespace"},
      {"x: " + std::string(100, '[') + std::string(100, ']'), "deeper"},
      {"token: S3CRET: S3CRET", "config:1:14"},
  };
  for (const auto& test : kCases) {
    KubeconfigOptions options;
    options.path = Write("config", test.text);
    EXPECT_THAT(LoadKubeconfig(options),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(test.message), Not(HasSubstr(kSecret)))));
  }
}

TEST(KubeconfigYamlTest, AliasesThatGrowWithoutEndAreStopped) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 10; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&bomb, j > 0 ? "," : "", "*a", i - 1);
    absl::StrAppend(&bomb, "]\n");
  }
  EXPECT_THAT(KubeconfigYamlToJson(bomb, "f"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than")));
}

TEST(KubeconfigYamlTest, ScalarsAreThoseOfJson) {
  const auto json = KubeconfigYamlToJson("[a]", "f");
  EXPECT_FALSE(json.ok());
  const auto map = KubeconfigYamlToJson(
      "{t: true, f: False, n: ~, i: -12, d: 1.5, o: 017, y: yes, q: '5', e: \"\", s: 1-2, b: 0, g: 1.5e3}", "f");
  ASSERT_OK(map);
  EXPECT_EQ(
      R"({"b":0,"d":1.5,"e":"","f":false,"g":1500.0,"i":-12,"n":null,"o":"017","q":"5","s":"1-2","t":true,"y":"yes"})",
      map->dump());
}

class InClusterTest : public KubeconfigTest {
 protected:
  InClusterOptions Options() {
    InClusterOptions options;
    options.host = "10.96.0.1";
    options.port = "443";
    options.folder = dir_.path();
    return options;
  }
};

TEST_F(InClusterTest, APodsServiceAccountIsAContext) {
  Write("token", "t");
  Write("ca.crt", "CA");
  Write("namespace", "mine\n");
  InClusterOptions options = Options();
  const auto context = LoadInCluster(options);
  ASSERT_OK(context);
  EXPECT_EQ("https://10.96.0.1:443", context->cluster.server);
  EXPECT_EQ(dir_ / "token", context->user.token_file);
  EXPECT_EQ(dir_ / "ca.crt", context->cluster.ca.path);
  EXPECT_EQ("mine", context->name_space);
  options.host = "fd00::1";
  EXPECT_EQ("https://[fd00::1]:443", LoadInCluster(options)->cluster.server);
}

TEST_F(InClusterTest, WhatIsMissingIsNamed) {
  InClusterOptions options = Options();
  EXPECT_THAT(LoadInCluster(options),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr(dir_ / "token"), HasSubstr("automount"))));
  options.port = "x";
  EXPECT_THAT(LoadInCluster(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'x'")));
  options.host.clear();
  EXPECT_THAT(LoadInCluster(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not inside a cluster")));
}

}  // namespace
}  // namespace mayfly::kube
