// Where pods cannot call the server, one pod of the environment passes on what their gates say: gates call the one
// port, and the server, which reaches into this pod through the API server, calls the other one, on the loopback, with
// one connection for each gate. It is greeted with a line, this pod's address. Whoever has waited longest is joined
// with the next one, which is told by a line with the gate's address, then byte for byte until either side ends.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate.h"

#define MOST 512          // Of gates and of connections of the server, each; a namespace holds 500 pods.
#define KEPT (16 * 1024)  // Of one direction.

// A gate that waits, a connection of the server that waits, or both of them joined.
struct side {
  int fd;
  char* kept;  // Read from the other side, not yet taken by this one.
  size_t begin, end;
};
struct pair {
  struct side gate, back;
  int spoke;  // The gate has said something: silence is given no connection.
};

static struct pair pairs[2 * MOST];
static int count;

static int listen_at(uint32_t address, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
  if (bind(fd, (const struct sockaddr*)&at, sizeof at) != 0 || listen(fd, MOST) != 0) exit(126);
  return fd;
}

// The address of the one network that a pod has.
static void greet(int fd) {
  char text[INET_ADDRSTRLEN + 1] = "0.0.0.0";
  struct ifaddrs* all = NULL;
  getifaddrs(&all);
  for (const struct ifaddrs* at = all; at; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_LOOPBACK)) continue;
    inet_ntop(AF_INET, &((const struct sockaddr_in*)at->ifa_addr)->sin_addr, text, sizeof text);
    break;
  }
  freeifaddrs(all);
  strcat(text, "\n");
  if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) return;  // Its end is told soon.
}

static void drop(struct side* side) {
  if (side->fd >= 0) close(side->fd);
  free(side->kept);
  *side = (struct side){.fd = -1};
}

static void end_pair(int i) {
  drop(&pairs[i].gate);
  drop(&pairs[i].back);
}

static void compact(void) {
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    if (pairs[i].gate.fd < 0 && pairs[i].back.fd < 0) continue;
    if (kept != i) pairs[kept] = pairs[i];
    ++kept;
  }
  count = kept;
}

static int waiting(int is_gate) {
  int n = 0;
  for (int i = 0; i < count; ++i) n += is_gate ? pairs[i].back.fd < 0 : pairs[i].gate.fd < 0;
  return n;
}

static void welcome(int listener, int is_gate) {
  for (;;) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    // The oldest of those that said nothing makes way, as nobody knows who calls.
    for (int i = 0; is_gate && waiting(1) >= MOST && i < count; ++i) {
      if (pairs[i].back.fd < 0 && !pairs[i].spoke) {
        end_pair(i);
        compact();
        break;
      }
    }
    if (waiting(is_gate) >= MOST || count == 2 * MOST) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){20}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
    if (!is_gate) greet(fd);
    pairs[count] = (struct pair){.gate.fd = is_gate ? fd : -1, .back.fd = is_gate ? -1 : fd};
    ++count;
  }
}

// 0 when the connection has ended.
static int take(struct side* to) {
  while (to->begin < to->end) {
    const ssize_t n = send(to->fd, to->kept + to->begin, to->end - to->begin, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    to->begin += n;
  }
  to->begin = to->end = 0;
  return 1;
}

static int pass_on(struct side* from, struct side* to) {
  if (to->end > 0) return 1;
  const ssize_t n = read(from->fd, to->kept, KEPT);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return 0;
  to->end = n;
  return take(to);
}

// Tells the server from where the gate calls: what it says of itself proves nothing.
static int introduce(struct pair* pair) {
  struct sockaddr_in from = {0};
  socklen_t size = sizeof from;
  if (getpeername(pair->gate.fd, (struct sockaddr*)&from, &size) != 0) return 0;
  if (!inet_ntop(AF_INET, &from.sin_addr, pair->back.kept, INET_ADDRSTRLEN)) return 0;
  strcat(pair->back.kept, "\n");
  pair->back.end = strlen(pair->back.kept);
  return take(&pair->back);
}

static void join(void) {
  for (int g = 0, b = 0; g < count; ++g) {
    if (pairs[g].back.fd >= 0 || pairs[g].gate.fd < 0 || !pairs[g].spoke) continue;
    while (b < count && (pairs[b].gate.fd >= 0 || pairs[b].back.fd < 0)) ++b;
    if (b == count) return;
    pairs[g].back = pairs[b].back;
    pairs[b].back = (struct side){.fd = -1};
    pairs[g].gate.kept = malloc(KEPT);
    pairs[g].back.kept = malloc(KEPT);
    if (!pairs[g].gate.kept || !pairs[g].back.kept || !introduce(&pairs[g]) || !pass_on(&pairs[g].gate, &pairs[g].back))
      end_pair(g);
  }
}

// What is polled of a connection: nothing but its end while the other side is full.
static short wanted(const struct side* side, const struct side* other) {
  return (other->end == 0 ? POLLIN : 0) | (side->end > 0 ? POLLOUT : 0);
}

static void handle(struct pair* pair, short gate, short back) {
  if (pair->back.fd < 0) {
    // The first word stays in the socket until there is somebody to hear it.
    if (gate & (POLLERR | POLLHUP)) return drop(&pair->gate);
    if (gate & POLLIN) {
      char byte;
      const ssize_t n = recv(pair->gate.fd, &byte, 1, MSG_PEEK);
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return drop(&pair->gate);
      pair->spoke = n == 1;
    }
    return;
  }
  if (pair->gate.fd < 0) {
    // The server says nothing before it has heard of a gate: whatever comes is an end.
    if (back) drop(&pair->back);
    return;
  }
  const int ok = (!(gate & POLLOUT) || take(&pair->gate)) && (!(back & POLLOUT) || take(&pair->back)) &&
                 (!(gate & (POLLIN | POLLHUP | POLLERR)) || pass_on(&pair->gate, &pair->back)) &&
                 (!(back & (POLLIN | POLLHUP | POLLERR)) || pass_on(&pair->back, &pair->gate));
  if (!ok || ((gate | back) & POLLERR)) {
    drop(&pair->gate);
    drop(&pair->back);
  }
}

int relay(int gates_port, int back_port) {
  sigset_t wanted_signals;
  sigemptyset(&wanted_signals);
  sigaddset(&wanted_signals, SIGTERM);
  sigaddset(&wanted_signals, SIGINT);
  sigprocmask(SIG_BLOCK, &wanted_signals, NULL);
  const int signals = signalfd(-1, &wanted_signals, SFD_NONBLOCK | SFD_CLOEXEC);
  const int gates = listen_at(INADDR_ANY, gates_port), backs = listen_at(INADDR_LOOPBACK, back_port);
  static struct pollfd slots[3 + 4 * MOST];
  for (;;) {
    slots[0] = (struct pollfd){.fd = signals, .events = POLLIN};
    slots[1] = (struct pollfd){.fd = gates, .events = POLLIN};
    slots[2] = (struct pollfd){.fd = backs, .events = POLLIN};
    for (int i = 0; i < count; ++i) {
      const struct pair* p = &pairs[i];
      const int joined = p->gate.fd >= 0 && p->back.fd >= 0;
      // One that spoke and waits would be told of for ever; its end is told all the same.
      slots[3 + 2 * i] = (struct pollfd){.fd = p->gate.fd,
                                         .events = joined     ? wanted(&p->gate, &p->back)
                                                   : p->spoke ? POLLRDHUP
                                                              : POLLIN};
      slots[4 + 2 * i] = (struct pollfd){.fd = p->back.fd, .events = joined ? wanted(&p->back, &p->gate) : POLLIN};
    }
    const int polled = count;
    if (poll(slots, 3 + 2 * polled, -1) < 0 && errno != EINTR) return 125;
    if (slots[0].revents) return 0;
    for (int i = 0; i < polled; ++i) {
      if (pairs[i].spoke && pairs[i].back.fd < 0 && (slots[3 + 2 * i].revents & POLLRDHUP)) drop(&pairs[i].gate);
      handle(&pairs[i], slots[3 + 2 * i].revents, slots[4 + 2 * i].revents);
    }
    compact();
    if (slots[1].revents) welcome(gates, 1);
    if (slots[2].revents) welcome(backs, 0);
    join();
    compact();
  }
}
