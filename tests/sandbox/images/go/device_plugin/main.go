// SPDX-License-Identifier: GPL-3.0-or-later

// device_plugin stands in for NVIDIA's device plugin: it speaks the kubelet's real device-plugin API and advertises
// nvidia.com/gpu = GPUs x time-slicing replicas. GPUs come from the sandbox's file (absent: none), replicas
// from the file CONFIG_FILE in NVIDIA's own format. It finds no hardware, mounts no driver and watches no health.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"sigs.k8s.io/yaml"
)

const (
	resource = "nvidia.com/gpu"
	gpus     = api.DevicePluginPath + "sandbox/gpus"
	socket   = "sandbox-gpu.sock"
	poll     = 500 * time.Millisecond
)

// config holds the parts of NVIDIA's plugin configuration that this stand-in obeys.
type config struct {
	Sharing struct {
		TimeSlicing struct {
			FailRequestsGreaterThanOne bool `json:"failRequestsGreaterThanOne"`
			Resources                  []struct {
				Name     string `json:"name"`
				Replicas int    `json:"replicas"`
			} `json:"resources"`
		} `json:"timeSlicing"`
	} `json:"sharing"`
}

// state is what is advertised; a change of it means to send the device list again.
type state struct {
	gpus, replicas int
	single         bool // refuse a container that asks for more than one slot
}

func read() (state, error) {
	now := state{replicas: 1}
	if text, err := os.ReadFile(gpus); err == nil {
		if now.gpus, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return now, fmt.Errorf("%s: %w", gpus, err)
		}
	}
	path := os.Getenv("CONFIG_FILE")
	if path == "" {
		return now, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return now, err
	}
	var c config
	if err := yaml.Unmarshal(text, &c); err != nil {
		return now, fmt.Errorf("%s: %w", path, err)
	}
	for _, r := range c.Sharing.TimeSlicing.Resources {
		if r.Name == resource {
			now.replicas, now.single = r.Replicas, c.Sharing.TimeSlicing.FailRequestsGreaterThanOne
		}
	}
	if now.gpus < 0 || now.replicas < 1 {
		return now, fmt.Errorf("%d GPUs x %d replicas makes no sense", now.gpus, now.replicas)
	}
	return now, nil
}

// devices names each slot as NVIDIA's plugin does: the GPU, and ::replica where it is shared.
func (s state) devices() (list []*api.Device) {
	for g := range s.gpus {
		for r := range s.replicas {
			id := fmt.Sprintf("GPU-sandbox-%d", g)
			if s.replicas > 1 {
				id += fmt.Sprintf("::%d", r)
			}
			list = append(list, &api.Device{ID: id, Health: api.Healthy})
		}
	}
	return list
}

type plugin struct {
	api.UnimplementedDevicePluginServer
}

func (plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	sent, last := state{replicas: -1}, ""
	for {
		now, err := read()
		if err != nil && err.Error() != last {
			last = err.Error()
			log.Print(err)
		}
		if err == nil && now != sent {
			if err := stream.Send(&api.ListAndWatchResponse{Devices: now.devices()}); err != nil {
				return err
			}
			sent = now
			log.Printf("%s: %d GPUs x %d replicas", resource, now.gpus, now.replicas)
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-time.After(poll):
		}
	}
}

func (plugin) Allocate(_ context.Context, q *api.AllocateRequest) (*api.AllocateResponse, error) {
	now, err := read()
	if err != nil {
		return nil, err
	}
	answer := &api.AllocateResponse{}
	for _, c := range q.ContainerRequests {
		if now.single && len(c.DevicesIds) > 1 {
			return nil, fmt.Errorf("request for '%s: %d' is too large: maximum request size for shared resources is 1",
				resource, len(c.DevicesIds))
		}
		var gpus []string
		for _, id := range c.DevicesIds {
			gpu, _, _ := strings.Cut(id, "::")
			gpus = append(gpus, gpu)
		}
		answer.ContainerResponses = append(answer.ContainerResponses,
			&api.ContainerAllocateResponse{Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(gpus, ",")}})
	}
	return answer, nil
}

func inode(path string) uint64 {
	if info, err := os.Stat(path); err == nil {
		return info.Sys().(*syscall.Stat_t).Ino
	}
	return 0
}

func register(kubelet string) error {
	c, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = api.NewRegistrationClient(c).Register(ctx, &api.RegisterRequest{
		Version: api.Version, Endpoint: socket, ResourceName: resource, Options: &api.DevicePluginOptions{}})
	return err
}

func main() {
	kubelet := filepath.Join(api.DevicePluginPath, "kubelet.sock")
	for ; ; time.Sleep(poll) {
		seen := inode(kubelet)
		if seen == 0 {
			continue
		}
		path := filepath.Join(api.DevicePluginPath, socket)
		os.Remove(path)
		listener, err := net.Listen("unix", path)
		if err != nil {
			log.Fatal(err)
		}
		server := grpc.NewServer()
		api.RegisterDevicePluginServer(server, plugin{})
		go server.Serve(listener)
		if err := register(kubelet); err != nil {
			log.Print("registering: ", err)
		} else {
			for inode(kubelet) == seen { // a restarted kubelet makes a new socket and removes ours
				time.Sleep(poll)
			}
		}
		server.Stop()
	}
}
