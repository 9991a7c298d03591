// SPDX-License-Identifier: GPL-3.0-or-later

// gpu-feature-discovery stands in for NVIDIA's gpu-feature-discovery 0.18.2: it writes the same NodeFeature object with the
// same labels, of a card that it makes up. How the card is shared comes from the file CONFIG_FILE in NVIDIA's own format;
// nothing in its pod tells how many cards there are, and it always says `count`. It has no MIG, vGPU or output file.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

const (
	model    = "NVIDIA A40"
	count    = 2
	interval = time.Minute
)

// card is what is made up of it, as labels with their prefix nvidia.com/.
var card = map[string]string{
	"cuda.driver.major": "580", "cuda.driver.minor": "95", "cuda.driver.rev": "05",
	"cuda.driver-version.major": "580", "cuda.driver-version.minor": "95", "cuda.driver-version.revision": "05",
	"cuda.driver-version.full": "580.95.05",
	"cuda.runtime.major":       "13", "cuda.runtime.minor": "0",
	"cuda.runtime-version.major": "13", "cuda.runtime-version.minor": "0", "cuda.runtime-version.full": "13.0",
	"gpu.compute.major": "8", "gpu.compute.minor": "6", "gpu.family": "ampere", "gpu.memory": "46068", "gpu.mode": "compute",
	"gpu.count": strconv.Itoa(count), "mig.capable": "false", "vgpu.present": "false",
}

type shared struct {
	Resources []struct {
		Name, Rename string
		Replicas     int
	}
}

// config holds the parts of NVIDIA's configuration that this stand-in obeys.
type config struct {
	Sharing struct{ TimeSlicing, MPS *shared }
}

// labels are the card's, with those of how it is shared.
func (c config) labels() map[string]any {
	product, replicas, strategy := sanitise(model), 1, "none"
	for name, way := range map[string]*shared{"time-slicing": c.Sharing.TimeSlicing, "mps": c.Sharing.MPS} {
		if way == nil {
			continue
		}
		for _, r := range way.Resources {
			if r.Name == "nvidia.com/gpu" && r.Replicas > 1 {
				replicas, strategy = r.Replicas, name
				if r.Rename == "" {
					product += "-SHARED"
				}
			}
		}
	}
	machine, err := os.ReadFile("/sys/class/dmi/id/product_name")
	if err != nil {
		machine = []byte("unknown")
	}
	all := map[string]any{
		"nvidia.com/gfd.timestamp": strconv.FormatInt(time.Now().Unix(), 10), "nvidia.com/gpu.product": product,
		"nvidia.com/gpu.replicas": strconv.Itoa(replicas), "nvidia.com/gpu.sharing-strategy": strategy,
		"nvidia.com/mps.capable": strconv.FormatBool(c.Sharing.MPS != nil), "nvidia.com/gpu.machine": sanitise(string(machine)),
	}
	for name, value := range card {
		all["nvidia.com/"+name] = value
	}
	return all
}

func sanitise(text string) string {
	return strings.Join(strings.Fields(regexp.MustCompile("[^A-Za-z0-9-_. ]").ReplaceAllString(text, "")), "-")
}

func read(path string) (c config, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// write makes the node's NodeFeature object, or brings it up to date.
func write(objects dynamic.ResourceInterface, node string, labels map[string]any) error {
	name := "nvidia-features-for-" + node
	found, err := objects.Get(context.Background(), name, meta.GetOptions{})
	if err != nil && !errors.IsNotFound(err) {
		return err
	}
	wanted := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "nfd.k8s-sigs.io/v1alpha1", "kind": "NodeFeature",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"nfd.node.kubernetes.io/node-name": node}},
		"spec": map[string]any{"labels": labels, "features": map[string]any{
			"flags": map[string]any{}, "attributes": map[string]any{}, "instances": map[string]any{}}},
	}}
	if err != nil {
		_, err = objects.Create(context.Background(), wanted, meta.CreateOptions{})
		return err
	}
	wanted.SetResourceVersion(found.GetResourceVersion())
	_, err = objects.Update(context.Background(), wanted, meta.UpdateOptions{})
	return err
}

func main() {
	log.SetFlags(0)
	node, namespace := os.Getenv("NODE_NAME"), os.Getenv("NAMESPACE")
	if api, _ := strconv.ParseBool(os.Getenv("GFD_USE_NODE_FEATURE_API")); !api || node == "" || namespace == "" || len(os.Args) > 1 {
		log.Fatal("this stand-in takes no arguments, and needs GFD_USE_NODE_FEATURE_API, NODE_NAME and NAMESPACE")
	}
	for _, line := range os.Environ() {
		if strings.HasPrefix(line, "GFD_") && !strings.HasPrefix(line, "GFD_USE_NODE_FEATURE_API=") {
			log.Fatalf("this stand-in knows no such setting: %s", line)
		}
	}
	cluster, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	kind := schema.GroupVersionResource{Group: "nfd.k8s-sigs.io", Version: "v1alpha1", Resource: "nodefeatures"}
	objects := dynamic.NewForConfigOrDie(cluster).Resource(kind).Namespace(namespace)
	for ; ; time.Sleep(interval) {
		c, err := read(os.Getenv("CONFIG_FILE"))
		if err != nil {
			log.Fatal(err)
		}
		if err := write(objects, node, c.labels()); err != nil {
			log.Fatal(err)
		}
		log.Print("labels written")
	}
}
