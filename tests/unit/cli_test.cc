// The parts of the CLI that decide: exit codes, names, places, guesses.
#include <filesystem>
#include <fstream>
#include <variant>

#include "client/cli/ci_labels.h"
#include "client/cli/command_line.h"
#include "client/cli/console.h"
#include "client/cli/exit_codes.h"
#include "client/cli/first_service.h"
#include "client/cli/progress.h"
#include "client/cli/spec_path.h"
#include "client/lib/provisioner_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/cli_events.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

Options Parsed(const std::vector<std::string>& args) {
  const auto parsed = ParseCommandLine(args);
  if (const auto* answer = std::get_if<Answer>(&parsed)) ADD_FAILURE() << answer->text;
  return std::holds_alternative<Options>(parsed) ? std::get<Options>(parsed) : Options{};
}

TEST(ExitCodes, TellFailedTestsFromABrokenEnvironment) {
  const auto code = [](v1::Verdict verdict, const char* cause) {
    v1::Cause value;
    value.set_code(cause);
    return ExitCodeFor(verdict, value, v1::Environment::DELETED);
  };
  EXPECT_EQ(code(v1::VERDICT_PASSED, ""), 0);
  EXPECT_EQ(code(v1::VERDICT_FAILED, "TESTS_FAILED"), 5);
  EXPECT_EQ(code(v1::VERDICT_ERROR, "OUT_OF_MEMORY"), 4);
  EXPECT_EQ(code(v1::VERDICT_ERROR, "SPEC_INVALID"), 3);
  EXPECT_EQ(code(v1::VERDICT_ERROR, "ENGINE_UNAVAILABLE"), 10);
  EXPECT_EQ(code(v1::VERDICT_CANCELLED, "CANCELLED"), 130);
  EXPECT_EQ(code(v1::VERDICT_CANCELLED, "SUPERSEDED"), 9);
  EXPECT_EQ(code(v1::VERDICT_CANCELLED, "EXPIRED"), 124);
}

TEST(ExitCodes, FollowTheStatus) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("x")), 2);
  absl::Status spec = absl::InvalidArgumentError("x");
  spec.SetPayload(kDiagnosticsPayload, absl::Cord("y"));
  EXPECT_EQ(ExitCodeFor(spec), 3);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("x")), 6);
  EXPECT_EQ(ExitCodeFor(absl::UnauthenticatedError("x")), 7);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("x")), 8);
  EXPECT_EQ(ExitCodeFor(absl::AlreadyExistsError("x")), 9);
  EXPECT_EQ(ExitCodeFor(absl::FailedPreconditionError("x")), 10);
  EXPECT_EQ(ExitCodeFor(absl::DeadlineExceededError("x")), 124);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("x")), 1);
}

TEST(CommandLine, WhatStandsBehindTwoDashesIsLeftAlone) {
  const Options options = Parsed({"exec", "cart", "--name", "shop", "--", "sh", "-c", "echo --help"});
  EXPECT_THAT(options.words, ElementsAre("cart"));
  EXPECT_THAT(options.command, ElementsAre("sh", "-c", "echo --help"));
  EXPECT_EQ(options.name, "shop");
}

TEST(CommandLine, SetWinsOverTheEnvFile) {
  TempDir dir;
  Write(dir / "env", "# comment\nexport A=file\n\nB=\"two words\"\nC=\n");
  const Options options = Parsed({"up", "--set", "A=flag=1", "--env-file", dir / "env", "--set", "D=4"});
  EXPECT_EQ(options.variables,
            (std::map<std::string, std::string>{{"A", "flag=1"}, {"B", "two words"}, {"C", ""}, {"D", "4"}}));
}

TEST(CiLabels, AreWhatTheCiAroundTellsAndNothingElsewhere) {
  std::map<std::string, std::string> around;
  const auto labels = [&] {
    return LabelsOfCi([&](const char* name) {
      const auto it = around.find(name);
      return it == around.end() ? nullptr : it->second.c_str();
    });
  };
  around = {{"GITHUB_REF", "refs/pull/7/merge"}, {"CI_COMMIT_SHA", "abc"}};
  EXPECT_THAT(labels(), testing::IsEmpty());
  around = {{"GITHUB_ACTIONS", "true"},     {"GITHUB_REF", "refs/pull/7/merge"}, {"GITHUB_REF_TYPE", "branch"},
            {"GITHUB_REF_NAME", "7/merge"}, {"GITHUB_HEAD_REF", "fix-it"},       {"GITHUB_SHA", "abc"}};
  EXPECT_EQ(labels(), (KeyValues{{"pr", "7"}, {"branch", "fix-it"}, {"commit", "abc"}}));
  around = {{"GITHUB_ACTIONS", "true"},
            {"GITHUB_REF", "refs/heads/main"},
            {"GITHUB_REF_TYPE", "branch"},
            {"GITHUB_REF_NAME", "main"},
            {"GITHUB_HEAD_REF", ""}};
  EXPECT_EQ(labels(), (KeyValues{{"branch", "main"}}));
  around = {{"GITLAB_CI", "true"},
            {"CI_MERGE_REQUEST_IID", "12"},
            {"CI_COMMIT_SHA", "def"},
            {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "\x1b[31m"}};
  EXPECT_EQ(labels(), (KeyValues{{"pr", "12"}, {"branch", "\\x1b[31m"}, {"commit", "def"}}));
}

TEST(CiLabels, ABranchWithALongNameIsCutBetweenTwoCharacters) {
  const std::string branch = std::string(255, 'a') + "é";
  const KeyValues labels = LabelsOfCi([&](const char* name) -> const char* {
    const std::string wanted = name;
    return wanted == "GITLAB_CI" ? "true" : wanted == "CI_COMMIT_BRANCH" ? branch.c_str() : nullptr;
  });
  EXPECT_EQ(labels.at("branch"), std::string(255, 'a'));
}

TEST(CommandLine, LabelsMayBeRepeated) {
  EXPECT_EQ(Parsed({"run", "--label", "pr=7", "--label", "team=a=b"}).labels,
            (KeyValues{{"pr", "7"}, {"team", "a=b"}}));
  EXPECT_EQ(Parsed({"list", "--label", "pr=7"}).labels, (KeyValues{{"pr", "7"}}));
}

TEST(CommandLine, AFlagWinsOverItsEnvironmentVariableAndThatOverTheDefault) {
  const std::pair<const char*, const char*> variables[] = {{"MAYFLY_NAME", "prod"},
                                                           {"MAYFLY_STATE_DIR", "/var/a"},
                                                           {"MAYFLY_SERVER", "a:1"},
                                                           {"MAYFLY_TOKEN_FILE", "token-a"}};
  for (const auto& [name, value] : variables) setenv(name, value, 1);
  const Options given =
      Parsed({"down", "--name", "test", "--state-dir=/var/b", "--server", "b:2", "--token-file", "token-b"});
  const Options bare = Parsed({"server", "status"});
  const Options named = Parsed({"down"});
  for (const auto& [name, value] : variables) unsetenv(name);
  EXPECT_EQ(given.name, "test");
  EXPECT_EQ(given.state_dir, "/var/b");
  EXPECT_EQ(given.server, "b:2");
  EXPECT_EQ(given.token_file, "token-b");
  EXPECT_EQ(bare.state_dir, "/var/a");
  EXPECT_EQ(named.name, "prod");
}

TEST(CommandLine, ShortFollowAndShortFileDoNotMeet) {
  EXPECT_TRUE(Parsed({"logs", "-f", "cart"}).follow);
  EXPECT_EQ(Parsed({"up", "-f", "envspecs/hello"}).path, "envspecs/hello");
  EXPECT_EQ(Parsed({"server", "stop"}).verb, "server stop");
  EXPECT_EQ(Parsed({"--version"}).verb, "version");
}

TEST(SpecPath, TheNearestEnvspecUpwardsWinsOverAServiceBeforeIt) {
  TempDir dir;
  Write(dir / "repo/envspec.yml", "name: \"shop\"  # the shop\nservices: [*]\n");
  Write(dir / "repo/cart/service.yml", "name: cart\n");
  Write(dir / "alone/service.yml", "name: other\n");
  EXPECT_EQ(*ResolveSpec("", dir / "repo/cart"), dir / "repo/envspec.yml");
  EXPECT_EQ(*ResolveSpec("", dir / "alone"), dir / "alone/service.yml");
  EXPECT_EQ(PeekName(dir / "repo/envspec.yml"), "shop");
  EXPECT_EQ(PeekName(dir / "repo"), "shop");
  EXPECT_EQ(PeekName(dir / "alone/service.yml"), "alone");
  EXPECT_THAT(ResolveSpec(dir / "nowhere", "/"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
}

TEST(SpecPath, ANameIsAlwaysAValidOne) {
  TempDir dir;
  Write(dir / "My_Shop!/service.yml", "");
  EXPECT_EQ(PeekName(dir / "My_Shop!/service.yml"), "my-shop");
  Write(dir / "x/envspec.yml", "name: " + std::string(60, 'a') + "\n");
  EXPECT_EQ(PeekName(dir / "x", 33).size(), 33u);
}

TEST(Console, ColumnsCountWhatATerminalShows) {
  EXPECT_EQ(Columns("日本"), 4);
  EXPECT_EQ(Columns("e\u0301"), 1);
  EXPECT_EQ(FitColumns("日本語", 5, true), "日本…");
  EXPECT_EQ(FitColumns("abcdef", 4, false), "abc>");
  EXPECT_EQ(FitColumns("abcd", 4, true), "abcd");
  EXPECT_EQ(PadColumns("日", 4), "日  ");
}

TEST(Progress, NoLineIsWiderThanTheTerminal) {
  for (const CannedEvents& log : {CannedEvents::HalfWay(), CannedEvents::Passed(), CannedEvents::Broken(true)}) {
    Progress progress;
    for (const v1::Event& event : log.events) progress.Apply(event);
    for (int width = 1; width < 120; ++width) {
      const auto lines = RenderFrame(progress, "shop", Look{.width = width, .height = 5}, absl::Seconds(2), 0);
      EXPECT_LE(lines.size(), 5u);
      for (const std::string& line : lines) EXPECT_LE(Columns(line), width) << line;
    }
  }
}

TEST(Progress, AnUpdateDropsWhatItsPlanLeavesOut) {
  CannedEvents log = CannedEvents::Passed();
  CannedEvents::Plan(log.Add(3000, v1::Event::PLANNED), "gateway", v1::Node::SERVICE, {});
  Progress progress;
  for (const v1::Event& event : log.events) progress.Apply(event);
  ASSERT_EQ(progress.rows().size(), 1u);
  EXPECT_EQ(progress.rows()[0].state, v1::Node::READY);
}

FirstService Guessed(const std::map<std::string, std::string>& files) {
  TempDir dir;
  for (const auto& [name, text] : files) Write(dir / name, text);
  const auto service = GuessService(dir.path());
  EXPECT_OK(service.status());
  return service.ok() ? *service : FirstService{};
}

TEST(FirstService, IsGuessedFromWhatLiesThere) {
  EXPECT_EQ(Guessed({{"package.json", R"({"scripts": {"start": "node ."}})"}}).run, "npm start");
  EXPECT_EQ(Guessed({{"requirements.txt", "Flask==3\n"}, {"app.py", ""}}).run,
            "python3 -m flask --app app run --host 0.0.0.0 --port 8080");
  EXPECT_EQ(Guessed({{"go.mod", "module example.org/team/cart\n"}}).run, "./cart");
  EXPECT_EQ(Guessed({{"Cargo.toml", "[package]\nname = \"cart\"\n"}}).run, "./target/release/cart");
  EXPECT_EQ(Guessed({{"Procfile", "web: bin/serve -p 80\n"}}).run, "bin/serve -p 80");
  EXPECT_EQ(Guessed({{"Procfile", "worker: bin/work\n"}}).type, "worker");
  EXPECT_EQ(Guessed({{"Makefile", "all:\nrun: all\n"}}).run, "make run");
  EXPECT_EQ(Guessed({{"pom.xml", "<project><artifactId>cart</artifactId><version>1.2</version>"}}).run,
            "java -jar target/cart-1.2.jar");
  const FirstService docker = Guessed({{"Dockerfile", "FROM x\nEXPOSE 3000/tcp\nCMD [\"node\", \"main.js\"]\n"}});
  EXPECT_EQ(docker.run, "node main.js");
  EXPECT_EQ(docker.port, 3000);
  EXPECT_EQ(Guessed({{"README.md", "hello"}}).run, "");
  EXPECT_EQ(Guessed({{"package.json", "[broken"}}).run, "");
}

}  // namespace
}  // namespace mayfly
