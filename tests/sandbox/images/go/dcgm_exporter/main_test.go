// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// kubelet has two GPUs of two slots each, of which two pods hold those of the first.
type kubelet struct {
	api.UnimplementedPodResourcesListerServer
}

func slots(ids ...string) []*api.ContainerDevices {
	return []*api.ContainerDevices{{ResourceName: resource, DeviceIds: ids}}
}

func (kubelet) GetAllocatableResources(context.Context, *api.AllocatableResourcesRequest) (*api.AllocatableResourcesResponse, error) {
	return &api.AllocatableResourcesResponse{Devices: slots("GPU-b::0", "GPU-b::1", "GPU-a::1", "GPU-a::0")}, nil
}

func (kubelet) List(context.Context, *api.ListPodResourcesRequest) (*api.ListPodResourcesResponse, error) {
	pod := func(name, id string) *api.PodResources {
		return &api.PodResources{Namespace: "llm-alice", Name: name,
			Containers: []*api.ContainerResources{{Name: "server", Devices: slots(id)}}}
	}
	return &api.ListPodResourcesResponse{PodResources: []*api.PodResources{pod("one", "GPU-a::0"), pod("two", "GPU-a::1")}}, nil
}

// scrape is what /metrics answers with that file of fields.
func scrape(t *testing.T, file string, virtual bool, faults map[string]float64) []string {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("NODE_NAME", "gpu-node")
	settings.file, settings.socket = filepath.Join(folder, "fields.csv"), filepath.Join(folder, "kubelet.sock")
	settings.kubernetes, settings.virtual, settings.window = true, virtual, 300000
	if err := os.WriteFile(settings.file, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", settings.socket)
	if err != nil {
		t.Fatal(err)
	}
	kube := grpc.NewServer()
	api.RegisterPodResourcesListerServer(kube, kubelet{})
	go kube.Serve(listener)
	defer kube.Stop()
	answer := httptest.NewRecorder()
	(&server{faults: faults}).metrics(answer, nil)
	if answer.Code != 200 {
		t.Fatal(answer.Code, answer.Body)
	}
	return strings.Split(strings.TrimSpace(answer.Body.String()), "\n")
}

func card(index, uuid, bus, rest string) string {
	return `{gpu="` + index + `",UUID="` + uuid + `",pci_bus_id="00000000:` + bus + `:00.0",device="nvidia` + index +
		`",modelName="NVIDIA A40",Hostname="gpu-node",DCGM_FI_DRIVER_VERSION="580.95.05"` + rest + "} "
}

func pod(name, further string) string {
	return `,container="server",namespace="llm-alice",pod="` + name + `"` + further
}

const label = "DCGM_FI_DRIVER_VERSION, label, Driver Version\n"

func compare(t *testing.T, found []string, wanted ...string) {
	t.Helper()
	if strings.Join(found, "\n") != strings.Join(wanted, "\n") {
		t.Errorf("found\n%s\nwanted\n%s", strings.Join(found, "\n"), strings.Join(wanted, "\n"))
	}
}

func TestAGpusValueIsRepeatedForEachSlot(t *testing.T) {
	found := scrape(t, "# Free\nDCGM_FI_DEV_FB_FREE, gauge, Memory free (in MiB).\n"+label, true, nil)
	compare(t, found, "# HELP DCGM_FI_DEV_FB_FREE Memory free (in MiB).", "# TYPE DCGM_FI_DEV_FB_FREE gauge",
		"DCGM_FI_DEV_FB_FREE"+card("0", "GPU-a", "06", pod("one", `,vgpu="0"`))+"36253",
		"DCGM_FI_DEV_FB_FREE"+card("0", "GPU-a", "06", pod("two", `,vgpu="1"`))+"36253",
		"DCGM_FI_DEV_FB_FREE"+card("1", "GPU-b", "07", "")+"45469")
}

func TestMemoryInUseIsTheGpusAndThePodsIsUnknownWithoutTheirUIDs(t *testing.T) {
	found := scrape(t, "DCGM_FI_DEV_FB_USED, gauge, Memory used (in MiB).\n"+label, true, nil)
	compare(t, found[2:],
		"DCGM_FI_DEV_FB_USED"+card("0", "GPU-a", "06", "")+"9220",
		"DCGM_FI_DEV_FB_USED"+card("0", "GPU-a", "06", pod("one", `,pod_uid="",vgpu="0"`))+"0",
		"DCGM_FI_DEV_FB_USED"+card("0", "GPU-a", "06", pod("two", `,pod_uid="",vgpu="1"`))+"0",
		"DCGM_FI_DEV_FB_USED"+card("1", "GPU-b", "07", "")+"4")
}

func TestWithoutVirtualGpusTheLastPodIsNamed(t *testing.T) {
	found := scrape(t, "DCGM_FI_DEV_POWER_USAGE, gauge, Power draw (in W).\n"+label, false, map[string]float64{"DCGM_FI_DEV_POWER_USAGE": 70})
	compare(t, found[2:],
		"DCGM_FI_DEV_POWER_USAGE"+card("0", "GPU-a", "06", pod("two", ""))+"70.000000",
		"DCGM_FI_DEV_POWER_USAGE"+card("1", "GPU-b", "07", "")+"70.000000")
}

func TestAnXidErrorIsTold(t *testing.T) {
	file := "DCGM_FI_DEV_XID_ERRORS, gauge, Last XID.\nDCGM_EXP_XID_ERRORS_COUNT, gauge, XIDs in the window.\n" + label
	found := scrape(t, file, false, map[string]float64{"DCGM_FI_DEV_XID_ERRORS": 79})
	off := `,err_code="79",err_msg="GPU has fallen off the bus"`
	compare(t, []string{found[3], found[7]},
		"DCGM_FI_DEV_XID_ERRORS"+card("1", "GPU-b", "07", off)+"79",
		"DCGM_EXP_XID_ERRORS_COUNT"+card("1", "GPU-b", "07", `,window_size_in_ms="300000",xid="79"`)+"1")
}

func TestWhatTheRealOneRefusesIsRefused(t *testing.T) {
	for text, said := range map[string]string{
		"DCGM_FI_DEV_GPU_UTILISATION, gauge, No such field": "unknown ExporterCounter field 'DCGM_FI_DEV_GPU_UTILISATION'",
		"DCGM_FI_DEV_GPU_UTIL, gague, No such type":         "Prometheus metric type 'gague'",
		"DCGM_FI_DEV_GPU_UTIL, gauge":                       "expected 3 fields",
	} {
		file := filepath.Join(t.TempDir(), "fields.csv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCounters(file); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestEveryValueIsOfAFieldThatNvidiaKnows(t *testing.T) {
	g := &gpu{}
	g.sample(g.sampled, 1)
	for field := range g.values {
		if !known(field) {
			t.Error(field)
		}
	}
	for field := range labelValues {
		if !known(field) {
			t.Error(field)
		}
	}
}
