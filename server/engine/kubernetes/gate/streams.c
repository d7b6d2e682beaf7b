#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"

#define MAX_STREAMS 64

struct stream {
  int id;      // 0: free.
  int fd;      // -1: both directions have ended.
  pid_t pid;   // Of a command or archive; 0: a dialled port, or it has ended.
  int status;  // Its wait status.
  int connecting;
  int read_ended;
  int write_ended;  // CLOSE was heard; told once everything was written.
  uint32_t window;  // Bytes that the server will still take.
  char* pending;    // Not yet written, GATE_STREAM_WINDOW at most.
  size_t pending_size;
};

static struct stream streams[MAX_STREAMS];

static struct stream* find(int id) {
  for (int i = 0; i < MAX_STREAMS; ++i) {
    if (streams[i].id == id && id != 0) return &streams[i];
  }
  return NULL;
}

static void end(struct stream* stream, int error, int code) {
  char text[32];
  const int n = snprintf(text, sizeof text, "%d %d", error, code);
  link_send(GATE_CLOSED, 0, stream->id, text, n);
  if (stream->fd >= 0) close(stream->fd);
  if (stream->pid > 0) kill(-stream->pid, SIGKILL);
  free(stream->pending);
  const pid_t pid = stream->pid;
  *stream = (struct stream){.fd = -1, .pid = pid};  // Its end is still to be reaped.
}

static struct stream* open_stream(int id) {
  for (int i = 0; i < MAX_STREAMS && id != 0 && !find(id); ++i) {
    if (streams[i].id != 0 || streams[i].pid != 0) continue;
    streams[i] = (struct stream){.id = id, .fd = -1, .window = GATE_STREAM_WINDOW};
    return &streams[i];
  }
  char text[32];
  link_send(GATE_CLOSED, 0, id, text, snprintf(text, sizeof text, "%d 0", EMFILE));
  return NULL;
}

int stream_accept(int fd) {
  static int last = GATE_FIRST_OUT;
  do {
    last = last == 0xffff ? GATE_FIRST_OUT : last + 1;
  } while (find(last));
  struct stream* stream = open_stream(last);
  if (!stream) return 0;
  stream->fd = fd;
  return last;
}

int streams_out(void) {
  int count = 0;
  for (int i = 0; i < MAX_STREAMS; ++i) count += streams[i].id >= GATE_FIRST_OUT;
  return count;
}

void stream_dial(int id, const char* data, size_t length) {
  struct stream* stream = open_stream(id);
  uint16_t port = 0;
  struct in_addr address = link_own_address();
  if (!stream) return;
  if (length < sizeof port) return end(stream, EINVAL, 0);
  memcpy(&port, data, sizeof port);
  if (length == sizeof port + sizeof address) memcpy(&address, data + sizeof port, sizeof address);
  const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
  stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (stream->fd < 0) return end(stream, errno, 0);
  const int done = connect(stream->fd, (const struct sockaddr*)&to, sizeof to);
  if (done != 0 && errno != EINPROGRESS) return end(stream, errno, 0);
  stream->connecting = done != 0;
  if (done == 0) link_send(GATE_OPENED, 0, id, NULL, 0);
}

// In the child: a session of its own, so that all of it can be ended, and nothing of ours.
static void become(int out) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  dup2(out, 1);
  dup2(out, 2);
}

// Where the child goes on with 1.
static int fork_stream(int id, int* out) {
  struct stream* stream = open_stream(id);
  int fds[2];
  if (!stream) return 0;
  if (pipe2(fds, O_CLOEXEC) != 0) {
    end(stream, errno, 0);
    return 0;
  }
  stream->pid = fork();
  if (stream->pid == 0) {
    *out = fds[1];
    return 1;
  }
  const int error = errno;
  close(fds[1]);
  stream->fd = fds[0];
  stream->write_ended = 1;
  fcntl(stream->fd, F_SETFL, O_NONBLOCK);
  if (stream->pid < 0) {
    stream->pid = 0;
    end(stream, error, 0);
  }
  return 0;
}

void stream_run(int id, const char* data, size_t length) {
  int out;
  if (!fork_stream(id, &out)) return;
  char* words[256];
  int count = 0;
  char* copy = malloc(length + 1);
  if (!copy) _exit(126);
  memcpy(copy, data, length);
  copy[length] = 0;
  for (size_t at = 0; at < length && count < 255; at += strlen(copy + at) + 1) words[count++] = copy + at;
  words[count] = NULL;
  become(out);
  if (count > 0 && enter_folder() == 0) execvp(words[0], words);
  dprintf(2, "%s: %s\n", count > 0 ? words[0] : "", strerror(errno));
  _exit(127);
}

void stream_collect(int id, const char* data, size_t length) {
  uint64_t most;
  int out;
  if (length < sizeof most || !fork_stream(id, &out)) return;
  memcpy(&most, data, sizeof most);
  if (enter_folder() != 0) _exit(0);
  _exit(send_files(most, data + sizeof most, length - sizeof most, out));
}

void stream_write(int id, const char* data, size_t length) {
  struct stream* stream = find(id);
  if (!stream || stream->write_ended || length == 0) return;
  if (!stream->pending) stream->pending = malloc(GATE_STREAM_WINDOW);
  if (!stream->pending || stream->pending_size + length > GATE_STREAM_WINDOW) return end(stream, ENOBUFS, 0);
  memcpy(stream->pending + stream->pending_size, data, length);
  stream->pending_size += length;
}

void stream_close(int id, int half) {
  struct stream* stream = find(id);
  if (!stream) return;
  if (!half || stream->pid > 0) return end(stream, ECANCELED, 0);
  stream->write_ended = 1;
  if (stream->pending_size == 0 && !stream->connecting) shutdown(stream->fd, SHUT_WR);
}

void stream_taken(int id, uint32_t bytes) {
  struct stream* stream = find(id);
  if (stream) stream->window += bytes;
}

static void flush(struct stream* stream) {
  size_t done = 0;
  while (done < stream->pending_size) {
    const ssize_t n = send(stream->fd, stream->pending + done, stream->pending_size - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) return end(stream, errno, 0);
    done += n;
  }
  if (done == 0) return;
  memmove(stream->pending, stream->pending + done, stream->pending_size - done);
  stream->pending_size -= done;
  const uint32_t credit = done;
  link_send(GATE_CREDIT, 0, stream->id, &credit, sizeof credit);
  if (stream->pending_size == 0 && stream->write_ended) shutdown(stream->fd, SHUT_WR);
}

static void finish(struct stream* stream) {
  if (stream->pid > 0 || !stream->read_ended) return;
  if (stream->status == 0 && !stream->write_ended) {
    link_send(GATE_CLOSED, 1, stream->id, "0 0", 3);  // The service has said all; we may still talk.
    return;
  }
  if (stream->pending_size > 0) return;
  end(stream, 0, WIFSIGNALED(stream->status) ? 128 + WTERMSIG(stream->status) : WEXITSTATUS(stream->status));
}

static void take(struct stream* stream) {
  static char buffer[16384];
  size_t most = sizeof buffer;
  if (stream->window < most) most = stream->window;
  if (link_room() < most) most = link_room();
  if (most == 0) return;
  const ssize_t n = read(stream->fd, buffer, most);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return end(stream, errno, 0);
  if (n == 0) {
    stream->read_ended = 1;
    return finish(stream);
  }
  stream->window -= n;
  link_send(GATE_DATA, 0, stream->id, buffer, n);
}

static void settle(struct stream* stream) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) return end(stream, error, 0);
  stream->connecting = 0;
  link_send(GATE_OPENED, 0, stream->id, NULL, 0);
}

int streams_poll(struct pollfd* slots, int max) {
  int count = 0;
  for (int i = 0; i < MAX_STREAMS && count < max; ++i) {
    const struct stream* stream = &streams[i];
    if (stream->id == 0 || stream->fd < 0) continue;
    short events = 0;
    if (!stream->read_ended && !stream->connecting && stream->window > 0 && link_room() > 0) events |= POLLIN;
    if (stream->connecting || stream->pending_size > 0) events |= POLLOUT;
    // Otherwise a hang-up would be told for ever.
    if (events == 0) continue;
    slots[count++] = (struct pollfd){.fd = stream->fd, .events = events};
  }
  return count;
}

void streams_handle(const struct pollfd* slots, int count) {
  for (int i = 0; i < count; ++i) {
    if (slots[i].revents == 0) continue;
    for (int s = 0; s < MAX_STREAMS; ++s) {
      struct stream* stream = &streams[s];
      if (stream->id == 0 || stream->fd != slots[i].fd) continue;
      if (stream->connecting) {
        settle(stream);
      } else {
        if (stream->pending_size > 0) flush(stream);
        if (stream->id != 0 && !stream->read_ended && (slots[i].events & POLLIN)) take(stream);
        if (stream->id != 0 && stream->read_ended && stream->write_ended) finish(stream);
      }
      break;
    }
  }
}

int stream_reaped(pid_t pid, int status) {
  for (int i = 0; i < MAX_STREAMS; ++i) {
    if (streams[i].pid != pid) continue;
    streams[i].pid = 0;
    streams[i].status = status;
    if (streams[i].id != 0) finish(&streams[i]);
    return 1;
  }
  return 0;
}

int streams_running(void) {
  int count = 0;
  for (int i = 0; i < MAX_STREAMS; ++i) count += streams[i].pid > 0;
  return count;
}

void streams_drop_all(void) {
  for (int i = 0; i < MAX_STREAMS; ++i) {
    if (streams[i].id != 0) end(&streams[i], ECANCELED, 0);
  }
}
