#include "server/spec/catalogue_loader.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/source_codec.h"
#include "tests/support/spec_case.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Pair;
using ::testing::SizeIs;

std::string Words(const std::vector<Template>& run) {
  std::string out;
  for (const Template& word : run) absl::StrAppend(&out, "[", word.text, "]");
  return out;
}

LoadedCatalogue LoadGood(const SpecFolder& folder) {
  LoadedCatalogue loaded = LoadCatalogue(folder.path());
  EXPECT_EQ(FormatDiagnostics(loaded.diagnostics), "");
  return loaded;
}

TEST(CatalogueLoaderTest, ServiceOverridesTypeKeyByKey) {
  const SpecFolder folder(R"(name: shop
services: [services/*]
types:
  http: {port: 9000, health: {http: /healthz, within: 5s}, env: {A: type, B: type}, args: [--type]}
--- services/cart/service.yml
name: cart
type: http
run: ./cart --fast
args: [--service]
env: {B: service, C: service}
health: {within: 7s}
)");
  const LoadedCatalogue loaded = LoadGood(folder);
  const ServiceSpec& cart = loaded.catalogue.services.at("cart");
  EXPECT_EQ(Words(cart.run), "[./cart][--fast][--service]");
  EXPECT_THAT(cart.variables,
              ElementsAre(Pair("A", Template{"type"}), Pair("B", Template{"service"}), Pair("C", Template{"service"})));
  EXPECT_EQ(cart.probe.kind, Probe::Kind::kHttp);
  EXPECT_EQ(cart.probe.path, "/healthz");
  EXPECT_EQ(cart.probe.port, 9000);
  EXPECT_EQ(cart.probe.within, absl::Seconds(7));
  EXPECT_EQ(cart.base, "http");
  EXPECT_EQ(cart.folder, loaded.catalogue.root + "/services/cart");
}

TEST(CatalogueLoaderTest, EveryValueKnowsItsOrigin) {
  const SpecFolder folder(R"(services: [cart]
types: {http: {port: 9000}}
--- cart/service.yml
name: cart
type: http
run: ./cart
)");
  const ServiceSpec cart = LoadGood(folder).catalogue.services.at("cart");
  std::map<std::string, std::string> origins;
  for (const Origin& o : cart.origins)
    origins[o.key] = absl::StrCat(o.value, " | ", o.layer, " | ", folder.Relative(FormatPos(o.pos)));
  EXPECT_EQ(origins.at("port"), "9000 | type http (envspec.yml) | envspec.yml:2:22");
  EXPECT_EQ(origins.at("run"), "./cart | service | cart/service.yml:3:6");
  EXPECT_EQ(origins.at("health.tcp"), "true | type http (built in) | ");
}

TEST(CatalogueLoaderTest, NewWayOfProbingReplacesTheTypes) {
  const SpecFolder folder(R"(services:
  cart: {type: http, run: ./cart, health: {log: "ready .*"}}
  box: {type: http, run: ./box, health: none}
)");
  const Catalogue catalogue = LoadGood(folder).catalogue;
  EXPECT_EQ(catalogue.services.at("cart").probe.kind, Probe::Kind::kLog);
  EXPECT_EQ(catalogue.services.at("cart").probe.pattern, "ready .*");
  EXPECT_EQ(catalogue.services.at("box").probe.kind, Probe::Kind::kNone);
}

TEST(CatalogueLoaderTest, PortsReplaceAnInheritedPort) {
  const SpecFolder folder(R"(services:
  cart: {type: http, run: ./cart, ports: {web: 3000, admin: {number: 3001, expose: true}}}
)");
  const ServiceSpec cart = LoadGood(folder).catalogue.services.at("cart");
  ASSERT_THAT(cart.ports, SizeIs(2));
  EXPECT_EQ(cart.ports[0], (Port{"web", 3000}));
  EXPECT_EQ(cart.ports[1], (Port{"admin", 3001, true}));
  EXPECT_EQ(cart.probe.port, 3000);
}

TEST(CatalogueLoaderTest, NeedingAJobMeansItsCompletion) {
  const SpecFolder folder(R"(services:
  migrate: {type: job, run: ./migrate}
  cart: {type: http, run: ./cart, needs: [migrate, box.seed, {web: started}]}
  web: {type: http, run: ./web}
  box: {type: http, run: ./box, before: {seed: ./seed all}}
)");
  const Catalogue catalogue = LoadGood(folder).catalogue;
  const std::vector<Dependency>& needs = catalogue.services.at("cart").needs;
  ASSERT_THAT(needs, SizeIs(3));
  EXPECT_EQ(needs[0].condition, Condition::kCompleted);
  EXPECT_EQ(needs[1].condition, Condition::kCompleted);
  EXPECT_EQ(needs[2].condition, Condition::kStarted);
  EXPECT_EQ(Words(catalogue.services.at("box").before.at(0).run), "[./seed][all]");
}

TEST(CatalogueLoaderTest, FileTextMayComeFromAFile) {
  const SpecFolder folder(R"(services: [web]
--- web/service.yml
name: web
type: http
run: nginx
files: {/tmp/nginx.conf: {from: nginx.conf, mode: "0644"}}
--- web/nginx.conf
listen ${self.port};
)");
  const ServiceSpec web = LoadGood(folder).catalogue.services.at("web");
  ASSERT_THAT(web.files, SizeIs(1));
  EXPECT_THAT(web.files[0].content.text, HasSubstr("listen ${self.port};"));
  EXPECT_EQ(web.files[0].mode, 0644);
}

TEST(CatalogueLoaderTest, ImageWithoutRunNeedsACapability) {
  const SpecFolder folder(R"(services:
  cart: {type: http, image: shop/cart}
  both: {type: http, image: shop/both, run: ./both}
)");
  const Catalogue catalogue = LoadGood(folder).catalogue;
  EXPECT_THAT(catalogue.services.at("cart").unsupported, ElementsAre("image"));
  EXPECT_THAT(catalogue.services.at("both").unsupported, ElementsAre());
}

TEST(CatalogueLoaderTest, SymbolicLinkOutOfTheRootIsRefused) {
  const SpecFolder outside("--- secret/service.yml\nname: secret\ntype: http\nrun: ./x\n");
  const SpecFolder folder("services: [secret]\n");
  ASSERT_EQ(symlink((outside.path() + "/secret").c_str(), (folder.path() + "/secret").c_str()), 0);
  const LoadedCatalogue loaded = LoadCatalogue(folder.path());
  EXPECT_THAT(FormatDiagnostics(loaded.diagnostics), HasSubstr("is a symbolic link that leads out of the root folder"));
  EXPECT_THAT(loaded.catalogue.services, SizeIs(0));
}

TEST(CatalogueLoaderTest, DigestChangesWithAnyFileAndOnlyThen) {
  const SpecFolder folder("services: [cart]\n--- cart/service.yml\nname: cart\ntype: http\nrun: ./cart\n");
  const std::string first = LoadGood(folder).catalogue.digest;
  EXPECT_EQ(LoadGood(folder).catalogue.digest, first);
  folder.Write("cart/service.yml", "name: cart\ntype: http\nrun: ./cart -v\n");
  EXPECT_NE(LoadGood(folder).catalogue.digest, first);
}

TEST(CatalogueLoaderTest, WhatWasRecordedIsTheSameCatalogueWhateverBecameOfTheFiles) {
  const std::string specs = R"(name: shop
services: [services/*]
types: {web: {type: http, port: 9000}}
--- services/web/service.yml
name: web
type: web
run: nginx
files: {/tmp/nginx.conf: {from: nginx.conf, mode: "0644"}}
--- services/web/nginx.conf
listen ${self.port};
--- services/notes/readme.txt
no service
)";
  const SpecFolder folder(specs);
  const Catalogue then = LoadGood(folder).catalogue;
  ASSERT_NE(then.source, nullptr);
  const std::string kept = EncodeSource(then.source.get());
  folder.Write("services/web/service.yml", "name: other\n");
  folder.Write("envspec.yml", "name: other\n");
  const auto source = DecodeSource(kept);
  ASSERT_OK(source);
  const LoadedCatalogue loaded = LoadCatalogue(*source);
  EXPECT_EQ(FormatDiagnostics(loaded.diagnostics), "");
  EXPECT_EQ(loaded.catalogue.name, "shop");
  EXPECT_EQ(loaded.catalogue.root, then.root);
  EXPECT_EQ(loaded.catalogue.digest, then.digest);
  EXPECT_EQ(loaded.catalogue.texts.size(), then.texts.size());
  ASSERT_EQ(loaded.catalogue.services.count("web"), 1u);
  const ServiceSpec& web = loaded.catalogue.services.at("web");
  EXPECT_EQ(web.folder, then.services.at("web").folder);
  EXPECT_EQ(web.pos.file, then.services.at("web").pos.file);
  EXPECT_THAT(web.files[0].content.text, HasSubstr("listen ${self.port};"));
  EXPECT_EQ(EncodeSource(loaded.catalogue.source.get()), kept) << "it can be recorded again";
}

TEST(CatalogueLoaderTest, WhatIsTooLargeOrDamagedIsNoRecord) {
  CatalogueSource source{"/r", "/r", "envspec.yml", {}};
  source.files["envspec.yml"] = std::make_shared<const std::string>(kMostSource, 'x');
  EXPECT_EQ(EncodeSource(&source), "");
  EXPECT_EQ(EncodeSource(nullptr), "");
  for (const char* text : {"", "no JSON", "[]", "{}", R"({"root":"/r","shown":"/r","main":"m","files":{"m":7}})"}) {
    EXPECT_THAT(DecodeSource(text), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cannot be read"))) << text;
  }
}

TEST(FindSpecTest, TheNearestEnvspecAboveWinsOverTheFoldersOwnService) {
  const SpecFolder folder(
      "services: [services/*]\n--- services/cart/service.yml\nname: cart\ntype: http\nrun: ./cart\n");
  const auto found = FindSpec(folder.path() + "/services/cart");
  ASSERT_OK(found);
  EXPECT_EQ(folder.Relative(*found), "envspec.yml");
}

TEST(FindSpecTest, LooksNoFurtherThanTheRepository) {
  const SpecFolder folder("services: {}\n--- repo/.git/HEAD\nx\n--- repo/src/main.c\nx\n");
  EXPECT_THAT(FindSpec(folder.path() + "/repo/src"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("mayfly init")));
}

}  // namespace
}  // namespace mayfly
