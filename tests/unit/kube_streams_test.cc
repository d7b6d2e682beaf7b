// server/engine/kubernetes/client: watches and logs, against an API server in memory that fails as each test says.
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/line_splitter.h"
#include "server/engine/kubernetes/client/log_stream.h"
#include "server/engine/kubernetes/client/watch.h"
#include "tests/support/fake_api_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/stream_notes.h"

namespace mayfly::kube {
namespace {

using absl::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kMaps[] = "/api/v1/namespaces/n/configmaps";

ApiClientOptions Fast() {
  return {.attempt = absl::Seconds(5),
          .deadline = absl::Seconds(20),
          .first_pause = absl::Milliseconds(1),
          .longest_pause = absl::Milliseconds(20)};
}

json Value(const std::string& value) {
  return {{"data", {{"v", value}}}, {"metadata", {{"labels", {{"of", "us"}}}}}};
}

std::string Path(const std::string& name) {
  return absl::StrCat(kMaps, "/", name);
}

int Count(const FakeApiServer& server, const std::string& part) {
  int count = 0;
  for (const std::string& request : server.requests()) count += absl::StrContains(request, part) ? 1 : 0;
  return count;
}

TEST(LineSplitterTest, LinesComeWholeWhateverThePieces) {
  const std::string text = "one\n\nthree and more\nrest";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    LineSplitter splitter(100);
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size(); at += piece) {
      ASSERT_OK(splitter.Feed(absl::string_view(text).substr(at, piece), [&](absl::string_view line) {
        lines.emplace_back(line);
        return true;
      }));
    }
    EXPECT_THAT(lines, ElementsAre("one", "", "three and more"));
    EXPECT_EQ("rest", splitter.rest());
  }
}

TEST(LineSplitterTest, ALineOverTheCapIsAnError) {
  LineSplitter splitter(10);
  const auto ignore = [](absl::string_view) { return true; };
  ASSERT_OK(splitter.Feed("12345", ignore));
  EXPECT_THAT(splitter.Feed("678901", ignore), StatusIs(StatusCode::kResourceExhausted, HasSubstr("10 bytes")));
}

TEST(KubeWatchTest, ListsThenFollowsWhatIsSelected) {
  FakeApiServer server;
  server.Put(Path("a"), Value("1"));
  server.Put(Path("other"), {});
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps, .label_selector = "of=us"}, notes.callbacks());
  notes.Await("replace a=1");
  server.Put(Path("b"), Value("2"));
  server.Put(Path("a"), Value("3"));
  server.Remove(Path("b"));
  notes.Await("DELETED b=2");
  EXPECT_THAT(notes.all(), ElementsAre("replace a=1", "ADDED b=2", "MODIFIED a=3", "DELETED b=2"));
  EXPECT_EQ(1u, client.stats().at("watch").requests);
  EXPECT_EQ(1u, client.stats().at("list").requests);
}

TEST(KubeWatchTest, ABreakIsResumedFromTheLastVersionWithoutAList) {
  FakeApiServer server;
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps}, notes.callbacks());
  server.Put(Path("b"), Value("2"));
  notes.AwaitState({{"a", "1"}, {"b", "2"}});
  for (int i = 0; i < 5; ++i) {
    if (i % 2 == 0) {
      server.ResetWatches();
    } else {
      server.EndWatches();
    }
    server.Put(Path("a"), Value(absl::StrCat("again", i)));
    notes.AwaitState({{"a", absl::StrCat("again", i)}, {"b", "2"}});
  }
  const std::vector<std::string> all = notes.all();
  EXPECT_LE(std::count(all.begin(), all.end(), "ADDED b=2"), 1) << "what was seen does not come again";
  EXPECT_EQ(1, Count(server, "limit=500"));
  EXPECT_GE(Count(server, "watch=1"), 3);
  EXPECT_EQ(1, notes.replaces());
}

TEST(KubeWatchTest, BookmarksMoveTheVersionOnSoThatQuietWatchesDoNotExpire) {
  FakeApiServer server;
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps}, notes.callbacks());
  notes.Await("replace a=1");
  server.AwaitWatches(1);
  server.Put("/api/v1/namespaces/n/secrets/s", {});
  server.Compact();
  server.SendBookmarks();
  server.EndWatches();
  server.AwaitWatches(2);
  server.Put(Path("a"), Value("2"));
  notes.AwaitState({{"a", "2"}});
  EXPECT_EQ(1, notes.replaces());
}

TEST(KubeWatchTest, AForgottenVersionLeadsToANewListAs410AndAsEvent) {
  FakeApiServer server([&](HttpExchange& exchange) {
    if (!absl::StrContains(exchange.request().target, "resourceVersion=1&")) return false;
    exchange.Begin(200);
    exchange.Write(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}})"
                   "\n");
    exchange.End();
    return true;
  });
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  {
    WatchNotes notes;
    Watch watch(client, {.collection = kMaps, .resume_from = "1"}, notes.callbacks());
    notes.Await("replace a=1");
    EXPECT_THAT(notes.troubles(), ElementsAre(StatusIs(StatusCode::kOutOfRange, HasSubstr("too old"))));
  }
  server.Compact();
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps, .resume_from = "50"}, notes.callbacks());
  notes.Await("replace a=1");
  EXPECT_THAT(notes.troubles(), ElementsAre(StatusIs(StatusCode::kOutOfRange, HasSubstr("too old"))));
}

TEST(KubeWatchTest, TroubleIsToldAndTriedAgain) {
  std::atomic<int> number = 0;
  FakeApiServer server([&](HttpExchange& exchange) {
    switch (number++) {
      case 0:
        exchange.Answer(403, R"({"kind":"Status","reason":"Forbidden","message":"no rights yet"})");
        return true;
      case 2:
        exchange.Answer(500, "<html>");
        return true;
      case 3:
        exchange.Begin(200);
        exchange.Write("{\"type\":\"ADDED\",\n");
        exchange.End();
        return true;
      default:
        return false;
    }
  });
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps}, notes.callbacks());
  notes.Await("replace a=1");
  server.Put(Path("a"), Value("2"));
  notes.Await("MODIFIED a=2");
  EXPECT_THAT(notes.troubles(), ElementsAre(StatusIs(StatusCode::kPermissionDenied, HasSubstr("no rights yet")),
                                            StatusIs(StatusCode::kUnavailable, HasSubstr("watch configmaps in ns/n")),
                                            StatusIs(StatusCode::kUnavailable, HasSubstr("an event is not JSON"))));
}

TEST(KubeWatchTest, AServerThatFallsSilentIsLeft) {
  std::atomic<int> watches = 0;
  FakeApiServer server([&](HttpExchange& exchange) {
    if (exchange.request().query.count("watch") == 0 || watches++ > 0) return false;
    exchange.Begin(200);
    exchange.Wait();
    exchange.Reset();
    return true;
  });
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  Watch watch(client, {.collection = kMaps, .idle = absl::Milliseconds(100)}, notes.callbacks());
  notes.Await("replace a=1");
  server.Put(Path("a"), Value("2"));
  notes.Await("MODIFIED a=2");
  ASSERT_FALSE(notes.troubles().empty());
  EXPECT_THAT(notes.troubles()[0], StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("nothing came within")));
}

TEST(KubeWatchTest, AfterTheDestructorNothingComes) {
  FakeApiServer server;
  ApiClient client(server.endpoint(), Fast());
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) server.Put(Path("a"), Value(absl::StrCat(i)));
  });
  for (int i = 0; i < 50; ++i) {
    std::atomic<bool> gone = false;
    const auto check = [&gone](const auto&...) { EXPECT_FALSE(gone); };
    {
      Watch watch(client, {.collection = kMaps}, {check, check, check});
      if (i % 2 == 0) server.ResetWatches();
    }
    gone = true;
  }
  stop = true;
  writer.join();
}

TEST(KubeWatchTest, ACallbackMayDestroyItsWatch) {
  FakeApiServer server;
  server.Put(Path("a"), Value("1"));
  ApiClient client(server.endpoint(), Fast());
  WatchNotes notes;
  std::unique_ptr<Watch> watch;
  WatchCallbacks callbacks = notes.callbacks();
  callbacks.on_event = [&, tell = callbacks.on_event](WatchEvent event, json object) {
    watch.reset();
    tell(event, std::move(object));
  };
  watch = std::make_unique<Watch>(client, WatchOptions{.collection = kMaps}, std::move(callbacks));
  notes.Await("replace a=1");
  server.Put(Path("a"), Value("2"));
  server.Put(Path("a"), Value("3"));
  notes.Await("MODIFIED a=2");
  EXPECT_EQ(nullptr, watch);
}

// pods/log as a list of lines with times, of which each connection gets those from sinceTime on, whole seconds as real
// ones do; the first connections break in the middle.
class LogServer {
 public:
  explicit LogServer(int breaks)
      : breaks_(breaks), server_([this](HttpExchange& exchange) {
          Serve(exchange);
          return true;
        }) {
    for (int i = 0; i < 40; ++i) {
      // Several lines share a time, and four a second.
      const absl::Time time = absl::FromUnixSeconds(1700000000) + absl::Milliseconds(250) * (i / 2);
      lines_.push_back(absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", time, absl::UTCTimeZone()), " line ", i));
    }
  }
  Endpoint endpoint() const { return server_.endpoint(); }
  int connections() const { return connections_; }

 private:
  void Serve(HttpExchange& exchange) {
    const int number = connections_++;
    HttpRequest request = exchange.request();
    const std::string since = request.query["sinceTime"];
    std::string text;
    for (const std::string& line : lines_) {
      if (line.substr(0, 19) >= since.substr(0, 19)) absl::StrAppend(&text, line, "\n");
    }
    exchange.Begin(200);
    if (number >= breaks_) {
      exchange.Write(text);
      return exchange.End();
    }
    exchange.Write(absl::string_view(text).substr(0, 150 + 37 * static_cast<size_t>(number)));
    // Once the client has read it: a reset may overtake data.
    exchange.Wait(absl::Milliseconds(20));
    exchange.Reset();
  }

  const int breaks_;
  std::vector<std::string> lines_;
  std::atomic<int> connections_ = 0;
  FakeApiServer server_;
};

TEST(KubeLogStreamTest, BreaksLoseNothingAndRepeatNothing) {
  for (const int breaks : {0, 1, 3}) {
    LogServer server(breaks);
    ApiClient client(server.endpoint(), Fast());
    LogNotes notes;
    LogStream stream(client, {.kube_namespace = "n", .pod = "p", .container = "c"}, notes.callbacks());
    EXPECT_OK(notes.AwaitEnd());
    std::vector<std::string> wanted;
    for (int i = 0; i < 40; ++i) wanted.push_back(absl::StrCat("line ", i));
    EXPECT_EQ(wanted, notes.lines()) << breaks << " breaks";
    EXPECT_EQ(breaks, notes.troubles());
    EXPECT_EQ(breaks + 2, server.connections()) << "the end is asked for twice";
  }
}

TEST(KubeLogStreamTest, ALineOfAnySizeComesInPieces) {
  FakeApiServer server([](HttpExchange& exchange) {
    exchange.Answer(200, "2026-01-01T00:00:00.5Z " + std::string(5000, 'x') + "\n2026-01-01T00:00:01Z end\n");
    return true;
  });
  ApiClient client(server.endpoint(), Fast());
  LogNotes notes;
  LogStream stream(client, {.kube_namespace = "n", .pod = "p", .follow = false, .max_line = 1000}, notes.callbacks());
  EXPECT_OK(notes.AwaitEnd());
  EXPECT_EQ(std::string(5000, 'x') + "end", absl::StrJoin(notes.lines(), ""));
}

TEST(KubeLogStreamTest, WhatTheServerRefusesIsTheEnd) {
  FakeApiServer server([](HttpExchange& exchange) {
    exchange.Answer(400, R"({"kind":"Status","message":"container c is waiting to start"})");
    return true;
  });
  ApiClient client(server.endpoint(), Fast());
  LogNotes notes;
  LogStream stream(client, {.kube_namespace = "n", .pod = "p"}, notes.callbacks());
  EXPECT_THAT(notes.AwaitEnd(),
              StatusIs(StatusCode::kInvalidArgument, "read pods/p/log in ns/n: container c is waiting to start"));
}

}  // namespace
}  // namespace mayfly::kube
