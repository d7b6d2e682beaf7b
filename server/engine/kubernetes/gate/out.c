#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate.h"

#define MAX_WAYS 64
// Probes, port-forwards and commands need streams, too.
#define MOST_OUT 32

static int ways[MAX_WAYS];
static int way_count;

static int listen_at(const char* address) {
  char host[INET_ADDRSTRLEN];
  const char* colon = strrchr(address, ':');
  if (!colon || colon - address >= (ptrdiff_t)sizeof host) return -1;
  memcpy(host, address, colon - address);
  host[colon - address] = 0;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  if (inet_pton(AF_INET, host, &at.sin_addr) != 1) return -1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 &&
      bind(fd, (struct sockaddr*)&at, sizeof at) == 0 && listen(fd, 64) == 0) {
    return fd;
  }
  fprintf(stderr, "mayfly-gate: the way out at %s: %s\n", address, strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

void out_open(char* list) {
  char* save = NULL;
  for (char* at = strtok_r(list, " ", &save); at && way_count < MAX_WAYS; at = strtok_r(NULL, " ", &save)) {
    ways[way_count++] = listen_at(at);
  }
}

int out_poll(struct pollfd* slots, int max) {
  // Callers wait in the queue while there is no room or nobody to connect them.
  const int open = link_up() && streams_out() < MOST_OUT;
  int count = 0;
  for (; count < way_count && count < max; ++count) {
    slots[count] = (struct pollfd){.fd = open ? ways[count] : -1, .events = POLLIN};
  }
  return count;
}

void out_handle(const struct pollfd* slots, int count) {
  for (int i = 0; i < count; ++i) {
    if (slots[i].fd < 0 || slots[i].revents == 0 || streams_out() >= MOST_OUT) continue;
    const int fd = accept4(slots[i].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const uint16_t way = i;
    const int id = fd < 0 ? 0 : stream_accept(fd);
    if (id != 0) {
      link_send(GATE_OUT, 0, id, &way, sizeof way);
    } else if (fd >= 0) {
      close(fd);
    }
  }
}
