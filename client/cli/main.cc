// mayfly: the thin client. It asks, shows and exits; whatever runs belongs to the server.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/verbs.h"
#include "mayfly/base/version.h"

int main(int argc, char** argv) {
  // Scripts ask for the version again and again: answered before the grammar is built.
  if (argc == 2 && (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0)) {
    printf("mayfly %s\n", std::string(mayfly::Version()).c_str());
    return mayfly::kExitOk;
  }
  signal(SIGPIPE, SIG_IGN);
  // gRPC writes its own complaints to standard error, which belongs to people; ours say the same in words.
  if (getenv("GRPC_VERBOSITY") == nullptr) setenv("GRPC_VERBOSITY", "NONE", 1);
  const auto parsed = mayfly::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (const auto* answer = std::get_if<mayfly::Answer>(&parsed)) {
    fputs(answer->text.c_str(), answer->exit_code == 0 ? stdout : stderr);
    return answer->exit_code;
  }
  const mayfly::Options& options = std::get<mayfly::Options>(parsed);
  const mayfly::VerbEntry* verb = mayfly::FindVerb(options.verb);
  if (verb == nullptr) return mayfly::kExitInternal;
  // Before gRPC starts its threads, which must inherit the mask.
  std::optional<mayfly::Interrupts> interrupts;
  if (verb->catches_interrupts) interrupts.emplace();
  mayfly::Console console(options);
  mayfly::Session session(options, &console, interrupts.has_value() ? &*interrupts : nullptr);
  return verb->run(session);
}
