#include "server/http/message.h"

namespace mayfly::http {

absl::string_view Response::Find(absl::string_view name) const {
  for (const Header& header : headers) {
    if (header.name == name) return header.value;
  }
  return "";
}

}  // namespace mayfly::http
