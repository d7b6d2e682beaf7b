// One request on its way through libcurl. Everything here runs on the Client's thread.
#ifndef MAYFLY_SERVER_HTTP_TRANSFER_H_
#define MAYFLY_SERVER_HTTP_TRANSFER_H_

#include <curl/curl.h>

#include <array>
#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/http/client.h"
#include "server/http/message.h"

namespace mayfly::http {

// Where an answer goes: either `done` or the other three are set.
struct Sinks {
  Client::Done done;
  Client::OnHead on_head;
  Client::OnData on_data;
  Client::OnEnd on_end;
};

class Transfer {
 public:
  // `options` outlives the transfer. `on_bytes` is called inside libcurl whenever something of an answer has come: it
  // may only take a note.
  Transfer(Request request, Sinks sinks, const ClientOptions& options, std::function<void()> on_bytes);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Sets up the handle; INVALID_ARGUMENT says what of the request cannot be put.
  absl::Status Prepare();
  CURL* easy() const { return easy_; }
  const Request& request() const { return request_; }

  // Hands on to the stream's callbacks what has come since the last call. Outside libcurl only.
  void Deliver();
  // The status for how libcurl ended the transfer.
  absl::Status Translate(CURLcode code) const;
  // Calls the last callback. Outside libcurl only, and once; `easy()` is in no multi handle any more.
  void Finish(absl::Status status);
  // Nothing but Finish will call back any more.
  void Mute() { muted_ = true; }

 private:
  static size_t OnHeaderLine(char* data, size_t size, size_t count, void* self);
  static size_t OnBody(char* data, size_t size, size_t count, void* self);
  static int OnSocket(void* self, curl_socket_t socket, curlsocktype type);
  absl::Status CheckRequest() const;
  absl::Status AddHeaders();
  void SetMethod();
  void SetConnection();
  void SetTls();
  bool AddHeaderLine(absl::string_view line);
  bool Streams() const { return !sinks_.done; }
  bool MayHaveBeenSent() const;

  const Request request_;
  Sinks sinks_;
  const ClientOptions& options_;
  std::function<void()> on_bytes_;
  CURL* easy_ = nullptr;
  curl_slist* header_list_ = nullptr;
  curl_slist* connect_to_ = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_{};

  Response response_;  // The body: of a stream what has not been delivered.
  size_t header_bytes_ = 0;
  bool head_complete_ = false;
  bool head_delivered_ = false;
  bool too_large_ = false;
  bool muted_ = false;
};

// "https://host:port" of `url`, without user, path and query; what messages name.
std::string OriginOf(absl::string_view url);

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_TRANSFER_H_
