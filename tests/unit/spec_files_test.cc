// Reading below one folder and nothing outside of it, also while somebody moves things about.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/folder.h"
#include "server/spec/catalogue_loader.h"
#include "tests/support/spec_case.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using testing::HasSubstr;
using testing::Not;

namespace fs = std::filesystem;

constexpr char kService[] = "type: http\nport: 80\nrun: ./web\n";

// Files inside and outside of a root folder, with links from the one to the other.
class FolderTest : public testing::Test {
 protected:
  FolderTest() : all_("--- root/sub/file\ninside\n--- secret\noutside\n") {
    const std::pair<const char*, std::string> links[] = {{"near", "sub/file"},
                                                         {"round", "sub/../sub/./file"},
                                                         {"absolute", root_ + "/sub/file"},
                                                         {"out", "../secret"},
                                                         {"far", all_.path() + "/secret"},
                                                         {"nothing", all_.path() + "/nothing"},
                                                         {"twin", root_ + "-else"},
                                                         {"loop", "loop"},
                                                         {"folder", root_ + "/sub"},
                                                         {"dangling", "missing"},
                                                         {"sub/up", "../near"},
                                                         {"sub/over", "../../root/sub/file"}};
    for (const auto& [name, target] : links) fs::create_symlink(target, root_ + "/" + name);
    folder_ = Folder::Open(root_);
  }
  // What `name` says, or why it cannot be opened.
  std::string Open(const std::string& name) {
    const UniqueFd fd = folder_.OpenBelow(name, O_RDONLY);
    if (!fd.valid()) return strerrorname_np(errno);
    char text[16];
    const ssize_t size = read(fd.get(), text, sizeof(text));
    return std::string(text, size < 0 ? 0 : size - 1);
  }

  const SpecFolder all_;
  const std::string root_ = fs::canonical(all_.path() + "/root").string();
  Folder folder_;
};

TEST_F(FolderTest, LinksAreFollowedAsLongAsTheyStayBelow) {
  for (const char* name : {"sub/file", "near", "round", "absolute", "folder/file", "sub/up", "folder/up"})
    EXPECT_EQ(Open(name), "inside") << name;
}

TEST_F(FolderTest, WhatLeadsOutIsNotLookedAt) {
  for (const char* name : {"out", "far", "nothing", "twin", "far/x", "sub/over", "../secret", "../root/near", ".."})
    EXPECT_EQ(Open(name), "EXDEV") << name;
}

TEST_F(FolderTest, WhatIsNotThereIsSaid) {
  EXPECT_EQ(Open("dangling"), "ENOENT");
  EXPECT_EQ(Open("folder/none"), "ENOENT");
  EXPECT_EQ(Open("near/x"), "ENOTDIR");
  EXPECT_EQ(Open("loop"), "ELOOP");
}

TEST_F(FolderTest, AFolderBelowKnowsItsResolvedPath) {
  EXPECT_EQ(folder_.Enter("").path(), root_);
  EXPECT_EQ(folder_.Enter("folder/../folder/.").path(), root_ + "/sub");
  EXPECT_FALSE(folder_.Enter("out").valid());
  EXPECT_EQ(errno, EXDEV);
  EXPECT_FALSE(folder_.Enter("near").valid());
  EXPECT_EQ(errno, ENOTDIR);
  EXPECT_EQ(Folder::Open("/").Enter(root_ + "/folder").path(), root_ + "/sub");
}

TEST_F(FolderTest, ALinkInTheFoldersOwnPathIsNotFollowed) {
  EXPECT_FALSE(Folder::Open(root_ + "/folder").valid());
  EXPECT_EQ(errno, ELOOP);
}

// As long as it lives, `one` and `other` change places without rest.
class Swapper {
 public:
  Swapper(const std::string& one, const std::string& other)
      : thread_([this, one, other] {
          while (!stop_.load(std::memory_order_relaxed)) {
            if (renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0) ++swaps_;
          }
        }) {}
  ~Swapper() {
    stop_ = true;
    thread_.join();
    EXPECT_GT(swaps_, 1) << "this file system cannot swap";
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> swaps_{0};
  std::thread thread_;
};

// Everything that somebody who asked for the catalogue may get to see of a file.
std::string Shown(const LoadedCatalogue& loaded) {
  std::string all = FormatDiagnostics(loaded.diagnostics);
  for (const auto& [name, service] : loaded.catalogue.services) {
    absl::StrAppend(&all, name, " ", service.folder, "\n");
    for (const FileSpec& file : service.files) absl::StrAppend(&all, file.content.text, "\n");
  }
  for (const auto& [name, text] : loaded.catalogue.texts) absl::StrAppend(&all, *text, "\n");
  return all;
}

// Loads until a link was met and until the file was, and then some more; `outside` must never be seen.
void ExpectNeverSeen(const std::string& outside, const std::string& inside,
                     const std::function<LoadedCatalogue()>& load) {
  constexpr int kRounds = 1000;
  int refused = 0, read = 0;
  for (int i = 0; i < 50 * kRounds && (i < kRounds || refused == 0 || read == 0); ++i) {
    const LoadedCatalogue loaded = load();
    const std::string shown = Shown(loaded);
    ASSERT_THAT(shown, Not(HasSubstr(outside))) << "after " << i << " rounds";
    if (!loaded.ok()) ++refused;
    if (shown.find(inside) != std::string::npos) ++read;
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(read, 0);
}

TEST(SpecFilesRaceTest, AFileThatChangesPlacesWithALinkNeverShowsWhatIsOutside) {
  const SpecFolder all(absl::StrCat("--- root/envspec.yml\nservices: [web]\n--- root/web/service.yml\nname: web\n",
                                    kService,
                                    "files: {c.txt: {from: sec}}\n--- root/web/sec\ninside\n--- secret\noutside\n"));
  fs::create_symlink(all.path() + "/secret", all.path() + "/root/web/link");
  const Swapper swapper(all.path() + "/root/web/sec", all.path() + "/root/web/link");
  ExpectNeverSeen("outside", "inside", [&] { return LoadCatalogue(all.path() + "/root"); });
}

TEST(SpecFilesRaceTest, AServicesFolderThatChangesPlacesWithALinkNeverShowsWhatIsOutside) {
  const SpecFolder all(
      absl::StrCat("--- root/envspec.yml\nservices: [services/*]\n--- root/services/web/service.yml\nname: inside\n",
                   kService, "--- outer/service.yml\nname: outside\n", kService));
  fs::create_directory_symlink(all.path() + "/outer", all.path() + "/root/link");
  const Swapper swapper(all.path() + "/root/services/web", all.path() + "/root/link");
  ExpectNeverSeen("name: outside", "inside", [&] { return LoadCatalogue(all.path() + "/root"); });
}

TEST(SpecFilesRaceTest, ASourceThatChangesPlacesWithALinkStaysBelowTheAllowedFolder) {
  const SpecFolder all(absl::StrCat("--- allowed/shop/service.yml\nname: inside\n", kService,
                                    "--- private/service.yml\nname: outside\n", kService));
  fs::create_directory_symlink(all.path() + "/private", all.path() + "/allowed/link");
  const Swapper swapper(all.path() + "/allowed/shop", all.path() + "/allowed/link");
  ExpectNeverSeen("outside", "inside", [&] {
    return LoadCatalogue(all.path() + "/allowed/shop", fs::canonical(all.path() + "/allowed").string());
  });
}

// Sources that must be below a folder.
class BelowTest : public testing::Test {
 protected:
  LoadedCatalogue Load(const std::string& name) { return LoadCatalogue(allowed_ + "/" + name, allowed_); }
  const SpecFolder all_{absl::StrCat("--- allowed/shop/service.yml\nname: shop\n", kService,
                                     "--- private/service.yml\nname: secret\n", kService)};
  const std::string allowed_ = fs::canonical(all_.path() + "/allowed").string();
};

TEST_F(BelowTest, ItsRootIsResolvedAndItsFilesAreRead) {
  fs::create_symlink("shop", allowed_ + "/again");
  for (const char* name : {"shop", "shop/service.yml", "again", "again/service.yml"}) {
    const LoadedCatalogue loaded = Load(name);
    EXPECT_TRUE(loaded.ok()) << name << FormatDiagnostics(loaded.diagnostics);
    EXPECT_EQ(loaded.catalogue.root, allowed_ + "/shop");
  }
}

TEST_F(BelowTest, WhatLeadsOutIsDeniedWhetherItIsThereOrNot) {
  fs::create_symlink("../private", allowed_ + "/there");
  fs::create_symlink("../missing", allowed_ + "/gone");
  for (const char* name : {"there", "gone"}) {
    const LoadedCatalogue loaded = Load(name);
    EXPECT_THAT(loaded.access, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("leads out of")));
    EXPECT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.catalogue.root, "");
  }
  EXPECT_THAT(LoadCatalogue(all_.path() + "/private", allowed_).access,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("leads out of")));
}

TEST_F(BelowTest, APatternTellsNothingOfFoldersOutside) {
  fs::create_symlink("../../private", allowed_ + "/shop/there");
  fs::create_symlink("../../missing", allowed_ + "/shop/gone!");
  for (const char* tail : {"", "/*", "/x"}) {
    std::vector<std::string> answers;
    for (const char* link : {"there", "gone!"}) {
      all_.Write("allowed/shop/envspec.yml", absl::StrCat("services: ['", link, tail, "']\n"));
      answers.push_back(absl::StrReplaceAll(FormatDiagnostics(Load("shop").diagnostics), {{link, "LINK_"}}));
      EXPECT_THAT(answers.back(), HasSubstr("error"));
    }
    EXPECT_EQ(answers[0], answers[1]);
  }
}

TEST_F(BelowTest, WhatIsMissingInsideIsAnOrdinaryError) {
  const LoadedCatalogue loaded = Load("nothing");
  EXPECT_OK(loaded.access);
  EXPECT_THAT(FormatDiagnostics(loaded.diagnostics), HasSubstr("no such file or folder (No such file or directory)"));
}

}  // namespace
}  // namespace mayfly
