// Network plugin, after the one that gives a pod its address: asks the policy program, and waits until its rules hold.
// Small, because it runs at every pod's start and stop.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char* Setting(const char* name) {
  return getenv(name) != NULL ? getenv(name) : "";
}

static int Fail(const char* what) {
  printf("{\"cniVersion\":\"0.4.0\",\"code\":100,\"msg\":\"policy: %s\"}", what);
  return 1;
}

int main(void) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  const ssize_t length = readlink("/proc/self/exe", at.sun_path, sizeof(at.sun_path) - sizeof(".sock"));
  if (length <= 0) return Fail("where am I?");
  strcpy(at.sun_path + length, ".sock");
  const int to = socket(AF_UNIX, SOCK_STREAM, 0);
  if (to < 0 || connect(to, (struct sockaddr*)&at, sizeof(at)) != 0) return Fail("the policy program does not answer");
  char buffer[65536];
  const size_t read_in = fread(buffer, 1, sizeof(buffer), stdin);
  dprintf(to, "{\"Command\":\"%s\",\"Arguments\":\"%s\",\"Configuration\":%.*s}", Setting("CNI_COMMAND"),
          Setting("CNI_ARGS"), (int)read_in, buffer);
  shutdown(to, SHUT_WR);
  int failed = 0, first = 1;
  for (ssize_t got; (got = read(to, buffer, sizeof(buffer))) > 0; first = 0) {
    const char* begin = buffer;
    if (first && *begin == '!') failed = 1, ++begin, --got;
    fwrite(begin, 1, (size_t)got, stdout);
  }
  return failed;
}
