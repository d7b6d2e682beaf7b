#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gate.h"

#define MAX_DEPTH 64
// Values of absl::StatusCode, which the other end understands.
#define OK 0
#define NOT_FOUND 5
#define RESOURCE_EXHAUSTED 8
#define ABORTED 10

static uint64_t left;
static int out;

static int write_all(const void* data, size_t size) {
  for (const char* at = data; size > 0;) {
    const ssize_t n = write(out, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    at += n;
    size -= n;
  }
  return 1;
}

static int send_file(int fd, const char* name, uint64_t size) {
  if (size > left) return RESOURCE_EXHAUSTED;
  left -= size;
  const uint32_t length = strlen(name);
  if (!write_all(&length, sizeof length) || !write_all(&size, sizeof size) || !write_all(name, length)) return ABORTED;
  static char buffer[65536];
  while (size > 0) {
    const size_t want = size < sizeof buffer ? size : sizeof buffer;
    const ssize_t n = read(fd, buffer, want);
    const size_t got = n > 0 ? (size_t)n : want;
    if (n <= 0) memset(buffer, 0, got);  // It has shrunk; its size was told already.
    if (!write_all(buffer, got)) return ABORTED;
    size -= got;
  }
  return OK;
}

// `folder` holds the last part of `name`. Each part is opened by itself, so that no link is followed anywhere.
static int send_entry(int folder, const char* last, const char* name, int depth) {
  const int fd = openat(folder, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return OK;  // Gone, a link, or not ours to read: left out.
  struct stat st;
  int result = OK;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) result = send_file(fd, name, st.st_size);
  DIR* dir = S_ISDIR(st.st_mode) && depth < MAX_DEPTH ? fdopendir(dup(fd)) : NULL;
  const struct dirent* entry;
  while (dir && result == OK && (entry = readdir(dir))) {
    char child[4096];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    const int n = snprintf(child, sizeof child, "%s%s%s", name, *name ? "/" : "", entry->d_name);
    if (n > 0 && n < (int)sizeof child) result = send_entry(fd, entry->d_name, child, depth + 1);
  }
  if (dir) closedir(dir);
  close(fd);
  return result;
}

static int send_path(char* path) {
  char name[4096] = "";
  int folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int result = folder < 0 ? NOT_FOUND : OK;
  char* save = NULL;
  char* part = strtok_r(path, "/", &save);
  if (!part || strcmp(part, ".") == 0) result = folder < 0 ? NOT_FOUND : send_entry(folder, ".", "", 0);
  while (part && strcmp(part, ".") != 0 && folder >= 0) {
    char* next = strtok_r(NULL, "/", &save);
    const size_t used = strlen(name);
    if (strcmp(part, "..") == 0 || snprintf(name + used, sizeof name - used, "%s%s", used ? "/" : "", part) < 0) break;
    if (!next) {
      result = send_entry(folder, part, name, 0);
      break;
    }
    const int deeper = openat(folder, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(folder);
    folder = deeper;
    part = next;
  }
  if (folder >= 0) close(folder);
  return result;
}

int send_files(uint64_t max_bytes, const char* paths, size_t length, int to) {
  left = max_bytes;
  out = to;
  for (size_t at = 0; at < length;) {
    char path[4096];
    const size_t size = strnlen(paths + at, length - at);
    if (size < sizeof path) {
      memcpy(path, paths + at, size);
      path[size] = 0;
      const int result = send_path(path);
      if (result != OK) return result;
    }
    at += size + 1;
  }
  return OK;
}
