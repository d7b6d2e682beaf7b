#include "server/plan/planner.h"

#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/plan/lint.h"
#include "server/spec/catalogue_loader.h"
#include "tests/support/spec_case.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;

constexpr char kShop[] = R"(name: shop
services:
  web: {type: http, run: ./web, needs: [cart], env: {SEARCH: "${search.url}"}}
  cart: {type: http, run: ./cart, needs: [postgres, redis], before: {migrate: ./migrate}}
  search: {type: grpc, run: ./search}
  mail: {type: worker, run: ./mail, needs: [redis]}
  postgres: {type: postgres, run: ./pg}
  redis: {type: redis, run: redis-server}
tests:
  e2e: {run: ./e2e, needs: [web], covers: [cart]}
  smoke: {run: ./smoke, needs: [mail], covers: [mail]}
)";

class PlannerTest : public testing::Test {
 protected:
  PlanResult Make(absl::string_view spec, const EnvironmentRequest& request) {
    folder_ = std::make_unique<SpecFolder>(spec);
    const LoadedCatalogue loaded = LoadCatalogue(folder_->path());
    EXPECT_EQ(FormatDiagnostics(loaded.diagnostics), "");
    return MakePlan(loaded.catalogue, request, capabilities_, times_, fingerprint_);
  }

  static std::vector<std::string> Names(const Plan& plan) {
    std::vector<std::string> names;
    for (const PlanNode& node : plan.nodes) names.push_back(node.name);
    return names;
  }

  static const PlanNode& At(const PlanResult& result, absl::string_view name) {
    return result.plan.nodes.at(result.plan.Find(name));
  }

  std::string Text(const PlanResult& result) { return folder_->Relative(FormatDiagnostics(result.diagnostics)); }

  std::unique_ptr<SpecFolder> folder_;
  Capabilities capabilities_ = {"local", true};
  std::map<std::string, absl::Duration> times_;
  Fingerprint fingerprint_;
};

TEST_F(PlannerTest, ChosenServiceBringsWhatItNeedsAndRefersTo) {
  EnvironmentRequest request;
  request.services = {"web"};
  const PlanResult result = Make(kShop, request);
  EXPECT_THAT(At(result, "web").why, ElementsAre("asked for"));
  EXPECT_THAT(At(result, "cart").why, ElementsAre("needed by web"));
  EXPECT_THAT(At(result, "search").why, ElementsAre("referenced by web (env.SEARCH)"));
  EXPECT_THAT(At(result, "cart.migrate").why, ElementsAre("before cart"));
  EXPECT_THAT(At(result, "postgres").why, ElementsAre("needed by cart", "needed by cart.migrate"));
  EXPECT_EQ(result.plan.Find("mail"), -1);
  EXPECT_EQ(result.plan.Find("e2e"), -1);
}

TEST_F(PlannerTest, NothingNamedMeansAllServicesAndNoTests) {
  EXPECT_THAT(Names(Make(kShop, {}).plan),
              testing::UnorderedElementsAre("web", "cart", "cart.migrate", "search", "mail", "postgres", "redis"));
}

TEST_F(PlannerTest, AllTestsOfAChosenServiceAreThoseThatCoverIt) {
  EnvironmentRequest request;
  request.services = {"cart"};
  request.all_tests = true;
  const PlanResult result = Make(kShop, request);
  EXPECT_THAT(At(result, "e2e").why, ElementsAre("covers cart"));
  EXPECT_EQ(result.plan.Find("smoke"), -1);
}

TEST_F(PlannerTest, ReferenceJoinsButDoesNotOrder) {
  EnvironmentRequest request;
  request.services = {"web"};
  const PlanResult result = Make(kShop, request);
  for (const PlanEdge& edge : At(result, "web").needs) EXPECT_NE(result.plan.nodes[edge.node].name, "search");
  EXPECT_THAT(At(result, "search").needed_by, IsEmpty());
}

TEST_F(PlannerTest, WhatANodeNeedsComesBeforeIt) {
  EnvironmentRequest request;
  request.all_tests = true;
  const PlanResult result = Make(kShop, request);
  for (size_t i = 0; i < result.plan.nodes.size(); ++i) {
    for (const PlanEdge& edge : result.plan.nodes[i].needs) EXPECT_THAT(edge.node, Lt(static_cast<int>(i)));
  }
}

TEST_F(PlannerTest, LongestPathGoesFirst) {
  times_ = {{"postgres", absl::Seconds(1)}, {"redis", absl::Seconds(3)},        {"cart", absl::Seconds(1)},
            {"web", absl::Seconds(1)},      {"cart.migrate", absl::Seconds(1)}, {"search", absl::Seconds(2)}};
  EnvironmentRequest request;
  request.services = {"web"};
  const PlanResult result = Make(kShop, request);
  EXPECT_THAT(Names(result.plan), ElementsAre("redis", "postgres", "cart.migrate", "cart", "search", "web"));
  EXPECT_EQ(At(result, "redis").priority, absl::Seconds(6));
  EXPECT_TRUE(At(result, "redis").measured);
  EXPECT_EQ(result.plan.critical_path, absl::Seconds(6));
}

TEST_F(PlannerTest, ReferencesAreFilledIn) {
  EnvironmentRequest request;
  request.name = "pr-7";
  request.variables = {{"LEVEL", "debug"}, {"COLOR", "red"}, {"UNDECLARED", "x"}};
  const PlanResult result = Make(R"(services:
  web:
    type: http
    run: [./web, --to, "${box.address}", "$${HOME}"]
    env: {URL: "${box.url}/x", ENV: "${env.name}", LEVEL: info, C: "${env.COLOR}", M: "${box.port.metrics}", S: "${self.host}", D: "${box.dsn}"}
  box: {type: http, run: ./box, ports: {main: 80, metrics: 81}, outputs: {dsn: "at=${self.url}"}}
)",
                                 request);
  ASSERT_EQ(Text(result), "");
  const ProcessSpec& web = At(result, "web").process;
  EXPECT_THAT(web.argv, ElementsAre("./web", "--to", "box:80", "${HOME}"));
  const std::map<std::string, std::string> expected = {{"URL", "http://box:80/x"},
                                                       {"ENV", "pr-7"},
                                                       {"LEVEL", "debug"},
                                                       {"C", "red"},
                                                       {"M", "81"},
                                                       {"S", "web"},
                                                       {"D", "at=http://box:80"},
                                                       {"MAYFLY_ENVIRONMENT", "pr-7"},
                                                       {"MAYFLY_SERVICE", "web"}};
  EXPECT_EQ(web.variables, expected);
}

TEST_F(PlannerTest, UnsetVariableAndMissingSecretAreNamedWithTheirPlace) {
  const PlanResult result = Make(R"(services:
  web: {type: http, run: ./web, env: {A: "${env.KEY}"}, secrets: {TOKEN: stripe}}
)",
                                 {});
  EXPECT_THAT(Text(result), HasSubstr("envspec.yml:2:42: error: ${env.KEY} is not set"));
  EXPECT_THAT(Text(result), HasSubstr("envspec.yml:2:74: error: 'web' needs the secret 'stripe', which was not given"));
}

TEST_F(PlannerTest, CircleIsShownWholeFromWhatWasAskedFor) {
  EnvironmentRequest request;
  request.services = {"web"};
  const PlanResult result = Make(R"(services:
  auth: {type: http, run: ./a, needs: [db]}
  db: {type: http, run: ./d, needs: [web]}
  web: {type: http, run: ./w, needs: [auth]}
)",
                                 request);
  EXPECT_THAT(
      Text(result),
      HasSubstr(
          "needs form a circle: web -> auth (envspec.yml:4:39) -> db (envspec.yml:2:40) -> web (envspec.yml:3:38)"));
  EXPECT_FALSE(result.ok());
}

TEST_F(PlannerTest, UnknownNamesSuggestTheNearest) {
  EnvironmentRequest request;
  request.services = {"crat"};
  request.tests = {"e2"};
  const PlanResult result = Make(kShop, request);
  EXPECT_THAT(Text(result), HasSubstr("error: there is no service 'crat' in 'shop'\n  did you mean 'cart'?"));
  EXPECT_THAT(Text(result), HasSubstr("error: there is no test 'e2' in 'shop'\n  did you mean 'e2e'?"));
}

TEST_F(PlannerTest, ImageNeedsAnEngineThatHasThem) {
  constexpr char kImage[] = "services:\n  web: {type: http, image: shop/web}\n";
  EXPECT_THAT(Text(Make(kImage, {})),
              HasSubstr("envspec.yml:2:28: error: the local engine runs no container images, and 'web' asks for it"));
  capabilities_.images = true;
  EXPECT_EQ(Text(Make(kImage, {})), "");
}

TEST_F(PlannerTest, AnImageIsFilledInForAnEngineThatRunsImages) {
  constexpr char kImage[] = "services:\n  web: {type: http, run: ./web, image: \"shop/${self.host}:${env.TAG}\"}\n";
  EnvironmentRequest request;
  EXPECT_EQ(At(Make(kImage, request), "web").process.image, "") << "on the host nobody asks for its tag";
  capabilities_.images = true;
  EXPECT_THAT(Text(Make(kImage, request)), HasSubstr("${env.TAG} is not set"));
  request.variables["TAG"] = "7f3a";
  EXPECT_EQ(At(Make(kImage, request), "web").process.image, "shop/web:7f3a");
}

TEST_F(PlannerTest, AnEngineThatRunsOnlyImagesNeedsOneForEveryServiceAndTest) {
  constexpr char kHost[] = "services:\n  web: {type: http, run: ./web}\ntests:\n  e2e: {run: [./e2e], needs: [web]}\n";
  capabilities_.engine = "kubernetes";
  capabilities_.images = capabilities_.needs_images = true;
  EnvironmentRequest request;
  request.tests = {"e2e"};
  const std::string text = Text(Make(kHost, request));
  EXPECT_THAT(text, HasSubstr("'web' has no image, and the kubernetes engine runs nothing else"));
  EXPECT_THAT(text, HasSubstr("'e2e' has no image, and the kubernetes engine runs nothing else"));
}

TEST_F(PlannerTest, BeforeJobHasItsServicesNeedsAndVariables) {
  const PlanResult result = Make(R"(services:
  web:
    type: http
    run: ./web
    needs: [db]
    env: {A: service, B: service}
    before: {migrate: {run: ./migrate, env: {B: job}, workdir: sql, within: 9s}}
  db: {type: postgres, run: ./pg}
)",
                                 {});
  ASSERT_EQ(Text(result), "");
  const PlanNode& migrate = At(result, "web.migrate");
  EXPECT_EQ(migrate.kind, NodeKind::kJob);
  EXPECT_THAT(migrate.process.variables,
              testing::IsSupersetOf({testing::Pair("A", "service"), testing::Pair("B", "job")}));
  EXPECT_EQ(migrate.process.workdir, result.plan.root + "/sql");
  EXPECT_EQ(migrate.process.probe.within, absl::Seconds(9));
  ASSERT_EQ(migrate.needs.size(), 1u);
  EXPECT_EQ(result.plan.nodes[migrate.needs[0].node].name, "db");
  const PlanNode& web = At(result, "web");
  EXPECT_EQ(web.needs.back().condition, Condition::kCompleted);
  EXPECT_EQ(result.plan.nodes[web.needs.back().node].name, "web.migrate");
}

TEST_F(PlannerTest, NeedingAJobDoesNotBringItsService) {
  EnvironmentRequest request;
  request.services = {"report"};
  const PlanResult result = Make(R"(services:
  web: {type: http, run: ./web, before: {migrate: ./migrate}}
  report: {type: worker, run: ./report, needs: [web.migrate]}
)",
                                 request);
  EXPECT_THAT(Names(result.plan), ElementsAre("web.migrate", "report"));
}

TEST_F(PlannerTest, WhatTheRequestSetsIsTextAndNoReference) {
  EnvironmentRequest request;
  request.variables = {{"A", "${web.url}"}};
  const PlanResult result = Make("services:\n  web: {type: http, run: ./web, env: {A: x}}\n", request);
  EXPECT_EQ(At(result, "web").process.variables.at("A"), "${web.url}");
}

TEST_F(PlannerTest, JobThatIsOneServiceIsAJobNode) {
  const PlanResult result = Make("services:\n  seed: {type: job, run: ./seed, health: {within: 7s}}\n", {});
  EXPECT_EQ(At(result, "seed").kind, NodeKind::kJob);
  EXPECT_EQ(At(result, "seed").process.probe.kind, Probe::Kind::kNone);
  EXPECT_EQ(At(result, "seed").process.probe.within, absl::Seconds(7));
}

TEST_F(PlannerTest, UnknownProfileSuggestsTheNearest) {
  EnvironmentRequest request;
  request.profile = "deb";
  const PlanResult result = Make("services:\n  web: {type: http, run: ./web}\nprofiles: {dev: {ttl: 8h}}\n", request);
  EXPECT_THAT(Text(result), HasSubstr("did you mean 'dev'?"));
}

TEST(LintPlanTest, MissesNothingThatOnlyARequestBrings) {
  const SpecFolder folder(
      "services:\n  web: {type: http, image: shop/web, replicas: 2, env: {A: \"${env.KEY}\"}, secrets: {B: token}}\n");
  EXPECT_EQ(FormatDiagnostics(LintPlan(LoadCatalogue(folder.path()))), "");
}

TEST_F(PlannerTest, DigestFollowsTheProcessAndNotItsProbe) {
  SpecFolder folder("services:\n  web: {type: http, run: ./web}\n");
  const auto plan = [&](absl::string_view text) {
    folder.Write("envspec.yml", text);
    return MakePlan(LoadCatalogue(folder.path()).catalogue, {}, capabilities_, {}, fingerprint_)
        .plan.nodes.at(0)
        .digest;
  };
  const std::string first = plan("services:\n  web: {type: http, run: ./web}\n");
  EXPECT_EQ(plan("services:\n  web: {type: http, run: ./web, health: {http: /x}, stop: {grace: 1s}}\n"), first);
  EXPECT_NE(plan("services:\n  web: {type: http, run: ./web -v}\n"), first);
  EXPECT_NE(plan("services:\n  web: {type: http, run: ./web, env: {A: b}}\n"), first);
  fingerprint_ = [](const std::string& path) { return absl::EndsWith(path, "/web") ? "rebuilt" : ""; };
  EXPECT_NE(plan("services:\n  web: {type: http, run: ./web}\n"), first);
}

TEST_F(PlannerTest, VolumesSidecarsAndReplicasReachTheProcessFilledIn) {
  capabilities_ = {"kubernetes", true};
  capabilities_.images = capabilities_.replicas = capabilities_.volumes = capabilities_.sidecars = true;
  const PlanResult result = Make(
      "services:\n"
      "  db: {type: postgres, image: db, run: ./db, volumes: {data: /var/lib/data, log: {path: /log, size: 2Gi}}}\n"
      "  web:\n"
      "    {type: http, image: web, run: ./web, replicas: 3, sidecars: {proxy: {image: \"proxy:${env.TAG}\", run: "
      "'./proxy ${db.address}', env: {TO: \"${self.host}\"}}}}\n",
      [] {
        EnvironmentRequest request;
        request.services = {"web"};
        request.variables["TAG"] = "7";
        return request;
      }());
  EXPECT_EQ(Text(result), "");
  EXPECT_THAT(At(result, "db").why, ElementsAre("referenced by web (sidecars.proxy.run)"));
  const ProcessSpec& db = At(result, "db").process;
  ASSERT_EQ(db.volumes.size(), 2u);
  EXPECT_EQ(db.volumes[0], (Volume{"data", "/var/lib/data", 0}));
  EXPECT_EQ(db.volumes[1], (Volume{"log", "/log", int64_t{2} << 30}));
  const ProcessSpec& web = At(result, "web").process;
  EXPECT_EQ(web.replicas, 3);
  ASSERT_EQ(web.sidecars.size(), 1u);
  EXPECT_EQ(web.sidecars[0], (Sidecar{"proxy", "proxy:7", {"./proxy", "db:5432"}, {{"TO", "web"}}}));
}

TEST_F(PlannerTest, DigestFollowsVolumesSidecarsAndReplicas) {
  capabilities_.replicas = capabilities_.volumes = capabilities_.sidecars = true;
  SpecFolder folder("services: {}\n");
  const auto digest = [&](absl::string_view keys) {
    folder.Write("envspec.yml", absl::StrCat("services: {web: {type: http, run: ./web", keys, "}}\n"));
    return MakePlan(LoadCatalogue(folder.path()).catalogue, {}, capabilities_, {}, fingerprint_)
        .plan.nodes.at(0)
        .digest;
  };
  const std::vector<std::string> all = {digest(""),
                                        digest(", replicas: 2"),
                                        digest(", volumes: {a: /b}"),
                                        digest(", volumes: {a: /c}"),
                                        digest(", volumes: {a: {path: /b, size: 2Gi}}"),
                                        digest(", sidecars: {p: {image: p}}"),
                                        digest(", sidecars: {p: {image: q}}"),
                                        digest(", sidecars: {p: {image: p, run: x}}"),
                                        digest(", sidecars: {p: {image: p, env: {A: b}}}")};
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
  EXPECT_EQ(digest(", replicas: 1"), all[0]);
}

TEST_F(PlannerTest, EnginesWithoutVolumesSidecarsAndReplicasSaySo) {
  const std::string text = Text(Make(
      "services: {web: {type: http, run: ./web, replicas: 2, volumes: {a: /b}, sidecars: {p: {image: p}}}}\n", {}));
  for (const char* key : {"replicas", "volumes", "sidecars"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("the local engine has no '", key, "', and 'web' asks for it")));
  }
}

TEST_F(PlannerTest, TheDigestKnowsTheFilesThatAServiceIsPointedTo) {
  SpecFolder folder(
      "services:\n  web: {type: http, run: './web --config=conf/web.toml', env: {RULES: conf/rules.txt, MODE: "
      "fast}}\n");
  const LoadedCatalogue loaded = LoadCatalogue(folder.path());
  const auto digest = [&](const std::string& changed) {
    return MakePlan(loaded.catalogue, {}, capabilities_, {},
                    [&](const std::string& path) { return absl::EndsWith(path, changed) ? "new" : ""; })
        .plan.nodes.at(0)
        .digest;
  };
  const std::string before = digest("/nothing");
  EXPECT_NE(digest("/conf/web.toml"), before);
  EXPECT_NE(digest("/conf/rules.txt"), before);
  EXPECT_EQ(digest("/conf/other.txt"), before);
}

TEST_F(PlannerTest, TheDigestKnowsTheServicesFolderAndItsPaths) {
  SpecFolder folder("services: [a, b]\n");
  folder.Write("a/service.yml", "name: a\ntype: http\nrun: python3 main.py\npaths: [shared/a]\n");
  folder.Write("b/service.yml", "name: b\ntype: http\nrun: python3 main.py\n");
  const LoadedCatalogue loaded = LoadCatalogue(folder.path());
  const auto digests = [&](const std::string& changed) {
    std::map<std::string, std::string> out;
    for (const PlanNode& node : MakePlan(loaded.catalogue, {}, capabilities_, {}, [&](const std::string& path) {
                                  return absl::EndsWith(path, changed) ? "new" : "";
                                }).plan.nodes) {
      out[node.name] = node.digest;
    }
    return out;
  };
  const auto before = digests("/nothing"), folder_changed = digests("/a"), shared_changed = digests("/shared/a");
  EXPECT_NE(folder_changed.at("a"), before.at("a"));
  EXPECT_EQ(folder_changed.at("b"), before.at("b"));
  EXPECT_NE(shared_changed.at("a"), before.at("a"));
}

TEST_F(PlannerTest, AFileThatManyServicesNameIsLookedAtOnce) {
  SpecFolder folder("services:\n  a: {type: http, run: ./program a}\n  b: {type: http, run: ./program b}\n");
  std::map<std::string, int> looks;
  MakePlan(LoadCatalogue(folder.path()).catalogue, {}, capabilities_, {}, [&](const std::string& path) {
    ++looks[path.substr(path.rfind('/') + 1)];
    return "";
  });
  EXPECT_EQ(looks["program"], 1);
}

}  // namespace
}  // namespace mayfly
