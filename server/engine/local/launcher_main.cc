// mayfly-launcher: the launcher as a program of its own, so that its many forks are small.
#include <fcntl.h>

#include <cstdio>
#include <string>
#include <vector>

#include "server/engine/local/launcher.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  const auto parsed = mayfly::local::ParseLauncherArguments(arguments);
  // A mode of the descriptor tells whether it was inherited.
  if (!parsed.ok() || fcntl(parsed->second, F_SETFD, FD_CLOEXEC) != 0) {
    std::fprintf(stderr, "mayfly-launcher is started by mayflyd and is of no use alone\n");
    return 2;
  }
  // A server with threads cannot vouch for the descriptors of its libraries.
  mayfly::local::CloseAllExcept({0, 1, 2, parsed->second});
  mayfly::local::RunLauncher(parsed->first, mayfly::local::UniqueFd(parsed->second));
}
