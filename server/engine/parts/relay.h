// Joins two stream sockets, byte for byte in both directions, until both sides have said all.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_RELAY_H_
#define MAYFLY_SERVER_ENGINE_PARTS_RELAY_H_

#include <cstdint>
#include <functional>
#include <string>

#include "server/engine/parts/reactor.h"

namespace mayfly {

// Not thread-safe. Holds at most 64 KiB for each direction: a side that does not read holds back the other one. The end
// of one direction (shutdown) is passed on alone; a reset or a refused connection resets the other side. Moves at most
// 64 KiB a direction in one turn of the reactor.
class Relay {
 public:
  // Takes over both sockets and makes them non-blocking; either may still be connecting. `on_close` is called once,
  // never inline from here, after both are closed; it may destroy the Relay.
  Relay(Reactor& reactor, int a, int b, std::function<void()> on_close);
  ~Relay();  // Closes both; `on_close` is not called.
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Bytes passed on from a to b, and from b to a.
  int64_t forward_bytes() const { return sides_[1].sent; }
  int64_t backward_bytes() const { return sides_[0].sent; }

 private:
  struct Side {
    int fd = -1;
    uint32_t watched = 0;    // What the reactor is asked for; 0: not watched, since a hang-up would be told for ever.
    bool connected = false;  // Was seen to be.
    bool readable = true;    // Its end was not seen yet.
    bool writable = true;    // It was not told of an end yet.
    std::string pending;     // Read from the other side, not yet accepted by this one.
    int64_t sent = 0;
  };
  void OnEvent(int side, uint32_t events);
  bool Read(int side);
  bool Flush(int side);
  void Update(int side);
  void Finish(bool reset);
  void Close(bool reset);

  Reactor& reactor_;
  Side sides_[2];
  std::function<void()> on_close_;
  Reactor::TimerId failed_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_RELAY_H_
