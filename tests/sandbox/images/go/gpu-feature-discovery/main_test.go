// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLabelsTellHowTheCardIsShared(t *testing.T) {
	for text, wanted := range map[string][4]string{
		"version: v1": {"NVIDIA-A40", "1", "none", "false"},
		"sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}}":               {"NVIDIA-A40-SHARED", "4", "time-slicing", "false"},
		"sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4, rename: gpu4}]}}": {"NVIDIA-A40", "4", "time-slicing", "false"},
		"sharing: {mps: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}":                       {"NVIDIA-A40-SHARED", "2", "mps", "true"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := read(path)
		if err != nil {
			t.Fatal(err)
		}
		labels := c.labels()
		for i, name := range []string{"gpu.product", "gpu.replicas", "gpu.sharing-strategy", "mps.capable"} {
			if labels["nvidia.com/"+name] != wanted[i] {
				t.Errorf("%s: %s is %v", text, name, labels["nvidia.com/"+name])
			}
		}
		if labels["nvidia.com/gpu.memory"] != "46068" {
			t.Error(labels)
		}
	}
}
