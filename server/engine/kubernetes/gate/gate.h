// The gate's parts. One thread, one loop, state in static variables: it is one small program.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_GATE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_GATE_H_

#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

int64_t now_us(void);    // Monotonic.
int enter_folder(void);  // The service's working directory; 0 when it is entered.

// ---- link.c: the connection to the server. ----
// `address` is "IPV4:PORT". 0 when it is none.
int link_init(const char* address);
// Told of every frame that came; `data` is only valid during the call.
void on_frame(const struct gate_frame* frame, const char* data);
// Told when the connection is up; says HELLO.
void on_connected(void);
void link_poll(struct pollfd* slot);  // Fills it in; fd -1 while waiting to connect again.
void link_handle(const struct pollfd* slot);
int64_t link_due(void);               // When it wants to be handled although nothing came; INT64_MAX: never.
int link_up(void);                    // WELCOME was heard.
void link_welcome(uint64_t arrived);  // From on_frame.
void link_ack(uint64_t arrived);
// Queues a frame. Without a connection it is dropped: HELLO tells the state of things on the next one.
void link_send(int type, int flag, int id, const void* data, size_t length);
size_t link_room(void);  // Bytes of payload that may be sent now.
// Output is kept until it has arrived, the latest 256 KiB of it, across connections.
void link_output(int is_stderr, const char* data, size_t length);
int link_output_sent(void);  // All output is on its way.
void link_flush(void);
struct in_addr link_own_address(void);  // The pod's, as the server sees it.

// ---- streams.c: dialled ports, commands and archives. ----
void stream_dial(int id, const char* data, size_t length);
void stream_run(int id, const char* data, size_t length);
void stream_collect(int id, const char* data, size_t length);
void stream_write(int id, const char* data, size_t length);
void stream_close(int id, int half);
void stream_taken(int id, uint32_t bytes);
int streams_poll(struct pollfd* slots, int max);  // How many it filled in.
void streams_handle(const struct pollfd* slots, int count);
int stream_reaped(pid_t pid, int status);  // 1 when it was one of its processes.
int stream_accept(int fd);                 // Takes over a connected socket; the stream's id, or 0.
int streams_out(void);                     // How many of those there are.
int streams_running(void);                 // Processes of streams that were not reaped yet.
void streams_drop_all(void);               // The connection was lost.

// ---- out.c: addresses of the pod's loopback that stand for what is outside. ----
void out_open(char* list);  // "IPV4:PORT IPV4:PORT ...", which it takes apart.
int out_poll(struct pollfd* slots, int max);
void out_handle(const struct pollfd* slots, int count);

// ---- files.c ----
// In a child: writes the archive to `out` and returns an exit code (0, or an absl::StatusCode).
int send_files(uint64_t max_bytes, const char* paths, size_t length, int out);

// ---- relay.c ----
// Another program of the same file: passes on what gates say. Returns an exit code.
int relay(int gates_port, int back_port);

// ---- ports.c ----
// 1 when a connection to address:port would find somebody who listens.
int is_listening(struct in_addr address, int port);
void send_ports(void);

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_GATE_H_
