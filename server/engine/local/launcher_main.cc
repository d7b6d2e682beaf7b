// mayfly-launcher: the launcher as a program of its own, so that its many forks are small.
#include <fcntl.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "server/engine/local/launcher.h"

namespace {

// Inits and shims are forks of this program: a service would read in /proc/1/cmdline where the state folder and its
// user's home are. A last byte that is not 0 tells the kernel that what counts ends at the first 0.
void ForgetArguments(int argc, char** argv) {
  if (argc < 2) return;
  char* const first = argv[0] + std::strlen(argv[0]) + 1;
  char* const last = argv[argc - 1] + std::strlen(argv[argc - 1]);
  std::memset(first, 0, static_cast<size_t>(last - first));
  *last = ' ';
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  const auto parsed = mayfly::local::ParseLauncherArguments(arguments);
  // A mode of the descriptor tells whether it was inherited.
  if (!parsed.ok() || fcntl(parsed->second, F_SETFD, FD_CLOEXEC) != 0) {
    std::fprintf(stderr, "mayfly-launcher is started by mayflyd and is of no use alone\n");
    return 2;
  }
  ForgetArguments(argc, argv);
  // A server with threads cannot vouch for the descriptors of its libraries.
  mayfly::local::CloseAllExcept({0, 1, 2, parsed->second});
  mayfly::local::RunLauncher(parsed->first, mayfly::local::UniqueFd(parsed->second));
}
