#include <cstdio>
#include <string>
#include <vector>

#include "mayfly/base/cause.h"
#include "mayfly/base/version.h"
#include "server/app/daemon.h"
#include "server/app/flags.h"

namespace {

constexpr int kUsageError = 2;

// docs/causes.md.
void PrintCauses() {
  printf("# Causes\n\nThe first line of every failure names one of these. Codes never change their meaning.\n\n");
  printf("| Code | Number | Meaning | What to do |\n| --- | --- | --- | --- |\n");
  for (const mayfly::CauseInfo& info : mayfly::CauseTable()) {
    if (info.code == mayfly::CauseCode::kNone) continue;
    printf("| `%s` | %d | %s | %s |\n", std::string(info.name).c_str(), static_cast<int>(info.code),
           std::string(info.meaning).c_str(), std::string(info.advice).c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const absl::StatusOr<mayfly::app::Flags> flags =
      mayfly::app::ParseFlags(std::vector<std::string>(argv + 1, argv + argc));
  if (!flags.ok()) {
    fprintf(stderr, "mayflyd: %s\n", std::string(flags.status().message()).c_str());
    return kUsageError;
  }
  if (flags->help) {
    fputs(mayfly::app::FlagsHelp().c_str(), stdout);
    return 0;
  }
  if (flags->version) {
    printf("mayflyd %s (%s)\n", std::string(mayfly::Version()).c_str(), std::string(mayfly::Commit()).c_str());
    return 0;
  }
  if (flags->print_causes) {
    PrintCauses();
    return 0;
  }
  return mayfly::app::RunDaemon(*flags);
}
