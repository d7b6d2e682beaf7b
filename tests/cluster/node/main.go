// The programs of a Kubernetes node in one: the first argument says which. One file instead of seven links and loads
// what they share once.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: node etcd|apiserver|controllers|scheduler|kubelet|proxy|kubectl ARGUMENTS...")
		os.Exit(2)
	}
	program := os.Args[1]
	// What follows sees itself as called by its own name.
	os.Args = os.Args[1:]
	programs := map[string]func() *cobra.Command{
		"apiserver":   apiserver.NewAPIServerCommand,
		"controllers": controllers.NewControllerManagerCommand,
		"scheduler":   func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kubelet":     func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
		"proxy":       proxy.NewProxyCommand,
		"kubectl":     cmd.NewDefaultKubectlCommand,
	}
	if program == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := programs[program]
	if !known {
		fmt.Fprintf(os.Stderr, "node: no program %q in it\n", program)
		os.Exit(2)
	}
	os.Exit(cli.Run(command()))
}
