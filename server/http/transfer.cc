#include "server/http/transfer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mayfly/base/text.h"

namespace mayfly::http {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{256} << 10;

bool HasLineBreak(absl::string_view text) {
  return text.find_first_of(absl::string_view("\r\n\0", 3)) != absl::string_view::npos;
}

curl_blob BlobOf(const std::string& text) {
  // The transfer keeps the Tls value for as long as the handle lives.
  return {const_cast<char*>(text.data()), text.size(), CURL_BLOB_NOCOPY};
}

// TLS failures that another attempt could mend: the peer went away in the middle of the handshake.
bool PeerWentAway(absl::string_view message) {
  return absl::StrContains(message, "SSL_ERROR_SYSCALL") || absl::StrContains(message, "onnection reset") ||
         absl::StrContains(message, "unexpected eof") || absl::StrContains(message, "Broken pipe");
}

bool IsTlsRefusal(CURLcode code, absl::string_view message) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
      return !PeerWentAway(message);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_USE_SSL_FAILED:
      return true;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      // TLS 1.3 servers refuse a client's certificate only after the handshake, where libcurl reads the first bytes.
      return absl::StrContains(message, " alert ");
    default:
      return false;
  }
}

}  // namespace

std::string OriginOf(absl::string_view url) {
  const size_t scheme = url.find("://");
  const size_t start = scheme == absl::string_view::npos ? 0 : scheme + 3;
  absl::string_view authority = url.substr(start);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  if (const size_t at = authority.rfind('@'); at != absl::string_view::npos) authority.remove_prefix(at + 1);
  return EscapeLine(absl::StrCat(url.substr(0, start), authority));
}

Transfer::Transfer(Request request, Sinks sinks, const ClientOptions& options, std::function<void()> on_bytes)
    : request_(std::move(request)), sinks_(std::move(sinks)), options_(options), on_bytes_(std::move(on_bytes)) {}

Transfer::~Transfer() {
  if (easy_ != nullptr) curl_easy_cleanup(easy_);
  curl_slist_free_all(header_list_);
  curl_slist_free_all(connect_to_);
}

absl::Status Transfer::CheckRequest() const {
  if (!absl::StartsWith(request_.url, "https://") && !absl::StartsWith(request_.url, "http://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", OriginOf(request_.url), "\" is no address: it must start with https:// or http://"));
  }
  if (HasLineBreak(request_.url) || absl::StrContains(request_.url, " ")) {
    return absl::InvalidArgumentError(
        absl::StrCat(OriginOf(request_.url), ": the address holds a space or line break"));
  }
  for (const Header& header : request_.headers) {
    if (header.name.empty() || HasLineBreak(header.name) || absl::StrContains(header.name, ":") ||
        HasLineBreak(header.value)) {
      return absl::InvalidArgumentError(
          absl::StrCat(OriginOf(request_.url), ": the header \"", EscapeLine(header.name), "\" cannot be sent"));
    }
  }
  return absl::OkStatus();
}

absl::Status Transfer::AddHeaders() {
  // libcurl would add both by itself: the first costs a round trip, the second is a guess at the body.
  std::vector<std::string> lines = {"Expect:"};
  bool has_type = false;
  for (const Header& header : request_.headers) {
    has_type = has_type || absl::EqualsIgnoreCase(header.name, "content-type");
    lines.push_back(header.value.empty() ? header.name + ";" : absl::StrCat(header.name, ": ", header.value));
  }
  if (!has_type) lines.push_back("Content-Type:");
  for (const std::string& line : lines) {
    curl_slist* longer = curl_slist_append(header_list_, line.c_str());
    if (longer == nullptr) return absl::ResourceExhaustedError("no memory for a request's headers");
    header_list_ = longer;
  }
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, header_list_);
  return absl::OkStatus();
}

void Transfer::SetMethod() {
  if (request_.method == "GET" && request_.body.empty()) {
    curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
  } else if (request_.method == "HEAD") {
    curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
  } else if (!request_.body.empty() || request_.method == "POST") {
    curl_easy_setopt(easy_, CURLOPT_POST, 1L);
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request_.body.data());
  }
  if (request_.method != "HEAD") curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

void Transfer::SetConnection() {
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  // Over TLS the handshake says whether requests can share a connection; without it only the first answer would, and
  // all requests would wait for that.
  const bool tls = absl::StartsWith(request_.url, "https://");
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION,
                   static_cast<long>(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_PIPEWAIT, tls ? 1L : 0L);
  curl_easy_setopt(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy_, CURLOPT_FRESH_CONNECT, request_.fresh_connection ? 1L : 0L);
  // Empty texts, not absent ones: libcurl would look into the environment.
  curl_easy_setopt(easy_, CURLOPT_PROXY, request_.proxy.c_str());
  curl_easy_setopt(easy_, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, options_.user_agent.c_str());
  const auto connect_ms = absl::ToInt64Milliseconds(std::min(request_.connect, absl::Hours(1)));
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::max<int64_t>(connect_ms, 1)));
  const long idle = std::max<long>(1, absl::ToInt64Seconds(std::min(options_.dead_peer, absl::Hours(1)) / 2));
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPIDLE, idle);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPINTVL, std::max<long>(1, idle / 3));
  curl_easy_setopt(easy_, CURLOPT_SOCKOPTFUNCTION, &Transfer::OnSocket);
  curl_easy_setopt(easy_, CURLOPT_SOCKOPTDATA, this);
}

void Transfer::SetTls() {
  curl_easy_setopt(easy_, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (request_.tls == nullptr) return;
  const Tls& tls = *request_.tls;
  if (!tls.ca.empty()) {
    curl_blob blob = BlobOf(tls.ca);
    curl_easy_setopt(easy_, CURLOPT_CAINFO_BLOB, &blob);
    // The system's folder would be trusted beside the given authorities.
    curl_easy_setopt(easy_, CURLOPT_CAINFO, nullptr);
    curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
    // Whoever names authorities for a server has its proxy vouched for by them, too, as kubectl does.
    curl_easy_setopt(easy_, CURLOPT_PROXY_CAINFO_BLOB, &blob);
    curl_easy_setopt(easy_, CURLOPT_PROXY_CAINFO, nullptr);
    curl_easy_setopt(easy_, CURLOPT_PROXY_CAPATH, nullptr);
  }
  if (!tls.certificate.empty()) {
    curl_blob certificate = BlobOf(tls.certificate);
    curl_blob key = BlobOf(tls.key);
    curl_easy_setopt(easy_, CURLOPT_SSLCERTTYPE, "PEM");
    curl_easy_setopt(easy_, CURLOPT_SSLKEYTYPE, "PEM");
    curl_easy_setopt(easy_, CURLOPT_SSLCERT_BLOB, &certificate);
    curl_easy_setopt(easy_, CURLOPT_SSLKEY_BLOB, &key);
  }
  if (tls.insecure) {
    curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy_, CURLOPT_PROXY_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy_, CURLOPT_PROXY_SSL_VERIFYHOST, 0L);
  }
}

absl::Status Transfer::Prepare() {
  if (absl::Status status = CheckRequest(); !status.ok()) return status;
  easy_ = curl_easy_init();
  if (easy_ == nullptr) return absl::ResourceExhaustedError("no memory for another request");
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, error_.data());
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  std::string url = request_.url;
  if (request_.tls != nullptr && !request_.tls->server_name.empty() && absl::StartsWith(url, "https://")) {
    // The wanted name stands in the URL, for SNI and for the check of the certificate; the address to dial, beside it.
    const std::string authority = OriginOf(url).substr(8);
    const size_t colon = authority.rfind(':');
    const bool has_port = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
    const std::string host = authority.substr(0, has_port ? colon : std::string::npos);
    const std::string port = has_port ? authority.substr(colon + 1) : "443";
    const size_t path = url.find('/', 8);
    const std::string connect = absl::StrCat(request_.tls->server_name, ":", port, ":", host, ":", port);
    connect_to_ = curl_slist_append(nullptr, connect.c_str());
    curl_easy_setopt(easy_, CURLOPT_CONNECT_TO, connect_to_);
    url = absl::StrCat("https://", request_.tls->server_name, ":", port,
                       path == std::string::npos ? "/" : url.substr(path));
  }
  if (curl_easy_setopt(easy_, CURLOPT_URL, url.c_str()) != CURLE_OK) {
    return absl::InvalidArgumentError(absl::StrCat("\"", OriginOf(url), "\" is no address"));
  }
  if (absl::Status status = AddHeaders(); !status.ok()) return status;
  SetMethod();
  SetConnection();
  SetTls();
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Transfer::OnHeaderLine);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  return absl::OkStatus();
}

int Transfer::OnSocket(void* self, curl_socket_t socket, curlsocktype) {
  const absl::Duration dead = static_cast<Transfer*>(self)->options_.dead_peer;
  const unsigned milliseconds = static_cast<unsigned>(absl::ToInt64Milliseconds(std::min(dead, absl::Hours(1))));
  // Without it a connection whose peer vanished lives for a quarter of an hour. Sockets that know no TCP do without.
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
  return CURL_SOCKOPT_OK;
}

bool Transfer::AddHeaderLine(absl::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) {
    too_large_ = true;
    return false;
  }
  if (head_complete_) return true;  // Trailers.
  line = absl::StripTrailingAsciiWhitespace(line);
  if (absl::StartsWith(line, "HTTP/")) {
    response_ = Response();
    const size_t space = line.find(' ');
    if (space == absl::string_view::npos || !absl::SimpleAtoi(line.substr(space + 1, 3), &response_.status)) {
      return false;
    }
  } else if (line.empty()) {
    head_complete_ = response_.status >= 200;  // Heads before it are interim ones.
  } else if (const size_t colon = line.find(':'); colon != absl::string_view::npos) {
    response_.headers.push_back({absl::AsciiStrToLower(line.substr(0, colon)),
                                 std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)))});
  }
  return true;
}

size_t Transfer::OnHeaderLine(char* data, size_t size, size_t count, void* self) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  transfer.on_bytes_();
  return transfer.AddHeaderLine(absl::string_view(data, size * count)) ? size * count : 0;
}

size_t Transfer::OnBody(char* data, size_t size, size_t count, void* self) {
  Transfer& transfer = *static_cast<Transfer*>(self);
  transfer.on_bytes_();
  const size_t bytes = size * count;
  if (!transfer.Streams() && transfer.response_.body.size() + bytes > transfer.request_.max_bytes) {
    transfer.too_large_ = true;
    return 0;
  }
  transfer.response_.body.append(data, bytes);
  return bytes;
}

void Transfer::Deliver() {
  if (!Streams() || !head_complete_) return;
  const std::string data = std::exchange(response_.body, "");
  if (!head_delivered_ && !muted_) {
    head_delivered_ = true;
    if (sinks_.on_head) sinks_.on_head(response_);
  }
  // The head's callback may have cancelled.
  if (!data.empty() && !muted_ && sinks_.on_data) sinks_.on_data(data);
}

absl::Status Transfer::Translate(CURLcode code) const {
  if (code == CURLE_OK) return absl::OkStatus();
  const std::string origin = OriginOf(request_.url);
  const std::string detail = EscapeLine(absl::StripTrailingAsciiWhitespace(
      error_[0] != '\0' ? absl::string_view(error_.data()) : curl_easy_strerror(code)));
  const std::string message = absl::StrCat(origin, ": ", detail);
  if (too_large_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(origin, ": the answer is larger than ", HumanSize(static_cast<int64_t>(request_.max_bytes))));
  }
  if (IsTlsRefusal(code, detail)) {
    return absl::UnauthenticatedError(absl::StrCat(origin, ": TLS: ", detail));
  }
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(message);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnavailableError(message);
  }
}

bool Transfer::MayHaveBeenSent() const {
  if (easy_ == nullptr) return false;
  curl_off_t ready = 0;
  long bytes = 0;
  curl_easy_getinfo(easy_, CURLINFO_PRETRANSFER_TIME_T, &ready);
  curl_easy_getinfo(easy_, CURLINFO_REQUEST_SIZE, &bytes);
  return ready > 0 || bytes > 0 || header_bytes_ > 0;
}

void Transfer::Finish(absl::Status status) {
  const bool sent = MayHaveBeenSent();
  if (Streams()) {
    if (status.ok()) Deliver();
    if (sinks_.on_end) sinks_.on_end(std::move(status), sent);
    return;
  }
  if (status.ok()) {
    sinks_.done({std::move(response_), true});
  } else {
    sinks_.done({std::move(status), sent});
  }
}

}  // namespace mayfly::http
