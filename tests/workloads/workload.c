// One small program that behaves well or badly on command, for running inside environments. Its arguments are steps,
// done in order; after the last one it serves what listens, or waits, until SIGTERM, on which it exits 0 at once.
//
//   sleep MS            serves meanwhile                   spin MS         uses that much CPU time
//   tcp PORT[@ADDR]     listens; echoes                    http PORT[@ADDR]  listens; answers `status`
//   hang PORT[@ADDR]    listens; accepts, never answers    status CODE     what http answers from now on (200)
//   accept PORT         listens, waits for one connection, closes both
//   exit CODE           crash (SIGSEGV)                    abort           ignore-term
//   say TEXT            err TEXT                           print MIB       that many MiB of lines on stdout
//   stamp               says what CLOCK_MONOTONIC is, in nanoseconds
//   tick N MS           N lines, MS apart                  escapes         what a terminal would obey
//   notify TEXT         one datagram to $NOTIFY_SOCKET     env NAME        id
//   connect HOST:PORT, connect-unix PATH|@NAME, read FILE, write FILE TEXT: say what came of it; exit 1 on failure
//   try STEP ARG...     the same, but go on after a failure
//   hide                a grandchild of its own session stays behind, deaf to SIGTERM
//   forkbomb N          up to N idle children              eat MIB         touches memory; exit 1 when refused
//   fill MIB            writes ./fill; exit 1 when full
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)

enum kind { LISTEN_TCP, LISTEN_HTTP, LISTEN_HANG, ECHO, REQUEST, HUNG };
struct conn {
  enum kind kind;
  int matched;  // REQUEST: how much of the blank line that ends a request was seen.
};

static struct pollfd fds[512];
static struct conn conns[512];
static int count;
static int http_status = 200;
static int lenient;  // Inside `try`.

static void say(int fd, const char* text) {
  char line[8192];
  int n = snprintf(line, sizeof line, "%s\n", text);
  if (n >= (int)sizeof line) n = sizeof line - 1;
  for (char* p = line; n > 0;) {
    ssize_t w = write(fd, p, n);
    if (w <= 0) return;
    p += w;
    n -= w;
  }
}

static void usage(const char* what) {
  fprintf(stderr, "mayfly-workload: %s\n", what);
  exit(2);
}

static long number(const char* text) {
  char* end;
  if (!text) usage("a number is missing");
  long value = strtol(text, &end, 10);
  if (end == text || value < 0) usage("not a number");
  return value;
}

// What an attempt came to; a failure ends the program unless it was only tried.
static void outcome(const char* what, const char* arg, const char* error) {
  char line[512];
  snprintf(line, sizeof line, "%s %s: %s", what, arg, error ? error : "ok");
  say(error ? 2 : 1, line);
  if (error && !lenient) exit(1);
}

static void add(int fd, enum kind kind) {
  if (count == (int)(sizeof fds / sizeof *fds)) {
    close(fd);
    return;
  }
  fds[count] = (struct pollfd){.fd = fd, .events = kind == HUNG ? 0 : POLLIN};
  conns[count++] = (struct conn){.kind = kind};
}

static int listen_on(const char* arg) {
  if (!arg) usage("a port is missing");
  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(atoi(arg))};
  const char* at = strchr(arg, '@');
  if (at && inet_pton(AF_INET, at + 1, &addr.sin_addr) != 1) usage("not an IPv4 address");
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  if (bind(fd, (void*)&addr, sizeof addr) != 0 || listen(fd, 128) != 0) {
    fprintf(stderr, "cannot listen on %s: %s\n", arg, strerror(errno));
    exit(1);
  }
  return fd;
}

static void answer(int fd) {
  char text[256];
  const char* body = http_status < 400 ? "ok\n" : "starting up\n";
  int n = snprintf(text, sizeof text,
                   "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                   http_status, http_status < 400 ? "OK" : "Unavailable", strlen(body), body);
  if (write(fd, text, n) < 0) return;
}

static int echo(int fd) {
  char buffer[65536];
  ssize_t n = read(fd, buffer, sizeof buffer);
  for (ssize_t done = 0; done < n;) {
    ssize_t w = write(fd, buffer + done, n - done);
    if (w <= 0) return 0;
    done += w;
  }
  return n > 0;
}

static int request(int fd, struct conn* conn) {
  char buffer[4096];
  ssize_t n = read(fd, buffer, sizeof buffer);
  for (ssize_t i = 0; i < n; ++i) {
    conn->matched = buffer[i] == "\r\n\r\n"[conn->matched] ? conn->matched + 1 : buffer[i] == '\r';
    if (conn->matched < 4) continue;
    answer(fd);
    return 0;
  }
  return n > 0;
}

static void handle(int i) {
  static const enum kind accepted[] = {ECHO, REQUEST, HUNG};
  if (conns[i].kind <= LISTEN_HANG) {
    int fd = accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    add(fd, accepted[conns[i].kind]);
    return;
  }
  int keep = conns[i].kind == ECHO ? echo(fds[i].fd) : conns[i].kind == REQUEST ? request(fds[i].fd, &conns[i]) : 0;
  if (keep) return;
  close(fds[i].fd);
  fds[i].fd = -1;
}

static int64_t now_ns(clockid_t clock) {
  struct timespec ts;
  clock_gettime(clock, &ts);
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void serve(long ms) {
  int64_t end = now_ns(CLOCK_MONOTONIC) + ms * 1000000;
  for (;;) {
    int64_t left = end - now_ns(CLOCK_MONOTONIC);
    if (ms >= 0 && left <= 0) return;
    struct timespec wait = {left / 1000000000, left % 1000000000};
    int n = ppoll(fds, count, ms < 0 ? NULL : &wait, NULL);
    int before = count;
    for (int i = 0; n > 0 && i < before; ++i) {
      if (fds[i].fd >= 0 && fds[i].revents) handle(i);
    }
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      if (fds[i].fd < 0) continue;
      fds[kept] = fds[i];
      conns[kept++] = conns[i];
    }
    count = kept;
  }
}

static void accept_one(const char* arg) {
  int fd = listen_on(arg);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  while (poll(&p, 1, -1) < 0) {
  }
  close(accept(fd, NULL, NULL));
  close(fd);
}

// Whether names are a cluster's business here. Elsewhere /etc/hosts is all that there is to ask.
static int has_cluster_names(void) {
  FILE* file = fopen("/etc/resolv.conf", "re");
  char line[1024];
  int found = 0;
  while (file && !found && fgets(line, sizeof line, file)) found = strstr(line, ".svc.") != NULL;
  if (file) fclose(file);
  return found;
}

static int ask_cluster(const char* host, struct in_addr* addr) {
  const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo* answer;
  if (!has_cluster_names() || getaddrinfo(host, NULL, &hints, &answer) != 0) return 0;
  *addr = ((const struct sockaddr_in*)answer->ai_addr)->sin_addr;
  freeaddrinfo(answer);
  return 1;
}

static int resolve(const char* host, struct in_addr* addr) {
  if (inet_pton(AF_INET, host, addr) == 1) return 1;
  FILE* file = fopen("/etc/hosts", "re");
  char line[1024];
  int found = 0;
  while (file && !found && fgets(line, sizeof line, file)) {
    line[strcspn(line, "#\n")] = 0;
    char* save;
    char* ip = strtok_r(line, " \t", &save);
    for (char* name; ip && !found && (name = strtok_r(NULL, " \t", &save));) {
      found = strcmp(name, host) == 0 && inet_pton(AF_INET, ip, addr) == 1;
    }
  }
  if (file) fclose(file);
  return found || ask_cluster(host, addr);
}

static void connect_tcp(const char* arg) {
  char host[256];
  const char* colon = arg ? strrchr(arg, ':') : NULL;
  if (!colon || colon - arg >= (long)sizeof host) usage("connect needs HOST:PORT");
  snprintf(host, sizeof host, "%.*s", (int)(colon - arg), arg);
  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  if (!resolve(host, &addr.sin_addr)) {
    outcome("connect", arg, "unknown host");
    return;
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){2, 0}, sizeof(struct timeval));
  int failed = connect(fd, (void*)&addr, sizeof addr) != 0;
  outcome("connect", arg, failed ? (errno == EINPROGRESS ? "no answer within 2 s" : strerror(errno)) : NULL);
  close(fd);
}

static int unix_address(const char* path, struct sockaddr_un* addr) {
  *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(addr->sun_path, sizeof addr->sun_path, "%s", path);
  if (path[0] == '@') addr->sun_path[0] = 0;
  return offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@');
}

static void connect_unix(const char* path) {
  struct sockaddr_un addr;
  int length = unix_address(path, &addr);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  outcome("connect-unix", path, connect(fd, (void*)&addr, length) ? strerror(errno) : NULL);
  close(fd);
}

static void notify(const char* text) {
  const char* path = getenv("NOTIFY_SOCKET");
  if (!path) {
    outcome("notify", text, "NOTIFY_SOCKET is not set");
    return;
  }
  struct sockaddr_un addr;
  int length = unix_address(path, &addr);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sendto(fd, text, strlen(text), 0, (void*)&addr, length) < 0) outcome("notify", text, strerror(errno));
  close(fd);
}

static void read_file(const char* path) {
  char buffer[4096];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
  outcome("read", path, n < 0 ? strerror(errno) : NULL);
  close(fd);
}

static void write_file(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
  outcome("write", path, n < 0 ? strerror(errno) : NULL);
  close(fd);
}

static void spin(long ms) {
  int64_t end = now_ns(CLOCK_PROCESS_CPUTIME_ID) + ms * 1000000;
  while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < end) {
  }
}

static void print_mib(long mib) {
  static char block[65536];
  for (int i = 0; i < (int)sizeof block; i += 128) {
    memset(block + i, '.', 127);
    memcpy(block + i, "a line of a talkative service ", 30);
    block[i + 127] = '\n';
  }
  for (int64_t left = mib * MIB; left > 0;) {
    ssize_t n = write(1, block, left < (int64_t)sizeof block ? (size_t)left : sizeof block);
    if (n <= 0) exit(1);
    left -= n;
  }
}

static void eat(long mib) {
  char text[64];
  for (long i = 0; i < mib; ++i) {
    char* p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
      snprintf(text, sizeof text, "out of memory after %ld MiB", i);
      say(2, text);
      exit(1);
    }
    for (int at = 0; at < MIB; at += 4096) p[at] = 1;
  }
  snprintf(text, sizeof text, "ate %ld MiB", mib);
  say(1, text);
}

static void fill(long mib) {
  static char block[MIB];
  char text[128];
  int fd = open("fill", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  for (long i = 0; i < mib; ++i) {
    if (fd >= 0 && write(fd, block, MIB) == MIB) continue;
    snprintf(text, sizeof text, "cannot write after %ld MiB: %s", i, strerror(errno ? errno : ENOSPC));
    say(2, text);
    exit(1);
  }
  close(fd);
  snprintf(text, sizeof text, "wrote %ld MiB", mib);
  say(1, text);
}

static void wait_forever(void) {
  for (;;) pause();
}

static void hide(void) {
  if (fork() != 0) return;
  setsid();
  if (fork() != 0) _exit(0);
  signal(SIGTERM, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  wait_forever();
}

static void fork_bomb(long n) {
  char text[96];
  for (long i = 0; i < n; ++i) {
    pid_t pid = fork();
    if (pid == 0) wait_forever();
    if (pid > 0) continue;
    snprintf(text, sizeof text, "forked %ld of %ld: %s", i, n, strerror(errno));
    say(2, text);
    return;
  }
  snprintf(text, sizeof text, "forked %ld", n);
  say(1, text);
}

static void tick(long n, long ms) {
  char text[64];
  for (long i = 1; i <= n; ++i) {
    snprintf(text, sizeof text, "tick %ld", i);
    say(1, text);
    serve(ms);
  }
}

static void identify(void) {
  char text[512], host[65] = "", cwd[256] = "";
  gethostname(host, sizeof host - 1);
  snprintf(text, sizeof text, "id uid=%d gid=%d pid=%d ppid=%d host=%s cwd=%s", getuid(), getgid(), getpid(), getppid(),
           host, getcwd(cwd, sizeof cwd) ? cwd : "?");
  say(1, text);
}

static void stamp(void) {
  char text[64];
  snprintf(text, sizeof text, "stamp %lld", (long long)now_ns(CLOCK_MONOTONIC));
  say(1, text);
}

static void print_env(const char* name) {
  char text[4096];
  const char* value = getenv(name);
  snprintf(text, sizeof text, "env %s=%s", name, value ? value : "(unset)");
  say(1, text);
}

static void stop(int signal) {
  (void)signal;
  _exit(0);
}

static int is(const char* a, const char* b) {
  return strcmp(a, b) == 0;
}

// Does the step at argv[0]; returns how many words it took.
static int step(char** argv) {
  const char* s = argv[0];
  const char* arg = argv[1];
  if (is(s, "ignore-term")) return signal(SIGTERM, SIG_IGN), 1;
  if (is(s, "hide")) return hide(), 1;
  if (is(s, "crash")) return raise(SIGSEGV), 1;
  if (is(s, "abort")) abort();
  if (is(s, "id")) return identify(), 1;
  if (is(s, "stamp")) return stamp(), 1;
  if (is(s, "escapes"))
    return say(1,
               "\033[2J\033[31mred\033]0;title\007\r\b\x9b"
               "1m bell\007 \033P1$r\033\\"),
           1;
  if (!arg) usage("unknown step, or its argument is missing");
  if (is(s, "try")) {
    lenient = 1;
    int words = step(argv + 1);
    lenient = 0;
    return 1 + words;
  }
  if (is(s, "sleep")) return serve(number(arg)), 2;
  if (is(s, "spin")) return spin(number(arg)), 2;
  if (is(s, "tcp")) return add(listen_on(arg), LISTEN_TCP), 2;
  if (is(s, "http")) return add(listen_on(arg), LISTEN_HTTP), 2;
  if (is(s, "hang")) return add(listen_on(arg), LISTEN_HANG), 2;
  if (is(s, "status")) return http_status = number(arg), 2;
  if (is(s, "accept")) return accept_one(arg), 2;
  if (is(s, "exit")) exit(number(arg));
  if (is(s, "say")) return say(1, arg), 2;
  if (is(s, "err")) return say(2, arg), 2;
  if (is(s, "print")) return print_mib(number(arg)), 2;
  if (is(s, "tick")) return tick(number(arg), number(argv[2])), 3;
  if (is(s, "notify")) return notify(arg), 2;
  if (is(s, "env")) return print_env(arg), 2;
  if (is(s, "connect")) return connect_tcp(arg), 2;
  if (is(s, "connect-unix")) return connect_unix(arg), 2;
  if (is(s, "read")) return read_file(arg), 2;
  if (is(s, "write") && argv[2]) return write_file(arg, argv[2]), 3;
  if (is(s, "forkbomb")) return fork_bomb(number(arg)), 2;
  if (is(s, "eat")) return eat(number(arg)), 2;
  if (is(s, "fill")) return fill(number(arg)), 2;
  usage("unknown step");
  return 0;
}

int main(int argc, char** argv) {
  (void)argc;
  // Sleeps end on time: what is measured is mayfly, not the timer slack.
  prctl(PR_SET_TIMERSLACK, 1);
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  for (char** at = argv + 1; *at;) at += step(at);
  serve(-1);
}
