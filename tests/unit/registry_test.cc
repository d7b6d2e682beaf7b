// server/engine/kubernetes/registry against registries on loopback that behave, and that do not.
#include <atomic>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "mayfly/base/ids.h"
#include "server/engine/kubernetes/registry/manifest.h"
#include "server/engine/kubernetes/registry/registry_client.h"
#include "tests/support/http_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::registry {
namespace {

using absl::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string DigestOf(const std::string& text) {
  return absl::StrCat("sha256:", Sha256Hex(text));
}

TEST(ReferenceTest, NamesAreReadAsContainerToolsReadThem) {
  const std::string digest = absl::StrCat("sha256:", std::string(64, 'a'));
  const std::map<std::string, Reference> cases = {
      {"nginx", {"docker.io", "library/nginx", "latest", ""}},
      {"team/web:1.2", {"docker.io", "team/web", "1.2", ""}},
      {"index.docker.io/team/web", {"docker.io", "team/web", "latest", ""}},
      {"192.0.2.1:5000/shop/cart:1", {"192.0.2.1:5000", "shop/cart", "1", ""}},
      {"localhost/a__b/c--d.e", {"localhost", "a__b/c--d.e", "latest", ""}},
      {"r.example/web@" + digest, {"r.example", "web", "", digest}},
      {"r.example/web:1@" + digest, {"r.example", "web", "1", digest}},
  };
  for (const auto& [text, expected] : cases) {
    const auto parsed = ParseReference(text);
    ASSERT_OK(parsed) << text;
    EXPECT_EQ(expected, *parsed) << text;
  }
  EXPECT_EQ("r.example/web@" + digest, ParseReference("r.example/web:1@" + digest)->Pinned());
}

TEST(ReferenceTest, WhatIsNoNameIsRefused) {
  for (const std::string text : {"",
                                 ":1",
                                 "Web",
                                 "web:",
                                 "web:-1",
                                 "web@sha256:12",
                                 "web@md5:aa",
                                 "r.example:0/web",
                                 "r.example:99999/web",
                                 "r.example:+80/web",
                                 "-r.example/web",
                                 "r.example//web",
                                 "r.example/../web",
                                 "a/b?x=1",
                                 "a/b#",
                                 "a b",
                                 "a/_b",
                                 "a/b___c",
                                 "a/b..c",
                                 "user@r.example/web",
                                 "r.example/web\n",
                                 "r.example:80/web:1:2"}) {
    EXPECT_EQ(StatusCode::kInvalidArgument, ParseReference(text).status().code()) << text;
  }
  EXPECT_FALSE(ParseReference("r.example/" + std::string(300, 'a')).ok());
}

TEST(DockerConfigTest, UsersAndPasswordsAreReadAndTheRestIsNamed) {
  std::string ignored;
  const auto read = ParseDockerConfig(
      absl::StrCat(R"({"auths": {"https://index.docker.io/v1/": {"auth": ")", absl::Base64Escape("me:pass:word"),
                   R"("}, "R.example:5000": {"username": "you", "password": "x"}, "desk.example": {}},
                    "credsStore": "desktop"})"),
      &ignored);
  ASSERT_OK(read);
  ASSERT_EQ(2u, read->size());
  EXPECT_EQ((Credentials{"me", "pass:word"}), read->at("docker.io"));
  EXPECT_EQ((Credentials{"you", "x"}), read->at("r.example:5000"));
  EXPECT_THAT(ignored, HasSubstr("desk.example, credsStore"));
  for (const char* text : {"", "[]", "no json", R"({"auths": []})", R"({"auths": "x"})"}) {
    EXPECT_EQ(StatusCode::kInvalidArgument, ParseDockerConfig(text, &ignored).status().code()) << text;
  }
  const std::string nul = R"({"auths": {"r.example": {"username": "a\nb", "password": "x"}}})";
  EXPECT_TRUE(ParseDockerConfig(nul, &ignored)->empty());
}

TEST(DockerConfigTest, AChangedFileIsReadAgainAndABrokenOneChangesNothing) {
  TempDir folder;
  const std::string path = folder.path() + "/config.json";
  const auto write = [&](const std::string& password) {
    std::ofstream(path) << R"({"auths": {"r.example": {"username": "u", "password": ")" << password << R"("}}})";
  };
  std::vector<std::string> warnings;
  DockerConfig config(path, [&](absl::string_view line) { warnings.emplace_back(line); });
  EXPECT_FALSE(config.Load().ok());
  write("one");
  ASSERT_OK(config.Load());
  EXPECT_EQ("one", config.Find("r.example")->password);
  EXPECT_EQ(nullptr, config.Find("other.example"));
  write("second");
  EXPECT_EQ("second", config.Find("r.example")->password);
  std::ofstream(path) << "{";
  EXPECT_EQ("second", config.Find("r.example")->password);
  ASSERT_EQ(1u, warnings.size());
  EXPECT_THAT(warnings[0], Not(HasSubstr("second\"")));
}

TEST(ManifestTest, HostileTextsAreRefused) {
  for (const std::string& text : {std::string("{"), std::string("[]"), std::string("{}"), std::string(100000, '['),
                                  std::string(R"({"config": {"digest": "sha256:../../x"}})"),
                                  std::string(R"({"config": "x"})"), std::string(R"({"manifests": [{"platform":
                                   {"os": "linux", "architecture": "amd64"}, "digest": 7}]})")}) {
    EXPECT_EQ(StatusCode::kDataLoss, ReadManifest(text, "amd64").status().code()) << text.substr(0, 80);
  }
  EXPECT_EQ(StatusCode::kNotFound,
            ReadManifest(R"({"manifests": [3, {"platform": {"os": "linux", "architecture": "s390x"}}]})", "amd64")
                .status()
                .code());
  const std::string long_word(200 << 10, 'x');
  for (const std::string& config :
       {std::string(R"({"config": {"Cmd": "x"}})"), std::string(R"({"config": {"Cmd": [1]}})"),
        std::string(R"({"config": {"Cmd": ["a\u0000b"]}})"),
        absl::StrCat(R"({"config": {"Env": [")", long_word, R"("]}})"), std::string("[]")}) {
    EXPECT_EQ(StatusCode::kDataLoss, ReadConfig(config).status().code()) << config.substr(0, 80);
  }
}

TEST(ManifestTest, AChallengeIsReadWhateverItsForm) {
  const Challenge bearer = ParseChallenge(R"(Bearer realm="https://a.example/t",service="s \"x\"" , scope=q)");
  EXPECT_EQ("bearer", bearer.scheme);
  EXPECT_EQ("https://a.example/t", bearer.parameters.at("realm"));
  EXPECT_EQ("s \"x\"", bearer.parameters.at("service"));
  EXPECT_EQ("q", bearer.parameters.at("scope"));
  EXPECT_EQ("", ParseChallenge("").scheme);
  EXPECT_TRUE(ParseChallenge("Bearer realm").parameters.empty());
  EXPECT_EQ("x", ParseChallenge("Bearer realm=\"x").parameters.at("realm"));
}

// A registry with one image "team/web": tag 1 is an index, tag 2 a manifest.
struct Content {
  std::string config = R"({"config": {"Entrypoint": ["/web"], "Cmd": ["-v", "2"], "Env": ["PATH=/bin", "A=b=c"],
                           "WorkingDir": "/srv", "User": "1000:1000"}})";
  std::string manifest = json({{"config", {{"digest", DigestOf(config)}}}}).dump();
  std::string index =
      json({{"manifests",
             {{{"digest", DigestOf("other")}, {"platform", {{"os", "linux"}, {"architecture", "arm64"}}}},
              {{"digest", DigestOf(manifest)}, {"platform", {{"os", "linux"}, {"architecture", "amd64"}}}}}}})
          .dump();

  void Serve(HttpExchange& exchange) const {
    const std::map<std::string, std::string> known = {{"manifests/1", index},
                                                      {"manifests/2", manifest},
                                                      {"manifests/" + DigestOf(index), index},
                                                      {"manifests/" + DigestOf(manifest), manifest},
                                                      {"blobs/" + DigestOf(config), config}};
    const std::string prefix = "/v2/team/web/";
    const std::string& path = exchange.request().path;
    const auto found = known.find(path.rfind(prefix, 0) == 0 ? path.substr(prefix.size()) : "");
    found == known.end() ? exchange.Answer(404, R"({"errors": []})") : exchange.Answer(200, found->second);
  }
};

class RegistryTest : public testing::Test {
 protected:
  absl::StatusOr<Image> Resolve(const HttpServer& server, const std::string& name, bool with_config,
                                const std::string& config_file = "") {
    const std::string host = absl::StrCat("127.0.0.1:", server.port());
    DockerConfig credentials(config_file);
    RegistryClient client(
        {.insecure = {host}, .architecture = "amd64", .deadline = deadline_, .config_deadline = deadline_},
        &credentials);
    return Ask(client, host + "/" + name, with_config);
  }

  static absl::StatusOr<Image> Ask(RegistryClient& client, const std::string& name, bool with_config) {
    std::promise<absl::StatusOr<Image>> promise;
    client.Resolve(*ParseReference(name), with_config,
                   [&](absl::StatusOr<Image> image) { promise.set_value(std::move(image)); });
    return promise.get_future().get();
  }

  std::string Login(const HttpServer& server, const std::string& user, const std::string& password) {
    const std::string path = folder_.path() + "/config.json";
    std::ofstream(path) << json({{"auths",
                                  {{absl::StrCat("127.0.0.1:", server.port()),
                                    {{"auth", absl::Base64Escape(absl::StrCat(user, ":", password))}}}}}});
    return path;
  }

  const Content content_;
  TempDir folder_;
  absl::Duration deadline_ = absl::Seconds(20);
};

TEST_F(RegistryTest, ATagStandsForTheDigestOfItsContent) {
  HttpServer server([this](HttpExchange& exchange) { content_.Serve(exchange); });
  EXPECT_EQ(DigestOf(content_.index), Resolve(server, "team/web:1", false)->digest);
  EXPECT_EQ(DigestOf(content_.manifest), Resolve(server, "team/web:2", false)->digest);
  EXPECT_EQ(DigestOf(content_.index), Resolve(server, "team/web@" + DigestOf(content_.index), false)->digest);
  EXPECT_EQ(StatusCode::kNotFound, Resolve(server, "team/web:3", false).status().code());
}

TEST_F(RegistryTest, TheCommandOfAnImageIsReadThroughIndexAndManifest) {
  HttpServer server([this](HttpExchange& exchange) { content_.Serve(exchange); });
  for (const char* name : {"team/web:1", "team/web:2"}) {
    const auto image = Resolve(server, name, true);
    ASSERT_OK(image);
    ASSERT_TRUE(image->config.has_value());
    EXPECT_THAT(image->config->command, ElementsAre("/web", "-v", "2"));
    EXPECT_EQ("b=c", image->config->variables.at("A"));
    EXPECT_EQ("/srv", image->config->workdir);
    EXPECT_EQ("1000:1000", image->config->user);
  }
}

TEST_F(RegistryTest, ContentThatIsNotWhatItsDigestSaysIsNotTaken) {
  HttpServer server([this](HttpExchange& exchange) {
    if (exchange.request().path.find("/blobs/") != std::string::npos) return exchange.Answer(200, R"({"config": {}})");
    if (exchange.request().path.find("sha256") != std::string::npos)
      return exchange.Answer(200, content_.manifest + " ");
    exchange.Answer(200, content_.manifest, {{"Docker-Content-Digest", DigestOf("something else")}});
  });
  for (const std::string& name : {std::string("team/web:1"), "team/web@" + DigestOf(content_.manifest)}) {
    EXPECT_EQ(StatusCode::kDataLoss, Resolve(server, name, false).status().code()) << name;
  }
  HttpServer blobs([this](HttpExchange& exchange) {
    const bool blob = exchange.request().path.find("/blobs/") != std::string::npos;
    exchange.Answer(200, blob ? R"({"config": {"Cmd": ["/bin/evil"]}})" : content_.manifest);
  });
  EXPECT_EQ(StatusCode::kDataLoss, Resolve(blobs, "team/web:1", true).status().code());
}

TEST_F(RegistryTest, PasswordsAreSentWhenAskedForAndNotBefore) {
  std::atomic<int> bare{0};
  const std::string good = absl::StrCat("Basic ", absl::Base64Escape("me:secret"));
  HttpServer server([&](HttpExchange& exchange) {
    const auto sent = exchange.request().headers.find("authorization");
    if (sent == exchange.request().headers.end()) ++bare;
    if (sent != exchange.request().headers.end() && sent->second == good) return content_.Serve(exchange);
    exchange.Answer(401, "", {{"WWW-Authenticate", "Basic realm=\"r\""}});
  });
  EXPECT_EQ(StatusCode::kUnauthenticated, Resolve(server, "team/web:1", false).status().code());
  EXPECT_EQ(1, bare);
  const auto refused = Resolve(server, "team/web:1", true, Login(server, "me", "wrong-one"));
  EXPECT_EQ(StatusCode::kPermissionDenied, refused.status().code());
  EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("wrong-one")));
  EXPECT_EQ(2, bare);
  EXPECT_OK(Resolve(server, "team/web:1", true, Login(server, "me", "secret")));
  EXPECT_EQ(3, bare) << "after the first answer the password goes along";
}

TEST_F(RegistryTest, ATokenIsFetchedOnceForARepository) {
  std::atomic<int> tokens{0};
  HttpServer server([&](HttpExchange& exchange) {
    const HttpRequest& request = exchange.request();
    if (request.path == "/token") {
      ++tokens;
      EXPECT_EQ("repository:team/web:pull", request.query.at("scope"));
      EXPECT_EQ("the registry", request.query.at("service"));
      EXPECT_EQ(absl::StrCat("Basic ", absl::Base64Escape("me:secret")), request.headers.at("authorization"));
      return exchange.Answer(200, R"({"token": "abc", "expires_in": 300})");
    }
    if (request.headers.count("authorization") > 0 && request.headers.at("authorization") == "Bearer abc") {
      return content_.Serve(exchange);
    }
    const std::string realm = absl::StrCat("http://", request.headers.at("host"), "/token");
    exchange.Answer(401, "",
                    {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"", realm, "\",service=\"the registry\"")}});
  });
  EXPECT_OK(Resolve(server, "team/web:1", true, Login(server, "me", "secret")));
  EXPECT_EQ(1, tokens);
}

TEST_F(RegistryTest, ARegistryThatAsksForEverIsLeft) {
  std::atomic<int> requests{0};
  HttpServer server([&](HttpExchange& exchange) {
    ++requests;
    const HttpRequest& request = exchange.request();
    const std::string self = absl::StrCat("http://", request.headers.at("host"));
    if (request.path == "/token") return exchange.Answer(200, R"({"token": "abc"})");
    if (request.path.find("/around/") != std::string::npos) {
      return exchange.Answer(307, "", {{"Location", request.path + "x"}});
    }
    exchange.Answer(401, "", {{"WWW-Authenticate", absl::StrCat("Bearer realm=\"", self, "/token\"")}});
  });
  EXPECT_EQ(StatusCode::kUnauthenticated, Resolve(server, "team/web:1", false).status().code());
  EXPECT_EQ(3, requests);
  EXPECT_EQ(StatusCode::kDataLoss, Resolve(server, "around/web:1", false).status().code());
  EXPECT_EQ(7, requests);
}

TEST_F(RegistryTest, PasswordsDoNotFollowRedirects) {
  std::atomic<bool> leaked{false};
  HttpServer storage([&](HttpExchange& exchange) {
    if (exchange.request().headers.count("authorization") > 0) leaked = true;
    exchange.Answer(200, content_.config);
  });
  HttpServer server([&](HttpExchange& exchange) {
    if (exchange.request().headers.count("authorization") == 0) {
      return exchange.Answer(401, "", {{"WWW-Authenticate", "Basic realm=\"r\""}});
    }
    if (exchange.request().path.find("/blobs/") == std::string::npos) return content_.Serve(exchange);
    exchange.Answer(307, "", {{"Location", storage.url() + "/blob"}});
  });
  EXPECT_OK(Resolve(server, "team/web:1", true, Login(server, "me", "secret")));
  EXPECT_FALSE(leaked);
}

TEST_F(RegistryTest, AnAnswerWithoutEndIsCutOff) {
  HttpServer server([](HttpExchange& exchange) {
    exchange.Begin(200);
    const std::string much(1 << 20, ' ');
    while (exchange.Write(much)) continue;
  });
  EXPECT_EQ(StatusCode::kDataLoss, Resolve(server, "team/web:1", false).status().code());
}

TEST_F(RegistryTest, ASilentRegistryIsNotAskedAgainForAWhile) {
  deadline_ = absl::Milliseconds(200);
  HttpServer server([](HttpExchange& exchange) { exchange.Wait(); });
  const std::string host = absl::StrCat("127.0.0.1:", server.port());
  DockerConfig nobody("");
  RegistryClient client({.insecure = {host}, .deadline = deadline_}, &nobody);
  EXPECT_EQ(StatusCode::kUnavailable, Ask(client, host + "/team/web", false).status().code());
  const int connections = server.connections();
  EXPECT_EQ(StatusCode::kUnavailable, Ask(client, host + "/team/web", false).status().code());
  EXPECT_EQ(connections, server.connections());
}

TEST_F(RegistryTest, TheEndOfTheClientAnswersEverybody) {
  HttpServer server([](HttpExchange& exchange) { exchange.Wait(); });
  const std::string host = absl::StrCat("127.0.0.1:", server.port());
  DockerConfig nobody("");
  std::promise<absl::StatusOr<Image>> promise;
  {
    RegistryClient client({.insecure = {host}}, &nobody);
    client.Resolve(*ParseReference(host + "/a"), false, [&](absl::StatusOr<Image> image) { promise.set_value(image); });
  }
  EXPECT_EQ(StatusCode::kCancelled, promise.get_future().get().status().code());
}

}  // namespace
}  // namespace mayfly::registry
