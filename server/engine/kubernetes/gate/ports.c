#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate.h"

// The kernel's own lookup: 2 us, and the service hears nothing of it. -1 when the kernel cannot say.
static int look_up(struct in_addr address, int port) {
  static int fd = -1;
  if (fd < 0) fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return -1;
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
  } ask = {
      .header = {.nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
      .request = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U},
  };
  // As if a packet came: from nowhere to the port.
  ask.request.id.idiag_sport = htons(port);
  ask.request.id.idiag_src[0] = address.s_addr;
  ask.request.id.idiag_cookie[0] = ask.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (send(fd, &ask, sizeof ask, 0) != (ssize_t)sizeof ask) return -1;
  char answer[4096];
  const ssize_t n = recv(fd, answer, sizeof answer, 0);
  struct nlmsghdr header;
  if (n < (ssize_t)sizeof header) return -1;
  memcpy(&header, answer, sizeof header);
  if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY) return 1;
  struct nlmsgerr error;
  if (header.nlmsg_type != NLMSG_ERROR || n < (ssize_t)(sizeof header + sizeof error)) return -1;
  memcpy(&error, answer + sizeof header, sizeof error);
  return error.error == -ENOENT ? 0 : -1;
}

int is_listening(struct in_addr address, int port) {
  const int known = look_up(address, port);
  if (known >= 0) return known;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
  const int result = connect(fd, (const struct sockaddr*)&to, sizeof to) == 0 || errno == EINPROGRESS;
  close(fd);
  return result;
}

void send_ports(void) {
  static char text[GATE_MAX_PAYLOAD];
  size_t size = 0;
  const char* const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
  for (int i = 0; i < 2; ++i) {
    const int fd = open(tables[i], O_RDONLY | O_CLOEXEC);
    for (ssize_t n = 1; fd >= 0 && n > 0 && size < sizeof text; size += n > 0 ? n : 0) {
      n = read(fd, text + size, sizeof text - size);
    }
    if (fd >= 0) close(fd);
  }
  if (link_room() > size) link_send(GATE_PORTS, 0, 0, text, size);
}
