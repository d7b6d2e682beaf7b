#include "server/engine/parts/probe_http.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace mayfly {
namespace {

// How much of an unhealthy answer's body is waited for: enough for the message.
constexpr size_t kBodyForMessage = 512;

std::string Encode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isgraph(static_cast<unsigned char>(c))) {
      out += c;
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

class HttpProbe final : public ProbeProtocol {
 public:
  HttpProbe(absl::string_view host, absl::string_view path)
      : host_(Encode(host)), path_(absl::StrCat(absl::StartsWith(path, "/") ? "" : "/", Encode(path))) {}

  std::string Request() override {
    return absl::StrCat("GET ", path_, " HTTP/1.1\r\nHost: ", host_,
                        "\r\nUser-Agent: mayfly-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n");
  }

  Step OnBytes(absl::string_view bytes) override {
    text_.append(bytes.data(), bytes.size());
    if (text_.size() >= 5 && !absl::StartsWith(text_, "HTTP/")) return {Failed(NotHttp()), ""};
    while (!head_done_) {
      const size_t end = text_.find("\r\n\r\n");
      if (end == std::string::npos) return {};
      const std::string head = text_.substr(0, end);
      text_.erase(0, end + 4);
      ReadHead(head);
      if (status_ < 0) return {Failed(absl::StrCat("not an HTTP answer: ", QuoteAnswer(head))), ""};
      head_done_ = status_ >= 200;  // 100 and 103 precede the answer.
    }
    if (status_ < 400) return {ProbeAnswer{.healthy = true, .connected = true}, ""};
    if (text_.size() < std::min(length_, kBodyForMessage)) return {};
    return {Status(), ""};
  }

  ProbeAnswer OnEnd(absl::string_view reason) override {
    if (head_done_) return Status();
    if (text_.empty())
      return Failed(absl::StrCat(reason, reason == "closed the connection" ? " without an answer" : ""));
    return Failed(absl::StrCat(NotHttp(), ", then ", reason));
  }

 private:
  static ProbeAnswer Failed(std::string message) {
    return {.healthy = false, .connected = true, .message = std::move(message)};
  }
  std::string NotHttp() const { return absl::StrCat("not an HTTP answer: ", QuoteAnswer(text_)); }
  ProbeAnswer Status() const {
    const absl::string_view body = absl::StripAsciiWhitespace(absl::string_view(text_).substr(0, length_));
    return Failed(absl::StrCat("HTTP ", status_, body.empty() ? "" : absl::StrCat(": ", QuoteAnswer(body))));
  }

  void ReadHead(absl::string_view head) {
    status_ = -1;
    length_ = kBodyForMessage;
    const std::vector<absl::string_view> lines = absl::StrSplit(head, "\r\n");
    const std::vector<absl::string_view> words = absl::StrSplit(lines[0], absl::MaxSplits(' ', 2));
    int status = 0;
    if (words.size() >= 2 && words[1].size() == 3 && absl::SimpleAtoi(words[1], &status) && status >= 100) {
      status_ = status;
    }
    for (const absl::string_view line : lines) {
      const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(':', 1));
      size_t length = 0;
      if (absl::EqualsIgnoreCase(field.first, "content-length") && absl::SimpleAtoi(field.second, &length)) {
        length_ = length;
      }
    }
  }

  const std::string host_;
  const std::string path_;
  std::string text_;  // The head until it is complete, then the body.
  bool head_done_ = false;
  int status_ = -1;
  size_t length_ = 0;
};

}  // namespace

std::unique_ptr<ProbeProtocol> MakeHttpProbe(absl::string_view host, absl::string_view path) {
  return std::make_unique<HttpProbe>(host, path);
}

}  // namespace mayfly
