// One connection to the relay of an environment (gate/relay.c), through the API server; it becomes a gate's.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_RELAY_STREAM_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_RELAY_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "mayfly/engine/interactive.h"
#include "server/base/unique_fd.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::kubernetes {

// Not thread-safe; lives on one reactor. Holds at most 64 KiB of what comes and asks for no more until it was taken.
class RelayStream {
 public:
  struct Callbacks {
    std::function<void(const std::string& address)> on_greeting;  // The relay's pod's; untrusted text of one line.
    // A gate speaks, from `peer`: a connected socket, once.
    std::function<void(UniqueFd gate, const std::string& peer)> on_gate;
    // Once, last, never inline from the constructor. May destroy it.
    std::function<void(const absl::Status& status)> on_end;
  };
  using Dial = std::function<std::unique_ptr<Stream>(Stream::Callbacks callbacks)>;
  using Post = std::function<void(std::function<void()>)>;

  // `post` runs a function on the reactor's thread, in order, from any thread, and outlives this.
  RelayStream(Reactor& reactor, const Post& post, const Dial& dial, Callbacks callbacks);
  ~RelayStream();
  RelayStream(const RelayStream&) = delete;
  RelayStream& operator=(const RelayStream&) = delete;

  bool greeted() const { return greeted_; }
  bool joined() const { return joined_; }

 private:
  void OnData(const std::string& bytes);
  bool TakeLine(std::string* line);  // False when it is not whole.
  void Join(const std::string& peer);
  void OnSocket(uint32_t events);
  void Flush();
  void Watch();
  void End(const absl::Status& status);

  Reactor& reactor_;
  Callbacks callbacks_;
  bool greeted_ = false, joined_ = false;
  std::string in_;        // Not yet taken by the socket, or of the greeting.
  UniqueFd socket_;       // Our end; the gate's link has the other.
  size_t unwritten_ = 0;  // Said by the socket and not yet on its way.
  uint32_t watched_ = 0;
  std::shared_ptr<RelayStream*> self_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_RELAY_STREAM_H_
