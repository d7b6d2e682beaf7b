package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networklisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type policyServer struct {
	node       string
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   networklisters.NetworkPolicyLister

	changed chan struct{}
	early   sync.Map   // types.UID -> address, added before mutex is taken: who waits for it shares the next rules.
	mutex   sync.Mutex // Held while rules are replaced.
	applied string
}

func (s *policyServer) note(any) {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// With the mutex held.
func (s *policyServer) apply() error {
	now := state{node: s.node, namespaces: map[string]labels.Set{}, early: map[types.UID]string{}}
	s.early.Range(func(uid, address any) bool {
		now.early[uid.(types.UID)] = address.(string)
		return true
	})
	now.pods, _ = s.pods.List(labels.Everything())
	now.policies, _ = s.policies.List(labels.Everything())
	sort.Slice(now.pods, func(a, b int) bool { return now.pods[a].UID < now.pods[b].UID })
	sort.Slice(now.policies, func(a, b int) bool { return now.policies[a].UID < now.policies[b].UID })
	namespaces, _ := s.namespaces.List(labels.Everything())
	for _, namespace := range namespaces {
		now.namespaces[namespace.Name] = namespace.Labels
	}
	rules := now.ruleset()
	if rules == s.applied {
		return nil
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if said, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, said)
	}
	s.applied = rules
	return nil
}

func (s *policyServer) run() {
	for range s.changed {
		s.mutex.Lock()
		err := s.apply()
		s.mutex.Unlock()
		if err != nil {
			log.Print(err)
			time.AfterFunc(time.Second, func() { s.note(nil) })
		}
	}
}

// What cni.c passes on: one pod's network has been made, or is to be taken away.
type call struct {
	Command, Arguments string
	Configuration      struct {
		CNIVersion string          `json:"cniVersion"`
		PrevResult json.RawMessage `json:"prevResult"`
	}
}

func (s *policyServer) answer(from io.Reader) (string, error) {
	var got call
	if err := json.NewDecoder(from).Decode(&got); err != nil {
		return "", err
	}
	if got.Command == "VERSION" {
		return `{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}`, nil
	}
	arguments := map[string]string{}
	for _, word := range strings.Split(got.Arguments, ";") {
		name, value, _ := strings.Cut(word, "=")
		arguments[name] = value
	}
	uid := types.UID(arguments["K8S_POD_UID"])
	if got.Command != "ADD" {
		s.early.Delete(uid)
		return "", nil
	}
	var made struct{ IPs []struct{ Address string } }
	if err := json.Unmarshal(got.Configuration.PrevResult, &made); err != nil || len(made.IPs) == 0 {
		return "", fmt.Errorf("no address in %s", got.Configuration.PrevResult)
	}
	address, _, _ := strings.Cut(made.IPs[0].Address, "/")
	// The kubelet's watch may have been a little faster than this one.
	for range 100 {
		if pod, err := s.pods.Pods(arguments["K8S_POD_NAMESPACE"]).Get(arguments["K8S_POD_NAME"]); err == nil && pod.UID == uid {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.early.Store(uid, address)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return string(got.Configuration.PrevResult), s.apply()
}

func (s *policyServer) serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			said, err := s.answer(connection)
			if err != nil {
				log.Print(err)
				text, _ := json.Marshal(map[string]any{"cniVersion": "0.4.0", "code": 100, "msg": err.Error()})
				said = "!" + string(text)
			}
			io.WriteString(connection, said)
		}()
	}
}

func runPolicy() {
	kubeconfig := flag.String("kubeconfig", "", "")
	node := flag.String("node", "", "whose pods are guarded")
	socket := flag.String("socket", "", "where cni.c calls")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	s := &policyServer{node: *node, changed: make(chan struct{}, 1),
		pods: factory.Core().V1().Pods().Lister(), namespaces: factory.Core().V1().Namespaces().Lister(),
		policies: factory.Networking().V1().NetworkPolicies().Lister()}
	for _, informer := range []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer(),
		factory.Core().V1().Namespaces().Informer(), factory.Networking().V1().NetworkPolicies().Informer()} {
		informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: s.note, UpdateFunc: func(_, now any) { s.note(now) }, DeleteFunc: s.note})
	}
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	s.note(nil)
	os.Remove(*socket)
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	go s.serve(listener)
	s.run()
}
