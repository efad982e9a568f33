package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// inFlight is how many requests the loader keeps under way.
const inFlight = 32

// createNamespaces makes the namespaces of a set and waits until the controller manager has filled them.
func (c *Cluster) createNamespaces(ctx context.Context, set string, count int) error {
	err := each(ctx, count, inFlight, func(ctx context.Context, index int) error {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, namespaceOf(set, index))
		return c.call(ctx, http.MethodPost, "/api/v1/namespaces", typeJSON, []byte(body), nil)
	})
	if err != nil {
		return err
	}
	for _, resource := range []string{"serviceaccounts/default", "configmaps/kube-root-ca.crt"} {
		for index := range count {
			path := "/api/v1/namespaces/" + namespaceOf(set, index) + "/" + resource
			if err := until(ctx, time.Minute, path+" to exist", func() (bool, error) {
				err := c.call(ctx, http.MethodGet, path, "", nil, nil)
				if isStatus(err, http.StatusNotFound) {
					return false, nil
				}
				return err == nil, err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// load applies all objects of a set from the server's side as fast as it takes them: the floor for any reconciler.
func (c *Cluster) load(ctx context.Context, set string, count int) (time.Duration, error) {
	bodies := documents("1")
	started := time.Now()
	err := each(ctx, count*len(kinds), inFlight, func(ctx context.Context, index int) error {
		kind := kinds[index%len(kinds)]
		path := fmt.Sprintf("%s/namespaces/%s/%s/%s?fieldManager=bench-loader&force=true&fieldValidation=Strict",
			kind.collection, namespaceOf(set, index/len(kinds)), kind.resource, objectName)
		return c.call(ctx, http.MethodPatch, path, typeApply, []byte(bodies[index%len(kinds)]), nil)
	})
	return time.Since(started), err
}

// verify fails unless all objects of a set exist.
func (c *Cluster) verify(ctx context.Context, set string, count int) error {
	for _, kind := range kinds {
		found, err := c.list(ctx, kind.collection+"/"+kind.resource+"?labelSelector=bench%3Dtidelock")
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, object := range found.Items {
			have[object.Metadata.Namespace] = true
		}
		for index := range count {
			if !have[namespaceOf(set, index)] {
				return fmt.Errorf("there is no %s in %s, so the figures would mean nothing", kind.resource, namespaceOf(set, index))
			}
		}
	}
	return nil
}

// settle waits until the controller manager has seen all Deployments of a set, so that it does not disturb what follows.
func (c *Cluster) settle(ctx context.Context) error {
	return until(ctx, time.Minute, "the Deployments to be observed", func() (bool, error) {
		var found struct {
			Items []struct {
				Metadata struct{ Generation int }
				Status   struct{ ObservedGeneration int }
			}
		}
		err := c.call(ctx, http.MethodGet, "/apis/apps/v1/deployments?labelSelector=bench%3Dtidelock", "", nil, &found)
		for _, item := range found.Items {
			if item.Status.ObservedGeneration < item.Metadata.Generation {
				return false, err
			}
		}
		return true, err
	})
}

// until asks again and again until what is wanted has come.
func until(ctx context.Context, limit time.Duration, what string, come func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("waited %s in vain for %s", limit, what))
	defer cancel()
	for {
		if there, err := come(); there || err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func encoded(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("invariant: maps and strings can be encoded: " + err.Error())
	}
	return text
}
