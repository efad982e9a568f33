package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// report prints the best of several runs, and writes all of them as JSON. Other work on the machine only ever makes a time
// longer, so the best run is the one nearest to what the operator itself costs. That does not hold for a ratio, which a
// disturbed loader makes better: it is taken from the best time of each side.
func report(out string, paths []string) error {
	var runs []Figures
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var figures Figures
		if err := json.Unmarshal(text, &figures); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		runs = append(runs, figures)
	}
	if len(runs) == 0 {
		return fmt.Errorf("there is no run to report on")
	}
	type row struct {
		name, aim, format string
		better            func(a, b float64) bool
		value             func(Figures) float64
	}
	less := func(a, b float64) bool { return a < b }
	more := func(a, b float64) bool { return a > b }
	perApplication := func(count int, run Figures) float64 { return float64(count) / float64(run.Applications) }
	writes := func(requests Requests, names ...string) int {
		total := 0
		for name, count := range requests {
			if slices.ContainsFunc(names, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				total += count
			}
		}
		return total
	}
	first := runs[0]
	rows := []row{
		{"bare loader, " + fmt.Sprint(first.Objects) + " objects", "", "%.2f s", less, func(f Figures) float64 { return min(f.FloorBefore.Seconds, f.FloorAfter.Seconds) }},
		{"cold sync, " + fmt.Sprint(first.Applications) + " Applications, all Synced", "", "%.2f s", less, func(f Figures) float64 { return f.ColdSync.Seconds }},
		{"  all Healthy", "", "%.2f s", less, func(f Figures) float64 { return f.HealthyAfter }},
		{ratioName, ">= 0.5", "%.2f", more, func(f Figures) float64 { return f.Ratio }},
		{"  requests per Application", "", "%.1f", less, func(f Figures) float64 { return perApplication(f.ColdSync.RequestsSum, f) }},
		{"    status writes", "2", "%.1f", less, func(f Figures) float64 {
			return perApplication(writes(f.ColdSync.Requests, "patch applications/status"), f)
		}},
		{"    events", "", "%.1f", less, func(f Figures) float64 {
			return perApplication(writes(f.ColdSync.Requests, "create events", "patch events"), f)
		}},
		{"  own CPU per object", "", "%.2f ms", less, func(f Figures) float64 { return f.ColdSync.OwnCPU * 1000 / float64(f.Objects) }},
		{"  CPU of API server and etcd", "", "%.2f s", less, func(f Figures) float64 { return f.ColdSync.ServerCPU }},
		{"    the same under the bare loader", "", "%.2f s", less, func(f Figures) float64 { return min(f.FloorBefore.ServerCPU, f.FloorAfter.ServerCPU) }},
		{"push -> applied, p50 of " + fmt.Sprint(len(first.PushMillis)), "<= 150 ms", "%.0f ms", less, func(f Figures) float64 { return percentile(f.PushMillis, 50) }},
		{"  p99", "", "%.0f ms", less, func(f Figures) float64 { return percentile(f.PushMillis, 99) }},
		{"  own CPU per commit", "", "%.0f ms", less, func(f Figures) float64 { return f.Push.OwnCPU * 1000 / float64(len(f.PushMillis)) }},
		{"  requests per commit", "", "%.1f", less, func(f Figures) float64 { return float64(f.Push.RequestsSum) / float64(len(f.PushMillis)) }},
		{"resident memory after it", "<= 60 MiB", "%.1f MiB", less, func(f Figures) float64 { return f.Memory.Resident }},
		{"  peak", "", "%.1f MiB", less, func(f Figures) float64 { return f.Memory.Peak }},
		{"  without the program's file", "", "%.1f MiB", less, func(f Figures) float64 { return f.Memory.Anonymous }},
		{"API requests per minute at rest", "<= 15", "%.1f", less, func(f Figures) float64 { return float64(f.Rest.RequestsSum) * 60 / f.Rest.Seconds }},
		{"  own CPU per minute", "", "%.2f s", less, func(f Figures) float64 { return f.Rest.OwnCPU * 60 / f.Rest.Seconds }},
	}
	format := "%-46s %12s %12s   %s\n"
	fmt.Printf(format, "figure", "best", "aim", "all runs")
	for _, row := range rows {
		best := math.NaN()
		var all []string
		for _, run := range runs {
			value := row.value(run)
			if math.IsNaN(best) || row.better(value, best) {
				best = value
			}
			if row.name == ratioName {
				best = bestRatio(runs)
			}
			all = append(all, fmt.Sprintf(strings.Fields(row.format)[0], value))
		}
		fmt.Printf(format, row.name, fmt.Sprintf(row.format, best), row.aim, strings.Join(all, " "))
	}
	last := runs[len(runs)-1]
	fmt.Println("\nlast run, requests of the operator")
	for _, part := range []struct {
		name   string
		effort Effort
	}{{"cold sync", last.ColdSync}, {"pushes", last.Push}, {"at rest", last.Rest}} {
		fmt.Printf("  %-10s %s\n", part.name, spell(part.effort.Requests))
	}
	others := 0.0
	for _, run := range runs {
		others = max(others, 100*(run.Rest.MachineCPU-run.Rest.OwnCPU-run.Rest.ServerCPU)/run.Rest.Seconds)
	}
	fmt.Printf("\nother work on this machine, while the operator was at rest: up to %.0f %% of a core\n", others)
	return writeJSON(out, map[string]any{"runs": runs})
}

// ratioName is the row whose best is not the best of the runs.
const ratioName = "  bare loader / cold sync, best of each"

func bestRatio(runs []Figures) float64 {
	floor, sync := math.Inf(1), math.Inf(1)
	for _, run := range runs {
		floor = min(floor, run.FloorBefore.Seconds, run.FloorAfter.Seconds)
		sync = min(sync, run.ColdSync.Seconds)
	}
	return floor / sync
}

// spell lists requests, most frequent first.
func spell(requests Requests) string {
	var names []string
	for name := range requests {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if requests[a] != requests[b] {
			return requests[b] - requests[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d × %s", requests[name], name))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// percentile by the nearest rank.
func percentile(values []float64, percent float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}
