// What a gate and the server say to each other over one TCP connection, which the gate opens and opens again.
//
// The gate is the first process of a service's container. It says HELLO as soon as it runs, starts the service's
// process when it is told to GO, passes on its output, looks for its port, and tells its end. It holds the pod's place
// in the meantime, so that scheduling, image, sandbox and network of all services are paid once and at the same time.
//
// A frame is this header and `length` bytes, all little endian. Text is without a terminator unless said otherwise.
// Shared by C (the gate) and C++ (the server).
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROTOCOL_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROTOCOL_H_

#include <stdint.h>

// Counts the changes of what follows. A pod keeps the gate that it was made with, so a server speaks every version from
// 1 on, and says only what the version in HELLO knows; a newer gate than itself it cannot speak to.
#define GATE_VERSION 1
#define GATE_MAX_PAYLOAD 65536
#define GATE_STREAM_WINDOW 65536  // Bytes of one stream that may be on their way in one direction.
#define GATE_FIRST_OUT 0x8000     // Streams from here on are opened by the gate, those below by the server.

struct gate_frame {
  uint32_t length;
  uint8_t type;
  uint8_t flag;
  uint16_t id;  // Of a stream; otherwise as said below.
};

// From the gate.
enum gate_says {
  // "VERSION SCOPE/POD TOKEN ADDRESS STATE NOW", NOW being the gate's monotonic clock in microseconds, ADDRESS being
  // the pod's and STATE "waiting", "running", "ready", "ended" or
  // "failed". flag as of GO.
  GATE_HELLO = 1,
  // u64: how many bytes of output came before; then output. flag 1: stderr.
  GATE_OUTPUT = 2,
  // u64: when, by the gate's clock.
  GATE_STARTED = 3,
  // "STAGE ERRNO": it could not be started. STAGE is "workdir", "fork" or "exec".
  GATE_FAILED = 4,
  // "WAIT_STATUS CPU_MICROSECONDS PEAK_KIB OOM_KILLS WHEN", after all output, and when nothing of it runs any more.
  GATE_EXITED = 5,
  // The port of GATE_AWAIT_PORT is listened on and can be reached from other pods.
  GATE_LISTENING = 6,
  // The text of /proc/net/tcp and tcp6, behind each other.
  GATE_PORTS = 7,
  // A datagram to $NOTIFY_SOCKET.
  GATE_NOTIFIED = 8,
  // A stream: data, and its end. flag 1 of CLOSED: only what comes from the pod has ended. Text of CLOSED: "ERRNO
  // CODE".
  GATE_OPENED = 9,
  GATE_DATA = 10,
  GATE_CLOSED = 11,
  // u32: so many bytes of GATE_WRITE were handed on.
  GATE_CREDIT = 12,
  // u16: which of MAYFLY_GATE_OUT. Somebody in the pod has connected to it: a stream that is open.
  GATE_OUT = 13,
};

// To the gate.
enum gate_hears {
  // u64: so many bytes of output arrived; what came later is said again. Answers HELLO.
  GATE_WELCOME = 64,
  // flag 1: a job, which is never ready. HELLO repeats the flag.
  GATE_GO = 65,
  // id: the signal, to the service's first process.
  GATE_SIGNAL = 66,
  // Ends everything in the container now. flag 1: the gate ends, too, as soon as it has told so.
  GATE_KILL = 67,
  // After EXITED or FAILED: the gate ends as the service did.
  GATE_RELEASE = 68,
  // id: the port. Once per GO.
  GATE_AWAIT_PORT = 69,
  GATE_LIST_PORTS = 70,
  // u64: so many bytes of output arrived.
  GATE_ACK = 71,
  // Opens a stream: to a port of the pod (u16) or of another address (u16, and its four bytes), to a command's output
  // (its words, each with a 0 behind it), to an archive of files (a u64 limit in bytes, then paths, each with a 0
  // behind it; server/engine/parts/file_stream.h).
  GATE_DIAL = 72,
  GATE_RUN = 73,
  GATE_COLLECT = 74,
  // For a stream: data; its end, with flag 1 of this direction only; u32: so many bytes of GATE_DATA were handed on.
  GATE_WRITE = 75,
  GATE_CLOSE = 76,
  GATE_TAKEN = 77,
  // The service is ready; HELLO says so from now on.
  GATE_MARK_READY = 78,
};

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROTOCOL_H_
