#include "server/engine/local/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/netlink.h"
#include "server/engine/parts/sock_diag.h"

namespace mayfly::local {
namespace {

constexpr uint32_t kNet = (10u << 24) | (77u << 16);
constexpr int kPrefix = 16;
constexpr int kLoopbackIndex = 1;
constexpr int kEthIndex = 2;     // The only other link of a slot: veth "eth0".
constexpr int kBridgeIndex = 2;  // The hub's "hub0".
constexpr int kFirstPortIndex = 10;
// The subnet; local and broadcast ones of both addresses.
constexpr int kSlotRoutes = 6;
constexpr uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;

// Without an IPv6 link-local address there is no duplicate detection to wait for and no multicast noise. A request of
// its own, for a link that exists and is down. Not by sysctl: a write there spins for as long as anybody on the machine
// holds the kernel's lock of all links.
void NoIpv6Address(NetlinkBatch& batch, int index) {
  static const bool has_ipv6 = access("/proc/sys/net/ipv6/conf", F_OK) == 0;
  if (!has_ipv6) return;
  ifinfomsg link{};
  link.ifi_index = index;
  batch.Begin(RTM_SETLINK, 0, link);
  const size_t spec = batch.BeginNest(IFLA_AF_SPEC);
  const size_t inet6 = batch.BeginNest(AF_INET6);
  const char none = IN6_ADDR_GEN_MODE_NONE;
  batch.Attr(IFLA_INET6_ADDR_GEN_MODE, absl::string_view(&none, 1));
  batch.EndNest(inet6);
  batch.EndNest(spec);
}

void SetUp(NetlinkBatch& batch, int index) {
  ifinfomsg link{};
  link.ifi_index = index;
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  batch.Begin(RTM_NEWLINK, 0, link);
}

void AddAddress(NetlinkBatch& batch, int index, uint32_t address, int prefix) {
  ifaddrmsg message{};
  message.ifa_family = AF_INET;
  message.ifa_prefixlen = static_cast<uint8_t>(prefix);
  message.ifa_index = static_cast<uint32_t>(index);
  batch.Begin(RTM_NEWADDR, kCreate, message);
  batch.AttrU32(IFA_LOCAL, address);
  batch.AttrU32(IFA_ADDRESS, address);
}

absl::StatusOr<UniqueFd> CurrentNetwork() {
  UniqueFd fd(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "/proc/self/ns/net");
  return fd;
}

absl::Status TuneCurrentNetwork() {
  // TIME_WAIT would keep a used network unclean for a minute. It protects from stray segments of a slow network, which
  // does not exist here.
  return WriteKernelFile(AT_FDCWD, "/proc/sys/net/ipv4/tcp_max_tw_buckets", "0");
}

absl::Status MakeHub(NetlinkSocket& route) {
  NetlinkBatch batch;
  ifinfomsg bridge{};
  bridge.ifi_index = kBridgeIndex;
  batch.Begin(RTM_NEWLINK, kCreate, bridge);
  batch.AttrString(IFLA_IFNAME, "hub0");
  const size_t info = batch.BeginNest(IFLA_LINKINFO);
  batch.AttrString(IFLA_INFO_KIND, "bridge");
  batch.EndNest(info);
  NoIpv6Address(batch, kBridgeIndex);
  AddAddress(batch, kBridgeIndex, HubAddress(), kPrefix);
  SetUp(batch, kLoopbackIndex);
  return route.Execute(std::move(batch));
}

// A pair whose near end is the bridge's port and whose far end is the slot's eth0.
void AddPair(NetlinkBatch& batch, int slot, int slot_fd) {
  ifinfomsg near_end{};
  near_end.ifi_index = kFirstPortIndex + slot;
  batch.Begin(RTM_NEWLINK, kCreate, near_end);
  batch.AttrString(IFLA_IFNAME, absl::StrCat("s", slot));
  batch.AttrU32(IFLA_MASTER, kBridgeIndex);
  const size_t info = batch.BeginNest(IFLA_LINKINFO);
  batch.AttrString(IFLA_INFO_KIND, "veth");
  const size_t data = batch.BeginNest(IFLA_INFO_DATA);
  ifinfomsg far_end{};
  far_end.ifi_index = kEthIndex;
  const size_t peer = batch.BeginNest(VETH_INFO_PEER);
  // The peer's ifinfomsg stands bare in front of its attributes.
  batch.Raw(absl::string_view(reinterpret_cast<const char*>(&far_end), sizeof(far_end)));
  batch.AttrString(IFLA_IFNAME, "eth0");
  batch.AttrU32(IFLA_NET_NS_FD, static_cast<uint32_t>(slot_fd));
  batch.EndNest(peer);
  batch.EndNest(data);
  batch.EndNest(info);
  NoIpv6Address(batch, near_end.ifi_index);
  SetUp(batch, near_end.ifi_index);
}

// Reads a dump of links: the operational state of each veth end tells whether frames pass.
absl::StatusOr<bool> VethsUp(NetlinkSocket& route, bool hub) {
  NetlinkBatch request;
  request.Begin(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  bool up = true;
  MAYFLY_RETURN_IF_ERROR(route.Dump(std::move(request), [&up, hub](uint16_t type, absl::string_view body) {
    if (type != RTM_NEWLINK || body.size() < sizeof(ifinfomsg)) return;
    ifinfomsg link;
    std::memcpy(&link, body.data(), sizeof(link));
    if (link.ifi_index == kLoopbackIndex || (hub && link.ifi_index == kBridgeIndex)) return;
    int left = static_cast<int>(body.size() - NLMSG_ALIGN(sizeof(link)));
    const char* attrs = body.data() + NLMSG_ALIGN(sizeof(link));
    for (const rtattr* a = reinterpret_cast<const rtattr*>(attrs); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
      constexpr char kOperUp = 6;
      if (a->rta_type == IFLA_OPERSTATE && *static_cast<const char*>(RTA_DATA(a)) != kOperUp) up = false;
    }
  }));
  return up;
}

// In the calling process's network.
absl::Status AwaitVeths(bool hub) {
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket route, NetlinkSocket::Open(NETLINK_ROUTE));
  MAYFLY_ASSIGN_OR_RETURN(bool up, VethsUp(route, hub));
  if (up) return absl::OkStatus();
  // Opened before the next look, so that no change is missed.
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket events, NetlinkSocket::Open(NETLINK_ROUTE, RTMGRP_LINK));
  for (;;) {
    MAYFLY_ASSIGN_OR_RETURN(up, VethsUp(route, hub));
    if (up) return absl::OkStatus();
    MAYFLY_RETURN_IF_ERROR(events.Receive([](uint16_t, absl::string_view) {}));
  }
}

absl::Status Enter(const UniqueFd& network) {
  return setns(network.get(), CLONE_NEWNET) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "setns");
}

}  // namespace

absl::Status AddHubAddress(uint32_t address) {
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket route, NetlinkSocket::Open(NETLINK_ROUTE));
  NetlinkBatch batch;
  AddAddress(batch, kBridgeIndex, address, 32);
  return route.Execute(std::move(batch));
}

absl::Status AddSlotRoute(uint32_t address) {
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket route, NetlinkSocket::Open(NETLINK_ROUTE));
  rtmsg message{};
  message.rtm_family = AF_INET;
  message.rtm_dst_len = 32;
  message.rtm_table = RT_TABLE_MAIN;
  message.rtm_protocol = RTPROT_STATIC;
  message.rtm_scope = RT_SCOPE_LINK;
  message.rtm_type = RTN_UNICAST;
  NetlinkBatch batch;
  batch.Begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, message);
  batch.AttrU32(RTA_DST, address);
  batch.AttrU32(RTA_OIF, kEthIndex);
  return route.Execute(std::move(batch));
}

uint32_t HubAddress() {
  return htonl(kNet + 1);
}
uint32_t SlotAddress(int slot) {
  return htonl(kNet + 256 * (1 + slot / 250) + 1 + slot % 250);
}
uint32_t EgressAddress(int index) {
  return htonl(kNet + 256 * 200 + 1 + static_cast<uint32_t>(index));
}

std::string FormatAddress(uint32_t address) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &address, text, sizeof(text));
}

namespace {

// Joined to the hub that `hub` speaks to. Afterwards the caller is in the last of them.
absl::StatusOr<std::vector<UniqueFd>> MakeSlots(NetlinkSocket& hub, int first, int count) {
  std::vector<UniqueFd> slots;
  std::vector<NetlinkSocket> routes;
  for (int i = 0; i < count; ++i) {
    if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "unshare of a network");
    MAYFLY_RETURN_IF_ERROR(TuneCurrentNetwork());
    MAYFLY_ASSIGN_OR_RETURN(UniqueFd fd, CurrentNetwork());
    MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket route, NetlinkSocket::Open(NETLINK_ROUTE));
    slots.push_back(std::move(fd));
    routes.push_back(std::move(route));
  }
  NetlinkBatch pairs;
  for (int i = 0; i < count; ++i) AddPair(pairs, first + i, slots[i].get());
  MAYFLY_RETURN_IF_ERROR(Annotate(hub.Execute(std::move(pairs)), "veth pairs"));
  for (int i = 0; i < count; ++i) {
    NetlinkBatch batch;
    SetUp(batch, kLoopbackIndex);
    NoIpv6Address(batch, kEthIndex);
    AddAddress(batch, kEthIndex, SlotAddress(first + i), kPrefix);
    SetUp(batch, kEthIndex);
    MAYFLY_RETURN_IF_ERROR(Annotate(routes[i].Execute(std::move(batch)), absl::StrCat("slot ", first + i)));
  }
  for (const UniqueFd& slot : slots) {
    MAYFLY_RETURN_IF_ERROR(Enter(slot));
    MAYFLY_RETURN_IF_ERROR(AwaitVeths(/*hub=*/false));
  }
  return slots;
}

}  // namespace

absl::StatusOr<std::vector<UniqueFd>> MakeMoreNetworks(int first, int count) {
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket hub, NetlinkSocket::Open(NETLINK_ROUTE));
  for (int i = 0; i < count; ++i) {
    // Of the scope before, whose networks the kernel may still be letting go of.
    ifinfomsg stale{};
    stale.ifi_index = kFirstPortIndex + first + i;
    NetlinkBatch batch;
    batch.Begin(RTM_DELLINK, 0, stale);
    hub.Execute(std::move(batch)).IgnoreError();
  }
  return MakeSlots(hub, first, count);
}

absl::StatusOr<Networks> MakeNetworks(int slots) {
  Networks networks;
  networks.user = UniqueFd(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
  if (!networks.user.valid()) return ErrnoStatus(errno, "/proc/self/ns/user");
  MAYFLY_ASSIGN_OR_RETURN(networks.hub, CurrentNetwork());
  MAYFLY_RETURN_IF_ERROR(TuneCurrentNetwork());
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket hub, NetlinkSocket::Open(NETLINK_ROUTE));
  MAYFLY_RETURN_IF_ERROR(Annotate(MakeHub(hub), "bridge"));
  MAYFLY_ASSIGN_OR_RETURN(networks.slots, MakeSlots(hub, 0, slots));
  MAYFLY_RETURN_IF_ERROR(Enter(networks.hub));
  MAYFLY_RETURN_IF_ERROR(AwaitVeths(/*hub=*/true));
  // Last: a bridge that is set up before its ports work gets its carrier from a timer of the kernel, up to a second
  // late.
  NetlinkBatch bridge_up;
  SetUp(bridge_up, kBridgeIndex);
  MAYFLY_RETURN_IF_ERROR(hub.Execute(std::move(bridge_up)));
  return networks;
}

namespace {

// The kernel counts the sockets of each network, whatever their kind: two numbers instead of a walk through the hash
// table of the whole machine for every kind, which takes a millisecond each.
absl::StatusOr<bool> HasSockets() {
  MAYFLY_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(AT_FDCWD, "/proc/self/net/sockstat"));
  int used = -1, in_use = -1, orphans = -1, time_wait = -1;
  if (std::sscanf(text.c_str(), "sockets: used %d\nTCP: inuse %d orphan %d tw %d", &used, &in_use, &orphans,
                  &time_wait) != 4) {
    return true;
  }
  return used != 0 || in_use != 0 || time_wait != 0;
}

absl::StatusOr<int> CountDump(NetlinkSocket& route, uint16_t type, int family) {
  NetlinkBatch batch;
  rtgenmsg message{};
  message.rtgen_family = static_cast<uint8_t>(family);
  batch.Begin(type, NLM_F_DUMP, message);
  int count = 0;
  MAYFLY_RETURN_IF_ERROR(route.Dump(std::move(batch), [&count](uint16_t, absl::string_view) { ++count; }));
  return count;
}

}  // namespace

absl::Status ProveClean(bool hub) {
  MAYFLY_ASSIGN_OR_RETURN(bool sockets, HasSockets());
  if (sockets) {
    MAYFLY_ASSIGN_OR_RETURN(SockDiag diag, SockDiag::Open());
    MAYFLY_ASSIGN_OR_RETURN(const SocketList left, diag.Clean());
    if (!left.sockets.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(left.sockets.size(), " sockets are left, first ", left.sockets[0].ToString()));
    }
  }
  MAYFLY_ASSIGN_OR_RETURN(NetlinkSocket route, NetlinkSocket::Open(NETLINK_ROUTE));
  if (hub) {
    // Its links follow from the slots'. More addresses than lo's and its own were a way out for somebody.
    MAYFLY_ASSIGN_OR_RETURN(const int own, CountDump(route, RTM_GETADDR, AF_INET));
    return own == 2 ? absl::OkStatus() : absl::FailedPreconditionError(absl::StrCat("has ", own, " addresses, not 2"));
  }
  MAYFLY_ASSIGN_OR_RETURN(const int routes, CountDump(route, RTM_GETROUTE, AF_INET));
  MAYFLY_ASSIGN_OR_RETURN(const int links, CountDump(route, RTM_GETLINK, AF_UNSPEC));
  MAYFLY_ASSIGN_OR_RETURN(const int addresses, CountDump(route, RTM_GETADDR, AF_INET));
  if (links != 2 || addresses != 2 || routes != kSlotRoutes) {
    return absl::FailedPreconditionError(absl::StrCat("has ", links, " links, ", addresses, " addresses and ", routes,
                                                      " routes, not 2, 2 and ", kSlotRoutes));
  }
  return absl::OkStatus();
}

}  // namespace mayfly::local
