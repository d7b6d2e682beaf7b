#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate.h"

#define OUTPUT_KEPT (256 * 1024)
#define SEND_BUFFER (192 * 1024)
#define FIRST_WAIT_US 5000
#define LONGEST_WAIT_US 1000000
// Before the first answer of all, for a while: the way to the server may open while we wait.
#define LONGEST_FIRST_WAIT_US 100000
#define FIRST_WHILE_US 60000000

static struct sockaddr_in server;
static int fd = -1;
static int connecting, welcomed;
static int ever_welcomed;
static int64_t began, retry_at, retry_wait = FIRST_WAIT_US;

static char in[sizeof(struct gate_frame) + GATE_MAX_PAYLOAD];
static size_t in_size;
static char out[SEND_BUFFER];
static size_t out_begin, out_end;

// Frames of output, oldest first; [kept_sent, kept_end) is not on its way yet.
static char kept[OUTPUT_KEPT];
static size_t kept_end, kept_sent;
static uint64_t output_total;  // Bytes of output ever.

int link_init(const char* address) {
  char host[64];
  const char* colon = strrchr(address, ':');
  if (!colon || colon - address >= (ptrdiff_t)sizeof host) return 0;
  began = now_us();
  memcpy(host, address, colon - address);
  host[colon - address] = 0;
  server.sin_family = AF_INET;
  server.sin_port = htons(atoi(colon + 1));
  return inet_pton(AF_INET, host, &server.sin_addr) == 1 && server.sin_port != 0;
}

static void lose(void) {
  if (fd >= 0) close(fd);
  fd = -1;
  connecting = welcomed = 0;
  in_size = out_begin = out_end = 0;
  kept_sent = 0;
  retry_at = now_us() + retry_wait;
  const int64_t longest = !ever_welcomed && now_us() - began < FIRST_WHILE_US ? LONGEST_FIRST_WAIT_US : LONGEST_WAIT_US;
  retry_wait = retry_wait * 2 > longest ? longest : retry_wait * 2;
  streams_drop_all();
}

static void connected(void) {
  connecting = 0;
  on_connected();
}

static void dial(void) {
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lose();
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){20}, sizeof(int));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(int){30000}, sizeof(int));
  if (connect(fd, (struct sockaddr*)&server, sizeof server) == 0) return connected();
  if (errno != EINPROGRESS) return lose();
  connecting = 1;
  // A lost SYN is sent again after a second only; a new socket is quicker.
  retry_at = now_us() + 250000;
}

size_t link_room(void) {
  const size_t used = out_end - out_begin + sizeof(struct gate_frame);
  return used < SEND_BUFFER ? SEND_BUFFER - used : 0;
}

static void append(const void* data, size_t length) {
  if (out_end + length > SEND_BUFFER) {
    memmove(out, out + out_begin, out_end - out_begin);
    out_end -= out_begin;
    out_begin = 0;
  }
  memcpy(out + out_end, data, length);
  out_end += length;
}

void link_send(int type, int flag, int id, const void* data, size_t length) {
  if (fd < 0 || connecting) return;
  // Streams ask for room before; what is left is small and seldom, so a full buffer is a server that does not read.
  if (length > link_room()) return lose();
  const struct gate_frame frame = {.length = length, .type = type, .flag = flag, .id = id};
  append(&frame, sizeof frame);
  append(data, length);
}

static size_t kept_size(size_t at) {
  struct gate_frame frame;
  memcpy(&frame, kept + at, sizeof frame);
  return sizeof frame + frame.length;
}

// The number of the byte behind the frame.
static uint64_t kept_until(size_t at) {
  uint64_t offset;
  memcpy(&offset, kept + at + sizeof(struct gate_frame), sizeof offset);
  return offset + kept_size(at) - sizeof(struct gate_frame) - sizeof offset;
}

static void forget(size_t bytes) {
  memmove(kept, kept + bytes, kept_end - bytes);
  kept_end -= bytes;
  kept_sent = kept_sent > bytes ? kept_sent - bytes : 0;
}

void link_output(int is_stderr, const char* data, size_t length) {
  const struct gate_frame frame = {.length = sizeof output_total + length, .type = GATE_OUTPUT, .flag = is_stderr != 0};
  const size_t size = sizeof frame + frame.length;
  if (kept_end + size > OUTPUT_KEPT) {
    size_t gone = 0;
    // A quarter at once, so that a flood does not move the rest for every line.
    while (gone < kept_end && (kept_end - gone + size > OUTPUT_KEPT || gone < OUTPUT_KEPT / 4)) gone += kept_size(gone);
    forget(gone);
  }
  memcpy(kept + kept_end, &frame, sizeof frame);
  memcpy(kept + kept_end + sizeof frame, &output_total, sizeof output_total);
  memcpy(kept + kept_end + sizeof frame + sizeof output_total, data, length);
  kept_end += size;
  output_total += length;
}

void link_ack(uint64_t arrived) {
  size_t gone = 0;
  while (gone < kept_end && kept_until(gone) <= arrived) gone += kept_size(gone);
  if (gone > 0) forget(gone);
}

void link_welcome(uint64_t arrived) {
  retry_wait = FIRST_WAIT_US;
  welcomed = ever_welcomed = 1;
  link_ack(arrived);
  kept_sent = 0;
}

int link_up(void) {
  return welcomed;
}
int link_output_sent(void) {
  return kept_sent == kept_end;
}

void link_flush(void) {
  while (fd >= 0 && !connecting) {
    while (welcomed && kept_sent < kept_end && link_room() > kept_size(kept_sent)) {
      append(kept + kept_sent, kept_size(kept_sent));
      kept_sent += kept_size(kept_sent);
    }
    if (out_begin == out_end) return;
    const ssize_t n = send(fd, out + out_begin, out_end - out_begin, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return lose();
    out_begin += n;
    if (out_begin == out_end) out_begin = out_end = 0;
  }
}

static void receive(void) {
  while (fd >= 0) {
    const ssize_t n = read(fd, in + in_size, sizeof in - in_size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return lose();
    in_size += n;
    size_t at = 0;
    while (in_size - at >= sizeof(struct gate_frame)) {
      struct gate_frame frame;
      memcpy(&frame, in + at, sizeof frame);
      if (frame.length > GATE_MAX_PAYLOAD) return lose();
      if (in_size - at < sizeof frame + frame.length) break;
      on_frame(&frame, in + at + sizeof frame);
      if (fd < 0) return;  // Lost meanwhile.
      at += sizeof frame + frame.length;
    }
    memmove(in, in + at, in_size - at);
    in_size -= at;
  }
}

void link_poll(struct pollfd* slot) {
  slot->fd = fd;
  slot->events = POLLIN;
  const int output = welcomed && kept_sent < kept_end;
  if (connecting || out_begin != out_end || output) slot->events |= POLLOUT;
}

int64_t link_due(void) {
  return fd < 0 || connecting ? retry_at : INT64_MAX;
}

void link_handle(const struct pollfd* slot) {
  if (fd < 0) {
    if (now_us() >= retry_at) dial();
    return;
  }
  if (connecting) {
    if (slot->fd == fd && (slot->revents & (POLLOUT | POLLERR | POLLHUP))) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      error ? lose() : connected();
    } else if (now_us() >= retry_at) {
      lose();
    }
    return;
  }
  if (slot->fd == fd && (slot->revents & (POLLIN | POLLERR | POLLHUP))) receive();
}

struct in_addr link_own_address(void) {
  struct sockaddr_in own = {0};
  socklen_t size = sizeof own;
  if (fd >= 0) getsockname(fd, (struct sockaddr*)&own, &size);
  return own.sin_addr;
}
