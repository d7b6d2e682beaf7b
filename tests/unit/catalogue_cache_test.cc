// What the server takes for unchanged on the disk, and what it reads again.
#include "server/run/catalogue_cache.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/spec/catalogue_loader.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

class CatalogueCacheTest : public testing::Test {
 protected:
  CatalogueCacheTest() {
    Write("envspec.yml", "name: company\nservices: [services/*]\n");
    Write("services/cart/service.yml", "name: cart\ntype: http\nport: 8080\nrun: ./cart\n");
    Write("services/cart/cart", "program");
  }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    std::ofstream(dir_ / path) << text;
  }

  // Of the whole company.
  CatalogueRef Load() { return cache_.Load(dir_.path(), ""); }

  TempDir dir_;
  int loads_ = 0;
  absl::Duration later_ = absl::Hours(1);  // How long ago everything here was written.
  CatalogueCache cache_{[this](const std::string& source, const std::string& below) {
                          ++loads_;
                          return LoadCatalogue(source, below);
                        },
                        [this] { return absl::Now() + later_; }};
};

TEST_F(CatalogueCacheTest, WhatDidNotChangeIsNotReadAgain) {
  const CatalogueRef first = Load();
  ASSERT_TRUE(first->ok()) << FormatDiagnostics(first->diagnostics);
  EXPECT_EQ(Load(), first);
  EXPECT_EQ(loads_, 1);
}

TEST_F(CatalogueCacheTest, WhatWasReadWithoutALimitIsNotGivenOutWithOne) {
  fs::create_directory(dir_ / "allowed");
  fs::create_symlink("..", dir_ / "allowed/out");
  ASSERT_TRUE(cache_.Load(dir_ / "allowed/out", "")->ok());
  EXPECT_FALSE(cache_.Load(dir_ / "allowed/out", dir_ / "allowed")->ok());
}

TEST_F(CatalogueCacheTest, AChangedServiceIsSeen) {
  Load();
  Write("services/cart/service.yml", "name: cart\ntype: http\nport: 9090\nrun: ./cart\n");
  const CatalogueRef second = Load();
  EXPECT_EQ(second->catalogue.FindService("cart")->ports[0].number, 9090);
}

TEST_F(CatalogueCacheTest, AServiceThatAppearsIsSeen) {
  Load();
  Write("services/payment/service.yml", "name: payment\ntype: http\nport: 8080\nrun: ./payment\n");
  EXPECT_NE(Load()->catalogue.FindService("payment"), nullptr);
}

TEST_F(CatalogueCacheTest, AServiceThatGoesIsMissed) {
  Write("services/payment/service.yml", "name: payment\ntype: http\nport: 8080\nrun: ./payment\n");
  ASSERT_NE(Load()->catalogue.FindService("payment"), nullptr);
  fs::remove_all(dir_ / "services/payment");
  EXPECT_EQ(Load()->catalogue.FindService("payment"), nullptr);
}

TEST_F(CatalogueCacheTest, ABrokenCatalogueIsReadEachTime) {
  Write("services/cart/service.yml", "name: cart\ntype: nonsense\n");
  EXPECT_FALSE(Load()->ok());
  EXPECT_FALSE(Load()->ok());
  EXPECT_EQ(loads_, 2);
}

// Two changes within one tick of the file system's clock would look like one.
TEST_F(CatalogueCacheTest, FilesWrittenJustNowAreNotTrusted) {
  later_ = absl::ZeroDuration();
  Load();
  Load();
  EXPECT_EQ(loads_, 2);
}

TEST_F(CatalogueCacheTest, ManySourcesDoNotGrowItForEver) {
  for (int i = 0; i < 100; ++i) {
    const std::string name = "c" + std::to_string(i);
    Write(name + "/envspec.yml", "name: " + name + "\nservices: [a]\n");
    Write(name + "/a/service.yml", "name: a\ntype: http\nport: 80\nrun: ./a\n");
    EXPECT_TRUE(cache_.Load(dir_ / name, "")->ok());
  }
  EXPECT_LE(cache_.size(), 64u);
}

}  // namespace
}  // namespace mayfly
