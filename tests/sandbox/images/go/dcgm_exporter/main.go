// SPDX-License-Identifier: GPL-3.0-or-later

// dcgm_exporter stands in for NVIDIA's dcgm-exporter 4.5.3-4.8.2: the same flags, file of fields, names, labels and text,
// with made-up values (gpu.go). Real are the GPUs and the pods that hold them, from the kubelet's pod-resources API.
// As the real one does:
//   - With KUBERNETES_VIRTUAL_GPUS each slot that a pod holds has a copy of its GPU's series, with the GPU's value and the
//     label vgpu; only a GPU that nobody holds keeps the series of its own. GPU_UTIL and FB_USED are different: the GPU's
//     series is there always, and a pod's copies tell of the pod's own processes: 0 where they cannot be
//     told apart, for want of hostPID or of the right to list pods.
//   - Without it, the last pod with a slot is named on the GPU's series.
//   - Profiling fields (DCGM_FI_PROF_*) need the capability SYS_ADMIN, and are left out without it.
//
// POST /sandbox/faults {"DCGM_FI_DEV_XID_ERRORS": 79} sets that field on all GPUs, {"status": 503} is what /metrics answers
// then; DELETE ends it. There is no MIG, NVLink or NVSwitch, no pod label, no TLS.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Flags by the environment variables that set them, too.
var variables = map[string]string{
	"DCGM_EXPORTER_COLLECTORS":                "collectors",
	"DCGM_EXPORTER_LISTEN":                    "address",
	"DCGM_EXPORTER_INTERVAL":                  "collect-interval",
	"DCGM_EXPORTER_KUBERNETES":                "kubernetes",
	"DCGM_EXPORTER_KUBERNETES_ENABLE_POD_UID": "kubernetes-enable-pod-uid",
	"DCGM_EXPORTER_NO_HOSTNAME":               "no-hostname",
	"DCGM_EXPORTER_XID_COUNT_WINDOW_SIZE":     "xid-count-window-size",
	"DCGM_POD_RESOURCES_KUBELET_SOCKET":       "pod-resources-kubelet-socket",
	"KUBERNETES_VIRTUAL_GPUS":                 "kubernetes-virtual-gpus",
}

var settings struct {
	file, address, socket               string
	interval, window                    int // ms
	kubernetes, podUID, virtual, noHost bool
}

func parse() error {
	s := &settings
	for _, name := range []string{"f", "collectors"} {
		flag.StringVar(&s.file, name, "/etc/dcgm-exporter/default-counters.csv", "file with the fields to collect")
	}
	for _, name := range []string{"a", "address"} {
		flag.StringVar(&s.address, name, ":9400", "listen address")
	}
	for _, name := range []string{"c", "collect-interval"} {
		flag.IntVar(&s.interval, name, 30000, "milliseconds between two values")
	}
	for _, name := range []string{"k", "kubernetes"} {
		flag.BoolVar(&s.kubernetes, name, false, "name pods")
	}
	for _, name := range []string{"n", "no-hostname"} {
		flag.BoolVar(&s.noHost, name, false, "leave the host's name out")
	}
	for _, name := range []string{"x", "xid-count-window-size"} {
		flag.IntVar(&s.window, name, 300000, "milliseconds that an XID counts")
	}
	flag.BoolVar(&s.podUID, "kubernetes-enable-pod-uid", false, "name pods' UIDs")
	flag.BoolVar(&s.virtual, "kubernetes-virtual-gpus", false, "name all pods that share a GPU")
	flag.StringVar(&s.socket, "pod-resources-kubelet-socket", "/var/lib/kubelet/pod-resources/kubelet.sock", "of the kubelet")
	for _, line := range os.Environ() {
		name, value, _ := strings.Cut(line, "=")
		if option, known := variables[name]; known {
			if err := flag.Set(option, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		} else if strings.HasPrefix(name, "DCGM_EXPORTER_") && !strings.Contains(name, "_SERVICE_") &&
			!strings.Contains(name, "_PORT") { // these are Kubernetes' own, about Services
			return fmt.Errorf("%s: this stand-in knows no such setting", name)
		}
	}
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	return nil
}

// series is one line of /metrics, without the metric's name; both maps are printed in the order of their keys.
type series struct {
	gpu                *gpu
	labels, attributes map[string]string
	value              string
}

func (s series) print(out *bytes.Buffer, name string) {
	fmt.Fprintf(out, `%s{gpu="%d",UUID="%s",pci_bus_id="%s",device="nvidia%d",modelName="%s"`,
		name, s.gpu.index, s.gpu.uuid, s.gpu.pci(), s.gpu.index, model)
	if !settings.noHost {
		fmt.Fprintf(out, `,Hostname="%s"`, hostname())
	}
	for _, pairs := range []map[string]string{s.labels, s.attributes} {
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			fmt.Fprintf(out, `,%s="%s"`, key, pairs[key])
		}
	}
	fmt.Fprintf(out, "} %s\n", s.value)
}

// copies are what the series becomes for the pods that hold slots of its GPU.
func (s series) copies(field string, slots []slot) (list []series) {
	if !settings.virtual {
		if len(slots) > 0 {
			s.attributes = merged(s.attributes, slots[len(slots)-1].attributes(false))
		}
		return []series{s}
	}
	perPod := field == "DCGM_FI_DEV_GPU_UTIL" || field == "DCGM_FI_DEV_FB_USED"
	if perPod || len(slots) == 0 {
		list = append(list, s)
	}
	for _, held := range slots {
		c := s
		c.attributes = merged(s.attributes, held.attributes(true))
		if perPod {
			c.attributes["pod_uid"] = held.uid
			c.value = s.gpu.ofPod(field, held, slots)
		}
		list = append(list, c)
	}
	return list
}

func merged(one, other map[string]string) map[string]string {
	all := maps.Clone(one)
	maps.Copy(all, other)
	return all
}

func hostname() string {
	if node := os.Getenv("NODE_NAME"); node != "" {
		return node
	}
	name, _ := os.Hostname()
	return name
}

// server is the GPUs as they were, and what they are told to do wrong.
type server struct {
	sync.Mutex
	gpus   []*gpu
	faults map[string]float64
}

func (s *server) metrics(w http.ResponseWriter, _ *http.Request) {
	s.Lock()
	defer s.Unlock()
	if status := int(s.faults["status"]); status != 0 {
		http.Error(w, "internal server error", status)
		return
	}
	counters, err := readCounters(settings.file) // at each request, as the real one watches the file
	if err != nil {
		log.Fatal(err)
	}
	node, err := readNode(settings.socket)
	if err != nil {
		log.Print(err)
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	}
	s.gpus = update(s.gpus, node, time.Now(), s.faults)
	labels := map[string]string{}
	for _, c := range counters {
		if value := labelValues[c.field]; c.kind == "label" && value != "" {
			labels[c.field] = value
		}
	}
	var out bytes.Buffer
	for _, c := range counters {
		var lines []series
		for _, g := range s.gpus {
			if one := g.series(c.field, labels); one != nil {
				lines = append(lines, one.copies(c.field, node.slots[g.uuid])...)
			}
		}
		if len(lines) > 0 && c.kind != "label" {
			fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", c.field, c.help, c.field, c.kind)
			for _, line := range lines {
				line.print(&out, c.field)
			}
		}
	}
	w.Write(out.Bytes())
}

func (s *server) setFaults(w http.ResponseWriter, r *http.Request) {
	faults := map[string]float64{}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&faults); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	for name := range faults {
		if name != "status" && !known(name) {
			http.Error(w, "no such field: "+name, http.StatusBadRequest)
			return
		}
	}
	s.Lock()
	defer s.Unlock()
	s.faults = faults
}

func main() {
	if err := parse(); err != nil {
		log.Fatal(err)
	}
	if _, err := readCounters(settings.file); err != nil {
		log.Fatal(err)
	}
	s := &server{}
	http.HandleFunc("GET /metrics", s.metrics)
	http.HandleFunc("POST /sandbox/faults", s.setFaults)
	http.HandleFunc("DELETE /sandbox/faults", s.setFaults)
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Registry-Available", "true")
		fmt.Fprint(w, "OK")
	})
	log.Fatal(http.ListenAndServe(settings.address, nil))
}
