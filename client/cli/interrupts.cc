#include "client/cli/interrupts.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <csignal>

namespace mayfly {
namespace {

OwnedFd SignalFd(const sigset_t& set) {
  return OwnedFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int TakeFrom(int fd) {
  signalfd_siginfo info = {};
  return read(fd, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace

Interrupts::Interrupts() {
  sigset_t stop, resize;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  sigemptyset(&resize);
  sigaddset(&resize, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  pthread_sigmask(SIG_BLOCK, &resize, nullptr);
  // A shell without job control starts background jobs with SIGINT ignored; ignored signals never reach a signalfd,
  // and that is what such a shell means. SIGTERM is never ignored by them.
  stop_ = SignalFd(stop);
  resize_ = SignalFd(resize);
}

int Interrupts::Take() {
  return TakeFrom(stop_.get());
}

void Interrupts::TakeResize() {
  TakeFrom(resize_.get());
}

int Interrupts::WaitFor(int milliseconds) {
  pollfd fd = {stop_.get(), POLLIN, 0};
  poll(&fd, 1, milliseconds);
  return Take();
}

}  // namespace mayfly
