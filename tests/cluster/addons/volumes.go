package main

import (
	"context"
	"flag"
	"log"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Folders as volumes. All may write to them, because a local volume has no owner to give it to.
type volumes struct{ folder, node string }

func (v volumes) Provision(_ context.Context, wish controller.ProvisionOptions) (*core.PersistentVolume,
	controller.ProvisioningState, error) {
	path := filepath.Join(v.folder, wish.PVName)
	if err := os.Mkdir(path, 0o777); err != nil && !os.IsExist(err) {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: wish.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *wish.StorageClass.ReclaimPolicy,
			AccessModes:                   wish.PVC.Spec.AccessModes,
			Capacity:                      wish.PVC.Spec.Resources.Requests,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{v.node}}}}}}},
		},
	}, controller.ProvisioningFinished, nil
}

func (v volumes) Delete(_ context.Context, volume *core.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(v.folder, volume.Name))
}

func runVolumes() {
	kubeconfig := flag.String("kubeconfig", "", "")
	node := flag.String("node", "", "where the folders are")
	folder := flag.String("folder", "", "that holds one for each volume")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err == nil {
		err = os.MkdirAll(*folder, 0o755)
	}
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	controller.NewProvisionController(ctx, kubernetes.NewForConfigOrDie(config), "mayfly.test/folders",
		volumes{*folder, *node}, controller.LeaderElection(false)).Run(ctx)
}
