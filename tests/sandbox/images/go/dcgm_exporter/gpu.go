// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// What an NVIDIA A40 shows. Memory in use is `idle`, and `perSlot` for each slot that a pod holds.
const (
	model    = "NVIDIA A40"
	total    = 46068 // MiB
	reserved = 595
	idle     = 4
	perSlot  = 4608
)

var labelValues = map[string]string{
	"DCGM_FI_DRIVER_VERSION": "580.95.05", "DCGM_FI_NVML_VERSION": "13.580.95.05", "DCGM_FI_CUDA_DRIVER_VERSION": "13000",
	"DCGM_FI_DEV_BRAND": "Nvidia", "DCGM_FI_DEV_NAME": model, "DCGM_FI_DEV_SERIAL": "1320000000000",
}

var xids = map[int]string{
	0: "No Error", 13: "Graphics Engine Exception", 31: "GPU memory page fault", 43: "GPU stopped processing",
	48: "Double Bit ECC Error", 63: "ECC page retirement or row remapping recording event", 74: "NVLINK Error",
	79: "GPU has fallen off the bus", 94: "Contained ECC error", 95: "Uncontained ECC error", 119: "GSP RPC Timeout",
}

// gpu is one card with its values at the time `sampled`.
type gpu struct {
	index   int
	uuid    string
	sampled time.Time
	energy  float64 // J
	values  map[string]float64
	faults  map[string]float64 // in place of values
}

func (g *gpu) pci() string {
	return fmt.Sprintf("00000000:%02X:00.0", 6+g.index)
}

func (g *gpu) value(field string) (float64, bool) {
	if told, is := g.faults[field]; is {
		return told, true
	}
	value, is := g.values[field]
	return value, is
}

// update keeps the GPUs that are still there, and samples each at most once in the collection interval.
func update(before []*gpu, n node, now time.Time, faults map[string]float64) (after []*gpu) {
	for i, uuid := range n.gpus {
		g := &gpu{index: i, uuid: uuid}
		for _, old := range before {
			if old.uuid == uuid {
				g = old
			}
		}
		if now.Sub(g.sampled) >= time.Duration(settings.interval)*time.Millisecond {
			g.sample(now, len(n.slots[uuid]))
		}
		g.faults = faults
		after = append(after, g)
	}
	return after
}

// sample makes the values up: a card in use is 20 to 90 % busy, in waves of five minutes; power, heat and clocks follow.
func (g *gpu) sample(now time.Time, slots int) {
	busy := 0.0
	if slots > 0 {
		busy = math.Round(55 + 35*math.Sin(2*math.Pi*float64(now.Unix()%300)/300))
	}
	watts := 32 + 2.5*busy
	if !g.sampled.IsZero() {
		g.energy += watts * now.Sub(g.sampled).Seconds()
	}
	g.sampled = now
	used := math.Min(float64(idle+perSlot*slots), total-reserved)
	g.values = map[string]float64{
		"DCGM_FI_DEV_GPU_UTIL": busy, "DCGM_FI_DEV_MEM_COPY_UTIL": math.Round(busy / 2),
		"DCGM_FI_DEV_ENC_UTIL": 0, "DCGM_FI_DEV_DEC_UTIL": 0,
		"DCGM_FI_DEV_FB_TOTAL": total, "DCGM_FI_DEV_FB_RESERVED": reserved, "DCGM_FI_DEV_FB_USED": used,
		"DCGM_FI_DEV_FB_FREE": total - reserved - used, "DCGM_FI_DEV_FB_USED_PERCENT": used / (total - reserved),
		"DCGM_FI_DEV_POWER_USAGE": watts, "DCGM_FI_DEV_POWER_MGMT_LIMIT": 300, "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": 300,
		"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": math.Round(1000 * g.energy), // mJ
		"DCGM_FI_DEV_GPU_TEMP":                 math.Round(31 + 0.4*busy), "DCGM_FI_DEV_MEMORY_TEMP": 0,
		"DCGM_FI_DEV_SLOWDOWN_TEMP": 95, "DCGM_FI_DEV_SHUTDOWN_TEMP": 98, "DCGM_FI_DEV_GPU_MAX_OP_TEMP": 88,
		"DCGM_FI_DEV_SM_CLOCK": 210 + math.Min(busy, 1)*1530, "DCGM_FI_DEV_MEM_CLOCK": 405 + math.Min(busy, 1)*6846,
		"DCGM_FI_DEV_CLOCKS_EVENT_REASONS": 1 - math.Min(busy, 1), "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": 1 - math.Min(busy, 1),
		"DCGM_FI_DEV_POWER_VIOLATION": 0, "DCGM_FI_DEV_THERMAL_VIOLATION": 0, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
		"DCGM_FI_DEV_XID_ERRORS": 0, "DCGM_FI_DEV_VGPU_LICENSE_STATUS": 0, "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": 0,
		"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 0, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 0, "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL": 0,
		"DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": 0, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
		"DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0, "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0, "DCGM_FI_DEV_ROW_REMAP_PENDING": 0,
		"DCGM_FI_PROF_GR_ENGINE_ACTIVE": busy / 100, "DCGM_FI_PROF_SM_ACTIVE": busy / 125, "DCGM_FI_PROF_SM_OCCUPANCY": busy / 300,
		"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": busy / 400, "DCGM_FI_PROF_DRAM_ACTIVE": busy / 150,
		"DCGM_FI_PROF_PCIE_TX_BYTES": busy * 1e6, "DCGM_FI_PROF_PCIE_RX_BYTES": busy * 2e6,
		"DCGM_EXP_XID_ERRORS_COUNT": 0,
	}
}

// series is the GPU's own series of a field; nil where nothing is known of it, as the real one leaves out what a card has not.
func (g *gpu) series(field string, labels map[string]string) *series {
	value, is := g.value(field)
	if !is {
		return nil
	}
	s := &series{g, labels, map[string]string{}, text(field, value)}
	last, _ := g.value("DCGM_FI_DEV_XID_ERRORS")
	xid := int(last)
	switch field {
	case "DCGM_FI_DEV_XID_ERRORS":
		s.attributes["err_code"] = strconv.Itoa(xid)
		s.attributes["err_msg"] = "Unknown Error"
		if message, is := xids[xid]; is {
			s.attributes["err_msg"] = message
		}
	case "DCGM_EXP_XID_ERRORS_COUNT": // of the last window: the stand-in's error lasts as long as its fault
		s.labels = merged(labels, map[string]string{"window_size_in_ms": strconv.Itoa(settings.window)})
		if xid != 0 {
			s.labels["xid"] = strconv.Itoa(xid)
			s.value = "1"
		}
	}
	return s
}

// ofPod is what the pod's own processes have of a field; process numbers tell of pods only where all of the host's are seen.
func (g *gpu) ofPod(field string, held slot, all []slot) string {
	if held.uid == "" || os.Getpid() == 1 {
		return "0"
	}
	own := 0
	for _, other := range all {
		if other.uid == held.uid {
			own++
		}
	}
	ofAll, _ := g.value(field)
	if field == "DCGM_FI_DEV_FB_USED" {
		ofAll = max(ofAll-idle, 0)
	}
	return strconv.Itoa(int(ofAll) * own / len(all))
}

// text prints a value as DCGM types it: ratios and watts are floating point, all else is whole.
func text(field string, value float64) string {
	switch field {
	case "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_POWER_MGMT_LIMIT", "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
		"DCGM_FI_DEV_FB_USED_PERCENT", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE",
		"DCGM_FI_PROF_SM_OCCUPANCY", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_DRAM_ACTIVE":
		return fmt.Sprintf("%f", value)
	}
	return fmt.Sprintf("%.0f", value)
}
