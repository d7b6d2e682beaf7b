package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What the rules follow from.
type state struct {
	node       string
	pods       []*core.Pod
	namespaces map[string]labels.Set
	policies   []*networking.NetworkPolicy
	// Addresses of pods whose status does not tell yet: the network plugin knows first.
	early map[types.UID]string
}

func (s *state) address(pod *core.Pod) string {
	if pod.Spec.HostNetwork || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
		return ""
	}
	if pod.Status.PodIP != "" {
		return pod.Status.PodIP
	}
	return s.early[pod.UID]
}

func matches(selector *meta.LabelSelector, set labels.Set) bool {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set) // The API server lets no wrong one pass.
}

func (s *state) peerPods(policy *networking.NetworkPolicy, peer networking.NetworkPolicyPeer) []*core.Pod {
	var found []*core.Pod
	for _, pod := range s.pods {
		inside := pod.Namespace == policy.Namespace
		if peer.NamespaceSelector != nil {
			inside = matches(peer.NamespaceSelector, s.namespaces[pod.Namespace])
		}
		if inside && s.address(pod) != "" && (peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)) {
			found = append(found, pod)
		}
	}
	return found
}

// One match for each kind of port, as seen by the pod that is connected to; a name that it has not opens nothing.
func portMatches(ports []networking.NetworkPolicyPort, pod *core.Pod) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var found []string
	for _, port := range ports {
		protocol := core.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		name := strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			found = append(found, "meta l4proto "+name)
		case port.Port.Type == intstr.Int && port.EndPort != nil:
			found = append(found, fmt.Sprintf("%s dport %d-%d", name, port.Port.IntVal, *port.EndPort))
		case port.Port.Type == intstr.Int:
			found = append(found, fmt.Sprintf("%s dport %d", name, port.Port.IntVal))
		case pod != nil:
			for _, container := range pod.Spec.Containers {
				for _, has := range container.Ports {
					if has.Name == port.Port.StrVal && (has.Protocol == protocol || has.Protocol == "") {
						found = append(found, fmt.Sprintf("%s dport %d", name, has.ContainerPort))
					}
				}
			}
		}
	}
	return found
}

// The matches of one rule of a policy. `side` is where the peer stands: saddr or daddr.
func (r *rules) rule(policy *networking.NetworkPolicy, target *core.Pod, side string, peers []networking.NetworkPolicyPeer,
	ports []networking.NetworkPolicyPort) []string {
	var found []string
	add := func(prefix string, matches []string) {
		for _, match := range matches {
			found = append(found, strings.TrimSpace(prefix+" "+match))
		}
	}
	if side == "daddr" {
		target = nil // It is the peer that is connected to.
	}
	if len(peers) == 0 {
		add("", portMatches(ports, target))
	}
	for _, peer := range peers {
		if block := peer.IPBlock; block != nil {
			if strings.Contains(block.CIDR, ":") {
				continue // There is no IPv6 here.
			}
			prefix := fmt.Sprintf("ip %s %s", side, block.CIDR)
			for _, except := range block.Except {
				prefix += fmt.Sprintf(" ip %s != %s", side, except)
			}
			add(prefix, portMatches(ports, target))
			continue
		}
		byPorts := map[string][]string{}
		for _, pod := range r.peerPods(policy, peer) {
			connected := target
			if side == "daddr" {
				connected = pod
			}
			key := strings.Join(portMatches(ports, connected), "|")
			byPorts[key] = append(byPorts[key], r.address(pod))
		}
		keys := slices.Sorted(maps.Keys(byPorts))
		for _, key := range keys {
			set := r.name("set", "type ipv4_addr; elements = { "+strings.Join(byPorts[key], ", ")+" }")
			add(fmt.Sprintf("ip %s @%s", side, set), strings.Split(key, "|"))
		}
	}
	return found
}

func isolates(policy *networking.NetworkPolicy, direction networking.PolicyType) bool {
	for _, kind := range policy.Spec.PolicyTypes {
		if kind == direction {
			return true
		}
	}
	return false
}

// The pod's matches in one direction, and whether any policy isolates it there.
func (r *rules) pod(pod *core.Pod, direction networking.PolicyType) (found []string, isolated bool) {
	for _, policy := range r.policies {
		if policy.Namespace != pod.Namespace || !isolates(policy, direction) ||
			!matches(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networking.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				found = append(found, r.rule(policy, pod, "saddr", rule.From, rule.Ports)...)
			}
		} else {
			for _, rule := range policy.Spec.Egress {
				found = append(found, r.rule(policy, pod, "daddr", rule.To, rule.Ports)...)
			}
		}
	}
	return found, isolated
}

// Sets and chains by what is in them: most pods of an environment share theirs, and a small table loads fast.
type rules struct {
	*state
	text  strings.Builder
	names map[string]string
}

func (r *rules) name(kind, body string) string {
	key := kind + " " + body
	if r.names[key] == "" {
		r.names[key] = fmt.Sprintf("%s-%d", kind, len(r.names))
		fmt.Fprintf(&r.text, "%s %s {\n%s\n}\n", kind, r.names[key], body)
	}
	return r.names[key]
}

func vmap(field string, entries []string) string {
	if len(entries) == 0 {
		return ""
	}
	return fmt.Sprintf(" ip %s vmap { %s }\n", field, strings.Join(entries, ", "))
}

// A whole table for nft. What the node itself sends to its pods passes, as in other clusters: the kubelet probes.
func (s *state) ruleset() string {
	r := rules{state: s, names: map[string]string{}}
	var received, sent, itself []string
	seen := map[string]bool{}
	for _, pod := range s.pods {
		address := s.address(pod)
		if pod.Spec.NodeName != s.node || address == "" || seen[address] {
			continue
		}
		seen[address] = true
		// Through a Service; nobody may be kept from that.
		itself = append(itself, address+" . "+address)
		if found, isolated := r.pod(pod, networking.PolicyTypeIngress); isolated {
			chain := r.name("chain", strings.Join(append(found, ""), " accept\n")+" counter drop")
			received = append(received, address+" : jump "+chain)
		}
		if found, isolated := r.pod(pod, networking.PolicyTypeEgress); isolated {
			chain := r.name("chain", strings.Join(append(found, ""), " goto received\n")+" counter drop")
			sent = append(sent, address+" : jump "+chain)
		}
	}
	known := " ct state established,related accept\n"
	if len(itself) > 0 {
		known += " ip saddr . ip daddr { " + strings.Join(itself, ", ") + " } accept\n"
	}
	// `received` is named before it is there: nft takes a table as a whole.
	return "table ip mayfly-policy\ndelete table ip mayfly-policy\ntable ip mayfly-policy {\n" + r.text.String() +
		"chain received {\n" + vmap("daddr", received) + " accept\n}\n" +
		"chain forward {\n type filter hook forward priority -10;\n" + known + vmap("saddr", sent) + " goto received\n}\n" +
		"chain input {\n type filter hook input priority -10;\n" + known + vmap("saddr", sent) + "}\n}\n"
}
