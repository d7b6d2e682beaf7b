// Some megabytes held back on the state folder's disk: when it is full, nothing new is begun, but what is there can
// still be torn down and recorded.
#ifndef MAYFLY_SERVER_STORE_DISK_RESERVE_H_
#define MAYFLY_SERVER_STORE_DISK_RESERVE_H_

#include <string>
#include <utility>

namespace mayfly {

// The file <state_dir>/reserve. Not thread-safe.
class DiskReserve {
 public:
  explicit DiskReserve(std::string path) : path_(std::move(path)) {}
  // Takes the space when it is not held yet; on a full disk it stays without.
  void Hold();
  // Gives it back; false when there was nothing to give.
  bool Release();

 private:
  const std::string path_;
  bool held_ = false;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_DISK_RESERVE_H_
