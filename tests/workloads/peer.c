// The other end of exec and port-forward in tests: one static program that is a whole image.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t done = write(fd, bytes, size);
    if (done <= 0) _exit(9);
    bytes += done;
    size -= (size_t)done;
  }
}

static int listen_on(int port) {
  const int one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0 || listen(fd, 16) != 0) _exit(8);
  return fd;
}

// Sends back what comes; with `goodbye`, once, and then closes.
static void serve(int port, int goodbye) {
  const int listener = listen_on(port);
  if (fork() != 0) return;
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fork() == 0) {
      static char buffer[65536];
      ssize_t size;
      while ((size = read(fd, buffer, sizeof buffer)) > 0) {
        put(fd, buffer, (size_t)size);
        if (goodbye) break;
      }
      _exit(0);
    }
    close(fd);
  }
}

static void leave(int signal) {
  (void)signal;
  _exit(0);
}

static void idle(void) {
  signal(SIGTERM, leave);
  signal(SIGCHLD, SIG_IGN);
  serve(7000, 0);
  serve(7001, 1);
  for (;;) pause();
}

static void copy(int count_only) {
  static char buffer[65536];
  size_t total = 0;
  ssize_t size;
  while ((size = read(0, buffer, sizeof buffer)) > 0) {
    total += (size_t)size;
    if (!count_only) put(1, buffer, (size_t)size);
  }
  if (count_only) printf("%zu\n", total);
}

// Byte number i is i % 251, so that what is lost or doubled shows.
static void big(size_t bytes) {
  static char buffer[65536];
  for (size_t at = 0; at < bytes;) {
    size_t size = 0;
    while (size < sizeof buffer && at < bytes) buffer[size++] = (char)(at++ % 251);
    put(1, buffer, size);
  }
}

static void size_changed(int signal) {
  (void)signal;
}

static void print_size(void) {
  struct winsize size = {0};
  ioctl(0, TIOCGWINSZ, &size);
  printf("%dx%d\n", size.ws_col, size.ws_row);
  fflush(stdout);
}

// Prints the terminal's size until it is what is asked for.
static void await_size(const char* wanted) {
  sigset_t change;
  sigset_t before;
  char now[32];
  signal(SIGWINCH, size_changed);
  sigemptyset(&change);
  sigaddset(&change, SIGWINCH);
  sigprocmask(SIG_BLOCK, &change, &before);
  for (;;) {
    struct winsize size = {0};
    ioctl(0, TIOCGWINSZ, &size);
    snprintf(now, sizeof now, "%dx%d", size.ws_col, size.ws_row);
    print_size();
    if (strcmp(now, wanted) == 0) return;
    sigsuspend(&before);
  }
}

int main(int argc, char** argv) {
  const char* verb = argc > 1 ? argv[1] : "idle";
  if (strcmp(verb, "idle") == 0) idle();
  if (strcmp(verb, "cat") == 0) copy(0);
  if (strcmp(verb, "count") == 0) copy(1);
  if (strcmp(verb, "exit") == 0) return atoi(argv[2]);
  if (strcmp(verb, "both") == 0) {
    put(1, "out\n", 4);
    put(2, "err\n", 4);
  }
  if (strcmp(verb, "big") == 0) big(strtoul(argv[2], NULL, 10));
  if (strcmp(verb, "await-size") == 0) await_size(argv[2]);
  return 0;
}
