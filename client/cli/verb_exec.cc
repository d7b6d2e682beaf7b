#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/raw_terminal.h"
#include "client/cli/verbs.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

int g_resize_event = -1;

extern "C" void TerminalResized(int) {
  eventfd_write(g_resize_event, 1);
}

void FillSize(int32_t& columns, int32_t& rows) {
  winsize size = {};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return;
  columns = size.ws_col;
  rows = size.ws_row;
}

// Sends standard input and window sizes until `done` is readable.
void PumpInput(ExecStream& stream, int done, int resized) {
  pollfd fds[3] = {{STDIN_FILENO, POLLIN, 0}, {done, POLLIN, 0}, {resized, POLLIN, 0}};
  char buffer[16384];
  while (true) {
    if (poll(fds, 3, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    v1::ExecRequest request;
    if (fds[2].revents != 0) {
      eventfd_t count;
      eventfd_read(resized, &count);
      int32_t columns = 0, rows = 0;
      FillSize(columns, rows);
      request.mutable_resize()->set_columns(columns);
      request.mutable_resize()->set_rows(rows);
      if (!stream.Write(request)) return;
    }
    if (fds[0].revents == 0) continue;
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      request.set_stdin(buffer, static_cast<size_t>(got));
    } else {
      request.set_stdin_closed(true);
      fds[0].fd = -1;
    }
    if (!stream.Write(request)) return;
  }
}

struct ExecEnd {
  std::optional<int> exit_code;
  absl::Status status;
};

ExecEnd Talk(ExecStream& stream, bool terminal) {
  std::optional<RawTerminal> raw;
  if (terminal) raw.emplace(STDIN_FILENO);
  const OwnedFd done(eventfd(0, EFD_CLOEXEC));
  const OwnedFd resized(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  g_resize_event = resized.get();
  if (terminal) signal(SIGWINCH, TerminalResized);
  std::thread input([&] { PumpInput(stream, done.get(), resized.get()); });
  ExecEnd end;
  v1::ExecResponse response;
  while (stream.Read(&response)) {
    // Bytes as they are: whoever runs a shell inside wants its terminal sequences. A pipe that is closed ends it.
    const bool written = !(response.has_stdout() && !WriteAll(STDOUT_FILENO, response.stdout()).ok()) &&
                         !(response.has_stderr() && !WriteAll(STDERR_FILENO, response.stderr()).ok());
    if (!written) {
      stream.Cancel();
      break;
    }
    if (response.has_exit_code()) end.exit_code = response.exit_code();
  }
  eventfd_write(done.get(), 1);
  input.join();
  if (terminal) signal(SIGWINCH, SIG_DFL);
  end.status = stream.Finish();
  return end;
}

}  // namespace

// `mayfly exec SERVICE -- COMMAND...`: its output and its exit code become ours.
ExitCode VerbExec(Session& session) {
  const Options& options = session.options();
  std::vector<std::string> command = options.command;
  if (options.words.empty()) return Usage(session, "say where and what: mayfly exec SERVICE -- COMMAND...");
  // Without "--" the words behind the service are the command.
  command.insert(command.begin(), options.words.begin() + 1, options.words.end());
  if (command.empty()) command = {"/bin/sh"};
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());

  const bool terminal = !options.no_terminal && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  v1::ExecRequest request;
  v1::ExecRequest::Start* start = request.mutable_start();
  start->set_name(*name);
  start->set_service(options.words[0]);
  for (const std::string& word : command) start->add_command(word);
  start->set_terminal(terminal);
  if (terminal) {
    int32_t columns = 0, rows = 0;
    FillSize(columns, rows);
    start->set_columns(columns);
    start->set_rows(rows);
  }
  const std::unique_ptr<ExecStream> stream = (*client)->Exec();
  ExecEnd end;
  if (stream->Write(request)) {
    end = Talk(*stream, terminal);
  } else {
    end.status = stream->Finish();
  }
  if (end.exit_code.has_value()) return static_cast<ExitCode>(*end.exit_code);
  if (end.status.ok()) end.status = absl::UnavailableError("the connection ended before the command did");
  const ExitCode code = session.Fail(end.status);
  return code == kExitHost ? kExitConflict : code;
}

}  // namespace mayfly
