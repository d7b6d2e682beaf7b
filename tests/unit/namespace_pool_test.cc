// Which environment has which of the kube namespaces that somebody made, and what it has made there.
#include "server/engine/kubernetes/namespace_pool.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/ledger.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kubernetes {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(NamespacePoolTest, NamesMayBeARange) {
  const auto names = ParseNamespaces("team-a, mf-{1..3},x-{9..10}-y");
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, ElementsAre("team-a", "mf-1", "mf-2", "mf-3", "x-9-y", "x-10-y"));
}

TEST(NamespacePoolTest, WhatIsNoPlaceForEnvironmentsIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> bad = {{"", "''"},
                                                                {"default", "'default'"},
                                                                {"a,kube-system", "'kube-system'"},
                                                                {"a,b,a", "'a'"},
                                                                {"mf-{3..1}", "mf-{"},
                                                                {"mf-{1..2", "mf-{1..2"},
                                                                {"mf-{1-2}", "FIRST..LAST"},
                                                                {"A", "'A'"},
                                                                {"a/b", "'a/b'"},
                                                                {"mf-{0..5000}", "mf-{"},
                                                                {"-a", "'-a'"},
                                                                {"a b", "'a b'"}};
  for (const auto& [text, said] : bad) {
    const auto names = ParseNamespaces(text);
    EXPECT_EQ(names.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(names.status().message()), HasSubstr(said));
  }
}

TEST(NamespacePoolTest, WhoComesFirstIsServedFirst) {
  NamespacePool pool;
  pool.Add("n1");
  pool.Add("n2");
  EXPECT_EQ(pool.Take("a"), "n1");
  EXPECT_EQ(pool.Take("b"), "n2");
  EXPECT_EQ(pool.Take("c"), "");
  EXPECT_EQ(pool.Take("d"), "");
  EXPECT_EQ(pool.Take("e"), "");
  pool.Leave("d");
  EXPECT_EQ(pool.Free("n2"), "c");
  EXPECT_EQ(pool.HolderOf("n2"), "c");
  EXPECT_EQ(pool.Free("n1"), "e");
  EXPECT_EQ(pool.Free("n1"), "");
  EXPECT_EQ(pool.HolderOf("n1"), "");
  EXPECT_THAT(pool.FreeOnes(), ElementsAre("n1"));
}

TEST(NamespacePoolTest, OneThatIsNotListedAnyMoreIsNotHandedOutAgain) {
  NamespacePool pool;
  pool.Add("n1");
  pool.Hold("former", "a");
  pool.Hold("n1", "b");
  EXPECT_EQ(pool.Take("c"), "");
  EXPECT_EQ(pool.Free("former"), "");
  EXPECT_EQ(pool.Free("n1"), "c");
}

TEST(LedgerTest, WhatWasMadeIsKnownToALaterServer) {
  const TempDir folder;
  const std::string file = folder.path() + "/mf-1.objects";
  {
    auto ledger = Ledger::Open(file);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    for (const char* path : {"/a/pods/x", "/a/pods/y", "/a/pods/z"}) EXPECT_EQ(ledger->Intend(path), absl::OkStatus());
    EXPECT_EQ(ledger->Made("/a/pods/x", "uid-x"), absl::OkStatus());
    EXPECT_EQ(ledger->Made("/a/pods/z", "uid-z"), absl::OkStatus());
    EXPECT_EQ(ledger->Gone("/a/pods/z"), absl::OkStatus());
  }
  const auto later = Ledger::Open(file);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_THAT(later->objects(), UnorderedElementsAre(Pair("/a/pods/x", "uid-x"), Pair("/a/pods/y", "")));
}

// Killed in the middle of a write.
TEST(LedgerTest, ALineThatWasCutOffIsAsIfItWereNotWritten) {
  const TempDir folder;
  const std::string file = folder.path() + "/mf-1.objects";
  std::ofstream(file) << "intend /a/pods/x\nmade /a/pods/x uid";
  {
    auto ledger = Ledger::Open(file);
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    EXPECT_THAT(ledger->objects(), UnorderedElementsAre(Pair("/a/pods/x", "")));
    EXPECT_EQ(ledger->Intend("/a/pods/y"), absl::OkStatus());
  }
  const auto later = Ledger::Open(file);
  EXPECT_THAT(later->objects(), UnorderedElementsAre(Pair("/a/pods/x", ""), Pair("/a/pods/y", "")));
}

}  // namespace
}  // namespace mayfly::kubernetes
