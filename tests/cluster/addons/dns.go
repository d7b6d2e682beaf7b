package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// Only the plugins that the cluster's Corefile names: all of them would draw in three clouds' libraries.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func runDNS() {
	// A request passes them in this order, which is CoreDNS' own.
	dnsserver.Directives = []string{"bind", "ready", "errors", "loadbalance", "cache", "template", "kubernetes"}
	coremain.Run()
}
