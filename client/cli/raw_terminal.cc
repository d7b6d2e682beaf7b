#include "client/cli/raw_terminal.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace mayfly {
namespace {

// Signal handlers and atexit reach nothing but globals.
termios g_saved;
volatile sig_atomic_t g_fd = -1;

void Restore() {
  const int fd = g_fd;
  g_fd = -1;
  if (fd >= 0) tcsetattr(fd, TCSANOW, &g_saved);
}

extern "C" void RestoreAndDie(int signal_number) {
  Restore();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

constexpr int kDeadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

}  // namespace

RawTerminal::RawTerminal(int fd) {
  if (!isatty(fd) || tcgetattr(fd, &g_saved) != 0) return;
  g_fd = fd;
  static const bool registered = atexit(Restore) == 0;
  (void)registered;
  for (const int number : kDeadly) signal(number, RestoreAndDie);
  termios raw = g_saved;
  cfmakeraw(&raw);
  active_ = tcsetattr(fd, TCSANOW, &raw) == 0;
  if (!active_) g_fd = -1;
}

RawTerminal::~RawTerminal() {
  if (!active_) return;
  Restore();
  for (const int number : kDeadly) signal(number, SIG_DFL);
}

}  // namespace mayfly
