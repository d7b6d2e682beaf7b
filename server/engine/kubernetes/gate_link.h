// The server's end of one connection with a gate (gate/protocol.h): frames both ways, and streams over them.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_LINK_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_LINK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/gate/protocol.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// What comes of a stream. All optional; none is called after on_end, nor after CloseStream without `half`.
struct StreamEvents {
  std::function<void()> on_opened;                  // A dialled port answered.
  std::function<void(absl::string_view)> on_data;   // Say Taken when it was handed on.
  std::function<void()> on_read_end;                // The pod's side has said all; ours may go on.
  std::function<void(uint32_t bytes)> on_written;   // So many of WriteStream were handed on.
  std::function<void(int error, int code)> on_end;  // An errno (0: none) and a command's exit code. Last, once.
};

// Not thread-safe; lives on one reactor. What a gate says is untrusted, since a service can speak in its gate's place:
// what is no frame, or sends more of a stream than GATE_STREAM_WINDOW ahead of Taken, ends the link.
class GateLink {
 public:
  struct Callbacks {
    // Everything but what belongs to streams. May destroy the link.
    std::function<void(const gate_frame& frame, absl::string_view payload)> on_frame;
    // The connection is lost; once, last. Streams were ended with ECONNRESET before. May destroy the link.
    std::function<void()> on_lost;
  };
  // Takes over a connected socket.
  GateLink(Reactor& reactor, UniqueFd socket, Callbacks callbacks);
  ~GateLink();  // Ends the streams with ECONNRESET; on_lost is not called.
  GateLink(const GateLink&) = delete;
  GateLink& operator=(const GateLink&) = delete;

  void SetCallbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }

  // Queues a frame and sends what the socket takes. At most GATE_MAX_PAYLOAD bytes.
  void Send(int type, int flag, int id, absl::string_view payload);
  void SendNumber(int type, uint64_t number);

  // `type` is GATE_DIAL, GATE_RUN or GATE_COLLECT. Never 0; a gate that has no room for one more ends it at once.
  uint16_t OpenStream(int type, absl::string_view payload, StreamEvents events);
  // For GATE_OUT, which opened the stream `id`. False for an id that is none of the gate's or is in use, and where
  // there are too many: the gate is told.
  bool AcceptStream(uint16_t id, StreamEvents events);
  // No more than GATE_STREAM_WINDOW bytes that on_written has not told of.
  void WriteStream(uint16_t id, absl::string_view bytes);
  void CloseStream(uint16_t id, bool half);
  void Taken(uint16_t id, uint32_t bytes);

 private:
  void OnEvent(uint32_t events);
  // False when the link is gone.
  bool Read();
  bool Dispatch(const gate_frame& frame, absl::string_view payload);
  void OnStreamFrame(const gate_frame& frame, absl::string_view payload);
  void Flush();
  void Lose();
  void EndStreams();

  Reactor& reactor_;
  UniqueFd socket_;
  Callbacks callbacks_;
  std::string in_, out_;
  bool flushing_later_ = false;
  uint16_t last_stream_ = 0;
  struct OpenedStream {
    StreamEvents events;
    size_t untaken = 0;  // Bytes of on_data that Taken has not told of.
  };
  std::map<uint16_t, OpenedStream> streams_;
  std::shared_ptr<GateLink*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_LINK_H_
