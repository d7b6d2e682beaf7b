// Framed messages with descriptors over a connected unix stream socket, on a Reactor. One type for every link of the
// local engine: server and launcher, launcher and init, server and init, init and shim.
//
// A frame is {u32 length, u16 type, u16 descriptors} and a body of codec.h. Descriptors travel with the frame's first
// bytes. Anything malformed (over-long, more or fewer descriptors than announced) closes the channel: a peer is never
// trusted, and cannot make this side hold more than one frame and kMaxFds descriptors that are not yet delivered.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_CHANNEL_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_CHANNEL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/local/codec.h"
#include "server/engine/local/sys.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::local {

struct Frame {
  uint16_t type = 0;
  std::string body;
  std::vector<UniqueFd> fds;
};

// Not thread-safe: lives on its reactor's thread. Handlers may destroy the channel.
class Channel {
 public:
  static constexpr size_t kMaxBody = 16 << 20;
  static constexpr size_t kMaxFds = 16;

  // Takes over `fd`. `on_frame` is called once per message, in order; `on_close` once, after the last message, when the
  // peer is gone or has sent rubbish. Neither is called from inside Send or after destruction.
  Channel(Reactor* reactor, UniqueFd fd, std::function<void(Frame)> on_frame, std::function<void()> on_close);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Writes at once as far as the socket takes it, queues the rest. Errors are reported by on_close. Over `queue_limit`
  // bytes the peer counts as stalled and the channel is shut.
  template <class M>
  void Send(const M& message, std::vector<UniqueFd> fds = {}) {
    SendBody(M::kType, Encode(message), std::move(fds));
  }
  void SendBody(uint16_t type, const std::string& body, std::vector<UniqueFd> fds);
  // Blocks until all that was sent has left, or the peer is gone. For last words before _exit.
  void Flush();
  int fd() const { return fd_.get(); }

 private:
  struct Out {
    std::string bytes;
    size_t sent = 0;
    std::vector<UniqueFd> fds;
  };

  void OnEvents(uint32_t events);
  bool Read();             // False: closed.
  bool Deliver();          // False: rubbish, or destroyed by a handler.
  bool Plausible() const;  // What waits for more bytes may be the beginning of a frame.
  bool WriteQueued();      // False: broken.
  void Close();

  static constexpr size_t kQueueLimit = 64 << 20;

  Reactor* reactor_;
  UniqueFd fd_;
  std::shared_ptr<std::function<void(Frame)>> on_frame_;
  std::function<void()> on_close_;
  std::string in_;
  size_t in_offset_ = 0;
  std::deque<UniqueFd> in_fds_;
  std::deque<Out> out_;
  size_t queued_ = 0;
  bool want_write_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_CHANNEL_H_
