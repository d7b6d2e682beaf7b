// What a cluster has beside Kubernetes itself, in one program: the first argument says which.
package main

import (
	"fmt"
	"os"
)

func main() {
	programs := map[string]func(){"dns": runDNS, "policy": runPolicy, "volumes": runVolumes}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: addons dns|policy|volumes ARGUMENTS...")
		os.Exit(2)
	}
	run := programs[os.Args[1]]
	// What follows sees itself as called by its own name.
	os.Args = os.Args[1:]
	run()
}
