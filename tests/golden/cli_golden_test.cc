// What the CLI says, from canned events and values: no server, no clock, no terminal.
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command_line.h"
#include "client/cli/completion.h"
#include "client/cli/first_service.h"
#include "client/cli/live_block.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "tests/support/cli_events.h"
#include "tests/support/golden.h"

namespace mayfly {
namespace {

std::string Path(const std::string& name) {
  return "tests/golden/cli/" + name;
}

std::string HelpOf(const std::vector<std::string>& args) {
  const auto parsed = ParseCommandLine(args);
  const auto* answer = std::get_if<Answer>(&parsed);
  return answer == nullptr ? "no answer" : absl::StrCat("exit ", answer->exit_code, "\n", answer->text);
}

TEST(CliHelpGolden, EveryVerb) {
  ExpectGolden(Path("help.txt"), HelpOf({"--help"}));
  const CommandTree root = DescribeCommandLine();
  std::string all;
  for (const CommandTree& verb : root.commands) {
    absl::StrAppend(&all, "$ mayfly ", verb.name, " --help\n", HelpOf({verb.name, "--help"}), "\n");
    for (const CommandTree& inner : verb.commands) {
      absl::StrAppend(&all, "$ mayfly ", verb.name, " ", inner.name, " --help\n",
                      HelpOf({verb.name, inner.name, "--help"}), "\n");
    }
  }
  ExpectGolden(Path("help_verbs.txt"), all);
}

TEST(CliHelpGolden, Mistakes) {
  std::string all;
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"uup"},
                                             {"\x1b[31m"},
                                             {"up", "--tll", "2h"},
                                             {"up", "--replay", "shop", "-f", "."},
                                             {"up", "--replay", "shop", "cart"},
                                             {"up", "--ttl", "2"},
                                             {"up", "-o", "xml"},
                                             {"run", "--set", "A"},
                                             {"server"},
                                             {"logs", "--tail", "-1"},
                                             {"run", "--on-interrupt", "maybe"},
                                             {"run", "--env-file", "/no/such/file"}}) {
    absl::StrAppend(&all, "$ mayfly ", args[0] == "\x1b[31m" ? "ESC[31m" : absl::StrJoin(args, " "), "\n", HelpOf(args),
                    "\n");
  }
  ExpectGolden(Path("mistakes.txt"), all);
}

Progress Fold(const CannedEvents& log) {
  Progress progress;
  for (const v1::Event& event : log.events) progress.Apply(event);
  return progress;
}

std::string Frame(const CannedEvents& log, Look look, int ms) {
  return absl::StrJoin(RenderFrame(Fold(log), "shop", look, absl::Milliseconds(ms), 1), "\n") + "\n";
}

TEST(CliProgressGolden, FramesFitTheTerminal) {
  ExpectGolden(Path("frame.txt"), Frame(CannedEvents::HalfWay(), {.width = 80, .height = 24}, 1100));
  ExpectGolden(Path("frame_narrow.txt"), Frame(CannedEvents::HalfWay(), {.width = 34, .height = 24}, 1100));
  ExpectGolden(Path("frame_low.txt"), Frame(CannedEvents::HalfWay(), {.width = 80, .height = 6}, 1100));
  ExpectGolden(Path("frame_ascii.txt"),
               Frame(CannedEvents::HalfWay(), {.width = 80, .height = 24, .unicode = false}, 1100));
  ExpectGolden(Path("frame_color.txt"),
               Frame(CannedEvents::HalfWay(), {.width = 80, .height = 24, .color = true}, 1100));
  ExpectGolden(Path("frame_broken.txt"), Frame(CannedEvents::Broken(true), {.width = 100, .height = 24}, 1151));
}

TEST(CliProgressGolden, PlainLines) {
  for (const auto& [name, log] :
       {std::pair("passed", CannedEvents::Passed()), std::pair("broken", CannedEvents::Broken(false))}) {
    std::string all;
    Progress before;
    for (const v1::Event& event : log.events) {
      const std::string line = RenderEvent(before, event, Look{.width = 0});
      if (!line.empty()) absl::StrAppend(&all, line, "\n");
      before.Apply(event);
    }
    ExpectGolden(Path(absl::StrCat("lines_", name, ".txt")), all);
  }
}

TEST(CliProgressGolden, AFailureNamesItsCauseFirst) {
  const Progress progress = Fold(CannedEvents::Broken(true));
  ExpectGolden(Path("failure.txt"), absl::StrJoin(DescribeFailure(progress.cause(), "shop", Look{}), "\n") + "\n");
}

TEST(CliProgressGolden, RedrawingReplacesTheBlock) {
  LiveBlock block;
  ExpectGolden(Path("redraw.txt"),
               block.Draw({"one", "two"}) + block.Draw({"one"}) + block.Draw({"one", "two", "three"}));
}

v1::Environment Shop() {
  v1::Environment shop;
  shop.set_name("shop");
  shop.set_state(v1::Environment::ACTIVE);
  v1::Node* gateway = shop.add_nodes();
  gateway->set_name("api-gateway");
  gateway->set_state(v1::Node::READY);
  for (const int port : {8080, 9090}) {
    v1::Endpoint* endpoint = gateway->add_endpoints();
    endpoint->set_port(port);
    endpoint->set_address(absl::StrCat("127.0.0.1:", 12400 + port));
    if (port == 8080) endpoint->set_url("http://127.0.0.1:20480/?a=b&c='d'");
  }
  shop.add_nodes()->set_name("no");
  shop.mutable_cause()->set_message("line\nbreak \"quoted\" 1.0");
  return shop;
}

TEST(CliOutputGolden, EnvironmentAsData) {
  ExpectGolden(Path("environment.json"), ToJson(Shop()));
  ExpectGolden(Path("environment.yaml"), JsonToYaml(ToJson(Shop())));
  ExpectGolden(Path("environment.env"), RenderEnvFile(Shop()));
}

TEST(CliOutputGolden, YamlKeepsWhatJsonSaid) {
  ExpectGolden(
      Path("tricky.yaml"),
      JsonToYaml(R"({"no": "no", "n": 1, "x": ["yes", "1.5", "", "a: b", "- c", "ü", "tab\t", "null", "2026-01-01"],
                              "empty": {}, "none": [], "deep": [[1, 2], {"a": {"b": [null, true]}}], "1": "~"})"));
}

TEST(CliOutputGolden, PlanAsDot) {
  const CannedEvents log = CannedEvents::HalfWay();
  ExpectGolden(Path("plan.dot"), RenderDot("sh\"op", log.events[2].plan()));
}

TEST(CliOutputGolden, TablesAlignAndFit) {
  const std::vector<std::vector<std::string>> rows = {{"NAME", "STATE", "ABOUT"},
                                                      {"a", "READY", "short"},
                                                      {"日本", "STARTING", "a story that is too long for the line"}};
  ExpectGolden(Path("table.txt"), RenderTable(rows, Look{.width = 40}) + RenderTable(rows, Look{.width = 0}));
}

TEST(CliCompletionGolden, EachShell) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    ExpectGolden(Path(absl::StrCat("completion.", shell)), RenderCompletion(DescribeCommandLine(), shell));
  }
}

TEST(CliInitGolden, FirstService) {
  FirstService service{.name = "cart",
                       .run = "node \"main ${x}\".js",
                       .port = 3000,
                       .origin = "package.json (main)",
                       .before = "npm ci"};
  ExpectGolden(Path("first_service.yml"),
               RenderFirstService(service) + "---\n" + RenderFirstService(FirstService{.name = "empty"}));
}

}  // namespace
}  // namespace mayfly
