// The first process of a service's container; protocol.h says what it is for. Its arguments are the service's command.
// From the environment, and taken out of it: MAYFLY_GATE "IPV4:PORT SCOPE/POD TOKEN", MAYFLY_GATE_STOP the number of
// the stop signal, MAYFLY_GATE_DIR the folder to start in, relative to the container's own, MAYFLY_GATE_OUT addresses
// of the loopback that stand for what is outside.
#define _GNU_SOURCE
#include "gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOTIFY_NAME "mayfly-notify"

static enum { WAITING, RUNNING, ENDED, FAILED } state = WAITING;
static const char *pod, *token, *folder;
static int stop_signal = SIGTERM;
static char** command;

static pid_t service;
static int reaped;  // It has ended; others of it may still run.
static int exit_told, leaving, ready, one_shot;
static int wait_status;
static char failure[64];
static int outputs[2] = {-1, -1};
static int notify = -1;
static int await_port;
static int64_t started_at, ended_at, look_at;

int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

// How often the kernel has killed for memory in this container, cgroup v2 or v1.
static long oom_kills(void) {
  const char* const files[] = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
  for (int i = 0; i < 2; ++i) {
    char text[512];
    const int fd = open(files[i], O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) continue;
    text[n] = 0;
    const char* found = strstr(text, "oom_kill ");
    if (found) return atol(found + strlen("oom_kill "));
  }
  return 0;
}

static void leave(void) {
  link_flush();
  if (state == FAILED) exit(127);
  if (state != ENDED) exit(128 + SIGTERM);
  exit(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
}

static void tell_end(void) {
  char text[128];
  int n;
  if (exit_told || !link_up() || !link_output_sent()) return;
  if (state == FAILED) {
    link_send(GATE_FAILED, 0, 0, failure, strlen(failure));
  } else if (state == ENDED) {
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    const long long cpu =
        (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000LL + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    n = snprintf(text, sizeof text, "%d %lld %ld %ld %lld", wait_status, cpu, (long)used.ru_maxrss, oom_kills(),
                 (long long)ended_at);
    link_send(GATE_EXITED, 0, 0, text, n);
  } else {
    return;
  }
  exit_told = 1;
  if (leaving) leave();
}

static void fail(const char* stage, int error) {
  snprintf(failure, sizeof failure, "%s %d", stage, error);
  state = FAILED;
}

static void close_outputs(void) {
  for (int i = 0; i < 2; ++i) {
    if (outputs[i] >= 0) close(outputs[i]);
    outputs[i] = -1;
  }
}

int enter_folder(void) {
  return folder ? chdir(folder) : 0;
}

// In the child; says on `report` what went wrong, and nothing when nothing did.
static void run(int out, int err, int report) {
  struct {
    char stage[12];
    int error;
  } wrong = {"workdir", 0};
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(out, 1);
  dup2(err, 2);
  if (enter_folder() == 0) {
    strcpy(wrong.stage, "exec");
    execvp(command[0], command);
  }
  wrong.error = errno;
  // An interpreter that is not there looks like a program that is not there.
  if (errno == ENOENT && strchr(command[0], '/') && access(command[0], F_OK) == 0) strcpy(wrong.stage, "script");
  if (write(report, &wrong, sizeof wrong) < 0) _exit(126);
  _exit(127);
}

static void go(void) {
  int out[2], err[2], report[2];
  if (state != WAITING) return;
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0)
    return fail("fork", errno);
  service = fork();
  if (service == 0) run(out[1], err[1], report[1]);
  const int error = errno;
  close(out[1]);
  close(err[1]);
  close(report[1]);
  outputs[0] = out[0];
  outputs[1] = err[0];
  for (int i = 0; i < 2; ++i) fcntl(outputs[i], F_SETFL, O_NONBLOCK);
  struct {
    char stage[12];
    int error;
  } wrong;
  // Ends with exec: a moment.
  const ssize_t n = service < 0 ? 0 : read(report[0], &wrong, sizeof wrong);
  close(report[0]);
  if (service < 0) return fail("fork", error);
  if (n == (ssize_t)sizeof wrong) {
    wrong.stage[sizeof wrong.stage - 1] = 0;
    close_outputs();
    return fail(wrong.stage, wrong.error);
  }
  state = RUNNING;
  started_at = look_at = now_us();
  link_send(GATE_STARTED, 0, 0, &started_at, sizeof started_at);
}

static void pass_on(int i) {
  static char buffer[16384];
  for (int turns = 0; turns < 4 && outputs[i] >= 0; ++turns) {
    const ssize_t n = read(outputs[i], buffer, sizeof buffer);
    if (n < 0) return;
    if (n == 0) {
      close(outputs[i]);
      outputs[i] = -1;
      return;
    }
    link_output(i, buffer, n);
    // For whoever asks the cluster itself. Held up by its reader, as the service would be without us.
    for (ssize_t done = 0; done < n;) {
      const ssize_t w = write(i + 1, buffer + done, n - done);
      if (w < 0 && errno == EINTR) continue;
      if (w <= 0) break;
      done += w;
    }
  }
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != service) {
      stream_reaped(pid, status);
      continue;
    }
    if (state != RUNNING) continue;  // A failed start.
    wait_status = status;
    ended_at = now_us();
    reaped = 1;
    kill(-1, SIGKILL);  // Whatever it left behind. We are process 1 and not meant.
  }
}

// Everything of the service has ended when there is no child left: orphans become ours.
static void settle_end(void) {
  siginfo_t info;
  if (state != RUNNING || !reaped) return;
  if (streams_running() == 0 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) return;
  for (int i = 0; i < 2; ++i) {
    while (outputs[i] >= 0) {
      const int before = outputs[i];
      pass_on(i);
      struct pollfd more = {.fd = before, .events = POLLIN};
      if (outputs[i] >= 0 && poll(&more, 1, 0) == 0) break;
    }
  }
  close_outputs();
  state = ENDED;
  ready = 0;
}

static void on_signals(int fd) {
  struct signalfd_siginfo info;
  while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    // The kubelet wants the pod to end.
    if (state != RUNNING) leave();
    leaving = 1;
    kill(service, info.ssi_signo == SIGTERM ? stop_signal : (int)info.ssi_signo);
  }
  reap();
}

static void end_all(int and_leave) {
  if (and_leave) leaving = 1;
  if (state == RUNNING) {
    kill(-1, SIGKILL);
  } else if (and_leave) {
    leave();
  }
}

void on_connected(void) {
  const char* const names[] = {"waiting", "running", "ended", "failed"};
  char text[1024], address[INET_ADDRSTRLEN];
  const struct in_addr own = link_own_address();
  const int n =
      snprintf(text, sizeof text, "%d %s %s %s %s %lld", GATE_VERSION, pod, token,
               inet_ntop(AF_INET, &own, address, sizeof address), ready ? "ready" : names[state], (long long)now_us());
  exit_told = 0;
  link_send(GATE_HELLO, one_shot, 0, text, n);
}

void on_frame(const struct gate_frame* frame, const char* data) {
  uint64_t number = 0;
  memcpy(&number, data, frame->length < sizeof number ? frame->length : sizeof number);
  switch (frame->type) {
    case GATE_WELCOME:
      return link_welcome(number);
    case GATE_ACK:
      return link_ack(number);
    case GATE_GO:
      one_shot = frame->flag;
      return go();
    case GATE_SIGNAL:
      if (state == RUNNING && !reaped) kill(service, frame->id);
      return;
    case GATE_KILL:
      return end_all(frame->flag);
    case GATE_RELEASE:
      if (state == ENDED || state == FAILED) leave();
      return;
    case GATE_AWAIT_PORT:
      await_port = frame->id;
      look_at = now_us();
      return;
    case GATE_MARK_READY:
      ready = state == RUNNING;
      return;
    case GATE_LIST_PORTS:
      return send_ports();
    case GATE_DIAL:
      return stream_dial(frame->id, data, frame->length);
    case GATE_RUN:
      return stream_run(frame->id, data, frame->length);
    case GATE_COLLECT:
      return stream_collect(frame->id, data, frame->length);
    case GATE_WRITE:
      return stream_write(frame->id, data, frame->length);
    case GATE_CLOSE:
      return stream_close(frame->id, frame->flag);
    case GATE_TAKEN:
      return stream_taken(frame->id, number);
  }
}

static void look(void) {
  const int64_t now = now_us();
  if (await_port == 0 || state != RUNNING || now < look_at) return;
  if (is_listening(link_own_address(), await_port)) {
    link_send(GATE_LISTENING, 0, await_port, NULL, 0);
    await_port = 0;
    return;
  }
  // Every 0.5 ms at first, every 2 ms after a second, and slower than that for what is slow by itself.
  int64_t pace = (now - started_at) / 512;
  if (pace < 500) pace = 500;
  look_at = now + (pace > 10000 ? 10000 : pace > 2000 && now - started_at < 5000000 ? 2000 : pace);
}

static void open_notify(void) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  memcpy(at.sun_path + 1, NOTIFY_NAME, strlen(NOTIFY_NAME));
  notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (bind(notify, (struct sockaddr*)&at, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(NOTIFY_NAME)) == 0)
    return;
  close(notify);
  notify = -1;
}

static void read_notify(void) {
  char datagram[2048];
  const ssize_t n = recv(notify, datagram, sizeof datagram, 0);
  if (n > 0) link_send(GATE_NOTIFIED, 0, 0, datagram, n);
}

static int64_t due(void) {
  const int64_t link = link_due();
  return await_port != 0 && state == RUNNING && look_at < link ? look_at : link;
}

static void turn(int signals) {
  struct pollfd slots[5 + 64 + 64] = {{.fd = signals, .events = POLLIN},
                                      {.fd = -1},
                                      {.fd = outputs[0], .events = POLLIN},
                                      {.fd = outputs[1], .events = POLLIN},
                                      {.fd = notify, .events = POLLIN}};
  link_poll(&slots[1]);
  const int streams = streams_poll(slots + 5, 64);
  const int ways = out_poll(slots + 5 + streams, 64);
  const int64_t wait = due() == INT64_MAX ? -1 : due() - now_us();
  const struct timespec limit = {.tv_sec = wait > 0 ? wait / 1000000 : 0,
                                 .tv_nsec = wait > 0 ? wait % 1000000 * 1000 : 0};
  if (ppoll(slots, 5 + streams + ways, due() == INT64_MAX ? NULL : &limit, NULL) < 0 && errno != EINTR) exit(125);
  for (int i = 0; i < 2; ++i) {
    if (slots[2 + i].revents) pass_on(i);
  }
  if (slots[0].revents) on_signals(signals);
  if (slots[4].revents) read_notify();
  streams_handle(slots + 5, streams);
  out_handle(slots + 5 + streams, ways);
  link_handle(&slots[1]);
  settle_end();
  look();
  link_flush();
  tell_end();
  // Killed, and nobody to tell it to.
  if (leaving && (state == ENDED || state == FAILED) && !link_up()) leave();
  link_flush();
}

static int configure(void) {
  static char config[1024];
  const char* text = getenv("MAYFLY_GATE");
  if (!text || strlen(text) >= sizeof config) return 0;
  strcpy(config, text);
  const char* address = strtok(config, " ");
  pod = strtok(NULL, " ");
  token = strtok(NULL, " ");
  if (getenv("MAYFLY_GATE_STOP")) stop_signal = atoi(getenv("MAYFLY_GATE_STOP"));
  static char dir[4096];
  const char* wanted = getenv("MAYFLY_GATE_DIR");
  if (wanted && strlen(wanted) < sizeof dir) folder = strcpy(dir, wanted);
  static char out[8192];
  const char* ways = getenv("MAYFLY_GATE_OUT");
  if (ways && strlen(ways) < sizeof out) out_open(strcpy(out, ways));
  unsetenv("MAYFLY_GATE_OUT");
  unsetenv("MAYFLY_GATE");
  unsetenv("MAYFLY_GATE_STOP");
  unsetenv("MAYFLY_GATE_DIR");
  return token != NULL && link_init(address);
}

int main(int argc, char** argv) {
  if (argc == 4 && !getenv("MAYFLY_GATE") && strcmp(argv[1], "--relay") == 0)
    return relay(atoi(argv[2]), atoi(argv[3]));
  // Everything that it can see is the service's, and is ended with it: that holds for process 1 of a container only.
  if (argc < 2 || getpid() != 1 || !configure()) {
    fprintf(stderr, "mayfly-gate: started by mayfly, in a pod; see docs/kubernetes.md\n");
    return 2;
  }
  command = argv + 1;
  sigset_t wanted;
  sigemptyset(&wanted);
  const int caught[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
  for (size_t i = 0; i < sizeof caught / sizeof *caught; ++i) sigaddset(&wanted, caught[i]);
  sigprocmask(SIG_BLOCK, &wanted, NULL);
  const int signals = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  open_notify();
  for (;;) turn(signals);
}
