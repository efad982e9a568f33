package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// TestBed is what testbed.json tells.
type TestBed struct {
	State              string
	Bin                string
	TestBed            string
	Kubeconfig         string
	OperatorKubeconfig string `json:"operator_kubeconfig"`
	OperatorUser       string `json:"operator_user"`
	OperatorAddress    string `json:"operator_address"`
	AuditLog           string `json:"audit_log"`
	ProxyURL           string `json:"proxy_url"`
	ProxyUsername      string `json:"proxy_username"`
	ProxyPassword      string `json:"proxy_password"`
	GitURL             string `json:"git_https_url"`
	GitCA              string `json:"git_ca"`
	GitRoot            string `json:"git_root"`
	GitUsername        string `json:"git_username"`
	GitPassword        string `json:"git_password"`
}

func readTestBed(path string) (TestBed, error) {
	var bed TestBed
	text, err := os.ReadFile(path)
	if err != nil {
		return bed, err
	}
	if err := json.Unmarshal(text, &bed); err != nil {
		return bed, fmt.Errorf("%s: %w", path, err)
	}
	return bed, nil
}

// operatorNamespace holds the Applications.
const operatorNamespace = "tidelock"

// Operator is the process that is measured.
type Operator struct {
	process *exec.Cmd
	ended   chan error
	pid     int
}

// startOperator runs the operator with its defaults in the place whose only way out is the proxy, until it is ready.
func startOperator(ctx context.Context, bed TestBed, plan Plan) (*Operator, error) {
	log, err := os.Create(plan.OperatorLog)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(bed.TestBed, "operator", plan.Binary, "controller",
		"--kubeconfig", bed.OperatorKubeconfig, "--namespace", operatorNamespace,
		"--state", filepath.Join(bed.State, "tidelock"), "--listen", bed.OperatorAddress+":8080", "--tools", bed.Bin)
	command.Stdout, command.Stderr = log, log
	// A session of its own: Ctrl-C is for the measurer, which then stops it.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	operator := &Operator{process: command, ended: make(chan error, 1), pid: command.Process.Pid}
	go func() { operator.ended <- command.Wait() }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	err = until(ctx, 30*time.Second, "the operator to be ready", func() (bool, error) {
		select {
		case err := <-operator.ended:
			operator.ended <- err
			return false, fmt.Errorf("the operator ended, see %s: %v", plan.OperatorLog, err)
		default:
		}
		answer, err := client.Get("http://" + bed.OperatorAddress + ":8080/readyz")
		if err != nil {
			return false, nil
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		operator.stop()
		return nil, err
	}
	return operator, nil
}

func (o *Operator) stop() {
	_ = o.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-o.ended:
	case <-time.After(30 * time.Second):
		_ = o.process.Process.Kill()
		<-o.ended
	}
}

// prepare writes what a team would: definitions, the way out, the repository and their Secrets.
func prepare(ctx context.Context, bed TestBed, plan Plan, repositoryURL string) error {
	authority, err := os.ReadFile(bed.GitCA)
	if err != nil {
		return err
	}
	type object = map[string]any
	named := func(kind, name string) object {
		version := "tidelock.dev/v1alpha1"
		if kind == "Secret" || kind == "Namespace" {
			version = "v1"
		}
		made := object{"apiVersion": version, "kind": kind, "metadata": object{"name": name, "namespace": operatorNamespace}}
		if kind == "Namespace" {
			made["metadata"] = object{"name": name}
		}
		return made
	}
	secret := func(name string, values object) object {
		made := named("Secret", name)
		made["stringData"] = values
		return made
	}
	specified := func(kind, name string, spec object) object {
		made := named(kind, name)
		made["spec"] = spec
		return made
	}
	items := []object{
		named("Namespace", operatorNamespace),
		secret("proxy-credentials", object{"username": bed.ProxyUsername, "password": bed.ProxyPassword}),
		secret("git-credentials", object{"username": bed.GitUsername, "password": bed.GitPassword}),
		secret("git-ca", object{"ca.crt": string(authority)}),
		specified("EgressProxy", "corporate", object{
			"url": bed.ProxyURL, "credentialsSecretRef": object{"name": "proxy-credentials"}, "hosts": []string{"*.corp.test"},
		}),
		specified("Repository", "bench", object{
			"url": repositoryURL, "credentialsSecretRef": object{"name": "git-credentials"}, "caSecretRef": object{"name": "git-ca"},
		}),
	}
	if err := kubectl(ctx, bed, nil, "apply", "--server-side", "-f", plan.Definitions); err != nil {
		return err
	}
	if err := kubectl(ctx, bed, nil, "wait", "--for=condition=Established", "--timeout=30s", "-f", plan.Definitions); err != nil {
		return err
	}
	return kubectl(ctx, bed, encoded(object{"apiVersion": "v1", "kind": "List", "items": items}), "apply", "-f", "-")
}
