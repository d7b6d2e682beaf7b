// A block of lines at the bottom of a terminal that is drawn again and again in place.
#ifndef MAYFLY_CLIENT_CLI_LIVE_BLOCK_H_
#define MAYFLY_CLIENT_CLI_LIVE_BLOCK_H_

#include <string>
#include <vector>

namespace mayfly {

class LiveBlock {
 public:
  // The bytes that replace what was drawn last by `lines`, none of which is wider than the terminal.
  std::string Draw(const std::vector<std::string>& lines);

 private:
  size_t drawn_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_LIVE_BLOCK_H_
