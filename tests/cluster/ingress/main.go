// An ingress controller for tests: Traefik decides what an Ingress means, as it does for users; only the forwarding is
// ours, because all of Traefik takes longer to build than the rest of the cluster together.
package main

import (
	"context"
	"flag"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/middlewares/requestdecorator"
	muxer "github.com/traefik/traefik/v3/pkg/muxer/http"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/ingress"
	"github.com/traefik/traefik/v3/pkg/safe"
)

func forwarder(service *dynamic.Service) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(request *httputil.ProxyRequest) {
		servers := service.LoadBalancer.Servers
		to, err := url.Parse(servers[rand.IntN(len(servers))].URL)
		if err != nil {
			log.Print(err)
			return
		}
		request.SetURL(to)
		request.SetXForwarded()
		request.Out.Host = request.In.Host
	}}
}

func routes(parser muxer.SyntaxParser, wanted *dynamic.HTTPConfiguration) http.Handler {
	made := muxer.NewMuxer(parser)
	for name, router := range wanted.Routers {
		service := wanted.Services[router.Service]
		handler := http.Handler(http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) {
			http.Error(to, "no available server", http.StatusServiceUnavailable)
		}))
		if service != nil && service.LoadBalancer != nil && len(service.LoadBalancer.Servers) > 0 {
			handler = forwarder(service)
		}
		priority := router.Priority
		if priority == 0 {
			priority = muxer.GetRulePriority(router.Rule)
		}
		if err := made.AddRoute(router.Rule, router.RuleSyntax, priority, handler); err != nil {
			log.Printf("%s: %v", name, err)
		}
	}
	return made
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "")
	address := flag.String("address", "", "where to listen, with a port")
	ip := flag.String("ip", "", "what stands in the status of each Ingress")
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.WarnLevel)
	os.Setenv("KUBECONFIG", *kubeconfig) // The provider looks nowhere else.
	parser, err := muxer.NewSyntaxParser()
	if err != nil {
		log.Fatal(err)
	}
	var current atomic.Value
	current.Store(http.NotFoundHandler)
	provider := ingress.Provider{IngressEndpoint: &ingress.EndpointIngress{IP: *ip}, AllowEmptyServices: true,
		StrictPrefixMatching: true}
	changes := make(chan dynamic.Message)
	if err := provider.Provide(changes, safe.NewPool(context.Background())); err != nil {
		log.Fatal(err)
	}
	go func() {
		for change := range changes {
			handler := routes(parser, change.Configuration.HTTP)
			current.Store(func() http.Handler { return handler })
		}
	}()
	named := requestdecorator.New(nil) // Finds out the host that the rules ask for.
	log.Fatal(http.ListenAndServe(*address, http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		named.ServeHTTP(to, request, current.Load().(func() http.Handler)().ServeHTTP)
	})))
}
