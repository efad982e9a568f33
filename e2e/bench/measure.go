package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Plan says what is measured.
type Plan struct {
	TestBed, Binary, Definitions, OperatorLog string
	Applications, Pushes, RestSeconds         int
}

// Effort is what something cost.
type Effort struct {
	Seconds     float64  `json:"seconds"`
	OwnCPU      float64  `json:"own_cpu_seconds"`
	ServerCPU   float64  `json:"api_server_and_etcd_cpu_seconds"`
	MachineCPU  float64  `json:"machine_cpu_seconds"`
	StolenCPU   float64  `json:"stolen_cpu_seconds"`
	Requests    Requests `json:"requests,omitempty"`
	RequestsSum int      `json:"requests_sum,omitempty"`
}

// Figures are the results of one run.
type Figures struct {
	Applications int       `json:"applications"`
	Objects      int       `json:"objects"`
	FloorBefore  Effort    `json:"floor_before"`
	FloorAfter   Effort    `json:"floor_after"`
	ColdSync     Effort    `json:"cold_sync"`
	HealthyAfter float64   `json:"all_healthy_after_seconds"`
	Ratio        float64   `json:"floor_by_cold_sync"`
	Push         Effort    `json:"pushes"`
	PushMillis   []float64 `json:"push_to_applied_milliseconds"`
	Memory       memory    `json:"memory"`
	Rest         Effort    `json:"rest"`
}

// bench holds what all phases use.
type bench struct {
	ctx      context.Context
	bed      TestBed
	plan     Plan
	cluster  *Cluster
	audit    AuditLog
	servers  []int
	operator *Operator
}

func measure(ctx context.Context, plan Plan) (figures Figures, err error) {
	bed, err := readTestBed(plan.TestBed)
	if err != nil {
		return figures, err
	}
	cluster, err := connect(bed.Kubeconfig)
	if err != nil {
		return figures, err
	}
	work, err := os.MkdirTemp("", "tidelock-bench")
	if err != nil {
		return figures, err
	}
	defer os.RemoveAll(work)
	b := &bench{ctx: ctx, bed: bed, plan: plan, cluster: cluster,
		audit: AuditLog{bed.AuditLog, bed.OperatorUser}, servers: serverProcesses(bed.State)}
	if len(b.servers) != 2 {
		return figures, fmt.Errorf("found %d processes of the API server and etcd below %s, wanted 2", len(b.servers), bed.State)
	}
	figures.Applications, figures.Objects = plan.Applications, plan.Applications*len(kinds)

	repository, err := createRepository(ctx, bed.GitRoot, "bench", work, plan.Applications)
	if err != nil {
		return figures, err
	}
	url := bed.GitURL + "/bench.git"
	if err := prepare(ctx, bed, plan, url); err != nil {
		return figures, err
	}
	for _, set := range []string{"before", "tidelock", "after"} {
		if err := cluster.createNamespaces(ctx, set, plan.Applications); err != nil {
			return figures, err
		}
	}

	// The first requests after a start are slow; they are nobody's.
	if _, err := cluster.load(ctx, "before", 1); err != nil {
		return figures, err
	}
	say("floor: %d objects applied by a bare loader, %d in flight", figures.Objects, inFlight)
	if figures.FloorBefore, err = b.floor("before"); err != nil {
		return figures, err
	}
	if b.operator, err = startOperator(ctx, bed, plan); err != nil {
		return figures, err
	}
	defer b.operator.stop()
	say("cold sync: %d Applications", figures.Applications)
	if figures.ColdSync, figures.HealthyAfter, err = b.coldSync(url); err != nil {
		return figures, err
	}
	say("pushes: %d commits, one changed object each", plan.Pushes)
	if figures.Push, figures.PushMillis, err = b.pushes(repository); err != nil {
		return figures, err
	}
	say("at rest: %d s", plan.RestSeconds)
	if figures.Rest, err = b.rest(); err != nil {
		return figures, err
	}
	if figures.Memory, err = memoryOf(b.operator.pid); err != nil {
		return figures, err
	}
	// The floor once more with the operator away: the machine may have become faster or slower meanwhile.
	b.operator.stop()
	b.operator.ended <- nil
	pid := b.operator.pid
	b.operator.pid = 0
	say("floor again")
	figures.FloorAfter, err = b.floor("after")
	b.operator.pid = pid
	figures.Ratio = min(figures.FloorBefore.Seconds, figures.FloorAfter.Seconds) / figures.ColdSync.Seconds
	return figures, err
}

func say(format string, arguments ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", arguments...) }

// cost measures what act costs. The operator's part counts while there is one.
func (b *bench) cost(act func() (time.Duration, error)) (effort Effort, err error) {
	type usage struct{ own, servers, busy, stolen float64 }
	read := func() (now usage, err error) {
		if b.operator != nil && b.operator.pid != 0 {
			if now.own, err = cpuSeconds(b.operator.pid); err != nil {
				return now, fmt.Errorf("the operator is gone, see %s: %w", b.plan.OperatorLog, err)
			}
		}
		if now.servers, err = totalCPU(b.servers); err != nil {
			return now, err
		}
		now.busy, now.stolen, err = machine()
		return now, err
	}
	mark, err := b.audit.mark()
	if err != nil {
		return effort, err
	}
	before, err := read()
	if err != nil {
		return effort, err
	}
	took, err := act()
	if err != nil {
		return effort, err
	}
	after, err := read()
	if err != nil {
		return effort, err
	}
	requests, err := b.audit.since(mark)
	return Effort{
		Seconds: took.Seconds(), OwnCPU: after.own - before.own, ServerCPU: after.servers - before.servers,
		MachineCPU: after.busy - before.busy, StolenCPU: after.stolen - before.stolen,
		Requests: requests, RequestsSum: requests.total(),
	}, err
}

func (b *bench) floor(set string) (Effort, error) {
	effort, err := b.cost(func() (time.Duration, error) { return b.cluster.load(b.ctx, set, b.plan.Applications) })
	if err != nil {
		return effort, err
	}
	if err := b.cluster.verify(b.ctx, set, b.plan.Applications); err != nil {
		return effort, err
	}
	return effort, b.cluster.settle(b.ctx)
}

const applicationsPath = "/apis/tidelock.dev/v1alpha1/namespaces/" + operatorNamespace + "/applications"

// coldSync creates all Applications and waits until each reports Synced; also says when all were Healthy.
func (b *bench) coldSync(url string) (effort Effort, healthy float64, err error) {
	ctx, cancel := context.WithTimeoutCause(b.ctx, 5*time.Minute, fmt.Errorf("not all Applications became Synced and Healthy within 5 minutes, see %s", b.plan.OperatorLog))
	defer cancel()
	var started time.Time
	synced, well := map[string]time.Time{}, map[string]time.Time{}
	allSynced, allWell := make(chan struct{}), make(chan struct{})
	watching := make(chan error, 1)
	go func() {
		watching <- b.cluster.watch(ctx, applicationsPath, func(application Object) {
			now := time.Now()
			if application.Status.Sync.Status == "Synced" && synced[application.Metadata.Name].IsZero() {
				synced[application.Metadata.Name] = now
				if len(synced) == b.plan.Applications {
					close(allSynced)
				}
			}
			if application.Status.Health.Status == "Healthy" && well[application.Metadata.Name].IsZero() {
				well[application.Metadata.Name] = now
				if len(well) == b.plan.Applications {
					close(allWell)
				}
			}
		})
	}()
	wait := func(come chan struct{}) error {
		select {
		case <-come:
			return nil
		case err := <-watching:
			return fmt.Errorf("the watch of the Applications ended: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	effort, err = b.cost(func() (time.Duration, error) {
		started = time.Now()
		err := each(ctx, b.plan.Applications, inFlight, func(ctx context.Context, index int) error {
			return b.cluster.call(ctx, http.MethodPost, applicationsPath, typeJSON, application(url, index), nil)
		})
		if err != nil {
			return 0, err
		}
		if err := wait(allSynced); err != nil {
			return 0, err
		}
		took := time.Since(started)
		// What all of it costs is known only when health has settled as well.
		if err := wait(allWell); err != nil {
			return 0, err
		}
		healthy = time.Since(started).Seconds()
		return took, sleep(ctx, 2*time.Second)
	})
	if err != nil {
		return effort, healthy, err
	}
	return effort, healthy, b.cluster.verify(b.ctx, "tidelock", b.plan.Applications)
}

func application(url string, index int) []byte {
	type object = map[string]any
	return encoded(object{
		"apiVersion": "tidelock.dev/v1alpha1", "kind": "Application",
		"metadata": object{"name": applicationName(index), "namespace": operatorNamespace},
		"spec": object{
			"project":     "default",
			"source":      object{"repoURL": url, "path": directoryOf(index), "targetRevision": "main"},
			"destination": object{"server": "https://kubernetes.default.svc", "namespace": namespaceOf("tidelock", index)},
			"syncPolicy":  object{"automated": object{"prune": true, "selfHeal": true}},
		},
	})
}

// pushes changes one object at a time in git and times its way to the cluster.
func (b *bench) pushes(repository *Repository) (effort Effort, millis []float64, err error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var lock sync.Mutex
	waited, news := "", make(chan time.Time, 1)
	failed := make(chan error, 2)
	go func() {
		failed <- b.cluster.watch(ctx, "/api/v1/configmaps?labelSelector=bench%3Dtidelock", func(object Object) {
			now := time.Now()
			lock.Lock()
			defer lock.Unlock()
			if waited != "" && object.Metadata.Namespace+"="+object.Data["value"] == waited {
				waited = ""
				news <- now
			}
		})
	}()
	reported, done := "", make(chan struct{}, 1)
	go func() {
		failed <- b.cluster.watch(ctx, applicationsPath, func(application Object) {
			lock.Lock()
			defer lock.Unlock()
			if reported != "" && application.Metadata.Name+"="+application.Status.Sync.Revision == reported {
				reported = ""
				done <- struct{}{}
			}
		})
	}()
	if err := sleep(ctx, time.Second); err != nil {
		return effort, nil, err
	}
	effort, err = b.cost(func() (time.Duration, error) {
		started := time.Now()
		for push := range b.plan.Pushes {
			index := push * 7 % b.plan.Applications
			value := fmt.Sprintf("push-%d", push)
			if err := repository.write(index, value); err != nil {
				return 0, err
			}
			revision, err := repository.stage(ctx, "Change "+value)
			if err != nil {
				return 0, err
			}
			// Staging has started several processes; they are no part of what is measured.
			if err := sleep(ctx, 200*time.Millisecond); err != nil {
				return 0, err
			}
			lock.Lock()
			waited, reported = namespaceOf("tidelock", index)+"="+value, applicationName(index)+"="+revision
			lock.Unlock()
			moved, err := repository.publish(revision)
			if err != nil {
				return 0, err
			}
			refresh := encoded(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"tidelock.dev/refresh": value}}})
			if err := b.cluster.call(ctx, http.MethodPatch, applicationsPath+"/"+applicationName(index), typeMergePatch, refresh, nil); err != nil {
				return 0, err
			}
			late := time.After(time.Minute)
			select {
			case seen := <-news:
				millis = append(millis, float64(seen.Sub(moved).Microseconds())/1000)
			case err := <-failed:
				return 0, err
			case <-late:
				return 0, fmt.Errorf("%s did not arrive within a minute, see %s", value, b.plan.OperatorLog)
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
			select {
			case <-done:
			case err := <-failed:
				return 0, err
			case <-late:
				return 0, fmt.Errorf("%s was applied and not reported within a minute, see %s", value, b.plan.OperatorLog)
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		return time.Since(started), nil
	})
	return effort, millis, err
}

func (b *bench) rest() (Effort, error) {
	// What the pushes have set off has to end first.
	if err := sleep(b.ctx, 10*time.Second); err != nil {
		return Effort{}, err
	}
	return b.cost(func() (time.Duration, error) {
		rest := time.Duration(b.plan.RestSeconds) * time.Second
		return rest, sleep(b.ctx, rest)
	})
}

func sleep(ctx context.Context, duration time.Duration) error {
	select {
	case <-time.After(duration):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func kubectl(ctx context.Context, bed TestBed, input []byte, arguments ...string) error {
	command := exec.CommandContext(ctx, filepath.Join(bed.Bin, "kubectl"), append([]string{"--kubeconfig", bed.Kubeconfig}, arguments...)...)
	command.Stdin = bytes.NewReader(input)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", arguments[0], err, output)
	}
	return nil
}

func writeJSON(path string, value any) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
